"""Third-party encoders for the benchmark: with the user's weights, random weights, or pretrained here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ethogram.bench.flows.ready_encoder import ReadyEncoder
from ethogram.bench.flows.split import Rows
from ethogram.bench.flows.task import FlowMethod
from ethogram.corpora.custom_flows import CorpusFlows
from ethogram.errors import EthogramError, LibraryError, UsageError
from ethogram.schema import PacketFlows
from ethogram.third_party_encoders.interface import PacketEncoder, adapter

__all__ = ["adapted_encoder"]


def adapted_encoder(
    method: FlowMethod, digest: str, checkpoints: Mapping[str, Path], unlabelled: Rows,
    corpora: Mapping[str, CorpusFlows], seed: int, folder: Path | None, tell: Callable[[str], None],
) -> ReadyEncoder:  # fmt: skip
    """The third-party encoder of a method.

    Parameters
    ----------
    method
        With ``pretraining`` the encoder is trained on the unlabelled flows with its own objective.
    digest
        Digest of everything the encoder is made from.
    checkpoints
        Files of weights by name of the adapter.
    unlabelled, corpora, seed
        Data and seed of the pretraining.
    folder
        Cache folder of an encoder pretrained here; None: not cached.
    tell
        Called with a line on the current step.

    Raises
    ------
    LibraryError
        When the user's weights cannot be used.
    UsageError
        When the corpus has no packets.
    """
    if method.pretraining:
        encoder = _pretrained(method, unlabelled, corpora, seed, folder, tell)
    else:
        encoder = adapter(method.adapter, checkpoint=checkpoints.get(method.adapter), seed=seed)

    def embed(loaded: CorpusFlows, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        def done(flows: int, of: int) -> None:
            tell(f"{method.name}: {flows:,} of {of:,} flows of {loaded.card.name}")

        return encoder.embed(_packets(loaded, method), rows, done)

    facts = encoder.facts
    checkpoint = encoder.digest if method.adapter in checkpoints else ""
    return ReadyEncoder(digest, encoder.digest, facts.d, facts.parameters, encoder.origin, facts.licence, embed,
                checkpoint=checkpoint)  # fmt: skip


def _packets(loaded: CorpusFlows, method: FlowMethod) -> PacketFlows:
    if loaded.packets is None:
        raise UsageError(f"{method.name}: needs packets of both directions, and {loaded.card.name} has none")
    return loaded.packets


def _pretrained(
    method: FlowMethod, unlabelled: Rows, corpora: Mapping[str, CorpusFlows], seed: int, folder: Path | None,
    tell: Callable[[str], None],
) -> PacketEncoder:  # fmt: skip
    try:
        from ethogram.third_party_encoders.pretraining import (
            PretrainingSettings,
            Step,
            load_packets,
            pretrain_packets,
        )
    except ModuleNotFoundError as error:
        raise UsageError(f"{method.adapter} needs torch: pip install 'ethogram[train]' ({error})") from None
    path = None if folder is None else folder / "encoder.safetensors"
    if path is not None and path.exists():
        try:
            return load_packets(path, method.adapter)
        except LibraryError:
            pass  # an unreadable file is made again
    flows = PacketFlows.concat([_packets(corpora[name], method).take(unlabelled[name]) for name in sorted(unlabelled)])

    def step(at: Step) -> None:
        if at.step % 20 == 0:
            tell(
                f"{method.name}, seed {seed}: step {at.step} of {at.steps}, {at.loss:.4f}, {at.seconds_left:.0f} s left"
            )

    settings = PretrainingSettings.of(**method.pretraining)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return pretrain_packets(method.adapter, flows, settings, seed, step, save=path)
    except OSError as error:
        raise EthogramError(f"{path}: {error.strerror or error}") from None
