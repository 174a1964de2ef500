"""Biflows to the flow table, block by block: joined, paired, oriented, named. Files and the live stream share it.

Memory: a block, the records that may still be paired or joined (about a million at most), the ports of the devices
(about a million) and the DNS answers (``max_answers``).
"""

from __future__ import annotations

import time

import polars as pl

from ethogram.config import FlowSettings
from ethogram.flow.arrival import Arrival
from ethogram.flow.deduplicate import Deduplicator
from ethogram.flow.devices import Namer
from ethogram.flow.identity import IdentityFacts
from ethogram.flow.join import Joining
from ethogram.flow.local import LocalNetwork
from ethogram.flow.names import Naming
from ethogram.flow.orient import Orientation
from ethogram.flow.pair import Pairing, mark_one_way
from ethogram.schema import ALWAYS, Accounting, FlowSource, TimeSpan

__all__ = ["FlowStages"]


class FlowStages:
    """Turn blocks of biflows into blocks of the flow table: seen once, joined, paired, oriented, named.

    What a block gives depends on it, on when it arrived and on the blocks before it alone: the same blocks give the
    same flows, live and replayed.

    Parameters
    ----------
    settings
        Of all stages.
    namer
        Gives ends their device.
    active_timeout_s
        Of the meter that made the records, for records that do not say why they ended.
    span
        Flows that begin outside it are ignored.
    identity
        Whether to collect identity facts of devices.

    Examples
    --------
    >>> from ethogram.flow.devices import LocalDevices
    >>> from ethogram.schema import BIFLOW
    >>> stages = FlowStages(FlowSettings(), LocalDevices(), 1800.0)
    >>> stages.flows(BIFLOW.empty(), last=True).height
    0
    """

    def __init__(
        self,
        settings: FlowSettings,
        namer: Namer,
        active_timeout_s: float,
        span: TimeSpan = ALWAYS,
        *,
        identity: bool = False,
    ) -> None:
        self._settings = settings
        self._paired = False
        self._arrived_us = 0  # when the block before arrived; 0: unknown
        self._deduplicator = Deduplicator()
        self._pairing = Pairing(settings.pair_gap_s, active_timeout_s, settings.join_span_s)
        self._joining = Joining(settings.join_gap_s, active_timeout_s, settings.join_span_s)
        facts = IdentityFacts() if identity else None
        self._orientation = Orientation(LocalNetwork(settings.local), namer, span, facts)
        self._naming = Naming(settings.names)

    @property
    def accountings(self) -> dict[str, Accounting]:
        """Accountings of the stages by name, in order; those that saw nothing are left out."""
        stages = {
            "twins": self._deduplicator.accounting,
            "join": self._joining.accounting,
            "pair": self._pairing.accounting,
            "orient": self._orientation.accounting,
        }
        return {name: accounting for name, accounting in stages.items() if accounting.read}

    def learn_names(self, source: FlowSource) -> None:
        """Take the passive DNS that a source has found so far."""
        self._naming.learn(source.name_answers())
        self._naming.learn_questions(source.name_questions())

    def learn_logs(self, answers: pl.DataFrame, questions: pl.DataFrame) -> None:
        """Take the passive DNS of resolver logs, before the flows that it names."""
        self._naming.learn(answers)
        self._naming.learn_questions(questions)

    def learn_identity(self, source: FlowSource) -> None:
        """Take the identity facts of a source that has been read, if they are collected."""
        if self._orientation.identity is not None:
            self._orientation.identity.learn(source.identity_facts())

    def learn_facts(self, facts: pl.DataFrame) -> None:
        """Take identity facts without devices (:data:`ethogram.schema.IDENTITY`), if they are collected."""
        if self._orientation.identity is not None:
            self._orientation.identity.learn(facts)

    def learn_table(self, flows: pl.DataFrame) -> None:
        """Take MACs and addresses of flows that have their devices already, if identity facts are collected."""
        if self._orientation.identity is not None and flows.height:
            self._orientation.identity.learn_table(flows.lazy())

    @property
    def identity_counts(self) -> dict[str, int]:
        """Identity facts that were left out, by reason; call after :meth:`identity`."""
        facts = self._orientation.identity
        return {} if facts is None else {reason: count for reason, count in facts.counts.items() if count}

    def identity(self) -> pl.DataFrame:
        """Identity facts of the devices that have flows so far (:data:`ethogram.schema.IDENTITY`)."""
        return self._orientation.identity_table()

    def flows(self, biflows: pl.DataFrame, arrived_us: int | None = None, *, last: bool = False) -> pl.DataFrame:
        """Give the flows of one block; records that later ones may complete wait for the next, unless it is the last.

        Parameters
        ----------
        biflows
            Form :data:`ethogram.schema.BIFLOW`. Under ``pair="auto"`` rows with ``one_way`` are paired, and a null is
            not one-way: call :meth:`mark_one_way` first for records of a unidirectional source.
        arrived_us
            When the block had arrived, in microseconds since 1970; None where nobody knows, as of most files: then no
            record is believed to be of later than now.
        last
            Give everything that waits, too.

        Returns
        -------
        flows
            Form :data:`ethogram.schema.FLOW`, in order of start.
        """
        arrival = self._arrival(arrived_us)
        block = self._deduplicator.remove(self.mark_one_way(biflows), arrival)
        if self._settings.join_cut:
            block = self._joining.flows(block, arrival, last=last)
        else:
            joined = pl.lit(1, dtype=pl.UInt32)
            block = block.with_columns(joined=joined, last_cut=pl.lit(value=False), began=pl.col("start"))
        if self._paired or block["one_way"].any():
            self._paired = True
            block = self._pairing.flows(block, arrival, last=last)
        return self._naming.named(self._orientation.rows(block))

    def _arrival(self, at_us: int | None) -> Arrival:
        if at_us is None:
            self._arrived_us = 0
            return Arrival(time.time_ns() // 1000)
        before, self._arrived_us = self._arrived_us, at_us
        return Arrival(at_us, max(at_us - before, 0) if before else 0)

    def mark_one_way(self, biflows: pl.DataFrame, *, unidirectional: bool = False) -> pl.DataFrame:
        """Set ``one_way`` by the settings and the source (:func:`ethogram.flow.pair.mark_one_way`)."""
        return mark_one_way(biflows, self._settings.pair, unidirectional=unidirectional)
