"""Open a resolver's log, in a format detected by content."""

from __future__ import annotations

from pathlib import Path

from ethogram.errors import ConfigurationError, InputError
from ethogram.io.open_text import TextInput
from ethogram.io.resolver import adguard, dnsmasq_log, dnstap, pihole, unbound_log, zeek_dns
from ethogram.io.resolver.log import ResolverLog

__all__ = ["FORMATS", "read_log"]

FORMATS = (pihole.FORMAT, adguard.FORMAT, dnsmasq_log.FORMAT, unbound_log.FORMAT, zeek_dns.FORMAT,
           dnstap.FORMAT)  # fmt: skip
"""Formats that are recognised."""

_TEXTS = (adguard, dnsmasq_log, unbound_log)


def read_log(path: Path, zone: str = "UTC") -> ResolverLog:
    """Read one log, plain or compressed.

    Parameters
    ----------
    path
        The file.
    zone
        Time zone of times without one.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, or is of no known format.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(pihole.MAGIC))
        if magic == pihole.MAGIC:
            log = ResolverLog(path, pihole.FORMAT)
            pihole.read(path, log)
            return log
        if magic.startswith(dnstap.MAGIC):
            log = ResolverLog(path, dnstap.FORMAT)
            dnstap.read(path, log)
            return log
        if not magic:
            raise InputError("the file is empty", file=path)
        return _read_text(path, zone)
    except OSError as error:
        raise ConfigurationError(f"resolver log {path}: {error.strerror or error}") from None
    except InputError as error:
        place = path if error.line is None else f"{path}:{error.line}"
        raise ConfigurationError(f"resolver log {place}: {error.reason}") from None


def _read_text(path: Path, zone: str) -> ResolverLog:
    text = TextInput(path)
    head = text.head()
    if zeek_dns.sniff(head, text.file_name):
        log = ResolverLog(path, zeek_dns.FORMAT)
        zeek_dns.read(text, log, zone)
        return log
    plain = head.decode("utf-8", "replace")
    for module in _TEXTS:
        if module.sniff(plain):
            log = ResolverLog(path, module.FORMAT)
            module.read(text, log, zone)
            return log
    raise InputError(f"no resolver log of a known form; expected one of {', '.join(FORMATS)}", file=path)
