"""Options that several commands share, each defined once.

A command names the type in its signature: ``epoch: Epoch = DAY_S``. Values arrive parsed: durations as seconds, times
as datetimes with a zone.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ethogram._parse import DAY_S, parse_duration, parse_epoch, parse_granularity, parse_time
from ethogram.cli.standard_input import input_path

__all__ = ["DAY_S", "DeviceFileOption", "DevicesOnly", "DnsLogs", "Encoder", "Epoch", "Force", "From", "Granularity",
           "Inputs", "Json", "KnowledgeOption", "LabelFile", "Level", "LevelOption", "LibraryOption", "Licence",
           "Local", "Method", "Names", "NamesMapping", "Pair", "PinFile", "Plots", "Pseudonymise", "ReportFormat",
           "ReportFormatOption", "Strict", "TimeZone", "To", "UseFlows", "UseIdentity", "duration_option"]  # fmt: skip


class Level(StrEnum):
    """The level at which devices are told apart."""

    LABEL = "label"
    MODEL = "model"
    FAMILY = "family"
    TYPE = "type"
    COARSE = "coarse"


class ReportFormat(StrEnum):
    """The format of tables on standard output."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


def duration_option(*names: str, help: str, whole: bool = False) -> Any:  # noqa: A002 (Typer's word)
    """An option whose value is a duration such as 1d, 6h, 30m or 45s, given to the command in seconds."""
    parse = parse_epoch if whole else parse_duration
    option = names[0] if names else "duration"
    return typer.Option(*names, metavar="DURATION", help=help, parser=lambda value: parse(value, option))


def _time_option(name: str, text: str) -> Any:
    return typer.Option(name, metavar="TIME", help=text, parser=lambda value: parse_time(value, name))


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="IN",
        help="Files, folders or quoted globs: pcap, pcapng, NetFlow and IPFIX exports, YAF/super_mediator JSON, Zeek "
        "conn, nfdump CSV or JSON, Joy JSON, CSV with --mapping, Parquet; plain, compressed (gz, bz2, xz, zst, lz4) or "
        "in a zip or tar; - for standard input.",
        show_default=False,
        parser=input_path,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that Ethogram did not write.")]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON on standard output.")]
ReportFormatOption = Annotated[ReportFormat, typer.Option("--format", help="Output format.")]
DeviceFileOption = Annotated[
    Path | None,
    typer.Option(
        "--devices",
        metavar="FILE",
        help="Names of devices: CSV with the columns device, mac, ip, from, to. Other local addresses stay devices.",
    ),
]
DevicesOnly = Annotated[
    bool, typer.Option("--devices-only", help="Only the devices that --devices names; leave out all others.")
]
Names = Annotated[
    list[Path] | None,
    typer.Option(
        "--names",
        metavar="FILE",
        help="Files that name devices: leases of dnsmasq, ISC dhcpd or Kea, hosts, ip neigh, arp -a, or a "
        "list of devices as CSV or JSON. Repeatable.",
        show_default=False,
    ),
]
NamesMapping = Annotated[
    Path | None,
    typer.Option(
        "--names-mapping",
        metavar="FILE",
        help="Columns of --names files that are CSV or JSON (TOML). Default: columns with usual names.",
    ),
]
DnsLogs = Annotated[
    list[Path] | None,
    typer.Option(
        "--dns-log",
        metavar="FILE",
        help="Names of remote ends from a resolver: Pi-hole's database, AdGuard Home's query log, a log of dnsmasq or "
        "Unbound, Zeek's dns.log, dnstap. Repeatable.",
        show_default=False,
    ),
]
TimeZone = Annotated[str, typer.Option("--time-zone", metavar="ZONE", help="Time zone of times that state none.")]
UseIdentity = Annotated[
    bool,
    typer.Option(
        "--identity/--no-identity", help="Also use what devices announce: MAC, DHCP, mDNS, host names."
    ),
]
Local = Annotated[
    list[str] | None,
    typer.Option(
        "--local",
        metavar="CIDR",
        help="Local prefix. Repeatable. Default: the private and link-local prefixes.",
        show_default=False,
    ),
]
From = Annotated[datetime | None, _time_option("--from", "Only flows that start at this time or later.")]
To = Annotated[datetime | None, _time_option("--to", "Only flows that start before this time.")]
Epoch = Annotated[int, duration_option("--epoch", help="Length of an epoch.", whole=True)]
Granularity = Annotated[
    int,
    typer.Option(
        "--granularity", metavar="G", help="Levels of a share: 1, 2, 4 ... or inf.",
        parser=lambda value: parse_granularity(value, "--granularity"),
    ),
]  # fmt: skip
Pair = Annotated[
    str, typer.Option("--pair", metavar="WHEN", help="Pair one-way records into biflows: auto, always or never.")
]
LibraryOption = Annotated[
    list[str] | None,
    typer.Option(
        "--library", metavar="FILE",
        help="Known devices; repeatable, and 'packaged' is the bundled library. Default: the bundled library.",
        show_default=False,
    ),
]  # fmt: skip
KnowledgeOption = Annotated[
    Path | None,
    typer.Option(
        "--knowledge",
        metavar="FILE",
        help="Your own facts, in the columns table, key, subject, value, weight, source; they replace bundled ones.",
        show_default=False,
    ),
]
LevelOption = Annotated[
    Level, typer.Option("--level", help="Level at which devices are told apart; twin units are one model.")
]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="NAME",
        help="Identification method. Default: evidence; with the bundled library, a cross-network method.",
        show_default=False,
    ),
]
Encoder = Annotated[
    Path | None, typer.Option("--encoder", metavar="MODEL", help="Encoder for single flows. Default: the bundled one.")
]
UseFlows = Annotated[
    bool, typer.Option("--flows/--no-flows", help="Also use embeddings of single flows, if there are any.")
]
Pseudonymise = Annotated[
    Path | None,
    typer.Option(
        "--pseudonymise",
        metavar="KEYFILE",
        help="Replace addresses, MACs and names by keyed pseudonyms before anything is used or written; "
        "'ethogram new-key' makes a key file.",
    ),
]
LabelFile = typer.Option(
    "--labels",
    metavar="FILE",
    help="CSV with the columns device,label[,model,vendor,type,coarse,from,to].",
    show_default=False,
)
PinFile = typer.Option(
    "--labels",
    metavar="FILE",
    help="Labels of your devices (written by 'ethogram label'); they replace the verdict, which is still computed.",
    show_default=False,
)
Licence = Annotated[str, typer.Option("--licence", metavar="TEXT", help="Provenance: licence of the data.")]
Plots = Annotated[
    Path | None, typer.Option("--plots", metavar="DIR", help="Write plots, and their data, to this folder.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first record or field that cannot be read.")]
