"""Tables and the plot say what the rounds say."""

from __future__ import annotations

from pathlib import Path

from bench.plot import draw
from bench.report import quick_table, report, text_table
from tests.bench.runs import case, results


def test_columns_line_up_and_short_rows_are_filled() -> None:
    assert text_table(["case", "side", "us"], [["a", "pushrpc", "9.1"], ["", "b"]]).splitlines() == [
        "case  side      us",
        "----  -------  ---",
        "a     pushrpc  9.1",
        "      b",
    ]


def test_the_quick_table_fits_80_columns_of_plain_ascii() -> None:
    table = quick_table([case("apns", "fan-out APNs", pushrpc=[1234.5], gorush_rest=[1.0], aioapns=[2345.6])])
    assert all(len(line) <= 80 for line in table.splitlines())
    assert table.isascii()


def test_ratios_are_ours_against_each_peer() -> None:
    table = quick_table([case("apns", "fan-out APNs", pushrpc=[20.0, 24.0], aioapns=[200.0, 200.0])])
    ours, theirs = table.splitlines()[2:]
    assert ours.split() == ["fan-out", "APNs", "pushrpc", "22.0", "45,833"]
    assert theirs.split() == ["aioapns", "200.0", "5,000", "0.11", "x", "9.2", "x"]


def test_the_report_marks_what_was_missed_and_by_how_much() -> None:
    assert "missed" not in report(results())
    slow = report(results(pushrpc_us=25.0))
    assert "| APNs fan-out of 1,000: CPU per push | ≤ 20 µs | 25.2 µs | **missed**: 26 % over |" in slow


def test_every_case_and_side_is_in_the_report() -> None:
    text = report(results())
    for size in ("1", "10", "100", "1,000"):
        assert text.count(f"| {size} | pushrpc |") == 2  # APNs and FCM
        assert f"| {size} | apns2 pool | 0.2" in text
    assert "| unary, 50 callers | empty grpc.aio echo | 1.12 × |" in text
    assert "900 ended cancelled, 100 sent" in text


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    draw(results(), tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
