"""How well an encoder gives back what it saw: errors flow by flow, what its latent units carry, agreement of seeds.

The overall error can fall on another network whose payloads are emptier; only the error of each block, and that of the
payload without its padding, tell what happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.representation.dense import DenseEncoder, DenseLayer, encoder_layers
from ethogram.representation.encoder import Encoder
from ethogram.representation.payload_length import header_width, payload_symbols
from ethogram.representation.vector import OCTET, SYMBOL_CODES, expand
from ethogram.schema import CustomFlows

__all__ = ["PARTS", "Octets", "Reconstruction", "error_summary", "linear_cka", "posterior_of", "reconstruct"]

BATCH = 1024
PARTS = ("overall", "meta", "packets", "payload", "non-padding")
"""Parts of a vector with an error each; a view has those that it contains."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Octets:
    """Counts of the octets among the first payload symbols, and of those that are reconstructed.

    Parameters
    ----------
    seen, hits
        int64 [S], by position: number of octets, and of those whose reconstruction rounds to the same symbol.
    codes
        int64 [S, 259]: count of each symbol by position, for a constant guess.
    """

    seen: NDArray[np.int64]
    hits: NDArray[np.int64]
    codes: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """Share of octets that are reconstructed; NaN if there are no octets."""
        return float(self.hits.sum() / self.seen.sum()) if self.seen.sum() else float("nan")

    def constant(self, learnt: Octets) -> float:
        """Accuracy of guessing the most frequent octet of ``learnt`` at each position."""
        guess = OCTET + learnt.codes[:, OCTET:].argmax(1)
        right = self.codes[np.arange(len(guess)), guess].sum()
        return float(right / self.seen.sum()) if self.seen.sum() else float("nan")


@dataclass(frozen=True)
class Reconstruction:
    """Reconstruction of N flows by one encoder.

    Parameters
    ----------
    errors
        Mean squared error of each flow, float64 [N], by part. A flow without payload has NaN as ``non-padding``.
    z
        Embeddings, float32 [N, D].
    kl
        Mean KL divergence of each latent unit from N(0, 1), float64 [D]; None unless the encoder is variational.
    octets
        None if the view has no payload.
    """

    errors: dict[str, NDArray[np.float64]]
    z: NDArray[np.float32]
    kl: NDArray[np.float64] | None = None
    octets: Octets | None = field(default=None)

    def active(self, variance: float) -> NDArray[np.bool_]:
        """Whether the variance of each latent unit over the flows exceeds a bound, [D].

        References
        ----------
        Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016.
        """
        return np.asarray(self.z.astype(np.float64).var(0) > variance)


def posterior_of(
    encoder: Encoder, flows: CustomFlows, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Mean and clamped log variance [N, D] of the latent units, in any row order; None unless variational."""
    settings = encoder.header.encoder
    if settings.kind != "vae":
        return None
    if isinstance(encoder, DenseEncoder):
        x = expand(flows, encoder.header.view, rows)
        *inner, mean = encoder_layers(settings, encoder.tensors)
        for layer in inner:
            x = layer(x)
        second = DenseLayer(encoder.tensors["log_variance.weight"], encoder.tensors["log_variance.bias"])
        means, log_variance = mean(x), second(x)
    else:
        import torch  # reached by torch networks alone

        from ethogram.representation.network import Network

        if not isinstance(encoder, Network):
            return None
        with torch.inference_mode():
            posterior = encoder.posterior(encoder.prepare(flows, rows))
        assert posterior[1] is not None
        means, log_variance = posterior[0].float().numpy(), posterior[1].float().numpy()
    limit = settings.log_variance_limit
    return means.astype(np.float64), np.clip(log_variance.astype(np.float64), -limit, limit)


def reconstruct(encoder: Encoder, flows: CustomFlows, *, first_symbols: int = 100) -> Reconstruction:
    """Encode and decode flows batch by batch, and compute the errors.

    Parameters
    ----------
    encoder
        An encoder with a decoder.
    flows
        N custom flows.
    first_symbols
        Number of payload symbols whose octets are compared.

    Examples
    --------
    >>> from ethogram.representation.baselines import raw
    >>> reconstruct(raw("meta"), CustomFlows.empty()).errors["meta"].shape
    (0,)
    """
    view, n = encoder.header.view, len(flows)
    blocks, before = view.blocks(), header_width(view)
    symbols = min(first_symbols, view.width - before)
    used = payload_symbols(flows)
    errors = {name: np.full(n, np.nan) for name in PARTS if name in {"overall", *blocks} or
              (name == "non-padding" and symbols)}  # fmt: skip
    z = np.empty((n, encoder.header.d), np.float32)
    counted = Octets(np.zeros(symbols, np.int64), np.zeros(symbols, np.int64),
                     np.zeros((symbols, SYMBOL_CODES), np.int64))  # fmt: skip
    kl: NDArray[np.float64] | None = None
    for begin in range(0, n, BATCH):
        rows = np.arange(begin, min(begin + BATCH, n))
        x = expand(flows, view, rows)
        z[rows] = encoder.encode(x)
        x_hat = encoder.decode(z[rows])
        squares = np.square(x_hat - x, dtype=np.float64)
        errors["overall"][rows] = squares.mean(1)
        for name, place in blocks.items():
            errors[name][rows] = squares[:, place].mean(1)
        if symbols:
            errors["non-padding"][rows] = _non_padding(squares[:, before:], used[rows])
            _count(counted, x[:, before : before + symbols], x_hat[:, before : before + symbols])
        posterior = posterior_of(encoder, flows, rows)
        if posterior is not None:
            mean, log_variance = posterior
            part = (0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)).sum(0)
            kl = part if kl is None else kl + part
    return Reconstruction(errors, z, None if kl is None else kl / n, counted if symbols else None)


def _non_padding(squares: NDArray[np.float64], used: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over the first ``used`` columns of each row; NaN if ``used`` is 0."""
    sums = np.where(np.arange(squares.shape[1]) < used[:, None], squares, 0.0).sum(1)
    return np.where(used > 0, sums / np.maximum(used, 1), np.nan)


def _count(into: Octets, x: NDArray[np.float32], x_hat: NDArray[np.float32]) -> None:
    codes = np.rint(x * (SYMBOL_CODES - 1)).astype(np.int64)
    decoded = np.clip(np.rint(x_hat * (SYMBOL_CODES - 1)), 0, SYMBOL_CODES - 1).astype(np.int64)
    octet = codes >= OCTET
    into.seen[:] += octet.sum(0)
    into.hits[:] += (octet & (decoded == codes)).sum(0)
    place = np.broadcast_to(np.arange(codes.shape[1]), codes.shape)
    np.add.at(into.codes, (place.ravel(), codes.ravel()), 1)


def error_summary(errors: NDArray[np.float64]) -> dict[str, float]:
    """Mean, median and 95th percentile over flows, ignoring NaN.

    >>> error_summary(np.array([1.0, 3.0, np.nan]))["mean"]
    2.0
    """
    known = errors[~np.isnan(errors)]
    if not known.size:
        return {"mean": np.nan, "median": np.nan, "p95": np.nan}
    median, p95 = np.quantile(known, [0.5, 0.95])
    return {"mean": float(known.mean()), "median": float(median), "p95": float(p95)}


def linear_cka(a: Floats, b: Floats) -> float:
    """Linear centred kernel alignment of two sets of embeddings of the same flows, in [0, 1].

    Parameters
    ----------
    a, b
        [N, D] and [N, E], rows of the same flows.

    References
    ----------
    S. Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019.

    Examples
    --------
    >>> z = np.random.default_rng(0).standard_normal((50, 3))
    >>> round(linear_cka(z, 2 * z[:, ::-1]), 6)
    1.0
    """
    a, b = a - a.mean(0, dtype=np.float64), b - b.mean(0, dtype=np.float64)
    norm = float(np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    return float(np.linalg.norm(a.T @ b) ** 2) / norm if norm > 0 else float("nan")
