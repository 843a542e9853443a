"""`pushrpc …` and `python -m pushrpc …`."""

from __future__ import annotations

from pushrpc.cli import commands


def main() -> None:
    commands(prog_name="pushrpc")


if __name__ == "__main__":
    main()
