"""The page about published encoders: its tables match the code, and its error messages are raised."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

import pytest
import torch

from ethogram.bench.flows.task import flow_methods, flow_tasks
from ethogram.errors import LibraryError
from ethogram.third_party_encoders import adapter
from ethogram.third_party_encoders.bigrams import SPECIAL, Vocabulary
from ethogram.third_party_encoders.checkpoint import read_checkpoint
from ethogram.third_party_encoders.interface import ADAPTERS, expected
from ethogram.third_party_encoders.pretraining import PretrainingSettings
from packet_flows_made import drawn

PAGE = (Path(__file__).parent.parent.parent / "docs" / "howto" / "pretrained-encoders.md").read_text("utf-8")


def rows(heading: str) -> list[list[str]]:
    """Cells of the first table under a heading."""
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    table = re.search(r"(\|.*\|\n)+", part)
    assert table
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table[0].splitlines()[2:]]


def test_table_lists_every_encoder_with_its_parameters() -> None:
    by_name = {row[0].strip("`"): row for row in rows("The table")}
    published = [name for name, kind in ADAPTERS.items() if not kind.trained]
    assert list(by_name) == published
    for name, row in by_name.items():
        count = sum(prod(shape) for shape in expected(name).values())
        assert row[2].split(" (")[0] == f"{count:,}", name
    assert [row[0].strip("`") for row in rows("Where to get weights")] == published
    trained = [name for name, kind in ADAPTERS.items() if kind.trained]
    assert [row[0].strip("`") for row in rows("Pretrained here")] == trained


@pytest.mark.parametrize("name", ["yatc", "netmamba", "nprint"])
def test_table_matches_the_facts_of_the_adapter(name) -> None:
    row = next(row for row in rows("The table") if row[0] == f"`{name}`")
    facts = adapter(name).facts
    assert row[4] == facts.licence
    assert row[3].startswith(f"{facts.d}," if name != "nprint" else "1,088 a packet")
    source = facts.source.removeprefix("CCS 2021, ")
    assert source in row[5] or "doi" in source


def test_commands_and_settings_exist() -> None:
    for command in re.findall(r"^\$ ethogram bench (\S+)", PAGE, flags=re.MULTILINE):
        assert command in flow_tasks()
    assert "et-bert" in flow_methods()
    part = PAGE.split("Settings, with their names:")[1].split("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", part)) - {"auto"}
    assert named == set(PretrainingSettings.model_fields)
    for name, value in re.findall(r"`(\w+)`\s+([\d.e-]+)", part):
        assert float(value) == float(getattr(PretrainingSettings(), name))


def test_rejected_files_raise_the_documented_messages(tmp_path) -> None:
    weights = {"a.weight": torch.zeros(2, 2)}
    wanted = {"a.weight": (2, 2)}
    path = tmp_path / "m.bin"

    class System:
        def __reduce__(self):
            import os

            return os.system, ("true",)

    messages = []

    def rejected(value) -> None:
        torch.save(value, path)
        with pytest.raises(LibraryError) as caught:
            read_checkpoint(path, wanted)
        messages.append(str(caught.value).removeprefix(f"{path}: "))

    rejected({**weights, "x": System()})
    assert messages[-1] in PAGE
    rejected({**weights, "b": torch.zeros(1), "c": torch.zeros(1)})
    assert messages[-1].startswith("2 weights of other names: ")
    assert "`2 weights of other names: …`" in PAGE
    rejected({"a.weight": torch.zeros(2, 2, dtype=torch.long)})
    assert messages[-1] == "a.weight holds int64, not plain floats"
    assert "`… holds int64, not plain floats`" in PAGE
    rejected({"a.weight": torch.full((2, 2), torch.inf)})
    assert messages[-1].removeprefix("a.weight ") == "has numbers that are not finite"
    assert "`… has numbers that are not finite`" in PAGE
    rejected({"a.weight": torch.zeros(3, 2)})
    assert messages[-1] == "a.weight is [3, 2], not [2, 2]"
    rejected({})
    for text in (
        "its archive is packed, which torch never does",
        "no file of torch, or cut short: …",
        "neither safetensors nor a file of torch",
        f"its first lines are not {' '.join(SPECIAL)}",
    ):
        assert text in PAGE
    (tmp_path / "v.txt").write_text("\n".join(SPECIAL))
    with pytest.raises(LibraryError, match="5 tokens, not 60,005"):
        Vocabulary.read(tmp_path / "v.txt", 60_005)


def test_pretraining_example_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(from ethogram.third_party_encoders.pretraining.*?)```", PAGE, re.DOTALL)
    quick = program.replace("steps=600", "steps=1, batch=2, widths={'layers': 1, 'hidden': 8, 'heads': 1}")
    names = {"packets": drawn(4, most=2), "Path": Path, "adapter": adapter}
    exec(compile(quick, "pretrained-encoders.md", "exec"), names)
    assert names["same"].digest == names["made"].digest
