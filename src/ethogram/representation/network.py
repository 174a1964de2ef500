"""What the networks that learn share: drawing from the posterior, weights in and out, and the encoder interface."""

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
    """Whether this processor multiplies bfloat16 in hardware; where it does not, it is slower than float32."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported is not None and supported() and torch.backends.mkldnn.is_available())


class Network(nn.Module):
    """A network with a bottleneck: the latent units are the only way from its input to what it reconstructs.

    Parameters
    ----------
    settings
        Of the network.
    seed
        Of its first weights.
    """

    header: Header

    def __init__(self, settings: EncoderSettings, seed: int = 0) -> None:
        super().__init__()
        self.settings = settings
        self.seed = seed
        self.view = view_of(settings.view)
        # The generator of the whole program stays as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.build()
        self.header = Header(encoder=settings, seed=seed)

    @abstractmethod
    def build(self) -> None:
        """Make the layers."""

    @abstractmethod
    def prepare(self, flows: CustomFlows, rows: NDArray[np.int64]) -> Any:
        """What a step needs of some flows; it runs beside the step before, and touches no weight."""

    @abstractmethod
    def posterior(self, prepared: Any) -> tuple[Tensor, Tensor | None]:
        """Mean and log variance [N, D] of the latent units; no variance where the network is not variational."""

    @abstractmethod
    def errors(self, loss: str, prepared: Any, z: Tensor) -> dict[str, Tensor]:
        """Error of what z [N, D] leads to: ``reconstruction``, which is learnt from, and its parts."""

    @abstractmethod
    def embed_vectors(self, x: NDArray[np.float32]) -> Tensor:
        """Mean of the posterior [N, D] of vectors [N, W]."""

    @abstractmethod
    def vectors(self, z: Tensor) -> Tensor:
        """Vectors [N, W] of embeddings [N, D]."""

    @abstractmethod
    def mask(self, prepared: Any, generator: torch.Generator) -> Any:
        """``prepared`` with hidden from the encoder what it is to guess; the same where nothing is hidden."""

    def with_positives(self, prepared: Any) -> Any:
        """``prepared`` with what is learnt from beside it; the same where flows are learnt from one by one."""
        return prepared

    def batch_losses(self, prepared: Any, mean: Tensor) -> dict[str, Tensor]:
        """``likeness``, what flows cost together rather than one by one, and its parts; nothing where there is none.

        Parameters
        ----------
        prepared
            From :meth:`with_positives`.
        mean
            Of the posterior, [N, D].
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
            Of the KL term (:data:`~ethogram.representation.encoder.KL_REDUCTION`).
        generator
            Of the noise; None: nothing is hidden and z is the mean, as when embedding.

        Returns
        -------
        dict
            ``loss``, ``reconstruction``, ``kl``, ``likeness`` where there is one, and parts of them.
        """
        prepared = self.with_positives(prepared)
        seen = prepared if generator is None else self.mask(prepared, generator)
        mean, log_variance = self.posterior(seen)
        mean = mean.float()
        z, kl = mean, torch.zeros(())
        if log_variance is not None:
            limit = self.settings.log_variance_limit
            log_variance = log_variance.float().clamp(-limit, limit)
            kl = kl_divergence(mean, log_variance)
            if generator is not None:
                z = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=generator)
        found = {**self.errors(loss, prepared, z), **self.batch_losses(prepared, mean)}
        together = found["reconstruction"] + kl_weight * kl
        if "likeness" in found:
            together = together + found["likeness"]
        return {"loss": together, "kl": kl, **found}

    def encode(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings, float32 [N, D], of vectors [N, W]: the mean, nothing is drawn."""
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
        """The weights by name; copies."""
        return {name: value.detach().numpy().copy() for name, value in self.named_parameters()}

    def load(self, tensors: Tensors) -> None:
        """Take these weights.

        Raises
        ------
        LibraryError
            When names or shapes are others.
        """
        own = dict(self.named_parameters())
        if set(own) != set(tensors) or any(tuple(own[n].shape) != tensors[n].shape for n in own):
            raise LibraryError("weights of other names or shapes")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(torch.from_numpy(np.ascontiguousarray(tensors[name], np.float32)))

    @property
    def digest(self) -> str:
        """Of the weights as they are now."""
        return digest_of(self.tensors())
