"""Host names tell devices of real captures apart that share one MAC, as behind a repeater."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.inputs import read_windows
from ethogram.pipeline.ladder import LadderJudge
from ethogram.pipeline.learnt_ladder import learn_ladder
from ethogram.pipeline.library import open_library
from ethogram.pipeline.several import named_parts
from ethogram.pipeline.windows import windows_of_devices
from ethogram.schema import COUNT_KEYS, COUNTS, IDENTITY

REPEATER = "02:00:5e:00:00:01"
PRODUCTS = ("HueBridge", "TP-LinkPlugHS110", "D-LinkSwitch", "D-LinkCam")
Capture = tuple[pl.DataFrame, pl.DataFrame]


@pytest.fixture(scope="module")
def captures(corpus: Path) -> dict[str, Capture]:
    """Counts and identity facts of one device each, all beginning at the same time."""
    read: dict[str, Capture] = {}
    for product in PRODUCTS:
        folder = corpus / "aalto_iot_sentinel_2016" / "captures_IoT_Sentinel" / "captures_IoT-Sentinel" / product
        seen = read_windows([str(path) for path in sorted(folder.glob("*.pcap"))[:4]])
        macs = seen.identity.filter(pl.col("fact").cast(pl.String) == "host_name")["device"].drop_nulls().unique()
        windows, device = seen.seen.windows, macs.item()
        items = windows.items.filter(pl.col("device") == device).select("item", "device")
        counts = COUNTS.conform(windows.counts.join(items, on="item").select(COUNTS.names))
        identity = seen.identity.filter(pl.col("device") == device)
        shift = pl.lit(identity["first"].min()).dt.truncate("1h")
        begin = pl.lit(pl.Series([0], dtype=pl.Int64).cast(COUNTS.schema["time"])[0], COUNTS.schema["time"])
        read[product] = (
            counts.with_columns(pl.col("time") - shift + begin),
            identity.with_columns((pl.col("first", "last") - shift + begin).cast(IDENTITY.schema["first"])),
        )
    return read


def behind_one(captures: dict[str, Capture], *products: str) -> Capture:
    """The traffic of some devices as that of one."""
    counts = pl.concat([captures[product][0] for product in products]).with_columns(device=pl.lit(REPEATER))
    identity = pl.concat([captures[product][1] for product in products]).with_columns(device=pl.lit(REPEATER))
    return COUNTS.conform(counts.sort(COUNT_KEYS)), identity


@pytest.fixture(scope="module")
def judge() -> LadderJudge:
    return LadderJudge(learn_ladder(open_library(), Knowledge.bundled()).products)


@pytest.mark.parametrize("products", [PRODUCTS[:2], PRODUCTS[:3], PRODUCTS])
def test_devices_behind_a_repeater_are_told_by_their_host_names(
    captures: dict[str, Capture], judge: LadderJudge, products: tuple[str, ...]
) -> None:
    counts, identity = behind_one(captures, *products)
    [verdict] = judge.verdicts(windows_of_devices(counts, 86_400), identity)
    assert (verdict.level, verdict.kind, verdict.vendor, verdict.model) == ("several", "", "", "")
    assert len(verdict.several) == len(products)
    parts = {part.name: part for part in verdict.several}
    hue = next(part for name, part in parts.items() if "Philips-hue" in name)
    plug = next(part for name, part in parts.items() if "HS110" in name)
    assert (hue.kind, plug.kind) == ("hub", "plug")
    assert sum(part.share or 0.0 for part in verdict.several) <= 1.001
    assert verdict.statement.startswith("several devices: ")


def test_no_device_alone_is_several(captures: dict[str, Capture], judge: LadderJudge) -> None:
    for product in PRODUCTS:
        counts, identity = behind_one(captures, product)
        [verdict] = judge.verdicts(windows_of_devices(counts, 86_400), identity)
        assert verdict.level != "several", product


def test_a_device_that_follows_another_is_not_behind_it(captures: dict[str, Capture]) -> None:
    counts, identity = behind_one(captures, *PRODUCTS[:2])
    year = pl.duration(days=365)
    second = pl.col("value").str.starts_with("HS110")
    later = identity.with_columns(
        pl.when(second).then(pl.col("first") + year).otherwise("first").alias("first"),
        pl.when(second).then(pl.col("last") + year).otherwise("last").alias("last"),
    )
    windows = windows_of_devices(counts, 86_400)
    assert named_parts(windows, later, Knowledge.bundled()) == {}
    assert len(named_parts(windows, identity, Knowledge.bundled())[0]) == 2
