"""Libraries that come with an extra of the package: a command asks for all it needs before it begins."""

from __future__ import annotations

from importlib.util import find_spec

from ethogram.errors import UsageError

__all__ = ["absence", "need"]

_EXTRAS = {
    "onnx": ("onnx", "train"), "onnxruntime": ("ONNX Runtime", "embed"), "safetensors": ("safetensors", "train"),
    "torch": ("torch", "train"),
}  # fmt: skip
"""By module: its name for people, and the extra that brings it."""


def absence(purpose: str, *modules: str) -> str | None:
    """What is missing for a purpose and how to get it, as one line; None when nothing is.

    >>> absence("counting")
    """
    missing = [module for module in modules if find_spec(module) is None]
    if not missing:
        return None
    *first, last = (_EXTRAS[module][0] for module in missing)
    names = f"{', '.join(first)} and {last}" if first else last
    extras = ",".join(sorted({_EXTRAS[module][1] for module in missing}))
    return f"{purpose} needs {names}: pip install 'ethogram[{extras}]'"


def need(purpose: str, *modules: str) -> None:
    """Refuse to begin what would fail later.

    Parameters
    ----------
    purpose
        What is wanted, for the message.
    modules
        What has to be installed for it.

    Raises
    ------
    UsageError
        When one of them is not.
    """
    if (line := absence(purpose, *modules)) is not None:
        raise UsageError(line)
