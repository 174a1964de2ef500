"""Stores on both databases."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import postgresql
from ethogram.config import JudgeSettings
from ethogram.serve.store import Store


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.Server]:
    if reason := postgresql.missing():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        Path(folder).chmod(0o755)
        with postgresql.running(Path(folder) / "data") as server:
            yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def store_place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store can be made."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    server: postgresql.Server = request.getfixturevalue("postgresql_server")
    return server.new_database()


@pytest.fixture
def open_store(store_place: str) -> Iterator[Callable[..., Store]]:
    """Opens the store, again and again."""
    opened: list[Store] = []

    def open_it(**settings: object) -> Store:
        opened.append(Store.open(store_place, JudgeSettings.of(**settings)))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()
