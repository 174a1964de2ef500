"""The registry of encoder kinds: what each kind of :class:`~ethogram.config.EncoderSettings` is and can do.

:mod:`ethogram.representation.build` makes encoders of these kinds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ethogram.config import EncoderSettings

__all__ = ["KINDS", "EncoderKind", "kind_of"]


@dataclass(frozen=True)
class EncoderKind:
    """Properties of one kind of encoder.

    Parameters
    ----------
    name
        As in the settings and in file headers.
    module
        The module of :mod:`ethogram.representation` that implements it.
    weights
        Where the weights come from: there are none; a random draw; a closed-form fit to unlabelled flows (PCA and its
        like); gradient descent on unlabelled flows.
    network
        It is a torch network, which can be fine-tuned with labels.
    decodes
        It maps embeddings back to vectors.
    """

    name: str
    module: str
    weights: Literal["none", "random", "closed-form", "gradient"]
    network: bool = False
    decodes: bool = True

    @property
    def deterministic(self) -> bool:
        """The seed has no effect: one encoder stands for all seeds."""
        return self.weights in ("none", "closed-form")

    @property
    def fitted(self) -> bool:
        """The weights depend on the flows that it was fitted on."""
        return self.weights in ("closed-form", "gradient")

    @property
    def trained(self) -> bool:
        """The weights are learnt by gradient descent."""
        return self.weights == "gradient"


KINDS = {
    kind.name: kind
    for kind in (
        EncoderKind("raw", "vector", "none"),
        EncoderKind("random-projection", "baselines", "random"),
        EncoderKind("pca", "baselines", "closed-form"),
        EncoderKind("linear-fields", "linear_fields", "closed-form", decodes=False),
        EncoderKind("untrained", "autoencoder", "random", network=True),
        EncoderKind("ae", "autoencoder", "gradient", network=True),
        EncoderKind("vae", "autoencoder", "gradient", network=True),
        EncoderKind("fields", "fields", "gradient", network=True),
    )
}
"""All kinds by name."""


def kind_of(settings: EncoderSettings) -> EncoderKind:
    """The kind that some settings name.

    >>> kind_of(EncoderSettings(kind="pca")).deterministic
    True
    """
    return KINDS[settings.kind]
