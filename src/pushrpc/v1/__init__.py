"""Generated from proto/pushrpc/v1 by scripts/generate.sh; never edited."""
