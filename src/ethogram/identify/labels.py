"""Label files: CSV with the identity of each device and the time span for which it is valid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ethogram._parse_address import canonical_device, parse_mac
from ethogram._tables import TextFileError, rows_of
from ethogram.errors import ConfigurationError, InputError
from ethogram.identify.library import Identity, utc
from ethogram.schema import Windows

__all__ = ["COLUMNS", "Label", "LabelMatches", "device_key", "match_labels", "read_labels"]

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
                first, second = sorted((last, label), key=lambda one: one.line)
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
