"""aioapns in a process of its own, as its users run it. Run as a child: one load a line, `{}` first.

Its calls are what a caller of the library writes: build the requests, gather the answers.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsTLSClientProtocol


def client(endpoint: str, ca_file: str, key_file: str, topic: str) -> APNs:
    url = urlsplit(endpoint)

    class ToSink(APNsTLSClientProtocol):
        APNS_SERVER = url.hostname or ""
        APNS_PORT = url.port or 0
        # Between rounds nothing is sent for longer than its ten seconds.
        INACTIVITY_TIME = 3600

    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["h2"])
    key = Path(key_file).read_text()
    apns = APNs(key=key, key_id="ABC123DEFG", team_id="DEF123GHIJ", topic=topic, ssl_context=context)
    apns.pool.protocol_class = ToSink
    return apns


class Sender:
    def __init__(self, apns: APNs, title: str, body: str) -> None:
        self._apns = apns
        self._title = title
        self._body = body
        self._number = 0

    async def run(self, calls: int, tokens: int, callers: int) -> None:
        left = iter(range(calls))

        async def caller() -> None:
            for _ in left:
                await self._call(tokens)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(callers):
                tasks.create_task(caller())

    async def _call(self, tokens: int) -> None:
        first, self._number = self._number, self._number + tokens
        message = {"aps": {"alert": {"title": self._title, "body": f"{self._body} {first:09d}"}}}
        results = await asyncio.gather(
            *(
                self._apns.send_notification(
                    NotificationRequest(f"{first + i:064x}", message, priority=10, push_type=PushType.ALERT)
                )
                for i in range(tokens)
            )
        )
        if not all(result.is_successful for result in results):
            raise RuntimeError("the sink refused a push")


async def main(endpoint: str, ca_file: str, key_file: str, topic: str, title: str, body: str) -> None:
    sender = Sender(client(endpoint, ca_file, key_file, topic), title, body)
    print("{}", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        load = json.loads(line)
        start = time.perf_counter()
        await sender.run(load["calls"], load["tokens"], load["callers"])
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "pushes": load["calls"] * load["tokens"]}), flush=True)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
