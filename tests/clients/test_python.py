"""The Python client: its own tests and checks, its README in an empty project, and who else may be in the process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.clients.runners import ROOT

CLIENT = ROOT / "clients" / "python"
PLACE = ROOT / "build" / "clients" / "python"
PRINTED = "127.0.0.1:50051"
RUN_S = 300.0  # a first time fetches what the environments are made of

pytestmark = pytest.mark.timeout(RUN_S + 20)


def run(*command: str | Path, directory: Path = CLIENT, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MYPY"))}
    return subprocess.run(command, cwd=directory, env=kept | environment, capture_output=True, text=True, timeout=RUN_S)


def done(told: subprocess.CompletedProcess[str]) -> str:
    assert told.returncode == 0, f"{told.args}\n{told.stdout}{told.stderr}"
    return told.stdout


def installed(name: str) -> Path:
    """The Python of a fresh environment that the client's wheel was installed into."""
    return Path(done(run(sys.executable, "install.py", name)).strip())


@pytest.fixture(scope="module")
def newest() -> Path:
    return installed("newest")


@pytest.fixture(scope="module")
def oldest() -> Path:
    return installed("oldest")


@pytest.mark.parametrize("releases", ["newest", "oldest"])
def test_its_own_tests(releases: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With what the server is tested with, and with the oldest releases that the client allows."""
    python = Path(sys.executable) if releases == "newest" else installed("oldest-tested")
    out = done(run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider"))
    counts = out.splitlines()[-1]
    with capsys.disabled():
        print(f"\nclients/python, {releases}: {counts}", end=" ")
    passed = re.search(r"(\d+) passed", counts)
    assert passed is not None and int(passed[1]) > 100
    assert "skipped" not in counts


def test_types_are_strict() -> None:
    assert "Success" in done(run(sys.executable, "-m", "mypy"))


def test_the_wheel_brings_the_client_and_nothing_of_the_server(newest: Path) -> None:
    told = json.loads(
        done(
            run(
                newest,
                "-c",
                "import importlib.metadata as m, json; d = m.distribution('pushrpc-client');"
                "print(json.dumps([d.version, d.requires, [str(f) for f in d.files]]))",
                directory=PLACE,
            )
        )
    )
    version, requires, files = told
    assert version == re.search(r'__version__ = "(.+)"', (CLIENT / "pushrpc_client/__init__.py").read_text())[1]  # type: ignore[index]
    assert {re.split("[<>=]", each)[0] for each in requires} == {"grpcio", "protobuf", "googleapis-common-protos"}
    tops = {Path(each).parts[0] for each in files}
    assert tops == {"pushrpc_client", f"pushrpc_client-{version}.dist-info"}
    assert {"pushrpc_client/py.typed", "pushrpc_client/v1/__init__.pyi"} <= set(files)


def readme_program() -> str:
    (program,) = re.findall(
        r"^```python\n(from pushrpc_client .*?)^```$", (CLIENT / "README.md").read_text(), re.M | re.S
    )
    return str(program)


def test_the_readmes_program_with_the_oldest_dependencies(oldest: Path, address: str, tmp_path: Path) -> None:
    program = readme_program()
    assert PRINTED in program
    (tmp_path / "hello.py").write_text(program.replace(PRINTED, address))
    out = done(run(oldest, "hello.py", directory=tmp_path))
    assert out.split() == ["00fc13adff785122", "DELIVERY_STATE_SENT"]


def test_the_readme_has_types(newest: Path, tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(readme_program().replace('"ann"', "1", 1))
    checked = (sys.executable, "-m", "mypy", "--strict", "--python-executable", newest, "hello.py")
    assert (
        '"user_id" to "RegisterDeviceRequest" has incompatible type "int"' in run(*checked, directory=tmp_path).stdout
    )
    (tmp_path / "hello.py").write_text(readme_program())
    done(run(*checked, directory=tmp_path))


# --- who else defines the contract in the same process

TRUNCATE = "  bool truncate = 8;\n"
SERVER_INFO = "  rpc GetServerInfo(GetServerInfoRequest) returns (GetServerInfoResponse);\n"
CHANGES: dict[str, dict[str, str]] = {
    "older": {TRUNCATE: "", SERVER_INFO: ""},
    "same": {},
    "newer": {TRUNCATE: f"{TRUNCATE}  string brand_new = 9;\n"},
}
PROBE = """
import importlib, json, sys, warnings
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    for name in {order}:
        importlib.import_module(name)
from datetime import timedelta
from google.protobuf.duration_pb2 import Duration
import grpc, pushrpc_client
from pushrpc_client import v1
request = v1.SendNotificationRequest(wait=Duration(seconds=5), target=v1.Target(user_ids=["ann"]))
request = v1.SendNotificationRequest.FromString(request.SerializeToString())
others = [sys.modules[name.rpartition(".")[0] + ".sending_pb2"] for name in {order} if name != "pushrpc_client"]
push = pushrpc_client.Client("127.0.0.1:1", "shop", plaintext=True)
from google.protobuf import descriptor_pool
messages = [v1.SendNotificationRequest, *(each.SendNotificationRequest for each in others)]
print(json.dumps({{
    "one_pool": all(each.DESCRIPTOR.file.pool is descriptor_pool.Default() for each in messages),
    "shared": all(each.SendNotificationRequest is v1.SendNotificationRequest for each in others),
    "warned": [str(each.message) for each in told if each.category is ImportWarning],
    "fields": list(v1.SendOptions.DESCRIPTOR.fields_by_name),
    "stub": [name for name in dir(push.stub) if name[0].isupper()],
    "wait": request.wait.seconds,
    "server": any(name.startswith("pushrpc.") for name in sys.modules),
}}))
"""


class Beside(NamedTuple):
    """Another package that defines the contract, in a directory for PYTHONPATH."""

    module: str
    directory: Path


def contract(directory: Path, release: str) -> Path:
    """proto/ as it is in an older or newer release."""
    proto = directory / "proto"
    for source in (ROOT / "proto" / "pushrpc" / "v1").glob("*.proto"):
        text = source.read_text()
        for old, new in CHANGES[release].items():
            text = text.replace(old, new)
        target = proto / "pushrpc" / "v1" / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    changed = [s for s in proto.rglob("*.proto") if s.read_text() != (ROOT / "proto/pushrpc/v1" / s.name).read_text()]
    assert len(changed) == len(CHANGES[release]), "the contract no longer has what is changed here"
    return proto


def a_server(directory: Path, release: str) -> Beside:
    """The server's wheel, installed; of another release its messages, as protoc writes them."""
    place = directory / "server"
    if release == "same":
        builder = PLACE / "builder" / "bin" / "python"
        wheels = directory / "wheels"
        offline = ("--no-index", "--no-deps", "--quiet")
        done(run(builder, "-m", "pip", "wheel", *offline, "--no-build-isolation", "-w", wheels, ROOT))
        done(run(builder, "-m", "pip", "install", *offline, "--target", place, *wheels.glob("*.whl")))
    else:
        place.mkdir()
        proto = contract(directory, release)
        out = (f"--python_out={place}", f"--grpc_python_out={place}")
        done(run(sys.executable, "-m", "grpc_tools.protoc", "-I", proto, *out, *sorted(proto.rglob("*.proto"))))
        (place / "pushrpc" / "__init__.py").touch()
    return Beside("pushrpc.v1.service_pb2_grpc", place)


def a_client(directory: Path, release: str) -> Beside:
    """The client of another release, under another name as those who vendor it do."""
    package = directory / "vendored" / "vendored_client"
    done(run(sys.executable, "generate.py", contract(directory, release), package / "v1"))
    for source in (*(CLIENT / "pushrpc_client").glob("*.py"), *(package / "v1").glob("*.py")):
        target = package / source.relative_to(source.parents[1] if source.parent.name == "v1" else source.parent)
        target.write_text(source.read_text().replace("pushrpc_client", "vendored_client"))
    return Beside("vendored_client.v1.service_pb2_grpc", package.parent)


MADE = {"server": a_server, "client": a_client}


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory, newest: Path) -> Iterator[dict[tuple[str, str], Beside]]:
    yield {
        (what, release): make(tmp_path_factory.mktemp(f"{what}-{release}"), release)
        for what, make in MADE.items()
        for release in CHANGES
    }


def probed(python: Path, order: list[str], *directories: Path) -> dict[str, Any]:
    path = os.pathsep.join(map(str, directories))
    told: dict[str, Any] = json.loads(
        done(run(python, "-c", PROBE.format(order=order), directory=PLACE, PYTHONPATH=path))
    )
    return told


@pytest.mark.parametrize("is_first", [True, False], ids=["client first", "client second"])
@pytest.mark.parametrize("release", CHANGES)
@pytest.mark.parametrize("what", MADE)
def test_it_shares_a_process_with_others_of_any_release_in_either_order(
    what: str, release: str, is_first: bool, beside: dict[tuple[str, str], Beside], newest: Path
) -> None:
    other = beside[what, release]
    order = ["pushrpc_client", other.module] if is_first else [other.module, "pushrpc_client"]
    told = probed(newest, order, other.directory)
    assert told["shared"]
    assert told["one_pool"]
    assert told["wait"] == 5
    assert told["server"] == (what == "server")
    # A vendored client that comes second finds ours; a server that is installed is asked first.
    seen = "same" if what == "client" and is_first else release
    assert ("truncate" in told["fields"], "brand_new" in told["fields"]) == (seen != "older", seen == "newer")
    assert ("GetServerInfo" in told["stub"]) == (seen != "older")
    assert "SendNotification" in told["stub"]
    is_told = (release == "older" and not (what == "client" and is_first)) or (
        release == "newer" and what == "client" and is_first
    )
    assert bool(told["warned"]) == is_told, told["warned"]


@pytest.mark.parametrize("order", [("client", "server"), ("server", "client")], ids=" then ".join)
def test_all_three_share_a_process(order: tuple[str, str], beside: dict[tuple[str, str], Beside], newest: Path) -> None:
    others = [beside[what, "older"] for what in order]
    for place in range(3):
        names = [other.module for other in others]
        names.insert(place, "pushrpc_client")
        assert probed(newest, names, *(other.directory for other in others))["shared"], names


@pytest.mark.parametrize("is_first", [True, False], ids=["client first", "client second"])
@pytest.mark.parametrize("release", CHANGES)
def test_the_oldest_runtime_shares_with_other_clients_too(
    release: str, is_first: bool, beside: dict[tuple[str, str], Beside], oldest: Path
) -> None:
    other = beside["client", release]
    order = ["pushrpc_client", other.module] if is_first else [other.module, "pushrpc_client"]
    assert probed(oldest, order, other.directory)["shared"]


def test_alone_it_defines_the_contract_itself(newest: Path) -> None:
    told = probed(newest, ["pushrpc_client"])
    assert "truncate" in told["fields"] and not told["server"] and not told["warned"]
