"""Build export messages from columns: NetFlow v5 and v9, IPFIX and IPFIX files. The inverse of the decoder.

Records are encoded by column, all of a template at once; Python loops run over sets and messages only. Messages respect
an MTU, carry the sequence number of their protocol, and are identical for the same arguments.

>>> flows = Template(10, 7, 256, (Field(0, 8, 4), Field(0, 1, 4), Field(0, 96, 65535)))
>>> build = MessageBuilder(10, domain=7)
>>> columns = [np.array([0xC0000201]), np.array([1500]), [b"tls"]]
>>> [message] = build.messages([template_set(flows), data(flows, columns)], time_ms=1_000_000)
>>> len(message), build.sequence
(52, 1)
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import InputError, UsageError
from ethogram.io.wire.build_records import MAX_MESSAGE, Encoded, Values, encode
from ethogram.io.wire.template import REVERSE_PEN, YAF_PEN, YAF_REVERSE, Field, Template
from ethogram.schema import DatagramBatch, Exporter

__all__ = [
    "HEADER", "Data", "Encoded", "MessageBuilder", "Set", "Values", "batch", "data", "data_set", "encode",
    "template_set", "withdrawal_set", "write_file",
]  # fmt: skip

HEADER = {5: 24, 9: 20, 10: 16}
"""Octets of the message header, by version."""

V5_RECORDS, V5_OCTETS = 30, 48  # maximum records per message, octets per record
ALIGN = 4  # sets are padded to a multiple of it


@dataclass(frozen=True)
class Set:
    """A complete set with header, its number of records, and whether they are data records."""

    octets: bytes
    records: int
    data: bool

    @property
    def number(self) -> int:
        """Set id: the template id for data; sets of v5 have none."""
        return int.from_bytes(self.octets[:2])


@dataclass(frozen=True)
class Data:
    """Data records of a template, to be divided into sets and messages."""

    template: Template
    records: Encoded


def _specifier(field: Field, version: int) -> bytes:
    """A field specifier (RFC 7011 section 3.2); NetFlow v9 has no enterprise numbers."""
    if version == 9:
        return struct.pack(">HH", field.id, field.length)
    element, enterprise = field.id, field.enterprise
    if field.reverse and enterprise == YAF_PEN:
        element |= YAF_REVERSE
    elif field.reverse:
        enterprise = REVERSE_PEN  # RFC 5103 section 6.1
    if enterprise:
        return struct.pack(">HHI", element | 0x8000, field.length, enterprise)
    return struct.pack(">HH", field.id, field.length)


def template_set(*templates: Template) -> Set:
    """A template set, or an options template set; all templates must be of one kind and version.

    An options template of NetFlow v9 states the octets of its scope, in IPFIX the number of its fields.
    """
    kinds = {(template.version, template.options) for template in templates}
    if len(kinds) != 1 or not kinds <= {(9, False), (9, True), (10, False), (10, True)}:
        raise UsageError("a template set must be NetFlow v9 or IPFIX and contain templates of one kind")
    [(version, options)] = kinds
    octets = b""
    for template in templates:
        fields = template.fields
        scope = sum(field.scope for field in fields)
        if not options:
            head = struct.pack(">HH", template.id, len(fields))
        elif version == 9:
            head = struct.pack(">HHH", template.id, 4 * scope, 4 * (len(fields) - scope))
        else:
            head = struct.pack(">HHH", template.id, len(fields), scope)
        octets += head + b"".join(_specifier(field, version) for field in fields)
    octets += b"\0" * (-len(octets) % ALIGN)
    return _set((0 if version == 9 else 2) + options, octets, len(templates), is_data=False)


def withdrawal_set(*ids: int, options: bool = False) -> Set:
    """An IPFIX set that withdraws templates (RFC 7011 section 8.1); without ids, all of their kind."""
    number = 3 if options else 2
    octets = b"".join(struct.pack(">HH", template_id, 0) for template_id in ids or (number,))
    return _set(number, octets, max(len(ids), 1), is_data=False)


def data_set(template: Template, records: Encoded) -> Set:
    """A data set, padded to four octets unless the padding could be read as a record."""
    octets = records.tobytes()
    padding = -len(octets) % ALIGN
    if padding < template.shortest:
        octets += b"\0" * padding
    return _set(template.id, octets, len(records), is_data=True)


def _set(number: int, octets: bytes, records: int, *, is_data: bool) -> Set:
    if len(octets) + 4 > MAX_MESSAGE:
        raise UsageError("a set is longer than 65,535 octets")
    return Set(struct.pack(">HH", number, len(octets) + 4) + octets, records, is_data)


def data(template: Template, columns: Sequence[Values], *, long_form: bool = False) -> Data:
    """Data records (or options data records) of a template from columns, see :func:`encode`."""
    return Data(template, encode(template.fields, columns, long_form=long_form))


@dataclass
class MessageBuilder:
    """Builds messages of one exporter process: one protocol, one observation domain, one sequence.

    Parameters
    ----------
    version
        5, 9 or 10 (IPFIX).
    domain
        Observation domain (IPFIX), source id (v9), or engine type and engine id in 16 bits (v5).
    sequence
        Next sequence number: flows sent (v5), messages sent (v9), data records sent (IPFIX), modulo 2**32.
    boot_ms
        Start time of the exporter in milliseconds since 1970, the reference of its uptime.
    mtu
        Maximum octets of a message; a longer record gets its own message.
    sampling
        v5: last field of the header, two bits of mode and fourteen of interval.

    References
    ----------
    RFC 3954 section 5, RFC 7011 section 3; Cisco, NetFlow export datagram format, for v5.
    """

    version: int
    domain: int = 0
    sequence: int = 0
    boot_ms: int = 0
    mtu: int = 1400
    sampling: int = 0

    def message(self, sets: Sequence[Set], time_ms: int) -> bytes:
        """Build one message of exactly these sets, exported at ``time_ms`` (since 1970), and advance the sequence."""
        count = sum(part.records for part in sets)
        counted = sum(part.records for part in sets if part.data)
        body = b"".join(part.octets for part in sets)
        seconds, uptime = time_ms // 1000 & 0xFFFFFFFF, time_ms - self.boot_ms & 0xFFFFFFFF
        sequence = self.sequence & 0xFFFFFFFF
        if self.version == 10:
            head = struct.pack(">HHIII", 10, 16 + len(body), seconds, sequence, self.domain)
            self.sequence += counted
        elif self.version == 9:
            head = struct.pack(">HHIIII", 9, count, uptime, seconds, sequence, self.domain)
            self.sequence += 1
        else:
            nanoseconds = time_ms % 1000 * 1_000_000
            head = struct.pack(
                ">HHIIIIHH", 5, count, uptime, seconds, nanoseconds, sequence, self.domain, self.sampling
            )
            self.sequence += counted
        self.sequence &= 0xFFFFFFFF
        if len(head) + len(body) > MAX_MESSAGE:
            raise UsageError("a message is longer than 65,535 octets")
        return head + body

    def messages(self, parts: Iterable[Set | Data], time_ms: int) -> list[bytes]:
        """Build as many messages as needed, in order, each as full as the MTU allows.

        Parameters
        ----------
        parts
            Sets are not divided; :class:`Data` is divided between records. v5 only takes data.
        time_ms
            Export time, milliseconds since 1970.
        """
        return [self.message(sets, time_ms) for sets in self.packed(parts)]

    def packed(self, parts: Iterable[Set | Data]) -> Iterator[list[Set]]:
        """Yield the sets of each message without advancing the sequence."""
        waiting: list[Set] = []
        room = full = self.mtu - HEADER[self.version]
        for part in parts:
            at = 0
            while at < (len(part.records) if isinstance(part, Data) else 1):
                piece = self._cut(part, at, room, whole=not waiting)
                if piece is None or (waiting and len(piece.octets) > room):
                    yield waiting
                    waiting, room = [], full
                    continue
                waiting.append(piece)
                room -= len(piece.octets)
                at += piece.records if isinstance(part, Data) else 1
        if waiting:
            yield waiting

    def _cut(self, part: Set | Data, at: int, room: int, *, whole: bool) -> Set | None:
        """The next set of a part with as many records as fit; at least one in a message of its own."""
        if isinstance(part, Set):
            return part
        offset = part.records.offset
        if self.version == 5:
            rows = min(room // V5_OCTETS, V5_RECORDS - (self.mtu - HEADER[5] - room) // V5_OCTETS)
        else:
            # Rounded down to leave room for padding.
            last = offset[at] + (room - 4) // ALIGN * ALIGN
            rows = int(np.searchsorted(offset[at:], last, side="right")) - 1
        if rows < 1 and not whole:
            return None
        records = part.records[at : at + max(rows, 1)]
        if self.version == 5:
            return Set(records.tobytes(), len(records), data=True)
        return data_set(part.template, records)


def batch(
    messages: Sequence[bytes],
    exporter: Exporter | None = None,
    arrival_ns: int | Sequence[int] | NDArray[np.int64] = 0,
) -> DatagramBatch:
    """Messages as a batch of a receiver.

    Parameters
    ----------
    messages
        In order of arrival.
    exporter
        Sender of all messages; by default one with a documentation address.
    arrival_ns
        One time, or one per message.
    """
    octets = np.array([len(message) for message in messages], np.int32)
    count = len(messages)
    return DatagramBatch(
        data=np.frombuffer(b"".join(messages), np.uint8),
        offset=np.cumsum(octets, dtype=np.int64) - octets,
        octets=octets,
        arrival_ns=np.broadcast_to(np.asarray(arrival_ns, np.int64), (count,)).copy(),
        exporter=np.zeros(count, np.int32),
        exporters=[exporter or Exporter("192.0.2.1", 4739)],
    )


def write_file(path: Path, messages: Iterable[bytes]) -> int:
    """Write an IPFIX file (RFC 5655 section 6: consecutive messages); returns its size in octets.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    try:
        with path.open("wb") as stream:
            return sum(stream.write(message) for message in messages)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=path) from None
