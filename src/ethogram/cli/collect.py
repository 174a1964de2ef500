"""``ethogram collect``: the live collector."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ethogram.cli.options import (
    DAY_S,
    DeviceFileOption,
    DevicesOnly,
    Epoch,
    Force,
    Granularity,
    Json,
    Local,
    Pair,
    duration_option,
)
from ethogram.cli.outputs import check_folder
from ethogram.cli.terminal import report, say, write_json
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from ethogram.serve.collector import Collector

__all__ = ["command"]

DEFAULT_LISTEN = ["udp://127.0.0.1:4739", "udp://127.0.0.1:2055"]


def command(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for flows, fingerprints, state and counters. "
                           "An existing collector folder is resumed.")
    ],
    listen: Annotated[
        list[str] | None, typer.Option(metavar="URI", help="Listen address: udp://HOST:PORT, tcp://HOST:PORT or "
                                       "tls://HOST:PORT. Repeatable. 0.0.0.0 and [::] are all addresses. Default: "
                                       "UDP 4739 and 2055 on 127.0.0.1.")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="CIDR", help="Accept this prefix only. Repeatable. Default: all.")
    ] = None,
    rate_limit: Annotated[
        float | None, typer.Option(metavar="N", help="Maximum messages per second of one exporter.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also record all messages as they arrive; 'ethogram flows DIR' "
                                  "replays them.")
    ] = None,
    segment: Annotated[float, duration_option("--segment", help="Time covered by one file of flows.")] = 60.0,
    epoch: Epoch = DAY_S,
    lateness: Annotated[
        int,
        duration_option(
            "--lateness",
            help="Time that an epoch waits for late records after its end; longer than the exporters' active timeout.",
            whole=True,
        ),
    ] = 1920,
    ahead: Annotated[
        int,
        duration_option(
            "--ahead",
            help="Time by which a flow may end after its arrival; beyond it the exporter's clock is wrong, and the "
            "flow is not counted.",
            whole=True,
        ),
    ] = 300,
    granularity: Granularity = 16,
    other_protocols: Annotated[bool, typer.Option(help="Also count protocols other than TCP and UDP.")] = False,
    devices: DeviceFileOption = None,
    devices_only: DevicesOnly = False,
    local: Local = None,
    active_timeout: Annotated[
        float, duration_option("--active-timeout", help="Active timeout of the exporters, to join records again.")
    ] = 1800.0,
    pair: Pair = "auto",
    cert: Annotated[Path | None, typer.Option(metavar="FILE", help="TLS: certificate (PEM).")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="TLS: private key of the certificate (PEM).")] = None,
    client_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TLS: require client certificates of these authorities (PEM).")
    ] = None,
    queue: Annotated[
        int, typer.Option(metavar="MIB", help="Memory for messages that are not yet decoded.")
    ] = 256,
    duration: Annotated[
        float | None, duration_option("--for", help="Stop after this time. Default: run until stopped.")
    ] = None,
    counters_every: Annotated[
        float, duration_option("--counters-every", help="Interval between lines of counters; 0: none.")
    ] = 10.0,
    force: Force = False,
    as_json: Json = False,
) -> int:  # fmt: skip
    """Receive NetFlow and IPFIX, and write flow tables and fingerprints; every loss is counted.

    On SIGINT, SIGTERM and SIGHUP the collector writes everything and stops. SIGUSR1 prints the counters.
    """
    from ethogram.serve.memory import limit_arenas

    limit_arenas()  # before Polars is loaded
    from ethogram.config import CollectSettings, CountSettings, ExporterSettings, WireSettings
    from ethogram.io.receive.address import Listen
    from ethogram.io.receive.tcp import tls_context
    from ethogram.pipeline.read_options import flow_settings
    from ethogram.serve.collector import COUNTERS, Collector, CollectorSettings

    places = [Listen.parse(text) for text in listen or DEFAULT_LISTEN]
    if any(place.transport == "tls" for place in places) and cert is None:
        raise UsageError("tls:// needs --cert")
    check_folder(output, (COUNTERS,), (devices, cert, key, client_ca), force=force)
    if record is not None:
        check_folder(record)
    collect = {
        "allow": tuple(allow or ()), "rate_limit": rate_limit, "queue_octets": queue << 20,
        "ahead_s": ahead,
    }  # fmt: skip
    settings = CollectorSettings(
        wire=WireSettings.of(segment_s=segment),
        collect=CollectSettings.of(**collect),
        flow=flow_settings(local, pair=pair),
        exporter=ExporterSettings.of(
            epoch_s=epoch, lateness_s=lateness,
            representation={"granularity": granularity},
        ),
        counting=CountSettings.of(sub_epoch_s=min(3_600, epoch), other_protocols=other_protocols),
        active_timeout_s=active_timeout,
    )  # fmt: skip
    collector = Collector(
        places, output, settings, devices=devices, devices_only=devices_only, record=record,
        tls=None if cert is None else tls_context(cert, key, client_ca),
    )  # fmt: skip
    _run(collector, duration, counters_every)
    if as_json:
        write_json(collector.counters.as_dict())
    else:
        _table(collector)
    return 3 if collector.output.problem else 0


def _run(collector: Collector, duration: float | None, every_s: float) -> None:
    """Collect until a signal comes or the time is over."""
    asked = {"stop": False, "counters": False}

    def note(what: str) -> Any:
        def on_signal(*_: object) -> None:
            asked[what] = True

        return on_signal

    for number, what in ((signal.SIGINT, "stop"), (signal.SIGTERM, "stop"), (signal.SIGHUP, "stop"),
                         (signal.SIGUSR1, "counters")):  # fmt: skip
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup has it ignored
            signal.signal(number, note(what))
    collector.start()
    for place in collector.listening:
        report(f"listening at {place}")
    for line in collector.problems:
        say(f"ethogram: {line}")
    begin = last = time.monotonic()
    before = _sums(collector)
    while not asked["stop"] and (duration is None or time.monotonic() - begin < duration):
        if collector.wait(0.1):
            break
        if asked["counters"]:
            asked["counters"] = False
            report(*collector.counters.json().decode().splitlines())
        now = time.monotonic()
        if every_s and now - last >= every_s:
            sums = _sums(collector)
            report(_line(collector, before, sums, now - last))
            last, before = now, sums
    collector.stop()


def _sums(collector: Collector) -> tuple[int, int, int]:
    """Messages received, records decoded and flows made so far."""
    of = collector
    return of.udp.accounting.used + of.tcp.accounting.used, of.decoder.records.read, of.flows


def _line(collector: Collector, before: tuple[int, int, int], sums: tuple[int, int, int], seconds: float) -> str:
    rates = ", ".join(
        f"{(now - then) / seconds:,.0f} {what}/s"
        for what, then, now in zip(("messages", "records", "flows"), before, sums, strict=True)
    )
    full = 100 * collector.queue.octets / collector.queue.bound
    lost = "; ".join(f"{loss.place}: {loss.reason} {loss.count:,}" for loss in collector.counters.losses())
    problem = f"; {collector.output.problem}" if collector.output.problem else ""
    clock = time.strftime("%H:%M:%S", time.gmtime())
    return f"{clock}Z {rates}; queue {full:.0f} %; lost: {lost or 'nothing'}{problem}"


def _table(collector: Collector) -> None:
    """All counters for people."""
    for name, accounting in collector.counters.accountings().items():
        report(f"{name}: {accounting.line()}")
    totals = collector.sequences.totals
    report(
        f"sequence: {totals.sent:,} units sent = {totals.received:,} received + {totals.gaps:,} in gaps + "
        f"{totals.undecoded:,} not counted; {totals.duplicates:,} duplicates or late, {totals.reordered:,} reordered, "
        f"{totals.resets:,} exporter restarts"
    )
    for reason, count in sorted(collector.tcp.closed.items()):
        report(f"connections: {count:,} {reason}")
    written = collector.output
    report(
        f"{written.segments:,} segments and {written.fingerprints:,} fingerprints written to {written.folder}"
        + (f"; {written.problem}" if written.problem else "")
    )
