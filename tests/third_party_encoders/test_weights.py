"""Weights that a user brings: what is read, what is refused and why, and that nothing in a file is run."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ethogram.errors import ConfigurationError, LibraryError
from ethogram.third_party_encoders import adapter
from ethogram.third_party_encoders.checkpoint import read_checkpoint, shapes_of, take


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False))


EXPECTED = {"0.weight": (4, 3), "0.bias": (4,), "1.weight": (2, 4)}


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {name: torch.randn(shape, generator=generator) for name, shape in EXPECTED.items()}


def saved(path: Path, value: Any, *, legacy: bool = False) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(LibraryError) as caught:
        read_checkpoint(path, EXPECTED, **options)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text
    return text


def test_the_expected_list_needs_no_memory() -> None:
    assert shapes_of(network) == EXPECTED


@pytest.mark.parametrize("form", ["archive", "legacy", "safetensors"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_form_of_file_gives_the_same_weights(tmp_path, weights, form, prefix) -> None:
    named = {prefix + name: value for name, value in weights.items()}
    path = tmp_path / "given.bin"
    if form == "safetensors":
        save_file(named, path)
    else:
        saved(path, named, legacy=form == "legacy")
    read = read_checkpoint(path, EXPECTED)
    assert set(read.tensors) == set(EXPECTED)
    assert all(torch.equal(read.tensors[name], weights[name]) for name in EXPECTED)
    net = network()
    take(net, read.tensors)
    assert torch.equal(net[0].bias, weights["0.bias"])


def test_the_digest_is_that_of_the_file(tmp_path, weights) -> None:
    import hashlib

    path = saved(tmp_path / "given.bin", weights)
    read = read_checkpoint(path, EXPECTED)
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read.origin == f"checkpoint sha256:{read.sha256[:16]}"


@pytest.mark.parametrize("outer", ["model", "state_dict"])
def test_weights_inside_what_a_training_left(tmp_path, weights, outer) -> None:
    left = {outer: weights, "epoch": 3, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "lr": [1e-3]}}
    left["args"] = argparse.Namespace(lr=1e-3, output="x")
    assert set(read_checkpoint(saved(tmp_path / "m.pth", left), EXPECTED).tensors) == set(EXPECTED)


def test_heads_are_ignored_and_said(tmp_path, weights) -> None:
    path = saved(tmp_path / "m.bin", weights | {"target.mlm.weight": torch.zeros(2), "target.mlm.bias": torch.zeros(1)})
    read = read_checkpoint(path, EXPECTED, heads=("target.",))
    assert read.ignored == ("target.mlm.bias", "target.mlm.weight")
    assert read.origin.endswith("2 weights of heads ignored")
    assert "2 weights of other names: target.mlm.bias, target.mlm.weight" in refused(path)


def test_half_precision_becomes_float32(tmp_path, weights) -> None:
    path = saved(tmp_path / "m.bin", {name: value.half() for name, value in weights.items()})
    read = read_checkpoint(path, EXPECTED)
    assert read.tensors["0.weight"].dtype == torch.float32
    assert torch.equal(read.tensors["0.weight"], weights["0.weight"].half().float())


class Evil:
    """A pickle that makes a file when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("form", ["archive", "legacy", "pickle", "inside"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, weights, form) -> None:
    mark = tmp_path / "was-run"
    path = tmp_path / "evil.bin"
    if form == "pickle":
        path.write_bytes(pickle.dumps({"0.weight": Evil(mark)}))
    else:
        value: Any = {**weights, "x": Evil(mark)} if form == "inside" else Evil(mark)
        saved(path, value, legacy=form == "legacy")
    text = refused(path)
    assert not mark.exists()
    assert "not run" in text or "no file of torch" in text


def test_a_pickle_of_something_else_says_what_it_asks_for(tmp_path, weights) -> None:
    path = saved(tmp_path / "m.bin", {**weights, "x": Evil(tmp_path / "mark")})
    assert "it asks for" in refused(path)


@pytest.mark.parametrize("form", ["archive", "legacy", "safetensors"])
def test_every_cut_is_refused(tmp_path, weights, form) -> None:
    whole = tmp_path / "whole"
    if form == "safetensors":
        save_file(weights, whole)
    else:
        saved(whole, weights, legacy=form == "legacy")
    content = whole.read_bytes()
    cut = tmp_path / "cut"
    for length in range(0, len(content), max(len(content) // 97, 1)):
        cut.write_bytes(content[:length])
        assert str(cut) in refused(cut)


@pytest.mark.parametrize("form", ["archive", "legacy", "safetensors"])
def test_damage_is_refused_or_changes_numbers_only(tmp_path, weights, form) -> None:
    path, random = tmp_path / "whole", Random(7)
    if form == "safetensors":
        save_file(weights, path)
    else:
        saved(path, {"model": weights, "epoch": 1}, legacy=form == "legacy")
    content = path.read_bytes()
    for _ in range(100):
        damaged = bytearray(content)
        for _ in range(random.randint(1, 6)):
            at = random.randrange(len(damaged))
            match random.randrange(3):
                case 0:
                    damaged[at] = random.randrange(256)
                case 1:
                    damaged[at:at] = random.randbytes(random.randint(1, 4))
                case _:
                    del damaged[at : at + random.randint(1, 4)]
        path.write_bytes(damaged)
        try:
            read = read_checkpoint(path, EXPECTED)
        except LibraryError as error:
            assert "\n" not in str(error)
        else:
            assert {name: tuple(value.shape) for name, value in read.tensors.items()} == EXPECTED


def test_names_shapes_and_kinds(tmp_path, weights) -> None:
    path = tmp_path / "m.bin"
    less = {name: value for name, value in weights.items() if name != "0.bias"}
    assert "1 of 3 weights are missing: 0.bias" in refused(saved(path, less))
    assert read_checkpoint(path, EXPECTED, optional={"0.bias"}).tensors.keys() == less.keys()
    assert "1 weights of other names: 2.weight" in refused(saved(path, weights | {"2.weight": torch.zeros(1)}))
    assert "0.bias is [5], not [4]" in refused(saved(path, weights | {"0.bias": torch.zeros(5)}))
    assert "0.bias is [1, 4], not [4]" in refused(saved(path, weights | {"0.bias": torch.zeros(1, 4)}))
    assert "int64, not plain floats" in refused(saved(path, weights | {"0.bias": torch.zeros(4, dtype=torch.long)}))
    assert "not finite" in refused(saved(path, weights | {"0.bias": torch.full((4,), torch.nan)}))
    sparse = weights | {"0.bias": torch.zeros(4).to_sparse()}
    assert "not plain floats" in refused(saved(path, sparse))
    assert "no weight but int" in refused(saved(path, weights | {"epoch": 3}))
    assert "no weights by name" in refused(saved(path, {}))
    assert "no weights by name" in refused(saved(path, [1, 2]))
    assert "no weights by name" in refused(saved(path, torch.zeros(3)))


def test_what_is_no_file_of_weights(tmp_path) -> None:
    path = tmp_path / "m.bin"
    assert "No such file" in refused(path)
    path.write_bytes(b"")
    assert "neither" in refused(path)
    path.write_text("PKnot really")
    assert "no file of torch" in refused(path)
    path.write_bytes(b"\x7fELF" + bytes(60))
    assert "neither" in refused(path)
    assert "directory" in refused(tmp_path)


def test_an_archive_that_grows_when_read(tmp_path, weights) -> None:
    path, packed = saved(tmp_path / "m.bin", weights), tmp_path / "packed.bin"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
        target.writestr("m/zeros", bytes(1 << 20))
    assert "packed" in refused(packed)


def test_views_of_little_memory_cannot_ask_for_much(tmp_path, weights) -> None:
    """A tensor may repeat one number a billion times; its shape is looked at before its numbers are."""
    huge = torch.zeros(1).expand(1 << 40)
    assert "0.bias is [1099511627776], not [4]" in refused(saved(tmp_path / "m.bin", weights | {"0.bias": huge}))


def test_the_table_of_names() -> None:
    with pytest.raises(ConfigurationError, match=r"no third-party encoder 'gpt'; there are et-bert, traffic-former"):
        adapter("gpt")
