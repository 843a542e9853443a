"""What a file of an older schema becomes."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from pushrpc.ledger.sqlite.store import SCHEMA_DIR
from pushrpc.model import Address, Audience, DeviceSelector, Lane, Planned
from pushrpc.record import DeliverySelector
from pushrpc.words import AudienceKind, DeviceState, Environment, HubPlatform, Provider
from tests.clocks import ManualClock
from tests.ledger.shop import APNS, FCM, SqliteEngine, accepted, claimed, registration, send, soon

HUB = Lane("shop", Provider.NOTIFICATION_HUBS, "ns/hub", Environment.UNSPECIFIED)
OF_APPLE = Address(platform=HubPlatform.APNS)


async def migrate_from_2(engine: SqliteEngine) -> None:
    await engine.close()
    with sqlite3.connect(engine.directory / "ledger.db") as db:
        back_to_3(db)
        db.execute("ALTER TABLE notifications DROP COLUMN shortened")
        db.execute("PRAGMA user_version = 2")
    db.close()
    await engine.open()


def back_to_3(db: sqlite3.Connection) -> None:
    """The file as schema 3 would have left it."""
    triggers = re.findall(r"CREATE TRIGGER .*?END;", (SCHEMA_DIR / "2.sql").read_text(), re.DOTALL)
    db.executescript(
        "DROP INDEX devices_ending; DROP INDEX unsynced_due; DROP INDEX unconfirmed_due;"
        + "".join(f"DROP TRIGGER {trigger.split()[2]};" for trigger in triggers)
        + "ALTER TABLE unsynced DROP COLUMN app; CREATE INDEX unsynced_due ON unsynced (due_us);"
        + "CREATE INDEX unconfirmed_due ON unconfirmed (due_us); PRAGMA user_version = 3;"
        + "".join(triggers)
    )


async def test_apples_tokens_become_lower_case_and_the_later_registered_keeps_one(
    sqlite_engine: SqliteEngine, clock: ManualClock
) -> None:
    ledger = sqlite_engine.ledger
    sandbox = APNS._replace(environment=Environment.SANDBOX)
    registered: list[tuple[str, str, Lane, dict[str, Any]]] = [
        ("early", "AB", APNS, {}),
        ("late", "ab", APNS, {}),
        ("late-too", "CD", APNS, {}),
        ("sandbox", "AB", sandbox, {}),
        ("fcm", "AB", FCM, {}),
        ("hub", "AB", HUB, {"address": OF_APPLE}),
        ("hub-adm", "EF", HUB, {"address": Address(platform=HubPlatform.ADM)}),
    ]
    for device_id, token, lane, more in registered:
        clock.advance(1)
        await ledger.register(registration(token, lane, device_id=device_id, **more), clock.now_us())
    clock.advance(-3600)  # registered long ago, however late it came
    await ledger.register(registration("cd", device_id="early-too"), clock.now_us())
    await migrate_from_2(sqlite_engine)

    found = {
        name: (device.token, device.state is DeviceState.REMOVED)
        for name in ("early-too", *(name for name, *_ in registered))
        if (device := await sqlite_engine.ledger.device("shop", DeviceSelector(device_id=name)))
    }
    assert found == {
        "early": ("", True),
        "late": ("ab", False),
        "early-too": ("", True),
        "late-too": ("cd", False),
        "sandbox": ("ab", False),
        "fcm": ("AB", False),
        "hub": ("ab", False),
        "hub-adm": ("EF", False),
    }


async def test_deliveries_to_apple_are_found_by_the_token_as_it_is_told_now(
    sqlite_engine: SqliteEngine, clock: ManualClock
) -> None:
    tagged = Address(platform=HubPlatform.APNS, audience=AudienceKind.TAGS)
    planned = [
        Planned(APNS, ["AB"]),
        Planned(APNS, ["CHANNEL="], addresses=[Address(audience=AudienceKind.CHANNEL).text]),
        Planned(FCM, ["AB"]),
        Planned(HUB, ["AB", "TAG"], addresses=[OF_APPLE.text, tagged.text]),
    ]
    wanted = send(clock, resolve=lambda _: Audience(planned, 0, ()))
    await accepted(sqlite_engine.ledger, wanted)
    await migrate_from_2(sqlite_engine)
    which = DeliverySelector(notification_id=wanted.notification_id)
    rows, _ = await sqlite_engine.ledger.deliveries("shop", which, False, 0, 10) or ((), 0)
    assert [row.token for row in rows] == ["ab", "CHANNEL=", "AB", "ab", "TAG"]
    rows, _ = await sqlite_engine.ledger.deliveries("shop", DeliverySelector(token="ab"), False, 0, 10) or ((), 0)
    assert [row.provider for row in rows] == [Provider.NOTIFICATION_HUBS, Provider.APNS]
    assert [each.token for each in (await soon(claimed(sqlite_engine.ledger))).deliveries] == ["ab", "CHANNEL="]


async def test_a_repeat_tells_the_cuts_that_are_kept(sqlite_engine: SqliteEngine, clock: ManualClock) -> None:
    planned = Audience([Planned(APNS, ["ab"])], 0, [], [Provider.APNS, Provider.HMS])
    (receipt,) = await accepted(sqlite_engine.ledger, send(clock, request_id="r", resolve=lambda _: planned))
    assert receipt.shortened == [Provider.APNS, Provider.HMS]
    await sqlite_engine.reopen()
    (repeat,) = await accepted(sqlite_engine.ledger, send(clock, request_id="r"))
    assert repeat == receipt._replace(replayed=True)
    await migrate_from_2(sqlite_engine)
    (repeat,) = await accepted(sqlite_engine.ledger, send(clock, request_id="r"))
    assert (repeat.replayed, repeat.shortened) == (True, ())


async def test_what_was_due_at_hubs_before_schema_4_is_due_after_it(
    sqlite_engine: SqliteEngine, clock: ManualClock
) -> None:
    ledger = sqlite_engine.ledger
    game = HUB._replace(app_id="game")
    for lane in (HUB, game):
        await ledger.register(registration("t", lane=lane, address=OF_APPLE, device_id=lane.app_id), clock.now_us())
    await sqlite_engine.close()
    with sqlite3.connect(sqlite_engine.directory / "ledger.db") as db:
        back_to_3(db)
    db.close()
    ledger = await sqlite_engine.open()
    assert set(await ledger.unsynced_lanes(clock.now_us())) == {HUB, game}
    for lane in (HUB, game):
        (due,) = await ledger.unsynced(lane, clock.now_us(), 10)
        assert due.device.device_id == lane.app_id
