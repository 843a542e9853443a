"""pushrpc up: something to try grpcurl and the command line on."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from pathlib import Path
from typing import NoReturn

import click
import grpc

from pushrpc.cli.caller import CALL_TIMEOUT_S
from pushrpc.cli.children import ChildFailed
from pushrpc.cli.emulator import APP_ID
from pushrpc.cli.playground import Playground, playground, run_until_signalled
from pushrpc.cli.screen import print_line, program
from pushrpc.emulator.tokens import apns_tokens
from pushrpc.v1 import devices_pb2
from pushrpc.v1.enums_pb2 import PROVIDER_APNS
from pushrpc.v1.service_pb2_grpc import PushServiceStub

USER_ID = "u-7"
# The raw token of the grpcurl line in the README, and the token of the user's device: the emulator takes any.
RAW_TOKEN = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"


@click.command(short_help="Run emulators and a server to try things on.")
@click.option("--listen", default="127.0.0.1:50051", show_default=True, help="Where the server listens.")
def up(listen: str) -> None:
    """Run emulators and a server until Ctrl-C, with an app "shop" whose user "u-7" has one device.

    Nothing is kept: the ledger is in a temporary directory.
    """
    code = run_until_signalled(_up(listen))
    raise SystemExit(0 if code == 128 + signal.SIGINT else code)  # Ctrl-C is how it is meant to end


async def _up(listen: str) -> int:
    with tempfile.TemporaryDirectory(prefix="pushrpc-up-") as directory:
        try:
            async with playground(Path(directory), listen) as ground:
                await register_user(ground)
                print_line(welcome(ground))
                await _until_one_ends(ground)
        except ChildFailed as error:
            raise click.ClickException(str(error)) from None


async def register_user(ground: Playground) -> None:
    async with grpc.aio.insecure_channel(ground.address) as channel:
        request = devices_pb2.RegisterDeviceRequest(
            app_id=APP_ID, provider=PROVIDER_APNS, token=apns_tokens(1)[0], user_id=USER_ID
        )
        await PushServiceStub(channel).RegisterDevice(request, timeout=CALL_TIMEOUT_S)


async def _until_one_ends(ground: Playground) -> NoReturn:
    """Neither child ends by itself, so the first one to do so is a failure."""
    waits = [asyncio.create_task(each.wait()) for each in (ground.emulator, ground.server)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        raise RuntimeError("a child ended by itself")
    finally:
        for wait in waits:
            wait.cancel()


def welcome(ground: Playground) -> str:
    where = "" if ground.address == "127.0.0.1:50051" else f" --server {ground.address}"
    return f"""\
pushrpc listens on {ground.address} (plain text, app "{APP_ID}", user "{USER_ID}"); Ctrl-C ends it

grpcurl -plaintext -d '{{"app_id":"{APP_ID}","request_id":"order-1234",
  "target":{{"tokens":[{{"provider":"PROVIDER_APNS","tokens":["{RAW_TOKEN}"]}}],"user_ids":["{USER_ID}"]}},
  "message":{{"title":"Order shipped","body":"Your order 1234 is on its way","badge":3,"sound":"default",\
"data":{{"order_id":"1234"}}}},
  "options":{{"ttl":"3600s","priority":"PRIORITY_HIGH"}},"wait":"5s"}}' \
{ground.address} pushrpc.v1.PushService/SendNotification

{program()} send --app {APP_ID} --user {USER_ID} --title "Order shipped" --data order_id=1234{where}
{program()} watch --app {APP_ID} --from oldest{where}
{program()} devices list --app {APP_ID}{where}

The emulators' faults and journal: curl {ground.control_url}/"""
