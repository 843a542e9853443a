module pushrpc.dev/tests/gosink

go 1.21
