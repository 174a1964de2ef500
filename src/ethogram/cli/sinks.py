"""``ethogram sinks``: where the live service sends alerts and changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from ethogram.cli.service_options import Config, Data, service_settings
from ethogram.cli.terminal import report, write_line
from ethogram.errors import InputError, UsageError

__all__ = ["command"]


def command(
    test: Annotated[
        str | None, typer.Option("--test", metavar="NAME", help="Send one test event through this sink.")
    ] = None,
    config: Config = None,
    data: Data = None,
) -> int:
    """List the sinks of the live service, or send a test event through one.

    A test event has the kind 'test' and severity 'info'. It does not pass through the running service.
    """
    settings = service_settings(config, data, None)
    if test is None:
        width = max(map(len, settings.sinks), default=0)
        for name, sink in settings.sinks.items():
            write_line(f"{name:<{width}}  {sink.type:<7}  {getattr(sink, 'url', None) or getattr(sink, 'path', '')}")
        return 0
    if test not in settings.sinks:
        known = ", ".join(settings.sinks) or "none"
        raise UsageError(f"--test: there is no sink {test!r}; the settings have {known}")
    from ethogram.serve.sinks.runner import open_sink, sample_event
    from ethogram.serve.sinks.sink import RefusedEventError, SinkError

    opened = open_sink(settings.sinks[test])
    try:
        opened.send(sample_event(datetime.now(tz=UTC)))
    except (SinkError, RefusedEventError) as error:
        raise InputError(f"sink {test}: {error}") from None
    finally:
        opened.close()
    report(f"sink {test}: sent")
    return 0
