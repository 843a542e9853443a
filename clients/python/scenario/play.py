"""Plays clients/scenarios/scenario.json through the public API: play.py [--asyncio] scenario.json ADDRESS."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from blocking import Blocking
from google.protobuf import json_format
from google.protobuf.message import Message

from pushrpc_client import Client, PushError, v1

STEP_TIMEOUT_S = 60.0
LATE_S = 5.0
AT_ONCE_S = 4.0  # less than any time that a server asks callers to wait
CLOSE_AFTER_S = 0.3

Form = TypeVar("Form", bound=Message)
Step = dict[str, Any]
Result = dict[str, Any]


class Player:
    """Each method is one kind of step, and returns its result."""

    def __init__(self, connect: Callable[[str], Client], address: str) -> None:
        self._connect, self._address = connect, address
        self._push = connect(address)
        self._sent: dict[str, v1.SendNotificationResponse] = {}
        self._of_app = Watch()

    def register(self, step: Step) -> Result:
        answer = self._push.register(parsed(step["request"], v1.RegisterDeviceRequest()))
        return {"created": answer.created, "user_id": answer.device.user_id}

    def send(self, step: Step) -> Result:
        request = parsed(step["request"], v1.SendNotificationRequest())
        receipt = self._push.send(request)
        if step.get("again"):
            receipt = self._push.send(request)
        self._sent[step["name"]] = receipt
        rejected = [v1.RejectReason.Name(each.reason).removeprefix("REJECT_REASON_") for each in receipt.rejected]
        return {"target_count": receipt.target_count, "replayed": receipt.replayed, "rejected": rejected}

    def send_error(self, step: Step) -> Result:
        began = time.monotonic()
        error = failure(self._push, parsed(step["request"], v1.SendNotificationRequest()))
        return {
            "code": error.code.name,
            "reason": error.reason,
            "fields": [violation.field for violation in error.field_violations],
            "retry_after_s": int(error.retry_delay or 0),
            "at_once": time.monotonic() - began < AT_ONCE_S,
        }

    def bulk(self, step: Step) -> Result:
        requests = [parsed(each, v1.SendNotificationRequest()) for each in step["requests"]]
        with self._push.bulk() as bulk:
            futures = [bulk.add(request) for request in requests]
        errors = [future.exception() for future in futures]
        told = [(request.request_id, error.reason) for request, error in zip(requests, errors, strict=True)
                if isinstance(error, PushError)]  # fmt: skip
        return {"accepted": errors.count(None), "errors": told}

    def follow(self, step: Step) -> Result:
        with self._push.follow(self._sent[step["of"]].notification_id) as events:
            told = [(e.token, v1.DeliveryState.Name(e.state).removeprefix("DELIVERY_STATE_"), e.final) for e in events]
            return {"states": sorted(told), "ended": events.counts is not None}

    def follow_error(self, step: Step) -> Result:
        cursor = step["cursor"] if "cursor" in step else self._sent[step["of"]].cursor
        error = end_of(self._push.follow(cursor=cursor))
        return {"code": error.code.name, "reason": error.reason, "tells_oldest": "oldest_cursor" in error.metadata}

    def replay(self, step: Step) -> Result:
        cursor = self._sent[step["of"]].cursor if "of" in step else ""
        with self._push.follow(cursor=cursor, start=v1.STREAM_START_OLDEST, until_caught_up=True) as events:
            tokens = sorted(event.token for event in events if event.final)
            return {"tokens": tokens, "ended": events.counts is not None}

    def follow_app(self, _step: Step) -> Result:
        events = self._push.follow()
        events.__enter__()  # open from here on; the process ends with it
        threading.Thread(target=self._of_app.see, args=[events], daemon=True).start()
        return {"following": True}

    def pause(self, step: Step) -> Result:
        print(json.dumps({"pause": step["why"]}), flush=True)
        sys.stdin.readline()
        return {"resumed": True}

    def collect(self, step: Step) -> Result:
        tokens, repeats = self._of_app.finals(step["finals"])
        return {"finals": len(tokens), "tokens": sorted(tokens), "repeats": repeats}

    def cancel(self, step: Step) -> Result:
        answer = self._push.cancel(v1.CancelNotificationRequest(notification_id=self._sent[step["of"]].notification_id))
        counts = ("cancelled_count", "in_flight_count", "already_final_count")
        return {name: getattr(answer, name) for name in counts}

    def close(self, _step: Step) -> Result:
        closing_one = self._connect(self._address)
        events = closing_one.follow()
        events.__enter__()
        threading.Timer(CLOSE_AFTER_S, closing_one.close).start()
        error = end_of(events)
        return {"code": error.code.name, "reason": error.reason}

    def deadline(self, step: Step) -> Result:
        timeout = step["timeout_ms"] / 1000
        began = time.monotonic()
        with closing(self._connect(os.environ["PUSHRPC_SILENT"])) as silent:
            error = failure(silent, v1.SendNotificationRequest(message=v1.NotificationContent(title="Hello")), timeout)
        return {"code": error.code.name, "took_too_long": time.monotonic() - began > timeout + LATE_S}


class Watch:
    """What the background follower saw."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ids: set[str] = set()
        self._tokens: list[str] = []
        self._repeats = 0

    def see(self, events: Iterator[v1.DeliveryEvent]) -> None:
        for event in events:
            with self._changed:
                self._repeats += event.event_id in self._ids
                self._ids.add(event.event_id)
                self._tokens += [event.token] * event.final
                self._changed.notify_all()

    def finals(self, wanted: int) -> tuple[list[str], int]:
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._tokens) >= wanted, STEP_TIMEOUT_S):
                raise TimeoutError(f"only {len(self._tokens)} final events came")
            return self._tokens[:], self._repeats


def parsed(request: dict[str, Any], form: Form) -> Form:
    return json_format.ParseDict(request, form)


def failure(push: Client, request: v1.SendNotificationRequest, timeout: float | None = None) -> PushError:
    try:
        push.send(request, timeout=timeout)
    except PushError as error:
        return error
    raise AssertionError("it was accepted")


def end_of(events: Iterator[v1.DeliveryEvent]) -> PushError:
    """What ends a follower, at once or later."""
    try:
        for _ in events:
            pass
    except PushError as error:
        return error
    raise AssertionError("it ended well")


def connect(address: str) -> Client:
    return Client(address, "shop", plaintext=True)


def connect_asyncio(address: str) -> Any:
    return Blocking(address, "shop", plaintext=True)


def main(arguments: list[str]) -> None:
    with_asyncio = "--asyncio" in arguments
    scenario, address = (each for each in arguments if not each.startswith("--"))
    player = Player(connect_asyncio if with_asyncio else connect, address)
    for step in json.loads(Path(scenario).read_text()):
        try:
            told = {"result": getattr(player, step["do"])(step)}
        except Exception as error:
            told = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps({"step": step["name"], **told}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
