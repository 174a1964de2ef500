"""The options that say how inputs become flows of devices, for every command that reads flows."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_type_hints

from ethogram.cli.options import (
    DeviceFileOption,
    DevicesOnly,
    DnsLogs,
    From,
    Local,
    Names,
    NamesMapping,
    Pseudonymise,
    TimeZone,
    To,
    UseIdentity,
)

if TYPE_CHECKING:
    from ethogram.pipeline.read_options import ReadOptions

__all__ = ["with_reading_options"]

Command = Callable[..., int]


def _reading(
    devices: DeviceFileOption = None,
    devices_only: DevicesOnly = False,
    names: Names = None,
    names_mapping: NamesMapping = None,
    dns_log: DnsLogs = None,
    time_zone: TimeZone = "UTC",
    identity: UseIdentity = True,
    local: Local = None,
    time_from: From = None,
    time_to: To = None,
    pseudonymise: Pseudonymise = None,
) -> ReadOptions:
    from ethogram.pipeline.read_options import read_options

    return read_options(
        devices, local, time_from, time_to, devices_only=devices_only, names=tuple(names or ()),
        names_mapping=names_mapping, dns_logs=tuple(dns_log or ()), time_zone=time_zone, identity=identity,
        pseudonymise=pseudonymise,
    )  # fmt: skip


def with_reading_options(*, identity: bool = True) -> Callable[[Command], Command]:
    """Give a command these options; it receives them as ``reading``, its keyword.

    Parameters
    ----------
    identity
        Whether the command uses identity facts and so has ``--no-identity``.
    """
    shared = [parameter for parameter in _parameters(_reading) if identity or parameter.name != "identity"]

    def decorate(command: Command) -> Command:
        parameters = [*_parameters(command), *shared]

        @functools.wraps(command)
        def run(**values: Any) -> int:
            given = {parameter.name: values.pop(parameter.name) for parameter in shared if parameter.name in values}
            return command(**values, reading=_reading(**given))

        # Typer reads both.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Parameters of a command with their annotations as objects, without ``reading``."""
    # Reading options are not loaded before a command runs.
    hints = get_type_hints(function, localns={"ReadOptions": object}, include_extras=True)
    return [
        parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "reading"
    ]
