"""One app's hub does not answer: the other app's devices reach theirs as if nothing were."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pushrpc.emulator import Emulator, apns_tokens
from pushrpc.v1 import devices_pb2, enums_pb2
from tests.e2e.running import ServerProcess, apps_at, stub

SICK_S = 60.0  # longer than all of the test
PATIENCE_S = 10.0
CROWD = 64  # far more than are asked at once


async def test_a_hub_that_does_not_answer_keeps_no_other_apps_devices_waiting(tmp_path: Path) -> None:
    for name in ("well", "sick", "server"):
        (tmp_path / name).mkdir()
    async with Emulator.start(tmp_path / "well", seed=1) as well, Emulator.start(tmp_path / "sick", seed=2) as sick:
        apps = {
            app_id: {"notification_hubs": apps_at(emulator)["shop"]["notification_hubs"]}
            for app_id, emulator in (("shop", well), ("game", sick))
        }
        sick.add_fault(provider="hub_installations", action="delay", delay_s=SICK_S)
        async with ServerProcess(tmp_path / "server", apps) as server, server.channel() as channel:
            push = stub(channel)

            async def register(app_id: str, token: str) -> None:
                request = devices_pb2.RegisterDeviceRequest(
                    app_id=app_id,
                    provider=enums_pb2.PROVIDER_NOTIFICATION_HUBS,
                    hub_platform=enums_pb2.HUB_PLATFORM_APNS,
                    token=token,
                )
                await push.RegisterDevice(request, timeout=30)

            await asyncio.gather(*(register("game", token) for token in apns_tokens(CROWD, seed=1)))
            await asyncio.gather(*(register("shop", token) for token in apns_tokens(CROWD, seed=2)))
            async with asyncio.timeout(PATIENCE_S):
                while well.journal.answers["hub_installations", 200] < CROWD:  # noqa: ASYNC110 (it has no event)
                    await asyncio.sleep(0.02)
            await server.kill()
