"""The linear encoder of fields: the decomposition of the whole matrix, on disk, in ONNX Runtime; what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from custom_flows_made import made
from ethogram.config import EncoderSettings, LinearFieldSettings
from ethogram.errors import InputError, LibraryError
from ethogram.representation.build import load_encoder
from ethogram.representation.checkpoint import read_arrays, save, write_arrays
from ethogram.representation.encoder import Encoder, digest_of
from ethogram.representation.export_onnx import export_linear_fields
from ethogram.representation.field_columns import FieldPlan, describe
from ethogram.representation.inference import OnnxEncoder
from ethogram.representation.kinds import kind_of
from ethogram.representation.linear_fields import LinearFieldEncoder, linear_fields, number_columns
from ethogram.representation.vector import expand
from ethogram.representation.views import view_of
from ethogram.schema import CustomFlows

FLOWS = made(700, 3)
SMALL = EncoderSettings(kind="linear-fields", d=6, linear=LinearFieldSettings(grams=32, buckets=256))
LAYOUT = {"default": SMALL, "no ports": SMALL.model_copy(update={"view": "full/no-address/no-ports"})}


def batches(size: int) -> Callable[[], Iterator[CustomFlows]]:
    return lambda: (FLOWS.take(slice(i, i + size)) for i in range(0, len(FLOWS), size))


def learnt(settings: EncoderSettings = SMALL, size: int = 150) -> LinearFieldEncoder:
    return linear_fields(settings, batches(size))


def written(folder: Path, settings: EncoderSettings = SMALL) -> LinearFieldEncoder:
    encoder = learnt(settings)
    save(folder / "encoder.safetensors", encoder.header, encoder.tensors)
    (folder / "encoder.onnx").write_bytes(export_linear_fields(encoder.header, encoder.tensors))
    return encoder


def twin(settings: EncoderSettings) -> NDArray[np.float64]:
    """Embeddings by the definition: one matrix of all flows, cell by cell, and its singular value decomposition."""
    own, view = settings.linear, view_of(settings.view)
    assert settings.reads is not None
    plan = FieldPlan(settings.reads)
    columns = describe(expand(FLOWS, view), view, settings.reads).astype(np.float64)
    kinds = [(columns[:, [0]] == value) * 1.0 for value in range(4)]
    kinds += [
        (columns[:, [side]] == value) * 1.0 for side in (1, 2) for value in range(int(columns[:, side].max()) + 1)
    ]
    dense = np.hstack([columns[:, number_columns(plan)], *kinds])
    # Ports that no flow has never vary; they count among the fields nonetheless.
    width = learnt(settings).tensors["remote_port"].shape[0] * 2 + 4 + number_columns(plan).size
    spread = dense.std(0)
    scaled = np.zeros_like(dense)
    moves = spread > 1e-8
    scaled[:, moves] = (dense - dense.mean(0))[:, moves] / spread[moves] * own.numbers / np.sqrt(width)
    limit = own.limit * own.numbers / np.sqrt(width)
    words = np.zeros((len(FLOWS), own.buckets))
    for i, row in enumerate(columns[:, plan.grams].astype(int)):
        for piece in row[row > 0]:
            words[i, piece - 1] = 1.0
    have = words.sum(0)
    words *= np.where(have >= own.least, np.maximum(np.log(len(FLOWS) / (have + 1)), 0), 0) * own.text
    joined = np.hstack([scaled.clip(-limit, limit), words])
    _, _, directions = np.linalg.svd(joined, full_matrices=False)
    z = joined @ directions[: settings.latent].T
    variance = z.var(0)
    return np.asarray(z * variance**-0.25 * variance.max() ** -0.25)


@pytest.mark.parametrize("name", LAYOUT)
def test_it_is_the_decomposition_of_the_whole_matrix(name: str) -> None:
    settings = LAYOUT[name]
    z, by_definition = learnt(settings).encode(expand(FLOWS, settings.view)), twin(settings)
    assert z.dtype == np.float32
    assert z.shape == (700, 6)
    assert np.abs(np.abs(z) - np.abs(by_definition)).max() < 2e-3
    assert z.std(0).max() == pytest.approx(1.0, rel=1e-3)
    assert z.std(0).min() > 0.05


def test_batches_make_no_difference_and_the_same_flows_give_the_same_bits() -> None:
    first, again, whole = learnt(), learnt(), learnt(size=700)
    assert first.digest == again.digest == first.header.weights
    x = expand(FLOWS)
    assert np.abs(first.encode(x) - whole.encode(x)).max() < 1e-3
    devices = CustomFlows.concat([replace(FLOWS, device=FLOWS.device.shuffle(1))])
    unlabelled = linear_fields(SMALL, lambda: [devices.take(slice(i, i + 150)) for i in range(0, 700, 150)])
    assert unlabelled.digest == first.digest


def test_what_it_kept_is_bounded_whatever_number_of_flows() -> None:
    shapes = {name: value.shape for name, value in learnt().tensors.items()}
    assert shapes["text"] == (256, 6)
    assert shapes["numbers"] == (6, 132)
    many = linear_fields(SMALL, lambda: (FLOWS for _ in range(3)))
    assert {name: value.shape for name, value in many.tensors.items()} == shapes


@pytest.mark.parametrize("name", LAYOUT)
def test_on_disk_and_in_onnx_runtime_it_gives_the_same(name: str, tmp_path: Path) -> None:
    encoder = written(tmp_path, LAYOUT[name])
    x = expand(FLOWS, LAYOUT[name].view)
    z = encoder.encode(x)
    assert isinstance(encoder, Encoder)
    assert np.abs(encoder.embed(FLOWS) - z).max() < 1e-5
    assert np.abs(encoder.embed(FLOWS, np.array([5, 3])) - z[[5, 3]]).max() < 1e-5
    assert encoder.embed(FLOWS, np.arange(0)).shape == (0, 6)
    loaded = load_encoder(tmp_path)
    assert loaded.header == encoder.header
    assert np.array_equal(loaded.encode(x), z)
    for threads in (1, 2):
        exported = OnnxEncoder(tmp_path, threads)
        assert exported.digest == encoder.digest
        assert np.abs(exported.encode(x) - z).max() < 1e-5
        assert np.abs(exported.embed(FLOWS) - z).max() < 1e-5


def test_it_has_no_decoder(tmp_path: Path) -> None:
    encoder = written(tmp_path)
    for item in (encoder, load_encoder(tmp_path), OnnxEncoder(tmp_path)):
        with pytest.raises(LibraryError, match="has no decoder"):
            item.decode(np.zeros((1, 6), np.float32))
    assert not kind_of(SMALL).decodes
    assert kind_of(EncoderSettings(kind="pca")).decodes


def test_flows_that_are_too_few_or_change_are_refused() -> None:
    with pytest.raises(InputError, match="5 flows are too few for 6 directions"):
        linear_fields(SMALL, lambda: [FLOWS.take(slice(0, 5))])
    readings = iter([FLOWS, FLOWS.take(slice(0, 600))])
    with pytest.raises(ValueError, match="700 flows at the first reading, 600 at the second"):
        linear_fields(SMALL, lambda: [next(readings)])
    wide = EncoderSettings(kind="linear-fields", d=650, linear=LinearFieldSettings(grams=1, buckets=16))
    with pytest.raises(InputError, match=r"650 directions of .* fields and text fragments"):
        linear_fields(wide, batches(700))


def test_flows_that_are_all_alike_give_numbers_all_the_same() -> None:
    first = FLOWS.take(np.zeros(50, np.int64))
    z = linear_fields(SMALL, lambda: [first]).encode(expand(FLOWS))
    assert np.isfinite(z).all()


class TestRefusals:
    """Whatever is wrong with a file is one line."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        written(tmp_path)
        return tmp_path

    def assert_refused(self, path: Path, why: str) -> None:
        opened = OnnxEncoder if path.suffix == ".onnx" else load_encoder
        with pytest.raises(LibraryError, match=why) as caught:
            opened(path)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 4

    @pytest.mark.parametrize("name", ["middle", "scale", "numbers", "protocol", "remote_port", "device_port", "text",
                                      "bias"])  # fmt: skip
    def test_every_shape_is_checked(self, folder: Path, name: str) -> None:
        path = folder / "encoder.safetensors"
        text, arrays = read_arrays(path)
        for changed in (arrays[name][:-1], arrays[name][..., None]):
            other = {**arrays, name: changed}
            write_arrays(path, other, orjson.dumps(orjson.loads(text) | {"weights": digest_of(other)}))
            self.assert_refused(path, rf"{name} is \[.*, not \[")
        less = {key: value for key, value in arrays.items() if key != name}
        write_arrays(path, less, orjson.dumps(orjson.loads(text) | {"weights": digest_of(less)}))
        self.assert_refused(path, f"unexpected or missing weights: {name}")

    def test_a_header_of_another_size(self, folder: Path) -> None:
        path = folder / "encoder.safetensors"
        text, arrays = read_arrays(path)
        header = orjson.loads(text)
        header["encoder"]["linear"]["buckets"] = 512
        write_arrays(path, arrays, orjson.dumps(header))
        self.assert_refused(path, r"text is \[256, 6\], not \[512, 6\]")
        header["encoder"]["linear"]["buckets"] = 1 << 40
        write_arrays(path, arrays, orjson.dumps(header))
        self.assert_refused(path, "its header is wrong: setting linear.buckets")

    def test_weights_that_are_none(self, folder: Path) -> None:
        path = folder / "encoder.safetensors"
        text, arrays = read_arrays(path)
        arrays["bias"] = np.full(6, np.nan, np.float32)
        write_arrays(path, arrays, orjson.dumps(orjson.loads(text) | {"weights": digest_of(arrays)}))
        self.assert_refused(path, "weights that are not finite")

    @pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
    def test_cut_short(self, folder: Path, suffix: str) -> None:
        path = folder / f"encoder{suffix}"
        whole = path.read_bytes()
        for length in (0, 9, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            self.assert_refused(path, "encoder")
