"""What Windows receives for one notification: its type, its body, and the headers that follow from both.

Sources: Microsoft, "Push notification service request and response headers", "WNS notification priorities", "Raw
notification overview", "App notification content schema", "Tile schema", "badge (Badge XML schema)".

A toast carries `notification_id`, `link` and the caller's `data` as a query string in its launch arguments, a tile in
its own; a raw body that we build is a JSON object of them and of whatever else the message says. A badge has room for
its number only. The caller's own XML and raw bytes go out as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import urlencode
from xml.etree.ElementTree import Element, SubElement, tostring
from xml.parsers import expat

from pushrpc.content import Content
from pushrpc.exchange import Headers
from pushrpc.model import Notification
from pushrpc.providers import MessageRefused
from pushrpc.providers.payload import check_size, encoded, fitted, lost, unmet
from pushrpc.words import Priority, RejectReason, WnsType

PAYLOAD_BYTES_MAX = 5000
_NAME = re.compile(r"[A-Za-z0-9]{1,16}")  # X-WNS-Tag, X-WNS-Group

# --- type --------------------------------------------------------------------------------------------------------

_ROOTS = {"toast": WnsType.TOAST, "tile": WnsType.TILE, "badge": WnsType.BADGE}


def kind_of(content: Content) -> WnsType:
    """The caller's, or what is set: raw bytes or nothing to show RAW, a number without text BADGE, else TOAST.

    The caller's own XML is of the type of its root element. Raises MessageRefused when that is none.
    """
    if content.wns_xml:
        return _kind_of_xml(content)
    if content.wns.type:
        return content.wns.type
    if content.wns.raw or content.silent:
        return WnsType.RAW
    if content.title or content.body:
        return WnsType.TOAST
    if content.badge is not None:
        return WnsType.BADGE
    return WnsType.TOAST if content.image_url else WnsType.RAW


def _kind_of_xml(content: Content) -> WnsType:
    if content.wns.raw:
        raise _unusable("wns_xml: is set beside wns.raw; a notification has one body")
    _refuse_too_large(len(content.wns_xml.encode("utf-8", "replace")))
    try:
        root = _root(content.wns_xml)
    except ValueError as error:
        raise _unusable(f"wns_xml: {error}") from None
    if content.wns.type not in (WnsType.UNSPECIFIED, _ROOTS[root]):
        raise _unusable(f"wns_xml: is a {root}, and wns.type is {content.wns.type.name}")
    return _ROOTS[root]


def xml_problem(xml: str) -> str:
    """Empty when the text can serve as a toast, tile or badge, otherwise what is wrong."""
    try:
        _root(xml)
    except ValueError as error:
        return str(error)
    return ""


def _root(xml: str) -> str:
    """The root element's name. Raises ValueError for what is no XML, and for DTDs: Windows needs none, and with them
    come entities that grow and that reach for files (OWASP, "XML External Entity Prevention")."""
    names: list[str] = []

    def declared(version: str, encoding: str | None, standalone: int) -> None:
        if encoding and encoding.lower() != "utf-8":
            raise ValueError("declares another encoding than UTF-8, in which it is sent")

    def doctype(*_: object) -> None:
        raise ValueError("has a DOCTYPE, which is not allowed")

    parser = expat.ParserCreate("utf-8")
    parser.XmlDeclHandler = declared
    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = lambda name, attributes: names.append(name)
    try:
        parser.Parse(xml.encode(), True)
    except expat.ExpatError as error:
        raise ValueError(f"not well-formed: {error}") from None
    if names[0] not in _ROOTS:
        raise ValueError("its root element is not toast, tile or badge")
    return names[0]


# --- body --------------------------------------------------------------------------------------------------------


class Built(NamedTuple):
    """`cut`: the text was shortened because the caller allowed it."""

    kind: WnsType
    body: bytes
    cut: bool


def built(notification: Notification) -> Built:
    """The body of every request of a notification. Raises MessageRefused."""
    content = notification.content
    kind = kind_of(content)
    for name in ("tag", "group"):
        value = getattr(content.wns, name)
        if value and not _NAME.fullmatch(value):
            raise _unusable(f"wns.{name} is not 1 to 16 letters and digits")
    if content.wns_xml:
        return Built(kind, content.wns_xml.encode(), False)
    if kind is WnsType.RAW and content.wns.raw:
        _refuse_too_large(len(content.wns.raw))
        return Built(kind, content.wns.raw, False)
    if kind is WnsType.BADGE and content.badge is None:
        raise _unusable("a badge needs message.badge, or wns_xml")
    if kind in (WnsType.TOAST, WnsType.TILE) and not (content.title or content.body or content.image_url):
        raise _unusable(f"a {kind.name.lower()} needs a title, a body or an image_url, or wns_xml")
    body, cut = fitted(content, PAYLOAD_BYTES_MAX, partial(_BUILDERS[kind], notification.notification_id))
    _refuse_too_large(len(body))
    return Built(kind, body, cut)


def _toast(notification_id: str, content: Content) -> bytes:
    toast = Element("toast", launch=_arguments(notification_id, content))
    binding = SubElement(SubElement(toast, "visual"), "binding", template="ToastGeneric")
    _fill(binding, content, "hero")
    if content.sound:
        SubElement(toast, "audio", src=_legal(_sound(content.sound)))
    return _written(toast)


def _tile(notification_id: str, content: Content) -> bytes:
    tile = Element("tile")
    visual = SubElement(tile, "visual", arguments=_arguments(notification_id, content))
    for template in ("TileMedium", "TileWide"):
        _fill(SubElement(visual, "binding", template=template), content, "peek")
    return _written(tile)


def _fill(binding: Element, content: Content, placement: str) -> None:
    for shown in (content.title, content.body):
        if shown:
            SubElement(binding, "text").text = _legal(shown)
    if content.image_url:
        SubElement(binding, "image", placement=placement, src=_legal(content.image_url))


def _badge(notification_id: str, content: Content) -> bytes:
    return _written(Element("badge", value=str(content.badge)))


# What an app needs to show the message itself; `data` and `link` go with every type that has room for them.
_SAID = (
    *("title", "body", "subtitle", "image_url", "badge", "sound", "category", "thread_id"),
    *("title_loc_key", "title_loc_args", "body_loc_key", "body_loc_args"),
)


def _raw(notification_id: str, content: Content) -> bytes:
    said = {name: getattr(content, name) for name in ("link", *_SAID)}
    own = {name: value for name, value in said.items() if value or value == 0}
    return encoded(own | dict(content.data) | {"notification_id": notification_id})


_BUILDERS = {WnsType.TOAST: _toast, WnsType.TILE: _tile, WnsType.BADGE: _badge, WnsType.RAW: _raw}


def _arguments(notification_id: str, content: Content) -> str:
    link = {"link": content.link} if content.link else {}
    return urlencode(link | dict(content.data) | {"notification_id": notification_id}, errors="replace")


def _sound(name: str) -> str:
    """A sound's URI ("audio" in the toast schema); a bare name is a file of the app's package."""
    if name == "default":
        return "ms-winsoundevent:Notification.Default"
    return name if name.startswith(("ms-winsoundevent:", "ms-appx:", "ms-appdata:")) else f"ms-appx:///{name}"


_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 §2.2, Char


def _legal(text: str) -> str:
    """Without the control characters that XML has no form for; nobody would have seen them."""
    return _ILLEGAL.sub("", text)


def _written(root: Element) -> bytes:
    return tostring(root, encoding="unicode").encode()


def _refuse_too_large(size: int) -> None:
    check_size("Windows", size, PAYLOAD_BYTES_MAX)


def _unusable(detail: str) -> MessageRefused:
    return MessageRefused(RejectReason.FIELD_MISSING, detail)


_CARRIED: Mapping[WnsType, frozenset[str]] = {
    WnsType.TOAST: frozenset({"title", "body", "image_url", "data", "link", "sound"}),
    WnsType.TILE: frozenset({"title", "body", "image_url", "data", "link"}),
    WnsType.BADGE: frozenset({"badge"}),
    WnsType.RAW: frozenset({"data", "link", *_SAID}),
}
# Which of its headers each type has; and the caller's bytes are a RAW notification's only.
_HEADERS: Mapping[WnsType, frozenset[str]] = {
    WnsType.TOAST: frozenset({"tag", "group"}),
    WnsType.TILE: frozenset({"tag", "cache"}),
    WnsType.BADGE: frozenset({"cache"}),
    WnsType.RAW: frozenset({"cache", "raw"}),
}


def dropped(notification: Notification, kind: WnsType) -> tuple[str, ...]:
    """Paths of what is set and this type of notification has no place for."""
    content, options = notification.content, notification.content.wns
    is_own = bool(content.wns_xml) or (kind is WnsType.RAW and bool(options.raw))
    carried = frozenset() if is_own else _CARRIED[kind]
    beside_data = carried - {"data"} if kind is WnsType.RAW else {"link"} & carried
    carried |= {"wns_xml", "wns.type", *(f"wns.{name}" for name in _HEADERS[kind])}
    if kind is WnsType.RAW:
        carried |= {"silent"}
    return (
        *lost(content, carried, beside_data),
        *unmet(
            collapse_key=bool(notification.collapse_key) and ("tag" not in _HEADERS[kind] or bool(options.tag)),
            # Without a header that forbids it, Windows stores what it cannot deliver at once.
            ttl=notification.one_try and _cache(notification, kind) is not False,
        ),
    )


# --- headers -----------------------------------------------------------------------------------------------------

_PRIORITIES = {Priority.HIGH: b"1", Priority.NORMAL: b"2", Priority.LOW: b"3"}


def headers(notification: Notification, kind: WnsType, now_us: int) -> Headers:
    """All but the credential."""
    options, of_kind = notification.content.wns, _HEADERS[kind]
    content_type = b"application/octet-stream" if kind is WnsType.RAW else b"text/xml"
    told = [
        (b"content-type", content_type),
        (b"x-wns-type", b"wns/" + kind.name.lower().encode()),
        (b"x-wns-requestforstatus", b"true"),
        # 0 would mean that it may never be shown; without the header it would never expire.
        (b"x-wns-ttl", b"%d" % max((notification.expire_us - now_us) // 1_000_000, 1)),
    ]
    if notification.priority:
        told.append((b"x-wns-priority", _PRIORITIES[notification.priority]))
    if "tag" in of_kind and (tag := options.tag or _tag(notification.collapse_key)):
        told.append((b"x-wns-tag", tag.encode()))
    if "group" in of_kind and options.group:
        told.append((b"x-wns-group", options.group.encode()))
    cache = _cache(notification, kind)
    if cache is not None:
        told.append((b"x-wns-cache-policy", b"cache" if cache else b"no-cache"))
    return tuple(told)


def _cache(notification: Notification, kind: WnsType) -> bool | None:
    """Whether it may be stored for a device that is offline; None is Windows' own choice."""
    if "cache" not in _HEADERS[kind]:
        return None
    given = notification.content.wns.cache
    return False if given is None and notification.one_try else given


def _tag(collapse_key: str) -> str:
    """The key itself where a tag can be it, else the beginning of its digest: equal keys still replace each other."""
    if not collapse_key or _NAME.fullmatch(collapse_key):
        return collapse_key
    return sha256(collapse_key.encode("utf-8", "replace")).hexdigest()[:16]
