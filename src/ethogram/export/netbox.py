"""Devices in NetBox, with status *staged* and a tag; nothing that a person entered is changed.

What was written is known by two marks: the tag ``ethogram``, which every created object has, and the entry ``ethogram``
in the local context data of a device, with the device's id here and the value that was written to each field. A field
is changed only on a device with the tag, and only if it is empty or still has that value. Objects without the tag are
used (a role of the same name) but never changed, and nothing is deleted.

References
----------
NetBox's REST API, https://netboxlabs.com/docs/netbox/integrations/rest-api/; models of DCIM and IPAM of version 4.2.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ethogram._text import visible
from ethogram.errors import InputError
from ethogram.export.names import kind_label, slug
from ethogram.export.netbox_client import NetBox, RefusedRowError
from ethogram.export.registry import ExportData, ExportOptions, Written
from ethogram.schema import ExportedDevice

__all__ = ["TAG", "write"]

TAG = "ethogram"
STATUS = "staged"
MOST_ADDRESSES = 16
"""Addresses and MACs of one device."""
UNKNOWN = "Unknown"
_COLOR = "607d8b"
_NAME, _SHORT, _TEXT = 64, 100, 200  # lengths of NetBox's fields
Row = dict[str, Any]


def write(data: ExportData, options: ExportOptions) -> Iterator[Written]:
    """Create and update devices in NetBox; one line for each object. With a dry run, nothing is written.

    Raises
    ------
    InputError
        If the server cannot be reached, is too old, refuses the token, or there is no such site.
    """
    assert options.netbox is not None
    server = NetBox(options.netbox)
    server.check_version()
    sync = _Sync(server, dry_run=options.dry_run)
    sync.prepare(options.netbox.site)
    for line in sync.run(data.devices):
        yield Written("", f"{visible(line)}\n")
    counted = ", ".join(f"{count:,} {what}" for what, count in sorted(sync.counters.items())) or "nothing to do"
    yield Written("", "", f"{'would be: ' if options.dry_run else ''}{counted}")


@dataclass
class _Target:
    """A device here, and its row in NetBox."""

    device: ExportedDevice
    row: Row
    addresses: list[str] = field(default_factory=list)


class _Sync:
    """One comparison of devices with a NetBox server."""

    def __init__(self, server: NetBox, *, dry_run: bool) -> None:
        self._server, self._dry_run = server, dry_run
        self.counters: Counter[str] = Counter()
        self._made = 0
        self._tags: list[Row] = []
        self._site: Row = {}
        self._roles: dict[str, Row] = {}
        self._makers: dict[str, Row] = {}
        self._types: dict[tuple[int, str], Row] = {}

    def prepare(self, site: str) -> None:
        """Read what devices refer to.

        Raises
        ------
        InputError
            If there is no such site, or several and none is named.
        """
        self._tags = [row for row in self._server.rows("extras.tags", slug=TAG) if row["slug"] == TAG]
        sites = self._server.rows("dcim.sites")
        fitting = [row for row in sites if not site or site in (row["name"], row["slug"])]
        if len(fitting) != 1:
            names = ", ".join(sorted(visible(str(row["slug"])) for row in sites)[:10]) or "none"
            raise InputError(f"--site: there is no site {site!r} in NetBox; there are {names}" if site else
                             f"--site: name the site of new devices; NetBox has {names}")  # fmt: skip
        self._site = fitting[0]
        for row in self._server.rows("dcim.device_roles"):
            self._roles |= {row["slug"]: row, row["name"].lower(): row}
        for row in self._server.rows("dcim.manufacturers"):
            self._makers |= {row["slug"]: row, row["name"].lower(): row}
        for row in self._server.rows("dcim.device_types"):
            maker = _id(row["manufacturer"])
            self._types |= {(maker, row["slug"]): row, (maker, row["model"].lower()): row}

    def run(self, devices: Sequence[ExportedDevice]) -> Iterator[str]:
        """Write devices with what belongs to them; gives one line for each object."""
        if not devices:
            return
        if not self._tags:
            yield from self._create("extras.tags", [{"name": TAG, "slug": TAG, "color": _COLOR}], self._tags, "slug")
        existing: list[Row] = []
        if _is_real(self._tags):
            existing = self._server.rows("dcim.devices", tag=[TAG], exclude=["config_context"])
        yield from self._references(devices)
        targets: list[_Target] = []
        yield from self._devices(devices, existing, targets)
        yield from self._interfaces(targets)

    # What devices refer to

    def _references(self, devices: Sequence[ExportedDevice]) -> Iterator[str]:
        roles = {_role(device).lower(): _role(device) for device in devices}
        yield from self._ensure("dcim.device_roles", roles, self._roles, {"color": _COLOR})
        makers = {_maker(device).lower(): _maker(device) for device in devices}
        yield from self._ensure("dcim.manufacturers", makers, self._makers, {})
        wanted: dict[tuple[int, str], Row] = {}
        for device in devices:
            maker, model = self._maker_of(device), _model(device)
            if maker and (maker, model.lower()) not in self._types and (maker, slug(model)) not in self._types:
                wanted.setdefault((maker, slug(model)), {
                    "manufacturer": maker, "model": model, "slug": slug(model), "tags": self._tag_ids()
                })  # fmt: skip
        made: list[Row] = []
        yield from self._create("dcim.device_types", list(wanted.values()), made, "model")
        self._types |= {(_id(row["manufacturer"]), row["slug"]): row for row in made}

    def _ensure(self, endpoint: str, names: Mapping[str, str], known: dict[str, Row], more: Row) -> Iterator[str]:
        missing = {slug(name): name for key, name in names.items() if key not in known and slug(name) not in known}
        made: list[Row] = []
        rows = [{"name": name, "slug": key, "tags": self._tag_ids()} | more for key, name in missing.items()]
        yield from self._create(endpoint, rows, made, "name")
        known |= {row["slug"]: row for row in made}

    def _maker_of(self, device: ExportedDevice) -> int:
        name = _maker(device)
        return _id(self._makers.get(name.lower()) or self._makers.get(slug(name)))

    def _fields(self, device: ExportedDevice, name: str) -> Row:
        """What NetBox should say about a device; empty if something that it refers to was refused."""
        maker, model = self._maker_of(device), _model(device)
        role = _id(self._roles.get(_role(device).lower()) or self._roles.get(slug(_role(device))))
        kind = _id(self._types.get((maker, model.lower())) or self._types.get((maker, slug(model))))
        if not role or not kind:
            return {}
        return {"name": name, "role": role, "device_type": kind, "description": visible(device.statement)[:_TEXT]}

    # Devices

    def _devices(
        self, devices: Sequence[ExportedDevice], existing: Sequence[Row], targets: list[_Target]
    ) -> Iterator[str]:
        by_id = {str(mark["id"]): row for row in existing if (mark := _mark(row)).get("id")}
        names = _names(devices)
        taken = {row["name"]: row for row in existing if row["name"]}
        new = [device for device in devices if device.id not in by_id]
        entered = self._server.rows_with("dcim.devices", "name", [names[device.id] for device in new],
                                       site_id=self._site["id"], exclude=["config_context"]) if new else []  # fmt: skip
        others = {str(row["name"]).lower(): row for row in entered}
        created: list[tuple[ExportedDevice, Row]] = []
        changes: list[tuple[_Target, Row]] = []
        for device in devices:
            fields = self._fields(device, names[device.id])
            if not fields:
                continue
            row = by_id.get(device.id)
            if row is None and (other := others.get(names[device.id].lower())) is not None:
                if not any(tag["slug"] == TAG for tag in other.get("tags") or ()):
                    self.counters["skipped"] += 1
                    yield f"skip device {names[device.id]!r}: NetBox has one of this name without the tag {TAG}"
                    continue
                row = other if not _mark(other) else None
                if row is None:
                    self.counters["skipped"] += 1
                    yield f"skip device {names[device.id]!r}: another device here has this name in NetBox"
                    continue
            if row is None:
                mark = {TAG: {"id": device.id, "wrote": fields}}
                created.append((device, fields | {"site": self._site["id"], "status": STATUS, "tags": self._tag_ids(),
                                                  "local_context_data": mark}))  # fmt: skip
                continue
            target = _Target(device, row)
            targets.append(target)
            if "name" in fields and (holder := taken.get(fields["name"])) is not None and holder["id"] != row["id"]:
                del fields["name"]
            patch, person = _allowed(row, fields)
            for name in person:
                self.counters["fields kept"] += 1
                yield f"keep device {row['name']!r}: {name} was entered by a person"
            if patch:
                changes.append((target, patch))
        made: list[Row] = []
        yield from self._create("dcim.devices", [row for _, row in created], made, "name")
        ids = {str(_mark(row).get("id")): row for row in made}
        targets += [_Target(device, ids[device.id]) for device, _ in created if device.id in ids]
        yield from self._update("dcim.devices", [
            _with_mark(target, patch) for target, patch in changes
        ], [f"device {target.row['name']!r}: {', '.join(patch)}" for target, patch in changes])  # fmt: skip

    # What belongs to devices

    def _interfaces(self, targets: Sequence[_Target]) -> Iterator[str]:
        """Interfaces with MACs and addresses that NetBox does not have yet."""
        macs = {mac.upper(): target for target in targets for mac in target.device.macs[:MOST_ADDRESSES]}
        for target in targets:
            target.addresses = _host_addresses(target.device)[:MOST_ADDRESSES]
        addresses = {address: target for target in targets for address in target.addresses}
        known_macs = {str(row["mac_address"]).upper() for row in
                      self._server.rows_with("dcim.mac_addresses", "mac_address", list(macs))}  # fmt: skip
        known = {str(row["address"]).partition("/")[0] for row in
                 self._server.rows_with("ipam.ip_addresses", "address", list(addresses))}  # fmt: skip
        macs = {mac: target for mac, target in macs.items() if mac not in known_macs}
        addresses = {address: target for address, target in addresses.items() if address not in known}
        first: dict[int, str] = {}
        for mac, target in macs.items():
            first.setdefault(_id(target.row), _interface(mac))
        for target in addresses.values():
            first.setdefault(_id(target.row), _interface(target.device.macs[0].upper() if target.device.macs else ""))
        wanted = dict.fromkeys((_id(target.row), _interface(mac)) for mac, target in macs.items())
        wanted |= dict.fromkeys((_id(target.row), first[_id(target.row)]) for target in addresses.values())
        there = self._server.rows_with(
            "dcim.interfaces", "device_id", sorted({str(device) for device, _ in wanted if device > 0})
        )  # fmt: skip
        interfaces = {(_id(row["device"]), str(row["name"])): row for row in there}
        rows = [{"device": device, "name": name, "type": "other", "tags": self._tag_ids()}
                for device, name in wanted if (device, name) not in interfaces]  # fmt: skip
        made: list[Row] = []
        yield from self._create("dcim.interfaces", rows, made, "name")
        interfaces |= {(_id(row["device"]), str(row["name"])): row for row in made}
        yield from self._macs(macs, interfaces, {_id(row) for row in made})
        yield from self._addresses(addresses, interfaces, first)

    def _macs(
        self, macs: Mapping[str, _Target], interfaces: Mapping[tuple[int, str], Row], fresh: set[int]
    ) -> Iterator[str]:
        rows, made = [], list[Row]()
        for mac, target in macs.items():
            interface = _id(interfaces.get((_id(target.row), _interface(mac))))
            if interface:
                rows.append({"mac_address": mac, "assigned_object_type": "dcim.interface",
                             "assigned_object_id": interface, "tags": self._tag_ids()})  # fmt: skip
        yield from self._create("dcim.mac_addresses", rows, made, "mac_address")
        primary = [{"id": row["assigned_object_id"], "primary_mac_address": row["id"]} for row in made
                   if row["assigned_object_id"] in fresh]  # fmt: skip
        yield from self._update("dcim.interfaces", primary, [])

    def _addresses(
        self, addresses: Mapping[str, _Target], interfaces: Mapping[tuple[int, str], Row], first: Mapping[int, str]
    ) -> Iterator[str]:
        rows, made = [], list[Row]()
        for address, target in addresses.items():
            device = _id(target.row)
            interface = _id(interfaces.get((device, first[device])))
            if interface:
                length = 128 if ":" in address else 32
                rows.append({"address": f"{address}/{length}", "status": "active", "tags": self._tag_ids(),
                             "assigned_object_type": "dcim.interface", "assigned_object_id": interface})  # fmt: skip
        yield from self._create("ipam.ip_addresses", rows, made, "address")
        patches: dict[int, Row] = {}
        for row in made:
            address = str(row["address"]).partition("/")[0]
            target = addresses[address]
            key = "primary_ip6" if ":" in address else "primary_ip4"
            if not target.row.get(key):
                patches.setdefault(_id(target.row), {"id": _id(target.row)}).setdefault(key, row["id"])
        yield from self._update("dcim.devices", list(patches.values()), [])

    # Writing

    def _create(self, endpoint: str, rows: Sequence[Row], made: list[Row], name: str) -> Iterator[str]:
        plural = endpoint.partition(".")[2]
        word = plural.removesuffix("es" if plural.endswith("addresses") else "s").replace("_", " ")
        if self._dry_run:
            for row in rows:
                self._made -= 1
                made.append(row | {"id": self._made})
                self.counters[f"{word}: created"] += 1
                yield _created(word, row, name)
            return
        for row, result in zip(rows, self._server.create(endpoint, rows), strict=True):
            if isinstance(result, RefusedRowError):
                self.counters[f"{word}: refused"] += 1
                yield f"refused {word} {row[name]!r}: {result}"
                continue
            made.append(result)
            self.counters[f"{word}: created"] += 1
            yield _created(word, row, name)

    def _update(self, endpoint: str, rows: Sequence[Row], lines: Sequence[str]) -> Iterator[str]:
        """Change objects; without lines, it is a part of what was created."""
        if self._dry_run:
            results: Iterator[Row | RefusedRowError] = iter(rows)
        else:
            results = self._server.update(endpoint, rows)
        for number, result in enumerate(results):
            line = lines[number] if lines else f"{endpoint} {rows[number]['id']}"
            if isinstance(result, RefusedRowError):
                self.counters["updates refused"] += 1
                yield f"refused {line}: {result}"
            elif lines:
                self.counters["device: updated"] += 1
                yield f"update {line}"

    def _tag_ids(self) -> list[int]:
        return [_id(row) for row in self._tags]


def _created(word: str, row: Row, name: str) -> str:
    status = f" ({row['status']})" if word == "device" else ""
    return f"create {word} {str(row[name])!r}{status}"


def _is_real(rows: Sequence[Row]) -> bool:
    """Whether rows are in NetBox, and not those of a dry run."""
    return bool(rows) and all(_id(row) > 0 for row in rows)


def _id(value: Any) -> int:
    """Id of an object, or of a reference to one; 0: none."""
    return int(value["id"]) if isinstance(value, Mapping) else int(value or 0)


def _mark(row: Row) -> Mapping[str, Any]:
    """What was written to a device earlier; empty if nothing, or a person removed it."""
    context = row.get("local_context_data")
    mark = context.get(TAG) if isinstance(context, Mapping) else None
    return mark if isinstance(mark, Mapping) else {}


def _allowed(row: Row, fields: Row) -> tuple[Row, list[str]]:
    """Fields that may be changed, and those that a person entered."""
    written = _mark(row).get("wrote")
    wrote: Mapping[str, Any] = written if isinstance(written, Mapping) else {}
    patch: Row = {}
    person: list[str] = []
    for name, value in fields.items():
        current = row.get(name)
        if isinstance(current, Mapping):
            current = current["id"]
        if current == value:
            continue
        if current in (None, "") or (name in wrote and current == wrote[name]):
            patch[name] = value
        else:
            person.append(name)
    return patch, person


def _with_mark(target: _Target, patch: Row) -> Row:
    """A change with what is written noted beside it; other context data of the device stay."""
    mark = _mark(target.row)
    wrote = dict(mark["wrote"]) if isinstance(mark.get("wrote"), Mapping) else {}
    context = dict(target.row.get("local_context_data") or {})
    context[TAG] = {"id": target.device.id, "wrote": wrote | patch}
    return {"id": _id(target.row), "local_context_data": context} | patch


def _names(devices: Sequence[ExportedDevice]) -> dict[str, str]:
    """A name for each device by its id, none twice; case does not tell names apart in NetBox."""
    used: set[str] = set()
    latest: dict[str, int] = {}
    names: dict[str, str] = {}
    for device in devices:
        base = visible(device.name).strip()[:_NAME] or device.id[:_NAME]
        name, number = base, latest.get(base.lower(), 2)
        while name.lower() in used:
            end = f" ({number})"
            name, number = f"{base[: _NAME - len(end)]}{end}", number + 1
        used.add(name.lower())
        latest[base.lower()] = number
        names[device.id] = name
    return names


def _role(device: ExportedDevice) -> str:
    return visible(kind_label(device.kind) or UNKNOWN)[:_SHORT]


def _maker(device: ExportedDevice) -> str:
    return visible(device.vendor or UNKNOWN)[:_SHORT]


def _model(device: ExportedDevice) -> str:
    return visible(device.model or UNKNOWN)[:_SHORT]


def _interface(mac: str) -> str:
    """Name of the interface with a MAC."""
    return f"net-{mac.replace(':', '').lower()}" if mac else "net"


def _host_addresses(device: ExportedDevice) -> list[str]:
    """Addresses that are of one host in the whole network: link-local ones are not."""
    addresses = []
    for text in device.addresses:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if not address.is_link_local and getattr(address, "scope_id", None) is None:
            addresses.append(str(address))
    return addresses
