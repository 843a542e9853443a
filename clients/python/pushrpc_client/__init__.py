"""Client of pushrpc: durable push notifications over gRPC, one typed final answer for every token.

`Client` is for threads, `AsyncClient` for asyncio; both have the same methods. Requests and answers are the contract's
own messages, in `pushrpc_client.v1`. Whatever fails raises `PushError`.
"""

from pushrpc_client import v1
from pushrpc_client.aio import AsyncClient
from pushrpc_client.bulk import Bulk
from pushrpc_client.bulk_aio import AsyncBulk
from pushrpc_client.connection import Tls
from pushrpc_client.errors import FieldViolation, PushError
from pushrpc_client.follow import Following
from pushrpc_client.follow_aio import AsyncFollowing
from pushrpc_client.sync import Client

__version__ = "0.1.0"

__all__ = [
    "AsyncBulk",
    "AsyncClient",
    "AsyncFollowing",
    "Bulk",
    "Client",
    "FieldViolation",
    "Following",
    "PushError",
    "Tls",
    "__version__",
    "v1",
]
