"""Vectors: views by name, expansion of any rows, and custom flows packed, picked, joined and brought to tables."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ethogram.errors import ConfigurationError, InputError
from ethogram.representation.vector import END, OCTET, START, SYMBOL_CODES, expand
from ethogram.representation.views import BASES, COLUMNS, OPTIONS, WIDTH, view_of
from ethogram.schema import CUSTOM_FLOW, CustomFlows


def offsets(lengths: list[int]) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


@st.composite
def flows(draw: st.DrawFn, least: int = 0) -> CustomFlows:
    n = draw(st.integers(least, 6))
    counts = [draw(st.integers(1, 10)) for _ in range(n)]
    stored = [draw(st.sampled_from([0, 1, 2, 300, 1000])) for _ in range(sum(counts))]
    # Only what fits into 3,000 symbols is ever kept.
    first = offsets(counts)
    for begin, end in itertools.pairwise(first.tolist()):
        room = 3000
        for k in range(begin, end):
            stored[k] = max(0, min(stored[k], room - 1))
            room = max(0, room - stored[k] - 2)
    m = sum(counts)

    def whole(kind: type, size: int, most: int | None = None) -> np.ndarray:
        most = np.iinfo(kind).max if most is None else most
        return draw(arrays(kind, size, elements=st.integers(0, most)))

    return CustomFlows(
        pl.Series("device", [f"d{i % 2}" for i in range(n)], dtype=pl.String), whole(np.int64, n, 1 << 52),
        whole(np.uint32, n), whole(np.uint16, n), whole(np.uint16, n), whole(np.uint8, n), whole(np.uint64, n),
        whole(np.uint64, n), first, whole(np.uint32, m), whole(np.uint32, m), whole(np.uint8, m, 1),
        np.array(stored, np.uint16), offsets(stored)[first],
        np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, sum(stored)).astype(np.uint8),
    )  # fmt: skip


def same(a: CustomFlows, b: CustomFlows) -> None:
    assert a.device.equals(b.device)
    for name, value in vars(a).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(b, name), err_msg=name)
            assert value.dtype == getattr(b, name).dtype, name


def test_the_layout_has_3040_numbers_with_names() -> None:
    assert len(COLUMNS) == len(set(COLUMNS)) == WIDTH == 3040
    assert COLUMNS[:10] == (
        "relative_time", "remote_octet_1", "remote_octet_2", "remote_octet_3", "remote_octet_4", "remote_port",
        "device_port", "protocol", "octets", "packets",
    )  # fmt: skip
    assert COLUMNS[10:14] == ("packet_0_offset", "packet_0_octets", "packet_0_out", "packet_1_offset")
    assert (COLUMNS[39], COLUMNS[40], COLUMNS[-1]) == ("packet_9_out", "symbol_0", "symbol_2999")


@pytest.mark.parametrize(
    ("name", "width"),
    [("meta", 10), ("packets", 30), ("meta+packets", 40), ("payload", 3000), ("full", 3040), ("meta/no-address", 6),
     ("meta/no-ports", 8), ("full/no-address/no-ports", 3034), ("meta+packets/no-ports/no-address", 34)],
)  # fmt: skip
def test_views_have_their_width_and_columns(name: str, width: int) -> None:
    view = view_of(name)
    assert view.width == width == len(view.columns)
    assert view.columns == tuple(COLUMNS[i] for i in view.places)
    if "no-ports" in name:
        assert not {"remote_port", "device_port"} & set(view.columns)
    if "no-address" in name:
        assert not any("remote_octet" in column for column in view.columns)
    assert sum(part.stop - part.start for part in view.blocks().values()) == width


def test_names_of_views_are_canonical() -> None:
    assert view_of("full/no-ports/no-address").name == "full/no-address/no-ports"
    assert view_of("payload/no-ports").name == view_of("payload").name == "payload"
    assert view_of("packets/time-of-day").time_of_day is False
    names = {
        view_of("/".join([base, *chosen])).name
        for base in BASES
        for count in range(4)
        for chosen in itertools.permutations(OPTIONS, count)
    }
    assert len(names) == 4 * 8 + 2


@pytest.mark.parametrize(
    "name", ["", "all", "meta/", "meta/no-port", "no-ports", "meta/no-ports/no-ports", "meta/meta"]
)
def test_an_invalid_view_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no view"):
        view_of(name)


@settings(deadline=None, max_examples=40)
@given(flows())
def test_every_view_is_the_columns_of_the_whole(made: CustomFlows) -> None:
    whole = expand(made)
    assert whole.dtype == np.float32
    assert ((whole >= 0) & (whole <= 1)).all()
    for base in BASES:
        for options in ("", "/no-address", "/no-ports", "/no-address/no-ports"):
            view = view_of(base + options)
            np.testing.assert_array_equal(expand(made, view), whole[:, view.places])


@settings(deadline=None, max_examples=40)
@given(flows(least=1), st.data())
def test_any_rows_are_expanded_packed_and_joined_alike(made: CustomFlows, data: st.DataObject) -> None:
    rows = np.array(data.draw(st.lists(st.integers(0, len(made) - 1), max_size=8)), np.int64)
    whole = expand(made)
    np.testing.assert_array_equal(expand(made, rows=rows), whole[rows])
    np.testing.assert_array_equal(expand(made.take(rows)), whole[rows])
    out = np.full((len(rows), 40), 9, np.float32)
    assert expand(made, "meta+packets", rows, out) is out
    np.testing.assert_array_equal(out, whole[rows][:, :40])
    at = data.draw(st.integers(0, len(made)))
    same(CustomFlows.concat([made.take(slice(0, at)), made.take(slice(at, None))]), made)


@settings(deadline=None, max_examples=40)
@given(flows())
def test_tables_and_back(made: CustomFlows) -> None:
    frame = made.frame()
    assert CUSTOM_FLOW.matches(frame.schema)
    same(CustomFlows.of_frame(frame), made)
    same(CustomFlows.of_arrow(made.arrow()), made)


def one(**changes: object) -> pl.DataFrame:
    row: dict[str, object] = {
        "device": "x", "start": 86_400_000_000 // 4, "remote": 0x08080404, "remote_port": 65535, "device_port": 0,
        "protocol": 255, "octets": 10**9, "packets": 10**6, "packet_offset_us": [0, 90_000_000],
        "packet_octets": [750, 9000], "packet_out": [1, 0], "payload_octets": [2, 0], "payload": b"\x00\xff",
    }  # fmt: skip
    return CUSTOM_FLOW.conform(pl.DataFrame([row | changes]))


def test_scaling_is_fixed_and_clipped() -> None:
    x = expand(CustomFlows.of_frame(one()))[0]
    expected = [0, 8 / 255, 8 / 255, 4 / 255, 4 / 255, 1, 0, 1, 1, 1, 0, 0.5, 1, 1, 1, 0]
    np.testing.assert_allclose(x[:16], expected, rtol=1e-7)
    codes = np.round(x[40:] * (SYMBOL_CODES - 1)).astype(int)
    assert codes[:6].tolist() == [START, OCTET, OCTET + 255, END, START, END]
    assert not x[16:40].any()
    assert not codes[6:].any()
    assert expand(CustomFlows.of_frame(one()), "meta/time-of-day")[0, 0] == 0.25


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"packet_out": [1]}, "packet_out is not as long"), ({"payload": b"\x00"}, "do not add up"),
     ({"device": None}, "an empty device"), ({"remote": None}, "an empty remote"),
     ({"packet_octets": [None, 1]}, "an empty packet_octets"), ({"packet_octets": None}, "an empty packet_octets"),
     ({"payload": None}, "an empty device or payload")],
)  # fmt: skip
def test_inconsistent_tables_are_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(InputError, match=why):
        CustomFlows.of_frame(one(**changes))


def test_tables_of_another_kind_are_refused() -> None:
    table = CustomFlows.of_frame(one()).arrow()
    with pytest.raises(InputError, match="no column payload"):
        CustomFlows.of_arrow(table.drop_columns(["payload"]))
    with pytest.raises(InputError, match=r"^f\.parquet: not a custom_flow table"):
        CustomFlows.of_arrow(table.set_column(2, "remote", pa.array(["x"])), file="f.parquet")


def test_rows_out_of_range_raise() -> None:
    with pytest.raises(IndexError):
        expand(CustomFlows.of_frame(one()), rows=np.array([1]))
    with pytest.raises(ValueError, match="out must be"):
        expand(CustomFlows.of_frame(one()), out=np.zeros((1, 3), np.float32))
