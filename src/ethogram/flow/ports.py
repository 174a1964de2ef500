"""How often each device used each port, to break ties of the service side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.flow.compiled import compiled, inner, mixed
from ethogram.flow.service_side import TIE
from ethogram.schema import TCP, UDP

__all__ = ["PortMemory"]

_MAX_PORTS = 1 << 20
_RECURS_FROM = 1024  # the ports of a tie are never below
_LINE = np.dtype([("device", np.uint64), ("port", np.uint32), ("count", np.uint32)])
_MOST = (1 << 32) - 1


class PortMemory:
    """How often each device used each port; bounded, the rarest are forgotten first.

    A port that serves recurs; one that a client was given does not. A device is known here by a hash of 64 bits of its
    name: should two ever share one, they share their ports.

    Parameters
    ----------
    most
        Ports of devices remembered after a block, at 16 octets each, and as much again for finding them; beyond it
        the half used least is forgotten.

    Attributes
    ----------
    forgotten
        Ports of devices forgotten so far.
    """

    def __init__(self, most: int = _MAX_PORTS) -> None:
        self.forgotten = 0
        self._most = most
        self._lines = np.empty(1 << 10, _LINE)
        self._count = 0
        self._slots = _empty(len(self._lines))

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
            Number of the device at source and destination, below 0 for none; shape 2 x N.
        protocol, ports, turned, why
            Of N biflows; ``ports`` of shape 2 x N. Ties count both ports; decided records count the one that serves,
            when it is not a well-known one (those are never in a tie).
        """
        row = 0
        while True:
            row, self._count = _learn(
                self._slots, self._lines, self._count, row, devices, ends, protocol, ports, turned, why
            )
            if row == len(protocol):
                break
            grown = np.empty(2 * len(self._lines), _LINE)
            grown[: self._count] = self._lines[: self._count]
            self._place(grown)
        if self._count > self._most:
            self._forget()

    def turned(
        self, rows: NDArray[np.int64], devices: NDArray[np.uint64], ends: NDArray[np.int32],
        protocol: NDArray[np.uint8], ports: NDArray[np.uint16],
    ) -> NDArray[np.bool_]:  # fmt: skip
        """Whether each of some rows is to be turned round: its source port recurs more at its devices."""
        return _turned(self._slots, self._lines, rows, devices, ends, protocol, ports)  # type: ignore[no-any-return]

    def _forget(self) -> None:
        lines = self._lines[: self._count]
        order = np.lexsort((lines["port"], lines["device"], -lines["count"].astype(np.int64)))[: self._most // 2]
        kept = np.empty(max(2 * len(order), 1 << 10), _LINE)
        kept[: len(order)] = lines[order]
        self.forgotten += self._count - len(order)
        self._count = len(order)
        self._place(kept)

    def _place(self, lines: NDArray[Any]) -> None:
        self._lines, self._slots = lines, _empty(len(lines))
        _placed(self._slots, lines, self._count)


def _empty(lines: int) -> NDArray[np.int32]:
    return np.full(1 << (2 * lines - 1).bit_length(), -1, np.int32)


@inner
def _found(slots: Any, lines: Any, device: Any, port: Any) -> Any:
    """Where a line is, or is to be."""
    mask = np.uint64(len(slots) - 1)
    at = mixed(device, port) & mask
    while slots[at] >= 0:
        line = lines[slots[at]]
        if line.device == device and line.port == port:
            break
        at = (at + np.uint64(1)) & mask
    return at


@compiled
def _placed(slots: Any, lines: Any, count: Any) -> None:
    """Enter all lines into empty places."""
    for line in range(count):
        slots[_found(slots, lines, lines[line].device, lines[line].port)] = line


@compiled
def _learn(
    slots: Any, lines: Any, count: Any, row: Any, devices: Any, ends: Any, protocol: Any, ports: Any, turned: Any,
    why: Any,
) -> Any:  # fmt: skip
    """Count from a row on; gives the row before which the table was full, and the lines."""
    for i in range(row, len(protocol)):
        if count + 4 > len(lines):
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
            port = np.uint32(protocol[i]) << np.uint32(16) | np.uint32(ports[side, i])
            for end in range(2):
                if ends[end, i] < 0:
                    continue
                device = devices[ends[end, i]]
                at = _found(slots, lines, device, port)
                if slots[at] < 0:
                    slots[at] = count
                    lines[count].device = device
                    lines[count].port = port
                    lines[count].count = np.uint32(0)
                    count += 1
                if lines[slots[at]].count < _MOST:
                    lines[slots[at]].count += np.uint32(1)
    return len(protocol), count


@compiled
def _turned(slots: Any, lines: Any, rows: Any, devices: Any, ends: Any, protocol: Any, ports: Any) -> Any:
    turned = np.zeros(len(rows), np.bool_)
    often = np.zeros(2, np.int64)
    for n in range(len(rows)):
        i = rows[n]
        often[:] = 0
        for side in range(2):
            port = np.uint32(protocol[i]) << np.uint32(16) | np.uint32(ports[side, i])
            for end in range(2):
                if ends[end, i] >= 0:
                    line = slots[_found(slots, lines, devices[ends[end, i]], port)]
                    if line >= 0:
                        often[side] += np.int64(lines[line].count)
        turned[n] = often[0] > often[1]
    return turned
