"""All that the flow stages hold of earlier blocks, as tables: a live stream goes on from it after a restart.

This is the one place that looks inside the stages from outside. What is held is data alone: records that may still be
paired or joined, the ports of the devices, the MACs of addresses, and clocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ethogram.flow.pair import Pairing
from ethogram.pipeline.stages import FlowStages

__all__ = ["restore_stages", "stages_state"]

_PORTS = ("device", "port", "count")
_CLOCKS = {"stage": pl.String(), "clock": pl.Int64(), "begun": pl.Boolean()}


def _frames(stages: FlowStages) -> dict[str, tuple[Any, str]]:
    """Where each table is held."""
    orientation = stages._orientation
    places: dict[str, tuple[Any, str]] = {
        "pair": (stages._pairing, "_held"),
        "join": (stages._joining, "_held"),
    }
    if hasattr(orientation._namer, "_pairs"):
        places["macs"] = (orientation._namer, "_pairs")
    return places


def stages_state(stages: FlowStages) -> dict[str, pl.DataFrame]:
    """What the stages hold.

    Returns
    -------
    Tables by name, which :func:`restore_stages` takes.
    """
    found = {name: getattr(owner, attribute) for name, (owner, attribute) in _frames(stages).items()}
    halves = stages._pairing._halves
    found["halves"] = pl.DataFrame({name: getattr(halves, name).copy() for name in halves.__dataclass_fields__})
    memory = stages._orientation._memory
    found["ports"] = pl.DataFrame({name: memory._lines[name][: memory._count].copy() for name in _PORTS})
    found["clocks"] = pl.DataFrame(
        [("pair", int(stages._pairing._clock), stages._paired), ("join", int(stages._joining._clock), True)],
        schema=_CLOCKS, orient="row",
    )  # fmt: skip
    return found


def restore_stages(stages: FlowStages, held: dict[str, pl.DataFrame]) -> bool:
    """Put back what :func:`stages_state` gave; returns whether it was of this form.

    Nothing is put back of another form: the stages then begin afresh.
    """
    places = _frames(stages)
    if any(name not in held or held[name].schema != getattr(*place).schema for name, place in places.items()):
        return False
    if not {"halves", "clocks", "ports"} <= set(held) or dict(held["clocks"].schema) != _CLOCKS:
        return False
    if held["ports"].columns != list(_PORTS):
        return False
    pairing: Pairing = stages._pairing
    fields = pairing._halves.__dataclass_fields__
    if held["halves"].columns != list(fields):
        return False
    for name, (owner, attribute) in places.items():
        setattr(owner, attribute, held[name])
    kind = type(pairing._halves)
    pairing._halves = kind(
        *(
            np.ascontiguousarray(held["halves"][name].to_numpy(), getattr(pairing._halves, name).dtype)
            for name in fields
        )
    )
    memory, ports = stages._orientation._memory, held["ports"]
    lines = np.empty(max(2 * ports.height, len(memory._lines)), memory._lines.dtype)
    for name in _PORTS:
        lines[name][: ports.height] = ports[name].to_numpy()
    memory._count = ports.height
    memory._place(lines)
    for stage, clock, begun in held["clocks"].iter_rows():
        if stage == "pair":
            pairing._clock, stages._paired = clock, begun
        else:
            stages._joining._clock = clock
    return True
