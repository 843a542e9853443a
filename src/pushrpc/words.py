"""The words of pushrpc: closed sets, and the one table of how a delivery's state may change.

Numbers are those of the Protobuf contract, so that crossing the gRPC edge is a copy; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum


class Provider(IntEnum):
    """A push service. One that this server has no account for is a typed rejection, never a failed call."""

    UNSPECIFIED = 0
    APNS = 1
    FCM = 2
    WNS = 3
    WEB_PUSH = 4
    HMS = 5
    NOTIFICATION_HUBS = 6


class Environment(IntEnum):
    """Which of Apple's two worlds a token belongs to. Only APNs tells them apart."""

    UNSPECIFIED = 0
    PRODUCTION = 1
    SANDBOX = 2


class Permission(IntEnum):
    """Whether the person allows notifications, as the app last saw it."""

    UNSPECIFIED = 0
    GRANTED = 1
    PROVISIONAL = 2
    DENIED = 3
    UNKNOWN = 4


class Priority(IntEnum):
    """How soon the handset should get it."""

    UNSPECIFIED = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3


class TokenKind(IntEnum):
    """What a token is for. An audience takes STANDARD tokens only, unless the message itself is of another kind."""

    UNSPECIFIED = 0
    STANDARD = 1
    VOIP = 2
    LIVE_ACTIVITY = 3
    LIVE_ACTIVITY_START = 4
    COMPLICATION = 5
    FILE_PROVIDER = 6
    LOCATION = 7
    PUSH_TO_TALK = 8
    CONTROLS = 9
    WIDGETS = 10
    MDM = 11


class DeviceState(IntEnum):
    """What the registry believes of a device."""

    UNSPECIFIED = 0
    ACTIVE = 1
    STALE = 2
    DEAD = 3
    REMOVED = 4


class DeliveryState(IntEnum):
    """Where one delivery stands. A final state never changes."""

    UNSPECIFIED = 0
    QUEUED = 1
    IN_FLIGHT = 2
    SENT = 3
    REJECTED = 4
    UNREGISTERED = 5
    EXPIRED = 6
    CANCELLED = 7
    SUPPRESSED = 8
    FAILED = 9


class OutcomeKind(IntEnum):
    """What one attempt came to."""

    UNSPECIFIED = 0
    ACCEPTED = 1
    TOKEN_INVALID = 2
    PAYLOAD_REFUSED = 3
    CREDENTIAL_REFUSED = 4
    THROTTLED = 5
    UNAVAILABLE = 6
    UNKNOWN = 7


class Cause(IntEnum):
    """Our own reason for a state, where the provider's word does not tell it."""

    UNSPECIFIED = 0
    DEVICE_DEAD = 1
    DEVICE_REMOVED = 2
    TRIES_USED_UP = 3
    ANSWER_UNKNOWN = 4
    PAYLOAD_TOO_LARGE = 5
    PROVIDER_DROPPED = 6
    LANE_PAUSED = 7
    CANCELLED_BY_CALLER = 8
    ENDPOINT_FORBIDDEN = 9


class RejectReason(IntEnum):
    """Why a named target made no delivery."""

    UNSPECIFIED = 0
    TOKEN_MALFORMED = 1
    PROVIDER_NOT_CONFIGURED = 2
    PROVIDER_APP_UNKNOWN = 3
    DEVICE_UNKNOWN = 4
    DEVICE_DEAD = 5
    USER_WITHOUT_DEVICE = 6
    TOKEN_KIND_MISMATCH = 7
    PAYLOAD_TOO_LARGE = 8
    FIELD_MISSING = 9
    WEB_PUSH_KEYS_INVALID = 10
    ENDPOINT_FORBIDDEN = 11
    PROVIDER_RETIRED = 12


class EventKind(IntEnum):
    """What a DeliveryEvent tells."""

    UNSPECIFIED = 0
    STATE = 1
    ATTEMPT = 2
    DEVICE = 3
    ENGAGEMENT = 4
    PROVIDER_FEEDBACK = 5


class NotificationState(IntEnum):
    """Where a whole notification stands."""

    UNSPECIFIED = 0
    ACTIVE = 1
    COMPLETE = 2


class StreamStart(IntEnum):
    """Where a stream of a whole app begins when it has no cursor."""

    UNSPECIFIED = 0
    NOW = 1
    OLDEST = 2


class ApnsPushType(IntEnum):
    """Apple's apns-push-type."""

    UNSPECIFIED = 0
    ALERT = 1
    BACKGROUND = 2
    LIVE_ACTIVITY = 3
    VOIP = 4
    LOCATION = 5
    COMPLICATION = 6
    FILE_PROVIDER = 7
    MDM = 8
    PUSH_TO_TALK = 9
    CONTROLS = 10
    WIDGETS = 11


class HubPlatform(IntEnum):
    """The push service behind a hub's handle. Needed for handles and devices of NOTIFICATION_HUBS only."""

    UNSPECIFIED = 0
    APNS = 1
    FCM_V1 = 2
    WNS = 3
    BROWSER = 4
    ADM = 5
    BAIDU = 6
    XIAOMI = 7


class LiveActivityEvent(IntEnum):
    """What happens to a Live Activity."""

    UNSPECIFIED = 0
    START = 1
    UPDATE = 2
    END = 3


class Urgency(IntEnum):
    """RFC 8030 §5.3: how soon a browser should be woken."""

    UNSPECIFIED = 0
    VERY_LOW = 1
    LOW = 2
    NORMAL = 3
    HIGH = 4


class WnsType(IntEnum):
    """What Windows does with it: X-WNS-Type."""

    UNSPECIFIED = 0
    TOAST = 1
    TILE = 2
    BADGE = 3
    RAW = 4


class Engagement(IntEnum):
    """What became of a notification on the device, as the app reports it."""

    UNSPECIFIED = 0
    RECEIVED = 1
    DISPLAYED = 2
    OPENED = 3
    DISMISSED = 4


class AudienceKind(StrEnum):
    """What a provider itself spreads a push to; the names are those of the contract's fields."""

    TOPIC = "topic"
    CONDITION = "condition"
    CHANNEL = "channel_id"
    TAGS = "tag_expression"
    EVERYONE = "everyone"


class InterruptionLevel(IntEnum):
    """How much an alert may interrupt."""

    UNSPECIFIED = 0
    PASSIVE = 1
    ACTIVE = 2
    TIME_SENSITIVE = 3
    CRITICAL = 4


FINAL_STATES = frozenset(
    {
        DeliveryState.SENT,
        DeliveryState.REJECTED,
        DeliveryState.UNREGISTERED,
        DeliveryState.EXPIRED,
        DeliveryState.CANCELLED,
        DeliveryState.SUPPRESSED,
        DeliveryState.FAILED,
    }
)

# The one transition table. QUEUED to QUEUED is a retry; everything from a final state is absent, so it is illegal.
TRANSITIONS: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.QUEUED: frozenset({DeliveryState.QUEUED, DeliveryState.IN_FLIGHT}) | FINAL_STATES,
    DeliveryState.IN_FLIGHT: frozenset({DeliveryState.QUEUED}) | FINAL_STATES,
}
