"""Options that cannot act on an input: they are refused, or said where other inputs follow them, never ignored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from ethogram.config import FlowSettings, MeterSettings
from ethogram.errors import UsageError

__all__ = ["given_options", "refuse_unused", "same_for_all"]

_same_for_all: ContextVar[bool] = ContextVar("same_for_all", default=False)

_FLOW = {"local": "--local", "join_cut": "--no-join", "pair": "--pair", "names": "--no-remote-names",
         "time_zone": "--time-zone"}  # fmt: skip
_METER = {"idle_timeout_s": "--idle-timeout", "active_timeout_s": "--active-timeout"}


def given_options(
    naming: Sequence[str], flow: FlowSettings | None, meter: MeterSettings | None = None
) -> list[str]:
    """Options by which flows are made of packets and records, where they differ from their defaults.

    Parameters
    ----------
    naming
        Options given that name devices.
    flow, meter
        Settings; None: the defaults.

    Examples
    --------
    >>> given_options(["--devices"], FlowSettings(pair="never"))
    ['--devices', '--pair']
    """
    options = list(naming)
    flow, meter = flow or FlowSettings(), meter or MeterSettings()
    options += [option for name, option in _FLOW.items() if getattr(flow, name) != getattr(FlowSettings(), name)]
    options += [option for name, option in _METER.items() if getattr(meter, name) != getattr(MeterSettings(), name)]
    return options


def refuse_unused(options: list[str], what: str, path: str | Path, instead: str) -> None:
    """Refuse options that have no effect on any input.

    Raises
    ------
    UsageError
        When there are any: names them, and the command that takes them.
    """
    if options and not _same_for_all.get():
        some = "has" if len(options) == 1 else "have"
        raise UsageError(f"{path} is {what}: {', '.join(options)} {some} no effect on it; give them to {instead}")


@contextmanager
def same_for_all() -> Iterator[None]:
    """Read inputs of every form under the same settings: a benchmark's settings act where they can."""
    token = _same_for_all.set(True)
    try:
        yield
    finally:
        _same_for_all.reset(token)
