"""``ethogram demo``: real devices and a simulated home, found by the live service and identified."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.inventory import show_rows
from ethogram.cli.run import progress, results
from ethogram.cli.terminal import report, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from ethogram.demo import Export, Home, Sighting
    from ethogram.demo.live import LiveDemo, StatedDevice

__all__ = ["command"]

VISIT_S = 60.0
"""The demo ends this long after the last visit of its page."""
EXTRA = ("sqlalchemy", "alembic", "fastapi")


def command(
    days: Annotated[int, typer.Option(min=4, max=60, help="Days that pass.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of what is drawn and simulated.")] = 1,
    page: Annotated[
        bool, typer.Option(help="Run the live service and its page; --no-page: the inventory on the terminal only.")
    ] = True,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of the page; another one is taken if it is in use.")
    ] = 8470,
    stay: Annotated[
        bool, typer.Option("--stay", help="Keep the page until Ctrl-C. Default: a minute after the last visit.")
    ] = False,
) -> int:
    """Let twenty real devices and a simulated home appear on the page of the live service, and list them.

    Flows of the real devices are drawn from counts that come with the package; nothing is fetched. The simulated home
    is marked as such wherever it shows; its devices are not enrolled, and one changes its behaviour. All flows come as
    IPFIX over UDP from a simulated router; days pass in seconds. Everything happens in this process, on the loopback
    address and in a temporary folder that is removed. Without visitors it ends by itself, in less than two minutes.

    The page needs the extra `serve`; without it the inventory on the terminal is made from the counts.
    """
    if page and any(importlib.util.find_spec(name) is None for name in EXTRA):
        say("ethogram: the page needs the live service: pip install 'ethogram[serve]'")
        page = False
    return _live(days, seed, port, stay=stay) if page else _terminal(days, seed)


# On the page


def _live(days: int, seed: int, port: int, *, stay: bool) -> int:
    from ethogram.demo import home_inventory
    from ethogram.demo.household import Household
    from ethogram.demo.live import LiveDemo

    console = results()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # ignored under nohup
            signal.signal(number, _interrupt)
    demo = LiveDemo(Household(days, seed), port, lambda line: say(f"ethogram: {line}"))
    report("starting the live service")
    with demo.running():
        # Not wrapped, so that address and token can be copied from a narrow terminal.
        console.print(f"Watch the page fill: {demo.url}", soft_wrap=True)
        console.print(f"Sign in with the token {demo.token}", soft_wrap=True)
        with progress("days", days) as advance:
            demo.play(advance)
        _show_page(console, demo)
        flows, stages = demo.flows(), demo.stages()
        home = home_inventory(demo.household.home, days // 2, flows, demo.export(), stages)
        console.print()
        console.print("The simulated home once its first days are enrolled: none of these devices exists.")
        _show(console, home.sightings)
        _say(console, home)
        _say_real(console, demo.statements())
        console.print(
            f"The page stays until Ctrl-C: {demo.url}" if stay
            else f"The page stays until a minute after the last visit, or Ctrl-C: {demo.url}",
            soft_wrap=True,
        )  # fmt: skip
        with contextlib.suppress(KeyboardInterrupt):
            while stay or demo.idle_s() < VISIT_S:
                time.sleep(0.2)
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _show_page(console: Console, demo: LiveDemo) -> None:
    """Statements of the service, beside the truth."""
    console.print()
    console.print("What the page states. Real devices, enrolled days before:")
    for simulated in (False, True):
        rows = []
        for statement in demo.statements():
            member, row = statement.member, statement.row
            if member.simulated is not simulated:
                continue
            known = row is not None and row.level != "unknown"
            cells = [
                f"{member.name}: {member.truth} (simulated)" if simulated else member.truth,
                "not seen" if row is None else row.statement or "not judged yet",
                "" if row is None or not known else f"{row.score:.2f}",
                member.address,
            ]
            style = "green" if row is not None and row.statement == member.truth else "yellow"
            rows.append((cells, style, demo.reason(statement)))
        if simulated:
            console.print("The simulated home, of which nothing is enrolled:")
        show_rows(console, ["is", "stated", "score", "address"], rows)
    _say_export(console, demo.export())


def _say_real(console: Console, statements: Sequence[StatedDevice]) -> None:
    """How many real devices were named, and rightly."""
    real = [each for each in statements if not each.member.simulated]
    named = [each.row for each in real if each.row is not None and each.row.level != "unknown"]
    right = sum(each.row is not None and each.row.statement == each.member.truth for each in real)
    _conclude(console, len(real), len(named), right)


# On the terminal alone


def _terminal(days: int, seed: int) -> int:
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
    _conclude(console, seen, named, right)
    return 0


def _conclude(console: Console, seen: int, named: int, right: int) -> None:
    console.print()
    console.print(f"Real devices: {seen} seen, {named} named, {right} of them rightly; the others are called unknown.")
    console.print("On your own network: 'ethogram serve', or 'flows', 'enrol', 'identify'; see the README.")


def _show(console: Console, sightings: Sequence[Sighting]) -> None:
    """The inventory, and the truth."""
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
    sent = export.sent
    console.print(
        f"{sent.flows:,} flow records of the router were received as IPFIX over {export.place}: {sent.messages:,}"
        f" messages in {export.seconds:.1f} s, {export.lost['messages']:,} of them dropped on purpose."
    )
    console.print(
        f"received {export.received:,} + gaps {export.gaps:,} {'=' if export.exact else 'is not'} sent {sent.units:,}"
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
