"""What a send to a hub may be: format, content type, payload and handles, checked before anything is taken.

Rules are from Microsoft's REST pages on sends by platform, on direct sends and on direct batches.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from email import message_from_bytes
from email.message import Message
from typing import NamedTuple
from xml.etree.ElementTree import ParseError, fromstring

from pushrpc.emulator.service import Call
from pushrpc.exchange import Headers

BODY_BYTES_MAX = 65_536
HANDLES_MAX = 1_000


class Platform(NamedTuple):
    """`counts` begins the name of its telemetry, `word` is what an installation calls it."""

    counts: str
    word: str


# By the format of a send, in lower case: clients write fcmV1 and fcmv1.
PLATFORMS: Mapping[str, Platform] = {
    "apple": Platform("Apns", "apns"),
    "fcmv1": Platform("FcmV1", "fcmv1"),
    "windows": Platform("Wns", "wns"),
    "browser": Platform("Browser", "browser"),
    "adm": Platform("Adm", "adm"),
    "baidu": Platform("Baidu", "baidu"),
    "xiaomi": Platform("Xiaomi", "xiaomi"),
}
BY_WORD: Mapping[str, Platform] = {platform.word: platform for platform in PLATFORMS.values()}
TEMPLATE = "template"
BATCHED = frozenset(PLATFORMS) - {"fcmv1", "browser"}
_WNS_TYPES = {b"wns/toast": "xml", b"wns/tile": "xml", b"wns/badge": "xml", b"wns/raw": "octet-stream"}


class Refusal(Exception):
    """Why a hub does not take it."""

    def __init__(self, status: int, detail: str, headers: Headers = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


class Send(NamedTuple):
    """One checked request to send. `handles` is empty for an audience."""

    format: str
    payload: bytes
    handles: Sequence[str]


def read_send(call: Call, batch: bool, direct: bool) -> Send:
    """Raises Refusal."""
    word = call.header(b"servicebusnotification-format").decode("latin-1").lower()
    if word not in PLATFORMS and word != TEMPLATE:
        raise Refusal(400, "The supplied notification format is not supported.")
    handles: Sequence[str] = ()
    payload, content_type = call.body, call.header(b"content-type")
    if batch:
        if not direct or word not in BATCHED:
            raise Refusal(400, f"Format {word} cannot be sent in a direct batch.")
        payload, content_type, handles = _parts(call)
    elif direct:
        handles = [_handle(call, word)]
    if len(payload) > BODY_BYTES_MAX:
        raise Refusal(413, "The message is larger than 64 KB.")
    _check_payload(call, word, content_type.decode("latin-1"), payload)
    return Send(word, payload, handles)


def handles_of(call: Call) -> Sequence[str]:
    """Whom a request is for, as far as that can be seen before it is checked."""
    handle = call.header(b"servicebusnotification-devicehandle")
    if handle or not call.header(b"content-type").lower().startswith(b"multipart/"):
        return [handle.decode("latin-1")]
    try:
        return _parts(call)[2]
    except Refusal:
        return [""]


def _handle(call: Call, word: str) -> str:
    handle = call.header(b"servicebusnotification-devicehandle").decode("latin-1")
    if not handle or word == TEMPLATE:
        raise Refusal(400, "A direct send needs ServiceBusNotification-DeviceHandle and a native format.")
    if word == "browser" and not (call.header(b"p256dh") and call.header(b"auth")):
        raise Refusal(400, "A direct send to a browser needs the headers P256DH and Auth.")
    return handle


def _parts(call: Call) -> tuple[bytes, bytes, Sequence[str]]:
    """Payload, its content type, and the handles of a multipart/mixed body."""
    message = message_from_bytes(b"Content-Type: " + call.header(b"content-type") + b"\r\n\r\n" + call.body)
    parts = message.get_payload() if message.get_content_type() == "multipart/mixed" else ""
    named: dict[object, Message] = {}
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, Message) and part.get_content_disposition() == "inline":
            named[part.get_param("name", header="content-disposition")] = part
    if named.keys() != {"notification", "devices"}:
        raise Refusal(400, "A batch has two inline parts: notification and devices.")
    try:
        handles = json.loads(_bytes_of(named["devices"]))
    except ValueError:
        handles = None
    if not isinstance(handles, list) or not all(isinstance(handle, str) and handle for handle in handles):
        raise Refusal(400, "The devices part is not a JSON array of handles.")
    if not 0 < len(handles) <= HANDLES_MAX:
        raise Refusal(400, f"A batch has 1 to {HANDLES_MAX} handles.")
    return _bytes_of(named["notification"]), str(named["notification"].get("content-type", "")).encode(), handles


def _bytes_of(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _check_payload(call: Call, word: str, content_type: str, payload: bytes) -> None:
    kind = content_type.partition(";")[0].strip().lower()
    if word == "windows":
        wns = _WNS_TYPES.get(call.header(b"x-wns-type").lower())
        if wns is None:
            raise Refusal(400, "X-WNS-Type is missing or unknown.")
        if not kind.endswith(wns):
            raise Refusal(400, f"Content-Type {kind} does not go with this X-WNS-Type.")
        if wns == "xml":
            _check_xml(payload)
        return
    if kind != "application/json":
        raise Refusal(400, f"Content-Type {kind} is not application/json.")
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        raise Refusal(400, "The payload is not valid JSON.") from None
    if not isinstance(value, dict):
        raise Refusal(400, "The payload is not a JSON object.")
    if word == TEMPLATE and not all(isinstance(each, str) for each in value.values()):
        raise Refusal(400, "Template properties are strings.")
    if word == "fcmv1":
        message = value.get("message")
        if not isinstance(message, dict) or message.keys() & {"token", "topic", "condition"}:
            raise Refusal(400, "The payload is not a message without a target.")


def _check_xml(payload: bytes) -> None:
    if re.search(rb"<!\s*(DOCTYPE|ENTITY)", payload):
        raise Refusal(400, "The payload has a document type.")
    try:
        fromstring(payload)
    except (ParseError, ValueError, LookupError):
        raise Refusal(400, "The payload is not valid XML.") from None
