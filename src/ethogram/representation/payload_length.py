"""Expansion that stops where the payload does: most of the 3,000 symbols of a flow are padding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ethogram.representation.vector import SYMBOL_VALUES, SYMBOLS, fill
from ethogram.representation.views import PAYLOAD, View
from ethogram.schema import CustomFlows

__all__ = ["expand_payload_prefix", "header_width", "payload_symbols"]


def header_width(view: View) -> int:
    """How many numbers of a view come before its payload.

    >>> from ethogram.representation.views import view_of
    >>> header_width(view_of("full")), header_width(view_of("payload")), header_width(view_of("meta/no-ports"))
    (40, 0, 8)
    """
    return int(np.searchsorted(view.places, PAYLOAD.start))


def payload_symbols(flows: CustomFlows) -> NDArray[np.int64]:
    """Payload symbols of each flow that are not padding, int64 [N]: octets, and two marks a packet."""
    return np.asarray(np.minimum(np.diff(flows.first_octet) + 2 * np.diff(flows.first_packet), SYMBOLS), np.int64)


def expand_payload_prefix(
    flows: CustomFlows, view: View, rows: NDArray[np.int64], symbols: int, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """The first columns of :func:`~ethogram.representation.vector.expand`: numbers, and so many payload symbols.

    Parameters
    ----------
    flows, view, rows
        As for ``expand``.
    symbols
        Payload symbols to write, at least as many as any of the rows uses.
    out
        Memory to use, float32 with room enough; new when None.

    Returns
    -------
    numpy.ndarray
        float32 [N, K], K numbers before the payload and ``symbols``.
    """
    before = header_width(view)
    width = min(view.width, before + symbols)
    if out is None:
        out = np.empty((len(rows), width), np.float32)
    else:
        out = out.reshape(-1)[: len(rows) * width].reshape(len(rows), width)
    columns = (
        flows.start_us, flows.remote, flows.remote_port, flows.device_port, flows.protocol, flows.octets,
        flows.packets, flows.first_packet, flows.packet_offset_us, flows.packet_octets, flows.packet_out,
    )  # fmt: skip
    fill(
        columns, flows.payload_octets, flows.first_octet, flows.payload, rows, view.places, before, view.time_of_day,
        SYMBOL_VALUES, out,
    )  # fmt: skip
    return out
