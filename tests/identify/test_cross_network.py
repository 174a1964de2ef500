"""Cross-network scores: the compiled kernel against the formula in plain Python."""

from __future__ import annotations

import math
from importlib import import_module

import numpy as np
import polars as pl
import pytest

from ethogram.identify.cross_network import BOUND, BOUND_SLOPE, LINES, NAMELESS, CrossNetwork
from ethogram.schema import Windows

from .traffic import days, enrolment, windows_of


def named(windows: Windows, names: dict[int, str]) -> Windows:
    """The remote of each port named."""
    name = pl.col("port").cast(pl.Int64).replace_strict(names, default=None, return_dtype=pl.String)
    return Windows(windows.items, windows.counts.with_columns(name=name))


def token(row: dict[str, object]) -> str:
    protocol = {6: "TCP", 17: "UDP"}[row["protocol"]]  # type: ignore[index]
    scope = "any" if (row["protocol"], row["port"]) == (17, 53) else row["scope"]
    return f"{protocol}/{row['port']} {row['role']} {scope}"


def place(row: dict[str, object]) -> str | None:
    protocol = {6: "TCP", 17: "UDP"}[row["protocol"]]  # type: ignore[index]
    if row["protocol"] == 17 and row["port"] in (53, 67, 123):
        return f"UDP/{row['port']} any"
    return f"{protocol} {row['scope']}" if row["scope"] != "multicast" else None


def bag(windows: Windows, item: int, part: str) -> dict[str, tuple[float, float, float]]:
    """Token to (v, log mean octets out, log mean octets in), added up row by row."""
    rows = windows.counts.filter(pl.col("item") == item).to_dicts()
    portless = 2 * sum(r["packets_out"] for r in rows if r["port"] == 0) > sum(r["packets_out"] for r in rows)
    sums: dict[str, list[float]] = {}
    for row in rows:
        key = place(row) if part == "places" else None
        if part == "services" and not portless and row["port"] != 0:
            key = token(row)
        if part == "names" and row["name"] and row["port"] not in (53, 123):
            key = f"name {row['name']}"
        if key is not None:
            total = sums.setdefault(key, [0.0] * 4)
            for i, name in enumerate(("packets_out", "octets_out", "packets_in", "octets_in")):
                total[i] += row[name]
    mean = sum(math.log1p(t[0]) for t in sums.values()) / max(len(sums), 1)

    def size(octets: float, packets: float) -> float:
        return math.log(max(octets / packets, 46.0)) if octets and packets else math.nan

    return {k: (math.sqrt(math.log1p(t[0]) / mean), size(t[1], t[0]), size(t[3], t[2])) for k, t in sums.items()}


def ratio(q: Windows, r: Windows, labels: list[str], i: int, j: int) -> float:
    """The log likelihood ratio of item i of q and item j of r."""
    total = 0.0
    for part, (slope, offset) in LINES.items():
        mine, theirs = bag(q, i, part), bag(r, j, part)
        if not mine or not theirs:
            total += NAMELESS if mine and part == "names" else 0.0
            continue
        if part == "places" and bag(q, i, "services") and bag(r, j, "services"):
            continue
        having = {label: set() for label in labels}  # type: ignore[var-annotated]
        for k, label in enumerate(labels):
            having[label] |= set(bag(r, k, part))
        count = sum(1 for tokens in having.values() if tokens)
        above = below = bound = 0.0
        for key in set(mine) | set(theirs):
            seen = sum(key in tokens for tokens in having.values())
            weight = math.log1p(count / seen) if seen else 0.0
            a, b = mine.get(key), theirs.get(key)
            below += weight * max(a[0] if a else 0.0, b[0] if b else 0.0)
            if a and b:
                shared = weight * min(a[0], b[0])
                back = part == "names" or key.endswith(" wan")
                for x, y, width, use in ((a[1], b[1], 0.25, True), (a[2], b[2], 0.5, back)):
                    if use:
                        shared *= 0.5 if math.isnan(x) or math.isnan(y) else math.exp(-abs(x - y) / width)
                above += shared
                bound += min(BOUND_SLOPE * math.log(count / seen), BOUND)
        total += min(slope * above / below + offset, bound)
    return total


def without_ports(windows: Windows, item: int) -> Windows:
    """One item as a source tells it that knows protocols and places, but of ports only what names the resolver."""
    port = pl.when((pl.col("item") == item) & (pl.col("port") != 53)).then(0).otherwise("port").cast(pl.UInt16)
    return Windows(windows.items, windows.counts.with_columns(port=port))


@pytest.mark.parametrize("with_names", [False, True])
@pytest.mark.parametrize("with_ports", [False, True])
def test_scores_match_the_formula(with_names: bool, with_ports: bool) -> None:
    known = windows_of(*(days(label, label, 2) for label in ("camera", "plug", "speaker")))
    later = windows_of(days("camera", "x", 1, first=9, seed=4), days("plug", "y", 1, first=9, seed=4))
    labels = ["camera"] * 2 + ["plug"] * 2 + ["speaker"] * 2
    if with_names:
        known = named(known, {443: "cloud.example", 8883: "plug.example"})
        later = named(later, {443: "cloud.example", 123: "time.example", 53: "x.example"})
    if not with_ports:
        known, later = without_ports(known, 2), without_ports(later, 0)
    method = CrossNetwork().fit(known, labels)
    expected = np.array(
        [[max(ratio(later, known, labels, i, j) for j in (2 * c, 2 * c + 1)) for c in range(3)] for i in range(2)]
    )
    np.testing.assert_allclose(method.decision_function(later), expected, atol=1e-9)


def test_names_decide_between_devices_with_the_same_services() -> None:
    first, second = days("plug", "a", 2), days("plug", "b", 2, seed=1)
    known = windows_of(first, second)
    names = pl.when(pl.col("item") < 2).then(pl.lit("acme.example")).otherwise(pl.lit("bell.example"))
    known = Windows(known.items, known.counts.with_columns(name=names))
    later = named(windows_of(days("plug", "c", 1, first=20, seed=5)), dict.fromkeys((123, 443, 8883), "bell.example"))
    method = CrossNetwork().fit(known, ["acme", "acme", "bell", "bell"])
    assert method.labels_[int(method.decision_function(later)[0].argmax())] == "bell"
    assert "name bell.example" in {term.service for term in method.explain(later, ["bell"])[0]}


def test_places_replace_services_without_ports() -> None:
    known = windows_of(days("camera", "a", 1), days("plug", "b", 1))
    later = without_ports(windows_of(days("camera", "c", 1, first=9)), 0)
    method = CrossNetwork().fit(known, ["camera", "plug"])
    assert method.labels_[int(method.decision_function(later)[0].argmax())] == "camera"
    services = {term.service for term in method.explain(later, ["camera"])[0]}
    assert services == {"TCP wan", "TCP lan", "UDP/53 any", "all places"}
    (terms,) = method.explain(known.take([0]), ["camera"])
    assert "all places" not in {term.service for term in terms}


def test_multicast_groups_are_services_not_names() -> None:
    windows = windows_of(days("speaker", "a", 1))
    name = pl.when(pl.col("port") == 5353).then(pl.lit("ff02::fb"))
    method = CrossNetwork().fit(Windows(windows.items, windows.counts.with_columns(name=name)), ["speaker"])
    assert "UDP/5353 server multicast ff02::fb" in method.parts_["services"].names
    assert "UDP/1900 client multicast" in method.parts_["services"].names
    assert method.parts_["names"].names == []


def test_a_window_without_octets_has_no_volumes() -> None:
    known = windows_of(days("camera", "a", 1), days("plug", "b", 1))
    nothing = [pl.lit(0, dtype=pl.UInt64).alias(name) for name in ("octets_out", "octets_in")]
    more = pl.when(pl.col("port") == 53).then(9).otherwise(1).cast(pl.UInt64)
    profile = Windows(known.items, known.counts.with_columns(*nothing, packets_out=more))
    method = CrossNetwork().fit(profile, ["camera", "plug"])
    services = method.parts_["services"]
    assert services.value.tolist() == [1.0] * 6
    assert np.isnan(services.out).all()
    assert np.isnan(services.back).all()
    assert method.labels_[int(method.decision_function(known.take([1]))[0].argmax())] == "plug"


def test_terms_sum_to_the_score() -> None:
    known = windows_of(*(days(label, label, 2) for label in ("camera", "plug", "speaker")))
    known = named(known.take([0, 1, 2, 3]), {443: "cloud.example"})
    later = named(windows_of(days("camera", "x", 1, first=9, seed=4)), {443: "cloud.example"})
    nameless = windows_of(days("speaker", "s", 1))
    for library in (known, nameless):
        labels = [device.partition("-")[0] for device in library.items["device"]]
        method = CrossNetwork().fit(library, labels)
        raw = method.decision_function(later)[0]
        for column, label in enumerate(method.labels_):
            (terms,) = method.explain(later, [label])
            assert sum(term.contribution for term in terms) == pytest.approx(raw[column])


def test_a_match_says_no_more_than_its_tokens_can() -> None:
    known = windows_of(*(days(label, label, 1) for label in ("camera", "plug", "speaker")))
    labels = ["camera", "plug", "speaker"]
    method = CrossNetwork().fit(known, labels)
    resolver = known.counts.filter((pl.col("protocol") == 17) & (pl.col("port") == 53))
    assert resolver["item"].n_unique() == len(labels)
    # Every device uses the resolver: seeing nothing else of a device is no evidence for any label.
    assert method.decision_function(Windows(known.items, resolver)).max() <= 0.0
    rare = known.counts.filter(pl.col("port") == 8883)
    alone = Windows(known.items, rare).take([int(rare["item"][0])])
    assert 0.0 < method.decision_function(alone).max() <= BOUND


def test_an_entry_without_names_is_not_nearer_than_one_with_other_names() -> None:
    item = named(windows_of(days("plug", "x", 1, first=9, seed=4)), {8883: "mine.example"})
    plain = windows_of(days("plug", "a", 1), days("camera", "b", 1))
    method = CrossNetwork().fit(plain, ["plug", "camera"])
    without = method.decision_function(Windows(item.items, item.counts.with_columns(name=pl.lit(None, pl.String))))
    assert method.decision_function(item)[0] == pytest.approx(without[0] + NAMELESS)


def test_scores_do_not_depend_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    windows, labels = enrolment(4)
    method = CrossNetwork().fit(windows, labels)
    scores, reasons = method.decision_function(windows), method.explain(windows, labels)
    monkeypatch.setattr(import_module("ethogram.identify.cross_network"), "BLOCK", 5 * len(labels))
    np.testing.assert_array_equal(method.decision_function(windows), scores)
    assert method.explain(windows, labels) == reasons


def test_the_nearest_window_of_a_label_is_that_of_all_windows() -> None:
    windows, labels = enrolment()
    model = CrossNetwork().fit(windows, labels)
    parts = {part: model._tokens(windows, part) for part in model.parts}
    for asked in (labels, ["speaker"] * len(labels), labels[::-1]):
        expected = []
        for start, block in model._ratios(windows):
            for i, ratios in enumerate(block, start):
                c = model.labels_.index(asked[i])
                end = [*model.starts_[1:], len(labels)][c]
                expected.append(int(model.starts_[c] + ratios[model.starts_[c] : end].argmax()))
        assert model._nearest(parts, asked) == expected


@pytest.mark.parametrize("with_names", [False, True])
def test_ratios_to_other_windows_are_those_to_enrolled_ones(with_names: bool) -> None:
    windows, labels = enrolment()
    if with_names:
        windows = named(windows, {443: "maker.example", 8883: "broker.example"})
    model = CrossNetwork().fit(windows, labels)
    ratios = model.ratios_of(windows, windows)
    names = np.array(labels)
    best = np.stack([ratios[:, names == label].max(axis=1) for label in model.labels_], axis=1)
    np.testing.assert_allclose(best, model.decision_function(windows), atol=1e-9)
