module pushrpc.dev/tests/slowsink

go 1.24
