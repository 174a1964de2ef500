"""``ethogram simulate``: a home that does not exist, sent as IPFIX or NetFlow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.options import Force, Json
from ethogram.cli.outputs import EXPORT, check_output
from ethogram.cli.run import progress
from ethogram.cli.terminal import report, write_json
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from ethogram.simulate.exporter import Sent
    from ethogram.simulate.impairment import Impairment
    from ethogram.simulate.load import Load
    from ethogram.simulate.send import Delivery

__all__ = ["command"]

FORMAT = "ethogram.simulate-report/1"


def command(
    to: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE", help="Where to send: udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT; nowhere else."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write an IPFIX file (RFC 5655) instead.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days of the script, from 2026-01-05.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of traffic and impairments: same seed, same octets.")] = 1,
    protocol: Annotated[str, typer.Option(metavar="NAME", help="ipfix (biflows), ipfix-uniflow, v9 or v5.")] = "ipfix",
    domains: Annotated[int, typer.Option(min=1, max=255, help="Observation domains the flows are spread over.")] = 1,
    loss: Annotated[float, typer.Option(metavar="SHARE", help="Share of messages that are lost on the way.")] = 0.0,
    reorder: Annotated[float, typer.Option(metavar="SHARE", help="Share of messages that others overtake.")] = 0.0,
    restart_at: Annotated[
        list[float] | None,
        typer.Option(metavar="DAY", help="Days until the exporter restarts (1.5: noon of day two). Repeatable."),
    ] = None,
    sampling: Annotated[int, typer.Option(metavar="N", min=1, help="Only one packet of N is looked at.")] = 1,
    rate: Annotated[
        float | None,
        typer.Option(metavar="RECORDS", help="Flow records a second at most. Default: 20,000, or as --speed says."),
    ] = None,
    speed: Annotated[
        float | None, typer.Option(metavar="X", help="How much faster than the clock: 86400 sends a day in a second.")
    ] = None,
    templates_every: Annotated[
        int,
        typer.Option(
            metavar="MESSAGES",
            min=0,
            help="Send templates again after so many messages; 0: never. Over TCP and TLS they are sent once.",
        ),
    ] = 200,
    mtu: Annotated[int, typer.Option(metavar="OCTETS", help="Longest message.")] = 1400,
    load: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Load: send the first day again and again for so long, as of --homes; "
            "as fast as possible, or at --rate. UDP only.",
        ),
    ] = None,
    homes: Annotated[int, typer.Option(metavar="N", help="Load: of so many homes, fifteen devices each.")] = 1,
    authority: Annotated[
        Path | None, typer.Option("--ca", metavar="FILE", help="TLS: who vouches for the collector (PEM).")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", metavar="FILE", help="TLS: our certificate and its key (PEM).")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Send the flows of a simulated home, as a router would, to one address or into a file.

    Fifteen devices of thirteen kinds that do not exist; the far ends are documentation addresses (RFC 5737), so that
    nothing can be taken for real traffic. What was sent is counted exactly: a collector that counts rightly finds
    received + gaps = sent.
    """
    from datetime import timedelta

    from ethogram.simulate import SimulatedHome
    from ethogram.simulate.exporter import ExportSettings, FlowExporter
    from ethogram.simulate.impairment import Impairment
    from ethogram.simulate.layout import PROTOCOLS
    from ethogram.simulate.load import Load
    from ethogram.simulate.send import Pace, client_context, place_of, send, write

    if (to is None) == (output is None):
        raise UsageError("say where to: --to udp://HOST:PORT, or -o FILE")
    if protocol not in PROTOCOLS:
        raise UsageError(f"no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    if output is not None:
        check_output(output, EXPORT, (authority, certificate), force=force)
    place = None if to is None else place_of(to)
    if not protocol.startswith("ipfix") and (place is None or place.transport != "udp"):
        raise UsageError(f"{protocol} goes over UDP only; files, TCP and TLS are IPFIX's")
    home = SimulatedHome(days=days, seed=seed)
    if load is not None:
        if place is None or domains != 1 or loss or reorder or restart_at or speed is not None:
            raise UsageError("--load goes to --to udp://…, with --homes, --rate, --protocol, --sampling, --mtu, --seed")
        made = Load(ExportSettings.of(protocol=protocol, mtu=mtu, sampling=sampling, seed=seed), homes, seed)
        with progress("flow records sent") as advance:
            delivery = made.send(place, seconds=load, rate=rate, on_progress=advance)
        _show_load(str(place), protocol, made, delivery, as_json)
        return 0
    stream = place is not None and place.transport != "udp"
    repeated = {"template_messages": 0, "template_s": 0} if stream else {"template_messages": templates_every}
    settings = ExportSettings.of(
        protocol=protocol, domains=domains, mtu=mtu, sampling=sampling, seed=seed, **repeated,
        restarts=[home.start + timedelta(days=day) for day in restart_at or ()],
    )  # fmt: skip
    exporter, network = FlowExporter(settings), Impairment(loss, reorder, seed=seed)
    messages = network(exporter.messages(home.batches()))
    with progress("flow records sent") as advance:
        if output is not None:
            delivery = write(messages, output)
        else:
            assert place is not None
            default = 20_000.0 if speed is None else None
            context = client_context(authority, certificate) if place.transport == "tls" else None
            delivery = send(messages, place, Pace(rate or default, speed), context, advance)
    where = str(output if place is None else place)
    if as_json:
        _print(_report(where, protocol, exporter.sent, network, delivery))
    else:
        _show(where, exporter.sent, network, delivery)
    return 0


def _print(report: dict[str, object]) -> None:
    write_json(report)


def _report(where: str, protocol: str, sent: Sent, network: Impairment, delivery: Delivery) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "format": FORMAT,
        "simulated": True,
        "to": where,
        "protocol": protocol,
        "exported": sent.as_dict(),
        "lost": network.lost,
        "reordered": network.reordered,
        "delivered": asdict(delivery),
    }


def _show(where: str, sent: Sent, network: Impairment, delivery: Delivery) -> None:
    def line(text: str) -> None:
        report(text)

    line(f"simulated home to {where}: none of these devices exists")
    aside = f", {sent.unsampled:,} of them never sampled" if sent.unsampled else ""
    line(
        f"exported: {sent.biflows:,} biflows{aside} as {sent.flows:,} flow records in {sent.messages:,} messages"
        f" ({sent.octets:,} octets), with {sent.templates:,} templates and {sent.options:,} options records"
        + (f"; {sent.restarts:,} restarts" if sent.restarts else "")
    )
    if network.lost["messages"] or network.reordered:
        line(
            f"on the way: {network.lost['messages']:,} messages lost with {network.lost['flows']:,} flow records,"
            f" {network.reordered:,} reordered"
        )
    line(
        f"delivered: {delivery.flows:,} flow records in {delivery.messages:,} messages in {delivery.seconds:.1f} s;"
        f" the sequence numbers moved by {sent.units:,}, {network.lost['units']:,} of it lost"
    )
    _show_refused(delivery)


def _show_load(where: str, protocol: str, load: Load, delivery: Delivery, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        _print(
            {
                "format": FORMAT, "simulated": True, "to": where, "protocol": protocol, "homes": load.homes,
                "devices": load.devices, "delivered": asdict(delivery),
            }
        )  # fmt: skip
        return
    report(
        f"load of {load.homes:,} simulated homes with {load.devices:,} devices to {where}: none of them exists",
        f"delivered: {delivery.flows:,} flow records in {delivery.messages:,} messages in {delivery.seconds:.1f} s"
        f" ({delivery.flows / max(delivery.seconds, 1e-9):,.0f} a second); the sequence numbers moved by"
        f" {delivery.units:,}",
    )
    _show_refused(delivery)


def _show_refused(delivery: Delivery) -> None:
    if delivery.refused:
        report(f"nobody listened there: {delivery.refused:,} messages were refused")
