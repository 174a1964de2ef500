"""``ethogram demo``: real devices and a simulated home, identified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.inventory import show_rows
from ethogram.cli.run import progress, results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from ethogram.demo import Export, Home, Sighting

__all__ = ["command"]


def command(
    days: Annotated[int, typer.Option(min=4, max=60, help="Days of the simulated home.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the simulated home.")] = 1,
) -> int:
    """Identify real devices on later days, then the devices of a simulated home.

    The real part reads counts that come with the package; nothing is fetched. The simulated home is marked as such
    wherever it shows; two of its devices were never enrolled, and one changes its behaviour. Its flows come as IPFIX
    over UDP from a simulated router to a collector, both in this process and on the loopback address.
    """

    from ethogram.demo import NETWORKS, real_devices, simulated_home

    console = results()
    right = named = seen = 0
    with progress("networks", len(NETWORKS) + 1) as advance:
        for network, title in NETWORKS.items():
            sightings = real_devices(network)
            advance(1)
            console.print()
            console.print(f"Real devices. {title}.")
            _show(console, sightings)
            right += sum(sighting.right is True for sighting in sightings)
            named += sum(sighting.right is not None for sighting in sightings)
            seen += len(sightings)
        home = simulated_home(days, days // 2, seed)
        advance(1)
    console.print()
    console.print("A simulated home: none of these devices exists.")
    _say_export(console, home.export)
    _show(console, home.sightings)
    _say(console, home)
    console.print()
    console.print(f"Real devices: {seen} seen, {named} named, {right} of them rightly; the others are called unknown.")
    console.print("On your own network: 'ethogram flows', 'fingerprint', 'enrol', 'identify'; see the README.")
    return 0


def _show(console: Console, sightings: Sequence[Sighting]) -> None:
    """The inventory, with the truth beside it."""
    rows = []
    for sighting in sorted(sightings, key=lambda s: (s.verdict.verdict == "unknown", s.truth)):
        simulated = sighting.verdict.simulated
        cells = [
            f"{sighting.verdict.device}: {sighting.truth}" if simulated else sighting.truth,
            sighting.verdict.verdict + (" (simulated)" if simulated else ""),
            f"{sighting.verdict.score:.2f}",
            "" if sighting.decided_h is None else f"{sighting.decided_h:.0f} h",
        ]
        style = "yellow" if sighting.verdict.verdict == "unknown" else "green" if sighting.right else "red"
        rows.append((cells, style, sighting.verdict.reason))
    show_rows(console, ["is", "verdict", "score", "decided after"], rows)


def _say_export(console: Console, export: Export) -> None:
    """How the flows came: what was sent, and what the collector knows of it."""
    sent, known = export.sent, export.sequence
    console.print(
        f"{sent.flows:,} flow records of its router came as IPFIX over {export.place}: {sent.messages:,} messages in"
        f" {export.seconds:.1f} s, {export.lost['messages']:,} of them dropped on purpose."
    )
    console.print(
        f"received {known.received:,} + gaps {known.gaps:,} {'=' if export.exact else 'is not'} sent {sent.units:,}"
        " records",
    )


def _say(console: Console, home: Home) -> None:
    """Who changed, and that no record was lost."""
    for change in home.changes:
        console.print(
            f"{change.device} left its fingerprint on day {change.day}: it was {change.before}, then"
            f" {'unusual' if change.after.verdict == change.before else change.after.verdict}; {change.after.reason}",
        )
    for name, accounting in home.accounting.items():
        console.print(f"{name}: {accounting.line()}", style="dim")
