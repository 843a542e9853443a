"""A server that answers what a test tells it to, over real gRPC on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from pushrpc.cli import commands
from pushrpc.v1.service_pb2_grpc import PushServiceServicer, add_PushServiceServicer_to_server

Run = Callable[..., Result]


class Told(PushServiceServicer):
    """Answers each method with the next thing in `answers`: a response, an exception to raise, or a list to stream."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Any]] = {}
        self.requests: list[Any] = []
        self.address = ""

    def __getattribute__(self, name: str) -> Any:
        if name[0].isupper():
            return lambda request, context: self._answer(name, request, context)
        return super().__getattribute__(name)

    def _answer(self, name: str, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        answer = self.answers[name].pop(0)
        return self._stream(answer, context) if isinstance(answer, list) else self._one(answer, context)

    def _stream(self, answers: list[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for answer in answers:
            yield self._one(answer, context)

    def _one(self, answer: Any, context: grpc.ServicerContext) -> Any:
        if isinstance(answer, status_pb2.Status):
            context.abort_with_status(rpc_status.to_status(answer))
        return answer


def failure(code: grpc.StatusCode, message: str, *details: Message) -> status_pb2.Status:
    """A failed call as the server makes it."""
    packed = []
    for detail in details:
        packed.append(Packed())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code.value[0], message=message, details=packed)


@pytest.fixture
def server() -> Iterator[Told]:
    told = Told()  # type: ignore[abstract]  # every method is answered by __getattribute__
    running = grpc.server(futures.ThreadPoolExecutor(4))
    add_PushServiceServicer_to_server(told, running)
    told.address = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
    running.start()
    yield told
    running.stop(0).wait(5)


@pytest.fixture
def run() -> Run:
    """Runs `pushrpc ARGUMENTS`; `server=` is added as --server."""

    def invoke(*arguments: str, server: Told | None = None) -> Result:
        where = ["--server", server.address] if server else []
        return CliRunner().invoke(commands, [*arguments, *where])

    return invoke
