"""What lists show of a device: the label of the user, else what is stated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, desc, select, update

from ethogram.serve.hysteresis import Stated
from ethogram.serve.store.rows import address_order, network_of, words_of
from ethogram.serve.store.tables import device, device_key, verdict
from ethogram.serve.store.tables import label as labels

__all__ = ["columns_of", "is_unusual", "label_of", "refresh", "stated_of"]


def columns_of(
    *, stated: Stated | None, label: RowMapping | Mapping[str, Any] | None, host_name: str, address: str, mac: str,
    unusual: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Columns of the table of devices that depend on verdict, label and addresses.

    A kind that the user gave and a kind that is stated and differs make the device unusual.
    """
    columns: dict[str, Any] = {
        "name": host_name or address or mac, "address": address, "address_order": address_order(address), "mac": mac,
        "network": network_of(address), "kind": "", "vendor": "", "model": "", "statement": "", "level": "",
        "score": 0.0, "pinned": label is not None, "unusual": unusual,
    }  # fmt: skip
    if stated is not None:
        columns |= {"kind": stated.kind, "vendor": stated.vendor, "model": stated.model,
                    "statement": stated.statement, "level": stated.level, "score": stated.score}  # fmt: skip
    if label is not None:
        given = str(label["kind"])
        if given and columns["kind"] and given not in columns["kind"].split(" or "):
            columns["unusual"] = True
        columns |= {name: str(label[name]) for name in ("kind", "vendor", "model") if label[name]}
        columns |= {"name": str(label["value"]), "statement": str(label["value"]), "level": "label", "score": 1.0}
    columns = {key: value[:_LONGEST[key]] if key in _LONGEST else value for key, value in columns.items()}
    return columns | {"words": words_of(columns, (host_name,))}


_LONGEST = {"name": 1024, "statement": 1024, "vendor": 255, "model": 255, "kind": 64, "network": 64, "address": 64,
            "mac": 17}  # fmt: skip


def is_unusual(document: Mapping[str, Any], stated: Stated) -> bool:
    """Whether a device does not behave like what is stated, which must be a device or model of the library for that."""
    return bool(document.get("unusual")) and stated.level in ("device", "model")


def stated_of(stored: RowMapping, *, provisional: bool) -> Stated:
    """What is stated about a device, from its row of verdicts: a rejected statement is stored as *unknown*."""
    stated = Stated.of(stored["document"], stored["library"], provisional=provisional)
    if stated.statement[:1024] == stored["statement"]:
        return stated
    return Stated(stored["statement"], stored["level"], stored["score"], library=stored["library"],
                  provisional=provisional, facts=stated.facts)  # fmt: skip


def label_of(connection: Connection, id_: str) -> RowMapping | None:
    """The label of a device that holds."""
    query = select(labels).where(labels.c.device == id_, labels.c.removed.is_(None)).order_by(desc(labels.c.id))
    return connection.execute(query.limit(1)).mappings().first()


def refresh(connection: Connection, id_: str, **values: Any) -> None:
    """Bring the columns of lists up to date with label, verdict and keys."""
    row = connection.execute(select(device).where(device.c.id == id_)).mappings().one()
    stored = connection.execute(select(verdict).where(verdict.c.device == id_)).mappings().first()
    stated, unusual = None, False
    if stored is not None:
        stated = stated_of(stored, provisional=row["provisional"])
        unusual = is_unusual(stored["document"], stated)
    latest: dict[str, str] = {}
    keys = select(device_key).where(device_key.c.device == id_).order_by(device_key.c.last, desc(device_key.c.id))
    for key in connection.execute(keys).mappings():
        latest[key["kind"]] = key["value"]
    columns = columns_of(
        stated=stated, label=label_of(connection, id_), host_name=latest.get("hostname", ""),
        address=latest.get("address", ""), mac=latest.get("mac", ""), unusual=unusual,
    )  # fmt: skip
    columns["name"] = columns["name"] or latest.get("flow", row["name"])
    connection.execute(update(device).where(device.c.id == id_).values(**columns | values))
