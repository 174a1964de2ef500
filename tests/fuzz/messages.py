"""Export messages (NetFlow v5 and v9, IPFIX), and the template file."""

from __future__ import annotations

import hashlib
from functools import cache, partial
from typing import Any

import numpy as np
import orjson

from ethogram.config import WireSettings
from ethogram.io.wire import decoder, pending, records
from ethogram.io.wire.biflows import Biflows
from ethogram.io.wire.build import MessageBuilder, data, template_set, withdrawal_set
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.records import Records
from ethogram.io.wire.sequence import Sequences
from ethogram.io.wire.template import V5_FIELDS, VARIABLE, Field, Template, v5_template
from ethogram.io.wire.templates import TemplateStore
from ethogram.schema import BIFLOW, DatagramBatch, Exporter

from .harness import INTERPRETED, Target, allowed, bounded, replace_in, written

NOW_MS = 1_700_000_000_000
EXPORTERS = (Exporter("192.0.2.1", 4739), Exporter("192.0.2.1", 4740), Exporter("2001:db8::1", 4739, "tcp", 1))
SMALL = WireSettings(
    max_exporters=2, max_templates=8, max_templates_per_exporter=4, max_fields=24, pending_octets=1 << 14,
    pending_octets_per_exporter=1 << 13,
)  # fmt: skip
"""Limits that a short input can reach."""
WIDE = WireSettings(max_templates=1 << 9)
"""Limits that no input reaches."""

if INTERPRETED:

    def _with_bounds(kernel: Any) -> Any:
        return lambda *given: kernel(*(bounded(one) if isinstance(one, np.ndarray) else one for one in given))

    replace_in([decoder], "walk", _with_bounds)
    replace_in([pending], "copy_sets", _with_bounds)
    for name in ("locate_fixed", "locate_variable", "read_halves", "read_unsigned", "read_unsigned_spans"):
        replace_in([records], name, _with_bounds)


def framed(*messages: bytes, exporter: int = 0) -> bytes:
    """Encode datagrams as one input: exporter number, length in two octets, and octets of each."""
    return b"".join(bytes([exporter]) + len(message).to_bytes(2) + message for message in messages)


def unframed(octets: bytes) -> tuple[list[bytes], list[int]]:
    """Decode datagrams and their exporter numbers; the last one may be truncated."""
    items, senders, at = [], [], 0
    while at + 3 <= len(octets) and len(items) < 64:
        length = int.from_bytes(octets[at + 1 : at + 3])
        items.append(octets[at + 3 : at + 3 + length])
        senders.append(octets[at] % len(EXPORTERS))
        at += 3 + length
    return items, senders


def batch_of(datagrams: list[bytes], senders: list[int]) -> DatagramBatch:
    """A batch with other octets before, between and after its datagrams, so that a read outside them is visible."""
    lengths = np.array([len(datagram) for datagram in datagrams], np.int32)
    octets = b"\xa5" * 3 + b"".join(datagram + b"\x5a" * (i % 3) for i, datagram in enumerate(datagrams))
    offset = (
        3 + np.cumsum(lengths, dtype=np.int64) - lengths + np.cumsum([0, *(i % 3 for i in range(len(lengths) - 1))])
    )
    arrival = NOW_MS * 1_000_000 + np.arange(len(datagrams), dtype=np.int64) * 10**9
    return DatagramBatch(
        np.array(bytearray(octets), np.uint8), offset.astype(np.int64), lengths, arrival, np.array(senders, np.int32),
        EXPORTERS,
    )  # fmt: skip


def read_all(one: Records) -> int:
    """Read every column of records in every form; none is outside their octets."""
    rows = len(one)
    assert one.set_records.sum() == rows == len(one.message) == len(one.starts)
    for i in range(len(one.template.fields)):
        offset, length = one.spans(i)
        assert len(offset) == len(length) == rows
        assert (
            bool((offset >= 0).all()) and bool((length >= 0).all()) and bool((offset + length <= len(one.data)).all())
        )
        for column in (one.unsigned(i), one.signed(i), one.real(i), *one.address(i)):
            assert len(column) == rows
    return rows


def decoded(
    datagrams: list[bytes], senders: list[int], settings: WireSettings, together: int, *, biflows: Biflows | None = None
) -> dict[Any, int]:
    """Decode in batches of this many datagrams; returns the number of records by template and checks the sums.

    With ``biflows``, every column is read too, and records become biflows.
    """
    of = Decoder(settings)
    of.sequence = Sequences(4)
    flows = 0
    counts: dict[Any, int] = {}
    for at in range(0, len(datagrams), together):
        given = of.decode(batch_of(datagrams[at : at + together], senders[at : at + together]))
        if biflows is not None:
            frame = biflows.batch(given)
            assert BIFLOW.matches(frame.schema)
            flows += frame.height
        for decoded_set in given:
            template = decoded_set.template
            key = decoded_set.exporter.address, template.version, template.domain, template.id, template.fields
            counts[key] = counts.get(key, 0) + (len(decoded_set) if biflows is None else read_all(decoded_set))
    assert of.records.used + of.records.ignored.total() == sum(counts.values())
    if biflows is not None:
        biflows.accounting.check()
        assert (biflows.accounting.read, biflows.accounting.used) == (of.records.used, flows)
    for accounting in (of.accounting, of.sets, of.records):
        accounting.check()
    totals = of.sequence.totals
    assert totals.sent == totals.received + totals.gaps + totals.undecoded
    of.end_session(EXPORTERS[2])
    for accounting in (of.accounting, of.sets, of.records):
        accounting.check()
    return counts


def check_messages(octets: bytes) -> None:
    """Decode in one batch and one by one, which must not matter, and then with limits that are reached."""
    datagrams, senders = unframed(octets)
    if not datagrams:
        return
    whole = decoded(datagrams, senders, WIDE, len(datagrams), biflows=Biflows(WIDE))
    assert decoded(datagrams, senders, WIDE, 1) == whole
    decoded(datagrams, senders, SMALL, 3)


def check_one(template: tuple[bytes, ...], octets: bytes) -> None:
    """One message after others that define templates."""
    check_messages(framed(*template, octets))


MIXED = (
    Field(0, 150, 4), Field(0, 8, 4), Field(0, 12, 4), Field(0, 7, 2), Field(0, 11, 2), Field(0, 4, 1), Field(0, 1, 8),
    Field(0, 2, 3), Field(0, 96, VARIABLE), Field(0, 1, 4, reverse=True), Field(9, 77, 3), Field(6871, 21, 2),
    Field(0, 27, 16), Field(0, 82, VARIABLE), Field(0, 320, 4),
)  # fmt: skip
PLAIN = tuple(Field(0, i, n) for i, n in ((22, 4), (21, 4), (8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4)))
OPTIONS = (Field(0, 149, 4, scope=True), Field(0, 302, 1), Field(0, 305, 4), Field(0, 160, 8))
OPTIONS_V9 = (Field(0, 1, 4, scope=True), Field(0, 48, 1), Field(0, 49, 1), Field(0, 50, 4), Field(0, 84, 12))


def columns_of(fields: tuple[Field, ...], rows: int) -> list[Any]:
    """Values for each field: text if the length is variable, small numbers otherwise."""
    collected: list[Any] = []
    for place, field in enumerate(fields):
        if field.length == VARIABLE:
            collected.append([b"x" * ((7 * row + place) % 300) for row in range(rows)])
        elif field.length > 8:
            collected.append(np.full((rows, field.length), 0x20 + place, np.uint8))
        else:
            collected.append((np.arange(rows) * 7 + place) % 200)
    return collected


@cache
def exported(version: int) -> tuple[bytes, ...]:
    """Messages of one protocol: templates, options, data before and after them, a change and a withdrawal."""
    build = MessageBuilder(version, 7, boot_ms=NOW_MS - 10**6, mtu=600)
    if version == 5:
        return tuple(build.messages([data(v5_template(0), columns_of(V5_FIELDS, 14))], NOW_MS))
    fields = PLAIN if version == 9 else MIXED
    flows = Template(version, 7, 256, fields)
    other = Template(version, 7, 257, tuple(field for field in fields[::-1] if field.length != VARIABLE))
    result = Template(version, 7, 258, OPTIONS if version == 10 else OPTIONS_V9, options=True)
    parts = [
        data(other, columns_of(other.fields, 3)), template_set(flows, other), data(flows, columns_of(fields, 5)),
        template_set(result), data(result, columns_of(result.fields, 2)), data(other, columns_of(other.fields, 4)),
        template_set(Template(version, 7, 256, other.fields)), data(other, columns_of(other.fields, 2)),
    ]  # fmt: skip
    if version == 10:
        parts += [withdrawal_set(257), data(other, columns_of(other.fields, 1)), withdrawal_set(options=True)]
    return tuple(build.messages(parts, NOW_MS))


def streams(version: int) -> list[bytes]:
    """Complete exchanges: from one exporter, and from several whose messages alternate."""
    messages = exported(version)
    return [framed(*messages), b"".join(framed(message, exporter=i) for message in messages for i in (0, 2))]


def templates_first(version: int) -> tuple[bytes, ...]:
    """One message with the templates only."""
    build = MessageBuilder(version, 7)
    fields = PLAIN if version == 9 else MIXED
    sets = [template_set(Template(version, 7, 256, fields), Template(version, 7, 257, PLAIN))]
    return (build.message(sets, NOW_MS),)


def data_alone(version: int) -> list[bytes]:
    """Messages with data of those templates."""
    build = MessageBuilder(version, 7, mtu=1200)
    fields = PLAIN if version == 9 else MIXED
    of = [Template(version, 7, 256, fields), Template(version, 7, 257, PLAIN)]
    return [build.messages([data(row, columns_of(row.fields, rows))], NOW_MS)[0] for row in of for rows in (1, 4)]


def check_templates(octets: bytes) -> None:
    """The template file; then again with a valid checksum, as an editor of the file could produce."""
    file = written("templates", octets)
    head, line_end, body = octets.partition(b"\n")
    forms = [octets]
    try:
        fields = orjson.loads(head)
    except orjson.JSONDecodeError:
        fields = None
    if isinstance(fields, dict):
        fields["sha256"] = hashlib.sha256(body.removesuffix(b"\n")).hexdigest()
        forms.append(orjson.dumps(fields) + line_end + body)
    for form in forms:
        file.write_bytes(form)
        store = TemplateStore(SMALL)
        problem = allowed(lambda store=store: store.load(file))  # type: ignore[misc]
        assert problem is None or (isinstance(problem, str) and "\n" not in problem)
        assert len(store) <= SMALL.max_templates
        assert problem is None or not len(store), "what is refused is refused whole"
        Decoder(SMALL, store).decode(batch_of(list(exported(10)), [0] * len(exported(10))))


def template_files() -> list[bytes]:
    file = written("saved-templates", b"")
    collected = []
    for version in (9, 10):
        of = Decoder()
        of.decode(batch_of(list(exported(version)), [0] * len(exported(version))))
        of.store.save(file)
        collected.append(file.read_bytes())
    return collected


WORDS = (b"\0\x0a", b"\0\x09", b"\0\x05", b"\0\2\0\x08", b"\0\3\0\x0a", b"\1\0", b"\1\1", b"\xff\xff", b"\xff\1\0",
         b"\0\0\x72\x79", b"\0\0\x1a\xd7", b"\x80\0", b"\0\4", b"\0\0\0\0")  # fmt: skip

TARGETS = [
    Target("netflow-v5", lambda: [*map(framed, exported(5)), framed(*exported(5))], check_messages, compiled=True,
           words=WORDS),
    Target("netflow-v9", partial(streams, 9), check_messages, compiled=True, words=WORDS),
    Target("ipfix", partial(streams, 10), check_messages, compiled=True, words=WORDS),
    Target("v9-data", partial(data_alone, 9), partial(check_one, templates_first(9)), compiled=True, words=WORDS),
    Target("ipfix-data", partial(data_alone, 10), partial(check_one, templates_first(10)), compiled=True, words=WORDS),
    Target("templates", template_files, check_templates,
           words=(b"[", b"]", b"null", b"-1", b"true", b"65536", b"1e400", b'"', b"{}")),
]  # fmt: skip
