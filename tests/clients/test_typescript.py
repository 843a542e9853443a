"""The TypeScript client: its own tests, its lint and types, and its package in empty projects of every kind."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.runners import ROOT

CLIENT = ROOT / "clients" / "typescript"
PLACE = ROOT / "build" / "clients" / "typescript"
NPM_S = 200.0  # a first time fetches packages

pytestmark = pytest.mark.timeout(3 * NPM_S)


def install() -> None:
    """The pinned packages. Skips the test where there is no npm, or they cannot be had."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("needs Node.js 20 or newer and npm")
    try:
        told = subprocess.run([CLIENT / "scripts" / "install.sh"], capture_output=True, text=True, timeout=NPM_S)
    except subprocess.TimeoutExpired:
        pytest.skip("the client's packages could not be fetched in time")
    if told.returncode:
        pytest.skip(f"the client's packages could not be fetched: {told.stderr[-400:]}")


def run(*command: str | Path, directory: Path = PLACE) -> str:
    told = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=NPM_S)
    assert told.returncode == 0, f"{told.stdout[-4000:]}{told.stderr[-4000:]}"
    return told.stdout


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    install()
    run(CLIENT / "scripts" / "build.sh")


def test_its_own_tests(capsys: pytest.CaptureFixture[str]) -> None:
    tests = sorted(each.relative_to(PLACE) for each in (PLACE / "build" / "test").glob("*.test.js"))
    told = run("node", "--test", "--test-reporter=tap", *tests)
    count = {word: int(number) for word, number in re.findall(r"^# (pass|fail|skipped|todo) (\d+)$", told, re.M)}
    with capsys.disabled():
        print(f"\nnode --test: {count['pass']} passed, {count['fail']} failed, {count['skipped']} skipped", end=" ")
    assert count["pass"] > 30
    assert not count["fail"] + count["skipped"] + count["todo"]


def test_format_lint_and_types() -> None:
    run("npm", "run", "--silent", "check")


@pytest.fixture(scope="module")
def project(built: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project with the package as it would be published from a clean checkout, where nothing is built yet."""
    checkout, directory = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("newcomer")
    for source in ("package.json", "README.md"):
        shutil.copy(CLIENT / source, checkout)
    shutil.copytree(CLIENT / "src", checkout / "src")
    (checkout / "node_modules").symlink_to(PLACE / "node_modules")
    (packed,) = json.loads(run("npm", "pack", "--json", "--pack-destination", directory, directory=checkout))
    names = {each["path"] for each in packed["files"]}
    assert {"package.json", "README.md", "dist/index.js", "dist/index.d.ts"} <= names
    assert all(name.startswith("dist/") for name in names - {"package.json", "README.md"})
    (directory / ".npmrc").write_text("prefer-offline=true\nignore-scripts=true\naudit=false\nfund=false\n")
    install = f"npm init -y && npm pkg set type=module && npm install ./{packed['filename']}"
    run("bash", "-ec", install, directory=directory)
    return directory


def compiler(version: str) -> Path:
    """tsc of a release; it stays for the next time. Skips the test where it cannot be had."""
    if version == "pinned":
        return PLACE / "node_modules" / "typescript" / "bin" / "tsc"
    place = PLACE / "compilers" / version
    tsc = place / "node_modules" / "typescript" / "bin" / "tsc"
    if not tsc.exists():
        place.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--prefix", str(place), "--no-audit", "--no-fund", f"typescript@{version}"]
        told = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=NPM_S)
        if told.returncode:
            pytest.skip(f"TypeScript {version} could not be fetched: {told.stderr[-400:]}")
    return tsc


def readme() -> str:
    program, *_ = re.findall(r"^```js\n(.*?)^```$", (CLIENT / "README.md").read_text(), re.M | re.S)
    return str(program)


@pytest.mark.parametrize(("version", "skips"), [("5.4.5", True), ("5.7.3", False), ("pinned", False)])
def test_types_in_a_strict_project(project: Path, version: str, skips: bool) -> None:
    """With the oldest compilers that the README names, and with ours. `skips` is skipLibCheck."""
    (project / "main.ts").write_text(
        readme()
        + """
const wrong = await client.register({ provider: Provider.APNS, tokn: "00" });
const state: string = (await client.getNotification({ requestId: "order-1" })).notification?.state;
client.stub.sendNotification({ appId: "shop" }, () => {});
"""
    )
    options: dict[str, Any] = {"module": "nodenext", "target": "es2022", "strict": True, "noEmit": True}
    options |= {"types": ["node"], "exactOptionalPropertyTypes": True, "skipLibCheck": skips}
    (project / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["main.ts"]}))
    command: list[str | Path] = ["node", compiler(version), "--pretty", "false"]
    told = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=NPM_S).stdout
    lines = len(readme().splitlines())
    found = [
        (int(line) - lines, code) for line, code in re.findall(r"^main\.ts\((\d+),\d+\): error (TS\d+)", told, re.M)
    ]
    assert found == [(2, "TS2561"), (3, "TS2322"), (4, "TS2345")], told
    assert told.count(": error ") == len(found), told


def test_the_readme_and_the_package_name_the_oldest_compiler() -> None:
    told = json.loads((CLIENT / "package.json").read_text())
    assert told["peerDependencies"] == {"typescript": ">=5.4"}
    assert told["peerDependenciesMeta"]["typescript"] == {"optional": True}
    assert "TypeScript 5.7 and newer, or 5.4 and newer with `skipLibCheck`" in (CLIENT / "README.md").read_text()


def test_commonjs(project: Path) -> None:
    version = tuple(map(int, run("node", "-p", "process.versions.node").split(".")))
    if not (version >= (22, 12) or (20, 19) <= version < (21,)):
        pytest.skip("needs a Node.js that can require an ES module: 20.19, 22.12 or newer")
    (project / "main.cjs").write_text(
        'const { PushClient, Provider } = require("@pushrpc/client");\n'
        'PushClient.connect("127.0.0.1:1", "shop", { plaintext: true }).close();\n'
        "console.log(Provider[Provider.FCM]);\n"
    )
    assert run("node", "main.cjs", directory=project) == "FCM\n"
