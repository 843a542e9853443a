"""`python -m tests.fuzz TARGET DIRECTORY [libFuzzer's options]`: fuzzing guided by coverage.

What is found new is kept in DIRECTORY, and so is an input that fails; `xxd -p` makes it a line of tests/fuzz/inputs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

from tests.fuzz import stored

# What is instrumented, and so guides the fuzzer.
GUIDES = ["pushrpc.exchange", "pushrpc.transport", "pushrpc.providers", "hpack"]

# An input that takes longer, or more memory than the whole fuzzer needs several times, has failed.
OPTIONS = ["-timeout=10", "-rss_limit_mb=1024", "-max_len=1024"]


def main() -> None:
    with atheris.instrument_imports(include=GUIDES):
        from tests.fuzz import answers, http2

        answers.parsers()  # each provider is imported when its first account is opened
    target, directory = sys.argv[1], Path(sys.argv[2])
    play = {"http2": http2.play, "answers": answers.play}[target]
    directory.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(stored(target)):
        Path(directory, f"stored-{number}").write_bytes(data)
    atheris.Setup([sys.argv[0], *OPTIONS, *sys.argv[3:], f"-artifact_prefix={directory}/", str(directory)], play)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
