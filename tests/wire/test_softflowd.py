"""Captures through softflowd, its export through our decoder and pairing: the flows of our own meter."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = [pytest.mark.wire, pytest.mark.filterwarnings("ignore::ethogram.errors.EthogramWarning")]

EVERY = 9
"""Each of so many captures is taken; the program in the benchmarks takes all."""


@pytest.fixture(scope="module")
def roundtrip() -> ModuleType:
    folder = str(Path(__file__).parents[2] / "benchmarks" / "wire")
    sys.path.insert(0, folder)
    try:
        import roundtrip as module
    finally:
        sys.path.remove(folder)
    return module


def test_what_softflowd_exports_is_what_our_meter_sees(roundtrip: ModuleType, wire: Path) -> None:
    softflowd = roundtrip.program()
    if softflowd is None:
        pytest.skip("softflowd is not installed: there is no export to compare with")
    captures = roundtrip.simple_captures(wire)
    assert len(captures) == 473
    scores = roundtrip.score(softflowd, captures[::EVERY])
    assert list(scores) == ["IPFIX", "IPFIX, biflows", "NetFlow v9"]
    for item in scores.values():
        assert item.captures == 53
        assert set(item.packets_differ) <= roundtrip.EXPLAINED
        assert item.flows > 300
        assert item.octets_differ, "padding is counted by softflowd: were there none, nothing was compared"
