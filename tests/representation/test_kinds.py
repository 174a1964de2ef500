"""The registry of encoder kinds agrees with the settings and with the encoders that are built."""

from __future__ import annotations

from importlib.util import find_spec
from typing import get_args

import numpy as np
import pytest

from custom_flows_made import made
from ethogram.config import EncoderSettings
from ethogram.errors import LibraryError
from ethogram.representation.build import fit_encoder
from ethogram.representation.kinds import KINDS, kind_of

FLOWS = made(200)


def test_every_kind_of_the_settings_is_registered() -> None:
    names = get_args(EncoderSettings.model_fields["kind"].annotation)
    assert set(names) == set(KINDS)
    assert all(kind_of(EncoderSettings(kind=name)).name == name for name in names)
    assert all(find_spec(kind.module) for kind in KINDS.values())


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if not kind.trained], ids=lambda kind: kind.name)
def test_flags_describe_what_is_built(kind: object) -> None:
    name = kind.name  # type: ignore[attr-defined]
    if KINDS[name].network:
        pytest.importorskip("torch")
    settings = EncoderSettings.of(kind=name, **({} if name == "raw" else {"d": 4}))
    reads: list[int] = []

    def read() -> list[object]:
        reads.append(1)
        return [FLOWS]

    first, second = (fit_encoder(settings, seed, read) for seed in (0, 1))  # type: ignore[arg-type]
    assert bool(reads) == KINDS[name].fitted
    assert (first.digest == second.digest) == KINDS[name].deterministic
    if KINDS[name].decodes:
        assert first.decode(np.zeros((2, first.header.d), np.float32)).shape[0] == 2
    else:
        with pytest.raises(LibraryError, match="decoder"):
            first.decode(np.zeros((2, first.header.d), np.float32))


def test_trained_kinds_are_not_fitted_in_closed_form() -> None:
    with pytest.raises(ValueError, match="gradient"):
        fit_encoder(EncoderSettings(kind="vae"), 0, list)
