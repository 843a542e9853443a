"""What one call may carry and how long things last: the contract's figures, by name."""

from __future__ import annotations

from dataclasses import dataclass

DAY_S = 24 * 3600

TARGETS_PER_SEND_MAX = 1_000
SENDS_PER_MESSAGE_MAX = 500
TARGETS_PER_MESSAGE_MAX = 10_000
REQUEST_BYTES_MAX = 4 * 1024 * 1024
STREAM_IDS_MAX = 1_000
FILTER_VALUES_MAX = 1_000

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1_000
# A gRPC client takes 4 MiB by default; 1,000 rows with long metadata or labels pass it.
PAGE_BYTES_MAX = 3 * 1024 * 1024

ID_BYTES_MAX = 128  # request_id, device_id, installation_id
USER_ID_BYTES_MAX = 256
ACCOUNT_BYTES_MAX = 256
CATEGORY_BYTES_MAX = 256
TOKEN_BYTES_MAX = 4_096
KEY_BYTES_MAX = 256  # a subscription's keys have 88 and 24 characters in base64
TITLE_BYTES_MAX = 1_024
BODY_BYTES_MAX = 4_096
DATA_BYTES_MAX = 4_096
COLLAPSE_KEY_BYTES_MAX = 64
TAG_BYTES_MAX = 120
TAGS_MAX = 64
METADATA_MAX = 32
LABELS_MAX = 16
MAP_KEY_BYTES_MAX = 64
MAP_VALUE_BYTES_MAX = 256
LOCALE_BYTES_MAX = 64  # BCP 47 tags in use have at most 35 characters, IANA zones 32
ARGUMENTS_MAX = 64
VALUE_SHOWN_BYTES_MAX = 256  # of what a Rejection quotes: 10,000 of them must fit one answer

# Apple takes 5,120 bytes at most (voip), Google 4,096 for each platform's part of a message: android, apns, webpush.
APNS_JSON_BYTES_MAX = 5_120
FCM_JSON_BYTES_MAX = 3 * 4_096
# Browsers take 3,993 bytes before encryption, Windows 5,000, Huawei 4,096; a hub 64 KiB, of which templates use little.
WEB_PUSH_JSON_BYTES_MAX = 3_993
WNS_BYTES_MAX = 5_000
HMS_JSON_BYTES_MAX = 4_096
HUB_VALUES_BYTES_MAX = 8_192
REPORTS_MAX = 1_000
TOPIC_TOKENS_MAX = 1_000
AUDIENCE_NAME_BYTES_MAX = 1_024  # a condition of 5 topics, a tag expression of 20 tags

TTL_DEFAULT_S = DAY_S
TTL_MAX_S = 28 * DAY_S
ONE_TRY_S = 30  # ttl 0 is one try: so long it may wait for its turn
WAIT_MAX_S = 30
WAIT_MARGIN_S = 0.2  # an answer must be on its way before the caller's own deadline

EVENTS_PER_PAGE_MAX = 500
EVENTS_BYTES_MAX = 1024 * 1024
# Between messages of a busy stream: what happens meanwhile shares the next one. A message costs as much as 100 events.
GATHER_S = 0.005
# While one message commits, the next is parsed; more would only hold more 4 MiB requests in memory.
BULK_IN_PROGRESS_MAX = 4


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator may set, and tests make small. A status stream leaves at `stream_age_s` ± 10 %."""

    event_retention_s: int = 7 * DAY_S
    request_id_retention_s: int = 3 * DAY_S
    heartbeat_s: float = 15.0
    stream_age_s: float = 30 * 60.0
    write_timeout_s: float = 60.0
    streams_max: int = 1_000
    streams_per_app_max: int = 200
    bulk_streams_max: int = 64
