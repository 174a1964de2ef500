"""The same home over every protocol: one flow table, whichever way its flows came."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from ethogram.config import FlowSettings, WireSettings
from ethogram.flow.devices import LocalDevices
from ethogram.io.wire.biflows import Biflows
from ethogram.io.wire.build import batch
from ethogram.io.wire.decoder import Decoder
from ethogram.pipeline.flows import collect, read_flows
from ethogram.pipeline.stages import FlowStages
from ethogram.schema import BIFLOW
from ethogram.simulate import SimulatedHome
from ethogram.simulate.exporter import ExportSettings, FlowExporter
from ethogram.simulate.impairment import Impairment
from ethogram.simulate.layout import PROTOCOLS, Protocol
from ethogram.simulate.send import write
from ethogram.simulate.timeout import cut

SEEN = [
    "device_address", "remote", "local_port", "remote_port", "protocol", "start", "end", "octets_out", "octets_in",
    "packets_out", "packets_in", "role", "scope", "initiator", "service_port", "answered", "joined",
]  # fmt: skip


def flows_of(biflows: list[pl.DataFrame]) -> pl.DataFrame:
    stages = FlowStages(FlowSettings(), LocalDevices("address", 4), 1800.0)
    frames = [stages.flows(frame) for frame in biflows]
    frames.append(stages.flows(BIFLOW.empty(), last=True))
    for accounting in stages.accountings.values():
        accounting.check()
        assert not accounting.dropped
    return pl.concat(frames).sort("start", *SEEN)


def decoded(octets: list[bytes], *, scaled: bool = True) -> pl.DataFrame:
    decoder, biflows = Decoder(), Biflows(WireSettings(scale_sampling=scaled))
    frame = biflows.batch(decoder.decode(batch(octets)))
    biflows.accounting.check()
    assert biflows.accounting.used == frame.height
    return frame


@pytest.fixture(scope="module")
def home() -> list[pl.DataFrame]:
    return list(SimulatedHome(days=1).batches())


@pytest.fixture(scope="module")
def expected(home: list[pl.DataFrame]) -> pl.DataFrame:
    """What comes of the home's flows without any protocol between; those have milliseconds."""
    return flows_of(
        [cut(frame, 1800).drop("_first").with_columns(pl.col("start", "end").dt.truncate("1ms")) for frame in home]
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_gives_the_same_flow_table(
    protocol: Protocol, home: list[pl.DataFrame], expected: pl.DataFrame
) -> None:
    exporter = FlowExporter(ExportSettings(protocol=protocol, domains=3, mtu=700))
    octets = [message.octets for message in exporter.messages(home)]
    assert flows_of([decoded(octets)]).select(SEEN).equals(expected.select(SEEN))


@pytest.mark.parametrize("protocol", ["ipfix", "ipfix-uniflow"])
def test_ipfix_carries_the_rest_of_a_biflow_too(
    protocol: Protocol, home: list[pl.DataFrame], expected: pl.DataFrame
) -> None:
    exporter = FlowExporter(ExportSettings(protocol=protocol))
    got = flows_of([decoded([message.octets for message in exporter.messages(home)])])
    assert got["end_reason"].equals(expected["end_reason"])
    if protocol == "ipfix":
        assert got["first_flags_out"].fill_null(0).equals(expected["first_flags_out"].fill_null(0))
        assert got["first_flags_in"].fill_null(0).equals(expected["first_flags_in"].fill_null(0))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_restart_changes_nothing_but_what_was_lost_with_it(
    protocol: Protocol, home: list[pl.DataFrame], expected: pl.DataFrame
) -> None:
    exporter = FlowExporter(ExportSettings(protocol=protocol, restarts=(datetime(2026, 1, 5, 10, tzinfo=UTC),)))
    got = flows_of([decoded([message.octets for message in exporter.messages(home)])])
    assert exporter.sent.restarts == 1
    volumes = ["octets_out", "octets_in", "packets_out", "packets_in"]
    assert got.select(pl.sum(*volumes)).equals(expected.select(pl.sum(*volumes)))
    # v5 and v9 say nothing of the time before their start: flows that were under way seem to begin with it.
    moved = got.select(SEEN).join(expected.select(SEEN), on=SEEN, how="anti").height
    assert moved < 20 if protocol in {"v5", "v9"} else moved == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_sampled_volumes_are_scaled_and_kept_as_they_were(protocol: Protocol, home: list[pl.DataFrame]) -> None:
    exporter = FlowExporter(ExportSettings(protocol=protocol, sampling=4))
    octets = [message.octets for message in exporter.messages(home)]
    scaled, raw = decoded(octets), decoded(octets, scaled=False)
    for volume in ("octets", "packets"):
        assert (scaled[volume] == 4 * raw[volume]).all()
        assert scaled[f"raw_{volume}"].equals(raw[volume].alias(f"raw_{volume}"))
    true = sum(frame["packets"].sum() + frame["reverse_packets"].sum() for frame in home)
    assert (scaled["packets"].sum() + scaled["reverse_packets"].sum()) / true == pytest.approx(1, abs=0.02)


def test_a_file_of_the_home_is_read_by_the_verb_flows(tmp_path: Path, home: list[pl.DataFrame]) -> None:
    file = tmp_path / "home.ipfix"
    exporter, network = FlowExporter(ExportSettings(domains=2)), Impairment(0.1, 0.1, seed=4)
    written = write(network(exporter.messages(home)), file)
    run = read_flows([file])
    flows = collect(run)
    [report] = run.reports
    assert report.accounting.used == written.flows
    assert flows["joined"].sum() >= written.flows
    assert any(f"{network.lost['units']:,}" in note for note in report.notes)
