"""Labels of a user's corpus: type and identity of each device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ethogram._parse_address import parse_address, parse_mac
from ethogram._tables import TextFileError, rows_of
from ethogram.corpora.card import CardDevice
from ethogram.errors import ConfigurationError, InputError

__all__ = ["FILES", "LABELS", "read_user_labels"]

LABELS = ("device", "type", "model", "vendor", "network", "mac", "ip")
"""Columns of ``labels.csv``; the first two are required."""

FILES = ("*.parquet", "*.pcap", "*.pcapng", "*.cap", "*.pcap.gz", "*.pcapng.gz", "*.pcap.zst", "*.zip")
"""Patterns of files that are read."""


def read_user_labels(path: Path) -> list[CardDevice]:
    """Read ``labels.csv``: type and model of each device, and its MAC or addresses for captures.

    Raises
    ------
    InputError
        When the file is missing, or a line is invalid.
    ConfigurationError
        When a column is missing or unknown.
    """
    try:
        names, rows = rows_of(path.read_bytes())
        for name in LABELS[:2]:
            if name not in names:
                raise ConfigurationError(f"{path}: column {name!r} is missing; labels need device and type")
        unknown = [name for name in names if name not in LABELS]
        if unknown:
            raise ConfigurationError(f"{path}: unknown column {unknown[0]!r}; allowed are {', '.join(LABELS)}")
        devices = [_device(row, path, line) for line, row in rows]
    except FileNotFoundError:
        raise InputError("no labels.csv: it says what each device is", file=path) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=path) from None
    except TextFileError as error:
        raise InputError(error.reason, file=path, line=error.line) from None
    if not devices:
        raise InputError("no labelled device", file=path)
    known: dict[tuple[str, str], str] = {}
    for device in devices:
        for word in (device.id.lower(), device.mac):
            if word and known.setdefault((device.network, word), device.id) != device.id:
                raise InputError(f"{word} names both {known[device.network, word]} and {device.id}", file=path)
    if len({(device.network, device.id) for device in devices}) < len(devices):
        twice = [d.id for i, d in enumerate(devices) if (d.network, d.id) in {(o.network, o.id) for o in devices[:i]}]
        raise InputError(f"device {twice[0]} is listed twice", file=path)
    return devices


def _device(text: Mapping[str, str], path: Path, line: int) -> CardDevice:
    for name in LABELS[:2]:
        if not text[name]:
            raise InputError(f"no {name}", file=path, line=line)
    mac = parse_mac(text.get("mac") or text["device"])
    if text.get("mac") and mac is None:
        raise InputError(f"invalid mac {text['mac']!r}", file=path, line=line)
    addresses = []
    for word in text.get("ip", "").replace(";", " ").split():
        address = parse_address(word)
        if address is None:
            raise InputError(f"invalid ip {word!r}", file=path, line=line)
        addresses.append(address)
    vendor = text.get("vendor", "").lower() or "unknown"
    return CardDevice(
        id=text["device"], model=text.get("model") or text["device"], vendor=vendor, type=text["type"],
        files=tuple(f"**/{pattern}" for pattern in FILES), mac=mac, addresses=tuple(addresses),
        network=text.get("network", ""),
    )  # fmt: skip
