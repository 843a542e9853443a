# Generated from proto/pushrpc/v1/service.proto by clients/python/generate.py; never edited.
from pushrpc_client import _contract
from pushrpc_client.v1 import service_pb2

_contract.serve(service_pb2.DESCRIPTOR.services_by_name['PushService'], globals())
