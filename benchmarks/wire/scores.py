"""Right or wrong: our decoder on real exports, beside what others decoded. Prints the table.

``python benchmarks/wire/scores.py WIRE_DIR``, where WIRE_DIR holds the folders of the projects the exports are from.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import logstash
import pmacct

from ethogram.io.wire.biflows import Biflows
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.ipfix_file import IpfixFile

IPFIX_FILE, IPFIX_RECORDS, IPFIX_OCTETS = "example_flows.ipfix", 3_979, 49_001_404
"""A file of IPFIX, and what four decoders agree on."""


def ipfix_file(wire: Path) -> tuple[int, int, int]:
    """Records, octets and packets of the IPFIX file."""
    [path] = (wire / "ipfixcol2").rglob(IPFIX_FILE)
    decoder, biflows = Decoder(), Biflows()
    frames = [biflows.batch(decoder.decode(batch)) for batch in IpfixFile(path).datagrams()]
    biflows.accounting.check()
    octets = sum(int(frame["octets"].sum() + frame["reverse_octets"].sum()) for frame in frames)
    packets = sum(int(frame["packets"].sum() + frame["reverse_packets"].sum()) for frame in frames)
    return decoder.records.read, octets, packets


def report(wire: Path) -> tuple[list[str], bool]:
    """Lines of the table, and whether all is as it should be."""
    totals = logstash.score(wire)
    lines = ["## Datagrams of 25 vendors (logstash-codec-netflow)", "",
             "| scenario | records stated | decoded | |", "|---|---|---|---|"]  # fmt: skip
    for name, theirs, ours, why in totals.counts:
        note = why or ("none stated" if theirs is None else "equal" if theirs == ours else "DIFFERENT")
        lines.append(f"| {name} | {'' if theirs is None else theirs} | {ours} | {note} |")
    lines += ["", f"Counts right: {totals.counts_right} of {len(totals.counts)} scenarios.",
              f"Full records: {totals.events}; {totals.agreed:,} of {totals.fields:,} comparable fields agree.",
              "Not comparable:"]  # fmt: skip
    lines += [f"- {reason} ({number}): {logstash.NOT_COMPARABLE[reason]}" for reason, number in totals.left_out.items()]
    lines += [
        f"- DIFFERENT: {name}, {field}: {theirs} there, {ours} here" for name, field, theirs, ours in totals.problems
    ]
    cases = pmacct.score(wire)
    lines += [
        "", "## Captures of exports (pmacct)", "",
        "| case | data records | options records | rows there | equal | |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for case in cases:
        note = "aggregated" if case.aggregated else ""
        lines.append(f"| {case.name} | {case.data} | {case.options} | {case.rows} | {case.equal} | {note} |")
    sums = [sum(getattr(case, name) for case in cases) for name in ("data", "options", "rows", "equal")]
    lines.append(f"| all | {' | '.join(map(str, sums))} | |")
    records, octets, packets = ipfix_file(wire)
    lines += ["", f"## IPFIX file (ipfixcol2, {IPFIX_FILE})", ""]
    lines.append(
        f"{records:,} records of {IPFIX_RECORDS:,}; {octets:,} octets of {IPFIX_OCTETS:,}; {packets:,} packets."
    )
    right = (
        totals.counts_right == len(totals.counts) and not totals.problems
        and all(not case.theirs and not case.ours for case in cases)
        and (records, octets) == (IPFIX_RECORDS, IPFIX_OCTETS)
    )  # fmt: skip
    return lines, right


def main() -> int:
    """Print the table; 1 when something differs."""
    lines, right = report(Path(sys.argv[1]))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
