"""``ethogram serve``: the live service."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from ethogram.cli.options import DeviceFileOption, KnowledgeOption, LibraryOption, Local, duration_option
from ethogram.cli.terminal import report, say, write_line
from ethogram.errors import ConfigurationError

__all__ = ["command", "require_extra"]


def require_extra() -> None:
    """Refuse in one line if the libraries of the service are not installed."""
    import importlib.util

    missing = [name for name in ("sqlalchemy", "alembic", "fastapi") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"the live service needs {', '.join(missing)}: pip install 'ethogram[serve]'"
        )


def command(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="Settings (TOML); options override them.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Folder of everything that is stored. Default: "
                                  "ethogram in the user's data folder (XDG_DATA_HOME).")
    ] = None,
    listen: Annotated[
        list[str] | None, typer.Option(metavar="URI", help="Receive flows here: udp://HOST:PORT or tcp://HOST:PORT. "
                                       "Repeatable. Default: UDP 4739 and 2055 on 127.0.0.1.")
    ] = None,
    collect: Annotated[
        bool, typer.Option(help="Receive flows in this process; --no-collect: read the folder of a collector.")
    ] = True,
    collector: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the collector. Default: collector in --data.")
    ] = None,
    watch: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also read captures and records that appear in this folder.")
    ] = None,
    page: Annotated[bool, typer.Option(help="Serve the page and the API.")] = True,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address of the page. Default: 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port of the page; 0: any. Default: 8470.")
    ] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy in front of the page provides TLS.")
    ] = False,
    cert: Annotated[Path | None, typer.Option(metavar="FILE", help="TLS: certificate of the page (PEM).")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="TLS: private key of the certificate (PEM).")] = None,
    store: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Database: a file of SQLite, or postgresql://USER@HOST/NAME. "
                                 "Default: store.db in --data.")
    ] = None,
    library: LibraryOption = None,
    knowledge: KnowledgeOption = None,
    devices: DeviceFileOption = None,
    names: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Names of devices: leases, hosts, lists as CSV or JSON. "
                                        "Repeatable; read again when it changes.")
    ] = None,
    local: Local = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check the settings and everything they name, and stop.")
    ] = False,
    duration: Annotated[
        float | None, duration_option("--for", help="Stop after this time. Default: run until stopped.")
    ] = None,
) -> int:  # fmt: skip
    """Run the live service: it receives flows, identifies devices as they appear, and shows them on a page.

    Without options it listens on this machine only, and keeps everything in one folder. It prints the address of the
    page and where the token to sign in with lies. On SIGINT, SIGTERM and SIGHUP it writes everything and stops.
    """
    require_extra()
    from ethogram.serve.memory import limit_arenas

    limit_arenas()  # before Polars is loaded
    from ethogram.config.serve import read_serve_settings
    from ethogram.serve.service import Service

    settings = read_serve_settings(config, os.environ, {
        "data": _text(data), "listen": tuple(listen or ()), "collect": None if collect else False,
        "collector": _text(collector), "watch": _text(watch), "page": None if page else False, "web.host": host,
        "web.port": port, "web.behind_proxy": behind_proxy or None, "certificate": _text(cert), "key": _text(key),
        "store": store, "library": tuple(library or ()), "knowledge": _text(knowledge), "devices": _text(devices),
        "names": tuple(str(name) for name in names or ()), "flow.local": tuple(local or ()),
    })  # fmt: skip
    service = Service(settings, lambda line: say(f"ethogram: {line}"))
    if check:
        problems = service.check()
        say(*(f"ethogram: {problem}" for problem in problems))
        if not problems:
            write_line(f"settings are valid; data folder {service.folder}")
        return 5 if problems else 0
    _run(service, duration)
    return 0


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _run(service: object, duration: float | None) -> None:
    """Serve until a signal comes or the time is over."""
    from ethogram.serve.service import Service

    assert isinstance(service, Service)
    asked = {"stop": False}

    def on_signal(*_: object) -> None:
        asked["stop"] = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup has it ignored
            signal.signal(number, on_signal)
    service.start()
    begin = time.monotonic()
    while not asked["stop"] and (duration is None or time.monotonic() - begin < duration):
        time.sleep(0.1)
    report("stopping")
    service.stop()
