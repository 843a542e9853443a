"""The journal: every message the emulated services took, so that a test can prove no loss and no duplicates."""

from __future__ import annotations

import base64
import json
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from typing import NamedTuple

from pushrpc.emulator.service import Entry

ENTRIES_MAX = 20_000
"""Messages kept whole, the newest; older ones live on in the counts."""

COUNTED_MAX = 2_000_000
"""Tokens and identities counted exactly. Past that `exact` is false and the counts are lower bounds."""

SECRET_HEADERS = frozenset({b"authorization", b"cookie"})


class Counts(NamedTuple):
    """`accepted` messages, of `distinct` identities, to `tokens` tokens. `accepted - distinct` were duplicates."""

    accepted: int
    distinct: int
    tokens: int
    exact: bool


class _Tally:
    def __init__(self) -> None:
        self.accepted = 0
        self.tokens: Counter[str] = Counter()
        self.identities: set[bytes] = set()


class Journal:
    """`answers` counts what was said: (provider, status) to how often, scripted faults included."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=ENTRIES_MAX)
        self._tallies: defaultdict[str, _Tally] = defaultdict(_Tally)
        self._exact = True
        self.answers: Counter[tuple[str, int]] = Counter()

    def accept(self, entry: Entry) -> None:
        headers = [(name, value) for name, value in entry.headers if name not in SECRET_HEADERS]
        self._entries.append(entry._replace(headers=headers))
        tally = self._tallies[entry.provider]
        tally.accepted += 1
        if max(len(tally.tokens), len(tally.identities)) >= COUNTED_MAX:
            self._exact = False
            return
        tally.tokens[entry.token] += 1
        tally.identities.add(entry.identity)

    def entries(self, provider: str = "", token: str = "") -> Iterator[Entry]:
        """Kept messages, oldest first."""
        for entry in self._entries:
            if provider in ("", entry.provider) and token in ("", entry.token):
                yield entry

    def counts(self, provider: str) -> Counts:
        tally = self._tallies[provider]
        return Counts(tally.accepted, len(tally.identities), len(tally.tokens), self._exact)

    def accepted_by_token(self, provider: str) -> Counter[str]:
        """How many messages each token was sent, also when the messages themselves are no longer kept."""
        return Counter(self._tallies[provider].tokens)


def as_json(entry: Entry) -> dict[str, object]:
    """An entry for the control API; a payload that is not JSON is given in base64."""
    payload: object
    try:
        payload = json.loads(entry.payload)
    except ValueError:
        payload = {"base64": base64.b64encode(entry.payload).decode()}
    told: dict[str, object] = {
        "provider": entry.provider,
        "environment": entry.environment,
        "token": entry.token,
        "message_id": entry.message_id,
        "time_us": entry.time_us,
        "headers": {name.decode("latin-1"): value.decode("latin-1") for name, value in entry.headers},
        "payload": payload,
    }
    return told | ({"reached": list(entry.reached)} if entry.reached else {})
