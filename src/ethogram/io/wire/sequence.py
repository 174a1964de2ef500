"""Sequence numbers: exact counts of sent and lost units, by the rules of each protocol.

NetFlow v5 numbers flows, v9 messages, and IPFIX data records including options (RFC 7011 section 3.1). Each exporter,
version and observation domain is a separate stream. For every stream, at any time::

    sent = received + gaps + undecoded

where *sent* is the distance from the first sequence number to the last, and a unit is a flow, a message or a record.

- A reordered message fills a gap. A message that fills no gap is a duplicate, or arrived after its gap had left the
list
  of open gaps (32 per stream): it is counted under *duplicates* and in no other sum.
- A restart of the exporter is not a loss. It is detected by the start time (export time minus uptime, v5 and v9), a
  smaller number exported at a later second, a jump of more than 2**24 units, or eight consecutive repeated messages. A
  new count begins, and the sums keep the previous one.
- Units sent before the first message or after the last are unknown and not counted.
- IPFIX messages with sets that wait for a template contain an unknown number of records. Of the numbers up to the next
  message, as many as those sets can contain (at least one octet per record) are *undecoded*, and the rest is a gap.
  Once the records are counted, :meth:`Sequences.settle` marks them as received and the remainder as a gap, so the sum
  is exact again. Sets whose template never arrives remain undecoded: gaps within their range cannot be distinguished
  from records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import InputError
from ethogram.io.wire.sequence_track import HOLE, HOLES, STREAM, find, settle_one, track

__all__ = ["SequenceTotals", "Sequences"]

_SMALLEST = 64
_SUMS = ("messages", "received", "gaps", "undecoded", "sent", "duplicates", "repeated", "reordered", "resets")


@dataclass(frozen=True)
class SequenceTotals:
    """Sums over all streams, including forgotten ones.

    Parameters
    ----------
    messages
        Messages processed.
    received, gaps, undecoded, sent
        Units; ``sent = received + gaps + undecoded``.
    duplicates, repeated
        Units and messages that are duplicates or too late; in none of the sums above.
    reordered
        Messages that filled a gap.
    resets
        Exporter restarts.
    """

    messages: int = 0
    received: int = 0
    gaps: int = 0
    undecoded: int = 0
    sent: int = 0
    duplicates: int = 0
    repeated: int = 0
    reordered: int = 0
    resets: int = 0

    def as_dict(self) -> dict[str, int]:
        """Plain data for JSON."""
        return {name: getattr(self, name) for name in _SUMS}


class Sequences:
    """Tracks the sequence numbers of all streams.

    Parameters
    ----------
    max_streams
        Maximum number of streams. Above it, the half that was silent longest is forgotten; its sums are kept and
        ``forgotten`` counts it.

    Examples
    --------
    >>> from ethogram.io.wire.walk import HEADER
    >>> headers = np.zeros(3, HEADER)
    >>> headers["version"], headers["sequence"] = 5, [0, 30, 90]
    >>> sequences = Sequences()
    >>> sequences.add(headers, np.array([30, 30, 30]))
    >>> sequences.totals.gaps, sequences.totals.received
    (30, 90)
    """

    def __init__(self, max_streams: int = 1 << 14) -> None:
        self.max_streams = max_streams
        self.forgotten = 0
        self._clock = 0
        self._count = 0
        self._past = dict.fromkeys(_SUMS, 0)
        self._streams = np.zeros(min(_SMALLEST, max_streams), STREAM)
        self._holes = np.zeros((len(self._streams), HOLES), HOLE)
        self._table = self._hashed()

    def add(
        self, headers: NDArray[np.void], units: NDArray[np.int64], undecoded_octets: NDArray[np.int64] | None = None,
        exporter: NDArray[np.int32] | None = None,
    ) -> None:  # fmt: skip
        """Add M messages in order of arrival.

        Parameters
        ----------
        headers
            Array of type :data:`ethogram.io.wire.walk.HEADER`, length M.
        units
            Known increment of each message: flows (v5), 1 (v9), data records (IPFIX).
        undecoded_octets
            Octets of data sets of each IPFIX message whose records are not in ``units``.
        exporter
            A stable number of each message's exporter; by default the one in ``headers``.
        """
        if undecoded_octets is None:
            undecoded_octets = np.zeros(len(headers), np.int64)
        if exporter is None:
            exporter = headers["exporter"]
        # A field of one header is contiguous, of several it is not; each layout would be compiled separately.
        exporter = np.ascontiguousarray(exporter, np.int32)
        self._clock += 1
        at = 0
        units = np.ascontiguousarray(units, np.int64)
        bound = np.ascontiguousarray(undecoded_octets, np.int64)
        while True:
            at, self._count = track(
                self._table, self._streams, self._holes, self._count, self._clock, exporter, headers, units, bound, at
            )
            if at == len(headers):
                return
            self._make_room()

    def settle(self, exporter: int, domain: int, sequence: int, records: int, octets: int) -> None:
        """Add records of an IPFIX message that were decoded after :meth:`add`.

        Parameters
        ----------
        exporter, domain, sequence
            Of the message.
        records
            Number of records in sets of ``octets``, which :meth:`add` received as undecoded.
        """
        place = find(self._table, self._streams, exporter, 10, domain)
        row = int(self._table[place])
        if row >= 0:
            settle_one(self._streams[row], self._holes[row], sequence, records, octets)

    def end_session(self, exporter: int) -> None:
        """Forget the streams of a transport session that has ended; their sums are kept."""
        self._keep(self._streams["exporter"][: self._count] != exporter)

    @property
    def totals(self) -> SequenceTotals:
        """Sums over all streams so far."""
        now = self._streams[: self._count]
        return SequenceTotals(**{name: self._past[name] + int(now[name].sum()) for name in _SUMS})

    def by_exporter(self) -> dict[int, SequenceTotals]:
        """Sums of each exporter with tracked streams."""
        rows = self._streams[: self._count].copy()
        exporters, place = np.unique(rows["exporter"], return_inverse=True)
        sums = np.zeros((len(_SUMS), len(exporters)), np.int64)
        for total, name in zip(sums, _SUMS, strict=True):
            np.add.at(total, place, rows[name])
        return {
            int(exporter): SequenceTotals(*column) for exporter, column in zip(exporters, sums.T.tolist(), strict=True)
        }

    def state(self) -> dict[str, NDArray[Any]]:
        """The complete state as plain arrays."""
        return {
            "streams": self._streams[: self._count].copy(),
            "holes": self._holes[: self._count].copy(),
            "past": np.array([*(self._past[name] for name in _SUMS), self.forgotten, self._clock], np.int64),
        }

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore :meth:`state`.

        Raises
        ------
        InputError
            If the arrays have another form.
        """
        streams, holes, past = state["streams"], state["holes"], state["past"]
        if streams.dtype != STREAM or holes.dtype != HOLE or holes.shape != (len(streams), HOLES):
            raise InputError("not a sequence state of this version")
        self._past = dict(zip(_SUMS, (int(each) for each in past), strict=False))
        self.forgotten, self._clock = int(past[-2]), int(past[-1])
        self._count = min(len(streams), self.max_streams)
        size = _SMALLEST
        while size < self._count:
            size *= 2
        self._resize(min(size, self.max_streams), streams[: self._count], holes[: self._count])

    def _make_room(self) -> None:
        size = len(self._streams)
        if size < self.max_streams:
            self._resize(min(2 * size, self.max_streams), self._streams, self._holes)
            return
        used = self._streams["used"]
        silent = np.argsort(used, kind="stable")[: max(size // 2, 1)]
        keep = np.ones(size, bool)
        keep[silent] = False
        self.forgotten += len(silent)
        self._keep(keep)

    def _keep(self, keep: NDArray[np.bool_]) -> None:
        gone = self._streams[: self._count][~keep]
        if not len(gone):
            return
        for name in _SUMS:
            self._past[name] += int(gone[name].sum())
        streams, holes = self._streams[: self._count][keep], self._holes[: self._count][keep]
        self._count = len(streams)
        self._resize(len(self._streams), streams, holes)

    def _resize(self, size: int, streams: NDArray[np.void], holes: NDArray[np.void]) -> None:
        self._streams, self._holes = np.zeros(size, STREAM), np.zeros((size, HOLES), HOLE)
        self._streams[: len(streams)], self._holes[: len(holes)] = streams, holes
        self._table = self._hashed()

    def _hashed(self) -> NDArray[np.int64]:
        """A hash table at most half full, which bounds the search."""
        places = 4
        while places < 2 * len(self._streams):
            places *= 2
        table = np.full(places, -1, np.int64)
        for number in range(self._count):
            row = self._streams[number]
            at = find(table, self._streams, int(row["exporter"]), int(row["version"]), int(row["domain"]))
            table[at] = number
        return table
