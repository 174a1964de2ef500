"""``ethogram collect``: the live collector."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ethogram.cli.fingerprint import granularity_of, span_of
from ethogram.cli.outputs import Force, check_folder
from ethogram.cli.terminal import say, write_json
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from ethogram.serve.collector import Collector

__all__ = ["command"]

DEFAULT_LISTEN = ["udp://127.0.0.1:4739", "udp://127.0.0.1:2055"]


def command(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for flows, fingerprints, state and counters; "
                           "one that a collector used before is gone on with.")
    ],
    listen: Annotated[
        list[str] | None, typer.Option(metavar="URI", help="Where to listen: udp://HOST:PORT, tcp://HOST:PORT, "
                                       "tls://HOST:PORT; again for more. 0.0.0.0 and [::] are all addresses. Default: "
                                       "UDP 4739 and 2055 of 127.0.0.1 alone.")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="CIDR", help="Who may send; again for more. Default: everybody.")
    ] = None,
    rate_limit: Annotated[
        float | None, typer.Option(metavar="N", help="Messages a second that one exporter may send.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep all messages as they arrived; 'ethogram flows DIR' replays "
                                  "them.")
    ] = None,
    segment: Annotated[float, typer.Option(metavar="SECONDS", help="A file of flows for each such time.")] = 60.0,
    epoch: Annotated[str, typer.Option(metavar="SPAN", help="Length of a fingerprint's epoch: 1d, 6h, 1h.")] = "1d",
    lateness: Annotated[
        str, typer.Option(metavar="SPAN", help="How long after its end an epoch waits for late records; more than the "
                          "exporters' active timeout.")
    ] = "1920s",
    ahead: Annotated[
        str, typer.Option(metavar="SPAN", help="How much later than their arrival flows may end; beyond that the "
                          "exporter's clock is wrong, and they count to no fingerprint.")
    ] = "5m",
    granularity: Annotated[str, typer.Option(metavar="G", help="Levels of a share: 1, 2, 4 ... or inf.")] = "16",
    other_protocols: Annotated[bool, typer.Option(help="Count protocols other than TCP and UDP too.")] = False,
    devices: Annotated[Path | None, typer.Option(metavar="FILE", help="Device file, as for 'ethogram flows'.")] = None,
    local: Annotated[list[str] | None, typer.Option(metavar="CIDR", help="What is inside; again for more.")] = None,
    active_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Of the exporters; records cut there are joined again.")
    ] = 1800.0,
    pair: Annotated[
        str, typer.Option(metavar="WHEN", help="Pair one-way records into biflows: auto, always, never.")
    ] = "auto",
    cert: Annotated[Path | None, typer.Option(metavar="FILE", help="TLS: certificate, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="TLS: its key, PEM.")] = None,
    client_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TLS: exporters must show a certificate of these authorities.")
    ] = None,
    queue: Annotated[
        int, typer.Option(metavar="MIB", help="Memory for what is received and not yet decoded.")
    ] = 256,
    duration: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", help="Stop after this time. Default: run until stopped.")
    ] = None,
    counters_every: Annotated[
        float, typer.Option(metavar="SECONDS", help="A line of counters so often; 0 for none.")
    ] = 10.0,
    force: Force = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the counters as JSON on standard output at the end.")
    ] = False,
) -> int:  # fmt: skip
    """Collect NetFlow and IPFIX from the network: flow tables and fingerprints on disk, every loss counted.

    SIGINT, SIGTERM and SIGHUP end it, and it writes all it has. SIGUSR1 prints the counters.
    """
    from ethogram.config import CollectSettings, CountSettings, ExporterSettings, FlowSettings, WireSettings
    from ethogram.io.receive.address import Listen
    from ethogram.io.receive.tcp import tls_context
    from ethogram.serve.collector import COUNTERS, Collector, CollectorSettings

    places = [Listen.parse(text) for text in listen or DEFAULT_LISTEN]
    if any(place.transport == "tls" for place in places) and cert is None:
        raise UsageError("tls:// needs --cert")
    check_folder(output, (COUNTERS,), (devices, cert, key, client_ca), force=force)
    if record is not None:
        check_folder(record)
    epoch_s = span_of(epoch, "--epoch")
    collect = {
        "allow": tuple(allow or ()), "rate_limit": rate_limit, "queue_octets": queue << 20,
        "ahead_s": span_of(ahead, "--ahead"),
    }  # fmt: skip
    settings = CollectorSettings(
        wire=WireSettings.of(segment_s=segment),
        collect=CollectSettings.of(**collect),
        flow=FlowSettings.of(pair=pair, **({"local": tuple(local)} if local else {})),
        exporter=ExporterSettings.of(
            epoch_s=epoch_s, lateness_s=span_of(lateness, "--lateness"),
            representation={"granularity": granularity_of(granularity)},
        ),
        counting=CountSettings.of(sub_epoch_s=min(3_600, epoch_s), other_protocols=other_protocols),
        active_timeout_s=active_timeout,
    )  # fmt: skip
    collector = Collector(
        places, output, settings, devices=devices, record=record,
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
        say(f"listening at {place}")
    for line in collector.problems:
        say(f"ethogram: {line}")
    begin = last = time.monotonic()
    before = _sums(collector)
    while not asked["stop"] and (duration is None or time.monotonic() - begin < duration):
        if collector.wait(0.1):
            break
        if asked["counters"]:
            asked["counters"] = False
            say(*collector.counters.json().decode().splitlines())
        now = time.monotonic()
        if every_s and now - last >= every_s:
            sums = _sums(collector)
            say(_line(collector, before, sums, now - last))
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
        say(f"{name}: {accounting.line()}")
    totals = collector.sequences.totals
    say(
        f"sequence: {totals.sent:,} units sent = {totals.received:,} received + {totals.gaps:,} in gaps + "
        f"{totals.undecoded:,} not counted; {totals.duplicates:,} duplicates or late, {totals.reordered:,} reordered, "
        f"{totals.resets:,} exporter restarts"
    )
    for reason, count in sorted(collector.tcp.closed.items()):
        say(f"connections: {count:,} {reason}")
    written = collector.output
    say(
        f"{written.segments:,} segments and {written.fingerprints:,} fingerprints written to {written.folder}"
        + (f"; {written.problem}" if written.problem else "")
    )
