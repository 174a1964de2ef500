"""Biflows to the flow table: assign devices, decide the service side, one row for each participating device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._arrays import codes_of, column, read_only
from ethogram.flow.devices import Namer, Uses
from ethogram.flow.factorize import factorize, factorize_pairs, stable_argsort
from ethogram.flow.identity import IdentityFacts
from ethogram.flow.local import LocalNetwork
from ethogram.flow.ports import PortMemory
from ethogram.flow.relays import use_spans
from ethogram.flow.service_side import (
    BY_CLASS,
    BY_HANDSHAKE,
    BY_RECURRENCE,
    TIE,
    decide_sides,
    remote_scope,
    select_side,
)
from ethogram.schema import ALWAYS, FLOW, IDENTITY, INITIATOR, ROLE, SCOPE, TCP, TIME, Accounting, TimeSpan

__all__ = ["Orientation"]

_CORRECTIONS = {
    BY_HANDSHAKE: "reversed by the handshake",
    BY_CLASS: "reversed by port class",
    BY_RECURRENCE: "reversed by the recurring port",
}
_NO_FLAGS = read_only(np.full(1, -1, np.int16))

Numbers = NDArray[np.int32]


@dataclass(frozen=True)
class _Ends:
    """Source (row 0) and destination (row 1) of N biflows."""

    address: Numbers  # number of the address; shape 2 x N, like all arrays
    addresses: pl.Series  # text of each number
    place: NDArray[np.uint8]
    device: Numbers  # number of the device; negative for none
    devices: pl.Series


class Orientation:
    """Converts blocks of biflows to blocks of the flow table.

    Parameters
    ----------
    local
        The local prefixes.
    namer
        Assigns devices to ends.
    span
        Flows that begin outside it are ignored.
    identity
        Collects the MACs and addresses of devices; None: they are not collected.

    Attributes
    ----------
    accounting
        Over the unit ``flows``: the biflows read. A flow between two devices counts once and gives two rows, which is
        counted among the corrections.

    Notes
    -----
    The TCP handshake decides the service side if it was seen; otherwise the port of the lower class; in a tie, the port
    that the device uses more often; otherwise the direction of the record. A multicast destination is always the
    service side.
    """

    def __init__(
        self, local: LocalNetwork, namer: Namer, span: TimeSpan = ALWAYS, identity: IdentityFacts | None = None
    ) -> None:
        self.accounting = Accounting("flows")
        self.identity = identity
        self._local = local
        self._namer = namer
        self._span = span
        self._memory = PortMemory()

    def rows(self, block: pl.DataFrame) -> pl.DataFrame:
        """Convert a block.

        Parameters
        ----------
        block
            Biflows, with a column ``joined`` (records in each).

        Returns
        -------
        flows
            Form :data:`ethogram.schema.FLOW`, in order of start; ``remote_name`` is the name in the record, if any.
        """
        self.accounting.read += block.height
        block = self._in_time(block)
        if not block.height:
            return FLOW.empty()
        ends = self._ends(block)
        has_device = (ends.device >= 0).any(axis=0)
        known = int(has_device.sum())
        self.accounting.ignore("no device", block.height - known)
        self.accounting.used += known
        turned = self._turned(block, ends)
        row, is_source = _seen_from(block["start"], ends.device)
        self.accounting.correct("between two devices: a row for each", len(row) - known)
        return _flows(block, ends, turned, row, is_source)

    def identity_table(self) -> pl.DataFrame:
        """Identity facts of the devices so far (:data:`ethogram.schema.IDENTITY`)."""
        return IDENTITY.empty() if self.identity is None else self.identity.table(self._namer, self._local)

    def _in_time(self, block: pl.DataFrame) -> pl.DataFrame:
        inside = self._span.filter(block)
        self.accounting.ignore("outside the time asked for", block.height - inside.height)
        return inside

    def _ends(self, block: pl.DataFrame) -> _Ends:
        """Addresses, places and devices; each distinct one is looked up once."""
        n = block.height
        address, addresses = factorize(pl.concat([block["source_address"], block["destination_address"]]))
        if addresses.str.ends_with(".255").any():
            # Except for TCP, meters may report an answer to a broadcast as sent from the broadcast address.
            answers = (pl.col("reverse_packets") > 0) & (pl.col("protocol") == TCP)
            sends = block.select((pl.col("packets") > 0).alias("source"), answers.alias("destination"))
            sent = [address[:n][column(sends["source"])], address[n:][column(sends["destination"])]]
            self._local.learn_senders(addresses.gather(pl.Series(np.unique(np.concatenate(sent)))))
        place_of = column(self._local.places(addresses))
        macs = pl.concat([block["source_mac"], block["destination_mac"]])
        if self._namer.by_time:
            which = first = np.arange(2 * n, dtype=np.int32)
        elif macs.null_count() == 2 * n:
            which, first = address, factorize_pairs(address.astype(np.uint64), np.zeros(2 * n, np.uint64))[1]
        else:
            mac = column(codes_of(macs)[0].cast(pl.Int64).fill_null(-1)).astype(np.uint64)
            which, first = factorize_pairs(address.astype(np.uint64), mac)
        at = pl.Series(first)
        distinct = pl.DataFrame({
            "start": pl.concat([block["start"]] * 2).gather(at), "address": addresses.gather(pl.Series(address[first])),
            "mac": macs.gather(at), "place": pl.Series(place_of[address[first]]),
        })  # fmt: skip
        forgotten = self._namer.forgotten
        uses = Uses(which, *(pl.concat([block[name].to_physical()] * 2) for name in ("start", "end")))
        self._namer.learn(distinct, uses)
        behind = column(self._namer.behind_routers(distinct))
        ends = int(behind[which].sum()) if behind.any() else 0
        self.accounting.correct("ends behind a router or repeater: named by address", ends)
        self.accounting.correct("addresses of devices forgotten", self._namer.forgotten - forgotten)
        named = self._namer.devices(distinct)
        if self.identity is not None:
            self.identity.learn_ends(_used_ends(distinct.with_columns(device=named, behind=behind), uses))
        codes, devices = codes_of(named)
        device = column(codes.cast(pl.Int32).fill_null(-1))[which].reshape(2, n)
        # A flow between two addresses of the same device has a single end.
        device[1, device[0] == device[1]] = -1
        return _Ends(address.reshape(2, n), addresses, place_of[address].reshape(2, n), device, devices)

    def _turned(self, block: pl.DataFrame, ends: _Ends) -> NDArray[np.bool_]:
        """Whether each biflow is to be reversed; biflows without a device do not affect the counters."""
        n = block.height
        turned, why = np.empty(n, np.bool_), np.empty(n, np.uint8)
        ports = np.stack([column(block["source_port"]), column(block["destination_port"])])
        protocol = column(block["protocol"])
        first, answer = (_flags(block[f"{side}initial_tcp_flags"]) for side in ("", "reverse_"))
        decide_sides(protocol, ports[0], ports[1], first, answer, ends.place[1], turned, why)
        devices = column(ends.devices.hash(1))
        forgotten = self._memory.forgotten
        self._memory.learn(devices, ends.device, protocol, ports, turned, why)
        self.accounting.correct("ports of devices forgotten", self._memory.forgotten - forgotten)
        ties = np.flatnonzero(why == TIE)
        if ties.size:
            recurs = self._memory.turned(ties, devices, ends.device, protocol, ports)
            turned[ties], why[ties] = recurs, recurs * np.uint8(BY_RECURRENCE)
        counts = np.bincount(why[(ends.device >= 0).any(axis=0)], minlength=TIE)
        for value, reason in _CORRECTIONS.items():
            self.accounting.correct(reason, int(counts[value]))
        return turned


def _used_ends(ends: pl.DataFrame, uses: Uses) -> pl.DataFrame:
    """Ends with a device, with the times of their uses; the MAC of a router or repeater is not the device's."""
    first, last = np.zeros(ends.height, np.int64), np.zeros(ends.height, np.int64)
    times = np.zeros(ends.height, np.int64)
    use_spans(uses.end, column(uses.since), column(uses.until), first, last, times)
    own_mac = pl.when(~pl.col("behind")).then("mac")
    spans = {"first": pl.Series(first).cast(TIME), "last": pl.Series(last).cast(TIME), "times": pl.Series(times)}
    return ends.with_columns(mac=own_mac, **spans).filter(pl.col("device").is_not_null())


def _flags(flags: pl.Series) -> NDArray[np.int16]:
    """TCP flags, negative for unknown; length 1 if all are unknown."""
    if flags.null_count() == len(flags):
        return _NO_FLAGS
    return column(flags.cast(pl.Int16).fill_null(-1))


def _seen_from(start: pl.Series, device: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
    """Biflow and side of each row of the flow table, in order of start, sources first."""
    sources, destinations = (np.flatnonzero(each >= 0).astype(np.int32) for each in device)
    row = np.concatenate([sources, destinations])
    order = stable_argsort(column(start.to_physical())[row])
    return row[order], order < len(sources)


def _flows(
    block: pl.DataFrame, ends: _Ends, turned: NDArray[np.bool_], row: Numbers, is_source: NDArray[np.bool_]
) -> pl.DataFrame:
    """Columns of the flow table, seen from the device."""
    at = pl.Series(row)
    begins = turned[row] != is_source  # the source began unless the record is reversed

    def of_device(source: NDArray[Any], destination: NDArray[Any]) -> NDArray[Any]:
        selected = np.empty(len(row), source.dtype)
        select_side(read_only(source), read_only(destination), row, is_source, selected)
        return selected

    def columns(name: str, other: str) -> tuple[pl.Series, pl.Series]:
        """A column as seen by the device, and by the other end."""
        here, there = block[name], block[other]
        if here.null_count() == there.null_count() == block.height:
            return (pl.repeat(None, len(row), dtype=here.dtype, eager=True),) * 2
        if here.null_count() or there.null_count() or here.dtype == pl.String:
            source, destination, side = here.gather(at), there.gather(at), pl.Series(is_source)
            return source.zip_with(side, destination), destination.zip_with(side, source)
        numbers = column(here), column(there)
        return pl.Series(of_device(*numbers)), pl.Series(of_device(*numbers[::-1]))

    nothing = pl.repeat(None, len(row), dtype=pl.String, eager=True)
    octets, packets = columns("octets", "reverse_octets"), columns("packets", "reverse_packets")
    flags = columns("initial_tcp_flags", "reverse_initial_tcp_flags")
    ports = columns("source_port", "destination_port")
    raw_octets = columns("raw_octets", "reverse_raw_octets")
    raw_packets = columns("raw_packets", "reverse_raw_packets")
    scope = np.empty(len(row), np.uint8)
    remote_scope(of_device(ends.place[1], ends.place[0]), scope)
    serves = pl.Series(np.where(begins, column(ports[1]), column(ports[0])))
    both = (packets[0] > 0) & (packets[1] > 0) | (octets[0] > 0) & (octets[1] > 0)
    given = {
        "device": ends.devices.gather(pl.Series(of_device(ends.device[0], ends.device[1]))),
        "device_address": ends.addresses.gather(pl.Series(of_device(ends.address[0], ends.address[1]))),
        "remote": ends.addresses.gather(pl.Series(of_device(ends.address[1], ends.address[0]))),
        "local_port": ports[0], "remote_port": ports[1],
        **{name: block[name].gather(at) for name in ("protocol", "start", "end", "end_reason", "joined")},
        "octets_out": octets[0], "octets_in": octets[1], "packets_out": packets[0], "packets_in": packets[1],
        "first_flags_out": flags[0], "first_flags_in": flags[1],
        "initiator": _enum(~begins, INITIATOR), "service_port": serves, "role": _enum(~begins, ROLE),
        "scope": _enum(scope, SCOPE), "answered": both,
        "remote_name": columns("source_name", "destination_name")[1], "remote_domain": nothing,
        "raw_octets_out": raw_octets[0], "raw_octets_in": raw_octets[1],
        "raw_packets_out": raw_packets[0], "raw_packets_in": raw_packets[1],
    }  # fmt: skip
    return pl.DataFrame({name: given[name] for name in FLOW.names})


def _enum(numbers: NDArray[Any], words: pl.Enum) -> pl.Series:
    return pl.DataFrame({"word": numbers.astype(np.uint8)}).select(pl.col("word").cat.to(words)).to_series()
