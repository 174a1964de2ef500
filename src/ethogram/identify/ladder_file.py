"""The file of ladder weights: JSON with checked names, shapes and bounds; nothing in it is executed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ethogram._files import atomic_write
from ethogram._text import json_text
from ethogram.errors import LibraryError
from ethogram.identify.behaviour import STATISTICS, Behaviour
from ethogram.identify.ladder import KIND_PRIORS, MODEL_PRIORS, PLATFORM_PRIORS, VENDOR_PRIORS, LadderWeights

__all__ = ["FORMAT", "LadderFile", "read_ladder", "write_ladder"]

FORMAT = "ethogram.ladder/3"
MOST_OCTETS = 1 << 20
"""A weights file is some 50 KB; a larger file is refused unread."""
_ARRAYS = ("mean_", "spread_", "usual_", "coefficients_", "offsets_")


@dataclass(frozen=True)
class LadderFile:
    """Weights of the ladder and the fitted behaviour of kinds, with their provenance.

    Parameters
    ----------
    weights
        Weights and thresholds.
    behaviour
        Fitted on the packaged library; None where no kinds were known.
    provenance
        What it was fitted on: corpora, digest of the library, command.
    """

    weights: LadderWeights
    behaviour: Behaviour | None = None
    provenance: dict[str, str] = field(default_factory=dict)


def write_ladder(file: LadderFile, path: Path) -> None:
    """Write the file as a whole or not at all."""
    behaviour = None
    if file.behaviour is not None:
        arrays = {name: getattr(file.behaviour, name).round(6).tolist() for name in _ARRAYS}
        behaviour = {"kinds": list(file.behaviour.kinds_), "statistics": list(STATISTICS), **arrays}
    weights = {
        name: {key: round(value, 4) for key, value in values.items()} for name, values in asdict(file.weights).items()
    }
    content = {"format": FORMAT, "provenance": file.provenance, **weights, "behaviour": behaviour}
    with atomic_write(path) as part:
        part.write_text(json_text(content, indent=True), encoding="utf-8")


def read_ladder(path: Path) -> LadderFile:
    """Read a file of :func:`write_ladder`.

    Raises
    ------
    LibraryError
        If the file is missing, damaged, of another version, or names features or statistics of another version.
    """
    try:
        if path.stat().st_size > MOST_OCTETS:
            raise LibraryError(f"{path}: larger than a file of ladder weights")
        content = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise LibraryError(f"{path}: cannot be read as ladder weights: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise LibraryError(f"{path}: not of the form {FORMAT}")
    try:
        weights = LadderWeights(
            vendor=_numbers(content["vendor"], set(VENDOR_PRIORS)),
            kind=_numbers(content["kind"], set(KIND_PRIORS)),
            model=_numbers(content["model"], set(MODEL_PRIORS)),
            platform=_numbers(content["platform"], set(PLATFORM_PRIORS)),
            thresholds=_numbers(content["thresholds"]),
            sure=_numbers(content["sure"]),
        )
        behaviour = None if content["behaviour"] is None else _behaviour(content["behaviour"])
        provenance = {str(key): str(value) for key, value in content["provenance"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LibraryError(f"{path}: not valid ladder weights: {error}") from None
    return LadderFile(weights, behaviour, provenance)


def _numbers(values: dict[str, Any], names: set[str] | None = None) -> dict[str, float]:
    numbers = {str(key): float(value) for key, value in values.items()}
    if names is not None and set(numbers) != names:
        raise ValueError(f"features differ from this version's: {', '.join(sorted(set(numbers) ^ names))}")
    if not all(isfinite(value) for value in numbers.values()):
        raise ValueError("a weight is not finite")
    return numbers


def _behaviour(values: dict[str, Any]) -> Behaviour:
    if values["statistics"] != list(STATISTICS):
        raise ValueError("statistics differ from this version's")
    behaviour = Behaviour()
    behaviour.kinds_ = [str(kind) for kind in values["kinds"]]
    kinds, width = len(behaviour.kinds_), len(STATISTICS)
    shapes = {"mean_": (width,), "spread_": (width,), "usual_": (kinds, width), "coefficients_": (kinds, width),
              "offsets_": (kinds,)}  # fmt: skip
    for name, shape in shapes.items():
        array = np.array(values[name], dtype=np.float64)
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"{name} has not the shape {shape}")
        setattr(behaviour, name, array)
    return behaviour
