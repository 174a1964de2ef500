"""The simulated exporter against the decoder: every flow is accounted for, whatever the network does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ethogram.io.wire.biflows import Biflows
from ethogram.io.wire.build import batch
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.sequence import Sequences
from ethogram.schema import BIFLOW
from ethogram.simulate import SimulatedHome
from ethogram.simulate.exporter import ExportSettings, FlowExporter, Sent
from ethogram.simulate.impairment import Impairment, Message
from ethogram.simulate.layout import PROTOCOLS, Protocol, halves
from ethogram.simulate.timeout import VOLUMES, cut, in_order

SEQUENCE_RULE = {"ipfix": "records", "ipfix-uniflow": "records", "v9": "messages", "v5": "flows"}


def home(days: int = 1) -> list[pl.DataFrame]:
    return list(SimulatedHome(days=days, seed=5).batches())


def exported(biflows: list[pl.DataFrame], **options: object) -> tuple[list[Message], Sent]:
    exporter = FlowExporter(ExportSettings.of(**options))
    return list(exporter.messages(biflows)), exporter.sent


def decoded(messages: list[Message]) -> tuple[Decoder, Sequences, int, int]:
    """Decode messages in order of arrival; also returns the numbers of flow and options records."""
    decoder = Decoder()
    decoder.sequence = sequences = Sequences()
    result = decoder.decode(batch([m.octets for m in messages], arrival_ns=[m.time_ms * 10**6 for m in messages]))
    flows = sum(len(part) for part in result if not part.template.options)
    for accounting in (decoder.accounting, decoder.sets, decoder.records):
        accounting.check()
    return decoder, sequences, flows, sum(map(len, result)) - flows


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_record_arrives_without_sequence_gaps(protocol: Protocol) -> None:
    biflows = home()
    messages, sent = exported(biflows, protocol=protocol, domains=3)
    decoder, sequences, flows, _ = decoded(messages)
    assert sent.biflows == biflows[0].height
    records = cut(biflows[0], 1800)
    assert flows == sent.flows == (records if protocol == "ipfix" else halves(records)).height
    assert len(messages) == sent.messages == decoder.accounting.used
    assert sum(len(message.octets) for message in messages) == sent.octets
    assert max(len(message.octets) for message in messages) <= 1400
    totals = sequences.totals
    assert (totals.received, totals.gaps, totals.resets) == (sent.units, 0, 0)
    assert not decoder.sets.dropped


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_received_and_gaps_are_what_was_sent_under_loss_reordering_and_restart(protocol: Protocol) -> None:
    biflows = home(2)
    restart = datetime(2026, 1, 6, 3, 30, tzinfo=UTC)
    messages, sent = exported(biflows, protocol=protocol, domains=2, restarts=[restart])
    network = Impairment(loss=0.1, reorder=0.1, seed=3)
    arrived = list(network(messages))
    assert sent.restarts == 1
    assert len(arrived) + network.lost["messages"] == sent.messages
    assert 0.05 < network.lost["messages"] / sent.messages < 0.15
    _, sequences, flows, _ = decoded(arrived)
    totals = sequences.totals
    assert totals.received == sent.units - network.lost["units"]
    assert totals.gaps == network.lost["units"]
    assert totals.received + totals.gaps == totals.sent == sent.units
    assert flows == sent.flows - network.lost["flows"]
    assert totals.resets == 2  # one for each domain
    assert totals.reordered == network.reordered > 50
    assert totals.duplicates == 0


def test_the_same_seed_gives_the_same_octets() -> None:
    def octets(seed: int) -> list[bytes]:
        messages, _ = exported(home(), sampling=10, seed=seed)
        return [message.octets for message in Impairment(0.1, 0.1, seed=seed)(messages)]

    assert octets(1) == octets(1) != octets(2)


def test_templates_come_first_and_again_after_messages_or_time() -> None:
    by_messages, _ = exported(home(), template_messages=10, template_s=0)
    by_time, _ = exported(home(), template_messages=0, template_s=7200)
    once, sent = exported(home(), template_messages=0, template_s=0)

    def announcing(messages: list[Message]) -> list[int]:
        return [i for i, message in enumerate(messages) if message.octets[16:18] == b"\0\2"]

    assert announcing(once) == [0]
    assert sent.templates == 2
    assert {b - a for a, b in pairwise(announcing(by_messages))} == {10}
    times = [by_time[i].time_ms for i in announcing(by_time)]
    assert len(times) == 13
    assert all(7_200_000 <= b - a < 7_400_000 for a, b in pairwise(times))


def test_host_names_of_destinations_arrive() -> None:
    [biflows] = SimulatedHome(days=1).batches()
    named = biflows.with_columns(
        destination_name=pl.when(pl.col("destination_port") == 443).then(pl.lit("a.example.com"))
    )
    exporter = FlowExporter(ExportSettings(names=True, active_s=0))
    made = batch([message.octets for message in exporter.messages([named])])
    names = Biflows().batch(Decoder().decode(made)).group_by("destination_name").len()
    assert dict(names.iter_rows()) == dict(named.group_by("destination_name").len().iter_rows())
    assert set(names["destination_name"]) == {"a.example.com", None}


def test_after_a_restart_the_sequence_is_zero_and_numbers_mean_other_templates() -> None:
    restart = datetime(2026, 1, 5, 12, tzinfo=UTC)
    messages, _ = exported(home(), protocol="v9", restarts=[restart])
    first = next(i for i, message in enumerate(messages) if message.run == 1)
    before, after = messages[first - 1].octets, messages[first].octets
    uptime = [int.from_bytes(octets[4:8]) for octets in (before, after)]
    assert uptime[0] > 12 * 3_600_000 > uptime[1]
    assert [int.from_bytes(octets[12:16]) for octets in (before, after)] == [first - 1, 0]
    old, new = (next(m.octets for m in messages if m.run == run and m.octets[20:22] == b"\0\0") for run in (0, 1))
    assert old[24:26] == new[24:26] == b"\x01\x00" or old[24:28] != new[24:28]
    assert old[28:100] != new[28:100]


def test_options_state_the_sampling_and_scale_counters_back() -> None:
    biflows = home(2)
    truth = sum(frame["packets"].sum() + frame["reverse_packets"].sum() for frame in biflows)
    for protocol in ("ipfix", "v9"):
        messages, sent = exported(biflows, protocol=protocol, sampling=8)
        decoder = Decoder()
        result = decoder.decode(batch([message.octets for message in messages]))
        flows = [part for part in result if not part.template.options]
        assert sum(len(part) for part in result if part.template.options) == sent.options > 10
        packets = sum(
            int(part.unsigned(i).sum()) for part in flows for i, f in enumerate(part.template.fields) if f.id == 2
        )
        assert abs(8 * packets / truth - 1) < 0.02
        assert sent.unsampled > 0
    v5, _ = exported(biflows, protocol="v5", sampling=8)
    assert {message.octets[22:24] for message in v5} == {b"\x40\x08"}


def test_records_leave_in_order_of_their_ends_over_all_days() -> None:
    frames = home(3)
    ordered = pl.concat(in_order(frames))
    assert ordered.height == sum(frame.height for frame in frames)
    assert ordered["end"].is_sorted()
    messages, _ = exported(frames)
    times = [message.time_ms for message in messages]
    assert times == sorted(times)


def test_long_flows_are_cut_at_the_active_timeout_and_nothing_of_them_is_lost() -> None:
    [whole] = home()
    pieces = cut(whole, 1800)
    assert pieces.drop("_first").schema == BIFLOW.schema
    assert cut(whole, 0).drop("_first").equals(whole)
    assert pieces["_first"].sum() == whole.height < pieces.height
    for name in VOLUMES:
        assert pieces[name].sum() == whole[name].sum()
    assert pieces.filter((pl.col("packets") == 0) & (pl.col("reverse_packets") == 0)).is_empty()
    key = ["source_address", "destination_address", "source_port", "destination_port", "protocol"]
    lock = pieces.filter((pl.col("destination_port") == 8883) & (pl.col("packets") > 0)).sort(*key, "start")
    for _, flow in lock.group_by(key, maintain_order=True):
        assert flow["start"][1:].equals(flow["end"][:-1])
        assert flow["end_reason"].to_list() == [2] * (flow.height - 1) + [3]
        assert flow["initial_tcp_flags"].to_list() == [2] + [16] * (flow.height - 1)
        if flow.height > 1:
            assert flow["union_tcp_flags"].to_list() == [18] + [16] * (flow.height - 2) + [17]
            assert (flow["end"] - flow["start"])[:-1].dt.total_seconds().unique().to_list() == [1800]
    single = pieces.filter(pl.col("protocol") == 17)
    assert set(single["union_tcp_flags"].to_list()) == {None}


def test_ipv6_goes_out_where_the_protocol_can_and_is_counted_where_not() -> None:
    frame = BIFLOW.conform(
        pl.DataFrame(
            {
                "start": [datetime(2026, 1, 5, tzinfo=UTC)] * 3,
                "end": [datetime(2026, 1, 5, tzinfo=UTC) + timedelta(seconds=s) for s in (1, 2, 3)],
                "protocol": [6, 17, 6],
                "source_address": ["2001:db8::1", "192.0.2.1", "2001:db8::2"],
                "destination_address": ["2001:db8::53", "192.0.2.53", "2001:db8::53"],
                "source_port": [1, 2, 3],
                "destination_port": [443, 53, 443],
                "octets": [100, 200, 300],
                "packets": [1, 2, 3],
                "reverse_octets": [0, 20, 30],
                "reverse_packets": [0, 2, 3],
            }
        )
    )
    _, v5 = exported([frame], protocol="v5")
    assert (v5.biflows, v5.unsupported, v5.flows) == (3, 2, 2)
    messages, sent = exported([frame], protocol="ipfix-uniflow")
    assert sent.flows == 5
    result = Decoder().decode(batch([message.octets for message in messages]))
    six = next(part for part in result if part.has(0, 27) is not None)
    index = six.has(0, 27)
    assert index is not None
    high, low = six.address(index)
    assert set(high.tolist()) == {0x20010DB8 << 32}
    assert sorted(low.tolist()) == [1, 2, 0x53]


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(PROTOCOLS), st.floats(0, 0.4), st.floats(0, 0.4), st.integers(1, 4), st.integers(0, 99),
    st.lists(st.integers(1, 23), max_size=2, unique=True), st.sampled_from([1, 5]), st.sampled_from([200, 1400, 9000]),
)  # fmt: skip
# The first message after a restart had templates alone, and the one behind it was lost.
@example("ipfix", 0.25, 0.0, 1, 0, [3], 1, 200)
@example("ipfix", 0.25, 0.0, 4, 2, [1], 1, 200)
def test_the_sums_hold_for_any_settings(
    protocol: Protocol, loss: float, reorder: float, domains: int, seed: int, hours: list[int], sampling: int, mtu: int
) -> None:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    frame = home()[0].filter(pl.col("destination_port").is_in([443, 8883, 123]))
    messages, sent = exported(
        [frame], protocol=protocol, domains=domains, sampling=sampling, mtu=mtu, seed=seed,
        restarts=[start + timedelta(seconds=3607 * hour) for hour in hours],
    )  # fmt: skip
    network = Impairment(loss, reorder, seed=seed)
    arrived = list(network(messages))
    assert len(arrived) == sent.messages - network.lost["messages"]
    _, sequences, flows, options = decoded(arrived)
    totals = sequences.totals
    assert totals.received + totals.gaps == sent.units
    assert totals.gaps == network.lost["units"]
    if protocol != "v9":
        assert flows + (options if protocol.startswith("ipfix") else 0) == totals.received


def test_losses_are_such_as_sequence_numbers_tell() -> None:
    messages = [Message(b"", i, i % 2, i // 50, 1, 1) for i in range(100)]
    network = Impairment(loss=0.9, seed=1)
    arrived = list(network(messages))
    assert network.lost["messages"] == 100 - len(arrived) > 60
    for run in (0, 1):
        for domain in (0, 1):
            expected = [m.time_ms for m in messages if (m.run, m.domain) == (run, domain)]
            retained = [m.time_ms for m in arrived if (m.run, m.domain) == (run, domain)]
            assert retained[0] == expected[0]
            assert retained[-1] == expected[-1]


def test_reordering_stays_within_the_window() -> None:
    messages = [Message(b"", i, 0, 0, 1, 1) for i in range(2000)]
    network = Impairment(reorder=0.3, window=4, seed=2)
    places = np.array([message.time_ms for message in network(messages)])
    assert sorted(places.tolist()) == list(range(2000))
    overtaken = np.array([np.count_nonzero(places[:i] > place) for i, place in enumerate(places)])
    assert 1 <= overtaken.max() <= 4
    assert network.reordered == np.count_nonzero(overtaken) > 300
