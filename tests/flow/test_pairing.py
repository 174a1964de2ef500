"""Pairing and deduplication, and their laws: counts are conserved, and blocks, order and side do not matter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ethogram.flow.deduplicate import Deduplicator
from ethogram.flow.join import Joining
from ethogram.flow.merge_records import LINKED
from ethogram.flow.pair import Pairing
from ethogram.schema import BIFLOW

T0 = datetime(2024, 5, 1, tzinfo=UTC)
DEVICE, SERVER = "10.0.0.5", "198.51.100.7"
COUNTS = ("octets", "packets")
CUT = 2


def half(at: float, until: float, back: bool = False, **changes: object) -> dict[str, object]:
    """A record of one direction, in seconds from T0."""
    ends = [DEVICE, SERVER, 50000, 443]
    if back:
        ends = [SERVER, DEVICE, 443, 50000]
    names = ("source_address", "destination_address", "source_port", "destination_port")
    row: dict[str, object] = dict.fromkeys(BIFLOW.names) | dict(zip(names, ends, strict=True))
    row |= {"start": T0 + timedelta(seconds=at), "end": T0 + timedelta(seconds=until), "protocol": 6,
            "octets": 300 if back else 100, "packets": 3 if back else 2, "reverse_octets": 0, "reverse_packets": 0,
            "end_reason": 1, "one_way": True}  # fmt: skip
    return row | changes


def table(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=BIFLOW.schema, orient="row")


def paired(*blocks: list[dict[str, object]], gap: float = 10, span: float | None = None) -> pl.DataFrame:
    """Flows of blocks after joining and pairing, sorted."""
    joining, pairing = Joining(120, 1800, span), Pairing(gap, span_s=span)
    given = [
        pairing.flows(joining.flows(table(block), last=last), last=last)
        for block, last in zip(blocks, [False] * (len(blocks) - 1) + [True], strict=True)
    ]
    joining.accounting.check()
    pairing.accounting.check()
    flows = pl.concat(given)
    assert dict(flows.schema) == LINKED
    return flows.sort(["start", "end", "source_address", "source_port", "destination_port", "protocol", "octets",
                       "packets", "reverse_octets", "reverse_packets", "joined"])  # fmt: skip


def spans(flows: pl.DataFrame) -> list[tuple[float, float, int, int]]:
    """Start, end and packets each way, of each flow."""
    seconds = [(pl.col(name) - T0).dt.total_milliseconds() / 1000 for name in ("start", "end")]
    return [tuple(row) for row in flows.select(*seconds, "packets", "reverse_packets").iter_rows()]


def test_an_answer_in_a_later_block_is_paired_and_the_first_half_is_the_source() -> None:
    flows = paired([half(0.5, 2, back=True)], [half(50, 50, source_port=4)], [half(0, 2)])
    assert spans(flows) == [(0, 2, 2, 3), (50, 50, 2, 0)]
    assert flows["source_address"].to_list() == [DEVICE, DEVICE]
    assert flows["joined"].to_list() == [1, 1]


def test_a_long_flow_cut_at_different_times_is_one_biflow() -> None:
    there = [half(0, 60, end_reason=CUT), half(60.1, 120, end_reason=CUT), half(120.1, 150)]
    back = [half(5, 100, back=True, end_reason=CUT), half(100.1, 149, back=True)]
    arrival = sorted(there + back, key=lambda row: str(row["end"]))
    for blocks in ([arrival], [[row] for row in arrival]):
        flows = paired(*blocks)
        assert spans(flows) == [(0, 150, 6, 6)]
        assert flows["joined"].to_list() == [3]


def test_records_without_end_reasons_are_paired_piece_by_piece() -> None:
    # Cut every minute, which no setting says: each record takes the one that overlaps it most.
    rows = [half(0, 60, end_reason=None), half(60.1, 120, end_reason=None), half(65, 125, True, end_reason=None)]
    assert spans(paired(rows)) == [(0, 60, 2, 0), (60.1, 125, 2, 3)]


def test_a_lost_record_does_not_shift_the_pairs_after_it() -> None:
    asks = [half(at, at, protocol=17) for at in (0, 4, 8)]
    answers = [half(at + 0.25, at + 0.25, back=True, protocol=17) for at in (4, 8)]
    flows = paired(sorted(asks + answers, key=lambda row: str(row["end"])))
    assert spans(flows) == [(0, 0, 2, 0), (4, 4.25, 2, 3), (8, 8.25, 2, 3)]


def test_halves_within_the_gap_are_paired_when_their_wait_is_over() -> None:
    rows = [half(0, 1), half(7, 8, back=True)]
    later = [half(100, 100, source_port=1)]
    assert spans(paired(rows, later)) == [(0, 8, 2, 3), (100, 100, 2, 0)]
    assert spans(paired(rows, gap=5)) == [(0, 1, 2, 0), (7, 8, 3, 0)]
    # Something better may come in between.
    assert spans(paired([*rows, half(7.5, 9)])) == [(0, 1, 2, 0), (7, 9, 3, 2)]


def test_unanswerable_halves_do_not_wait_and_others_wait_for_a_bounded_time() -> None:
    pairing, joining = Pairing(10), Joining(120, 1800)

    def given(*rows: dict[str, object]) -> list[str]:
        return pairing.flows(joining.flows(table(list(rows))))["destination_address"].to_list()

    groups = ["239.255.255.250", "224.0.0.251", "255.255.255.255", "ff02::fb"]
    assert given(*(half(0, 1, destination_address=group) for group in groups), half(0, 1)) == groups
    assert given(half(69, 70, source_port=1)) == []
    assert given(half(71, 72, source_port=2)) == [SERVER]


def test_a_flood_of_one_five_tuple_keeps_few_waiting() -> None:
    pairing, joining = Pairing(10), Joining(120, 1800)
    rows = [half(0, i / 1000) for i in range(5000)]
    assert pairing.flows(joining.flows(table(rows))).height == 5000 - 64
    assert pairing.accounting.corrected == {"released before its answer": 5000 - 64}


def test_parts_of_a_long_connection_keep_its_initiator() -> None:
    # The device began. In the second hour the first record is the answer's; in the third there is nothing else.
    there = [half(3000, 3590, end_reason=CUT, protocol=17), half(3610, 4200, protocol=17)]
    back = [
        half(3001, 3595, back=True, end_reason=CUT, protocol=17),
        half(3602, 7195, back=True, end_reason=CUT, protocol=17),
        half(7201, 7300, back=True, protocol=17),
    ]
    arrival = sorted(there + back, key=lambda row: str(row["end"]))
    for blocks in ([arrival], [[row] for row in arrival]):
        flows = paired(*blocks, span=3600)
        assert spans(flows) == [(3000, 3595, 2, 3), (3602, 7195, 2, 3), (7201, 7300, 0, 3)]
        assert flows["source_address"].unique().to_list() == [DEVICE]
        assert flows["one_way"].to_list() == [False] * 3
    # Another connection of the same ports that the server begins is its own.
    other = half(7201, 7300, back=True, protocol=17, end_reason=1)
    assert paired([*there, *back[:1], other | {"start": T0 + timedelta(seconds=9000), "end": T0 + timedelta(hours=3)}],
                  span=3600)["source_address"].to_list()[-1] == SERVER  # fmt: skip


def test_the_memory_of_initiators_expires_and_is_bounded() -> None:
    pairing, joining = Pairing(10, 60, span_s=3600), Joining(120, 60, 3600)
    rows = [half(0, 60, end_reason=CUT), half(0.5, 60, back=True, end_reason=CUT)]
    pairing.flows(joining.flows(table(rows)))
    pairing.flows(joining.flows(table([half(300, 300, source_port=1)])))
    assert len(pairing._begun) == 1
    pairing.flows(joining.flows(table([half(40_000, 40_000, source_port=2)])))
    assert len(pairing._begun) == 0


def test_records_with_both_directions_pass_unchanged() -> None:
    rows = [half(0, 1, reverse_packets=1), half(0.1, 1, back=True, reverse_octets=1), half(0.2, 1, one_way=False)]
    flows = paired(rows)
    assert flows.select(BIFLOW.names).equals(table(rows))


# --- laws ------------------------------------------------------------------------------------------------------

RAW = st.sampled_from([None, 0, 7, 1 << 40])
HALF = st.fixed_dictionaries(
    {"at": st.integers(0, 4000), "lasts": st.sampled_from([0, 1, 9, 100, 1790, 1800]), "back": st.booleans(),
     "protocol": st.sampled_from([6, 17]), "end_reason": st.sampled_from([None, 1, 2]),
     "initial_tcp_flags": st.sampled_from([None, 2, 16]), "source_mac": st.sampled_from([None, "aa:bb:cc:00:00:01"]),
     "octets": st.integers(0, 1 << 40), "packets": st.integers(0, 1000), "raw_octets": RAW, "raw_packets": RAW}
)  # fmt: skip
MANY = st.lists(HALF, max_size=14, unique_by=lambda row: int(row["at"]) + int(row["lasts"]))


def halves(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """In order of end, in which exporters send them."""
    made = []
    for row in rows:
        given = dict(row)
        at, lasts = int(str(given.pop("at"))), int(str(given.pop("lasts")))
        made.append(half(at, at + lasts, bool(given.pop("back")), **given))
    return sorted(made, key=lambda row: str(row["end"]))


def blocks_of(rows: list[dict[str, object]], cuts: list[int]) -> list[list[dict[str, object]]]:
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    return [rows[begin:end] for begin, end in pairwise(bounds)]


def exported(frame: pl.DataFrame, name: str) -> int:
    """Sum of a count in both directions as exported: the raw count if there is one."""
    ways = [pl.coalesce(f"{way}raw_{name}", f"{way}{name}").sum() for way in ("", "reverse_")]
    return int(frame.select(pl.sum_horizontal(ways)).item() or 0)


@given(MANY, st.sampled_from([None, 3600.0]))
@settings(max_examples=60, deadline=None)
def test_pairing_conserves_octets_packets_and_raw_counts(
    rows: list[dict[str, object]], span: float | None
) -> None:
    made = halves(rows)
    flows, before = paired(made, span=span), table(made)
    for name in COUNTS:
        assert flows[name].sum() + flows[f"reverse_{name}"].sum() == before[name].sum()
        assert exported(flows, name) == exported(before, name)
    if before.height:
        assert (flows["start"].min(), flows["end"].max()) == (before["start"].min(), before["end"].max())


@given(MANY, st.lists(st.integers(0, 24)))
@settings(max_examples=60, deadline=None)
def test_blocks_do_not_matter(rows: list[dict[str, object]], cuts: list[int]) -> None:
    made = halves([row | {"end_reason": 1} for row in rows])
    assert paired(made).equals(paired(*blocks_of(made, cuts)))


CONNECTION = st.fixed_dictionaries(
    {"at": st.integers(0, 2000), "lasts": st.integers(0, 6000), "port": st.sampled_from([50000, 50001, 443]),
     "cut": st.sampled_from([60, 600, 1800]), "other": st.sampled_from([60, 610, 1800]),
     "after": st.sampled_from([0, 0.02, 5]), "before": st.sampled_from([0, 0.5, 5])}
)  # fmt: skip


def pieces(begin: float, end: float, cut: float, first: int, **changes: object) -> list[dict[str, object]]:
    """One direction of a connection, as an exporter cuts it."""
    made = []
    while end - begin > cut:
        made.append(half(begin, begin + cut, end_reason=CUT, **changes))  # type: ignore[arg-type]
        begin += cut + 0.25
    made.append(half(begin, end, **changes))  # type: ignore[arg-type]
    return [row | {"initial_tcp_flags": 16 if i else first} for i, row in enumerate(made)]


@given(
    st.lists(CONNECTION, max_size=3, unique_by=lambda row: row["port"]),
    st.lists(st.integers(0, 300), max_size=4),
    st.sampled_from([None, 3600.0]),
)
@example(
    [{"at": 949, "lasts": 2651, "port": 50000, "cut": 600, "other": 60, "after": 0, "before": 0}], [], 3600.0
)  # The last record of one direction alone begins with the next interval.
@example(
    [{"at": 3000, "lasts": 3500, "port": 443, "cut": 1800, "other": 60, "after": 0.02, "before": 0}], [7], 3600.0
)  # A part of one direction begins long before that of the other.
@settings(max_examples=50)
def test_pairing_of_cut_connections_does_not_depend_on_blocks(
    rows: list[dict[str, float]], cuts: list[int], span: float | None
) -> None:
    made = []
    for row in rows:
        begin, end = row["at"], row["at"] + row["lasts"]
        made += pieces(begin, end, row["cut"], 2, source_port=int(row["port"]))
        back = begin + row["after"], max(end - row["before"], begin + row["after"])
        made += pieces(*back, row["other"], 18, back=True, destination_port=int(row["port"]))
    made.sort(key=lambda piece: str(piece["end"]))
    whole, parts = paired(made, span=span), paired(*blocks_of(made, cuts), span=span)
    assert whole.equals(parts)
    if len(rows) == 1:
        assert whole.height == 1 or span
        assert whole["source_address"].unique().to_list() == [DEVICE]
        assert (whole["packets"].sum(), whole["reverse_packets"].sum()) == (
            sum(row["packets"] for row in made if row["packets"] == 2),
            sum(row["packets"] for row in made if row["packets"] == 3),
        )
        # With intervals, one direction may have no record that begins in an interval.
        least = whole["packets"] + whole["reverse_packets"] if span else whole["packets"]
        assert least.min() > 0


@given(MANY, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_inside_a_block_does_not_matter(rows: list[dict[str, object]], random: object) -> None:
    made = halves([row | {"end_reason": 1} for row in rows])
    mixed = list(made)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert paired(made).equals(paired(mixed))


@given(MANY)
@settings(max_examples=50, deadline=None)
def test_pairing_is_symmetric(rows: list[dict[str, object]]) -> None:
    """Swapping the two sides gives the same pairs, seen from the other side."""
    other = [row | {"back": not row["back"]} for row in rows]

    def who(rows: list[dict[str, object]]) -> list[tuple[object, ...]]:
        flows = paired(halves(rows))
        return sorted(map(str, flows.select("start", "end", *COUNTS, "reverse_octets", "reverse_packets", "joined",
                                            "raw_octets", "reverse_raw_octets").rows()))  # fmt: skip

    # With equal starts the higher port is the source; those differ on purpose.
    if len({row["at"] for row in rows}) == len(rows):
        assert who(rows) == who(other)


# --- twins -----------------------------------------------------------------------------------------------------


def deduplicated(*blocks: list[dict[str, object]]) -> tuple[list[tuple[object, ...]], Deduplicator]:
    stage = Deduplicator()
    stored = pl.concat([stage.remove(table(block)) for block in blocks])
    stage.accounting.check()
    return stored.select("direction", "packets", "source_port").rows(), stage


def test_one_record_of_a_flow_seen_at_ingress_and_egress_is_kept() -> None:
    inside = [half(0, 5, direction=0), half(0, 5, True, direction=0), half(9, 9, direction=0, source_port=1)]
    outside = [half(0.1, 5.1, direction=1), half(0, 5, True, direction=1, packets=4, octets=320)]
    stored, stage = deduplicated(outside + inside)
    assert sorted(stored) == [(0, 2, 1), (0, 2, 50000), (0, 3, 443)]
    assert stage.accounting.corrected == {"seen on the way in and on the way out": 2}
    stored, _ = deduplicated([*inside, half(30, 31, direction=1, source_port=2)], outside)
    assert sorted(stored) == [(0, 2, 1), (0, 2, 50000), (0, 3, 443), (1, 2, 2)]


def test_similar_records_are_not_duplicates() -> None:
    first = half(0, 5, direction=0)
    for other in (
        half(0, 5, direction=0), half(0, 5, direction=None), half(0, 5, True, direction=1), half(10, 15, direction=1),
        half(0, 5, direction=1, source_port=9), half(0, 5, direction=1, packets=20),
        half(0, 5, direction=1, octets=1000),
    ):  # fmt: skip
        stored, stage = deduplicated([first, other, half(50, 50, direction=1, source_port=3)])
        assert len(stored) == 3
        assert not stage.accounting.corrected


def test_records_without_direction_are_not_deduplicated() -> None:
    rows = [half(0, 5), half(0, 5)]
    stored, stage = deduplicated(rows, rows)
    assert len(stored) == 4
    assert stage.accounting.read == 0
