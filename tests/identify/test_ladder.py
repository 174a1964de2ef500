"""The ladder: probabilities are consistent over levels, and every feature acts in its direction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.errors import LibraryError
from ethogram.identify.behaviour import STATISTICS, Behaviour
from ethogram.identify.ladder import KIND_PRIORS, VENDOR_PRIORS, Ladder, LadderWeights
from ethogram.identify.ladder_file import LadderFile, read_ladder, write_ladder
from ethogram.schema import LadderEvidence, LadderTerm

KINDS = ("camera", "light", "plug")
VENDORS = ("acme", "bell")
VENDOR_FEATURES = [name for name in VENDOR_PRIORS if not name.startswith("none") and name != "owner"]
KIND_FEATURES = [name for name in KIND_PRIORS if name not in ("share", "library family")]


@st.composite
def evidence(draw: st.DrawFn) -> LadderEvidence:
    value = st.floats(0.0, 12.0)
    vendor = st.builds(LadderTerm, st.just("vendor"), st.sampled_from(VENDORS), st.sampled_from(VENDOR_FEATURES), value)
    kind = st.builds(LadderTerm, st.just("kind"), st.sampled_from(KINDS), st.sampled_from(KIND_FEATURES), value)
    model = st.builds(
        lambda n, ratio, v, k: LadderTerm("model", f"{v}-{k}-{n}", "ratio", ratio, vendor=v, kind=k),
        st.integers(0, 2), st.floats(-20.0, 30.0), st.sampled_from(VENDORS), st.sampled_from(KINDS),
    )  # fmt: skip
    models = draw(st.lists(model, max_size=6, unique_by=lambda term: term.label))
    shares = draw(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3))
    return LadderEvidence(
        terms=[*draw(st.lists(vendor, max_size=6)), *draw(st.lists(kind, max_size=6)), *models],
        vendor_kinds={"acme": {kind: share / sum(shares) for kind, share in zip(KINDS, shares, strict=True)}},
        owners={"acme": "acme", "bell": "acme"},
        base_kinds=dict.fromkeys(KINDS, 1 / 3),
        named=draw(st.booleans()),
        has_mac=draw(st.booleans()),
    )


@given(evidence())
def test_no_label_is_more_probable_than_the_labels_above_it(item: LadderEvidence) -> None:
    decision = Ladder().decide([item])[0]
    assert sum(decision.vendors.values()) <= 1.0 + 1e-9
    assert sum(decision.kinds.values()) == pytest.approx(1.0)
    for vendor, p in decision.vendors.items():
        assert sum(f for (v, _), f in decision.families.items() if v == vendor) == pytest.approx(p)
    for kind, p in decision.kinds.items():
        assert sum(f for (_, k), f in decision.families.items() if k == kind) <= p + 1e-9
    for family, p in decision.families.items():
        models = [t.label for t in item.terms if t.level == "model" and (t.vendor, t.kind) == family]
        assert sum(decision.models[model] for model in models) <= p + 1e-9


def test_without_evidence_nothing_is_named() -> None:
    decision = Ladder().decide([LadderEvidence(base_kinds=dict.fromkeys(KINDS, 1 / 3))])[0]
    assert decision.vendors == {}
    assert decision.families == {}
    assert list(decision.kinds.values()) == pytest.approx([1 / 3] * 3)


def test_the_kinds_of_a_vendor_speak_for_the_kind() -> None:
    term = LadderTerm("vendor", "acme", "name strong", 1.0)
    base = dict.fromkeys(KINDS, 1 / 3)
    decision = Ladder().decide([LadderEvidence([term], {"acme": {"plug": 1.0}}, {}, base)])[0]
    assert next(iter(decision.kinds)) == "plug"
    assert decision.families["acme", "plug"] > 0.5


def test_an_operating_system_speaks_for_its_kinds_as_far_as_it_is_sure() -> None:
    base = {"phone": 0.05, "camera": 0.5, "plug": 0.45}
    kinds = {"android": {"phone": 1.0}}

    def phone(*values: float) -> float:
        terms = [LadderTerm("platform", "android", "host name platform", value) for value in values]
        return Ladder().decide([LadderEvidence(terms, base_kinds=base, platform_kinds=kinds)])[0].kinds["phone"]

    assert phone() < 0.06 < phone(0.3) < phone(1.0)
    assert phone(1.0) > 0.7
    term = LadderTerm("platform", "android", "host name platform", 1.0)
    item = LadderEvidence([term], base_kinds=base, platform_kinds=kinds)
    assert [term.feature for term, _ in Ladder().explain_kind(item, "phone")] == ["platform share"]


def test_facts_that_agree_make_a_platform_surer_and_a_module_is_no_platform() -> None:
    port = LadderTerm("platform", "tuya", "port platform", 0.6)
    module = LadderTerm("platform", "module-maker", "mac platform", 1.0)
    one, both, none = (Ladder().decide([LadderEvidence(terms, base_kinds=dict.fromkeys(KINDS, 1 / 3))])[0].platforms
                       for terms in ([port], [port, port], [module]))  # fmt: skip
    assert 0.0 < one["tuya"] < both["tuya"] < 1.0
    assert none == {}


def test_explanations_hold_the_terms_of_their_label() -> None:
    terms = [
        LadderTerm("vendor", "acme", "name strong", 1.0, "a name"),
        LadderTerm("vendor", "bell", "mac vendor", 1.0),
        LadderTerm("kind", "plug", "port strong", 1.0, "a port"),
    ]
    item = LadderEvidence(terms, {"acme": {"plug": 1.0}}, {}, dict.fromkeys(KINDS, 1 / 3))
    ladder = Ladder()
    assert [(term.text, nats) for term, nats in ladder.explain_vendor(item, "acme")] == [("a name", 4.0)]
    kinds = ladder.explain_kind(item, "plug", "acme")
    assert {term.feature for term, _ in kinds} == {"port strong", "share"}


def behaviour() -> Behaviour:
    fitted, width = Behaviour(), len(STATISTICS)
    fitted.kinds_ = ["camera", "plug"]
    fitted.mean_, fitted.spread_ = np.arange(width, dtype=np.float64), np.ones(width)
    fitted.usual_ = fitted.coefficients_ = np.full((2, width), 0.25)
    fitted.offsets_ = np.array([0.5, -0.5])
    return fitted


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    weights = LadderWeights(thresholds={"vendor": 0.7})
    write_ladder(LadderFile(weights, behaviour(), {"command": "test"}), tmp_path / "ladder.json")
    again = read_ladder(tmp_path / "ladder.json")
    assert again.weights == weights
    assert again.provenance == {"command": "test"}
    assert again.behaviour is not None
    np.testing.assert_array_equal(again.behaviour.coefficients_, behaviour().coefficients_)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("ethogram.ladder/3", "ethogram.ladder/9"), "not of the form"),
        (('"name strong"', '"name weird"'), "features differ"),
        (('"camera"', "3, 4"), "shape"),
        (("0.25", "null"), "not valid"),
        (("{", "["), "cannot be read"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: tuple[str, str], reason: str) -> None:
    path = tmp_path / "ladder.json"
    write_ladder(LadderFile(LadderWeights(), behaviour()), path)
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(LibraryError, match=reason):
        read_ladder(path)
