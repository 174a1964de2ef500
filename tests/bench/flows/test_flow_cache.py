"""What runs share on disk: whole or not at all, and made by one process at a time."""

from __future__ import annotations

import fcntl
from pathlib import Path

import numpy as np
import pytest

from ethogram._files import file_lock
from ethogram.bench.flows.cache import read_embedded, write_embedded

FOUND = np.array([2, 5]), np.array([[1.0], [2.0]], np.float32), {"flows": 2.0, "seconds": 0.5}


def test_embeddings_come_again_and_leave_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "embeddings" / "a.npz"
    assert read_embedded(path) is None
    write_embedded(path, FOUND)
    again = read_embedded(path)
    assert again is not None
    assert again[0].tolist() == [2, 5] and again[1].tolist() == [[1.0], [2.0]] and again[2] == FOUND[2]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("kept", [0, 3, 100, -1])
def test_a_cut_file_is_as_good_as_none(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.npz"
    write_embedded(path, FOUND)
    path.write_bytes(path.read_bytes()[:kept])
    assert read_embedded(path) is None


def test_only_one_process_makes_an_encoder(tmp_path: Path) -> None:
    path = tmp_path / "encoders" / "abc"
    with file_lock(path), path.with_name("abc.lock").open("ab") as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with file_lock(tmp_path / "encoders" / "another"):
            pass
    with path.with_name("abc.lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
