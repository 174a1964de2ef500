"""Encoders of methods and their embeddings, made once, cached on disk and shared by tasks.

An encoder is cached under a digest of its settings, its training flows, the seed and the code; embeddings under the
digests of the encoder and the flows. Both are derived data and may be deleted.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import orjson
from numpy.typing import NDArray

import ethogram.representation.build
import ethogram.representation.dense
import ethogram.representation.vector
import ethogram.representation.views
from ethogram._code_digest import CodePart, code_digest, imported_modules
from ethogram._files import file_lock
from ethogram.bench.flows.cache import Embedded, read_embedded, write_embedded
from ethogram.bench.flows.memory import Peak
from ethogram.bench.flows.ready_encoder import ReadyEncoder
from ethogram.bench.flows.split import Rows, days_of, drawn
from ethogram.bench.flows.task import FlowMethod
from ethogram.config import EncoderSettings, TrainingSettings
from ethogram.corpora.custom_flows import CorpusFlows
from ethogram.errors import EthogramError, LibraryError
from ethogram.identify.split import Split
from ethogram.representation.build import build_network, fit_encoder, load_encoder
from ethogram.representation.checkpoint import save
from ethogram.representation.dense import DenseEncoder
from ethogram.representation.encoder import Encoder
from ethogram.representation.kinds import kind_of
from ethogram.representation.linear_fields import LinearFieldEncoder
from ethogram.representation.needs import need
from ethogram.representation.vector import expand
from ethogram.representation.views import view_of
from ethogram.schema import CustomFlows
from ethogram.third_party_encoders.interface import PRETRAINING

__all__ = ["Encoders", "encoder_code"]

BATCH = 2048
REMEMBERED = 12
"""Number of embeddings kept in memory, the most recently used ones."""
LARGE = 20_000_000
"""Only one encoder with more parameters than this is held in memory."""
HELD_OUT = 0.2
"""Share of a unit's early days, the last ones, that are held out for early stopping."""
HELD_OUT_FLOWS = 1024
"""Maximum number of held-out flows, since there are many short passes."""
PATIENCE_STEPS = 200

_LEARNING = ("ethogram.representation.training",)


def encoder_code(method: FlowMethod) -> str:
    """Digest of the code that embeddings of a method depend on: its encoder's module and what that imports."""
    kind = method.encoder_kind
    modules = imported_modules(kind.module)
    if method.encoder is None:
        return code_digest(*modules, *(imported_modules(PRETRAINING) if method.pretraining else ()))
    return code_digest(Encoders, *modules, *(_LEARNING if kind.trained else ()))


class Encoders:
    """Makes encoders and embeddings, and caches them.

    Parameters
    ----------
    folder
        Cache folder; None: no cache.
    threads
        Threads for numerical libraries; 0: one per core.
    checkpoints
        Files of weights by name of the adapter.
    on_stage
        Called with a line on the current step.
    """

    CODE_DEPENDENCIES: ClassVar[tuple[CodePart, ...]] = (
        ethogram.representation.build, ethogram.representation.vector, ethogram.representation.views,
    ethogram.representation.dense,
    )  # fmt: skip
    """Code that every encoder of the product shares; its own module comes with its kind."""

    def __init__(
        self, folder: Path | None, *, threads: int = 0, checkpoints: Mapping[str, Path] | None = None,
        on_stage: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.threads, self.checkpoints = folder, threads, dict(checkpoints or {})
        self._tell = on_stage or (lambda _: None)
        self._embeddings: OrderedDict[str, Embedded] = OrderedDict()
        self._made: OrderedDict[str, ReadyEncoder] = OrderedDict()
        self._draws: dict[str, NDArray[np.int64]] = {}

    def get(
        self, method: FlowMethod, unlabelled: Rows, corpora: Mapping[str, CorpusFlows], seed: int, gap_days: int = 1
    ) -> ReadyEncoder:
        """The encoder of a method and seed, trained on the unlabelled flows if it learns.

        Parameters
        ----------
        method
            Defines the encoder.
        unlabelled
            Rows by corpus; their labels are not read.
        corpora
            The flows.
        seed
            Seed of all random numbers.
        gap_days
            Days between training and early stopping.
        """
        encoder_seed = method.encoder_seed(seed)
        digest = self._digest(method, unlabelled, corpora, encoder_seed)
        if digest in self._made:
            self._made.move_to_end(digest)
            return self._made[digest]
        with file_lock(self._path(digest) if method.learns else None):
            encoder = self._make(method, digest, unlabelled, corpora, encoder_seed, gap_days)
        if encoder.parameters > LARGE:
            for other in [key for key, other_encoder in self._made.items() if other_encoder.parameters > LARGE]:
                del self._made[other]
        self._made[digest] = encoder
        while len(self._made) > REMEMBERED:
            self._made.popitem(last=False)
        return encoder

    def _make(
        self, method: FlowMethod, digest: str, unlabelled: Rows, corpora: Mapping[str, CorpusFlows], seed: int,
        gap_days: int,
    ) -> ReadyEncoder:  # fmt: skip
        if not method.adapter:
            return self._ours(method, digest, unlabelled, corpora, seed, gap_days)
        from ethogram.bench.flows.adapters import adapted_encoder  # loads torch

        return adapted_encoder(
            method, digest, self.checkpoints, unlabelled, corpora, seed, self._path(digest), self._tell
        )

    def _digest(
        self, method: FlowMethod, unlabelled: Rows, corpora: Mapping[str, CorpusFlows], seed: int
    ) -> str:  # fmt: skip
        text = hashlib.sha256(f"{encoder_code(method)} {seed} {self.checkpoints.get(method.adapter, '')}".encode())
        text.update(orjson.dumps([method.encoder and method.encoder.model_dump(mode="json"), method.adapter]))
        if method.learns:
            training = method.training.model_copy(update={"threads": 0, "save_s": 0.0})
            text.update(f"{training.digest} {method.steps} ".encode() + orjson.dumps(method.pretraining))
            for name in sorted(unlabelled):
                text.update(f"{name} {corpora[name].digest}".encode() + unlabelled[name].tobytes())
        return text.hexdigest()[:16]

    def _ours(
        self, method: FlowMethod, digest: str, unlabelled: Rows, corpora: Mapping[str, CorpusFlows], seed: int,
        gap_days: int,
    ) -> ReadyEncoder:  # fmt: skip
        settings = method.encoder
        assert settings is not None
        settings = settings.model_copy(update={"view": view_of(settings.view).name})
        training: Mapping[str, Any] | None = None
        kind = method.encoder_kind
        if not kind.trained:
            encoder = (self._kept(digest) if kind.fitted else None) or self._fitted(
                digest, settings, unlabelled, corpora, seed)  # fmt: skip
        else:
            encoder = self._kept(digest) or self._trained(method, settings, digest, unlabelled, corpora, seed, gap_days)
            curves = encoder.header.curves
            if curves:
                training = {
                    "seconds": round(sum(row["seconds"] for row in curves), 2),
                    "passes": len(curves),
                    "loss": curves[-1]["train_loss"],
                }
        parameters = 0 if kind.weights == "none" else sum(v.size for v in _tensors(encoder).values())

        def embed(loaded: CorpusFlows, rows: NDArray[np.int64]) -> NDArray[np.float32]:
            if isinstance(encoder, LinearFieldEncoder):
                return encoder.embed(loaded.flows, rows)  # the same numbers, without padding
            view = encoder.header.view
            parts = [encoder.encode(x) for x in _vectors(loaded.flows, view.name, rows)]
            return np.concatenate(parts) if parts else np.zeros((0, encoder.header.d), np.float32)

        return ReadyEncoder(digest, encoder.digest, encoder.header.d, parameters, kind.origin, "Apache-2.0", embed,
                            encoder, cheap=kind.weights == "none", training=training)  # fmt: skip

    def _fitted(
        self, digest: str, settings: EncoderSettings, unlabelled: Rows, corpora: Mapping[str, CorpusFlows], seed: int
    ) -> Encoder:
        """An encoder that needs no gradient descent; what is fitted to flows is saved."""
        kind = kind_of(settings)
        if kind.fitted:
            self._tell(kind.title)

        def read() -> Iterator[CustomFlows]:
            for name in sorted(unlabelled):
                for begin in range(0, len(unlabelled[name]), BATCH):
                    yield corpora[name].flows.take(unlabelled[name][begin : begin + BATCH])

        encoder = fit_encoder(settings, seed, read)
        if kind.fitted and (path := self._path(digest)) is not None:
            save(path / "encoder.safetensors", encoder.header, encoder.tensors)
        return encoder

    def _trained(
        self, method: FlowMethod, settings: EncoderSettings, digest: str, unlabelled: Rows,
        corpora: Mapping[str, CorpusFlows], seed: int, gap_days: int,
    ) -> Encoder:  # fmt: skip
        need("a network", "torch")
        from ethogram.representation.training import InMemoryBlocks, Progress, Training

        learn, best_by = self._unlabelled(unlabelled, corpora, gap_days)
        training = training_of(method, len(learn), self.threads, held_out=best_by is not None)
        net = build_network(settings, seed)
        folder = self._path(digest)
        run = Training(net, training, seed=seed, data=digest, state=None if folder is None else folder / "state")

        def tell(at: Progress) -> None:
            if at.step % 50 == 0:
                self._tell(f"{method.name}, seed {seed}: pass {at.pass_number + 1} of {at.passes}, {at.loss:.4f}, "
                           f"{at.seconds_left:.0f} s left")  # fmt: skip

        began = time.monotonic()
        if not run.run(InMemoryBlocks(learn), None if best_by is None else InMemoryBlocks(best_by), on_progress=tell):
            raise EthogramError(f"{method.name}: the training was stopped")
        header = replace(net.header, training=training, seed=seed, weights=net.digest, curves=run.curves,
                         data={"digest": digest, "flows": len(learn)},
                         made={"seconds": f"{time.monotonic() - began:.1f}", "threads": str(run.threads),
                               "arithmetic": run.arithmetic})  # fmt: skip
        net.header = header
        if folder is not None:
            save(folder / "encoder.safetensors", header, net.tensors())
            for old in (folder / "state").glob("*"):
                old.unlink(missing_ok=True)
        return net if settings.kind == "fields" else DenseEncoder(header, net.tensors())

    def _unlabelled(
        self, unlabelled: Rows, corpora: Mapping[str, CorpusFlows], gap_days: int
    ) -> tuple[CustomFlows, CustomFlows | None]:
        """Training flows, and flows of later early days for early stopping.

        Their device is the unit, so that runs of one unit are one device. It is not a label.
        """
        learn, held = [], []
        for name in sorted(unlabelled):
            rows = unlabelled[name]
            days = days_of(corpora[name], rows)
            try:
                cut = Split.by_day(days, test_share=HELD_OUT, gap_days=gap_days, by="device-day",
                                       names=("learn", "best by"))  # fmt: skip
            except EthogramError:
                learn.append(_by_unit(corpora[name], rows))
                continue
            learn.append(_by_unit(corpora[name], cut.sides["learn"].rows))
            held.append(_by_unit(corpora[name], cut.sides["best by"].rows))
        return CustomFlows.concat(learn), _some(CustomFlows.concat(held), HELD_OUT_FLOWS) if held else None

    def _path(self, digest: str) -> Path | None:
        return None if self.folder is None else self.folder / "encoders" / digest

    def _kept(self, digest: str) -> Encoder | None:
        folder = self._path(digest)
        if folder is None or not (folder / "encoder.safetensors").exists():
            return None
        try:
            return load_encoder(folder)
        except LibraryError:
            return None

    # -- embeddings

    def embedding(
        self, encoder: ReadyEncoder, loaded: CorpusFlows, rows: NDArray[np.int64], cap: int
    ) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Embeddings of some rows [K, D], and the cost of computing them.

        Parameters
        ----------
        encoder
            The encoder.
        loaded
            The corpus.
        rows
            Rows among the first ``cap`` flows drawn per unit and day; all of these are embedded at once, for all tasks.
        """
        if encoder.cheap:
            began = time.perf_counter()
            z = encoder.embed(loaded, rows)
            return z, {"flows": len(rows), "seconds": time.perf_counter() - began}
        if loaded.digest not in self._draws:
            self._draws[loaded.digest] = drawn(loaded)
        key = f"{encoder.digest}-{loaded.digest}-{cap}"
        path = None if self.folder is None else self.folder / "embeddings" / f"{key}.npz"
        embedded = self._embeddings.get(key)
        if embedded is None and path is not None:
            embedded = read_embedded(path)
        if embedded is None:
            drawn_rows = np.flatnonzero(self._draws[loaded.digest] < cap)
            self._tell(f"embedding {len(drawn_rows):,} flows of {loaded.card.name}")
            with Peak() as peak:
                began = time.perf_counter()
                z = encoder.embed(loaded, drawn_rows)
                cost = {"flows": float(len(drawn_rows)), "seconds": time.perf_counter() - began}
            if peak.mib is not None:
                cost["memory_mib"] = peak.mib
            embedded = drawn_rows, z, cost
            if path is not None:
                write_embedded(path, embedded)
        self._embeddings[key] = embedded
        self._embeddings.move_to_end(key)
        while len(self._embeddings) > REMEMBERED:
            self._embeddings.popitem(last=False)
        drawn_rows, z, cost = embedded
        place = np.searchsorted(drawn_rows, rows)
        if not np.array_equal(drawn_rows[np.minimum(place, len(drawn_rows) - 1)], rows):
            raise EthogramError(f"flows of {loaded.card.name} outside the draw of {cap}")
        return z[place], cost


def _by_unit(loaded: CorpusFlows, rows: NDArray[np.int64]) -> CustomFlows:
    return replace(loaded.flows.take(rows), device=loaded.truth["unit"].gather(rows))


def training_of(method: FlowMethod, flows: int, threads: int, *, held_out: bool) -> TrainingSettings:
    """Training settings with the number of passes that gives ``method.steps`` steps."""
    steps = max(1, -(-flows // method.training.batch))
    return method.training.model_copy(
        update={
            "passes": max(1, round(method.steps / steps)),
            "patience": max(3, -(-PATIENCE_STEPS // steps)) if held_out else method.training.patience,
            "threads": threads,
            "seeds": 1,
        }
    )


def _some(flows: CustomFlows, most: int) -> CustomFlows:
    if len(flows) <= most:
        return flows
    return flows.take(np.sort(np.random.default_rng(0).choice(len(flows), most, replace=False)))


def _tensors(encoder: Any) -> Mapping[str, NDArray[np.float32]]:
    stored = encoder.tensors
    tensors: Mapping[str, NDArray[np.float32]] = stored() if callable(stored) else stored
    return tensors


def _vectors(flows: CustomFlows, view: str, rows: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    for begin in range(0, len(rows), BATCH):
        yield expand(flows, view, rows[begin : begin + BATCH])
