"""Our header encoder against hpack's decoder: whatever is written must be read the same, with the same table."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.exchange import Template
from pushrpc.transport.headers import (
    EVICTION_INTERVAL,
    RESPONSE_HEADERS_BYTES_MAX,
    Decoder,
    Encoder,
    LateHeaders,
    content_length,
    integer,
    path,
)

APNS = Template(
    b"POST",
    b"api.push.apple.com",
    [(b"authorization", b"bearer " + b"x" * 230), (b"apns-topic", b"com.example.shop"), (b"apns-priority", b"10")],
)


class Reader:
    """The peer's side: hpack with the table it announced."""

    def __init__(self, table_size: int = 4096) -> None:
        self.hpack = hpack.Decoder()
        self.hpack.max_allowed_table_size = table_size

    def read(self, block: bytes) -> list[tuple[bytes, bytes]]:
        return [(bytes(n), bytes(v)) for n, v in self.hpack.decode(block, raw=True)]


def expected(template: Template, row_path: bytes, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [
        (b":method", template.method),
        (b":scheme", b"https"),
        (b":authority", template.authority),
        (b":path", row_path),
        *template.headers,
        *headers,
    ]


def block(encoder: Encoder, template: Template, row_path: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    shared = encoder.shared(template, b"https")
    return shared.before + path(row_path) + shared.after + encoder.literals(headers)


def test_constants_cost_one_byte_from_the_third_request_on() -> None:
    encoder, reader = Encoder(), Reader()
    sizes = []
    for n in range(4):
        row_path = b"/3/device/%064d" % n
        written = block(encoder, APNS, row_path, [(b"apns-id", b"id-%d" % n)])
        sizes.append(len(written))
        assert reader.read(written) == expected(APNS, row_path, [(b"apns-id", b"id-%d" % n)])
    constants = 3 + len(APNS.headers)
    assert sizes[2] == sizes[3] == constants + (2 + 74) + (2 + len("apns-id") + 1 + len("id-2"))
    assert encoder.shared(APNS, b"https").final


def test_a_new_template_adds_only_what_is_missing() -> None:
    encoder, reader = Encoder(), Reader()
    for _ in range(3):
        reader.read(block(encoder, APNS, b"/", []))
    renewed = APNS._replace(headers=[(b"authorization", b"bearer " + b"y" * 230), *APNS.headers[1:]])
    grown = [len(block(encoder, renewed, b"/", [])) for _ in range(3)]
    assert grown[0] > 230 and grown[1] > 230 and grown[2] < 20


def test_a_value_used_once_never_enters_the_table() -> None:
    encoder, reader = Encoder(), Reader()
    for n in range(500):
        once = APNS._replace(headers=[*APNS.headers, (b"apns-collapse-id", b"order-%d" % n)])
        assert reader.read(block(encoder, once, b"/", [])) == expected(once, b"/", [])
    names = {bytes(name) for name, _ in reader.hpack.header_table.dynamic_entries}
    assert b"apns-collapse-id" not in names and b"authorization" in names


def test_constants_larger_than_the_table_do_not_thrash_it() -> None:
    encoder, reader = Encoder(), Reader()
    templates = [APNS._replace(headers=[(b"authorization", bytes((65 + n,)) * 1_500)]) for n in range(4)]
    inserted = 0
    rounds = 64
    for n in range(rounds):
        template = templates[n % len(templates)]
        written = block(encoder, template, b"/", [])
        assert reader.read(written) == expected(template, b"/", [])
        inserted += len(written) > 1_500 and bool(written[0] & 0x80) and b"\x57\x7f" in written
    assert 2 <= inserted <= len(templates) + rounds // EVICTION_INTERVAL + 1


def test_a_renewed_authorization_finds_room_again_in_a_full_table() -> None:
    encoder, reader = Encoder(), Reader()
    for renewal in range(40):
        template = APNS._replace(headers=[(b"authorization", b"bearer %d " % renewal + b"x" * 200)])
        for _ in range(EVICTION_INTERVAL):
            written = block(encoder, template, b"/", [])
            assert reader.read(written) == expected(template, b"/", [])
    assert len(written) < 12


@pytest.mark.parametrize("size", [0, 31, 100])
def test_a_table_too_small_for_the_constants_means_literals(size: int) -> None:
    encoder, reader = Encoder(), Reader()
    encoder.set_table_size(size)
    reader.hpack.max_allowed_table_size = size
    for _ in range(3):
        written = block(encoder, APNS, b"/x", [])
        assert reader.read(written) == expected(APNS, b"/x", [])
    assert len(written) > 230


def test_a_table_that_shrank_and_grew_between_blocks_is_announced_at_its_least() -> None:
    encoder, reader = Encoder(), Reader()
    for _ in range(3):
        reader.read(block(encoder, APNS, b"/", []))
    for size in (0, 65_536):
        encoder.set_table_size(size)
    written = block(encoder, APNS, b"/", [])
    assert written.startswith(b"\x20\x3f\xe1\x1f")  # size 0, then 4,096
    reader.hpack.max_allowed_table_size = 65_536
    assert reader.read(written) == expected(APNS, b"/", [])


HEADER = st.tuples(
    st.sampled_from([b"authorization", b"apns-topic", b"x-long-name-" + b"n" * 140, b"accept"]),
    st.sampled_from([b"", b"a", b"b" * 126, b"c" * 127, b"d" * 1_100, b"e" * 3_000]),
)
TEMPLATES = st.builds(
    Template, st.sampled_from([b"POST", b"PUT"]), st.sampled_from([b"one", b"two"]), st.lists(HEADER, max_size=5)
)
STEPS = st.lists(
    st.one_of(
        st.tuples(TEMPLATES, st.binary(min_size=1, max_size=300), st.lists(HEADER, max_size=2)),
        st.sampled_from([0, 64, 200, 1_000, 4_096, 65_536]),
    ),
    max_size=60,
)


@given(STEPS)
def test_the_model_of_the_peers_table_is_exact(
    steps: list[tuple[Template, bytes, list[tuple[bytes, bytes]]] | int],
) -> None:
    encoder, reader = Encoder(), Reader()
    for step in steps:
        if isinstance(step, int):
            encoder.set_table_size(step)
            reader.hpack.max_allowed_table_size = step
            continue
        template, row_path, headers = step
        for _ in range(3):
            assert reader.read(block(encoder, template, row_path, headers)) == expected(template, row_path, headers)


def test_credentials_that_are_not_indexed_are_marked_never_indexed() -> None:
    encoder = Encoder()
    read = hpack.Decoder().decode(block(encoder, APNS, b"/", [(b"cookie", b"secret")]), raw=True)
    kinds = {bytes(h[0]): type(h) for h in read}
    assert kinds[b"authorization"] is hpack.NeverIndexedHeaderTuple
    assert kinds[b"cookie"] is hpack.NeverIndexedHeaderTuple
    assert kinds[b"apns-topic"] is hpack.HeaderTuple


@given(st.integers(0, 2**31), st.integers(1, 8))
def test_integers_are_those_of_hpack(value: int, prefix: int) -> None:
    assert integer(value, prefix) == bytes(hpack.hpack.encode_integer(value, prefix))


def test_content_length_is_read_back() -> None:
    assert Reader().read(content_length(4_096)) == [(b"content-length", b"4096")]


def test_late_headers_are_read_without_pseudo_headers_and_only_once() -> None:
    written = hpack.Encoder().encode([(":status", "200"), ("apns-id", "abc"), ("date", "now")])
    late = LateHeaders(Decoder(), written)
    assert list(late) == [(b"apns-id", b"abc"), (b"date", b"now")]
    assert len(late) == 2 and late[0] == (b"apns-id", b"abc") and late[1:] == ((b"date", b"now"),)


def test_an_illegal_block_read_late_has_no_headers() -> None:
    assert list(LateHeaders(Decoder(), b"\x88\xff\xff\xff")) == []


def test_a_bomb_is_refused() -> None:
    with pytest.raises(hpack.OversizedHeaderListError):
        Decoder().decode(hpack.Encoder().encode([("a", "x" * RESPONSE_HEADERS_BYTES_MAX)], huffman=False))


def test_a_block_that_needs_a_table_is_refused() -> None:
    with pytest.raises(hpack.HPACKError):
        Decoder().decode(b"\x3f\xe1\x1f\x88")  # the peer claims a table of 4,096
    with pytest.raises(hpack.HPACKError):
        Decoder().decode(b"\xbe")  # the newest entry of an empty table
