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
        Dotted name of the module that implements it.
    weights
        Where the weights come from: there are none; a random draw; a closed-form fit to unlabelled flows (PCA and its
        like); gradient descent on unlabelled flows; a file of the user.
    title
        In progress lines; '' for kinds that take no time.
    network
        It is a torch network, which can be fine-tuned with labels.
    decodes
        It maps embeddings back to vectors.
    """

    name: str
    module: str
    weights: Literal["none", "random", "closed-form", "gradient", "file"]
    title: str = ""
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

    @property
    def origin(self) -> str:
        """Where the weights come from, as in result rows."""
        return "drawn" if self.weights == "random" and not self.network else ORIGINS[self.weights]


ORIGINS = {
    "none": "no weights", "random": "random weights", "closed-form": "directions of the unlabelled flows",
    "gradient": "trained here", "file": "a file of the user",
}  # fmt: skip
ROOM = "ethogram.representation"

KINDS = {
    kind.name: kind
    for kind in (
        EncoderKind("raw", f"{ROOM}.vector", "none"),
        EncoderKind("random-projection", f"{ROOM}.baselines", "random"),
        EncoderKind("pca", f"{ROOM}.baselines", "closed-form", "PCA"),
        EncoderKind("linear-fields", f"{ROOM}.linear_fields", "closed-form", "linear encoder of fields", decodes=False),
        EncoderKind("untrained", f"{ROOM}.autoencoder", "random", network=True),
        EncoderKind("ae", f"{ROOM}.autoencoder", "gradient", "autoencoder", network=True),
        EncoderKind("vae", f"{ROOM}.autoencoder", "gradient", "variational autoencoder", network=True),
        EncoderKind("fields", f"{ROOM}.fields", "gradient", "field-aware encoder", network=True),
    )
}
"""All kinds by name."""


def kind_of(settings: EncoderSettings) -> EncoderKind:
    """The kind that some settings name.

    >>> kind_of(EncoderSettings(kind="pca")).deterministic
    True
    """
    return KINDS[settings.kind]
