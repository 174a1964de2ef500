"""Where the tests find real traffic. Without it they skip, and say so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test asserts a time, and a busy machine is no error.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def folder_from(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: real traffic is not at hand")
    folder = Path(value)
    if not folder.is_dir():
        pytest.skip(f"{variable} names {value}, which is no folder")
    return folder


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The labelled traffic (ETHOGRAM_CORPUS)."""
    return folder_from("ETHOGRAM_CORPUS")


@pytest.fixture(scope="session")
def wire() -> Path:
    """Captures and datagrams with reference outputs (ETHOGRAM_WIRE)."""
    return folder_from("ETHOGRAM_WIRE")
