"""Builds the wheel and installs it into a fresh environment: install.py NAME, into build/clients/python/NAME.

NAME is "newest", with the releases that requirements.lock pins, "oldest", with the lowest that pyproject.toml allows,
or "oldest-tested", which adds what the client's tests need. The index is asked only when these change.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PLACE = ROOT / "build" / "clients" / "python"
BUILDER = ["hatchling==1.33.0"]
TESTING = ["cryptography", "pytest", "pytest-asyncio", "pytest-timeout"]
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


def main(name: str) -> None:
    environment = prepared(name, {"newest": newest, "oldest": oldest, "oldest-tested": oldest_tested}[name]())
    installed = wheel()
    offline = ("install", "--no-index", "--no-deps", "--force-reinstall", str(installed))
    subprocess.run([environment, *PIP, *offline], check=True)
    print(environment)


def wheel() -> Path:
    """Of the sources as they are."""
    builder = prepared("builder", BUILDER)
    out = PLACE / "dist"
    shutil.rmtree(out, ignore_errors=True)
    build = ("wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(HERE))
    subprocess.run([builder, *PIP, *build], check=True)
    (made,) = out.glob("*.whl")
    return made


def prepared(name: str, requirements: list[str]) -> Path:
    """The Python of an environment with these."""
    directory = PLACE / name
    python, stamp = directory / "bin" / "python", directory / "installed.txt"
    wanted = "\n".join([sys.version, *requirements])
    if not stamp.is_file() or stamp.read_text() != wanted:
        venv.create(directory, clear=True, with_pip=True)
        subprocess.run([python, *PIP, "install", *requirements], check=True)
        stamp.write_text(wanted)
    return python


def dependencies() -> list[str]:
    told: list[str] = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["dependencies"]
    return told


def newest() -> list[str]:
    """As the server is tested with."""
    return pinned((re.split("[<>=]", each)[0] for each in dependencies()), "requirements.lock")


def oldest() -> list[str]:
    return [re.sub(r">=([0-9.]+).*", r"==\1", each) for each in dependencies()]


def oldest_tested() -> list[str]:
    return [*oldest(), *pinned(TESTING, "requirements-dev.lock")]


def pinned(names: Iterable[str], lock: str) -> list[str]:
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))
    return [f"{name}=={pins[name]}" for name in names]


if __name__ == "__main__":
    main(sys.argv[1])
