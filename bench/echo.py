"""The empty service: pushrpc's method, messages and server options, and nothing behind them. Run as a child."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from typing import Any

import grpc
import uvloop

from pushrpc.server import GRPC_OPTIONS, RPCS_MAX
from pushrpc.v1 import sending_pb2, service_pb2_grpc


class Echo(service_pb2_grpc.PushServiceServicer):  # the stubs want every method; only one is called
    async def SendNotification(
        self, request: sending_pb2.SendNotificationRequest, context: Any
    ) -> sending_pb2.SendNotificationResponse:
        """Reads what any server must, and answers in the shape of a receipt."""
        return sending_pb2.SendNotificationResponse(
            notification_id=_ID, target_count=len(request.target.tokens[0].tokens), cursor=_CURSOR
        )


_ID = str(uuid.uuid4())
_CURSOR = "x" * 60


async def main() -> None:
    server = grpc.aio.server(options=GRPC_OPTIONS, maximum_concurrent_rpcs=RPCS_MAX)
    service_pb2_grpc.add_PushServiceServicer_to_server(Echo(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"target": f"127.0.0.1:{port}"}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    uvloop.run(main())
