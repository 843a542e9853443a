"""Header blocks (RFC 7541): ours written by hand for speed, the peer's read through hpack, and only when looked at.

Requests of one notification differ in a path and a header or two. What they share goes into the peer's dynamic table
once per session and is one byte per header afterwards; what differs is a literal that no table keeps. Responses come
without a dynamic table (we announce HEADER_TABLE_SIZE 0), so every block stands alone and can be read late or never.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, overload

import hpack
from hpack.table import HeaderTable

from pushrpc.exchange import Headers, Template

Header = tuple[bytes, bytes]

# RFC 7541's default. A peer that offers more is not asked to keep more: the constants of a lane fit several times.
TABLE_SIZE_MAX: Final = 4_096
ENTRY_OVERHEAD: Final = 32  # RFC 7541 §4.1

# Remembered headers that were sent once: they enter the table when they come again, so that values used only once
# (a collapse id, say) never push out the constants.
SEEN_MAX: Final = 256

# An insertion that evicts is allowed once in so many lookups: constants that outgrow the table would otherwise evict
# in turn what the next request needs.
EVICTION_INTERVAL: Final = 64

# Header names come from provider code, so there are few; the bound only guards against a caller's mistake.
NAMES_MAX: Final = 256

RESPONSE_HEADERS_BYTES_MAX: Final = 65_536

# A byte on the wire can be a whole header, and reading that costs microseconds: many small ones are an attack. Node
# takes as many.
RESPONSE_HEADERS_MAX: Final = 128

_STATIC: Final = {header: index for index, header in enumerate(HeaderTable.STATIC_TABLE, 1)}
_STATIC_NAMES: Final = {name: index for index, (name, _) in reversed(list(enumerate(HeaderTable.STATIC_TABLE, 1)))}
_NEVER_INDEXED: Final = frozenset({b"authorization", b"cookie", b"proxy-authorization"})  # RFC 7541 §7.1.3

_PATH_LITERAL: Final = b"\x04"  # without indexing, name of static entry 4
_CONTENT_LENGTH_LITERAL: Final = b"\x0f\x0d"  # without indexing, name of static entry 28


def integer(value: int, prefix_bits: int, first: int = 0) -> bytes:
    """RFC 7541 §5.1."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes((first | value,))
    out = bytearray((first | limit,))
    value -= limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


# String lengths without Huffman coding: coding costs more CPU here than the bytes cost on the wire.
_LENGTHS: Final = [integer(n, 7) for n in range(1_024)]


def _length(n: int) -> bytes:
    return _LENGTHS[n] if n < len(_LENGTHS) else integer(n, 7)


class Shared(NamedTuple):
    """The parts of a request's block that rows of one template share: before the path, and after it.

    `final` is false when writing them changed the peer's table, so that the next row's look different.
    """

    before: bytes
    after: bytes
    final: bool


class Encoder:
    """Writes request header blocks and keeps an exact model of the peer's dynamic table.

    Blocks must reach the peer in the order they were written.
    """

    def __init__(self) -> None:
        self._limit = TABLE_SIZE_MAX
        self._least_limit: int | None = None  # since the last block; the peer must hear of it (RFC 7541 §4.2)
        self._entries: deque[Header] = deque()  # oldest first
        self._size = 0
        self._inserted = 0
        self._numbers: dict[Header, int] = {}  # header -> how many were inserted up to and with it
        self._seen: set[Header] = set()
        self._lookups = 0
        self._may_evict_at = 0
        self._names: dict[bytes, bytes] = {}
        self._wanted: tuple[bytes, bytes, bytes, Headers] | None = None  # what `_shared` is good for, while it is
        self._shared = Shared(b"", b"", False)

    def set_table_size(self, value: int) -> None:
        """Takes the peer's HEADER_TABLE_SIZE; the next block begins with the size update it asks for."""
        limit = min(value, TABLE_SIZE_MAX)
        if limit == self._limit:
            return
        self._limit = limit
        self._wanted = None
        self._least_limit = limit if self._least_limit is None else min(limit, self._least_limit)
        self._evict(limit)

    def shared(self, template: Template, scheme: bytes) -> Shared:
        """What a template's rows share, ready to be sent next."""
        method, authority, headers, _ = template
        wanted = method, scheme, authority, headers
        if wanted == self._wanted:  # many templates differ in their body alone
            return self._shared
        self._lookups += 1
        inserted, updates = self._inserted, self._size_updates()
        learned = False
        pseudo = ((b":method", method), (b":scheme", scheme), (b":authority", authority))
        parts: list[list[bytes]] = [[], []]
        for part, some in zip(parts, (pseudo, headers), strict=True):
            for header in some:
                code, new = self._constant(header)
                part.append(code)
                learned = learned or new
        final = not updates and not learned and inserted == self._inserted
        indexed = final and all(code[0] & 0x80 for part in parts for code in part)  # else the table is tried again
        self._wanted = wanted if indexed else None
        self._shared = Shared(updates + b"".join(parts[0]) + _PATH_LITERAL, b"".join(parts[1]), final)
        return self._shared

    def literals(self, headers: Headers) -> bytes:
        """A row's own headers: literals that no table keeps."""
        names = self._names
        out = b""
        for name, value in headers:
            size = len(value)
            out += (names.get(name) or self._name(name)) + (_LENGTHS[size] if size < 1024 else _length(size)) + value
        return out

    def _constant(self, header: Header) -> tuple[bytes, bool]:
        """One header of a template, and whether the next block will write it differently."""
        static = _STATIC.get(header)
        if static is not None:
            return integer(static, 7, 0x80), False
        number = self._numbers.get(header)
        if number is not None:
            return integer(len(_STATIC) + 1 + self._inserted - number, 7, 0x80), False
        fits = len(header[0]) + len(header[1]) + ENTRY_OVERHEAD <= self._limit
        if fits and header in self._seen and self._insert(header):
            return self._literal(header, 6, 0x40), True
        learned = fits and header not in self._seen
        if learned:
            if len(self._seen) >= SEEN_MAX:
                self._seen.clear()
            self._seen.add(header)
        return self._literal(header, 4, 0x10 if header[0] in _NEVER_INDEXED else 0x00), learned

    def _insert(self, header: Header) -> bool:
        size = len(header[0]) + len(header[1]) + ENTRY_OVERHEAD
        if self._size + size > self._limit:
            if self._lookups < self._may_evict_at:
                return False
            self._may_evict_at = self._lookups + EVICTION_INTERVAL
            self._evict(self._limit - size)
        self._entries.append(header)
        self._size += size
        self._inserted += 1
        self._numbers[header] = self._inserted
        return True

    def _evict(self, size_max: int) -> None:
        while self._size > size_max:
            name, value = header = self._entries.popleft()
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD
            del self._numbers[header]

    def _size_updates(self) -> bytes:
        least, self._least_limit = self._least_limit, None
        if least is None:
            return b""
        update = integer(least, 5, 0x20)
        return update if least == self._limit else update + integer(self._limit, 5, 0x20)

    @staticmethod
    def _literal(header: Header, prefix_bits: int, first: int) -> bytes:
        name, value = header
        index = _STATIC_NAMES.get(name)
        start = integer(index, prefix_bits, first) if index else bytes((first,)) + _length(len(name)) + name
        return start + _length(len(value)) + value

    def _name(self, name: bytes) -> bytes:
        index = _STATIC_NAMES.get(name)
        first = 0x10 if name in _NEVER_INDEXED else 0x00
        prefix = integer(index, 4, first) if index else bytes((first,)) + _length(len(name)) + name
        if len(self._names) >= NAMES_MAX:
            self._names.clear()
        self._names[name] = prefix
        return prefix


def path(value: bytes) -> bytes:
    """The value of `:path`, to stand right after `Shared.before`."""
    return _length(len(value)) + value


def content_length(size: int) -> bytes:
    digits = b"%d" % size
    return _CONTENT_LENGTH_LITERAL + bytes((len(digits),)) + digits


class Decoder:
    """Reads response blocks. Raises hpack.HPACKError for one that is illegal or past 64 KiB or 128 headers."""

    def __init__(self) -> None:
        self._hpack = hpack.Decoder(RESPONSE_HEADERS_BYTES_MAX)
        self._hpack.max_allowed_table_size = 0
        self._hpack.header_table_size = 0

    def decode(self, block: bytes) -> list[Header]:
        headers = [(bytes(name), bytes(value)) for name, value in self._hpack.decode(block, raw=True)]
        if len(headers) > RESPONSE_HEADERS_MAX:
            raise hpack.OversizedHeaderListError(f"{len(headers)} headers")
        return headers


class LateHeaders(Sequence[Header]):
    """The headers of a block, read at the first look, without pseudo-headers.

    Reading costs several times what the whole request cost, and most answers are judged by their status alone. A
    block that turns out to be illegal has no headers: with an empty table it cannot spoil another one.
    """

    __slots__ = ("_block", "_decoder", "_headers")

    def __init__(self, decoder: Decoder, block: bytes) -> None:
        self._decoder = decoder
        self._block = block
        self._headers: tuple[Header, ...] | None = None

    def _read(self) -> tuple[Header, ...]:
        if self._headers is None:
            try:
                self._headers = tuple(regular(self._decoder.decode(self._block)))
            except hpack.HPACKError:
                self._headers = ()
        return self._headers

    @overload
    def __getitem__(self, at: int) -> Header: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Header]: ...

    def __getitem__(self, at: int | slice) -> Header | Sequence[Header]:
        return self._read()[at]

    def __iter__(self) -> Iterator[Header]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())


class Malformed(Exception):
    """A response that breaks HTTP's rules, which ends its stream only (RFC 9113 §8.1.1)."""


def status_of(headers: Sequence[Header]) -> int:
    """RFC 9113 §8.3.2: exactly one `:status`, and pseudo-headers come first. Raises Malformed."""
    pseudo = [header for header in headers if header[0].startswith(b":")]
    if len(pseudo) != 1 or pseudo[0] is not headers[0] or pseudo[0][0] != b":status":
        raise Malformed("no single :status at its start")
    value = pseudo[0][1]
    if len(value) != 3 or not value.isdigit():
        raise Malformed("a :status that is no number")
    return int(value)


def regular(headers: Sequence[Header]) -> list[Header]:
    """Without pseudo-headers."""
    return [header for header in headers if not header[0].startswith(b":")]
