"""Golden outcomes of the cases: exit code, flows, and what was said about loss, as a TOML file that people review."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from cases.replay import Outcome

__all__ = ["FILE", "Golden", "golden_of", "read_golden", "write_golden"]

FILE = Path(__file__).with_name("golden.toml")
MOST_ROWS = 100  # of one outcome; longer ones are compared by their beginning and their number
PROTOCOLS = {1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"}


@dataclass(frozen=True)
class Golden:
    """What a case must give.

    Parameters
    ----------
    code
        Exit code.
    flows
        One text a row of the flow table, in order.
    says
        Texts that standard output or standard error must have.
    why
        The reason, where users could expect something else.
    """

    code: int
    flows: list[str] = field(default_factory=list)
    says: list[str] = field(default_factory=list)
    why: str = ""

    def agrees_with(self, golden: Golden) -> bool:
        """Whether this outcome is the golden one."""
        return (self.code, self.flows, self.says) == (golden.code, golden.flows, golden.says)


def golden_of(outcome: Outcome) -> Golden:
    """The part of an outcome that is compared."""
    rows = [] if outcome.flows is None else [flow_text(row) for row in outcome.flows.iter_rows(named=True)]
    if len(rows) > MOST_ROWS:
        rows = [*rows[:3], f"and {len(rows) - 3:,} more"]
    return Golden(outcome.code, rows, outcome.notable)


def flow_text(row: dict[str, object]) -> str:
    """One row of a flow table as a text of one line.

    The times are UTC. Volumes are octets/packets, out before in.
    """
    start, end = row["start"], row["end"]
    protocol = PROTOCOLS.get(int(str(row["protocol"])), f"IP/{row['protocol']}")
    device = row["device"] if row["device"] == row["device_address"] else f"{row['device']}={row['device_address']}"
    seconds = f"{(end - start).total_seconds():.6f}".rstrip("0").rstrip(".")  # type: ignore[operator]
    text = (
        f"{start:%Y-%m-%dT%H:%M:%S.%f} {seconds}s {protocol} {device}:{row['local_port']} "
        f"{'->' if row['initiator'] == 'device' else '<-'} {row['remote']}:{row['remote_port']} {row['scope']} "
        f"out {row['octets_out']}/{row['packets_out']} in {row['octets_in']}/{row['packets_in']}"
    )
    return re.sub(r"\.0+ ", " ", text, count=1)


def read_golden(file: Path) -> dict[str, Golden]:
    """Golden outcomes by the name of their case."""
    return {
        name: Golden(table["code"], table.get("flows", []), table.get("says", []), table.get("why", ""))
        for name, table in tomllib.loads(file.read_text(encoding="utf-8")).items()
    }


def write_golden(file: Path, golden: dict[str, Golden]) -> None:
    """Write golden outcomes; JSON's strings are TOML's."""
    blocks = []
    for name, one in golden.items():
        lines = [f"[{_text(name)}]", f"code = {one.code}"]
        if one.why:
            lines.append(f"why = {_text(one.why)}")
        for key, values in (("flows", one.flows), ("says", one.says)):
            if values:
                lines += [f"{key} = [", *(f"  {_text(value)}," for value in values), "]"]
        blocks.append("\n".join(lines))
    file.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def _text(value: str) -> str:
    return orjson.dumps(value).decode().replace("\x7f", "\\u007f")
