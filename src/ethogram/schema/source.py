"""Interfaces of readers: they give batches and count what they read, and know nothing of devices or labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol

import polars as pl

from ethogram.schema.accounting import Accounting
from ethogram.schema.biflow import NAME_ANSWER, NAME_QUESTION
from ethogram.schema.identity import IDENTITY
from ethogram.schema.packet import PacketBatch

__all__ = ["FlowSource", "PacketSource"]


class PacketSource(Protocol):
    """A capture: a source of packets for the meters."""

    name: str
    accounting: Accounting

    def batches(self) -> Iterator[PacketBatch]:
        """Yield the packets in bounded batches; ``accounting`` is complete when the iterator ends."""
        ...


class FlowSource(ABC):
    """Base class of sources of flow records; a subclass sets ``name`` and ``accounting``, and overrides what it knows.

    Attributes
    ----------
    name
        The input, for messages.
    accounting
        Complete when the batches end.
    unidirectional
        Whether a record without a value in ``one_way`` is one-way, its other direction being a record of its own.
    whole_blocks
        Whether each batch becomes a block of the flow table by itself, as it did live.
    arrived_us
        When the last batch arrived, in microseconds since 1970; None if unknown.
    first_problem
        Line and reason of the first record that was dropped.
    first_unreadable
        Line and reason of the first record that was used without an optional field that could not be read.
    """

    name: str
    accounting: Accounting
    unidirectional: bool = False
    whole_blocks: bool = False
    arrived_us: int | None = None
    first_problem: tuple[int, str] | None = None
    first_unreadable: tuple[int, str] | None = None

    @property
    def notes(self) -> list[str]:
        """Lines for the user about the input as a whole."""
        return []

    @property
    def empty_reason(self) -> str:
        """Why the input holds no records, if it holds none; empty if there is nothing to say."""
        return ""

    @abstractmethod
    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield biflow tables (:data:`ethogram.schema.BIFLOW`) in bounded batches."""

    def name_answers(self) -> pl.DataFrame:
        """Passive DNS answers seen so far (:data:`ethogram.schema.NAME_ANSWER`)."""
        return NAME_ANSWER.empty()

    def name_questions(self) -> pl.DataFrame:
        """DNS questions seen so far (:data:`ethogram.schema.NAME_QUESTION`); only captures have them."""
        return NAME_QUESTION.empty()

    def identity_facts(self) -> pl.DataFrame:
        """Identity facts of the input (:data:`ethogram.schema.IDENTITY`, ``device`` null); call after the batches.

        A row needs a ``mac`` or an ``address``: by these the flow stages find the device.
        """
        return IDENTITY.empty()
