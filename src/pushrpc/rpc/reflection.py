"""Server reflection, v1 and v1alpha. grpcio-reflection has only v1alpha, and newer tools ask for v1 first.

The two differ in nothing but their package (grpc/proto, reflection.proto), so v1's descriptor is made from v1alpha's
and its calls are served by the same code.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

_ALPHA = "grpc.reflection.v1alpha"
_V1 = "grpc.reflection.v1"
_V1_SERVICE = f"{_V1}.ServerReflection"
# Errors carry these as Any; that the module is imported is what puts them into reflection.
_ERROR_DETAILS = error_details_pb2.DESCRIPTOR


class _Reflection(ReflectionServicer):  # type: ignore[misc]  # grpcio-reflection has no types
    """Also finds methods, as the protocol asks; protobuf's own pool finds only what contains them."""

    def _file_containing_symbol(
        self, request: reflection_pb2.ServerReflectionRequest, name: str
    ) -> reflection_pb2.ServerReflectionResponse:
        parent, _, method = name.rpartition(".")
        try:
            service = descriptor_pool.Default().FindServiceByName(parent)
        except KeyError:
            service = None
        symbol = parent if service is not None and method in service.methods_by_name else name
        return super()._file_containing_symbol(request, symbol)


def enable_reflection(server: grpc.aio.Server, service_names: Sequence[str]) -> None:
    """Adds both reflection services to the server, and themselves to what they list."""
    _define_v1()
    names = (*service_names, _V1_SERVICE, reflection.SERVICE_NAME)
    servicer = _Reflection(names)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    call = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_V1_SERVICE, {"ServerReflectionInfo": call}),)
    )


def _define_v1() -> None:
    pool = descriptor_pool.Default()
    try:
        pool.FindServiceByName(_V1_SERVICE)
    except KeyError:
        text = reflection_pb2.DESCRIPTOR.serialized_pb
        file = descriptor_pb2.FileDescriptorProto.FromString(text)
        file.name = "grpc/reflection/v1/reflection.proto"
        file.package = _V1
        types = [field for message in file.message_type for field in message.field if field.type_name]
        for field in types:
            field.type_name = field.type_name.replace(f".{_ALPHA}.", f".{_V1}.")
        for method in (method for service in file.service for method in service.method):
            method.input_type = method.input_type.replace(f".{_ALPHA}.", f".{_V1}.")
            method.output_type = method.output_type.replace(f".{_ALPHA}.", f".{_V1}.")
        pool.AddSerializedFile(file.SerializeToString())
