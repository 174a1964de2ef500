"""The verbs pretrain and embed, as commands and as functions, from files of custom flows to embeddings on disk."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pyarrow.parquet
import pytest

from custom_flows_made import made
from ethogram.cli import main
from ethogram.config import CustomFlowSettings, EncoderSettings, FieldSettings, TrainingSettings
from ethogram.errors import ConfigurationError, InputError
from ethogram.pipeline.flow_days import FlowFiles, TrainingFlows
from ethogram.pipeline.representations import EMBEDDING_KEY, PACKAGED, pretrain
from ethogram.pipeline.vector_files import load_vectors, write_custom_flows
from ethogram.representation.build import load_encoder
from ethogram.representation.checkpoint import load
from ethogram.representation.inference import OnnxEncoder
from ethogram.representation.vector import expand
from ethogram.schema import CustomFlows, TimeSpan

FLOWS = made(300, 7)
PARTS = [FLOWS.take(slice(0, 90)), FLOWS.take(slice(90, 200)), FLOWS.take(slice(200, 300))]
TINY = EncoderSettings(kind="vae", widths=(16,), d=4)
QUICK = TrainingSettings(passes=2, batch=32, threads=1, seeds=2)
OPTIONS = ["--d", "4", "--set", "encoder.widths=[16]", "--passes", "2", "--threads", "1", "--set", "training.batch=32"]


def write(path: Path, parts: list[CustomFlows], **settings: object) -> Path:
    write_custom_flows(path, parts, CustomFlowSettings.of(**settings))
    return path


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    return write(tmp_path / "flows.parquet", PARTS)


def weights(folder: Path) -> list[str]:
    return [load(path)[0].weights for path in sorted(folder.glob("seed-*/encoder.safetensors"))]


class TestDays:
    def split(self, path: Path, **settings: object) -> TrainingFlows:
        return TrainingFlows.of(FlowFiles([path]), TrainingSettings.of(**settings))

    def test_held_out_days_are_the_last_and_a_gap_lies_before(self, flows: Path) -> None:
        split = self.split(flows, held_out=0.3, gap_days=2)
        assert split.held_out is not None
        assert split.train.days().tolist() == [0, 1, 2, 3, 4]
        assert split.held_out.days().tolist() == [7, 8, 9]
        days = FLOWS.start_us // 86_400_000_000
        read = CustomFlows.concat([split.train.read(i) for i in range(len(split.train.sizes))])
        assert np.array_equal(read.start_us, FLOWS.start_us[days < 5])
        assert split.train.sizes.sum() == np.sum(days < 5)
        read = CustomFlows.concat([split.held_out.read(i) for i in range(len(split.held_out.sizes))])
        assert np.array_equal(read.start_us, FLOWS.start_us[days >= 7])

    def test_held_out_flows_are_capped(self, flows: Path) -> None:
        split, again = (self.split(flows, held_out_flows=20) for _ in range(2))
        assert split.held_out is not None
        assert again.held_out is not None
        assert split.held_out.sizes.sum() == 20
        assert all(np.array_equal(a, b) for a, b in zip(split.held_out.rows, again.held_out.rows, strict=True))
        assert set(split.held_out.days()) <= {8, 9}

    def test_nothing_may_be_held_out(self, flows: Path) -> None:
        split = self.split(flows, held_out=0)
        assert split.held_out is None
        assert split.train.sizes.sum() == 300

    def test_days_must_be_left(self, tmp_path: Path) -> None:
        first = write(tmp_path / "one.parquet", [made(20, days=1)])
        with pytest.raises(ConfigurationError, match=r"1 days of flows: .* hold out less \(--held-out 0"):
            self.split(first)
        two = write(tmp_path / "two.parquet", [made(20, days=2)])
        with pytest.raises(ConfigurationError, match="leave no gap"):
            self.split(two)
        assert self.split(two, gap_days=0).train.days().tolist() == [0]

    def test_only_some_days(self, flows: Path) -> None:
        begin, end = (datetime(1970, 1, day, 12, tzinfo=UTC) for day in (3, 7))
        split = TrainingFlows.of(FlowFiles([flows]), TrainingSettings(held_out=0.2, gap_days=1), TimeSpan(begin, end))
        assert split.held_out is not None
        # Whole days: that of the first instant, and that of the last.
        assert split.train.days().tolist() == [2, 3, 4]
        assert split.held_out.days().tolist() == [6]
        with pytest.raises(ConfigurationError, match=r"no flows of the days asked for; .* 1970-01-01 to 1970-01-10"):
            TrainingFlows.of(FlowFiles([flows]), TrainingSettings(), TimeSpan(datetime(1980, 1, 1)))

    def test_the_header_has_the_training_days(self, flows: Path, tmp_path: Path) -> None:
        arguments = ["pretrain", str(flows), "-o", str(tmp_path / "m"), *OPTIONS, "--kind", "pca"]
        assert main([*arguments, "--from", "1970-01-02", "--to", "1970-01-06", "--held-out", "0"]) == 0
        assert load_encoder(tmp_path / "m").header.data["days"] == ["1970-01-02", "1970-01-05"]

    def test_the_digest_is_of_the_content(self, flows: Path, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        again = write(tmp_path / "other" / "renamed.parquet", PARTS)
        assert FlowFiles([flows]).digest == FlowFiles([again]).digest
        assert FlowFiles([write(tmp_path / "less.parquet", PARTS[:2])]).digest != FlowFiles([flows]).digest

    def test_inconsistent_inputs_are_refused(self, flows: Path, tmp_path: Path) -> None:
        both = write(tmp_path / "both.parquet", PARTS, direction="bidirectional")
        with pytest.raises(InputError, match="outgoing and bidirectional flows do not go together"):
            FlowFiles([flows, both])
        pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "odd.parquet")
        with pytest.raises(InputError, match="no custom_flow table"):
            FlowFiles([tmp_path / "odd.parquet"])
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="contains no files"):
            FlowFiles([tmp_path / "empty"])
        with pytest.raises(InputError, match="no such file"):
            FlowFiles([tmp_path / "nothing.parquet"])


def test_from_flows_to_embeddings(flows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = tmp_path / "home", tmp_path / "z.parquet"
    card = ["--source", "made up", "--licence", "CC0"]
    assert main(["pretrain", str(flows), "-o", str(model), "--seeds", "2", *card, *OPTIONS]) == 0
    result = capsys.readouterr().err
    assert "300 flows in 1 file: " in result
    assert "seed 1, pass 2 of 2: step " in result
    assert "all ends by " in result
    assert "vae of 3,040 numbers to 4, seed " in result
    assert {path.name for path in model.iterdir()} == {"card.md", "model.json", "seed-0", "seed-1"}
    assert {path.name for path in (model / "seed-0").iterdir()} == {"encoder.onnx", "encoder.safetensors"}
    headers = [load(model / f"seed-{seed}" / "encoder.safetensors")[0] for seed in (0, 1)]
    index = orjson.loads((model / "model.json").read_bytes())
    best = min(headers, key=lambda header: min(row["held_out_loss"] for row in header.curves))
    assert index["encoder"] == f"seed-{best.seed}"
    assert best.data["licence"] == "CC0"
    assert best.data["digest"] == FlowFiles([flows]).digest
    text = (model / "card.md").read_text()
    for part in (best.weights, best.data["digest"], "made up", "CC0", "sum over latent units, mean over batch",
                 "`training.kl_weight` | 0.001", "## Curves", "## Limits"):  # fmt: skip
        assert part in text

    assert main(["embed", str(flows), "--model", str(model), "-o", str(out), "--json"]) == 0
    report = orjson.loads(capsys.readouterr().out)
    assert report["rows"] == 300
    assert report["weights"] == best.weights
    outcome = pl.read_parquet(out)
    assert outcome.height == 300
    assert outcome["device"].to_list() == FLOWS.device.to_list()
    z = outcome["embedding"].to_numpy()
    assert z.shape == (300, 4)
    assert np.abs(z - load_encoder(model).encode(expand(FLOWS))).max() < 1e-5
    meta = orjson.loads(pyarrow.parquet.read_schema(out).metadata[b"ethogram.embeddings"])
    assert meta["format"] == "ethogram.embeddings/1"
    assert meta["weights"] == best.weights


@pytest.mark.parametrize("kind", ["pca", "random-projection", "untrained", "raw", "ae", "fields", "linear-fields"])
def test_every_kind_trains_and_embeds(kind: str, flows: Path, tmp_path: Path) -> None:
    small = FieldSettings(octets=2, grams=4, buckets=32, token=8, hidden=16)
    view = "full" if kind in {"fields", "linear-fields"} else "meta+packets/no-address"
    encoder = EncoderSettings.of(kind=kind, widths=(16,), d=4, view=view, fields=small)
    run = pretrain([flows], tmp_path / kind, encoder=encoder, training=QUICK)
    assert len(run.headers) == (1 if kind in {"pca", "raw", "linear-fields"} else 2)
    assert len(set(weights(tmp_path / kind))) == len(run.headers)
    assert main(["embed", str(flows), "--model", str(tmp_path / kind), "-o", str(tmp_path / "z.parquet")]) == 0
    z = pl.read_parquet(tmp_path / "z.parquet")["embedding"].to_numpy()
    encoder_read = load_encoder(tmp_path / kind)
    plain = encoder_read.encode(expand(FLOWS, view))
    assert z.shape == (300, 36 if kind == "raw" else 4)
    assert np.abs(z - plain).max() < 1e-5 * max(1.0, float(np.abs(plain).max()))


def test_a_stopped_run_resumes(flows: Path, tmp_path: Path) -> None:
    whole = pretrain([flows], tmp_path / "whole", encoder=TINY, training=QUICK)
    left = [10]

    def stop() -> bool:
        left[0] -= 1
        return left[0] == 0

    begun = pretrain([flows], tmp_path / "part", encoder=TINY, training=QUICK, should_stop=stop)
    assert not begun.finished
    assert not (tmp_path / "part" / "model.json").exists()
    # The bound of memory would change the order: it is a setting of the training.
    with pytest.raises(ConfigurationError, match="another training was begun"):
        other = QUICK.model_copy(update={"buffer_flows": 100})
        pretrain([flows], tmp_path / "part", encoder=TINY, training=other)
    done = pretrain([flows], tmp_path / "part", encoder=TINY, training=QUICK)
    assert done.finished
    assert weights(tmp_path / "part") == weights(tmp_path / "whole") == [header.weights for header in whole.headers]
    assert done.chosen == whole.chosen
    assert not list((tmp_path / "part").rglob("state*"))
    again = pretrain([flows], tmp_path / "part", encoder=TINY, training=QUICK)
    assert again.notes[1:] == ["seed 0: already finished", "seed 1: already finished"]
    more = pretrain([flows], tmp_path / "part", encoder=TINY, training=QUICK.model_copy(update={"seeds": 3}))
    assert len(more.headers) == 3
    with pytest.raises(ConfigurationError, match=r"holds another encoder; choose another directory, or --restart"):
        pretrain([flows], tmp_path / "part", encoder=TINY.model_copy(update={"d": 5}), training=QUICK)
    fresh = TINY.model_copy(update={"d": 5})
    assert pretrain([flows], tmp_path / "part", encoder=fresh, training=QUICK, restart=True).headers[0].d == 5


def test_the_same_call_gives_the_same_weights(flows: Path, tmp_path: Path) -> None:
    first = pretrain([flows], tmp_path / "a", encoder=TINY, training=QUICK)
    second = pretrain([flows], tmp_path / "b", encoder=TINY, training=QUICK)
    assert [header.weights for header in first.headers] == [header.weights for header in second.headers]


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["pretrain", "nothing.parquet", "-o", "m"], 3, "nothing.parquet: no such file"),
        (["pretrain", "flows.parquet", "-o", "m", "--kind", "lstm"], 5, "setting kind: Input should be 'ae'"),
        (["pretrain", "flows.parquet", "-o", "m", "--view", "half"], 5, "no view 'half'"),
        (
            ["pretrain", "flows.parquet", "-o", "m", "--kind", "fields", "--view", "meta"],
            5,
            "reads packets and payload",
        ),
        (
            ["pretrain", "flows.parquet", "-o", "m", "--kind", "linear-fields", "--view", "meta"],
            5,
            "an encoder of kind linear-fields reads packets and payload, not 'meta'",
        ),
        (["pretrain", "flows.parquet", "-o", "m", "--kind", "linear-fields", "--d", "400"], 3, "too few for 400"),
        (["pretrain", "flows.parquet", "-o", "m", "--kind", "pca", "--view", "meta"], 5, "32 directions of 10 numbers"),
        (["pretrain", "flows.parquet", "-o", "m", "--set", "training.epochs=3"], 5, "setting epochs"),
        (["pretrain", "flows.parquet", "-o", "m", "--set", "d=3"], 2, "say encoder.NAME=VALUE"),
        (["pretrain", "flows.parquet", "-o", "m", "--held-out", "0.99"], 5, "none is left to learn from"),
        (["embed", "flows.parquet", "-o", "z.parquet"], 2, "--model names the encoder"),
        (["embed", "flows.parquet", "-o", "z.parquet", "--model", "none"], 4, "none: no such file"),
        (["embed", "flows.parquet", "-o", "z.parquet", "--model", "flows.parquet"], 4, "not an ONNX model"),
        (["embed", "flows.parquet", "-o", "no/z.parquet", "--model", "m"], 3, "no such folder"),
        (["embed", "both.parquet", "-o", "z.parquet", "--model", "m"], 3, "bidirectional flows, but outgoing ones"),
        (["embed", "text.txt", "-o", "z.parquet", "--model", "m"], 3, "text.txt"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, why: str, flows: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    monkeypatch.chdir(flows.parent)
    write(Path("both.parquet"), PARTS, direction="bidirectional")
    Path("text.txt").write_text("neither packets nor flows\n")
    monkeypatch.setattr("ethogram.pipeline.representations.PACKAGED", Path("none.onnx"))
    if arguments[0] == "embed" and "m" in arguments:
        encoder = EncoderSettings(kind="untrained", widths=(4,), d=2, view="meta")
        pretrain([flows], Path("m"), encoder=encoder, training=QUICK)
    assert main(arguments) == code
    result = capsys.readouterr().err.strip().splitlines()
    assert len(result) == 1
    assert result[0].startswith("ethogram: ")
    assert why in result[0]
    assert not list(flows.parent.glob(".z*"))
    assert not Path("z.parquet").exists()


def test_the_packaged_encoder_is_used_when_none_is_named(flows: Path, tmp_path: Path) -> None:
    """The packaged file matches its card, and embeds the fields of each flow."""
    output = tmp_path / "z.parquet"
    assert main(["embed", str(flows), "-o", str(output)]) == 0
    encoder = OnnxEncoder(PACKAGED, 1)
    document = orjson.loads(pyarrow.parquet.read_schema(output).metadata[EMBEDDING_KEY])
    assert document["weights"] == encoder.digest == encoder.header.weights
    assert (document["kind"], document["d"]) == ("fields", 128)
    read = load_vectors([flows])
    z = np.array(pl.read_parquet(output)["embedding"].to_list(), np.float32)
    assert np.abs(z - encoder.encode(expand(read, "full"))).max() < 1e-5
    assert (z.std(0) > 1e-3).all(), "no number of it is always the same"
    card = PACKAGED.with_suffix(".md").read_text()
    assert encoder.digest in card
    for name in ("stevens_lsif_2019", "aalto_iot_sentinel_2016", "nku_lifecycle_2025"):
        assert name in card
        assert name in encoder.header.data["source"]
    assert "uclouvain" not in encoder.header.data["source"]
    assert PACKAGED.stat().st_size < 5_000_000


def test_embedding_needs_neither_torch_nor_onnx_nor_safetensors(flows: Path, tmp_path: Path) -> None:
    model = tmp_path / "m"
    pretrain([flows], model, encoder=TINY, training=QUICK.model_copy(update={"seeds": 1, "passes": 1}))
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'safetensors'):\n"
        "    sys.modules[name] = None\n"
        "from ethogram.cli import main\n"
        f"code = main(['embed', {str(flows)!r}, '--model', {str(model)!r}, '-o', {str(tmp_path / 'z.parquet')!r}])\n"
        f"sys.exit(code or main(['pretrain', {str(flows)!r}, '-o', {str(tmp_path / 'n')!r}]) + 100)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 102, done.stderr
    assert "needs onnx, safetensors and torch: pip install 'ethogram[train]'" in done.stderr
    assert pl.read_parquet(tmp_path / "z.parquet").height == 300
