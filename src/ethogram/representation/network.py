"""Base class of trained networks: sampling, losses, weights, and the encoder interface."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ethogram.config import EncoderSettings
from ethogram.errors import LibraryError
from ethogram.representation.encoder import Header, Tensors, digest_of, sized
from ethogram.representation.losses import kl_divergence
from ethogram.representation.views import view_of
from ethogram.schema import CustomFlows

__all__ = ["Network", "has_bfloat16"]

BATCH = 4096  # flows encoded or decoded at once


def has_bfloat16() -> bool:
    """Whether this processor has bfloat16 instructions; without them bfloat16 is slower than float32."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported is not None and supported() and torch.backends.mkldnn.is_available())


class Network(nn.Module):
    """A network with a bottleneck: the reconstruction depends on the input through the latent units alone.

    Parameters
    ----------
    settings
        Settings of the network.
    seed
        Seed of the initial weights.
    """

    header: Header

    def __init__(self, settings: EncoderSettings, seed: int = 0) -> None:
        super().__init__()
        self.settings = settings
        self.seed = seed
        self.view = view_of(settings.view)
        # The global random generator is left unchanged.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.build()
        self.header = Header(encoder=settings, seed=seed)

    @abstractmethod
    def build(self) -> None:
        """Create the layers."""

    @abstractmethod
    def prepare(self, flows: CustomFlows, rows: NDArray[np.int64]) -> Any:
        """Prepare a batch of flows; runs in another thread during the previous step, so it must not use weights."""

    @abstractmethod
    def posterior(self, prepared: Any) -> tuple[Tensor, Tensor | None]:
        """Mean and log variance [N, D] of the latent units; the latter is None unless the network is variational."""

    @abstractmethod
    def errors(self, loss: str, prepared: Any, z: Tensor) -> dict[str, Tensor]:
        """Reconstruction errors from z [N, D]: ``reconstruction``, which is minimised, and its parts."""

    @abstractmethod
    def embed_vectors(self, x: NDArray[np.float32]) -> Tensor:
        """Mean of the posterior [N, D] of vectors [N, W]."""

    @abstractmethod
    def vectors(self, z: Tensor) -> Tensor:
        """Vectors [N, W] of embeddings [N, D]."""

    @abstractmethod
    def mask(self, prepared: Any, generator: torch.Generator) -> Any:
        """Mask the inputs to be reconstructed; return ``prepared`` unchanged if the network masks nothing."""

    def with_positives(self, prepared: Any) -> Any:
        """Append the positives of a contrastive loss; return ``prepared`` unchanged if the network has none."""
        return prepared

    def batch_losses(self, prepared: Any, mean: Tensor) -> dict[str, Tensor]:
        """Losses between the flows of a batch: ``likeness`` and its parts; empty if the network has none.

        Parameters
        ----------
        prepared
            From :meth:`with_positives`.
        mean
            Mean of the posterior, [N, D].
        """
        del prepared, mean
        return {}

    def losses(
        self, prepared: Any, *, loss: str, kl_weight: float, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """The loss of a batch and its parts.

        Parameters
        ----------
        prepared
            From :meth:`prepare`.
        loss
            Name of the reconstruction loss.
        kl_weight
            Weight of the KL term (:data:`~ethogram.representation.encoder.KL_REDUCTION`).
        generator
            Generator of masks and noise; None: no masks, and z is the mean, as when embedding.

        Returns
        -------
        dict
            ``loss``, ``reconstruction``, ``kl``, ``likeness`` if the network has it, and their parts.
        """
        prepared = self.with_positives(prepared)
        visible = prepared if generator is None else self.mask(prepared, generator)
        mean, log_variance = self.posterior(visible)
        mean = mean.float()
        z, kl = mean, torch.zeros(())
        if log_variance is not None:
            limit = self.settings.log_variance_limit
            log_variance = log_variance.float().clamp(-limit, limit)
            kl = kl_divergence(mean, log_variance)
            if generator is not None:
                z = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=generator)
        parts = {**self.errors(loss, prepared, z), **self.batch_losses(prepared, mean)}
        total = parts["reconstruction"] + kl_weight * kl
        if "likeness" in parts:
            total = total + parts["likeness"]
        return {"loss": total, "kl": kl, **parts}

    def encode(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings, float32 [N, D], of vectors [N, W]: the mean of the posterior."""
        x = sized(x, self.view.width, "vectors")
        with torch.inference_mode():
            parts = [self.embed_vectors(x[i : i + BATCH]).float().numpy() for i in range(0, len(x), BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, self.settings.latent), np.float32)

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors, float32 [N, W], of embeddings [N, D]."""
        z = sized(z, self.settings.latent, "embeddings")
        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(z))
            parts = [self.vectors(given[i : i + BATCH]).float().numpy() for i in range(0, len(z), BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, self.view.width), np.float32)

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Copies of the weights by name."""
        return {name: value.detach().numpy().copy() for name, value in self.named_parameters()}

    def load(self, tensors: Tensors) -> None:
        """Set the weights.

        Raises
        ------
        LibraryError
            When names or shapes differ.
        """
        parameters = dict(self.named_parameters())
        if set(parameters) != set(tensors) or any(
            tuple(parameters[n].shape) != tensors[n].shape for n in parameters
        ):
            raise LibraryError("weights of other names or shapes")
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(torch.from_numpy(np.ascontiguousarray(tensors[name], np.float32)))

    @property
    def digest(self) -> str:
        """Digest of the current weights."""
        return digest_of(self.tensors())
