"""Laws of every parser: whatever octets it is given, it raises our errors or nothing, and its sums hold.

The parsers are those of the fuzz targets, so that each new one is held to these laws because it exists.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.harness import Target
from fuzz.targets import TARGETS

LAW = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=16, database=None)
EVERY_OCTET = 300
"""Up to this length an input is cut behind each octet; of a longer one, that many cuts are spread over it."""


@functools.cache
def seeds_of(name: str) -> list[bytes]:
    return TARGETS[name].seeds()


@pytest.mark.parametrize("name", TARGETS)
def test_random_octets_raise_our_errors_or_nothing(name: str) -> None:
    @LAW
    @given(st.binary(max_size=400))
    def law(octets: bytes) -> None:
        TARGETS[name].check(octets)

    law()


@pytest.mark.parametrize("name", TARGETS)
def test_random_octets_behind_a_sound_beginning_raise_our_errors_or_nothing(name: str) -> None:
    seeds = seeds_of(name)

    @LAW
    @given(st.sampled_from(range(len(seeds))), st.floats(0, 1), st.binary(max_size=200))
    def law(number: int, share: float, octets: bytes) -> None:
        seed = seeds[number]
        TARGETS[name].check(seed[: int(len(seed) * share)] + octets)

    law()


def mutations(target: Target, seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """A sound input with up to four pieces replaced, left out or put in."""
    piece = st.one_of(st.binary(max_size=8), st.sampled_from([*(target.words or (b"",)), b"\xff\xff\xff\xff", b"\0\0"]))
    change = st.tuples(st.floats(0, 1), st.integers(0, 8), piece)

    def changed(number: int, changes: list[tuple[float, int, bytes]]) -> bytes:
        octets = bytearray(seeds[number])
        for share, length, new in changes:
            at = int(len(octets) * share)
            octets[at : at + length] = new
        return bytes(octets)

    return st.builds(changed, st.sampled_from(range(len(seeds))), st.lists(change, min_size=1, max_size=4))


@pytest.mark.parametrize("name", TARGETS)
def test_a_sound_input_with_pieces_changed_raises_our_errors_or_nothing(name: str) -> None:
    target = TARGETS[name]

    @LAW
    @given(mutations(target, seeds_of(name)))
    def law(octets: bytes) -> None:
        target.check(octets)

    law()


@pytest.mark.parametrize("name", TARGETS)
def test_an_input_cut_behind_any_octet_raises_our_errors_or_nothing(name: str) -> None:
    target = TARGETS[name]
    # The shortest seed: all that a format has stands in it too, and each octet can be tried.
    seed = min(seeds_of(name), key=len)
    slow = slowness(lambda: target.check(seed))
    cuts = min(len(seed), max(int(1.5 / slow), 24), EVERY_OCTET)
    for number in range(cuts):
        target.check(seed[: len(seed) * number // cuts])


def slowness(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    import time

    call()
    begin = time.perf_counter()
    call()
    return max(time.perf_counter() - begin, 1e-5)
