"""The Java client: its own tests, its jar, its documentation, and what its README names."""

from __future__ import annotations

import os
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from tests.clients.runners import ROOT

CLIENT = ROOT / "clients" / "java"
BUILT = ROOT / "build" / "clients" / "java"
README = (CLIENT / "README.md").read_text()
MAVEN_S = 400.0  # a first time fetches plugins and libraries
JAVA_S = 60.0
CLASSES = os.pathsep.join([str(BUILT / "classes"), str(BUILT / "lib" / "*")])
NAMESPACE = {"": "http://maven.apache.org/POM/4.0.0"}
POM = {
    part: ElementTree.parse(CLIENT / "pom.xml").getroot().findtext(part, namespaces=NAMESPACE)
    for part in ("groupId", "artifactId", "version")
}

pytestmark = [
    pytest.mark.skipif(
        not (shutil.which("mvn") and shutil.which("javac")), reason="needs Maven and a JDK of 17 or newer"
    ),
    pytest.mark.timeout(MAVEN_S + 20),
]


@pytest.fixture(scope="module")
def packaged() -> Path:
    """The client's jar, after its own tests have passed."""
    shutil.rmtree(BUILT / "surefire-reports", ignore_errors=True)
    told = subprocess.run([CLIENT / "build.sh", "package"], capture_output=True, text=True, timeout=MAVEN_S)
    assert told.returncode == 0, told.stdout[-8000:] + told.stderr
    return BUILT / f"{POM['artifactId']}-{POM['version']}.jar"


def test_its_own_tests(packaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suites = [ElementTree.parse(each).getroot() for each in (BUILT / "surefire-reports").glob("TEST-*.xml")]
    ended = Counter(
        {kind: sum(int(suite.attrib[kind]) for suite in suites) for kind in ("tests", "failures", "skipped")}
    )
    with capsys.disabled():
        print(f"\nJUnit: {ended['tests']} tests, {ended['failures']} failed, {ended['skipped']} skipped", end=" ")
    assert ended["tests"] >= 50
    assert not ended["skipped"]


def test_the_jar_holds_the_client_and_the_stubs_only(packaged: Path) -> None:
    with zipfile.ZipFile(packaged) as jar:
        packages = {name.rpartition("/")[0] for name in jar.namelist() if name.endswith(".class")}
        bytecode = jar.read("dev/pushrpc/client/PushClient.class")
        manifest = jar.read("META-INF/MANIFEST.MF").decode()
    assert packages == {"dev/pushrpc/client", "dev/pushrpc/v1"}
    assert int.from_bytes(bytecode[6:8], "big") == 61, "bytecode of Java 17"
    assert "Automatic-Module-Name: dev.pushrpc.client" in manifest


def test_everything_public_is_documented(packaged: Path, tmp_path: Path) -> None:
    command = ["javadoc", "-quiet", "-Xdoclint:all", "-Werror", "-d", str(tmp_path), "-cp", CLASSES]
    command += ["-sourcepath", str(CLIENT / "src" / "main" / "java"), "dev.pushrpc.client"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=JAVA_S)
    assert told.returncode == 0, told.stderr


def test_the_readme_names_this_version() -> None:
    for part, value in POM.items():
        assert f"<{part}>{value}</{part}>" in README
