"""The conformance matrix: what may happen to our HTTP/2 client, and four servers to have it happen with.

`python -m tests.conformance.matrix` writes it to docs/conformance.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from pushrpc.transport.frames import ErrorCode
from tests.conformance.servers import KINDS, ROOT, Kind
from tests.conformance.situations import connecting, ends, flow, goaway, resets, responses, settings
from tests.conformance.stage import Place

PAGE: Final = ROOT / "docs" / "conformance.md"


class Situation(NamedTuple):
    """A row. `added_by` names the servers whose own interface cannot bring it about: frames are added to theirs, with
    the frame layer of the same library."""

    name: str
    what: str
    play: Callable[[Place], Awaitable[None]]
    added_by: frozenset[str] = frozenset()


def _row(name: str, what: str, play: Callable[[Place], Awaitable[None]], *added_by: str) -> Situation:
    return Situation(name, what, play, frozenset(added_by))


def _resets(moment: str, play: Callable[[ErrorCode, Place], Awaitable[None]]) -> list[Situation]:
    return [
        _row(
            f"rst_{moment}_headers_{code.name.lower()}",
            f"RST_STREAM {code.name} ({code:#x}) {moment} the response headers",
            partial(play, code),
            *(["go"] if code is not ErrorCode.INTERNAL_ERROR else []),
        )
        for code in ErrorCode
    ]


GROUPS: Final[Sequence[tuple[str, Sequence[Situation]]]] = (
    (
        "TLS and ALPN",
        (
            _row("tls_untrusted_ca", "certificate of an authority we do not trust", connecting.untrusted_ca),
            _row("tls_wrong_host_name", "certificate for another host", connecting.wrong_host_name),
            _row("tls_expired", "certificate that has expired", connecting.expired_certificate),
            _row("tls_handshake_stalls", "TCP is accepted, TLS never answers", connecting.handshake_stalls),
            _row("alpn_only_http1", "ALPN offers http/1.1 only", connecting.only_http1_offered),
            _row("alpn_none", "no ALPN at all", connecting.no_alpn),
        ),
    ),
    (
        "SETTINGS while requests are open",
        (
            _row("settings_streams_1000_1_1000", "1,000 streams, 1, 1,000", settings.streams_1000_1_1000, "go"),
            _row("settings_streams_0", "no streams for a while", settings.streams_0_and_again, "go"),
            _row("settings_header_table", "header table 4,096, 0, 64, 200, 4,096", settings.smaller_header_table, "go"),
            _row("settings_smaller_frames", "frames of 65,536, then 16,384 bytes", settings.smaller_frames, "go"),
            _row(
                "settings_window_below_zero",
                "initial window 65,535, then 1,000: open streams go below 0",
                settings.smaller_window_below_zero,
                "go",
            ),
            _row("settings_unknown", "a setting nobody knows", settings.unknown_setting, "go"),
        ),
    ),
    (
        "GOAWAY",
        (
            _row("goaway_between", "open streams above and below its last id", goaway.between, "go", "h2"),
            _row("goaway_graceful", "2^31-1 first, then the real id", goaway.graceful, "go", "h2"),
            _row("goaway_twice", "a second one with a lower id", goaway.twice_lower, "go", "h2"),
            _row("goaway_none", "all open streams above its last id", goaway.none_processed, "go", "h2"),
            _row("goaway_error", "an error, then the connection ends", goaway.error_and_end, "go", "h2"),
            _row("goaway_shutdown", "the server's own orderly end", goaway.shutdown),
        ),
    ),
    ("RST_STREAM before the response headers", _resets("before", resets.before_headers)),
    ("RST_STREAM after the response headers", _resets("after", resets.after_headers)),
    (
        "Responses",
        (
            _row("continuation", "response headers in CONTINUATION frames", responses.continuation),
            _row("padding", "padding on HEADERS and DATA", responses.padding, "go", "h2"),
            _row("trailers", "trailers after a body", responses.trailers),
            _row("trailers_only", "trailers without a body", responses.trailers_without_body),
            _row("interim_103", "two 103 before the answer", responses.early_hints_103),
            _row("interim_100", "100 before the answer", responses.continue_100),
            _row("interleaved_data", "DATA of 100 streams in turn", responses.interleaved_data),
            _row("empty_data", "DATA frames of no bytes (from Node, at the end only)", responses.empty_data, "go"),
            _row("large_bodies", "more than our connection window", responses.large_bodies),
            _row("body_too_long", "bodies past our bound of 64 KiB", responses.body_past_its_bound),
            _row("unknown_frames", "frame types nobody knows", responses.unknown_frames, "go", "h2"),
            _row("pings", "PING from the server", responses.pings, "go"),
            _row("early_answer", "answer before the request body is complete", responses.before_the_request_ends, "go"),
            _row("early_answer_reset", "the same, then RST_STREAM NO_ERROR", responses.reset_after_the_answer, "go"),
        ),
    ),
    (
        "Flow control",
        (
            _row("window_of_streams", "no WINDOW_UPDATE for streams, for a while", flow.stream_windows_exhausted, "go"),
            _row("window_of_connection", "the same for the connection", flow.connection_window_exhausted, "go"),
            _row("reading_stops", "TCP backpressure, then the server reads on", flow.reading_stops_and_goes_on),
            _row("reading_stops_for_good", "TCP backpressure for ever", flow.reading_stops_for_good),
        ),
    ),
    (
        "Ends",
        (
            _row("closed_before_answers", "the connection ends, answers are owed", ends.closed_before_answers),
            _row("closed_amid_responses", "the connection ends within responses", ends.closed_amid_responses),
            _row("reset_by_tcp", "the connection is reset", ends.reset_by_tcp),
            _row("peer_vanishes", "half-open TCP: packets go nowhere", ends.peer_vanishes),
            _row("never_answered", "answers that never come", ends.never_answered),
            _row("stream_ids_run_out", "stream ids up to 2^31-1", ends.stream_ids_run_out),
        ),
    ),
)
SITUATIONS: Final = [situation for _, rows in GROUPS for situation in rows]
CELLS: Final = [(situation, kind) for situation in SITUATIONS for kind in KINDS]


def page() -> str:
    """The table for readers."""
    lines = [
        "# HTTP/2 conformance",
        "",
        "What our HTTP/2 client (`src/pushrpc/transport`) is put through, with servers that nobody here wrote. Every",
        "cell is a test: `make unit ARGS=tests/conformance`, one with `ARGS='tests/conformance -k goaway_between'`. In",
        "each, tens to hundreds of requests are open at once, and for every one of them holds: it is answered exactly",
        "once, with what the server answered to that token; it is not called NotSent if the server has processed it;",
        "no answer that the server gave is missing; it is resolved at the latest one second after its deadline. Then",
        "the pool goes on with a good server.",
        "",
        "- ● made with the server's own interface",
        "- ◐ frames that its interface cannot be asked for are added between its own, written with the same library's",
        "  frame layer (`golang.org/x/net/http2.Framer`, `hyperframe`); a test counts them",
        "",
        "Go's is net/http, nghttp2's is libnghttp2 with sockets and TLS from Python's asyncio, as hyper-h2's;",
        "nghttpd, the program, has its own tests beside the table. A server that does not read is a stopped process; a",
        "peer that vanishes is a relay that carries nothing any more.",
        "",
        "Written by `python -m tests.conformance.matrix`; a test fails when it is out of date.",
    ]
    for title, rows in GROUPS:
        lines += ["", f"## {title}", "", _line("situation", "", *(kind.title for kind in KINDS))]
        lines.append(_line("---", "---", *(":-:" for _ in KINDS)))
        lines += [_line(f"`{row.name}`", row.what, *(_mark(row, kind) for kind in KINDS)) for row in rows]
    return "\n".join(lines) + "\n"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _mark(row: Situation, kind: Kind) -> str:
    return "◐" if kind.name in row.added_by else "●"


def write(path: Path = PAGE) -> None:
    path.write_text(page())


if __name__ == "__main__":
    write()
