"""Sequence numbers: received + gaps (+ undecoded) = sent, despite loss, reordering, duplicates and restarts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ethogram.errors import InputError
from ethogram.io.wire.sequence import Sequences
from ethogram.io.wire.walk import HEADER

WRAP = 1 << 32


def headers_of(
    rows: list[tuple[int, int, int]], version: int = 10, domain: int = 0, uptime: bool = False
) -> np.ndarray:
    """Headers from (sequence, export time, boot time) in seconds."""
    headers = np.zeros(len(rows), HEADER)
    headers["version"], headers["domain"] = version, domain
    for row, (sequence, time_s, boot_s) in zip(headers, rows, strict=True):
        row["sequence"], row["export_time_s"] = sequence % WRAP, time_s
        row["uptime_ms"] = (time_s - boot_s) * 1000 % WRAP if uptime else 0
    return headers


def feed(sequences: Sequences, version: int, rows: list[tuple[int, int]], units: list[int], time_s: int = 100) -> None:
    sequences.add(headers_of([(s, time_s, 0) for s, _ in rows], version), np.array(units))


def units_of(version: int) -> st.SearchStrategy[int]:
    return st.just(1) if version == 9 else st.integers(0 if version == 10 else 1, 30)


@st.composite
def exports(draw: st.DrawFn) -> tuple[int, list[list[tuple[int, int, int, int]]], list[list[int]]]:
    """Runs of messages (sequence, units, time, boot) of one exporter, and their order of arrival."""
    version = draw(st.sampled_from([5, 9, 10]))
    runs, arrivals, time_s = [], [], 1_700_000_000
    for _ in range(draw(st.integers(1, 3))):
        sequence = draw(st.sampled_from([0, 0, 17, WRAP - 40]))
        boot, run = time_s, []
        for units in draw(st.lists(units_of(version), min_size=2, max_size=60)):
            run.append((sequence, units, time_s, boot))
            sequence = (sequence + (1 if version == 9 else units)) % WRAP
            time_s += draw(st.integers(0, 1))
        # The first and the last arrive in order: the range outside them is unknown.
        inner = list(range(1, len(run) - 1))
        lost = draw(st.sets(st.sampled_from(inner), max_size=len(inner) // 2)) if inner else set()
        order = sorted(
            (i for i in inner if i not in lost), key=lambda i: (i + draw(st.sampled_from([0, 0, 0, 2.5, 7.5])), i)
        )
        arrivals.append([0, *order, len(run) - 1])
        runs.append(run)
        time_s += 60
    return version, runs, arrivals


@given(exports(), st.integers(1, 7))
@settings(max_examples=300, deadline=None)
def test_received_and_gaps_are_what_was_sent(
    case: tuple[int, list[list[tuple[int, int, int, int]]], list[list[int]]], batch: int
) -> None:
    version, runs, arrivals = case
    came = [run[i] for run, order in zip(runs, arrivals, strict=True) for i in order]
    sequences = Sequences()
    for at in range(0, len(came), batch):
        part = came[at : at + batch]
        headers = headers_of([(s, t, b) for s, _, t, b in part], version, uptime=version != 10)
        sequences.add(headers, np.array([u for _, u, _, _ in part]))
    totals = sequences.totals
    assert totals.sent == totals.received + totals.gaps
    assert totals.received + totals.duplicates == sum(u for _, u, _, _ in came)
    # A run that begins at the end of the previous one cannot be distinguished from it.
    if all(before[-1][0] != after[0][0] for before, after in pairwise(runs)) and _told_apart(runs, version):
        assert totals.duplicates == 0
        assert totals.sent == sum(u for run in runs for _, u, _, _ in run)
        assert totals.resets == len(runs) - 1


def _told_apart(runs: list[list[tuple[int, int, int, int]]], version: int) -> bool:
    """Whether a new run begins with a smaller number: a larger one within 2**24 looks like a loss."""
    for before, after in pairwise(runs):
        end = (before[-1][0] + (1 if version == 9 else before[-1][1])) % WRAP
        jump = (after[0][0] - end + WRAP // 2) % WRAP - WRAP // 2
        if 0 <= jump <= 1 << 24:
            return False
        if after[0][1] == 0:  # a message without records does not show a restart
            return False
    return True


def test_each_protocol_counts_its_own_unit() -> None:
    for version, numbers, units, gaps in (
        (5, [0, 30, 90], [30, 30, 10], 30),
        (9, [7, 8, 11], [1, 1, 1], 2),
        (10, [0, 24, 24, 60], [24, 0, 24, 12], 12),
    ):
        sequences = Sequences()
        feed(sequences, version, [(n, 0) for n in numbers], units)
        assert sequences.totals.gaps == gaps
        assert sequences.totals.received == sum(units)


def test_a_reordered_message_fills_its_gap_and_a_duplicate_is_counted_separately() -> None:
    sequences = Sequences()
    feed(sequences, 10, [(0, 0), (20, 0)], [10, 10])
    assert sequences.totals.gaps == 10
    feed(sequences, 10, [(10, 0)], [10])
    assert (sequences.totals.gaps, sequences.totals.reordered) == (0, 1)
    feed(sequences, 10, [(10, 0), (30, 0)], [10, 5])
    totals = sequences.totals
    assert (totals.duplicates, totals.repeated, totals.received, totals.sent) == (10, 1, 35, 35)


def test_repeated_messages_reveal_a_restart_within_one_second() -> None:
    sequences = Sequences()
    feed(sequences, 10, [(10 * i, 0) for i in range(40)], [10] * 40)
    feed(sequences, 10, [(10 * i, 0) for i in range(20)], [10] * 20)
    totals = sequences.totals
    assert (totals.resets, totals.sent, totals.received, totals.gaps, totals.duplicates) == (1, 600, 600, 0, 0)


def test_uptime_that_wraps_and_a_clock_set_right_are_no_restart() -> None:
    sequences = Sequences()
    headers = headers_of([(0, 4_294_960, 0), (1, 4_294_970, 0), (3, 4_295_030, 50), (2, 4_295_029, 0)], 9, uptime=True)
    sequences.add(headers, np.ones(4, np.int64))
    assert (sequences.totals.resets, sequences.totals.gaps, sequences.totals.sent) == (0, 0, 4)


def test_records_of_sets_that_wait_are_settled_exactly() -> None:
    sequences = Sequences()
    headers = headers_of([(0, 1, 0), (10, 1, 0), (40, 1, 0)])
    # The second message has a set of 80 octets without a template: 12 records, as it turns out; the rest was lost.
    sequences.add(headers, np.array([10, 0, 10]), np.array([0, 80, 0]))
    totals = sequences.totals
    assert (totals.received, totals.undecoded, totals.gaps, totals.sent) == (20, 30, 0, 50)
    sequences.settle(0, 0, 10, 12, 80)
    totals = sequences.totals
    assert (totals.received, totals.undecoded, totals.gaps, totals.sent) == (32, 0, 18, 50)


def test_records_of_the_last_message_are_settled_before_the_next_one_comes() -> None:
    sequences = Sequences()
    sequences.add(headers_of([(0, 1, 0), (10, 1, 0)]), np.array([10, 0]), np.array([0, 80]))
    sequences.settle(0, 0, 10, 12, 80)
    sequences.add(headers_of([(22, 1, 0)]), np.array([5]))
    totals = sequences.totals
    assert (totals.received, totals.undecoded, totals.gaps, totals.sent) == (27, 0, 0, 27)


def test_a_set_that_waits_covers_no_more_than_its_octets_can_hold() -> None:
    sequences = Sequences()
    sequences.add(headers_of([(0, 1, 0), (1000, 1, 0)]), np.array([0, 1]), np.array([80, 0]))
    assert (sequences.totals.undecoded, sequences.totals.gaps) == (80, 920)


def test_streams_are_kept_apart_and_their_number_is_bounded() -> None:
    sequences = Sequences(max_streams=100)
    for round_ in range(2):
        for domain in range(1000):
            sequences.add(headers_of([(round_ * 7 + domain, 1, 0)], domain=domain), np.array([7]))
    totals = sequences.totals
    assert totals.received == 14_000
    assert totals.gaps == 0
    assert totals.messages == 2000
    assert sequences.forgotten >= 1900
    two = Sequences()
    headers = headers_of([(0, 1, 0), (0, 1, 0), (5, 1, 0), (9, 1, 0)])
    two.add(headers, np.array([5, 5, 5, 5]), exporter=np.array([1, 2, 1, 2], np.int32))
    assert two.by_exporter()[1].gaps == 0
    assert two.by_exporter()[2].gaps == 4


def test_the_end_of_a_session_keeps_its_sums() -> None:
    sequences = Sequences()
    feed(sequences, 10, [(0, 0), (20, 0)], [10, 10])
    sequences.end_session(0)
    feed(sequences, 10, [(500, 0)], [10])
    totals = sequences.totals
    assert (totals.gaps, totals.received, totals.sent, totals.resets) == (10, 30, 40, 0)


def test_it_resumes_from_a_saved_state() -> None:
    first, second = Sequences(), Sequences()
    feed(first, 5, [(0, 0), (60, 0)], [30, 30])
    second.restore(first.state())
    for each in (first, second):
        feed(each, 5, [(30, 0), (120, 0)], [30, 30])
    assert first.totals == second.totals
    assert second.totals.gaps == 30
    broken = {**first.state(), "streams": np.zeros(1, np.int64)}
    with pytest.raises(InputError, match="not a sequence state"):
        Sequences().restore(broken)


def test_losses_after_the_first_templates_of_a_restart_are_a_gap() -> None:
    sequences = Sequences()
    # Forty records, then a restart: templates alone as number 0, twelve records lost, the next message is number 12.
    rows = [(100, 1000, 0), (120, 1001, 0), (0, 1010, 0), (12, 1011, 0), (20, 1012, 0)]
    sequences.add(headers_of(rows), np.array([20, 20, 0, 8, 5]))
    totals = sequences.totals
    assert (totals.resets, totals.received, totals.gaps, totals.sent) == (1, 53, 12, 65)
