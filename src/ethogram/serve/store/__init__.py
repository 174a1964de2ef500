"""Decisions of the live service in a database: devices, verdicts, labels, history, users and events."""

from ethogram.serve.store.store import Store

__all__ = ["Store"]
