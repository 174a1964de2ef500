"""Ethogram: which IoT devices are on a network, from its flow records alone, and why.

The package is used by its verbs; each lives in :mod:`ethogram.pipeline` and has a command of the same name.
Importing :mod:`ethogram` loads nothing heavy.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
