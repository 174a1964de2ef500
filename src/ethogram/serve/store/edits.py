"""Changes that users make: each is written with its entry in the audit log and its event, in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, case, delete, insert, select, update

from ethogram.errors import UsageError
from ethogram.schema import KINDS
from ethogram.serve.store.display import columns_of, label_of, refresh
from ethogram.serve.store.log import log_change
from ethogram.serve.store.reads import root_of
from ethogram.serve.store.tables import (
    alert,
    audit,
    device,
    device_group,
    device_key,
    feedback,
    group_member,
    identity_fact,
    label,
    mute,
    verdict,
    verdict_change,
)
from ethogram.serve.store.upsert import upsert

__all__ = [
    "confirm",
    "give_label",
    "ignore",
    "merge",
    "name_group",
    "note",
    "record_groups",
    "reject",
    "remove_label",
    "split",
    "withdraw",
]

LONGEST_LABEL, LONGEST_NOTE = 255, 4000
MOST_MOVED = 1000
"""Latest notes, confirmations and rejections that move with a device."""


def _device(connection: Connection, id_: str) -> RowMapping:
    row = root_of(connection, id_)
    if row is None:
        raise UsageError(f"there is no device {id_!r}")
    return row


def give_label(
    connection: Connection, id_: str, value: str, user: str, *, kind: str = "", vendor: str = "", model: str = ""
) -> None:  # fmt: skip
    """Call a device something; the label holds until it is replaced or removed."""
    row, value = _device(connection, id_), value.strip()
    if not value or len(value) > LONGEST_LABEL:
        raise UsageError(f"a label has 1 to {LONGEST_LABEL} characters")
    if kind and kind not in KINDS:
        raise UsageError(f"there is no kind {kind!r}; there are {', '.join(KINDS)}")
    now = datetime.now(tz=UTC)
    before = label_of(connection, row["id"])
    _end_label(connection, row["id"], now)
    connection.execute(insert(label).values(
        device=row["id"], value=value, kind=kind, vendor=vendor.strip()[:255], model=model.strip()[:255], user=user,
        time=now, removed=None,
    ))  # fmt: skip
    _history(connection, row, value, f"labelled by {user}", "label", 1.0)
    refresh(connection, row["id"])
    log_change(connection, user, "label", row["id"], {
        "label": value, "kind": kind, "vendor": vendor, "model": model, "before": before["value"] if before else "",
    })  # fmt: skip


def _end_label(connection: Connection, id_: str, now: datetime) -> None:
    connection.execute(update(label).where(label.c.device == id_, label.c.removed.is_(None)).values(removed=now))


def _history(connection: Connection, row: RowMapping, after: str, reason: str, level: str, score: float) -> None:
    """A change of the statement that a user made."""
    if row["statement"] == after:
        return
    connection.execute(insert(verdict_change).values(
        device=row["id"], time=datetime.now(tz=UTC), before=row["statement"], after=after, level=level, score=score,
        reason=reason, evidence=[], library="",
    ))  # fmt: skip


def remove_label(connection: Connection, id_: str, user: str) -> None:
    """Remove the label of a device: it is called what is stated again."""
    row = _device(connection, id_)
    before = label_of(connection, row["id"])
    if before is None:
        raise UsageError(f"{row['name']} has no label")
    _end_label(connection, row["id"], datetime.now(tz=UTC))
    refresh(connection, row["id"])
    after = connection.execute(select(device).where(device.c.id == row["id"])).mappings().one()
    _history(connection, row, after["statement"], f"label removed by {user}", after["level"], after["score"])
    log_change(connection, user, "remove label", row["id"], {"before": before["value"]})


def _feedback(connection: Connection, id_: str, kind: str, text: str, user: str) -> None:
    connection.execute(
        insert(feedback).values(device=id_, kind=kind, text=text, user=user, time=datetime.now(tz=UTC))
    )


def _stated_text(connection: Connection, row: RowMapping) -> str:
    statement = connection.execute(select(verdict.c.statement).where(verdict.c.device == row["id"])).scalar()
    if statement in (None, "unknown"):
        raise UsageError(f"nothing is stated about {row['name']} yet")
    return str(statement)


def confirm(connection: Connection, id_: str, user: str) -> None:
    """Confirm the statement about a device."""
    row = _device(connection, id_)
    statement = _stated_text(connection, row)
    _feedback(connection, row["id"], "confirm", statement, user)
    log_change(connection, user, "confirm", row["id"], {"statement": statement})


def reject(connection: Connection, id_: str, user: str) -> None:
    """Reject the statement about a device: it is not stated about it again."""
    row = _device(connection, id_)
    statement = _stated_text(connection, row)
    _feedback(connection, row["id"], "reject", statement, user)
    _state_unknown(connection, row["id"])
    if not row["pinned"]:
        _history(connection, row, "unknown", f"{statement} rejected by {user}", "unknown", 0.0)
    refresh(connection, row["id"], due=row["last_seen"])
    log_change(connection, user, "reject", row["id"], {"statement": statement})


def withdraw(connection: Connection, id_: str, user: str) -> None:
    """Withdraw the latest confirmation or rejection of the statement."""
    row = _device(connection, id_)
    query = (
        select(feedback.c.kind, feedback.c.text)
        .where(feedback.c.device == row["id"], feedback.c.kind.in_(("confirm", "reject", "withdraw")))
        .order_by(feedback.c.id.desc()).limit(1)
    )  # fmt: skip
    last = connection.execute(query).first()
    if last is None or last.kind == "withdraw":
        raise UsageError(f"nothing was confirmed or rejected about {row['name']}")
    _feedback(connection, row["id"], "withdraw", last.text, user)
    refresh(connection, row["id"], due=row["last_seen"])
    log_change(connection, user, "withdraw", row["id"], {"statement": last.text, "was": last.kind})


def ignore(connection: Connection, id_: str, user: str, *, ignored: bool = True) -> None:
    """Hide a device from lists and numbers, or show it again."""
    row = _device(connection, id_)
    connection.execute(update(device).where(device.c.id == row["id"]).values(ignored=ignored))
    log_change(connection, user, "ignore" if ignored else "stop ignoring", row["id"], {})


def note(connection: Connection, id_: str, text: str, user: str) -> None:
    """Add a note to a device."""
    row, text = _device(connection, id_), text.strip()
    if not text or len(text) > LONGEST_NOTE:
        raise UsageError(f"a note has 1 to {LONGEST_NOTE} characters")
    _feedback(connection, row["id"], "note", text, user)
    log_change(connection, user, "note", row["id"], {"text": text})


def merge(connection: Connection, id_: str, into: str, user: str) -> None:
    """Make two devices one: the first goes into the second, with its addresses, facts, history, label and feedback.

    If both have a label, that of the second one holds.
    """
    row, target = _device(connection, id_), _device(connection, into)
    if row["id"] == target["id"]:
        raise UsageError("a device cannot be merged into itself")
    keys = connection.execute(select(device_key).where(device_key.c.device == row["id"])).mappings().all()
    connection.execute(delete(device_key).where(device_key.c.device == row["id"]))
    upsert(connection, device_key, [
        {name: key[name] for name in ("kind", "value", "first", "last")} | {"device": target["id"], "by_user": True}
        for key in keys
    ], ["kind", "value", "device"])  # fmt: skip
    facts = connection.execute(select(identity_fact).where(identity_fact.c.device == row["id"])).mappings().all()
    connection.execute(delete(identity_fact).where(identity_fact.c.device == row["id"]))
    upsert(connection, identity_fact, [
        {name: fact[name] for name in ("fact", "value", "source", "first", "last")} | {"device": target["id"]}
        for fact in facts
    ], ["device", "fact", "value", "source"])  # fmt: skip
    connection.execute(delete(group_member).where(group_member.c.device == row["id"]))
    connection.execute(
        update(device).where(device.c.id == row["id"]).values(merged_into=target["id"], due=None)
    )
    moved = _move_feedback(connection, row["id"], target["id"])
    came, ended = _move_label(connection, row, target)
    _apply_rejections(connection, target)
    refresh(
        connection, target["id"], first_seen=min(row["first_seen"], target["first_seen"]),
        last_seen=max(row["last_seen"], target["last_seen"]), flows=row["flows"] + target["flows"],
        octets=row["octets"] + target["octets"], due=max(row["last_seen"], target["last_seen"]),
    )  # fmt: skip
    of_device = alert.c.device == row["id"]
    subject = case((alert.c.subject == row["id"], target["id"]), else_=alert.c.subject)
    connection.execute(update(alert).where(of_device).values(device=target["id"], subject=subject))
    connection.execute(delete(mute).where(mute.c.device == row["id"]))
    log_change(connection, user, "merge", target["id"], {
        "merged": row["id"], "name": row["name"], "feedback": moved, "labels": came, "ended": ended,
        "flow_names": sorted(key["value"] for key in keys if key["kind"] == "flow")[:MOST_MOVED],
    })  # fmt: skip


def _move_feedback(connection: Connection, source: str, target: str, ids: Sequence[int] | None = None) -> list[int]:
    """Give what users said about a device to another one, all of it or some entries; returns the entries."""
    query = select(feedback.c.id).where(feedback.c.device == source).order_by(feedback.c.id.desc()).limit(MOST_MOVED)
    if ids is not None:
        query = query.where(feedback.c.id.in_(ids))
    moved = sorted(connection.execute(query).scalars())
    connection.execute(update(feedback).where(feedback.c.id.in_(moved)).values(device=target))
    return moved


def _move_label(connection: Connection, row: RowMapping, target: RowMapping) -> tuple[list[int], list[int]]:
    """Give the label of a device to the one that it is merged into; if that has one, this one ends.

    Returns the labels that moved, and those that ended.
    """
    given = label_of(connection, row["id"])
    if given is None:
        return [], []
    if label_of(connection, target["id"]) is not None:
        _end_label(connection, row["id"], datetime.now(tz=UTC))
        return [], [given["id"]]
    connection.execute(update(label).where(label.c.id == given["id"]).values(device=target["id"]))
    _history(connection, target, given["value"], f"labelled by {given['user']} before the merge", "label", 1.0)
    return [given["id"]], []


def _return_labels(connection: Connection, id_: str, new: str, details: Sequence[Mapping[str, Any]]) -> None:
    """Give labels that came with merged devices, and hold still, to the device that has their flows now.

    Of several, the latest one holds. A label that ended with the merge holds again.
    """
    came = [each for detail in details for each in detail.get("labels") or ()]
    ended = [each for detail in details for each in detail.get("ended") or ()]
    merged = [detail["merged"] for detail in details]
    connection.execute(update(label).where(
        label.c.id.in_(came), label.c.device == id_, label.c.removed.is_(None)
    ).values(device=new))  # fmt: skip
    connection.execute(
        update(label).where(label.c.id.in_(ended), label.c.device.in_(merged)).values(device=new, removed=None)
    )
    holding = select(label.c.id).where(label.c.device == new, label.c.removed.is_(None)).order_by(label.c.id)
    earlier = list(connection.execute(holding).scalars())[:-1]
    connection.execute(update(label).where(label.c.id.in_(earlier)).values(removed=datetime.now(tz=UTC)))


def _apply_rejections(connection: Connection, row: RowMapping) -> None:
    """State nothing about a device if what is stated was rejected, and the rejection was not taken back."""
    query = select(feedback.c.kind, feedback.c.text).where(
        feedback.c.device == row["id"], feedback.c.kind.in_(("confirm", "reject", "withdraw"))
    ).order_by(feedback.c.id)  # fmt: skip
    latest = {text: kind for kind, text in connection.execute(query)}
    statement = connection.execute(select(verdict.c.statement).where(verdict.c.device == row["id"])).scalar()
    if statement is None or latest.get(statement) != "reject":
        return
    _state_unknown(connection, row["id"])
    if not row["pinned"]:
        _history(connection, row, "unknown", f"{statement} was rejected of the merged device", "unknown", 0.0)


def _state_unknown(connection: Connection, id_: str) -> None:
    nothing = {"statement": "unknown", "level": "unknown", "score": 0.0, "candidate": None}
    connection.execute(update(verdict).where(verdict.c.device == id_).values(nothing))


def _merges_of(connection: Connection, id_: str, flow_names: Set[str]) -> list[Mapping[str, Any]]:
    """Log entries of the merges that brought only flows of these names to a device."""
    query = select(audit.c.detail).where(audit.c.device == id_, audit.c.action == "merge").order_by(audit.c.id)
    return [
        detail for detail in connection.execute(query).scalars()
        if detail.get("flow_names") and set(detail["flow_names"]) <= flow_names
    ]  # fmt: skip


def split(connection: Connection, id_: str, keys: Sequence[str], user: str) -> str:
    """Make a device of some addresses, MACs or names of a device; returns its id.

    Label, notes, confirmations and rejections that came with a merged device go with its flows; others stay.
    """
    row = _device(connection, id_)
    stored = connection.execute(select(device_key).where(device_key.c.device == row["id"])).mappings().all()
    moved = [key for key in stored if key["value"] in set(keys)]
    missing = set(keys) - {key["value"] for key in moved}
    if missing or not moved:
        raise UsageError(f"{row['name']} has no {', '.join(sorted(missing)) or 'such address'}")
    if not any(key["kind"] == "flow" for key in moved):
        raise UsageError(f"no flow of {row['name']} has {', '.join(sorted(set(keys)))} as its device")
    if all(key["value"] in set(keys) for key in stored if key["kind"] == "flow"):
        raise UsageError(f"nothing would be left of {row['name']}")
    new = secrets.token_hex(8)
    first, last = min(key["first"] for key in moved), max(key["last"] for key in moved)
    connection.execute(insert(device).values({
        **columns_of(stated=None, label=None, host_name="", address="", mac=""), "id": new, "merged_into": None,
        "first_seen": first, "last_seen": last, "due": last, "flows": 0, "octets": 0, "octets_a_day": None,
        "ignored": False, "provisional": True, "judged": None, "changed": None,
    }))  # fmt: skip
    connection.execute(
        update(device_key)
        .where(device_key.c.id.in_([key["id"] for key in moved]))
        .values(device=new, by_user=True)
    )
    flow_names = {key["value"] for key in moved if key["kind"] == "flow"}
    merges = _merges_of(connection, row["id"], flow_names)
    returned: list[int] = []
    for detail in merges:
        returned += _move_feedback(connection, row["id"], new, detail.get("feedback") or [])
    _return_labels(connection, row["id"], new, merges)
    refresh(connection, new)
    refresh(connection, row["id"], due=row["last_seen"])
    log_change(connection, user, "split", row["id"], {
        "new": new, "keys": sorted(set(keys)), "feedback": returned,
    })  # fmt: skip
    return new


def record_groups(connection: Connection, rows: Sequence[tuple[Sequence[str], Sequence[str]]]) -> None:
    """Store groups of unknown devices, each as members and what they share; a group that stays keeps id and name.

    A group stays if more than half of its earlier members are in it.
    """
    before: dict[str, set[str]] = {}
    for group, member in connection.execute(select(group_member.c.group, group_member.c.device)):
        before.setdefault(group, set()).add(member)
    now = datetime.now(tz=UTC)
    groups_by_id: dict[str, tuple[Sequence[str], Sequence[str]]] = {}
    for members, shares in rows:
        best = max(before, key=lambda id_: len(before[id_] & set(members)), default=None)
        free = best is not None and best not in groups_by_id
        same = free and best is not None and 2 * len(before[best] & set(members)) > len(before[best])
        id_ = best if same and best is not None else secrets.token_hex(8)
        groups_by_id[id_] = (members, shares)
    connection.execute(delete(group_member))
    unnamed = device_group.c.id.not_in(list(groups_by_id)) & (device_group.c.name == "")
    connection.execute(delete(device_group).where(unnamed))
    upsert(connection, device_group, [
        {"id": id_, "name": "", "shares": list(shares), "first_seen": now} for id_, (_, shares) in groups_by_id.items()
    ], ["id"], lambda new: {"shares": new.shares})  # fmt: skip
    members_ = [{"group": id_, "device": each} for id_, (members, _) in groups_by_id.items() for each in members]
    if members_:
        connection.execute(insert(group_member), members_)


def name_group(connection: Connection, group: str, value: str, user: str, *, kind: str = "", vendor: str = "",
               model: str = "") -> tuple[str, ...]:  # fmt: skip
    """Name a group: all its devices get the label; returns their ids."""
    if connection.execute(select(device_group.c.id).where(device_group.c.id == group)).first() is None:
        raise UsageError(f"there is no group {group!r}")
    query = select(group_member.c.device).where(group_member.c.group == group).order_by(group_member.c.device)
    ids = tuple(connection.execute(query).scalars())
    for id_ in ids:
        give_label(connection, id_, value, user, kind=kind, vendor=vendor, model=model)
    connection.execute(update(device_group).where(device_group.c.id == group).values(name=value.strip()))
    log_change(connection, user, "group", "", {"group": group, "label": value.strip(), "devices": len(ids)})
    return ids
