"""There and back: a capture through softflowd, its export through our decoder, beside our own meter; flow by flow.

``python benchmarks/wire/roundtrip.py WIRE_DIR [FIRST]``, where WIRE_DIR holds nDPI's captures; FIRST: only so many.
softflowd must be installed; it sends over loopback UDP, with all its timeouts as long as they go.
"""

from __future__ import annotations

import csv
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from ethogram.config import CaptureSettings, MeterSettings
from ethogram.flow.join import Joining
from ethogram.flow.pair import Pairing
from ethogram.io.wire.biflows import Biflows
from ethogram.io.wire.build import batch
from ethogram.io.wire.decoder import Decoder
from ethogram.pipeline.capture import capture_flows
from ethogram.schema import BIFLOW

CAPTURES = {".pcap", ".pcapng", ".cap"}
FORMS = {"IPFIX": ["-v", "10"], "IPFIX, biflows": ["-v", "10", "-b"], "NetFlow v9": ["-v", "9"]}
TIMEOUTS = ("tcp", "tcp.rst", "tcp.fin", "udp", "icmp", "general", "maxlife", "expint")
WEEK_S, PATIENCE_S = 604_800, 20.0
WHOLE_S = 1e7  # longer than any capture: nothing is cut, and every answer belongs to its question

EXPLAINED = {
    "4in4tunnel.pcap", "capwap_data.pcapng", "discord_mid_flow.pcap", "dns.pcap", "dtls.pcap", "false_positives.pcapng",
    "gtp_prime.pcapng", "http_origin_different_than_host.pcap", "ja3_lots_of_cipher_suites.pcap",
    "linecall_falsepositve.pcap", "openvpn-tlscrypt.pcap", "openwire.pcapng", "rtmp.pcap", "tls_change_cipher.pcap",
}  # fmt: skip
"""Of these softflowd does not read all packets: several VLAN tags, tunnels, IPv6 over loopback's link type.

Octets differ where frames are padded: softflowd counts what lies behind the IP packet, we count its own length."""

Flow = tuple[object, ...]


@dataclass
class Score:
    """Captures compared in one form; the names of those whose packets, and whose octets, differ in some flow."""

    captures: int = 0
    flows: int = 0
    packets_differ: list[str] = field(default_factory=list)
    octets_differ: list[str] = field(default_factory=list)

    @property
    def equal(self) -> int:
        """Captures of which every flow has the same packets each way."""
        return self.captures - len(self.packets_differ)


def program() -> str | None:
    """Where softflowd is; it is often outside the path of ordinary users."""
    return shutil.which("softflowd") or shutil.which("softflowd", path="/usr/sbin:/usr/local/sbin")


def simple_captures(wire: Path) -> list[Path]:
    """nDPI's captures of plain five-tuple semantics."""
    folder = wire / "nDPI"
    with (folder / "reference_flows.csv").open() as lines:
        names = {row["file"] for row in csv.DictReader(lines) if row["simple"] == "1"}
    paths = {path.name: path for path in sorted(folder.rglob("*")) if path.suffix in CAPTURES}
    return [paths[name] for name in sorted(names)]


def exported(softflowd: str, capture: Path, options: list[str]) -> list[bytes]:
    """The datagrams softflowd sends for a capture."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver, tempfile.TemporaryDirectory() as folder:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        command = [softflowd, "-r", str(capture), "-n", f"127.0.0.1:{receiver.getsockname()[1]}", "-6", "-d",
                   "-m", "1000000", "-c", "none", "-p", str(Path(folder) / "pid"), *options,
                   *(word for name in TIMEOUTS for word in ("-t", f"{name}={WEEK_S}"))]  # fmt: skip
        datagrams = []
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            until = time.monotonic() + PATIENCE_S
            while True:
                ended = running.poll() is not None
                while select.select([receiver], [], [], 0 if ended else 0.01)[0]:
                    datagrams.append(receiver.recv(1 << 16))
                if ended:
                    return datagrams
                if time.monotonic() > until:
                    running.kill()
                    raise TimeoutError(f"softflowd took more than {PATIENCE_S:.0f} s for {capture.name}")


def decoded(datagrams: list[bytes]) -> pl.DataFrame:
    """Biflows of an export: decoded, and one-way records paired."""
    decoder, biflows = Decoder(), Biflows()
    table = biflows.batch(decoder.decode(batch(datagrams))) if datagrams else BIFLOW.empty()
    biflows.accounting.check()
    table = table.with_columns(pl.col("one_way").fill_null(value=True))
    return Pairing(WHOLE_S).flows(Joining(1.0, WHOLE_S).flows(table, last=True), last=True)


def metered(capture: Path) -> pl.DataFrame:
    """Biflows of our own meter."""
    whole = MeterSettings(idle_timeout_s=WHOLE_S, active_timeout_s=WHOLE_S)
    return pl.concat([BIFLOW.empty(), *capture_flows(capture, whole, False, CaptureSettings()).batches()])


def flows_of(table: pl.DataFrame) -> dict[Flow, tuple[int, int, int, int]]:
    """Packets and octets each way of each pair of endpoints."""
    flows: dict[Flow, tuple[int, int, int, int]] = {}
    columns = ("protocol", "source_address", "source_port", "destination_address", "destination_port", "packets",
               "reverse_packets", "octets", "reverse_octets")  # fmt: skip
    for protocol, *ends, packets, more_packets, octets, more_octets in table.select(columns).iter_rows():
        first, other = tuple(ends[:2]), tuple(ends[2:])
        counts = (packets, more_packets, octets, more_octets)
        if first > other:
            first, other, counts = other, first, (more_packets, packets, more_octets, octets)
        before = flows.get((protocol, first, other), (0, 0, 0, 0))
        flows[protocol, first, other] = tuple(a + b for a, b in zip(before, counts, strict=True))  # type: ignore[assignment]
    return flows


def score(softflowd: str, captures: list[Path]) -> dict[str, Score]:
    """Compare every capture in every form."""
    scores = {form: Score() for form in FORMS}
    for capture in captures:
        ours = flows_of(metered(capture))
        for form, options in FORMS.items():
            theirs = flows_of(decoded(exported(softflowd, capture, options)))
            form_score = scores[form]
            form_score.captures += 1
            form_score.flows += len(ours)
            if {ends: counts[:2] for ends, counts in ours.items()} != {e: c[:2] for e, c in theirs.items()}:
                form_score.packets_differ.append(capture.name)
            elif ours != theirs:
                form_score.octets_differ.append(capture.name)
    return scores


def main() -> None:
    """Print the score."""
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    softflowd = program()
    if softflowd is None:
        sys.exit("softflowd is not installed")
    warnings.simplefilter("ignore")
    captures = simple_captures(Path(sys.argv[1]))[: int(sys.argv[2]) if len(sys.argv) == 3 else None]
    print("| form | captures | flows | every flow's packets equal | packets equal, octets not |\n|---|---|---|---|---|")
    scores = score(softflowd, captures)
    for form, form_score in scores.items():
        counts = f"{form_score.captures} | {form_score.flows:,} | {form_score.equal}"
        print(f"| {form} | {counts} | {len(form_score.octets_differ)} |")
    for what in ("packets_differ", "octets_differ"):
        names = Counter(name for form_score in scores.values() for name in getattr(form_score, what))
        print(f"\n{what.replace('_', ' ')}: " + ", ".join(f"{name} ({n})" for name, n in sorted(names.items())))


if __name__ == "__main__":
    main()
