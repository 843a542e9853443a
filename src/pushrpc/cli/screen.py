"""What people and scripts see: tables on a terminal, tab-separated lines without one, JSON lines with --json."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pushrpc.words import DeliveryState

STYLES = {
    DeliveryState.QUEUED: "yellow",
    DeliveryState.IN_FLIGHT: "cyan",
    DeliveryState.SENT: "green",
    DeliveryState.REJECTED: "red",
    DeliveryState.UNREGISTERED: "magenta",
    DeliveryState.EXPIRED: "yellow",
    DeliveryState.CANCELLED: "dim",
    DeliveryState.SUPPRESSED: "dim",
    DeliveryState.FAILED: "bold red",
}
WHOLE_COLUMNS = ("Provider", "State", "Tries")
TOKEN_EDGE = 6


def console() -> Console:
    """Made when it is needed, so that it sees the output as it is now. Respects NO_COLOR and the terminal's width."""
    return Console(highlight=False)


def errors() -> Console:
    return Console(stderr=True, highlight=False)


def is_terminal() -> bool:
    return sys.stdout.isatty()


def print_json(value: Message | dict[str, object]) -> None:
    """One line, so that scripts can read line by line."""
    if isinstance(value, Message):
        value = MessageToDict(value, preserving_proto_field_name=True)
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def program() -> str:
    """This program as it can be typed here: by name when the shell finds it, otherwise by its path."""
    own = Path(sys.argv[0])
    found = shutil.which("pushrpc")
    if own.name != "pushrpc" or (found and own.samefile(found)):
        return "pushrpc"
    return os.path.relpath(own)


def print_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Text | str]]) -> None:
    """A table on a terminal; else a line for each row, its cells parted by tabs."""
    if is_terminal():
        console().print(table(columns, rows))
        return
    for row in rows:
        print_line("\t".join(str(cell) for cell in row))


def table(columns: Sequence[str], rows: Iterable[Sequence[Text | str]], one_line: bool = False) -> Table:
    """Columns of whole words; what is too wide goes on in the next line, so that ids stay whole.

    `one_line` keeps every row to one line instead, for tables that are redrawn: then the last column is cut.
    """
    made = Table(box=None if one_line else box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        whole = one_line and column != columns[-1]
        made.add_column(column, no_wrap=whole or column in WHOLE_COLUMNS, overflow="fold")
    for *cells, last in rows:
        made.add_row(*cells, Text(str(last), no_wrap=True, overflow="ellipsis") if one_line else last)
    return made


def name_of(words: type[IntEnum], number: int) -> str:
    """The word for a number of the contract; a number that this release does not know stays one."""
    try:
        return words(number).name if number else ""
    except ValueError:
        return str(number)


def state_text(number: int) -> Text:
    name = name_of(DeliveryState, number)
    return Text(name, style=STYLES.get(DeliveryState[name], "") if name in DeliveryState.__members__ else "")


def short(token: str) -> str:
    """A token by its edges: enough to tell it from others, too little to send to."""
    if len(token) <= 3 * TOKEN_EDGE:
        return token
    return f"{token[:TOKEN_EDGE]}…{token[-TOKEN_EDGE:]}"
