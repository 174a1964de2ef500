"""Expand flows only as far as their payload goes, as most of the 3,000 payload symbols are padding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ethogram.representation.vector import SYMBOL_VALUES, SYMBOLS, fill
from ethogram.representation.views import PAYLOAD, View
from ethogram.schema import CustomFlows

__all__ = ["expand_payload_prefix", "header_width", "payload_symbols"]


def header_width(view: View) -> int:
    """Number of features of a view before the payload.

    >>> from ethogram.representation.views import view_of
    >>> header_width(view_of("full")), header_width(view_of("payload")), header_width(view_of("meta/no-ports"))
    (40, 0, 8)
    """
    return int(np.searchsorted(view.places, PAYLOAD.start))


def payload_symbols(flows: CustomFlows) -> NDArray[np.int64]:
    """Number of payload symbols of each flow that are not padding, int64 [N]: octets plus two marks per packet."""
    return np.asarray(np.minimum(np.diff(flows.first_octet) + 2 * np.diff(flows.first_packet), SYMBOLS), np.int64)


def expand_payload_prefix(
    flows: CustomFlows, view: View, rows: NDArray[np.int64], symbols: int, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """The first columns of :func:`~ethogram.representation.vector.expand`: features, and ``symbols`` payload symbols.

    Parameters
    ----------
    flows, view, rows
        As for ``expand``.
    symbols
        Number of payload symbols to write; at least the maximum over the rows.
    out
        Array to write to, float32 and large enough; a new one when None.

    Returns
    -------
    numpy.ndarray
        float32 [N, K], K = features before the payload + ``symbols``.
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
