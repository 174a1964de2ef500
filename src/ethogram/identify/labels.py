"""Label files: CSV with the identity of each device and the time span for which it is valid."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ethogram._files import write_bytes
from ethogram._parse_address import canonical_device, parse_mac
from ethogram._tables import TextFileError, rows_of
from ethogram.errors import ConfigurationError, InputError
from ethogram.identify.library import Identity, utc
from ethogram.schema import Windows

__all__ = ["COLUMNS", "Label", "LabelMatches", "device_key", "label_device", "match_labels", "read_labels"]

COLUMNS = ("device", "label", "model", "vendor", "type", "coarse", "from", "to")
"""Columns of a label file; only the first two are required."""

_FIRST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Label:
    """One row: the identity of a device from ``start`` (inclusive) to ``end`` (exclusive)."""

    device: str
    identity: Identity
    start: datetime | None = None
    end: datetime | None = None
    line: int = 0


@dataclass
class LabelMatches:
    """The identity of each item, and the devices and labels without a counterpart."""

    identities: list[Identity | None] = field(default_factory=list)
    devices_without_label: list[str] = field(default_factory=list)
    labels_without_device: list[str] = field(default_factory=list)


def read_labels(path: str | Path) -> list[Label]:
    """Read a label file.

    Raises
    ------
    InputError
        When the file is missing or a line is invalid; the message names the line.
    ConfigurationError
        When a column is missing or unknown.
    """
    source = Path(path)
    labels: list[Label] = []
    try:
        names, rows = rows_of(source.read_bytes())
        if not names:
            raise InputError("the file is empty, not a label file", file=source)
        missing = [name for name in COLUMNS[:2] if name not in names]
        unknown = [name for name in names if name not in COLUMNS]
        if missing:
            raise ConfigurationError(f"{source}: a label file needs the columns device,label: no {missing[0]}")
        if unknown:
            raise ConfigurationError(f"{source}: no column {unknown[0]!r}; there are {', '.join(COLUMNS)}")
        labels += [_label(row, source, line) for line, row in rows]
    except FileNotFoundError:
        raise InputError("there is no such file", file=source) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=source) from None
    except TextFileError as error:
        raise InputError(error.reason, file=source, line=error.line) from None
    if not labels:
        raise InputError("no device is labelled", file=source)
    _require_one_at_a_time(labels, source)
    return labels


def label_device(path: str | Path, device: str, identity: Identity) -> str:
    """Write the label of a device to a label file, and keep all other rows.

    The row of the device that is valid now is replaced, that is one without ``to``; its columns that the new label
    leaves empty are kept only if the label stays the same. The file is created if it is missing, and replaced whole.

    Parameters
    ----------
    path
        The label file.
    device
        MAC address, IP address or name of the device.
    identity
        What it is.

    Returns
    -------
    str
        What was done, for the user.

    Raises
    ------
    InputError
        If the file cannot be read or written, or has no column structure of a label file.
    ConfigurationError
        If a column of it is unknown.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "labels.csv"
    >>> label_device(file, "02:00:5e:00:77:0a", Identity("porch camera", type="camera")).split(": ", 1)[1]
    '02:00:5e:00:77:0a is porch camera; 1 row in all'
    >>> print(file.read_text().strip())
    device,label,type
    02:00:5e:00:77:0a,porch camera,camera
    """
    source, device, label = Path(path), device.strip(), identity.label.strip()
    if not device or not label:
        raise InputError(f"no {'device' if not device else 'label'} is given", file=source)
    new = {"device": device, "label": label, "model": identity.model, "vendor": identity.vendor, "type": identity.type,
           "coarse": identity.coarse}  # fmt: skip
    names: list[str] = list(COLUMNS[:2])
    rows: list[dict[str, str]] = []
    try:
        if source.exists() and source.stat().st_size:
            names, numbered_rows = rows_of(source.read_bytes())
            rows = [{name: row.get(name, "") for name in names} for _, row in numbered_rows]
            if rows or set(names) != set(names) & set(COLUMNS):
                read_labels(source)
    except TextFileError as error:
        raise InputError(error.reason, file=source, line=error.line) from None
    mine = [i for i, row in enumerate(rows) if device_key(row["device"]) == device_key(device) and not row.get("to")]
    before = rows[mine[0]] if mine else {}
    if before.get("label") == label:
        new |= {name: before.get(name, "") for name in COLUMNS[2:6] if not new[name]}
    new["from"] = before.get("from", "")
    names += [name for name in COLUMNS if name not in names and new.get(name)]
    rows = [row for i, row in enumerate(rows) if i not in mine]
    rows.insert(mine[0] if mine else len(rows), new)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([row.get(name, "") for name in names] for row in rows)
    try:
        write_bytes(source, text.getvalue().encode())
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=source) from None
    was = f" (was {before['label']})" if before and before["label"] != label else ""
    return f"{source}: {device} is {label}{was}; {len(rows)} {'row' if len(rows) == 1 else 'rows'} in all"


def _require_one_at_a_time(labels: Sequence[Label], source: Path) -> None:
    """Refuse overlapping labels of one device, whatever the spelling of its name."""
    by_device: dict[str, list[Label]] = {}
    for label in labels:
        by_device.setdefault(device_key(label.device), []).append(label)
    for known in by_device.values():
        known.sort(key=lambda label: (label.start or _FIRST, label.line))
        last = known[0]
        for label in known[1:]:
            if last.identity != label.identity and (last.end is None or (label.start or _FIRST) < last.end):
                first, second = sorted((last, label), key=lambda entry: entry.line)
                raise InputError(
                    f"{second.device} is labelled {first.identity.label!r} (line {first.line}) and "
                    f"{second.identity.label!r} at once",
                    file=source, line=second.line,
                )  # fmt: skip
            if last.end is not None and (label.end is None or label.end > last.end):
                last = label


def _label(text: Mapping[str, str], source: Path, line: int) -> Label:
    if not text["device"] or not text["label"]:
        raise InputError(f"no {'device' if not text['device'] else 'label'}", file=source, line=line)
    identity = Identity(text["label"], *(text.get(name, "") for name in COLUMNS[2:6]))
    times: list[datetime | None] = []
    for name in COLUMNS[6:]:
        try:
            times.append(utc(text[name]) if text.get(name) else None)
        except ValueError:
            raise InputError(
                f"{name} {text[name]!r} is not a time such as 2019-09-01T12:00", file=source, line=line
            ) from None
    return Label(text["device"], identity, times[0], times[1], line)


def device_key(device: str) -> str:
    """Normalised name of a device: canonical spelling of addresses and MACs, lower case of other names."""
    return parse_mac(device) or canonical_device(device).lower()


def match_labels(windows: Windows, labels: Sequence[Label]) -> LabelMatches:
    """Assign to each item the first label of its device that is valid for the whole window.

    Device names are compared case-insensitively; addresses and MACs in their canonical spelling.
    """
    by_device: dict[str, list[Label]] = {}
    for label in labels:
        by_device.setdefault(device_key(label.device), []).append(label)
    result = LabelMatches()
    bare, used = set(), set()
    for device, start, end in windows.items.select("device", "start", "end").iter_rows():
        identity = None
        for label in by_device.get(device_key(device), ()):
            used.add(device_key(label.device))
            if (label.start is None or label.start <= start) and (label.end is None or end <= label.end):
                identity = label.identity
                break
        if device_key(device) not in by_device:
            bare.add(device)
        result.identities.append(identity)
    result.devices_without_label = sorted(bare)
    result.labels_without_device = sorted({label.device for label in labels if device_key(label.device) not in used})
    return result
