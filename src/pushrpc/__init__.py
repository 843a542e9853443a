"""pushrpc: durable push notifications over gRPC."""

__version__ = "0.1.0"
