"""What a hub answers: to a send at once, and later of what became of it.

Sources: Microsoft, Notification Hubs REST API, "Direct send" and "Get notification message telemetry"; the classes of
HTTP errors in Microsoft's .NET client; the names of outcomes in "Microsoft.NotificationHubs metrics".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from pushrpc.exchange import Response
from pushrpc.model import Outcome, Scope
from pushrpc.providers import Feedback
from pushrpc.providers.answer import by_status, cause_of, clip, retry_after_s, text, word
from pushrpc.words import Cause, OutcomeKind

ASK_AGAIN_S = 10.0  # what "Get notification message telemetry" advises while there is none yet
# Telemetry needs the Standard tier, and a key that is known: nobody changes either within seconds.
ASK_AGAIN_REFUSED_S: Mapping[int, float] = {401: 300.0, 403: 3600.0}
MESSAGE_ID_CHARS_MAX = 256


class _NoDoctype(TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """A hub sends none, and with one come entities."""
        raise ValueError("a document type")


def read_xml(body: bytes) -> Element | None:
    """The root element; None for what is no XML, or has a document type."""
    parser = XMLParser(target=_NoDoctype())
    try:
        parser.feed(body)
        root = parser.close()
    except (ParseError, ValueError, LookupError):
        return None
    return root if isinstance(root, Element) else None


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _child(element: Element, name: str) -> str:
    return next(((child.text or "").strip() for child in element if _name(child) == name), "")


# --- to a request -------------------------------------------------------------------------------------------------

_ACCEPTED = Outcome(OutcomeKind.ACCEPTED, 201)
_KINDS: Mapping[int, OutcomeKind] = {
    # The hub or its namespace is not there. A hub never answers for a token.
    404: OutcomeKind.CREDENTIAL_REFUSED,
    410: OutcomeKind.CREDENTIAL_REFUSED,
    # Another write was there first.
    409: OutcomeKind.UNAVAILABLE,
    412: OutcomeKind.UNAVAILABLE,
}


def outcome_of(response: Response, now_us: int) -> Outcome:
    """What any request to a hub came to. ACCEPTED means that the hub has it: nobody else was called yet."""
    status = response.status
    if status == 201:
        return _ACCEPTED
    if 200 <= status < 300:
        return Outcome(OutcomeKind.ACCEPTED, status)
    root = read_xml(response.body)
    code, detail = ("", "") if root is None else (_child(root, "Code"), _child(root, "Detail"))
    # Too much at once is 403 like a missing right, but tells when to come back.
    throttled = status == 403 and response.header(b"retry-after") != b""
    return Outcome(
        OutcomeKind.THROTTLED if throttled else _KINDS.get(status, by_status(status)),
        status,
        reason=word(code),
        detail=clip(word(detail, 1024)) or text(response.body),
        retry_after_s=retry_after_s(response, now_us),
        scope=Scope.LANE,
        renew=status == 401,
        cause=cause_of(status),
    )


def refuses_batches(response: Response) -> bool:
    """Whether a direct batch was refused for being one.

    "Direct batch send" only says that it is for the Basic and Standard tiers. Second-hand, and so not the only words
    that are believed: a hub of the Free tier answers 403, "This operation is not available for your tier"
    (Azure/azure-notificationhubs-dotnet, issue 200). A 403 that says when to come back is about how much is sent.
    """
    if response.status != 403:
        return False
    return response.header(b"retry-after") == b"" or b"for your tier" in response.body


def message_id_of(response: Response) -> str:
    """The last segment of Location, by which the hub's telemetry knows the message; empty when there is none."""
    location = response.header(b"location").decode("latin-1")
    try:
        path = urlsplit(location).path
    except ValueError:
        return ""
    return word(unquote(path.rstrip("/").rpartition("/")[2]), MESSAGE_ID_CHARS_MAX)


# --- later --------------------------------------------------------------------------------------------------------

_DEAD = Outcome(OutcomeKind.TOKEN_INVALID)
_NOT_OURS = Outcome(OutcomeKind.TOKEN_INVALID, misdirected=True)
_SETTINGS = Outcome(OutcomeKind.CREDENTIAL_REFUSED)
_PAYLOAD = Outcome(OutcomeKind.PAYLOAD_REFUSED)
_DOWN = Outcome(OutcomeKind.UNAVAILABLE)
_SLOW = Outcome(OutcomeKind.THROTTLED)
_UNKNOWN = Outcome(OutcomeKind.UNKNOWN)

_OUTCOMES: Mapping[str, Outcome] = {
    "Success": Outcome(OutcomeKind.ACCEPTED),
    "BadChannel": _DEAD,
    "ExpiredChannel": _DEAD,
    "InvalidToken": _DEAD,
    "WrongChannel": _NOT_OURS,
    "InvalidCredentials": _SETTINGS,
    "AuthenticationError": _SETTINGS,
    "WrongToken": _SETTINGS,
    "InvalidNotificationFormat": _PAYLOAD,
    "InvalidNotificationSize": _PAYLOAD,
    "InvalidPayload": _PAYLOAD,
    "Dropped": _PAYLOAD._replace(cause=Cause.PROVIDER_DROPPED),
    "Throttled": _SLOW,
    "ChannelThrottled": _SLOW._replace(scope=Scope.TOKEN),
    "ChannelDisconnected": _DOWN,
    "PnsError": _DOWN,
    "PnsUnreachable": _DOWN,
    "PnsServerError": _DOWN,
    "PnsInterfaceError": _DOWN,
    "TokenProviderUnreachable": _DOWN,
}
# At Windows these two are about the access token with which the hub calls, not about the channel.
_OF_WINDOWS: Mapping[str, Outcome] = {"InvalidToken": _SETTINGS, "WrongToken": _SETTINGS}
_ENDED = "Completed"
_ENDED_UNSENT: Mapping[str, Outcome] = {
    "Abandoned": _DOWN,
    # Which says nothing of a handle: a hub without the platform's credential has no targets either.
    "NoTargetFound": _UNKNOWN,
    "Cancelled": _UNKNOWN,
    "Canceled": _UNKNOWN,
}


class _Count(NamedTuple):
    """So many devices of one platform came to the same."""

    platform: str
    name: str
    devices: int

    @property
    def outcome(self) -> Outcome:
        own = _OF_WINDOWS if self.platform == "Wns" else {}
        return own.get(self.name) or _OUTCOMES.get(self.name, _UNKNOWN)


def feedback_of(response: Response, now_us: int) -> Feedback:
    """Reads NotificationDetails. What cannot be read, or is not there yet, is to be asked again.

    Only Completed, and the states in which nothing is sent any more, are the last word. Enqueued, Processing, Scheduled
    and Unknown tell nothing yet; the counts of DetailedStateAvailable, of which Microsoft does not say whether they
    still grow, are told as what is known so far.
    """
    if response.status != 200:
        outcome = outcome_of(response, now_us)
        again_s = outcome.retry_after_s
        if again_s is None:
            again_s = ASK_AGAIN_REFUSED_S.get(response.status, 0.0)
        return Feedback(outcome, max(again_s, ASK_AGAIN_S))
    root = read_xml(response.body)
    state = word(_child(root, "State")) if root is not None and _name(root) == "NotificationDetails" else ""
    if state in _ENDED_UNSENT:
        return Feedback(_ENDED_UNSENT[state]._replace(provider_status=200, reason=state))
    outcome = _summed(state, [] if root is None else _counts(root))
    return Feedback(outcome, 0.0 if state == _ENDED else ASK_AGAIN_S)


def _counts(root: Element) -> list[_Count]:
    """Devices that were skipped had got the same message already."""
    found = []
    for platform in root:
        if not _name(platform).endswith("OutcomeCounts"):
            continue
        for each in platform:
            devices = _child(each, "Count")
            name = word(_child(each, "Name"))
            if name != "Skipped" and devices.isascii() and devices.isdigit() and devices.strip("0"):
                found.append(_Count(_name(platform).removesuffix("OutcomeCounts"), name, int(devices[:9])))
    return found


def _summed(state: str, counts: list[_Count]) -> Outcome:
    """One word for the message where all devices came to the same; how many came to what is in the detail."""
    if not counts:
        return _UNKNOWN._replace(provider_status=200, reason=state)
    told = sorted(counts, key=lambda count: -count.devices)
    detail = ", ".join(f"{count.name} {count.devices}" for count in told)
    kinds = {count.outcome.kind for count in told}
    # Of a message to many it is not told who failed: no device may be blamed for another.
    outcome = told[0].outcome if len(kinds) == 1 else _UNKNOWN
    reason = next((count.name for count in told if count.outcome.kind is not OutcomeKind.ACCEPTED), told[0].name)
    return outcome._replace(provider_status=200, reason=reason, detail=clip(detail))
