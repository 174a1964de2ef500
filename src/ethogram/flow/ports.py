"""How often each device used each port, to break ties of the service side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram._hashing import empty_slots, find_triple, mix64
from ethogram.flow.compiled import compiled, inner
from ethogram.flow.service_side import TIE
from ethogram.schema import TCP, UDP

__all__ = ["PortMemory"]

_MAX_PORTS = 1 << 20
_RECURS_FROM = 1024  # the ports of a tie are never below
_FEWEST_LINES = 1 << 10
_LINE = np.dtype([("device", np.uint64), ("port", np.uint32), ("count", np.uint32)])
"""Uses of one port by one device; *port* holds the protocol in its upper half. Saved states hold this form."""

_DEVICE_LOW, _DEVICE_HIGH, _PORT, _COUNT = 0, 1, 2, 3
"""Columns of lines seen as uint32 [N, 4], as compiled functions read them."""

_MAX_COUNT = (1 << 32) - 1


class PortMemory:
    """Counts how often each device used each port; bounded, the least used are forgotten first.

    A service port recurs, an ephemeral port does not. A device is identified by a 64-bit hash of its name; devices with
    equal hashes share their counts.

    Parameters
    ----------
    most
        Device ports remembered after a block, at 16 octets each and as much again for the index; beyond it the less
        used half is forgotten.

    Attributes
    ----------
    forgotten
        Device ports forgotten so far.
    """

    def __init__(self, most: int = _MAX_PORTS) -> None:
        self.forgotten = 0
        self._most = most
        self._lines = np.empty(_FEWEST_LINES, _LINE)
        self._count = 0
        self._slots = empty_slots(len(self._lines))

    def learn(
        self, devices: NDArray[np.uint64], ends: NDArray[np.int32], protocol: NDArray[np.uint8],
        ports: NDArray[np.uint16], turned: NDArray[np.bool_], why: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Count the ports of a block.

        Parameters
        ----------
        devices
            Hash of each device's name.
        ends
            Number of the device at source and destination, negative for none; shape 2 x N.
        protocol, ports, turned, why
            Of N biflows; ``ports`` of shape 2 x N. A tie counts both ports. A decided record counts its service port,
            unless that is a well-known one, which is never part of a tie.
        """
        row = 0
        while True:
            row, self._count = _learn(
                self._slots, _table(self._lines), self._count, row, devices, ends, protocol, ports, turned, why
            )
            if row == len(protocol):
                break
            grown = np.empty(2 * len(self._lines), _LINE)
            grown[: self._count] = self._lines[: self._count]
            self._replace(grown)
        if self._count > self._most:
            self._forget()

    def turned(
        self, rows: NDArray[np.int64], devices: NDArray[np.uint64], ends: NDArray[np.int32],
        protocol: NDArray[np.uint8], ports: NDArray[np.uint16],
    ) -> NDArray[np.bool_]:  # fmt: skip
        """For each tied row, True if its devices use the source port more often than the destination port."""
        table = _table(self._lines)
        return _turned(self._slots, table, rows, devices, ends, protocol, ports)  # type: ignore[no-any-return]

    def _forget(self) -> None:
        lines = self._lines[: self._count]
        order = np.lexsort((lines["port"], lines["device"], -lines["count"].astype(np.int64)))[: self._most // 2]
        remaining = np.empty(max(2 * len(order), _FEWEST_LINES), _LINE)
        remaining[: len(order)] = lines[order]
        self.forgotten += self._count - len(order)
        self._count = len(order)
        self._replace(remaining)

    def _replace(self, lines: NDArray[Any]) -> None:
        self._lines, self._slots = lines, empty_slots(len(lines))
        _fill_slots(self._slots, _table(lines), self._count)


def _table(lines: NDArray[Any]) -> NDArray[np.uint32]:
    """The same memory as columns of one type."""
    return lines.view(np.uint32).reshape(-1, 4)


@inner
def _slot_of(slots: Any, table: Any, device: Any, port: Any) -> Any:
    """Slot of the line of a device and port, or the empty slot where it belongs."""
    low, high = np.uint32(device & np.uint64(0xFFFFFFFF)), np.uint32(device >> np.uint64(32))
    return find_triple(slots, table, low, high, port, mix64(device, port))


@inner
def _protocol_port(protocol: Any, port: Any) -> Any:
    return np.uint32(protocol) << np.uint32(16) | np.uint32(port)


@compiled
def _fill_slots(slots: Any, table: Any, count: Any) -> None:
    """Enter all lines into empty slots."""
    for line in range(count):
        device = np.uint64(table[line, _DEVICE_HIGH]) << np.uint64(32) | np.uint64(table[line, _DEVICE_LOW])
        slots[_slot_of(slots, table, device, table[line, _PORT])] = line


@compiled
def _learn(
    slots: Any, table: Any, count: Any, row: Any, devices: Any, ends: Any, protocol: Any, ports: Any, turned: Any,
    why: Any,
) -> Any:  # fmt: skip
    """Count from ``row`` on; returns the row at which the table was full, and the number of lines."""
    for i in range(row, len(protocol)):
        if count + 4 > len(table):
            return i, count
        if protocol[i] != TCP and protocol[i] != UDP:
            continue
        tie = why[i] == TIE
        serving = 0 if turned[i] else 1
        if not tie and ports[serving, i] < _RECURS_FROM:
            continue
        for side in range(2):
            if not tie and side != serving:
                continue
            port = _protocol_port(protocol[i], ports[side, i])
            for end in range(2):
                if ends[end, i] < 0:
                    continue
                device = devices[ends[end, i]]
                at = _slot_of(slots, table, device, port)
                line = slots[at]
                if line < 0:
                    line = count
                    slots[at] = line
                    table[line, _DEVICE_LOW] = np.uint32(device & np.uint64(0xFFFFFFFF))
                    table[line, _DEVICE_HIGH] = np.uint32(device >> np.uint64(32))
                    table[line, _PORT] = port
                    table[line, _COUNT] = np.uint32(0)
                    count += 1
                if table[line, _COUNT] < _MAX_COUNT:
                    table[line, _COUNT] += np.uint32(1)
    return len(protocol), count


@compiled
def _turned(slots: Any, table: Any, rows: Any, devices: Any, ends: Any, protocol: Any, ports: Any) -> Any:
    turned = np.zeros(len(rows), np.bool_)
    uses = np.zeros(2, np.int64)
    for n in range(len(rows)):
        i = rows[n]
        uses[:] = 0
        for side in range(2):
            port = _protocol_port(protocol[i], ports[side, i])
            for end in range(2):
                if ends[end, i] >= 0:
                    line = slots[_slot_of(slots, table, devices[ends[end, i]], port)]
                    if line >= 0:
                        uses[side] += np.int64(table[line, _COUNT])
        turned[n] = uses[0] > uses[1]
    return turned
