"""Build the knowledge pack: tables of public facts from hand-written parts and named public sources.

    python -m studies.knowledge_pack SOURCES [--ieee FOLDER] [--output FOLDER]

``SOURCES`` is a folder with one folder per public source (``home_assistant``, ``domain_list_community``,
``nextdns_native``, ``perflyst_smart_tv``, ``recog``); what is missing is left out and said. Facts are taken row by row,
each with its source. Hand-written facts are in ``studies/knowledge`` and take precedence. The same inputs give the same
bytes.
"""

from __future__ import annotations

import argparse
import gzip
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ethogram import InputError
from ethogram.knowledge import COLUMNS, TABLES, Knowledge, Row, row_problem, squeezed
from studies import knowledge_sources as sources

__all__ = [
    "HAND", "OUTPUT", "build", "check", "hand_rows", "main", "row_order", "share_rows", "write", "write_registry",
]  # fmt: skip

HAND = Path(__file__).parent / "knowledge"
OUTPUT = Path(__file__).parent.parent / "src" / "ethogram" / "data" / "knowledge"
_DOMAIN_WEIGHTS = {"~": "fair", "?": "weak"}
_RATIOS = 1000  # shares are whole thousandths, so that they sum to 1 exactly


def _lines(path: Path, columns: int) -> Iterator[list[str]]:
    """Fields of each line after the header; comments and empty lines are left out."""
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if number == 1 or not text.strip() or text.startswith("#"):
            continue
        fields = [field.strip() for field in text.split("\t")]
        if len(fields) > columns:
            raise InputError(f"{len(fields)} fields where {columns} are expected", file=path, line=number)
        yield fields + [""] * (columns - len(fields))


def _vendor_rows(hand: Path) -> Iterator[Row]:
    """Rows of the hand-written vendors: one line holds a vendor's names, domains and kinds."""
    for slug, name, aliases, owner, domains, kinds in _lines(hand / "vendors.tsv", 6):
        # A name that is an English word is marked: it counts only if nothing else is in a company's name.
        yield Row("vendors", slug, "name", name.removesuffix("!"), "weak" if name.endswith("!") else "strong", "hand")
        for alias in filter(None, (alias.strip() for alias in aliases.split("|"))):
            weight = "weak" if alias.endswith("!") else "strong"
            yield Row("vendors", slug, "alias", alias.removesuffix("!"), weight, "hand")
        if owner:
            yield Row("vendors", slug, "owner", owner, "strong", "hand")
        for domain in domains.split():
            weight = _DOMAIN_WEIGHTS.get(domain[-1], "strong")
            yield Row("names", domain.rstrip("~?"), "vendor", slug, weight, "hand")
        shares = {kind: float(share or 1) for kind, _, share in (text.partition("=") for text in kinds.split())}
        yield from share_rows(slug, shares, "hand")


def share_rows(slug: str, shares: dict[str, float], source: str) -> Iterator[Row]:
    """Rows of the kinds of a vendor or platform, with shares in thousandths that sum to 1."""
    total = sum(shares.values())
    if not total:
        return
    parts = {kind: max(1, round(share / total * _RATIOS)) for kind, share in shares.items()}
    largest = max(parts, key=lambda kind: (parts[kind], kind))
    parts[largest] += _RATIOS - sum(parts.values())
    for kind, part in parts.items():
        yield Row("kinds", slug, "kind", kind, f"{part / _RATIOS:.3f}".rstrip("0").rstrip("."), source)


def hand_rows(hand: Path) -> Iterator[Row]:
    yield from _vendor_rows(hand)
    for slug, name, domains, kinds in _lines(hand / "platforms.tsv", 4):
        yield Row("platforms", slug, "name", name, "strong", "hand")
        for domain in domains.split():
            weight = _DOMAIN_WEIGHTS.get(domain[-1], "strong")
            yield Row("names", domain.rstrip("~?"), "platform", slug, weight, "hand")
            for kind, _, strength in (text.partition("=") for text in kinds.split()):
                yield Row("names", domain.rstrip("~?"), "kind", kind, strength, "hand")
    # An operating system, whose devices are of many vendors and few kinds.
    for slug, kinds in _lines(hand / "platform_kinds.tsv", 2):
        shares = {kind: float(share) for kind, _, share in (text.partition("=") for text in kinds.split())}
        yield from share_rows(slug, shares, "hand")
    for key, value in _lines(hand / "parents.tsv", 2):
        yield Row("parents", key, "shared", value, "none", "hand")
    for key, value, weight in _lines(hand / "words.tsv", 3):
        yield Row("words", key, "kind", value, weight, "hand")
    for table in ("names", "ports", "groups", "mdns", "hosts", "dhcp", "texts", "macs", "modules"):
        path = hand / f"{table}.tsv"
        if path.exists():
            for key, subject, value, weight in _lines(path, 4):
                yield Row(table, key, subject, value, weight, "iana" if subject == "shared" else "hand")


def _silent(_text: str) -> None:
    """Report nothing."""


def build(folder: Path, hand: Path | None = None, report: Callable[[str], object] = _silent) -> dict[str, list[Row]]:
    """Rows of every table, sorted by key; hand-written rows take precedence over those of sources.

    Raises
    ------
    InputError
        If a row is invalid, or names a vendor or platform that no row introduces.
    """
    hand = hand or HAND
    tables: dict[str, dict[tuple[str, str, str], Row]] = {table: {} for table in TABLES}
    handmade: set[tuple[str, str, str]] = set()

    def place(row: Row) -> tuple[str, str, str]:
        # What a hand-written row decides: all that a key tells; of a name, its vendor and its kinds apart.
        return row.table, row.key, row.subject if row.table == "names" else ""

    def add(row: Row) -> None:
        if row.source not in ("hand", "iana") and place(row) in handmade and row.table != "vendors":
            return
        # A shared parent has one class, that of the first source.
        value = "" if row.table == "parents" else row.value
        tables[row.table].setdefault((row.key, row.subject, value), row)

    for row in hand_rows(hand):
        add(row)
        handmade.add(place(row))
    for name, read in sources.READERS.items():
        if not (folder / name).is_dir():
            report(f"{name}: not in {folder}, left out")
            continue
        before = sum(map(len, tables.values()))
        known = Knowledge(lambda table: list(tables[table].values()), {})
        for row in list(read(folder / name, hand, known)):
            add(row)
        report(f"{name}: {sum(map(len, tables.values())) - before} rows")
    rows = {table: sorted(entries.values(), key=row_order) for table, entries in tables.items()}
    check(rows)
    return rows


def row_order(row: Row) -> tuple[str, str, float, str]:
    share = -float(row.weight) if row.table == "kinds" else 0.0
    return row.key, row.subject, share, row.value


def check(rows: dict[str, list[Row]]) -> None:
    """Raise an error that names the first rows that are unsound."""
    vendors = {row.key for row in rows["vendors"] if row.subject == "name"}
    platforms = {row.key for row in rows["platforms"]}
    problems = []
    for row in (row for table in rows.values() for row in table):
        problem = row_problem(row)
        if problem is None and row.subject in ("vendor", "owner") and row.value not in vendors:
            problem = f"unknown vendor {row.value!r}"
        if problem is None and row.subject == "platform" and row.value not in platforms:
            problem = f"unknown platform {row.value!r}"
        known = vendors | platforms if row.table == "kinds" else vendors
        if problem is None and row.table in ("vendors", "kinds") and row.key not in known:
            problem = f"unknown vendor {row.key!r}"
        if problem is not None:
            problems.append(f"{row.table} {row.key}: {problem}")
    named: dict[str, str] = {}
    problems += [
        f"names {row.key}: {row.value} is not its only {row.subject}"
        for row in rows["names"]
        if row.subject != "kind" and named.setdefault(f"{row.subject} {row.key}", row.value) != row.value
    ]
    spellings: dict[str, str] = {}
    for row in rows["vendors"]:
        if row.subject in ("name", "alias"):
            first = spellings.setdefault(squeezed(row.value), row.key)
            if first != row.key:
                problems.append(f"vendors {row.key}: {row.value!r} is also a name of {first}")
    if problems:
        more = f", and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise InputError("; ".join(problems[:10]) + more)


def write(rows: dict[str, list[Row]], output: Path, hand: Path | None = None) -> None:
    """Write every table as tab-separated text, and the sources."""
    hand = hand or HAND
    output.mkdir(parents=True, exist_ok=True)
    for table, entries in rows.items():
        lines = ["\t".join(COLUMNS), *("\t".join(row[1:]) for row in entries)]
        (output / f"{table}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines = ["key\tname\tlicence\tdate\taddress", *("\t".join(fields) for fields in _lines(hand / "sources.tsv", 5))]
    (output / "sources.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_registry(prefixes: dict[str, str], output: Path) -> None:
    """Write MAC prefixes by organisation, compressed with a fixed time so that the same input gives the same bytes."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for prefix, name in prefixes.items():
        by_name[name].append(prefix)
    lines = (f"{name}\t{' '.join(sorted(by_name[name]))}\n" for name in sorted(by_name))
    content = gzip.compress("".join(lines).encode(), compresslevel=9, mtime=0)
    (output / "macs.tsv.gz").write_bytes(content)


def main(arguments: Iterable[str] | None = None) -> int:
    """Build the pack in the package's folder, or in another."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = os.environ.get("ETHOGRAM_KNOWLEDGE")
    parser.add_argument("sources", type=Path, nargs="?", default=default, help="folder of public sources")
    parser.add_argument("--ieee", type=Path, default=None, help="folder with oui.txt, mam.txt and oui36.txt")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args(None if arguments is None else list(arguments))
    if given.sources is None:
        parser.error("name the folder of sources, or set ETHOGRAM_KNOWLEDGE")

    def report(text: str) -> None:
        sys.stdout.write(text + "\n")

    rows = build(given.sources, report=report)
    write(rows, given.output)
    if given.ieee is not None:
        prefixes = sources.ieee_prefixes(given.ieee)
        write_registry(prefixes, given.output)
        report(f"ieee: {len(prefixes)} prefixes of {len(set(prefixes.values()))} organisations")
    for table, entries in rows.items():
        report(f"{table}: {len(entries)} rows, {len({row.key for row in entries})} keys")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
