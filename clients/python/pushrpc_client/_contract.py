"""The contract's messages in this process, whoever else defines them.

Protobuf has one definition of a message in a process, by its name: a second one that differs is an error in whoever is
imported later. Here the contract may be defined by the server's own package and by other releases of this one. So the
server's package, where it is installed, comes first, and what is defined already is shared.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf import descriptor_pool, duration_pb2, field_mask_pb2, message_factory, timestamp_pb2
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto
from google.protobuf.internal import builder  # what protoc's own output is made of

BUILT_ON = (duration_pb2, field_mask_pb2, timestamp_pb2)
_POOL = descriptor_pool.Default()

try:
    importlib.import_module("pushrpc.v1.service_pb2")
except Exception:  # none installed, or one that does not work: it defines nothing
    pass


def define(name: str, serialized: bytes, module: dict[str, Any]) -> None:
    """Fills a module with the messages and enums of one file of the contract, as its .pyi tells."""
    file = _shared(name, serialized) or _POOL.AddSerializedFile(serialized)
    assert isinstance(file, FileDescriptor)
    module["DESCRIPTOR"] = file
    builder.BuildMessageAndEnumDescriptors(file, module)
    builder.BuildTopDescriptorsAndMessages(file, module["__name__"], module)
    values = (value for enum in file.enum_types_by_name.values() for value in enum.values_by_name)
    module["__all__"] = [*file.message_types_by_name, *file.enum_types_by_name, *values]


def _shared(name: str, serialized: bytes) -> FileDescriptor | None:
    try:
        file: FileDescriptor = _POOL.FindFileByName(name)
    except KeyError:
        return None
    if file.serialized_pb != serialized:
        theirs = FileDescriptorProto.FromString(file.serialized_pb)
        missing = set(_names(FileDescriptorProto.FromString(serialized))) - set(_names(theirs))
        if missing:
            warnings.warn(
                f"an older contract was imported beside this pushrpc-client, which now lacks {min(missing)}"
                f" and {len(missing) - 1} more: bring the other package, such as pushrpc, up to date",
                ImportWarning,
                stacklevel=3,
            )
    return file


def _names(scope: FileDescriptorProto | DescriptorProto) -> Iterator[str]:
    """Of all that a file or message defines, with the path inside it."""
    messages = scope.message_type if isinstance(scope, FileDescriptorProto) else scope.nested_type
    for message in messages:
        yield from (f"{message.name}.{name}" for name in _names(message))
    for enum in scope.enum_type:
        yield from _values(enum)
    if isinstance(scope, DescriptorProto):
        yield from (field.name for field in scope.field)
    else:
        yield from (f"{service.name}.{method.name}" for service in scope.service for method in service.method)


def _values(enum: EnumDescriptorProto) -> Iterator[str]:
    yield from (value.name for value in enum.value)


def serve(service: ServiceDescriptor, module: dict[str, Any]) -> None:
    """Fills a module with a service's stub, its servicer for tests, and the function that adds one to a server."""
    stub, servicer = f"{service.name}Stub", f"{service.name}Servicer"
    made = {"__module__": module["__name__"]}
    module[stub] = type(stub, (), {**made, "__init__": _connect(service)})
    module[servicer] = type(servicer, (), {**made, **{method.name: _unimplemented for method in service.methods}})
    module[f"add_{servicer}_to_server"] = _adder(service)
    module["__all__"] = [stub, servicer, f"add_{servicer}_to_server"]


def _kind(method: Any) -> str:
    sides = (method.client_streaming, method.server_streaming)
    return "_".join("stream" if streaming else "unary" for streaming in sides)


def _connect(service: ServiceDescriptor) -> Callable[..., None]:
    calls = [
        (
            method.name,
            _kind(method),
            message_factory.GetMessageClass(method.input_type).SerializeToString,
            message_factory.GetMessageClass(method.output_type).FromString,
        )
        for method in service.methods
    ]

    def connect(self: object, channel: Any) -> None:
        for name, kind, serialize, parse in calls:
            path = f"/{service.full_name}/{name}"
            call = getattr(channel, kind)(path, request_serializer=serialize, response_deserializer=parse)
            setattr(self, name, call)

    return connect


def _unimplemented(_self: object, _request: object, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "not implemented")


def _adder(service: ServiceDescriptor) -> Callable[[object, grpc.Server], None]:
    def add(servicer: object, server: grpc.Server) -> None:
        handlers = {}
        for method in service.methods:
            make = getattr(grpc, f"{_kind(method)}_rpc_method_handler")
            handlers[method.name] = make(
                getattr(servicer, method.name),
                request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
                response_serializer=message_factory.GetMessageClass(method.output_type).SerializeToString,
            )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))

    return add
