"""Thin commands. A command parses, calls one verb of :mod:`ethogram.pipeline`, and renders."""

from ethogram.cli.app import main

__all__ = ["main"]
