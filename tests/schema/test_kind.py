"""Kinds of devices: one closed list that agrees with the coarse classes of the corpora."""

from __future__ import annotations

from ethogram.corpora.card import COARSE
from ethogram.schema import KINDS


def test_slugs_and_labels_are_unique() -> None:
    assert all(slug == kind.slug for slug, kind in KINDS.items())
    assert len({kind.label for kind in KINDS.values()}) == len({kind.plural for kind in KINDS.values()}) == len(KINDS)


def test_coarse_classes_are_those_of_the_corpora() -> None:
    assert {kind.coarse for kind in KINDS.values()} == {*COARSE.values(), "other"}
    for slug, coarse in COARSE.items():
        assert slug not in KINDS or KINDS[slug].coarse == coarse
    assert all(kind.iot == (kind.coarse != "non-iot") for kind in KINDS.values())
