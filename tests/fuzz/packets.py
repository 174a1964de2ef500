"""Packets of custom flows, from captures and from files, and the inputs of encoders made from them."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ethogram.config import CaptureSettings, CustomFlowSettings, PacketFlowSettings
from ethogram.io.capture import open_capture
from ethogram.meter.custom import CustomFlowBatch, CustomMeter
from ethogram.pipeline.packet_files import PacketFile, load_packets, written_beside
from ethogram.schema import CustomFlows, PacketFlows
from ethogram.third_party_encoders.bursts import TOKENS, bursts_of
from ethogram.third_party_encoders.nprint import BITS, bits_of

from .captures import pcaps
from .harness import INTERPRETED, Target, allowed, bounded, scratch, written

SMALL = PacketFlowSettings(packets=9, max_octets=1 << 13)


def check_beside(octets: bytes) -> None:
    """Records are the same with and without packets; the sums of both agree."""
    if INTERPRETED:  # the meter's records are fields of compiled code
        return
    source = open_capture(written("beside.pcap", octets), CaptureSettings(tunnels=True))
    batches: list[Any] = []
    allowed(lambda: batches.extend(source.batches()))
    settings = CustomFlowSettings(max_flows=16, max_fragments=2)
    meters = CustomMeter(settings), CustomMeter(settings, (), SMALL)
    given = []
    for meter in meters:
        parts = [part for batch in batches for part in meter.feed(batch)] + meter.flush()
        given.append(CustomFlowBatch.concat(parts) if parts else None)
    plain, full = given
    assert meters[0].ignored == meters[1].ignored
    accounting = meters[1].keeper.accounting
    accounting.check()
    if plain is None or full is None:
        assert plain is full
        return
    np.testing.assert_array_equal(plain.records["packets"], full.records["packets"])
    np.testing.assert_array_equal(plain.payload, full.payload)
    assert full.packets is not None and len(full.packets) == len(full)
    assert full.packets.packet_out.size == accounting.used
    read_by_encoders(full.packets)
    assert len(PacketFlows.of_arrow(full.packets.arrow())) == len(full)


def read_by_encoders(flows: PacketFlows) -> None:
    """The native inputs of encoders are within their bounds."""
    if INTERPRETED:
        flows = replace(flows, data=bounded(flows.data))
    bursts = bursts_of(flows)
    assert bursts.tokens.min(initial=0) >= 0 and bursts.tokens.max(initial=0) <= 65_537
    assert bursts.lengths.max(initial=0) <= TOKENS and np.isfinite(bursts.meta).all()
    bits = bits_of(flows, np.arange(len(flows)))
    assert bits.shape[2] == BITS and bits.min(initial=0) >= -1 and bits.max(initial=0) <= 1


def check_packet_file(octets: bytes) -> None:
    """A file that claims to contain packets of flows."""
    file = written("packets.parquet", octets)

    def read() -> None:
        flows = load_packets(file)
        assert len(flows) == PacketFile(file).rows
        read_by_encoders(flows.take(slice(0, 50)))

    allowed(read)


def packet_files() -> list[bytes]:
    octets = b"".join(bytes([0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, 6 + 11 * (i % 2)]) + bytes(30) for i in range(5))
    columns = {
        "packet_offset_us": np.arange(5), "packet_out": np.arange(5) % 2, "packet_octets": np.full(5, 60),
        "ip_octets": np.full(5, 20), "transport_octets": np.full(5, 20), "payload_octets": np.zeros(5),
    }  # fmt: skip
    whole = PacketFlows.of_columns(np.array([0, 3, 3, 5]), {
        name: values.astype(getattr(PacketFlows.empty(), name).dtype) for name, values in columns.items()
    }, np.frombuffer(octets, np.uint8))  # fmt: skip
    path = scratch() / "made.parquet"
    with written_beside(path, PacketFlowSettings()) as passing:
        assert [len(flows) for flows in passing([(CustomFlows.empty(), whole)])] == [0]
    plain = io.BytesIO()
    pq.write_table(pq.read_table(path), plain, compression="none", use_dictionary=False)
    return [path.read_bytes(), plain.getvalue()]


TARGETS = [
    Target("beside", pcaps, check_beside, compiled=True),
    Target("packet-flows", packet_files, check_packet_file, compiled=True, words=(b"PAR1",)),
]
