"""The page about encoders of others: its tables say what the code says, and each refusal is refused in those words."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

import pytest
import torch

from ethogram.bench.encoders import adapter
from ethogram.bench.encoders.bigrams import SPECIAL, Vocabulary
from ethogram.bench.encoders.checkpoint import read_checkpoint
from ethogram.bench.encoders.interface import HERE, NAMES, expected
from ethogram.bench.encoders.pretraining import PretrainingSettings
from ethogram.bench.flows.task import flow_methods, flow_tasks
from ethogram.errors import LibraryError
from packet_flows_made import drawn

PAGE = (Path(__file__).parent.parent.parent / "docs" / "howto" / "pretrained-encoders.md").read_text("utf-8")


def rows(heading: str) -> list[list[str]]:
    """Cells of the first table under a heading."""
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    table = re.search(r"(\|.*\|\n)+", part)
    assert table
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table[0].splitlines()[2:]]


def test_the_table_has_every_encoder_and_its_parameters() -> None:
    found = {row[0].strip("`"): row for row in rows("The table")}
    assert tuple(found) == NAMES
    for name, row in found.items():
        count = sum(prod(shape) for shape in expected(name).values())
        assert row[2].split(" (")[0] == f"{count:,}", name
    assert [row[0].strip("`") for row in rows("Where to get weights")] == list(NAMES)
    assert [row[0].strip("`") for row in rows("Pretrained here")] == list(HERE)


@pytest.mark.parametrize("name", ["yatc", "netmamba", "nprint"])
def test_the_table_says_what_the_facts_say(name) -> None:
    row = next(row for row in rows("The table") if row[0] == f"`{name}`")
    facts = adapter(name).facts
    assert row[4] == facts.licence
    assert row[3].startswith(f"{facts.d}," if name != "nprint" else "1,088 a packet")
    said = facts.source.removeprefix("CCS 2021, ")
    assert said in row[5] or "doi" in said


def test_commands_and_settings_are_there() -> None:
    for command in re.findall(r"^\$ ethogram bench (\S+)", PAGE, flags=re.MULTILINE):
        assert command in flow_tasks()
    assert "et-bert" in flow_methods()
    part = PAGE.split("Settings, with their names:")[1].split("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", part)) - {"auto"}
    assert named == set(PretrainingSettings.model_fields)
    for name, value in re.findall(r"`(\w+)`\s+([\d.e-]+)", part):
        assert float(value) == float(getattr(PretrainingSettings(), name))


def test_what_is_refused_is_refused_in_those_words(tmp_path) -> None:
    weights = {"a.weight": torch.zeros(2, 2)}
    wanted = {"a.weight": (2, 2)}
    path = tmp_path / "m.bin"

    class System:
        def __reduce__(self):
            import os

            return os.system, ("true",)

    said = []

    def refused(value) -> None:
        torch.save(value, path)
        with pytest.raises(LibraryError) as caught:
            read_checkpoint(path, wanted)
        said.append(str(caught.value).removeprefix(f"{path}: "))

    refused({**weights, "x": System()})
    assert said[-1] in PAGE
    refused({**weights, "b": torch.zeros(1), "c": torch.zeros(1)})
    assert said[-1].startswith("2 weights of other names: ")
    assert "`2 weights of other names: …`" in PAGE
    refused({"a.weight": torch.zeros(2, 2, dtype=torch.long)})
    assert said[-1] == "a.weight holds int64, not plain floats"
    assert "`… holds int64, not plain floats`" in PAGE
    refused({"a.weight": torch.full((2, 2), torch.inf)})
    assert said[-1].removeprefix("a.weight ") == "has numbers that are not finite"
    assert "`… has numbers that are not finite`" in PAGE
    refused({"a.weight": torch.zeros(3, 2)})
    assert said[-1] == "a.weight is [3, 2], not [2, 2]"
    refused({})
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


def test_the_program_of_what_learns_here_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(from ethogram.bench.encoders.pretraining.*?)```", PAGE, re.DOTALL)
    quick = program.replace("steps=600", "steps=1, batch=2, widths={'layers': 1, 'hidden': 8, 'heads': 1}")
    given = {"packets": drawn(4, most=2), "Path": Path, "adapter": adapter}
    exec(compile(quick, "pretrained-encoders.md", "exec"), given)
    assert given["same"].digest == given["made"].digest
