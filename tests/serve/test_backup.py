"""Backups hold everything that cannot be computed again, and move between databases."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from ethogram.cli import app
from ethogram.errors import InputError
from ethogram.serve.store import Store
from ethogram.serve.store.tables import METADATA
from serve.store_rows import HOUR, document, judge, see, sighting

Open = Callable[..., Store]


def filled(store: Store) -> str:
    """A store with rows in every table but sessions; returns the token of its user."""
    one, two, three = see(store, *(sighting(f"10.0.0.{i}", host_names=(f"h-{i}",)) for i in (2, 3, 4)))
    judge(store, one, document())
    store.label(one, "porch \x1b é", "ana", kind="camera")
    store.note(two, "note", "ana")
    store.merge(two, three, "ana")
    store.record_groups([([three], ["TCP/443"])])
    store.open_session("ana", HOUR) if store.users() else None
    return store.create_user("ana", "editor")


def content(store: Store) -> dict[str, list[tuple[object, ...]]]:
    with store._reading() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in METADATA.sorted_tables
        }


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_a_backup_is_restored_in_both_databases(
    open_store: Open, tmp_path: Path, target: str, request: pytest.FixtureRequest
) -> None:
    store, path = open_store(), tmp_path / "home.backup"
    token = filled(store)
    rows = store.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    server = request.getfixturevalue("postgresql_server") if target == "postgresql" else None
    place = str(tmp_path / "new.db") if server is None else server.new_database()
    with Store.restore(path, place) as restored:
        assert content(restored) == content(store)
        assert sum(len(each) for each in content(restored).values()) == rows
        assert restored.user_of(token) is not None
        see(restored, sighting("10.0.0.9"))
        assert restored.devices().total == 3
    with pytest.raises(InputError, match="is not empty"):
        Store.restore(path, place)


@pytest.mark.parametrize("damage", ["cut", "text", "row", "lines"])
def test_a_damaged_backup_is_refused_and_leaves_nothing(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "home.backup"
    with Store.open(tmp_path / "store.db") as store:
        filled(store)
        store.save(path)
    content = path.read_bytes()
    lines = gzip.decompress(content).splitlines(keepends=True)
    path.write_bytes({
        "cut": content[: len(content) // 2], "text": b"something else",
        "row": gzip.compress(b"".join([*lines[:3], b'["device", 3]\n', *lines[3:]])),
        "lines": gzip.compress(b"".join(lines[:-4] + lines[-1:])),
    }[damage])  # fmt: skip
    with pytest.raises(InputError, match=str(path)):
        Store.restore(path, tmp_path / "new.db")
    with Store.open(tmp_path / "new.db") as store:
        assert store.devices().total == 0


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, path = tmp_path / "data", tmp_path / "home.backup"
    data.mkdir()
    with Store.open(data / "store.db") as store:
        filled(store)
    assert app.main(["backup", "--data", str(data), "-o", str(path)]) == 0
    assert app.main(["restore", str(path), "--data", str(tmp_path / "other")]) == 0
    assert "2 devices restored" in capsys.readouterr().err
    assert app.main(["restore", str(path), "--data", str(data)]) == 3
    assert app.main(["backup", "--data", str(tmp_path / "none"), "-o", str(path)]) == 3
    capsys.readouterr()
    assert app.main(["users", "--data", str(data), "--add", "grafana"]) == 0
    token = capsys.readouterr().out.strip()
    assert app.main(["users", "--data", str(data)]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["ana", "editor"], ["grafana", "viewer"],
    ]  # fmt: skip
    assert app.main(["users", "--data", str(data), "--new-token", "grafana"]) == 0
    with Store.open(data / "store.db") as store:
        assert store.user_of(token) is None
        fresh = store.user_of(capsys.readouterr().out.strip())
        assert fresh is not None and fresh.name == "grafana"
    assert app.main(["users", "--data", str(data), "--remove", "grafana"]) == 0
    for wrong in (["--remove", "ana"], ["--remove", "x"], ["--editor"], ["--add", "x", "--remove", "y"]):
        assert app.main(["users", "--data", str(data), *wrong]) == 2
    with Store.open(data / "store.db") as store:
        assert [entry.action for entry in store.audit(limit=3)] == ["remove user", "new token", "add user"]
