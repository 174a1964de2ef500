"""parse(build(x)) = x: the decoder returns the columns that were written, for every protocol."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ethogram.io.wire.build import Data, MessageBuilder, Set, Values, batch, data, template_set, withdrawal_set
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.records import Records
from ethogram.io.wire.template import V5_FIELDS, VARIABLE, Field, Template, v5_template

ENTERPRISES = st.sampled_from([0, 0, 0, 6871, 9, 41916])
KINDS = st.sampled_from(["unsigned", "signed", "real", "octets", "text"])


@st.composite
def fields_and_columns(draw: st.DrawFn, version: int, rows: int) -> tuple[list[Field], list[Values]]:
    fields: list[Field] = []
    columns: list[Values] = []
    for _ in range(draw(st.integers(1, 8))):
        kind = draw(KINDS)
        column: Values
        if kind in {"unsigned", "signed"}:
            length = draw(st.integers(1, 8))
            bits = 8 * length - (kind == "signed")
            low = -(1 << bits) if kind == "signed" else 0
            values = draw(st.lists(st.integers(low, (1 << bits) - 1), min_size=rows, max_size=rows))
            column = np.array(values, np.int64 if kind == "signed" else np.uint64)
        elif kind == "real":
            length = draw(st.sampled_from([4, 8]))
            real = st.floats(allow_nan=False, width=32 if length == 4 else 64)
            column = np.array(draw(st.lists(real, min_size=rows, max_size=rows)), np.float64)
        elif kind == "octets":
            length = draw(st.integers(0, 20))
            octets = draw(st.binary(min_size=length * rows, max_size=length * rows))
            column = np.frombuffer(octets, np.uint8).reshape(rows, length)
        else:
            length = VARIABLE
            text = st.one_of(st.binary(max_size=8), st.sampled_from([b"x" * 254, b"y" * 255, b"z" * 700]))
            column = draw(st.lists(text, min_size=rows, max_size=rows))
        enterprise = draw(ENTERPRISES) if version == 10 else 0
        reverse = version == 10 and enterprise in {0, 6871} and draw(st.booleans())
        fields.append(Field(enterprise, draw(st.integers(1, 0x3FFF)), length, reverse=reverse))
        columns.append(column)
    if not any(field.length for field in fields):
        fields.append(Field(0, 1, 4))
        columns.append(np.arange(rows))
    return fields, columns


def read_back(records: list[Records], i: int, like: Values) -> list[object]:
    """Field ``i`` of all records, read according to its type."""
    result: list[object] = []
    for part in records:
        if isinstance(like, np.ndarray) and like.ndim == 1:
            reader = {"u": part.unsigned, "i": part.signed, "f": part.real}[like.dtype.kind]
            result += reader(i).tolist()
        else:
            offset, length = part.spans(i)
            result += [part.data[o : o + n].tobytes() for o, n in zip(offset, length, strict=True)]
    return result


def written(column: Values) -> list[object]:
    if isinstance(column, np.ndarray):
        return column.tolist() if column.ndim == 1 else [row.tobytes() for row in column]
    return list(column)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_columns_come_back_as_they_were_written(drawn: st.DataObject) -> None:
    version = drawn.draw(st.sampled_from([9, 10]))
    rows = drawn.draw(st.integers(1, 12))
    fields, columns = drawn.draw(fields_and_columns(version, rows))
    scopes = drawn.draw(st.integers(1, len(fields))) if drawn.draw(st.booleans()) else 0
    fields = [Field(f.enterprise, f.id, f.length, i < scopes, f.reverse) for i, f in enumerate(fields)]
    template = Template(version, 7, drawn.draw(st.integers(256, 65535)), tuple(fields), options=scopes > 0)
    other = Template(version, 7, 256 + (template.id == 256), (Field(0, 4, 1), Field(0, 7, 2)))
    build = MessageBuilder(version, 7, drawn.draw(st.integers(0, 0xFFFFFFFF)), mtu=drawn.draw(st.integers(100, 1500)))
    long_form = drawn.draw(st.booleans())
    parts: list[Set | Data] = [template_set(template), template_set(other)]
    parts += [data(other, [np.array([6, 17]), np.array([443, 53])]), data(template, columns, long_form=long_form)]
    messages = build.messages(parts, 1_700_000_000_000)
    decoder = Decoder()
    result = decoder.decode(batch(messages))
    mine = [part for part in result if part.template.id == template.id]
    assert {part.template.fields for part in mine} == {template.fields}
    assert {part.template.options for part in mine} == {template.options}
    assert sum(map(len, mine)) == rows
    for i, column in enumerate(columns):
        assert read_back(mine, i, column) == written(column)
    assert sum(len(part) for part in result) == rows + 2
    for accounting in (decoder.accounting, decoder.sets, decoder.records):
        accounting.check()
        assert not accounting.dropped


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 75), st.integers(0, 99))
def test_netflow_v5_comes_back_in_terms_of_iana_elements(rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    columns = [random.integers(0, 1 << 8 * field.length, rows) for field in V5_FIELDS]
    build = MessageBuilder(5, 0x0203, boot_ms=1_700_000_000_000 - 5_000, mtu=1500, sampling=0x4010)
    messages = build.messages([data(v5_template(0), columns)], 1_700_000_000_000)
    result = Decoder().decode(batch(messages))
    assert sum(map(len, result)) == rows
    for i, column in enumerate(columns):
        assert [int(v) for field in result for v in field.unsigned(i)] == column.tolist()
    headers = result[0].headers
    assert headers["uptime_ms"].tolist() == [5_000] * len(messages)
    assert headers["sequence"].tolist() == [30 * i for i in range(len(messages))]


def test_a_withdrawn_template_is_not_used_and_a_new_one_takes_its_number() -> None:
    first, other = (Template(10, 0, 300, (Field(0, element, 4),)) for element in (8, 12))
    build = MessageBuilder(10)
    values = [np.array([5])]
    record = next(build.packed([data(first, values)]))
    messages = [
        build.message(sets, 0)
        for sets in ([template_set(first)], record, [withdrawal_set(300)], record, [template_set(other)])
    ]
    decoder = Decoder()
    result = decoder.decode(batch(messages))
    # What came after the withdrawal waits, and is read by the template that came next.
    assert sorted((r.template.fields[0].id, r.unsigned(0).tolist()) for r in result if len(r)) == [(8, [5]), (12, [5])]
