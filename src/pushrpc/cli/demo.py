"""pushrpc demo: thousands of notifications through real processes and real TLS, with faults; every sum is proven."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import grpc

from pushrpc.cli.caller import CALL_TIMEOUT_S, explain, json_option
from pushrpc.cli.children import ChildFailed
from pushrpc.cli.closing import Run, print_closing, record_closing, run_as_json
from pushrpc.cli.playground import Playground, playground, run_until_signalled
from pushrpc.cli.progress import Progress, QuietProgress, lines_or_live
from pushrpc.cli.screen import print_json
from pushrpc.cli.tally import ON_STAGE, Taken, Tally
from pushrpc.cli.traffic import APP_ID, MALFORMED, REGISTERED, Plan, Reach, Traffic, faults, plan
from pushrpc.v1 import devices_pb2, following_pb2, sending_pb2, service_pb2
from pushrpc.v1.enums_pb2 import STREAM_START_OLDEST
from pushrpc.v1.service_pb2_grpc import PushServiceStub
from pushrpc.words import Provider

if TYPE_CHECKING:  # the stubs alone tell the asyncio form apart
    from pushrpc.v1.service_pb2_grpc import PushServiceAsyncStub

CALLS_AT_ONCE = 4
REGISTRATIONS_AT_ONCE = 50
SUBSCRIPTIONS_AT_ONCE = 1_000
ANSWERED_TIMEOUT_S = 60.0  # faults cost seconds; longer means that something hangs
POLL_S = 0.05


@click.command(short_help="Watch thousands of notifications travel, and every sum proven.")
@click.option("--count", type=click.IntRange(100, 200_000), default=5_000, show_default=True, help="Tokens to send to.")
@click.option("--seed", type=int, default=7, show_default=True, help="Repeats the same tokens and faults.")
@click.option("--record", type=click.Path(dir_okay=False, writable=True, path_type=Path), metavar="SVG",
              help="Also save the closing picture.")  # fmt: skip
@json_option
def demo(count: int, seed: int, record: Path | None, as_json: bool) -> None:
    """Start six emulated push services and a server, send to thousands of tokens with faults mixed in, follow the
    stream, and prove that every count adds up.

    The faults: dead tokens, 500s and 503s, 429 with Retry-After, refused and broken streams, GOAWAY, a token endpoint
    that fails at first, slow answers. The status stream is left midway and resumed from its cursor.

    Exit code 0: every sum holds. 1: one does not; it is marked.
    """
    raise SystemExit(run_until_signalled(_demo(plan(count, seed), record, as_json)))


async def _demo(made: Plan, record: Path | None, as_json: bool) -> int:
    tally = Tally()
    progress = QuietProgress() if as_json else lines_or_live(made, tally)
    try:
        with progress:
            run = await _perform(made, tally, progress)
    except ChildFailed as error:
        raise click.ClickException(str(error)) from None
    except (grpc.RpcError, ExceptionGroup) as error:
        cause: Exception = error
        while isinstance(cause, ExceptionGroup):
            cause = cause.exceptions[0]
        if not isinstance(cause, grpc.RpcError):
            raise
        raise click.ClickException(explain(cause, "the demo's own address")) from None
    if as_json:
        print_json(run_as_json(run))
    else:
        print_closing(run)
    if record is not None:
        record_closing(run, record)
    return 0 if run.adds_up else 1


async def _perform(made: Plan, tally: Tally, progress: Progress) -> Run:
    with tempfile.TemporaryDirectory(prefix="pushrpc-demo-") as directory:
        progress.step("Starting six emulated push services and a server")
        async with playground(Path(directory), "127.0.0.1:0") as ground:
            async with grpc.aio.insecure_channel(ground.address) as channel:
                push = PushServiceStub(channel)
                traffic = await _set_the_scene(ground, push, made)
                progress.step(f"Registering {len(REGISTERED) * made.users:,} devices of {made.users:,} users")
                await _register(push, traffic)
                progress.step("Sending, with faults, and following every delivery")
                started_s = time.monotonic()
                cursor = await _send_and_follow(push, made, traffic, tally, progress)
                seconds = time.monotonic() - started_s
                progress.step("Counting")
                await _catch_up(push, tally, cursor)
                replay = await push.SendNotification(next(traffic.calls()), timeout=CALL_TIMEOUT_S)
                counts = await _ledger_counts(push)
            journal = await ground.control("GET", "/counts")
    taken = {provider: _taken(journal, provider.name.lower()) for provider in ON_STAGE}
    dead = sum(map(made.dead, made.counts))
    checks = tally.checks(made.planned, dead, len(MALFORMED), taken, counts, replay)
    return Run(tally, seconds, taken, checks)


async def _set_the_scene(ground: Playground, push: PushServiceAsyncStub, made: Plan) -> Traffic:
    """Has the emulators issue tokens, kill some of them, and prepare their bad day."""
    reaches = {provider: await _issued(ground, push, provider, count) for provider, count in made.counts.items()}
    traffic = made.traffic(reaches)
    died_ms = int(time.time() * 1000) - 60_000
    for provider, dead in traffic.dead.items():
        belief = {"provider": provider.name.lower(), "tokens": dead, "state": "unregistered", "since_ms": died_ms}
        await ground.control("POST", "/tokens", belief)
    for fault in faults(made):
        await ground.control("POST", "/faults", fault)
    return traffic


async def _issued(ground: Playground, push: PushServiceAsyncStub, provider: Provider, count: int) -> list[Reach]:
    if provider is not Provider.WEB_PUSH:
        answer = await ground.control("POST", "/tokens", {"provider": provider.name.lower(), "make": count})
        return [Reach(token) for token in answer["tokens"]]
    info = await push.GetServerInfo(service_pb2.GetServerInfoRequest(app_id=APP_ID), timeout=CALL_TIMEOUT_S)
    (key,) = (each.provider_app_ids[0] for each in info.providers if Provider(each.provider) is provider)
    issued: list[Reach] = []
    while len(issued) < count:
        wanted = {"vapid_public_key": key, "make": min(SUBSCRIPTIONS_AT_ONCE, count - len(issued))}
        answer = await ground.control("POST", "/subscriptions", wanted)
        issued += [Reach(each["endpoint"], **each["keys"]) for each in answer["subscriptions"]]
    return issued


def _taken(journal: dict[str, Any], provider: str) -> Taken:
    answers = {int(status): count for status, count in journal["answers"].get(provider, {}).items()}
    return Taken(journal[provider]["accepted"], journal[provider]["distinct"], answers)


async def _register(push: PushServiceAsyncStub, traffic: Traffic) -> None:
    free = asyncio.Semaphore(REGISTRATIONS_AT_ONCE)

    async def one(request: devices_pb2.RegisterDeviceRequest) -> None:
        async with free:
            await push.RegisterDevice(request, timeout=CALL_TIMEOUT_S)

    async with asyncio.TaskGroup() as tasks:
        for request in traffic.registrations():
            tasks.create_task(one(request))


async def _send_and_follow(
    push: PushServiceAsyncStub, made: Plan, traffic: Traffic, tally: Tally, progress: Progress
) -> str:
    """Sends everything while following the app, until all that was accepted is final; returns the last cursor.

    Ends early when that takes too long: the sums then show what is missing.
    """
    request = following_pb2.StreamDeliveryStatusRequest(app_id=APP_ID, start=STREAM_START_OLDEST)
    following = asyncio.create_task(_follow(push, request, tally, leave_at=made.planned // 2))
    sending = asyncio.create_task(_send(push, traffic, tally))
    try:
        async with asyncio.timeout(ANSWERED_TIMEOUT_S):
            while not (sending.done() and tally.finals >= tally.accepted):
                for task in (sending, following):
                    if task.done():
                        task.result()
                progress.tick()
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        pass
    finally:
        sending.cancel()
        following.cancel()
        await asyncio.gather(sending, following, return_exceptions=True)
    return request.cursor


async def _send(push: PushServiceAsyncStub, traffic: Traffic, tally: Tally) -> None:
    """Unary calls of up to 1,000 targets, a few at a time, beside a bulk stream of single sends."""
    free = asyncio.Semaphore(CALLS_AT_ONCE)

    async def call(request: sending_pb2.SendNotificationRequest) -> None:
        async with free:
            tally.receipt(await push.SendNotification(request, timeout=CALL_TIMEOUT_S))

    async def bulk() -> None:
        stream = push.SendNotifications(traffic.bulk(), timeout=ANSWERED_TIMEOUT_S)
        async for response in stream:
            for receipt in response.receipts:
                if receipt.HasField("accepted"):
                    tally.receipt(receipt.accepted)
                else:
                    tally.refused[receipt.error.reason] += 1

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bulk())
        for request in traffic.calls():
            tasks.create_task(call(request))


async def _follow(
    push: PushServiceAsyncStub, request: following_pb2.StreamDeliveryStatusRequest, tally: Tally, leave_at: int
) -> None:
    """Follows from `request.cursor` on, keeping it current. Leaves the stream once, midway, and resumes."""
    while True:
        left = tally.finals >= leave_at
        stream = push.StreamDeliveryStatus(request, timeout=ANSWERED_TIMEOUT_S)
        async for response in stream:
            tally.page(response)
            request.cursor = response.cursor
            request.ClearField("start")
            if not left and tally.finals >= leave_at:
                stream.cancel()
                break


async def _catch_up(push: PushServiceAsyncStub, tally: Tally, cursor: str) -> None:
    """Reads what else the stream has to tell: a second final event would be found here."""
    request = following_pb2.StreamDeliveryStatusRequest(app_id=APP_ID, cursor=cursor, until_caught_up=True)
    async for response in push.StreamDeliveryStatus(request, timeout=CALL_TIMEOUT_S):
        tally.page(response)


async def _ledger_counts(push: PushServiceAsyncStub) -> following_pb2.DeliveryCounts:
    """All notifications' counts together."""
    counts = following_pb2.DeliveryCounts()
    request = following_pb2.ListNotificationsRequest(app_id=APP_ID, page_size=1_000)
    while True:
        page = await push.ListNotifications(request, timeout=CALL_TIMEOUT_S)
        for notification in page.notifications:
            for field, value in notification.counts.ListFields():
                setattr(counts, field.name, getattr(counts, field.name) + value)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return counts
