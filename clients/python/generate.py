"""Writes pushrpc_client/v1 from the contract, with the protoc and plugins of the Python that runs it.

    python clients/python/generate.py PROTO_DIRECTORY OUT_DIRECTORY

What protoc writes for Python registers itself in the process and fails where anybody did so before with another
release. So of its output only the file's descriptor and the types are kept; pushrpc_client/_contract.py does the rest.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorProto

HEADER = "# Generated from {source} by clients/python/generate.py; never edited.\n"
DESCRIPTOR = re.compile(r"\.AddSerializedFile\((b'.*')\)$", re.MULTILINE)
SERVICE_FILE = "service"
SERVICE_NAMES = ("PushServiceServicer", "PushServiceStub", "add_PushServiceServicer_to_server")


def main(proto: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory)
        run_protoc(proto, made)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        names: dict[str, list[str]] = {}
        for source in sorted(proto.glob("pushrpc/v1/*.proto")):
            generated = made / "pushrpc/v1" / f"{source.stem}_pb2.py"
            found = DESCRIPTOR.search(generated.read_text())
            assert found is not None, f"protoc's output has another form now: {generated.name}"
            contract = FileDescriptorProto.FromString(ast.literal_eval(found[1]))
            (out / generated.name).write_text(module(contract, found[1]))
            (out / f"{generated.name}i").write_text(types(generated.with_suffix(".pyi")))
            names[source.stem] = exported(contract)
        (out / "service_pb2_grpc.py").write_text(service())
        (out / "service_pb2_grpc.pyi").write_text(types(made / "pushrpc/v1/service_pb2_grpc.pyi"))
        (out / "__init__.py").write_text(package(names))
        (out / "__init__.pyi").write_text(package_types(names))


def run_protoc(proto: Path, out: Path) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(proto)]
    command += ["-I", str(Path(grpc_tools.__file__).parent / "_proto")]
    command += [f"--python_out={out}", f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet:{out}"]
    plugins = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{plugins}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([*command, *map(str, sorted(proto.glob("pushrpc/v1/*.proto")))], check=True, env=environment)


def module(contract: FileDescriptorProto, literal: str) -> str:
    siblings = [Path(each).stem for each in contract.dependency if each.startswith("pushrpc/v1/")]
    imports = "".join(f"from pushrpc_client.v1 import {each}_pb2  # what it builds on\n" for each in siblings)
    return (
        HEADER.format(source=f"proto/{contract.name}")
        + "from pushrpc_client import _contract\n"
        + imports
        + f"\n_contract.define({contract.name!r}, {literal}, globals())\n"
    )


def types(file: Path) -> str:
    """Ours answers UNIMPLEMENTED where a servicer of a test says nothing, so none of its methods is abstract."""
    text = file.read_text().replace("from pushrpc.v1 import", "from pushrpc_client.v1 import")
    return text.replace("    @_abc_1.abstractmethod\n", "").replace("Servicer(metaclass=_abc_1.ABCMeta)", "Servicer")


def service() -> str:
    return (
        HEADER.format(source="proto/pushrpc/v1/service.proto")
        + "from pushrpc_client import _contract\n"
        + "from pushrpc_client.v1 import service_pb2\n\n"
        + "_contract.serve(service_pb2.DESCRIPTOR.services_by_name['PushService'], globals())\n"
    )


def exported(contract: FileDescriptorProto) -> list[str]:
    names = [each.name for each in contract.message_type]
    for enum in contract.enum_type:
        names += [enum.name, *(value.name for value in enum.value)]
    return sorted(names)


def package(names: dict[str, list[str]]) -> str:
    lines = [f"from pushrpc_client.v1.{each}_pb2 import *\n" for each in names]
    lines.append(f"from pushrpc_client.v1.{SERVICE_FILE}_pb2_grpc import *\n")
    return (
        HEADER.format(source="proto/pushrpc/v1")
        + '"""The contract: every message and enum by its name."""\n'
        + "".join(lines)
    )


def package_types(names: dict[str, list[str]]) -> str:
    def imports(of: str, wanted: list[str] | tuple[str, ...]) -> str:
        return f"from pushrpc_client.v1.{of} import (\n" + "".join(f"    {n} as {n},\n" for n in wanted) + ")\n"

    lines = [imports(f"{each}_pb2", wanted) for each, wanted in names.items()]
    return (
        HEADER.format(source="proto/pushrpc/v1") + "".join(lines) + imports(f"{SERVICE_FILE}_pb2_grpc", SERVICE_NAMES)
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
