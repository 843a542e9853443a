"""Against a provider whose HTTP/2 nobody here wrote: Go's net/http server, on both providers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import grpc
from google.protobuf.duration_pb2 import Duration

from pushrpc.v1 import enums_pb2 as e
from pushrpc.v1 import following_pb2 as following
from pushrpc.v1 import sending_pb2 as sending
from tests.e2e.foreign import accounts, build
from tests.e2e.running import ServerProcess, stub
from tests.tls import make_authority

SCRIPT = {"20": [200], "41": [410], "43": [413], "53": [503, 200], "29": [429, 200]}
EXPECTED = {
    "20": e.DELIVERY_STATE_SENT,
    "41": e.DELIVERY_STATE_UNREGISTERED,
    "43": e.DELIVERY_STATE_REJECTED,
    "53": e.DELIVERY_STATE_SENT,
    "29": e.DELIVERY_STATE_SENT,
}
PER_KIND = 40


async def test_every_answer_of_a_foreign_server_becomes_the_right_state(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    cert_file, key_file = authority.issue(["localhost", "127.0.0.1"])
    tokens = {
        provider: [form.format(kind=kind, i=i) for kind in SCRIPT for i in range(PER_KIND)]
        for provider, form in ((e.PROVIDER_APNS, "{kind}{i:062x}"), (e.PROVIDER_FCM, "{kind}{i:020d}:APA91bFromGo"))
    }
    answers = {token: SCRIPT[token[:2]] for named in tokens.values() for token in named}
    sink = await asyncio.create_subprocess_exec(
        build("go_sink", tmp_path), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert sink.stdin is not None
    assert sink.stdout is not None
    try:
        sink.stdin.write(json.dumps({"cert": cert_file, "key": key_file, "answers": answers}).encode() + b"\n")
        address = (await sink.stdout.readline()).decode().strip()
        config = accounts(tmp_path, f"https://{address}", authority.ca_file)
        async with (
            ServerProcess(tmp_path, {"shop": config}) as server,
            grpc.aio.insecure_channel(server.target) as channel,
        ):
            target = sending.Target(tokens=[sending.TokenTarget(provider=p, tokens=t) for p, t in tokens.items()])
            reply = await stub(channel).SendNotification(
                sending.SendNotificationRequest(
                    app_id="shop",
                    target=target,
                    message=sending.NotificationContent(title="Hello, Go"),
                    wait=Duration(seconds=30),
                ),
                timeout=60,
            )
            assert reply.complete, server.log()
            assert {s.token: s.state for s in reply.statuses} == {t: EXPECTED[t[:2]] for t in answers}
            check_reasons(reply.statuses)
            assert await server.stop() == 0, server.log()
    finally:
        sink.stdin.close()
        received = [json.loads(line) for line in (await sink.stdout.read()).splitlines()]
        await asyncio.wait_for(sink.wait(), 10)
    assert {push["proto"] for push in received} == {"HTTP/2.0"}
    sent = Counter(push["token"] for push in received)
    assert sent == {token: len(statuses) for token, statuses in answers.items()}, "no try lost, none repeated"


def check_reasons(statuses: Iterable[following.Delivery]) -> None:
    words = {
        (e.PROVIDER_APNS, "41"): "Unregistered",
        (e.PROVIDER_APNS, "43"): "PayloadTooLarge",
        (e.PROVIDER_FCM, "41"): "UNREGISTERED",
    }
    for status in statuses:
        expected = words.get((status.provider, status.token[:2]))
        if expected:
            assert status.reason == expected
        if status.state == e.DELIVERY_STATE_SENT:
            assert status.provider_message_id
