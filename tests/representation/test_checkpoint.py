"""Encoders on disk and in ONNX Runtime: the same numbers, and a clear no to everything else."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import orjson
import pytest
import torch
from safetensors.numpy import load_file, save_file

from custom_flows_made import made
from ethogram.config import EncoderSettings, FieldSettings, TrainingSettings
from ethogram.errors import LibraryError
from ethogram.representation import baselines
from ethogram.representation.autoencoder import Autoencoder
from ethogram.representation.build import load_encoder
from ethogram.representation.checkpoint import load, model_file, read_arrays, save, write_arrays
from ethogram.representation.dense import DenseEncoder
from ethogram.representation.encoder import Encoder, Header, digest_of
from ethogram.representation.export_onnx import export_dense, export_fields
from ethogram.representation.fields import FieldEncoder
from ethogram.representation.inference import OnnxEncoder
from ethogram.representation.vector import expand

torch.set_num_threads(1)

FLOWS = made(700, 3)
FIELDS = FieldSettings(octets=4, grams=8, buckets=64, token=12, hidden=24)
KINDS = {
    "ae": EncoderSettings(kind="ae", widths=(24, 12), d=6),
    "vae": EncoderSettings(kind="vae", widths=(24,), d=6, output="sigmoid"),
    "vae without hidden layers": EncoderSettings(kind="vae", widths=(), d=6),
    "vae of numbers": EncoderSettings(kind="vae", widths=(24,), d=6, view="meta+packets/no-ports"),
    "vae of payload": EncoderSettings(kind="vae", widths=(24,), d=6, view="payload"),
    "untrained": EncoderSettings(kind="untrained", widths=(24,), d=6),
    "fields": EncoderSettings(kind="fields", d=6, fields=FIELDS),
    "fields without ports": EncoderSettings(kind="fields", d=6, view="full/no-address/no-ports", fields=FIELDS),
}
BASELINES: dict[str, Callable[[], DenseEncoder]] = {
    "pca": lambda: baselines.pca(
        EncoderSettings(kind="pca", view="meta+packets", d=5), [expand(FLOWS, "meta+packets")]
    ),
    "random": lambda: baselines.random_projection(EncoderSettings(kind="random-projection", d=5, view="full"), 2),
    "raw 40": lambda: baselines.raw("meta+packets"),
    "raw": lambda: baselines.raw("full"),
}


def write(folder: Path, settings: EncoderSettings, seed: int = 1) -> Encoder:
    """A network and its two files in a folder."""
    net = FieldEncoder(settings, seed) if settings.kind == "fields" else Autoencoder(settings, seed)
    net.header = Header(encoder=settings, training=TrainingSettings(), seed=seed, weights=net.digest)
    save(folder / "encoder.safetensors", net.header, net.tensors())
    exported = (
        export_fields(net, net.header) if isinstance(net, FieldEncoder) else export_dense(net.header, net.tensors())
    )
    (folder / "encoder.onnx").write_bytes(exported)
    return net


@pytest.mark.parametrize("kind", KINDS)
def test_torch_numpy_and_onnx_runtime_give_the_same(kind: str, tmp_path: Path) -> None:
    net = write(tmp_path, KINDS[kind])
    x = expand(FLOWS, KINDS[kind].view)
    z = net.encode(x)
    assert z.std(0).max() > 0.005
    loaded = load_encoder(tmp_path)
    assert isinstance(loaded, Encoder)
    assert loaded.header == net.header
    assert loaded.digest == net.digest
    assert np.abs(loaded.encode(x) - z).max() < 1e-5
    assert np.abs(loaded.decode(z) - net.decode(z)).max() < 1e-5
    for threads in (1, 2):
        exported = OnnxEncoder(tmp_path / "encoder.onnx", threads)
        assert isinstance(exported, Encoder)
        assert exported.header == net.header
        assert exported.digest == net.digest
        assert np.abs(exported.encode(x) - z).max() < 1e-5
        assert np.abs(exported.embed(FLOWS) - z).max() < 1e-5
        assert exported.embed(FLOWS.take(slice(0, 0))).shape == (0, 6)
        assert np.abs(exported.embed(FLOWS.take(np.array([5]))) - z[5]).max() < 1e-5


@pytest.mark.parametrize("kind", ["ae", "vae of numbers"])
def test_half_the_size_is_a_thousandth_off(kind: str, tmp_path: Path) -> None:
    net = write(tmp_path, KINDS[kind])
    whole = (tmp_path / "encoder.onnx").stat().st_size
    (tmp_path / "half.onnx").write_bytes(export_dense(net.header, net.tensors(), half=True))
    assert (tmp_path / "half.onnx").stat().st_size < (0.6 if kind == "ae" else 1) * whole
    z = net.encode(expand(FLOWS, KINDS[kind].view))
    off = np.abs(OnnxEncoder(tmp_path / "half.onnx", 1).embed(FLOWS) - z)
    assert 0 < off.mean() < 3e-3 * z.std(0).mean()


@pytest.mark.parametrize("kind", BASELINES)
def test_baselines_are_encoders_too(kind: str, tmp_path: Path) -> None:
    encoder = BASELINES[kind]()
    assert isinstance(encoder, Encoder)
    x = expand(FLOWS, encoder.header.encoder.view)
    z = encoder.encode(x)
    assert z.shape == (len(FLOWS), encoder.header.d)
    save(tmp_path / "encoder.safetensors", encoder.header, encoder.tensors)
    (tmp_path / "encoder.onnx").write_bytes(export_dense(encoder.header, encoder.tensors))
    assert np.array_equal(load_encoder(tmp_path).encode(x), z)
    exported = OnnxEncoder(tmp_path, 1)
    bound = 1e-5 * max(1.0, float(np.abs(z).max()))
    assert np.abs(exported.encode(x) - z).max() < bound
    assert np.abs(exported.embed(FLOWS) - z).max() < bound
    with pytest.raises(LibraryError, match="has no decoder"):
        exported.decode(z)


def test_raw_numbers_come_back() -> None:
    x = expand(FLOWS, "meta+packets")
    encoder = baselines.raw()
    assert np.array_equal(encoder.decode(encoder.encode(x)), x)


def test_pca_is_the_decomposition_of_the_whole_matrix() -> None:
    x = expand(FLOWS, "meta+packets")
    encoder = baselines.pca(EncoderSettings(kind="pca", view="meta+packets", d=4), [x[:100], x[100:101], x[101:]])
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    z = encoder.encode(x)
    assert np.allclose(np.abs(z), np.abs(centred @ directions[:4].T), atol=1e-4)
    error = float(((encoder.decode(z) - x) ** 2).sum())
    assert error == pytest.approx(float((values[4:] ** 2).sum()), rel=1e-3)
    assert np.allclose(z.mean(0), 0, atol=1e-4)


def test_a_random_projection_keeps_distances_and_its_seed() -> None:
    x = expand(FLOWS.take(slice(0, 100)), "full")
    settings = EncoderSettings(kind="random-projection", d=256)
    encoder = baselines.random_projection(settings, 4)
    assert encoder.digest == baselines.random_projection(settings, 4).digest
    assert encoder.digest != baselines.random_projection(settings, 5).digest
    pairs = [(i, j) for i in range(0, 100, 7) for j in range(i)]
    before = np.array([np.linalg.norm(x[i] - x[j]) for i, j in pairs])
    z = encoder.encode(x)
    after = np.array([np.linalg.norm(z[i] - z[j]) for i, j in pairs])
    assert np.corrcoef(before, after)[0, 1] > 0.95


class TestRefusals:
    """Whatever is wrong is one line, and nothing is run or unpickled."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write(tmp_path, KINDS["vae"])
        return tmp_path

    def assert_refused(self, path: Path, why: str) -> None:
        opened = OnnxEncoder if path.suffix == ".onnx" else load_encoder
        with pytest.raises(LibraryError, match=why) as caught:
            opened(path)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 4

    def rewrite(self, folder: Path, change: Callable[[dict[str, object]], None], suffix: str) -> Path:
        """The same weights under a changed header."""
        path = folder / f"encoder{suffix}"
        if suffix == ".onnx":
            model = onnx.load(path)
            (entry,) = model.metadata_props
            header = orjson.loads(entry.value)
            change(header)
            entry.value = orjson.dumps(header).decode()
            onnx.save(model, path)
        else:
            text, arrays = read_arrays(path)
            header = orjson.loads(text)
            change(header)
            write_arrays(path, arrays, orjson.dumps(header))
        return path

    @pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"scaling": "2"}, "made for scaling version '2'; this program's is '1'"),
            ({"scaling": None}, "made for scaling version None"),
            ({"format": "ethogram.encoder/2"}, "format 'ethogram.encoder/2', not 'ethogram.encoder/1'"),
            ({"kl_reduction": "mean"}, "another reduction of the KL term: 'mean'"),
            ({"encoder": {"kind": "vae", "layers": 9}}, "its header is wrong: setting layers"),
            ({"encoder": {"view": "everything"}}, "its header is wrong: no view 'everything'"),
            ({"encoder": {"kind": "lstm"}}, "its header is wrong: setting kind"),
            ({"encoder": None}, "its header is wrong"),
            ({"data": []}, "its header is wrong"),
        ],
    )
    def test_headers(self, folder: Path, suffix: str, change: dict[str, object], why: str) -> None:
        self.assert_refused(self.rewrite(folder, lambda header: header.update(change), suffix), why)

    @pytest.mark.parametrize(
        ("suffix", "why"),
        [
            (".safetensors", r"mean.weight is \[6, 24\], not \[7, 24\]"),
            (".onnx", r"gives float32 \[1, 6\], not float32 \[1, 7\]"),
        ],
    )
    def test_another_number_of_units(self, folder: Path, suffix: str, why: str) -> None:
        def change(header: dict[str, object]) -> None:
            header["encoder"] |= {"d": 7}  # type: ignore[operator]

        self.assert_refused(self.rewrite(folder, change, suffix), why)

    def test_another_width(self, folder: Path) -> None:
        def change(header: dict[str, object]) -> None:
            header["encoder"] |= {"view": "meta+packets"}  # type: ignore[operator]

        why = r"encoder.0.weight is \[24, 3040\], not \[24, 40\]"
        self.assert_refused(self.rewrite(folder, change, ".safetensors"), why)

    def test_an_exported_network_that_is_narrower_than_it_says(self, folder: Path) -> None:
        narrow = Autoencoder(EncoderSettings(kind="vae", widths=(24,), d=6, view="meta"))
        header = Header(encoder=KINDS["vae"], weights="0")
        (folder / "encoder.onnx").write_bytes(export_dense(replace(header), narrow.tensors()))
        self.assert_refused(folder / "encoder.onnx", "does not take 3040 numbers")

    def test_other_names(self, folder: Path) -> None:
        path = folder / "encoder.safetensors"
        text, arrays = read_arrays(path)
        arrays["middle.weight"] = arrays.pop("mean.weight")
        write_arrays(path, arrays, text)
        self.assert_refused(path, "unexpected or missing weights: mean.weight, middle.weight")

    def test_names_of_fields(self, tmp_path: Path) -> None:
        write(tmp_path, KINDS["fields"])
        path = tmp_path / "encoder.safetensors"
        text, arrays = read_arrays(path)
        arrays.pop("octet_bias")
        header = orjson.loads(text) | {"weights": digest_of(arrays)}
        write_arrays(path, arrays, orjson.dumps(header))
        self.assert_refused(path, "other names or shapes")

    def test_other_weights(self, folder: Path) -> None:
        path = folder / "encoder.safetensors"
        text, arrays = read_arrays(path)
        arrays["mean.bias"] = arrays["mean.bias"] + 1
        write_arrays(path, arrays, text)
        self.assert_refused(path, "its weights do not match the digest in its header")
        write_arrays(path, {name: value.astype(np.float64) for name, value in arrays.items()}, text)
        self.assert_refused(path, "weights that are not float32")

    @pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
    def test_cut_short(self, folder: Path, suffix: str) -> None:
        path = folder / f"encoder{suffix}"
        whole = path.read_bytes()
        for length in (0, 1, 7, 8, 9, 50, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            self.assert_refused(path, "encoder")

    @pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
    def test_noise(self, folder: Path, suffix: str) -> None:
        path = folder / f"encoder{suffix}"
        random = np.random.default_rng(0)
        for length in (5, 100, 4000):
            path.write_bytes(random.integers(0, 256, length, np.uint8).tobytes())
            self.assert_refused(path, "encoder")

    @pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
    def test_a_pickle_is_not_opened(self, folder: Path, suffix: str) -> None:
        path = folder / f"encoder{suffix}"

        class Trap:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return (Path.touch, (Path(folder / "trap"),))  # type: ignore[return-value]

        for protocol in (2, 3, 4, 5):
            path.write_bytes(pickle.dumps(Trap(), protocol))
            self.assert_refused(path, "nothing is unpickled")
        torch.save({"a": torch.zeros(3)}, path)
        self.assert_refused(path, "nothing is unpickled")
        assert not (folder / "trap").exists()

    def test_a_header_of_128_octets_is_not_taken_for_a_pickle(self, tmp_path: Path) -> None:
        path = tmp_path / "encoder.safetensors"
        for size in range(0, 300, 4):
            save_file({"x": np.zeros(1, np.float32)}, path, {"ethogram": "{}", "pad": "p" * size})
            first = struct.unpack("<Q", path.read_bytes()[:8])[0]
            if first & 255 == 0x80:
                assert read_arrays(path)[0] == b"{}"
                return
        pytest.fail("no header had such a length")

    def test_files_of_others(self, folder: Path, tmp_path: Path) -> None:
        save_file(load_file(folder / "encoder.safetensors"), folder / "encoder.safetensors")
        self.assert_refused(folder / "encoder.safetensors", "has no header of ethogram")
        model = onnx.load(folder / "encoder.onnx")
        del model.metadata_props[:]
        onnx.save(model, folder / "encoder.onnx")
        self.assert_refused(folder / "encoder.onnx", "has no header of ethogram")

    def test_what_is_not_there(self, tmp_path: Path) -> None:
        self.assert_refused(tmp_path / "none.onnx", "no such file")
        self.assert_refused(tmp_path, "contains neither encoder.safetensors nor model.json")
        (tmp_path / "model.json").write_text('{"format": "ethogram.model/1", "encoder": "../../seed-0"}')
        self.assert_refused(tmp_path, "seed-0/encoder.safetensors: no such file")
        (tmp_path / "model.json").write_text('{"format": "other", "encoder": "seed-0"}')
        self.assert_refused(tmp_path, "format 'other', not 'ethogram.model/1'")
        for text in ("{", "[]", "{}", '{"encoder": 5}'):
            (tmp_path / "model.json").write_text(text)
            self.assert_refused(tmp_path, "not a model index of ethogram")

    def test_a_file_named_by_the_index_stays_in_its_directory(self, tmp_path: Path) -> None:
        (tmp_path / "seed-0").mkdir()
        write(tmp_path / "seed-0", KINDS["vae"])
        (tmp_path / "model.json").write_text('{"format": "ethogram.model/1", "encoder": "x/../seed-0"}')
        assert model_file(tmp_path, ".onnx") == tmp_path / "seed-0" / "encoder.onnx"


def test_a_header_comes_back(tmp_path: Path) -> None:
    net = Autoencoder(KINDS["vae"])
    header = Header(
        encoder=KINDS["vae"], training=TrainingSettings(kl_weight=0.5), seed=7, data={"digest": "ab", "flows": 3},
        weights=net.digest, made={"torch": "2"}, curves=[{"pass": 1.0, "train_loss": 0.25}],
    )  # fmt: skip
    save(tmp_path / "a.safetensors", header, net.tensors())
    result, tensors = load(tmp_path / "a.safetensors")
    assert result == header
    assert digest_of(tensors) == header.weights
    with pytest.raises(ValueError, match="of other weights"):
        save(tmp_path / "b.safetensors", replace(header, weights="0"), net.tensors())
    assert not list(tmp_path.glob(".*"))
