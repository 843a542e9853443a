"""deploy/Containerfile and deploy/mesh/kubernetes.yaml, as far as they can be followed without an engine and a cluster.

The build's own commands run in a directory of their own, what they installed is started with the configuration of the
ConfigMap, and its probes are asked.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pushrpc.emulator import Emulator
from pushrpc.server import prepare
from tests.e2e.running import ServerProcess, Tls, apps_at, free_port
from tests.tls import make_authority

ROOT = Path(__file__).parent.parent.parent
CONTAINERFILE = (ROOT / "deploy" / "Containerfile").read_text()
PAGE = (ROOT / "docs" / "mesh.md").read_text()
OBJECTS: dict[tuple[str, str], Any] = {
    (each["kind"], each["metadata"]["name"]): each
    for each in yaml.safe_load_all((ROOT / "deploy" / "mesh" / "kubernetes.yaml").read_text())
}
POD = OBJECTS["StatefulSet", "pushrpc"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
TOML = OBJECTS["ConfigMap", "pushrpc"]["data"]["pushrpc.toml"]
FILES = re.findall(r'_file = "([^"]+)"', TOML)
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
INSTALLED = "/opt/pushrpc"
LEDGER = "/var/lib/pushrpc"
DEADLINE_S = 10.0


class Instruction(NamedTuple):
    name: str
    text: str


def stages() -> list[list[Instruction]]:
    """The Containerfile's instructions, FROM first in each stage."""
    found: list[list[Instruction]] = []
    for line in CONTAINERFILE.splitlines():
        if line and not line.startswith("#"):
            name, _, text = line.partition(" ")
            if name == "FROM":
                found.append([])
            found[-1].append(Instruction(name, text))
    return found


BUILD, IMAGE = stages()
SET = {each.name: each.text for each in IMAGE}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the build stage leaves for the image, made by its own instructions from nothing but what it copies."""
    directory = tmp_path_factory.mktemp("image")
    source, target = directory / "src", directory / "opt"
    source.mkdir()
    for name, text in BUILD:
        if name == "COPY":
            *sources, to = text.split()
            for each in sources:
                found = ROOT / each
                copy = shutil.copytree if found.is_dir() else shutil.copy
                copy(found, source / to if found.is_dir() else source / to / each)
        elif name == "RUN":
            command = re.sub(r"^python ", f"{sys.executable} ", text.replace(INSTALLED, str(target)))
            done = subprocess.run(command, shell=True, cwd=source, capture_output=True, text=True, timeout=400)
            assert done.returncode == 0, f"{text}\n{done.stderr}"
    yield target
    shutil.rmtree(directory)


@pytest.fixture
async def server(installed: Path, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """The image's program with the ConfigMap's configuration; not started."""
    config, ledger = tmp_path / "etc", tmp_path / "lib"
    config.mkdir()
    ledger.mkdir()
    async with Emulator.start(tmp_path / "emulator") as emulator:
        accounts = apps_at(emulator)["shop"]
        shutil.copy(str(accounts["apns"]["key_file"]), config / "AuthKey_ABC123DEFG.p8")
        shutil.copy(str(accounts["fcm"]["service_account_file"]), config / "shop-firebase.json")
        server = ServerProcess(config, {})
        server.program = (str(installed / "bin" / json.loads(SET["ENTRYPOINT"])[0]),)
        text = TOML.replace("0.0.0.0:50051", server.target).replace("0.0.0.0:9464", server.metrics_target)
        server.config_file.write_text(text.replace(LEDGER, str(ledger)))
        yield server
        await server.stop()


def test_the_image_runs_what_the_pod_asks_for() -> None:
    assert CONTAINER["args"] == json.loads(SET["CMD"])
    assert f"COPY --from=build {INSTALLED} {INSTALLED}" in CONTAINERFILE and f"PATH={INSTALLED}/bin:" in SET["ENV"]
    user = POD["securityContext"]
    assert SET["USER"] == f"{user['runAsUser']}:{user['runAsGroup']}" and user["fsGroup"] == user["runAsGroup"] > 0
    assert re.search(rf"-o {user['runAsUser']} -g {user['runAsGroup']} {LEDGER}$", SET["RUN"])
    assert {str(port["containerPort"]) for port in CONTAINER["ports"]} == set(SET["EXPOSE"].split())
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert mounts == {"ledger": LEDGER, "config": str(Path(CONTAINER["args"][-1]).parent)}


def test_the_page_builds_that_image_and_makes_the_secret() -> None:
    assert re.search(r"^#   (podman build .*)$", CONTAINERFILE, re.MULTILINE)[1] in PAGE  # type: ignore[index]
    (secret,) = re.findall(r"^kubectl create secret generic pushrpc (.*)$", PAGE, re.MULTILINE)
    assert re.findall(r"--from-file=(\S+)", secret) == FILES
    (volume,) = POD["volumes"]
    assert volume["projected"]["sources"] == [{"configMap": {"name": "pushrpc"}}, {"secret": {"name": "pushrpc"}}]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_images_python_needs_no_compiler(machine: str, tmp_path: Path) -> None:
    (python,) = {each.text.split()[0] for stage in (BUILD, IMAGE) for each in stage if each.name == "FROM"}
    version = re.fullmatch(r"python:(3\.\d+)-slim", python)
    assert version, "one Python for both stages: a virtual environment is bound to its own"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps", "--only-binary", ":all:"]
    pip += ["--target", str(tmp_path), "--python-version", version[1], "--require-hashes", "-r", "requirements.lock"]
    for libc in ("manylinux_2_28", "manylinux_2_17", "manylinux2014"):
        pip += ["--platform", f"{libc}_{machine}"]
    done = subprocess.run(pip, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(400)
async def test_the_configuration_is_taken_as_it_stands(server: ServerProcess, tmp_path: Path) -> None:
    server.config_file.write_text(TOML.replace(LEDGER, str(tmp_path / "lib")))
    config, _ = prepare(server.config_file, {})
    assert config.ledger_file == str(tmp_path / "lib" / "pushrpc.db") and config.metrics_listen
    assert config.listen == f"0.0.0.0:{CONTAINER['ports'][0]['containerPort']}" and config.insecure
    assert f"{LEDGER}/" in tomllib.loads(TOML)["server"]["ledger"]


@pytest.mark.timeout(400)
async def test_it_starts_and_answers_its_probes(server: ServerProcess, tmp_path: Path) -> None:
    await server.start()
    for probe in PROBES:
        assert await asked(CONTAINER[probe], server.target), probe
    assert "pushrpc_" in await server.metrics()
    elsewhere = {file for file in server.writes() if file.parent != tmp_path / "lib"} - {server.log_file}
    assert not elsewhere, "with a read-only root file system it could not"


@pytest.mark.timeout(400)
async def test_with_tls_only_probes_by_tcp_are_answered(server: ServerProcess, tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    server.tls = Tls(*authority.issue(["127.0.0.1"]), authority.ca_file)
    files = f'cert_file = "{server.tls.cert_file}"\nkey_file = "{server.tls.key_file}"\n'
    text = re.sub(r"insecure = true.*\n", "", server.config_file.read_text())
    server.config_file.write_text(f"{text}\n[server.tls]\n{files}")
    await server.start()
    assert not await asked(CONTAINER["readinessProbe"], server.target)
    (instead,) = re.findall(r"`tcpSocket: (\{port: \d+\})`", PAGE)
    assert await asked({"tcpSocket": yaml.safe_load(instead)}, server.target)


async def test_no_probe_is_answered_where_nobody_listens() -> None:
    """What the tests above ask with can say no."""
    nobody = f"127.0.0.1:{free_port()}"
    assert [await asked(CONTAINER[probe], nobody) for probe in PROBES] == [False] * 3


async def asked(probe: dict[str, Any], target: str) -> bool:
    """What the kubelet would hear, which asks without TLS; `target` has another port than the probe."""
    host, _, port = target.rpartition(":")
    (how,) = {"grpc", "tcpSocket"} & set(probe)
    assert probe[how]["port"] == CONTAINER["ports"][0]["containerPort"]
    if how == "tcpSocket":
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), DEADLINE_S)
        except OSError:
            return False
        writer.close()
        return True
    async with grpc.aio.insecure_channel(target) as channel:
        request = health_pb2.HealthCheckRequest(service=probe[how]["service"])
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=DEADLINE_S)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
