"""Expand custom flows to vectors in [0, 1] with a fixed, versioned scaling.

The scaling is not fitted to data, so the same flow has the same vector on every network. A model records the version
that it was trained with and refuses others.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram._numba import Compiler
from ethogram.representation.views import PAYLOAD, View, view_of
from ethogram.schema import CustomFlows

__all__ = ["END", "OCTET", "PAD", "SCALING", "START", "SYMBOLS", "SYMBOL_CODES", "expand"]

COMPILER = Compiler.of(__file__)

SCALING = "1"
"""Version of the scaling below."""

PAD, START, END, OCTET = 0, 1, 2, 3
"""Payload symbols: padding, a packet's start and end; octet b is ``OCTET + b``."""

SYMBOL_CODES = 259
SYMBOLS = 3000
SMALL = 40  # features before the payload
PACKETS = 10
FULL_OCTETS, FULL_PACKETS = math.log1p(1e7), math.log1p(1e5)
FULL_TIME_US, FULL_SIZE = 60e6, 1500.0
DAY_US = 86_400_000_000
SYMBOL_VALUES = (np.arange(SYMBOL_CODES) / (SYMBOL_CODES - 1)).astype(np.float32)


@COMPILER.compiled
def fill_small(columns: Any, row: int, time_of_day: bool, out: Any) -> None:
    """The ten features of a flow and the three of each of its first packets."""
    start, remote, remote_port, device_port, protocol, octets, packets, first, offsets, sizes, ways = columns
    out[:] = 0.0
    if time_of_day:
        out[0] = (start[row] % DAY_US) / DAY_US
    address = np.int64(remote[row])
    for i in range(4):
        out[1 + i] = ((address >> (24 - 8 * i)) & 255) / 255.0
    out[5] = remote_port[row] / 65535.0
    out[6] = device_port[row] / 65535.0
    out[7] = protocol[row] / 255.0
    out[8] = min(1.0, np.log1p(np.float64(octets[row])) / FULL_OCTETS)
    out[9] = min(1.0, np.log1p(np.float64(packets[row])) / FULL_PACKETS)
    count = min(first[row + 1] - first[row], PACKETS)
    for k in range(count):
        packet = first[row] + k
        out[10 + 3 * k] = min(1.0, offsets[packet] / FULL_TIME_US)
        out[11 + 3 * k] = min(1.0, sizes[packet] / FULL_SIZE)
        out[12 + 3 * k] = 1.0 if ways[packet] != 0 else 0.0


@COMPILER.compiled
def fill_payload(first: Any, lengths: Any, octet: Any, payload: Any, row: int, values: Any, out: Any) -> None:
    """The payload symbols of a flow: start, octets and end of each packet, truncated or padded to ``out``."""
    at: Any = 0
    room = out.shape[0]
    for packet in range(first[row], min(first[row + 1], first[row] + PACKETS)):
        if at >= room:
            break
        out[at] = values[START]
        at += 1
        length = np.int64(lengths[packet])
        for i in range(min(length, room - at)):
            out[at + i] = values[OCTET + np.int64(payload[octet + i])]
        at += length
        octet += length
        if at < room:
            out[at] = values[END]
            at += 1
    out[min(at, room) :] = 0.0


@COMPILER.compiled
def fill(
    columns: Any, lengths: Any, first_octet: Any, payload: Any, rows: Any, places: Any, small: int, time_of_day: bool,
    values: Any, out: Any
) -> None:  # fmt: skip
    """Fill the rows of ``out``: ``small`` features selected by ``places``, then the payload as far as there is room."""
    numbers = np.empty(SMALL, np.float64)
    for i in range(rows.shape[0]):
        row = rows[i]
        if small > 0:
            fill_small(columns, row, time_of_day, numbers)
            for j in range(small):
                out[i, j] = numbers[places[j]]
        if out.shape[1] > small:
            fill_payload(columns[7], lengths, first_octet[row], payload, row, values, out[i, small:])


def expand(
    flows: CustomFlows,
    view: str | View = "full",
    rows: NDArray[np.integer[Any]] | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Expand custom flows to the features of a view (scaling version :data:`SCALING`).

    Parameters
    ----------
    flows
        F custom flows.
    view
        View with W features, or its name (:func:`ethogram.representation.views.view_of`).
    rows
        Rows of the flows, length N; all when None.
    out
        Array to write to, float32 [N, W]; a new array when None.

    Returns
    -------
    numpy.ndarray
        float32 [N, W], each value in [0, 1].

    References
    ----------
    A. Sivanathan et al., arXiv 2601.19315; the layout and the scaling are ours.

    Examples
    --------
    >>> expand(CustomFlows.empty(), "meta+packets").shape
    (0, 40)
    """
    view = view_of(view) if isinstance(view, str) else view
    numbers = np.arange(len(flows)) if rows is None else np.ascontiguousarray(rows, np.int64)
    if numbers.size and (numbers.min() < 0 or numbers.max() >= len(flows)):
        raise IndexError(f"rows outside the {len(flows)} flows")
    if out is None:
        out = np.empty((numbers.size, view.width), np.float32)
    elif out.shape != (numbers.size, view.width) or out.dtype != np.float32:
        raise ValueError(f"out must be float32 {(numbers.size, view.width)}")
    columns = (
        flows.start_us, flows.remote, flows.remote_port, flows.device_port, flows.protocol, flows.octets,
        flows.packets, flows.first_packet, flows.packet_offset_us, flows.packet_octets, flows.packet_out,
    )  # fmt: skip
    small = int(np.searchsorted(view.places, PAYLOAD.start))
    fill(
        columns, flows.payload_octets, flows.first_octet, flows.payload, numbers, view.places, small, view.time_of_day,
        SYMBOL_VALUES, out,
    )  # fmt: skip
    return out
