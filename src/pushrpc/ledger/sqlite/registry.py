"""The registry: what a registration makes of what is known, and the rows that say so.

The newest registration of (app, provider, environment, token) wins the token. A device that loses its token this way
becomes REMOVED and keeps none; a device that was unregistered keeps its token, so that registering it again gives it
its old id back, but nothing else: whoever uses the phone now need not be who used it then.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pushrpc.ledger.sqlite.settle import end_removed
from pushrpc.ledger.sqlite.writer import Transaction
from pushrpc.model import (
    NO_ADDRESS,
    Address,
    Device,
    DeviceChange,
    DeviceFilter,
    DeviceSelector,
    Lane,
    Location,
    Registered,
    Registration,
    uuid7,
)
from pushrpc.record import Synced, Unsynced
from pushrpc.words import DeviceState, Environment, Permission, Provider, TokenKind

REMOVED = int(DeviceState.REMOVED)
_HOLDS = "d.app = ? AND d.provider = ? AND d.environment = ? AND d.token = ? AND d.token <> ''"


def register(registration: Registration, now_us: int, transaction: Transaction) -> Registered:
    sql = transaction.sql
    app = transaction.app_key(registration.app_id)
    transaction.memory.apps_with_devices.add(app)  # may stay though nothing comes of this
    identity = (app, int(registration.provider), int(registration.environment), registration.token)
    holder = _one(sql, _HOLDS, identity)
    named = (
        _one(sql, "d.app = ? AND d.device_id = ?", (app, registration.device_id)) if registration.device_id else None
    )
    known = named if registration.device_id else holder
    if known is None and registration.replaces_token:
        replaced = (*identity[:3], registration.replaces_token)
        known = _one(sql, f"{_HOLDS} AND d.state <> {REMOVED}", replaced)

    superseded: tuple[str, ...] = ()
    if holder is not None and (known is None or holder[0] != known[0]):
        key, loser = holder
        if loser.state is not DeviceState.REMOVED:
            superseded = (loser.device_id,)
        _write(sql, key, app, replace(loser, token="", state=DeviceState.REMOVED, updated_us=now_us))
        end_removed(app, [loser.device_id], now_us, transaction)

    alive = known is not None and known[1].state is not DeviceState.REMOVED
    if known is not None and alive:
        device = merged(known[1], registration, now_us)
    else:
        device = created(registration, known[1].device_id if known else registration.device_id, now_us)
    _write(sql, known[0] if known else None, app, device)
    return Registered(device, not alive, superseded)


def merged(device: Device, registration: Registration, now_us: int) -> Device:
    """Set, non-empty parts of a registration overwrite; being registered revives a dead device."""
    kept = device.address if device.token == registration.token else NO_ADDRESS
    overwritten = {name: value for name in _MERGED if (value := getattr(registration, name))}
    return replace(
        device,
        provider=registration.provider,
        provider_app_id=registration.provider_app_id,
        environment=registration.environment,
        token=registration.token,
        **overwritten,
        registered_us=registration.registered_us or now_us,
        # Of the token, and so never what was known of another one.
        address=registration.address if registration.address != NO_ADDRESS else kept,
        origin=registration.origin,
        token_expire_us=registration.token_expire_us,
        state=DeviceState.ACTIVE,
        dead_reason="",
        dead_us=0,
        token_replaced_by="",
        updated_us=now_us,
        seen_us=now_us,
    )


_MERGED = (
    "user_id", "tags", "topics", "locale", "time_zone", "location", "permission", "token_kind", "installation_id",
    "metadata",
)  # fmt: skip


def created(registration: Registration, device_id: str, now_us: int) -> Device:
    blank = Device(
        registration.app_id,
        device_id or uuid7(now_us, os.urandom(8)),
        registration.provider,
        registration.provider_app_id,
        registration.environment,
        registration.token,
        created_us=now_us,
    )
    return merged(blank, registration, now_us)


def update(app_id: str, device_id: str, change: DeviceChange, now_us: int, transaction: Transaction) -> Device | None:
    app = transaction.app_key(app_id)
    known = _one(transaction.sql, "d.app = ? AND d.device_id = ?", (app, device_id))
    if known is None or known[1].state is DeviceState.REMOVED:
        return None
    device = replace(known[1], **change.values, updated_us=now_us)
    device = replace(
        device,
        tags=_changed(device.tags, change.add_tags, change.remove_tags),
        topics=_changed(device.topics, change.add_topics, change.remove_topics),
    )
    _write(transaction.sql, known[0], app, device)
    return device


def _changed(present: Sequence[str], add: Sequence[str], remove: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in dict.fromkeys((*present, *add)) if name not in remove)


def unregister(app_id: str, which: DeviceSelector, now_us: int, transaction: Transaction) -> int:
    """Marks devices REMOVED; what is queued for them ends, and what is in flight is not queued again."""
    app = transaction.app_key(app_id)
    condition, values = _selected(app, which)
    removed = [
        device_id
        for (device_id,) in transaction.sql.execute(
            f"UPDATE devices AS d SET state = {REMOVED}, updated_us = ? WHERE {condition} AND d.state <> {REMOVED}"
            " RETURNING device_id",
            (now_us, *values),
        ).fetchall()
    ]
    end_removed(app, removed, now_us, transaction)
    return len(removed)


# --- devices that a provider keeps too

_UNSYNCED = "u.app = ? AND u.provider_app_id = ? AND u.due_us <= ? ORDER BY u.due_us LIMIT ?"
_NEXT_HUB = """
    SELECT u.app, u.provider_app_id, u.due_us, a.app_id FROM unsynced AS u JOIN apps AS a ON a.key = u.app
    WHERE (u.app, u.provider_app_id) > (?, ?) ORDER BY u.app, u.provider_app_id, u.due_us LIMIT 1"""
_THIS = """
    provider_app_id = ? AND device = (SELECT key FROM devices WHERE app = ? AND device_id = ? AND updated_us = ?)"""
_SYNCED = f"DELETE FROM unsynced WHERE {_THIS}"
_SYNC_LATER = f"UPDATE unsynced SET due_us = ?, tries = tries + 1 WHERE {_THIS}"


def unsynced_lanes(sql: sqlite3.Connection, now_us: int) -> list[Lane]:
    found: list[Lane] = []
    app, hub = 0, ""
    while row := sql.execute(_NEXT_HUB, (app, hub)).fetchone():
        app, hub, due_us, app_id = row
        if due_us <= now_us:
            found.append(Lane(app_id, Provider.NOTIFICATION_HUBS, hub, Environment.UNSPECIFIED))
    return found


def unsynced(sql: sqlite3.Connection, app: int, lane: Lane, now_us: int, limit: int) -> list[Unsynced]:
    rows = sql.execute(_SELECT_UNSYNCED, (app, lane.provider_app_id, now_us, limit)).fetchall()
    return [Unsynced(_as_kept_at(_device(row), row[-2]), row[-1]) for row in rows]


def _as_kept_at(device: Device, hub: str) -> Device:
    """The device as a hub should know it: one that is elsewhere now is gone there."""
    if device.provider is Provider.NOTIFICATION_HUBS and device.provider_app_id == hub:
        return device
    return replace(
        device, provider=Provider.NOTIFICATION_HUBS, provider_app_id=hub, state=DeviceState.REMOVED, origin=""
    )


def synced(results: Sequence[Synced], transaction: Transaction) -> None:
    """A device that has changed since it was read stays due."""
    for device, due_us in results:
        app = transaction.app_key(device.app_id)
        which = (device.provider_app_id, app, device.device_id, device.updated_us)
        if due_us:
            transaction.sql.execute(_SYNC_LATER, (due_us, *which))
        else:
            transaction.sql.execute(_SYNCED, which)


def _selected(app: int, which: DeviceSelector) -> tuple[str, tuple[Any, ...]]:
    if which.device_id:
        return "d.app = ? AND d.device_id = ?", (app, which.device_id)
    if which.token:
        token_of = "d.app = ? AND d.provider = ? AND d.environment IN (0, 1, 2) AND d.token = ? AND d.token <> ''"
        return token_of, (app, int(which.provider), which.token)
    if which.user_id:
        return "d.app = ? AND d.user_id = ? AND d.user_id <> ''", (app, which.user_id)
    return "d.app = ? AND d.installation_id = ? AND d.installation_id <> ''", (app, which.installation_id)


# --- reading

_COLUMNS = (
    "device_id", "provider", "provider_app_id", "environment", "token", "user_id", "tags", "topics", "locale",
    "time_zone", "latitude", "longitude", "accuracy_m", "location_us", "permission", "token_kind", "installation_id",
    "registered_us", "metadata", "state", "dead_reason", "dead_us", "token_replaced_by", "created_us", "updated_us",
    "seen_us", "address", "origin", "token_expire_us",
)  # fmt: skip
_SELECT = f"""
    SELECT d.key, a.app_id, {", ".join(f"d.{name}" for name in _COLUMNS)}
    FROM devices AS d JOIN apps AS a ON a.key = d.app WHERE """
_SELECT_UNSYNCED = f"""
    SELECT d.key, a.app_id, {", ".join(f"d.{name}" for name in _COLUMNS)}, u.provider_app_id, u.tries
    FROM unsynced AS u CROSS JOIN devices AS d ON d.key = u.device JOIN apps AS a ON a.key = d.app WHERE {_UNSYNCED}"""
_INSERT = f"INSERT INTO devices (app, {', '.join(_COLUMNS)}) VALUES (?{', ?' * len(_COLUMNS)})"
_UPDATE = f"UPDATE devices SET {', '.join(f'{name} = ?' for name in _COLUMNS)} WHERE key = ?"


def find(sql: sqlite3.Connection, app: int, which: DeviceSelector) -> Device | None:
    condition, values = _selected(app, which)
    found = _one(sql, f"{condition} ORDER BY d.state = {REMOVED}, d.seen_us DESC LIMIT 1", values)
    return None if found is None else found[1]


def page(
    sql: sqlite3.Connection, app: int, wanted: DeviceFilter, after: int, limit: int
) -> tuple[Sequence[Device], int]:
    """Devices in the order of their keys, and the key to continue after."""
    conditions = ["d.app = ?", "d.key > ?"]
    values: list[int | str] = [app, after]

    def among(column: str, alternatives: Sequence[Any], convert: Callable[[Any], Any] = int) -> None:
        if alternatives:
            conditions.append(f"d.{column} IN (SELECT value FROM json_each(?))")
            values.append(json.dumps([convert(a) for a in alternatives]))

    among("user_id", wanted.user_ids, str)
    among("provider", wanted.providers)
    among("token_kind", wanted.token_kinds)
    among("state", wanted.states or [state for state in DeviceState if state is not DeviceState.REMOVED])
    if wanted.installation_id:
        conditions.append("d.installation_id = ? AND d.installation_id <> ''")
        values.append(wanted.installation_id)
    if wanted.updated_after_us:
        conditions.append("d.updated_us > ?")
        values.append(wanted.updated_after_us)
    if wanted.seen_before_us:
        conditions.append("d.seen_us < ?")
        values.append(wanted.seen_before_us)
    query = f"{_SELECT} {' AND '.join(conditions)} ORDER BY d.key LIMIT ?"
    rows = sql.execute(query, (*values, limit + 1)).fetchall()
    return [_device(row) for row in rows[:limit]], rows[limit - 1][0] if len(rows) > limit else 0


def _one(sql: sqlite3.Connection, condition: str, values: Sequence[Any]) -> tuple[int, Device] | None:
    row = sql.execute(_SELECT + condition, values).fetchone()
    return None if row is None else (row[0], _device(row))


def _device(row: Any) -> Device:
    (
        _, app_id, device_id, provider, provider_app_id, environment, token, user_id, tags, topics, locale, time_zone,
        latitude, longitude, accuracy_m, location_us, permission, token_kind, installation_id, registered_us, metadata,
        state, dead_reason, dead_us, token_replaced_by, created_us, updated_us, seen_us, address,
        origin, token_expire_us, *_,
    ) = row  # fmt: skip
    return Device(
        app_id, device_id, Provider(provider), provider_app_id, Environment(environment), token, user_id,
        tuple(json.loads(tags)), tuple(json.loads(topics)), locale, time_zone,
        None if latitude is None else Location(latitude, longitude, accuracy_m, location_us),
        Permission(permission), TokenKind(token_kind), installation_id, registered_us, json.loads(metadata),
        DeviceState(state), dead_reason, dead_us, token_replaced_by, created_us, updated_us, seen_us,
        Address.of(address), origin, token_expire_us,
    )  # fmt: skip


def _write(sql: sqlite3.Connection, key: int | None, app: int, device: Device) -> None:
    place = device.location
    values = (
        device.device_id, int(device.provider), device.provider_app_id, int(device.environment), device.token,
        device.user_id, json.dumps(device.tags), json.dumps(device.topics), device.locale, device.time_zone,
        *((None, None, None, None) if place is None
          else (place.latitude, place.longitude, place.accuracy_m, place.time_us)),
        int(device.permission), int(device.token_kind), device.installation_id, device.registered_us,
        json.dumps(dict(device.metadata)), int(device.state), device.dead_reason, device.dead_us,
        device.token_replaced_by, device.created_us, device.updated_us, device.seen_us,
        device.address.text, device.origin, device.token_expire_us,
    )  # fmt: skip
    if key is None:
        sql.execute(_INSERT, (app, *values))
    else:
        sql.execute(_UPDATE, (*values, key))
