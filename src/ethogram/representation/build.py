"""Make an encoder of any kind: from settings, by fitting it to unlabelled flows, or from a file.

Encoders that learn by gradient descent start as :func:`build_network` and are trained by
:class:`ethogram.representation.training.Training`; all others come from :func:`fit_encoder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ethogram.config import EncoderSettings
from ethogram.errors import LibraryError
from ethogram.representation import baselines
from ethogram.representation.checkpoint import load, model_file
from ethogram.representation.dense import DenseEncoder
from ethogram.representation.encoder import Encoder, Tensors
from ethogram.representation.linear_fields import LinearFieldEncoder, linear_fields
from ethogram.representation.needs import absence, need
from ethogram.representation.vector import expand
from ethogram.schema import CustomFlows

if TYPE_CHECKING:
    from ethogram.representation.network import Network

__all__ = ["build_network", "fit_encoder", "load_encoder"]

Reader = Callable[[], Iterable[CustomFlows]]
"""Yields the same flows, batch by batch, each time it is called."""


def build_network(settings: EncoderSettings, seed: int, tensors: Tensors | None = None) -> Network:
    """The torch network of some settings, with random first weights or with the given ones.

    Raises
    ------
    UsageError
        When torch is not installed.
    LibraryError
        When the given weights have other names or shapes.
    """
    need("a network", "torch")
    from ethogram.representation.autoencoder import Autoencoder  # loads torch
    from ethogram.representation.fields import FieldEncoder

    net: Network = FieldEncoder(settings, seed) if settings.kind == "fields" else Autoencoder(settings, seed)
    if tensors is not None:
        net.load(tensors)
    return net


def fit_encoder(settings: EncoderSettings, seed: int, read: Reader) -> DenseEncoder | LinearFieldEncoder:
    """Make an encoder that needs no gradient descent: its weights are absent, drawn, or fitted in closed form.

    Parameters
    ----------
    settings
        Kind, view and dimensions.
    seed
        Seed of what is drawn; ignored by deterministic kinds.
    read
        Unlabelled flows to fit to; called by kinds that are fitted in closed form alone.

    Raises
    ------
    InputError
        When there are fewer flows than dimensions.
    UsageError
        When torch is needed and not installed.
    """
    match settings.kind:
        case "raw":
            return baselines.raw(settings.view)
        case "random-projection":
            return baselines.random_projection(settings, seed)
        case "pca":
            return baselines.pca(settings, (expand(flows, settings.view, np.arange(len(flows))) for flows in read()))
        case "linear-fields":
            return linear_fields(settings, read)
        case "untrained":
            net = build_network(settings, seed)
            return DenseEncoder(replace(net.header, weights=net.digest), net.tensors())
        case _:
            raise ValueError(f"an encoder of kind {settings.kind} is trained by gradient descent")


def load_encoder(path: Path) -> Encoder:
    """Load an encoder from safetensors; only networks whose decoder is not a plain stack of matrices need torch.

    Parameters
    ----------
    path
        A ``.safetensors`` file, or a directory that ``ethogram pretrain`` made.

    Raises
    ------
    LibraryError
        When the file is missing, damaged or inconsistent, or torch is needed and not installed.
    """
    header, tensors = load(model_file(path, ".safetensors"))
    if header.encoder.kind == "linear-fields":
        return LinearFieldEncoder(header, tensors)
    if header.encoder.kind != "fields":
        return DenseEncoder(header, tensors)
    if (missing := absence(f"{path}: the field-aware decoder", "torch")) is not None:
        raise LibraryError(missing)
    try:
        net = build_network(header.encoder, header.seed, tensors)
    except LibraryError as error:
        raise LibraryError(f"{path}: {error}") from None
    net.header = header
    return net
