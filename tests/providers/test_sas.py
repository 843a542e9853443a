"""Connection strings, strictly read, and shared access signatures against an independent recomputation."""

from __future__ import annotations

import base64
import hashlib
import hmac
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.providers import AccountError
from pushrpc.providers.origin import Origin
from pushrpc.providers.sas import LIFETIME_S, WINDOW_S, SasToken, read_connection_string
from tests.providers.samples import NOW_US

KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0ISE="
GOOD = f"Endpoint=sb://shop-ns.servicebus.windows.net/;SharedAccessKeyName=Send;SharedAccessKey={KEY}"


def stored(tmp_path: Path, text: str) -> str:
    path = tmp_path / "connection.txt"
    path.write_text(text)
    return str(path)


def test_a_connection_string_is_read(tmp_path: Path) -> None:
    read = read_connection_string(stored(tmp_path, GOOD + ";EntityPath=shop;\n"))
    assert (read.origin, read.namespace) == (Origin("shop-ns.servicebus.windows.net"), "shop-ns")
    assert (read.key_name, read.key, read.entity) == ("Send", KEY, "shop")
    assert KEY not in repr(read)


def test_a_hub_may_be_elsewhere(tmp_path: Path) -> None:
    text = GOOD.replace("shop-ns.servicebus.windows.net", "127.0.0.1:8443")
    read = read_connection_string(stored(tmp_path, text))
    assert (read.origin, read.namespace) == (Origin("127.0.0.1", 8443), "127.0.0.1")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "does not hold one line"),
        (GOOD + "\nanother line", "does not hold one line"),
        ("Endpoint", "Endpoint is empty"),
        ("Endpoint=", "Endpoint is empty"),
        (GOOD.replace("Endpoint=", "endpoint="), "a part that no connection string has"),
        (GOOD.replace("SharedAccessKey=", "SharedSecretValue="), "a part that no connection string has"),
        (GOOD + ";SharedAccessKeyName=Other", "SharedAccessKeyName is there twice"),
        (GOOD.partition(";")[2], "has no Endpoint"),
        (GOOD.rpartition(";")[0], "has no SharedAccessKey"),
        (GOOD.replace("SharedAccessKeyName=Send;", ""), "has no SharedAccessKeyName"),
        (GOOD.replace("sb://", "https://"), "Endpoint is not sb://host/"),
        (GOOD.replace("shop-ns.servicebus.windows.net", ""), "Endpoint is not sb://host/"),
        (GOOD.replace("windows.net/", "windows.net/hub"), "Endpoint is not sb://host/"),
        (GOOD.replace("sb://", "sb://user@"), "Endpoint is not sb://host/"),
        (GOOD.replace("windows.net/", "windows.net:port/"), "Endpoint is not sb://host/"),
        (GOOD.replace("windows.net/", "windows.net/?x=1"), "Endpoint is not sb://host/"),
    ],
)
def test_what_is_no_connection_string_says_why_and_never_repeats_the_key(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(AccountError) as refused:
        read_connection_string(stored(tmp_path, text))
    assert refused.value.setting == "connection_string_file"
    assert problem in refused.value.problem
    assert KEY not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AccountError, match="connection_string_file: cannot be read"):
        read_connection_string(str(tmp_path / "none"))


def parts_of(token: bytes) -> dict[str, str]:
    scheme, _, rest = token.decode().partition(" ")
    assert scheme == "SharedAccessSignature"
    return dict(part.split("=", 1) for part in rest.split("&"))


@given(key=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1), rule=st.text(min_size=1))
def test_the_signature_is_what_microsoft_describes(key: str, rule: str) -> None:
    rule = rule.encode("utf-8", "replace").decode()
    token = SasToken("https://Shop-NS.servicebus.windows.net/Shop", rule, key).current(NOW_US)
    parts = parts_of(token)
    assert list(parts) == ["sr", "sig", "se", "skn"]
    assert urllib.parse.unquote(parts["sr"]) == "https://shop-ns.servicebus.windows.net/shop"
    assert urllib.parse.unquote(parts["skn"]) == rule
    signed = f"{parts['sr']}\n{parts['se']}".encode()
    expected = base64.b64encode(hmac.new(key.encode(), signed, hashlib.sha256).digest()).decode()
    assert urllib.parse.unquote(parts["sig"]) == expected


def test_a_fixed_vector() -> None:
    """The signature is OpenSSL's, made on its command line."""
    token = SasToken("https://shop-ns.servicebus.windows.net/shop", "Send", KEY).current(NOW_US)
    assert token == (
        b"SharedAccessSignature sr=https%3A%2F%2Fshop-ns.servicebus.windows.net%2Fshop"
        b"&sig=MJuXG4P%2BmPBjpCpea2uKkv9Pk02bt%2FxG4fc9sAkFCgc%3D&se=1795414800&skn=Send"
    )


@given(moment_us=st.integers(0, 4_000_000_000_000_000))
def test_within_a_window_every_process_signs_the_same_and_there_is_always_time_left(moment_us: int) -> None:
    def sign(at_us: int) -> bytes:
        return SasToken("https://h/hub", "Send", KEY).current(at_us)

    start_us = moment_us // 1_000_000 // WINDOW_S * WINDOW_S * 1_000_000
    assert sign(moment_us) == sign(start_us)
    assert sign(moment_us) != sign(start_us + WINDOW_S * 1_000_000)
    left_s = int(parts_of(sign(moment_us))["se"]) - moment_us / 1e6
    assert LIFETIME_S - WINDOW_S < left_s <= LIFETIME_S


def test_time_that_passes_brings_a_new_token_and_no_exchange() -> None:
    token = SasToken("https://h/hub", "Send", KEY)
    first = token.current(NOW_US)
    assert token.current(NOW_US + WINDOW_S * 1_000_000) != first
    assert token.current(NOW_US) == first
    assert (token.renew_at_us(), token.renewal(NOW_US)) == (0, None)


MINE = ("https://shop-ns.servicebus.windows.net/shop", "Send", KEY)


def expires_s(token: bytes) -> int:
    return int(urllib.parse.parse_qs(token.decode().partition(" ")[2])["se"][0])


@pytest.mark.parametrize("into_window_s", [0, 1, WINDOW_S - 2])
def test_a_refused_token_is_replaced_by_a_fresh_one(into_window_s: int) -> None:
    now_us = (NOW_US // 1_000_000 // WINDOW_S * WINDOW_S + into_window_s) * 1_000_000
    token = SasToken(*MINE)
    refused = token.current(now_us)
    assert token.renewal(now_us) is None, "there is nobody to ask"
    fresh = token.current(now_us)
    assert fresh != refused
    assert expires_s(fresh) >= now_us // 1_000_000 + LIFETIME_S
    assert token.current(now_us + 1_000_000) == fresh, "signed once, not each time"
    # From the next window but one it is what every other node signs again.
    later_us = now_us + 2 * WINDOW_S * 1_000_000
    assert token.current(later_us) == SasToken(*MINE).current(later_us)
