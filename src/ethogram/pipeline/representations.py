"""The verbs *pretrain* and *embed*: train an encoder on custom flows, and embed flows with one."""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from ethogram._files import atomic_write, write_bytes
from ethogram._version import __version__
from ethogram.config import CustomFlowSettings, EncoderSettings, TrainingSettings
from ethogram.errors import ConfigurationError, InputError, LibraryError, UsageError
from ethogram.pipeline.flow_days import DayBlocks, FlowFiles, TrainingFlows, day_text
from ethogram.pipeline.read_options import ReadOptions
from ethogram.pipeline.text import plural
from ethogram.pipeline.vectors import VectorRun, read_vectors
from ethogram.representation.build import build_network, fit_encoder
from ethogram.representation.card import card
from ethogram.representation.checkpoint import MODEL_FORMAT, load, save
from ethogram.representation.encoder import Header, Tensors
from ethogram.representation.export_onnx import export_dense, export_fields, export_linear_fields
from ethogram.representation.inference import OnnxEncoder
from ethogram.representation.kinds import kind_of
from ethogram.representation.needs import need
from ethogram.representation.views import view_of
from ethogram.schema import ALWAYS, CustomFlows, TimeSpan

if TYPE_CHECKING:
    from ethogram.representation.network import Network
    from ethogram.representation.training import Progress

__all__ = ["EMBEDDING_FORMAT", "EmbedRun", "Pretraining", "embed", "open_embedding", "pretrain"]

EMBEDDING_FORMAT = "ethogram.embeddings/1"
EMBEDDING_KEY = b"ethogram.embeddings"
PACKAGED = Path(__file__).parent.parent / "data" / "encoder.onnx"
"""The bundled encoder."""

WRITTEN_WITH = ("onnx", "safetensors")
KEPT_COLUMNS = ("device", "start", "remote", "remote_port", "device_port", "protocol", "octets", "packets")


@dataclass
class Pretraining:
    """Result of :func:`pretrain`.

    Parameters
    ----------
    headers
        Headers of the finished seeds.
    chosen
        Index of the header of the selected encoder.
    finished
        False if interrupted; the same call resumes.
    notes
        Messages for the user.
    """

    headers: list[Header] = field(default_factory=list)
    chosen: int = 0
    finished: bool = True
    notes: list[str] = field(default_factory=list)


def pretrain(
    inputs: Sequence[str | Path],
    output: Path,
    *,
    encoder: EncoderSettings | None = None,
    training: TrainingSettings | None = None,
    source: str = "",
    licence: str = "",
    restart: bool = False,
    span: TimeSpan = ALWAYS,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Pretraining:
    """Train an encoder on unlabelled custom flows, once per seed.

    Parameters
    ----------
    inputs
        Files, directories and globs of custom flows.
    output
        Directory of the model; an unfinished run in it is resumed.
    encoder, training
        Settings; defaults when None.
    source, licence
        Origin and licence of the flows, for the model card.
    restart
        Delete the results of an earlier run in ``output`` first.
    span
        Use only days (UTC) that begin in it, and the day of its begin; the last of them are held out.
    on_progress, should_stop
        As for :meth:`ethogram.representation.training.Training.run`.

    Raises
    ------
    InputError
        When an input holds no custom flows.
    ConfigurationError
        When settings are invalid, or ``output`` holds another encoder.
    UsageError
        When a library for training or writing the encoder is not installed.
    """
    encoder, training = encoder or EncoderSettings(), training or TrainingSettings()
    encoder = encoder.model_copy(update={"view": view_of(encoder.view).name})
    _check(encoder)
    # Check now, as the encoder is written after minutes or hours.
    learning = ("torch",) if kind_of(encoder).network else ()
    need(f"training an encoder of kind {encoder.kind}", *WRITTEN_WITH, *learning)
    files = FlowFiles(inputs)
    split = TrainingFlows.of(files, training, span)
    data = {**_data(files, split), "source": source, "licence": licence}
    if restart:
        _clear(output)
    run = Pretraining(notes=_notes(files, split))
    count = 1 if kind_of(encoder).deterministic else training.seeds
    for seed in range(training.first_seed, training.first_seed + count):
        folder = output / f"seed-{seed}"
        header = _finished(folder, encoder, training, data, seed)
        if header is not None:
            run.notes.append(f"seed {seed}: already finished")
        else:
            header = _train(folder, encoder, training, split, data, seed, on_progress, should_stop)
        if header is None:
            run.finished = False
            run.notes.append(f"seed {seed}: interrupted; run the same command to resume")
            return run
        run.headers.append(header)
    run.chosen = min(range(count), key=lambda i: _held_out(run.headers[i]))
    _write_index(output, run)
    return run


def _check(encoder: EncoderSettings) -> None:
    view = view_of(encoder.view)
    if encoder.reads is not None and not view.name.startswith("full"):
        raise ConfigurationError(
            f"setting view: an encoder of kind {encoder.kind} reads packets and payload, not {view.name!r}"
        )
    if encoder.kind == "pca" and encoder.latent > view.width:
        raise ConfigurationError(f"setting d: {encoder.latent} directions of {view.width} numbers")


def _data(files: FlowFiles, split: TrainingFlows) -> dict[str, Any]:
    def span(part: DayBlocks) -> list[str]:
        days = part.days()
        return [day_text(days[0]), day_text(days[-1])]

    data: dict[str, Any] = {
        "digest": files.digest,
        "direction": files.direction,
        "flows": int(split.train.sizes.sum()),
        "days": span(split.train),
    }
    if split.held_out is not None:
        data |= {"held_out_flows": int(split.held_out.sizes.sum()), "held_out_days": span(split.held_out)}
    return data


def _notes(files: FlowFiles, split: TrainingFlows) -> list[str]:
    days = len(split.train.days())
    learnt = int(split.train.sizes.sum())
    note = f"{len(files):,} flows in {plural(len(files.paths), 'file')}: {learnt:,} of {days} days for training"
    if split.held_out is None:
        return [note + "; none held out, so there is no early stopping"]
    held_out = int(split.held_out.sizes.sum())
    return [note + f", {held_out:,} of {len(split.held_out.days())} later days for early stopping"]


# -- one seed


def _train(
    folder: Path,
    encoder: EncoderSettings,
    training: TrainingSettings,
    split: TrainingFlows,
    data: dict[str, Any],
    seed: int,
    on_progress: Callable[[Progress], None] | None,
    should_stop: Callable[[], bool] | None,
) -> Header | None:
    """Train and write the encoder of one seed; None if interrupted."""
    made = {"ethogram": __version__, "numpy": np.__version__, "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    header = Header(encoder=encoder, seed=seed, data=data, made=made)
    if not kind_of(encoder).network:
        dense = fit_encoder(encoder, seed, partial(_batches, split.train))
        return _write(folder, replace(header, weights=dense.digest), dense.tensors, None)
    net = build_network(encoder, seed)
    made["torch"] = importlib.metadata.version("torch")
    if kind_of(encoder).trained:
        from ethogram.representation.training import Training

        trainer = Training(net, training, seed=seed, data=data["digest"], state=folder / "state")
        if not trainer.run(split.train, split.held_out, on_progress=on_progress, should_stop=should_stop):
            return None
        made |= {"arithmetic": trainer.arithmetic, "threads": str(trainer.threads)}
        header = replace(header, training=training, curves=trainer.curves)
    header = _write(folder, replace(header, weights=net.digest), net.tensors(), net)
    shutil.rmtree(folder / "state", ignore_errors=True)
    return header


def _batches(part: DayBlocks, size: int = 4096) -> Iterator[CustomFlows]:
    for block in range(len(part.sizes)):
        flows = part.read(block)
        for begin in range(0, len(flows), size):
            yield flows.take(slice(begin, begin + size))


def _write(folder: Path, header: Header, tensors: Tensors, net: Network | None) -> Header:
    if header.encoder.kind == "fields":
        exported = export_fields(net, header)  # type: ignore[arg-type]
    elif header.encoder.kind == "linear-fields":
        exported = export_linear_fields(header, tensors)
    else:
        exported = export_dense(header, tensors)
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "encoder.onnx", exported)
    # Written last: it marks the seed as finished.
    save(folder / "encoder.safetensors", header, tensors)
    return header


def _finished(
    folder: Path, encoder: EncoderSettings, training: TrainingSettings, data: dict[str, Any], seed: int
) -> Header | None:
    """The header of a seed that an earlier run finished with the same settings and data; None if there is none.

    Raises
    ------
    ConfigurationError
        When the folder holds another encoder.
    """
    file = folder / "encoder.safetensors"
    if not file.exists():
        return None
    header, _ = load(file)
    same = header.encoder == encoder and header.seed == seed and header.data.get("digest") == data["digest"]
    if same and kind_of(encoder).trained:
        free = {"save_s": 0.0, "threads": 0, "seeds": 1, "first_seed": 0}
        assert header.training is not None
        same = header.training.model_copy(update=free) == training.model_copy(update=free)
    if not same:
        raise ConfigurationError(f"{folder}: holds another encoder; choose another directory, or --restart")
    return header


def _held_out(header: Header) -> float:
    losses = [row["held_out_loss"] for row in header.curves if "held_out_loss" in row]
    return min(losses, default=math.inf)


def _clear(output: Path) -> None:
    for folder in output.glob("seed-*"):
        if (folder / "encoder.safetensors").exists() or (folder / "state" / "state.json").exists():
            shutil.rmtree(folder)
    (output / "model.json").unlink(missing_ok=True)


def _write_index(output: Path, run: Pretraining) -> None:
    seeds = []
    for header in run.headers:
        name = f"seed-{header.seed}"
        loss = _held_out(header)
        files = {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted((output / name).glob("encoder.*"))
        }
        seeds.append({"name": name, "weights": header.weights, "sha256": files,
                      "held_out_loss": loss if math.isfinite(loss) else None})  # fmt: skip
    index = {"format": MODEL_FORMAT, "encoder": seeds[run.chosen]["name"], "seeds": seeds}
    write_bytes(output / "card.md", card(run.headers, run.chosen, output.name).encode())
    write_bytes(output / "model.json", orjson.dumps(index, option=orjson.OPT_INDENT_2) + b"\n")


# -- embedding


@dataclass
class EmbedRun:
    """Result of :func:`embed`."""

    header: Header
    vectors: VectorRun
    rows: int


def open_embedding(model: Path | None, threads: int = 0) -> OnnxEncoder:
    """Open the named encoder, or the packaged one by default.

    Raises
    ------
    LibraryError
        When the encoder is missing or invalid.
    UsageError
        When none is named and none is packaged.
    """
    if model is None:
        if not PACKAGED.exists():
            raise UsageError("--model names the encoder: a directory that 'ethogram pretrain' made, or an .onnx file")
        model = PACKAGED
    if model.suffix == ".safetensors":
        exported = model.with_suffix(".onnx")
        if not exported.exists():
            load(model)  # raises if the weights are invalid
            raise LibraryError(f"{model}: these are weights; embedding needs {exported.name} in the same folder")
        model = exported
    return OnnxEncoder(model, threads)


def embed(
    inputs: Sequence[str | Path],
    output: Path,
    *,
    model: Path | None = None,
    options: ReadOptions | None = None,
    threads: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> EmbedRun:
    """Embed custom flows, or those of captures, and write one row per flow.

    Parameters
    ----------
    inputs
        Custom flows (Parquet, of ethogram or as published) or captures.
    output
        Parquet file to write: key, time and totals of each flow, and its ``embedding``.
    model
        The encoder: a directory of ``ethogram pretrain``, or an ``.onnx`` file.
    options
        As for :func:`ethogram.pipeline.vectors.read_vectors`.
    threads
        Number of chunks computed in parallel; 0: one per core.
    on_progress
        Called with the number of packets of each batch.

    Raises
    ------
    InputError, LibraryError, ConfigurationError
        When flows, encoder or device file are unusable.
    """
    encoder = open_embedding(model, threads)
    direction = encoder.header.data.get("direction") or "outgoing"
    run = read_vectors(
        inputs, options, settings=CustomFlowSettings.of(direction=direction), on_progress=on_progress
    )
    if not output.parent.is_dir():
        raise InputError("cannot be written: no such folder", file=output)
    metadata = {
        "format": EMBEDDING_FORMAT, "weights": encoder.digest, "kind": encoder.header.encoder.kind,
        "d": encoder.header.d, "view": encoder.header.encoder.view, "scaling": encoder.header.scaling,
        "seed": encoder.header.seed, "ethogram": __version__,
    }  # fmt: skip
    schema = _embedded(CustomFlows.empty(), np.zeros((0, encoder.header.d), np.float32)).schema
    schema = schema.with_metadata({EMBEDDING_KEY: orjson.dumps(metadata)})
    rows = 0
    # Dictionary encoding does not help with embeddings.
    writing = {"compression": "zstd", "use_dictionary": ["device"]}
    try:
        with atomic_write(output) as part, pyarrow.parquet.ParquetWriter(part, schema, **writing) as writer:
            for flows in run.batches():
                writer.write_table(_embedded(flows, encoder.embed(flows)).cast(schema))
                rows += len(flows)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=output) from None
    return EmbedRun(encoder.header, run, rows)


def _embedded(flows: CustomFlows, z: NDArray[np.float32]) -> pyarrow.Table:
    table = flows.arrow().select(list(KEPT_COLUMNS))
    values = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(z.reshape(-1)), z.shape[1])
    return table.append_column("embedding", values)
