"""Tests of the fuzz targets: their seeds are valid, and a short run of mutations finds nothing."""

from __future__ import annotations

import random

import pytest

from .harness import shortened
from .mutate import mutated
from .targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    assert seeds
    assert all(0 < len(seed) <= 1 << 14 for seed in seeds)
    for seed in seeds:
        target.check(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_of_seeds_find_nothing(name: str) -> None:
    target, chance = TARGETS[name], random.Random(name)
    seeds = target.seeds()
    for _ in range(16):
        target.check(mutated(chance.choice(seeds), chance, target.words))


def test_a_finding_is_minimised() -> None:
    assert shortened(b"some octets before #and after", lambda data: b"#" in data) == b"#"
