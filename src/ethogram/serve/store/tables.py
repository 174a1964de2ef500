"""Tables of the store. Times are UTC; ids of devices and groups are random; JSON columns hold what is only shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

__all__ = [
    "METADATA",
    "Utc",
    "account",
    "alert",
    "audit",
    "counter_sample",
    "device",
    "device_group",
    "device_key",
    "event",
    "exporter",
    "feedback",
    "group_member",
    "identity_fact",
    "label",
    "meta",
    "mute",
    "source",
    "traffic",
    "verdict",
    "verdict_change",
    "watched_file",
    "web_session",
]

METADATA = MetaData(naming_convention={"ix": "ix_%(column_0_label)s", "uq": "uq_%(table_name)s_%(column_0_name)s"})

_Serial = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows only for INTEGER


class Utc(TypeDecorator[datetime]):
    """A time in UTC, stored without its zone, because SQLite has none."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Drop the zone; a time without one is refused."""
        if value is None:
            return None
        if value.tzinfo is UTC:
            return value.replace(tzinfo=None)
        if value.tzinfo is None:
            raise ValueError("a time without zone")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Add the zone."""
        return None if value is None else value.replace(tzinfo=UTC)


def _device(**options: Any) -> Column[str]:
    return Column("device", String(16), ForeignKey("device.id"), nullable=False, **options)


meta = Table("meta", METADATA, Column("name", String(64), primary_key=True), Column("value", JSON, nullable=False))

source = Table(
    "source", METADATA,
    Column("name", String(1024), primary_key=True),
    Column("segment", BigInteger, nullable=False),
    Column("clock", Utc),
)  # fmt: skip

watched_file = Table(
    "watched_file", METADATA,
    Column("source", String(1024), primary_key=True),
    Column("path", String(4096), primary_key=True),
    Column("octets", BigInteger, nullable=False),
    Column("modified_ns", BigInteger, nullable=False),
    Column("time", Utc, nullable=False),
    Column("message", Text, nullable=False),
)  # fmt: skip

device = Table(
    "device", METADATA,
    Column("id", String(16), primary_key=True),
    Column("merged_into", String(16), ForeignKey("device.id"), index=True),
    Column("first_seen", Utc, nullable=False, index=True),
    Column("last_seen", Utc, nullable=False, index=True),
    Column("due", Utc, index=True),
    Column("flows", BigInteger, nullable=False),
    Column("octets", BigInteger, nullable=False),
    Column("name", String(1024), nullable=False, index=True),
    Column("address", String(64), nullable=False),
    Column("address_order", String(40), nullable=False, index=True),
    Column("mac", String(17), nullable=False),
    Column("network", String(64), nullable=False, index=True),
    Column("kind", String(64), nullable=False, index=True),
    Column("vendor", String(255), nullable=False, index=True),
    Column("model", String(255), nullable=False),
    Column("statement", String(1024), nullable=False, index=True),
    Column("level", String(16), nullable=False),
    Column("score", Float, nullable=False, index=True),
    Column("octets_a_day", Float, index=True),
    Column("pinned", Boolean, nullable=False),
    Column("unusual", Boolean, nullable=False),
    Column("ignored", Boolean, nullable=False),
    Column("provisional", Boolean, nullable=False),
    Column("judged", Utc),
    Column("changed", Utc, index=True),
    Column("words", Text, nullable=False),
)  # fmt: skip
"""``words`` is what a search looks at: name, addresses, MAC, statement, kind, vendor and model in lower case."""

device_key = Table(
    "device_key", METADATA,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    _device(index=True),
    Column("kind", String(16), nullable=False),
    Column("value", String(1024), nullable=False),
    Column("first", Utc, nullable=False),
    Column("last", Utc, nullable=False),
    Column("by_user", Boolean, nullable=False),
    UniqueConstraint("kind", "value", "device"),
)  # fmt: skip

identity_fact = Table(
    "identity_fact", METADATA,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    _device(index=True),
    Column("fact", String(32), nullable=False),
    Column("value", String(255), nullable=False),
    Column("source", String(255), nullable=False),
    Column("first", Utc),
    Column("last", Utc),
    UniqueConstraint("device", "fact", "value", "source"),
)  # fmt: skip

verdict = Table(
    "verdict", METADATA,
    _device(primary_key=True),
    Column("time", Utc, nullable=False),
    Column("document", JSON, nullable=False),
    Column("candidate", JSON(none_as_null=True)),
    Column("statement", String(1024), nullable=False),
    Column("level", String(16), nullable=False),
    Column("score", Float, nullable=False),
    Column("library", String(255), nullable=False),
    Column("source", String(1024), nullable=False),
    Column("segment", BigInteger, nullable=False),
)  # fmt: skip
"""What the judge states, without labels of users; ``candidate`` is another statement that does not hold long enough."""

verdict_change = Table(
    "verdict_change", METADATA,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    _device(index=True),
    Column("time", Utc, nullable=False),
    Column("before", String(1024), nullable=False),
    Column("after", String(1024), nullable=False),
    Column("level", String(16), nullable=False),
    Column("score", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("library", String(255), nullable=False),
)  # fmt: skip

label = Table(
    "label", METADATA,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    _device(index=True),
    Column("value", String(255), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("vendor", String(255), nullable=False),
    Column("model", String(255), nullable=False),
    Column("user", String(64), nullable=False),
    Column("time", Utc, nullable=False),
    Column("removed", Utc),
)  # fmt: skip

feedback = Table(
    "feedback", METADATA,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    _device(index=True),
    Column("kind", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("user", String(64), nullable=False),
    Column("time", Utc, nullable=False),
)  # fmt: skip
"""Notes, confirmations and rejections; the text of the last two is the statement that they are about."""

device_group = Table(
    "device_group", METADATA,
    Column("id", String(16), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("shares", JSON, nullable=False),
    Column("first_seen", Utc, nullable=False),
)  # fmt: skip

group_member = Table(
    "group_member", METADATA,
    Column("group", String(16), ForeignKey("device_group.id"), primary_key=True),
    _device(primary_key=True),
)  # fmt: skip

exporter = Table(
    "exporter", METADATA,
    Column("address", String(64), primary_key=True),
    Column("port", Integer, primary_key=True),
    Column("transport", String(8), primary_key=True),
    Column("first_seen", Utc, nullable=False),
    Column("last_seen", Utc, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("gaps", BigInteger, nullable=False),
    Column("detail", JSON, nullable=False),
)  # fmt: skip

counter_sample = Table(
    "counter_sample", METADATA,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("time", Utc, nullable=False, index=True),
    Column("stage", String(64), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("reason", String(255), nullable=False),
    Column("unit", String(32), nullable=False),
    Column("value", BigInteger, nullable=False),
)  # fmt: skip

traffic = Table(
    "traffic", METADATA,
    Column("hour", Utc, primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("octets", BigInteger, nullable=False),
)  # fmt: skip
"""Octets of all devices by hour and by the kind that they had when the flows were counted."""

account = Table(
    "account", METADATA,
    Column("name", String(64), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("token_digest", String(64), nullable=False, unique=True),
    Column("created", Utc, nullable=False),
)  # fmt: skip

web_session = Table(
    "web_session", METADATA,
    Column("digest", String(64), primary_key=True),
    Column("account", String(64), ForeignKey("account.name"), nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("expires", Utc, nullable=False, index=True),
)  # fmt: skip

event = Table(
    "event", METADATA,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("time", Utc, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("device", String(16), nullable=False),
    Column("data", JSON, nullable=False),
    sqlite_autoincrement=True,
)  # fmt: skip
"""Ids are never reused, so a reader can continue after the last id that it read."""

alert = Table(
    "alert", METADATA,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("kind", String(32), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("device", String(16), nullable=False, index=True),
    Column("text", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("first", Utc, nullable=False, index=True),
    Column("last", Utc, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("changed", Utc),
    Column("user", String(64), nullable=False),
    sqlite_autoincrement=True,
)  # fmt: skip
"""``device`` is empty for alerts about none; the subject distinguishes alerts of one kind."""

mute = Table(
    "mute", METADATA,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("kind", String(32), nullable=False),
    Column("device", String(16), nullable=False),
    Column("until", Utc),
    Column("user", String(64), nullable=False),
    Column("time", Utc, nullable=False),
    UniqueConstraint("kind", "device"),
)  # fmt: skip

audit = Table(
    "audit", METADATA,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("time", Utc, nullable=False, index=True),
    Column("user", String(64), nullable=False),
    Column("action", String(32), nullable=False),
    Column("device", String(16), nullable=False, index=True),
    Column("detail", JSON, nullable=False),
)  # fmt: skip

Index("ix_device_key_value", device_key.c.kind, device_key.c.value)
Index("ix_alert_kind_subject", alert.c.kind, alert.c.subject)
Index("ix_alert_state_last", alert.c.state, alert.c.last)
