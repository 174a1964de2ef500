"""Check optional libraries before a command begins its work."""

from __future__ import annotations

from importlib.util import find_spec

from ethogram.errors import UsageError

__all__ = ["absence", "need"]

_EXTRAS = {
    "matplotlib": ("Matplotlib", "plot"), "onnx": ("onnx", "train"), "onnxruntime": ("ONNX Runtime", "embed"),
    "safetensors": ("safetensors", "train"), "torch": ("torch", "train"),
}  # fmt: skip
"""Display name and extra of each module."""


def absence(purpose: str, *modules: str) -> str | None:
    """A message on the libraries missing for a purpose and how to install them; None if there are none.

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
    """Raise if a library is missing.

    Parameters
    ----------
    purpose
        What the libraries are for, as in the message.
    modules
        Required modules.

    Raises
    ------
    UsageError
        When one of them is not installed.
    """
    if (line := absence(purpose, *modules)) is not None:
        raise UsageError(line)
