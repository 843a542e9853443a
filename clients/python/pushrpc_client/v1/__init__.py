# Generated from proto/pushrpc/v1 by clients/python/generate.py; never edited.
"""The contract: every message and enum by its name."""
from pushrpc_client.v1.audiences_pb2 import *
from pushrpc_client.v1.devices_pb2 import *
from pushrpc_client.v1.enums_pb2 import *
from pushrpc_client.v1.following_pb2 import *
from pushrpc_client.v1.sending_pb2 import *
from pushrpc_client.v1.service_pb2 import *
from pushrpc_client.v1.service_pb2_grpc import *
