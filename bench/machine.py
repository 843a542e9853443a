"""What Linux says of a process and of this machine."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import time
from importlib import metadata
from pathlib import Path

MIB = 1024 * 1024
GO_MOD = Path(__file__).parent / "go" / "go.mod"
_PACKAGES = ("grpcio", "protobuf", "uvloop", "aioapns", "h2")


def cpu_s(pid: int) -> float:
    """User and system time of all threads of a process, ended ones too, in seconds.

    The same sum as utime + stime of /proc/PID/stat, but in nanoseconds instead of ticks of 10 ms: the clock that
    clock_getcpuclockid(3) names.
    """
    return time.clock_gettime(~pid << 3 | 2)


def rss_peak_mib(pid: int) -> float:
    """The most memory a process ever held (VmHWM), in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / MIB
    raise ValueError(f"process {pid} has no VmHWM")


def description(directory: Path) -> dict[str, str]:
    """What a reader needs to know of this machine, without its name; `directory` is where the ledger lies."""
    return {
        "CPU": f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / MIB / 1024:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "ledger's file system": _file_system(directory),
        "Python": platform.python_version(),
        **{package: metadata.version(package) for package in _PACKAGES},
        "SQLite": sqlite3.sqlite_version,
        "Go": subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout.strip()[2:],
        **_go_modules(),
    }


def _go_modules() -> dict[str, str]:
    wanted = ("github.com/appleboy/gorush", "github.com/sideshow/apns2", "google.golang.org/grpc")
    lines = (line.split() for line in GO_MOD.read_text().splitlines())
    found = {words[0]: words[1].removeprefix("v") for words in lines if words and words[0] in wanted}
    return {name.rpartition("/")[2].replace("grpc", "grpc-go"): version for name, version in found.items()}


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(directory: Path) -> str:
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, its_kind, *_ = line.split()
        if directory.resolve().is_relative_to(mount) and len(mount) > len(best):
            best, kind = mount, its_kind
    return kind
