"""Options of exports, checked in one place for the command and the function."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ethogram.errors import ConfigurationError, InputError, UsageError
from ethogram.export.registry import ExportOptions, NetBoxPlace
from ethogram.io.mud import read_mud
from ethogram.schema import MudProfile

__all__ = ["FIREWALLS", "TOKEN_VARIABLE", "GivenOptions", "export_options", "read_profiles"]

FIREWALLS = ("nftables", "opnsense")
TOKEN_VARIABLE = "ETHOGRAM_NETBOX_TOKEN"  # noqa: S105 (the name of a variable)
_MOST_TOKEN = 1 << 12


@dataclass(frozen=True)
class GivenOptions:
    """Options as the user gives them.

    Parameters
    ----------
    mud_url, port
        As :class:`ethogram.export.registry.ExportOptions` has them.
    url, site, token_file
        Of NetBox; without a file, the token is in the environment (:data:`TOKEN_VARIABLE`).
    profile
        Whether MUD files are given.
    traffic
        Whether flows for a dry run are given.
    dry_run
        Change nothing.
    """

    mud_url: str
    port: int
    url: str
    site: str
    token_file: Path | None
    profile: bool
    traffic: bool
    dry_run: bool


def export_options(form: str, given: GivenOptions) -> ExportOptions:
    """The options of a format.

    Raises
    ------
    UsageError
        If one is invalid, missing, or has no effect on this format.
    ConfigurationError
        If NetBox's token cannot be read.
    """
    if not given.mud_url.startswith("https://"):
        raise UsageError(f"--mud-url: a MUD URL begins with https:// (RFC 8520), not {given.mud_url!r}")
    netbox, firewall = form == "netbox", form in FIREWALLS
    for name, value in (("--url", given.url), ("--site", given.site), ("--token-file", given.token_file)):
        if value and not netbox:
            raise UsageError(f"{name}: has no effect on {form}")
    for name, flag in (("--profile", given.profile), ("--traffic", given.traffic)):
        if flag and not firewall:
            raise UsageError(f"{name}: has no effect on {form}")
    if given.dry_run and not netbox and not firewall:
        raise UsageError(f"--dry-run: has no effect on {form}")
    if firewall and given.dry_run != given.traffic:
        raise UsageError("--dry-run and --traffic belong together: the flows on which the rules are tried")
    mud_url = given.mud_url if given.mud_url.endswith("/") else f"{given.mud_url}/"
    place = _netbox_place(given) if netbox else None
    return ExportOptions(mud_url=mud_url, port=given.port, dry_run=given.dry_run, netbox=place)


def _netbox_place(given: GivenOptions) -> NetBoxPlace:
    parts = urllib.parse.urlsplit(given.url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.query:
        raise UsageError("--url: expected the address of NetBox, for example https://netbox.example.com")
    return NetBoxPlace(given.url.rstrip("/"), _token(given.token_file), given.site)


def _token(file: Path | None) -> str:
    if file is None:
        text = os.environ.get(TOKEN_VARIABLE, "")
        source = TOKEN_VARIABLE
        if not text:
            raise ConfigurationError(f"no token of NetBox: give --token-file, or set {TOKEN_VARIABLE}")
    else:
        source = str(file)
        try:
            with file.open("rb") as stream:
                text = stream.read(_MOST_TOKEN).decode("utf-8")
        except OSError as error:
            raise ConfigurationError(f"{file}: cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"{file}: not text") from None
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(f"{source}: not a token: one line of printable characters is expected")
    return token


def read_profiles(files: Iterable[tuple[str, Path]]) -> tuple[dict[str, MudProfile], list[str]]:
    """MUD files by the device that they are for, and a line for each that has entries which are not used.

    Raises
    ------
    UsageError
        If two files are for one device.
    InputError
        If a file is no MUD file.
    """
    profiles: dict[str, MudProfile] = {}
    notes: list[str] = []
    for device, path in files:
        if device in profiles:
            raise UsageError(f"{path}: a second profile for {device or 'every device'!r}")
        if path.is_dir():
            raise InputError("a folder, not a MUD file", file=path)
        profiles[device], accounting = read_mud(path)
        left_out = accounting.ignored + accounting.dropped
        notes += [f"{path}: {count:,} entries not used: {reason}" for reason, count in sorted(left_out.items())]
    return profiles, notes
