"""Building payloads: compact JSON, cuts, callers' patches (RFC 7396), their shape, and what a push does not carry."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any, NoReturn, TypeVar

import orjson
import regex

from pushrpc.content import Content
from pushrpc.model import Notification
from pushrpc.providers import MessageRefused
from pushrpc.words import RejectReason

# Providers' payloads need 5; the bound keeps the recursion of merging and encoding far from the interpreter's limit.
PATCH_DEPTH_MAX = 32

PAYLOADS_KEPT = 4_096  # of one account: some 2 MiB, and as many notifications as the ledger keeps ready


def encoded(value: object) -> bytes:
    """Compact UTF-8 JSON. Raises MessageRefused for what has no form there: lone surrogates, integers over 64 bits.

    Numbers are finite: the contract's are checked to be, and so are a patch's when it is read.
    """
    try:
        return b"%b" % orjson.dumps(value)  # a copy: its own result keeps kilobytes of room, and payloads are kept
    except orjson.JSONEncodeError as error:
        raise MessageRefused(RejectReason.FIELD_MISSING, f"cannot be written as JSON: {error}") from None


Built = TypeVar("Built")
_len: Callable[[Any], int] = len


def fitted(
    content: Content, limit_bytes: int, build: Callable[[Content], Built], size: Callable[[Built], int] = _len
) -> tuple[Built, bool]:
    """The payload, and whether its body was cut to fit: only where the caller allows it, and as little as will do.

    `size` is what the provider counts. What is still too large comes back whole, for the provider to refuse.
    """
    payload = build(content)
    if size(payload) <= limit_bytes or not (content.truncate and content.body):
        return payload, False
    places = cuts(content.body)
    fitting, least, most = None, 0, len(places) - 1
    while least <= most:
        middle = (least + most) // 2
        candidate = build(replace(content, body=shortened(content.body, places[middle])))
        if size(candidate) <= limit_bytes:
            fitting, least = candidate, middle + 1
        else:
            most = middle - 1
    return (payload, False) if fitting is None else (fitting, True)


_CLUSTER = regex.compile(r"\X")


def cuts(text: str) -> list[int]:
    """Where a text may end early: before each of what a reader sees as one letter (UAX #29, extended clusters)."""
    return [cluster.start() for cluster in _CLUSTER.finditer(text)]


def shortened(text: str, place: int) -> str:
    """The text up to a place, and an ellipsis."""
    return text[:place].rstrip() + "…"


def check_size(whose: str, size_bytes: int, limit_bytes: int) -> None:
    """Raises MessageRefused for more than the provider takes."""
    if size_bytes > limit_bytes:
        over = size_bytes - limit_bytes
        detail = f"the payload for {whose} has {size_bytes} bytes, {over} more than the {limit_bytes} allowed"
        raise MessageRefused(RejectReason.PAYLOAD_TOO_LARGE, detail, size_bytes, limit_bytes)


# --- what a push does not carry ----------------------------------------------------------------------------------

TEXTS = frozenset({"title", "body", "title_loc_key", "title_loc_args", "body_loc_key", "body_loc_args"})


def lost(content: Content, carried: Collection[str], beside_data: Collection[str] = ()) -> tuple[str, ...]:
    """Paths in the contract of all that is set and not carried, for Preview.dropped.

    `carried` are names of fields: "apns.topic" is one of the options, "apns" all of them. Whatever is not named is
    told, so that no field can be forgotten. Those `beside_data` go among entries of data, where the caller's own win.
    """
    return tuple(
        f"message.{path}"
        for path, value, empty in zip(_PATHS, _values(content), _EMPTY, strict=True)
        if value != empty
        and (
            not (path in carried or path.partition(".")[0] in carried) or (path in beside_data and path in content.data)
        )
    )


def unmet(**options: bool) -> tuple[str, ...]:
    """Paths of those of the send's options that a push cannot meet."""
    return tuple(f"options.{name}" for name, is_unmet in options.items() if is_unmet)


def _paths(value: Any, prefix: str = "") -> Iterator[str]:
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            yield from _paths(inner, f"{field.name}.")
        elif field.name != "truncate":  # an option of the send, and Preview.truncated tells of it
            yield prefix + field.name


_PATHS = tuple(_paths(Content()))
_values = attrgetter(*_PATHS)
_EMPTY = _values(Content())


# --- payloads that are kept ---------------------------------------------------------------------------------------


class KeptPayloads:
    """Payloads by notification: what was built to check a message is nearly always sent within milliseconds."""

    def __init__(self) -> None:
        # A plain dict walks over all that left it before it finds its first key.
        self._kept: OrderedDict[str, tuple[Content, bytes]] = OrderedDict()

    def keep(self, notification: Notification, payload: bytes) -> None:
        self._kept[notification.notification_id] = notification.content, payload
        if len(self._kept) > PAYLOADS_KEPT:
            self._kept.popitem(last=False)

    def get(self, notification: Notification) -> bytes | None:
        """Only for the very content that it was built of."""
        content, payload = self._kept.get(notification.notification_id) or (None, None)
        return payload if content is notification.content else None


# --- patches ------------------------------------------------------------------------------------------------------


def merged(target: object, patch: object) -> Any:
    """RFC 7396 §2: objects merge by key, null removes, everything else replaces. Changes neither argument."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def patch_problem(patch_json: str, shape: Shape, forbidden: Collection[str] = ()) -> str:
    """Empty when the text can serve as a patch on a payload, otherwise what is wrong. An empty text is no patch."""
    try:
        _read(patch_json, shape, forbidden)
    except ValueError as error:
        return str(error)
    return ""


def patched(
    built: dict[str, Any], patch_json: str, field: str, shape: Shape, forbidden: Collection[str] = ()
) -> dict[str, Any]:
    """What was built, with the patch applied. Raises MessageRefused, naming `field`, when the patch is unusable.

    What was built has the provider's shape, so with a patch that has it too the whole still has.
    """
    if not patch_json:
        return built
    try:
        result: dict[str, Any] = merged(built, _read(patch_json, shape, forbidden))
    except ValueError as error:
        raise MessageRefused(RejectReason.FIELD_MISSING, f"{field}: {error}") from None
    return result


def json_object(text: str, field: str) -> dict[str, Any]:
    """A caller's JSON object, with nulls and all. Raises MessageRefused, naming `field`, when it is none."""
    try:
        return _parsed(text)
    except ValueError as error:
        raise MessageRefused(RejectReason.FIELD_MISSING, f"{field}: {error}") from None


def _read(patch_json: str, shape: Shape, forbidden: Collection[str]) -> dict[str, Any]:
    patch = _parsed(patch_json) if patch_json else {}
    for key in patch.keys() & set(forbidden):
        raise ValueError(f"may not set {key}")
    if problem := shape("", patch):
        raise ValueError(problem)
    return patch


def _parsed(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        value = None
        deep = True
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    else:
        deep = _is_deeper(value, PATCH_DEPTH_MAX)
    if deep:
        raise ValueError(f"nested deeper than {PATCH_DEPTH_MAX}")
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_constant(text)


def _is_deeper(value: object, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    return bool(level)


# --- shapes ------------------------------------------------------------------------------------------------------

# What a provider documents of a value in its payload: given the value's path, "" or what is wrong with it. Unknown
# fields fit, because providers add some; so does null, with which a patch removes a field.
Shape = Callable[[str, Any], str]


def must_be(said: str, fits: Callable[[Any], bool]) -> Shape:
    """Any rule; `said` ends the sentence "must be"."""
    return lambda path, value: "" if value is None or fits(value) else f"{path} must be {said}"


def matching(said: str, pattern: str) -> Shape:
    """A text of the pattern, whole."""
    form = re.compile(pattern)
    return must_be(said, lambda value: isinstance(value, str) and form.fullmatch(value) is not None)


def one_of(*words: str) -> Shape:
    return must_be(f"one of {', '.join(words)}", lambda value: value in words)


def whole(least: int, most: int) -> Shape:
    return must_be(
        f"a whole number from {least} to {most}",
        lambda value: type(value) in (int, float) and value == int(value) and least <= value <= most,
    )


TEXT = must_be("a string", lambda value: isinstance(value, str))
FLAG = must_be("true or false", lambda value: isinstance(value, bool))
NUMBER = must_be("a number", lambda value: type(value) in (int, float))
OBJECT = must_be("an object", lambda value: isinstance(value, dict))


def fields(known: Mapping[str, Shape]) -> Shape:
    """An object whose fields of these names, where there are any, have these shapes."""

    def problem(path: str, value: Any) -> str:
        if not isinstance(value, dict):
            return OBJECT(path, value)
        of_known = (known[name](f"{path}.{name}".lstrip("."), value[name]) for name in known.keys() & value.keys())
        return min(filter(None, of_known), default="")

    return problem


def entries(shape: Shape) -> Shape:
    """An object whose values all have this shape, whatever their names."""

    def problem(path: str, value: Any) -> str:
        if not isinstance(value, dict):
            return OBJECT(path, value)
        return next(filter(None, (shape(f"{path}.{name[:40]}", each) for name, each in value.items())), "")

    return problem


def items(shape: Shape) -> Shape:
    """A list whose items all have this shape. There is no null in it: a patch replaces lists whole."""

    def problem(path: str, value: Any) -> str:
        if not isinstance(value, list):
            return "" if value is None else f"{path} must be a list"
        of_items = (
            shape(f"{path}[{i}]", each) if each is not None else f"{path}[{i}] is null" for i, each in enumerate(value)
        )
        return next(filter(None, of_items), "")

    return problem


def either(plain: Shape, of_object: Shape) -> Shape:
    """An object of the second shape, or a value of the first."""

    def problem(path: str, value: Any) -> str:
        if isinstance(value, dict):
            return of_object(path, value)
        said = plain(path, value)
        return f"{said} or an object" if said else ""

    return problem
