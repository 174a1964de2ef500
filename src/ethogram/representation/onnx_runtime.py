"""Import ONNX Runtime with telemetry disabled, which must happen before the import.

Version 1.29 and later look up a host of their maker when they are imported, keep a device id below the user's cache
folder, and send events of each session. The variable below stops all three; setting it after the import does not.
The range of versions in ``pyproject.toml`` ends at the last one for which a test has shown this.
"""

from __future__ import annotations

import os
from typing import Any

from ethogram.errors import LibraryError
from ethogram.representation.needs import absence

__all__ = ["onnx_runtime"]

_DISABLE_TELEMETRY = "ORT_DISABLE_TELEMETRY"


def onnx_runtime() -> Any:
    """Import ``onnxruntime`` with telemetry disabled, whatever the environment says.

    Raises
    ------
    LibraryError
        When it is not installed.
    """
    os.environ[_DISABLE_TELEMETRY] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        # It may also be installed but incompatible with this machine.
        raise LibraryError(absence("embedding", "onnxruntime") or f"ONNX Runtime cannot be loaded: {error}") from None
    return onnxruntime
