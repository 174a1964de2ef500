"""The store: decisions of the live service, and labels and feedback of its users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, select

from ethogram.config import AlertSettings, JudgeSettings
from ethogram.errors import EthogramError, InputError
from ethogram.schema import (
    AlertPage,
    AlertPass,
    AuditRow,
    ConfirmedStatement,
    CounterSample,
    DeviceDetail,
    DevicePage,
    DeviceRow,
    DueDevice,
    EventRow,
    ExporterRow,
    ForgetRequest,
    GroupRow,
    MuteRow,
    Overview,
    RoundResult,
    SessionRow,
    UserRow,
    VerdictChange,
)
from ethogram.serve.store import access, alerts, backup, conflicts, edits, forget, reads, rounds
from ethogram.serve.store.database import FAILURES, connect, migrate, reason_of, shown, url_of
from ethogram.serve.store.tables import device, watched_file

__all__ = ["Store"]


class Store:
    """Decisions of the live service in SQLite or PostgreSQL. All methods are safe for use from several threads.

    Every method that writes is one transaction. A database that is locked, gone, full or damaged raises
    :class:`InputError` with the reason in one line; nothing is written then, and later calls work again as soon as the
    database does.

    Parameters
    ----------
    engine
        Connected to a database of the current schema; see :meth:`open`.
    name
        File or URL without password, for messages.
    settings
        When a statement changes, and when a device is shown as new, changed or silent.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with Store.open(Path(folder.name) / "home.db") as store:
    ...     store.devices().total
    0
    >>> folder.cleanup()
    """

    def __init__(self, engine: Engine, name: str, settings: JudgeSettings | None = None) -> None:
        self.name = name
        self.settings = settings or JudgeSettings()
        self._engine = engine
        self._overview: tuple[tuple[object, ...], Overview] | None = None

    @classmethod
    def open(cls, place: str | Path, settings: JudgeSettings | None = None) -> Self:
        """Open a store, create it if it does not exist, and bring its schema up to date.

        Parameters
        ----------
        place
            File of SQLite, or ``postgresql://USER:PASSWORD@HOST/NAME``.
        settings
            As for the class.

        Raises
        ------
        InputError
            If the database cannot be reached or written, is not a store, or has a newer schema.
        ConfigurationError
            If the URL is of another kind of database.
        """
        url = url_of(place)
        engine = connect(url)
        store = cls(engine, shown(url), settings)
        try:
            with store._writing() as connection:
                migrate(connection, store.name)
        except BaseException:
            engine.dispose()
            raise
        return store

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except FAILURES as error:
            raise InputError(f"cannot be read: {reason_of(error)}", file=self.name) from None

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction; SQLite takes the lock for writing at its begin, so that it cannot fail later."""
        try:
            with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
                yield connection
        except EthogramError:
            raise
        except FAILURES as error:
            raise InputError(f"cannot be written: {reason_of(error)}", file=self.name) from None

    def check(self) -> None:
        """Raise :class:`InputError` if the database does not answer."""
        with self._reading() as connection:
            connection.execute(select(device.c.id).limit(1)).first()

    # Devices

    def devices(
        self, *, search: str = "", kind: str | None = None, vendor: str | None = None, state: str | None = None,
        network: str | None = None, sort: str = "name", descending: bool = False, offset: int = 0, limit: int = 100,
    ) -> DevicePage:  # fmt: skip
        """A part of the list of devices; devices that are ignored are listed only by ``state="ignored"``.

        Parameters
        ----------
        search
            Words that name, addresses, MAC, statement, kind, vendor or model contain, all of them.
        kind, vendor, network
            Only devices of these; empty: not known; None: any.
        state
            One of :data:`ethogram.schema.DEVICE_STATES`.
        sort, descending
            A column of :data:`ethogram.serve.store.reads.SORTS`; devices without a value come last.
        offset, limit
            The part; at most 1000 devices.

        Raises
        ------
        UsageError
            If there is no such column or state.
        """
        with self._reading() as connection:
            return reads.devices(
                connection, self.settings, search=search, kind=kind, vendor=vendor, state=state, network=network,
                sort=sort, descending=descending, offset=offset, limit=limit,
            )  # fmt: skip

    def overview(self) -> Overview:
        """Numbers of devices by kind, vendor, state and network; counted again when anything has changed."""
        with self._reading() as connection:
            key = reads.overview_key(connection)
            known = self._overview
            if known is None or known[0] != key:
                known = (key, reads.overview(connection, self.settings))
                self._overview = known
            return known[1]

    def device(self, id_: str) -> DeviceDetail | None:
        """Everything about a device; of a merged one, about the device that it was merged into; None if unknown."""
        with self._reading() as connection:
            return reads.detail(connection, self.settings, id_)

    def mark(self) -> tuple[object, ...]:
        """Differs from an earlier mark whenever devices, their names or statements may have changed."""
        with self._reading() as connection:
            return reads.overview_key(connection)

    def names_and_reasons(
        self, ids: Sequence[str]
    ) -> dict[str, tuple[dict[str, list[str]], str, tuple[str, ...]]]:  # fmt: skip
        """Of devices by id: their MACs, addresses and names by kind, and why the statement changed last."""
        with self._reading() as connection:
            return reads.names_and_reasons(connection, ids)

    def changes(
        self, *, offset: int = 0, limit: int = 100, since: datetime | None = None
    ) -> tuple[VerdictChange, ...]:  # fmt: skip
        """Changes of statements of all devices, the latest first; with a time, those since then but for first ones."""
        with self._reading() as connection:
            return reads.changes(connection, since=since, offset=offset, limit=limit)

    def changes_after(self, id_: int) -> tuple[VerdictChange, ...]:
        """All changes of statements after one, in order."""
        with self._reading() as connection:
            return reads.changes_after(connection, id_)

    def groups(self) -> tuple[GroupRow, ...]:
        """Groups of unknown devices, the largest first."""
        with self._reading() as connection:
            return reads.groups(connection, self.settings)

    # Changes by users

    def label(
        self, id_: str, value: str, user: str, *, kind: str = "", vendor: str = "", model: str = ""
    ) -> None:  # fmt: skip
        """Call a device something. The label stays above every verdict until it is replaced or removed.

        Raises
        ------
        UsageError
            If there is no such device or kind, or the label is empty or longer than 255 characters.
        """
        with self._writing() as connection:
            edits.give_label(connection, id_, value, user, kind=kind, vendor=vendor, model=model)

    def remove_label(self, id_: str, user: str) -> None:
        """Remove the label of a device."""
        with self._writing() as connection:
            edits.remove_label(connection, id_, user)

    def confirm(self, id_: str, user: str) -> None:
        """Confirm the statement about a device."""
        with self._writing() as connection:
            edits.confirm(connection, id_, user)

    def reject(self, id_: str, user: str) -> None:
        """Reject the statement about a device: the device is unknown until something else is stated."""
        with self._writing() as connection:
            edits.reject(connection, id_, user)

    def withdraw(self, id_: str, user: str) -> None:
        """Withdraw the latest confirmation or rejection of a device's statement."""
        with self._writing() as connection:
            edits.withdraw(connection, id_, user)

    def ignore(self, id_: str, user: str, *, ignored: bool = True) -> None:
        """Hide a device from lists and numbers, or show it again."""
        with self._writing() as connection:
            edits.ignore(connection, id_, user, ignored=ignored)

    def note(self, id_: str, text: str, user: str) -> None:
        """Add a note of at most 4000 characters to a device."""
        with self._writing() as connection:
            edits.note(connection, id_, text, user)

    def merge(self, id_: str, into: str, user: str) -> None:
        """Merge two devices: the first becomes part of the second, and its id redirects there."""
        with self._writing() as connection:
            edits.merge(connection, id_, into, user)

    def split(self, id_: str, keys: Sequence[str], user: str) -> str:
        """Make a new device of some keys (:attr:`DeviceDetail.keys`) of a device; returns its id.

        It stays apart, whatever names and addresses it shares later.
        """
        with self._writing() as connection:
            return edits.split(connection, id_, keys, user)

    def name_group(
        self, group: str, value: str, user: str, *, kind: str = "", vendor: str = "", model: str = ""
    ) -> tuple[str, ...]:  # fmt: skip
        """Label all devices of a group; returns their ids."""
        with self._writing() as connection:
            return edits.name_group(connection, group, value, user, kind=kind, vendor=vendor, model=model)

    def audit(self, *, id_: str | None = None, offset: int = 0, limit: int = 100) -> tuple[AuditRow, ...]:
        """Changes by users, the latest first, of all devices or of one."""
        with self._reading() as connection:
            return reads.audit_rows(connection, id_=id_, offset=offset, limit=limit)

    # Alerts

    def alerts(
        self, *, id_: int | None = None, state: str | None = None, kind: str | None = None, severity: str | None = None,
        device: str | None = None, search: str = "", offset: int = 0, limit: int = 100,
    ) -> AlertPage:  # fmt: skip
        """A part of the list of alerts, the latest first, at most 1000.

        Parameters
        ----------
        id_
            Only this one.
        state, kind, severity, device
            Only alerts of these; None: any.
        search
            Words that text or device contain, all of them.

        Raises
        ------
        UsageError
            If there is no such state, kind or severity.
        """
        with self._reading() as connection:
            return alerts.alerts(
                connection, id_=id_, state=state, kind=kind, severity=severity, device_=device, search=search,
                offset=offset, limit=limit,
            )  # fmt: skip

    def restart_alerts(self, since: datetime) -> None:
        """Forget all alerts, so that rules apply anew to events since a time; for copies on which rules are tried."""
        with self._writing() as connection:
            alerts.restart(connection, since)

    def alerts_by_kind(self) -> dict[tuple[str, str], int]:
        """Number of alerts by kind and state."""
        with self._reading() as connection:
            return alerts.alerts_by_kind(connection)

    def open_alerts(self) -> int:
        """Number of alerts that are open."""
        with self._reading() as connection:
            return alerts.count_open(connection)

    def alert_counters(self) -> dict[str, int]:
        """What became of everything that the rules found, since the store was created."""
        with self._reading() as connection:
            return alerts.alert_counters(connection)

    def acknowledge(self, ids: Sequence[int], user: str) -> int:
        """Acknowledge open alerts; returns how many were."""
        with self._writing() as connection:
            return alerts.acknowledge(connection, ids, user)

    def reopen_alert(self, id_: int, user: str) -> None:
        """Take back that an alert was acknowledged."""
        with self._writing() as connection:
            alerts.reopen(connection, id_, user)

    def mutes(self) -> tuple[MuteRow, ...]:
        """What is muted, the latest first."""
        with self._reading() as connection:
            return alerts.mutes(connection)

    def mute(self, user: str, *, kind: str = "", device: str = "", until: datetime | None = None) -> int:
        """Mute a kind of alerts, a device, a kind about a device, or all; returns the id of the mute.

        Raises
        ------
        UsageError
            If there is no such kind or device.
        """
        with self._writing() as connection:
            return alerts.add_mute(connection, kind, device, until, user)

    def unmute(self, id_: int, user: str) -> None:
        """Remove a mute."""
        with self._writing() as connection:
            alerts.remove_mute(connection, id_, user)

    def alert_state(self) -> tuple[int, dict[str, Any]]:
        """Latest event that the rules of alerts have seen, and what they stored for their next pass."""
        with self._reading() as connection:
            return alerts.alert_state(connection)

    def open_subjects(self, kind: str) -> dict[str, datetime]:
        """Subjects of the alerts of a kind that are not closed, and when they were last raised."""
        with self._reading() as connection:
            return alerts.open_subjects(connection, kind)

    def record_alerts(self, alert_pass: AlertPass, settings: AlertSettings | None = None) -> int:
        """Store one pass of the rules: all of it, or nothing; returns the number of new alerts.

        Raises
        ------
        InputError
            If the store has another position, or cannot be written.
        """
        with self._writing() as connection:
            return alerts.record_pass(connection, alert_pass, settings or AlertSettings())

    def rows(self, ids: Sequence[str]) -> dict[str, DeviceRow]:
        """Rows of devices by id; devices that were merged into others are left out."""
        with self._reading() as connection:
            return reads.rows_of_ids(connection, self.settings, ids)

    def devices_since(self) -> datetime | None:
        """Time of the first flow of all devices."""
        with self._reading() as connection:
            return conflicts.first_of_all(connection)

    def holding(self, *, unknown_s: float, limit: int = 1000) -> conflicts.Holding:
        """Devices that are unknown for long or unusual, the first ones, and how many there are."""
        with self._reading() as connection:
            return conflicts.holding(connection, self.settings, unknown_s, limit)

    def fell_silent(
        self, after: datetime, before: datetime, *, limit: int, after_id: str | None = None
    ) -> list[DueDevice]:  # fmt: skip
        """Devices whose latest flow lies after one time and not after another, in order of that time and of their ids.

        With ``after_id``, the last device that was read, also those of the first time that come after it.
        """
        with self._reading() as connection:
            return conflicts.fell_silent(connection, after, before, limit, after_id)

    def conflicts(self) -> list[conflicts.Conflict]:
        """Names, addresses and MACs that are used twice at the time of the data."""
        with self._reading() as connection:
            return conflicts.conflicts(connection)

    # Events, exporters, counters

    def events(self, after: int = 0, *, limit: int = 1000) -> tuple[EventRow, ...]:
        """Events with a larger id, in order. The latest 100,000 events are kept."""
        with self._reading() as connection:
            return reads.events(connection, after, limit)

    def last_event(self) -> int:
        """Id of the latest event; 0 if there is none."""
        with self._reading() as connection:
            return reads.last_event(connection)

    def exporters(self) -> tuple[ExporterRow, ...]:
        """Exporters, the latest first, at most 1000."""
        with self._reading() as connection:
            return reads.exporters(connection)

    def counters(self, *, since: datetime | None = None) -> tuple[CounterSample, ...]:
        """Samples of counters since a time; without a time, the latest sample of each counter."""
        with self._reading() as connection:
            return reads.counters(connection, since=since)

    def traffic(self, since: datetime) -> tuple[tuple[datetime, str, int], ...]:
        """Hour, kind and octets since a time; the kind is the one that devices had when the flows were counted."""
        with self._reading() as connection:
            return reads.traffic_by_kind(connection, since)

    def clock(self) -> datetime | None:
        """Time up to which data has been judged."""
        with self._reading() as connection:
            return reads.clock_of(connection)

    # Users of the page and the API

    def users(self) -> tuple[UserRow, ...]:
        """All users."""
        with self._reading() as connection:
            return access.users(connection)

    def create_user(self, name: str, role: access.Role, by: str = "") -> str:
        """Create a user; returns the token, of which only a digest is stored.

        Raises
        ------
        UsageError
            If there is a user of this name, or the name or role cannot be one.
        """
        with self._writing() as connection:
            return access.create_user(connection, name, role, by)

    def new_token(self, name: str, by: str = "") -> str:
        """Replace the token of a user, and end its sessions."""
        with self._writing() as connection:
            return access.new_token(connection, name, by)

    def delete_user(self, name: str, by: str = "") -> None:
        """Delete a user, its token and its sessions; the last editor cannot be deleted."""
        with self._writing() as connection:
            access.delete_user(connection, name, by)

    def user_of(self, token: str) -> UserRow | None:
        """The user of a token; None if there is none."""
        with self._reading() as connection:
            return access.user_of(connection, token)

    def open_session(self, name: str, lifetime: timedelta) -> tuple[str, SessionRow]:
        """Begin a session of a browser; returns its secret for the cookie, and the session."""
        with self._writing() as connection:
            return access.open_session(connection, name, lifetime)

    def session(self, secret: str) -> SessionRow | None:
        """The session of a secret; None if it has ended."""
        with self._reading() as connection:
            return access.session(connection, secret)

    def close_session(self, secret: str) -> None:
        """End a session."""
        with self._writing() as connection:
            access.close_session(connection, secret)

    # The judge

    def position(self, source: str) -> int:
        """Last segment of a source that is stored; 0 before the first."""
        with self._reading() as connection:
            return rounds.position(connection, source)

    def watched(self, source: str) -> dict[str, tuple[int, int]]:
        """Complete files of a watched folder: octets and modification time in nanoseconds."""
        query = select(watched_file).where(watched_file.c.source == source)
        with self._reading() as connection:
            return {
                row["path"]: (row["octets"], row["modified_ns"]) for row in connection.execute(query).mappings()
            }

    def due(self, clock: datetime, *, limit: int | None = None) -> list[DueDevice]:
        """Devices to be judged at a time of the data, the longest due first, at most ``round_devices``."""
        with self._reading() as connection:
            return rounds.due_devices(connection, clock, limit or self.settings.round_devices)

    def unknown_devices(self, *, limit: int = 1000) -> list[DueDevice]:
        """Devices about which nothing is stated, those with the latest traffic first."""
        with self._reading() as connection:
            return rounds.unknown_devices(connection, limit)

    def confirmed(self, *, limit: int = 1000) -> list[ConfirmedStatement]:
        """Devices whose statement is confirmed by the latest feedback, those confirmed last at the end."""
        with self._reading() as connection:
            return rounds.confirmed_statements(connection, limit)

    def feedback_mark(self) -> tuple[int, int, str]:
        """Changes whenever :meth:`confirmed` may."""
        with self._reading() as connection:
            return rounds.feedback_mark(connection)

    def judged_devices(self, after: str = "", *, limit: int = 1000, other_than: str = "") -> list[DueDevice]:
        """Devices that were judged, in order of their ids, after one.

        With ``other_than``, the name of a library, only those whose verdict rests on another one.
        """
        with self._reading() as connection:
            return rounds.all_devices(connection, after, limit, other_than)

    def forget_facts(self, before: datetime) -> int:
        """Delete identity facts that were last seen before a time; returns their number."""
        with self._writing() as connection:
            return rounds.forget_facts(connection, before)

    def remove_before(self, limits: Mapping[str, datetime]) -> int:
        """Delete ``history``, closed ``alert``, ``event`` or ``audit`` rows before a time; returns their number."""
        with self._writing() as connection:
            return rounds.remove_before(connection, limits)

    def find_devices(self, text: str) -> list[str]:
        """Ids of the devices that an id, an address, a MAC or a name means."""
        with self._reading() as connection:
            return forget.find_devices(connection, text)

    def request_forget(self, id_: str, user: str = "") -> ForgetRequest:
        """Store that a device is to be forgotten, and return what identifies it.

        Raises
        ------
        UsageError
            If there is no such device.
        """
        with self._writing() as connection:
            return forget.request_forget(connection, id_, user)

    def forget_request(self, id_: str) -> tuple[ForgetRequest, dict[str, int]]:
        """What identifies a device, and the rows that forgetting would remove by table; nothing is stored."""
        with self._reading() as connection:
            request = forget.request_of(connection, id_)
            return request, forget.plan_of(connection, request)

    def forget_requests(self) -> list[ForgetRequest]:
        """Devices that are to be forgotten and are not yet."""
        with self._reading() as connection:
            return forget.open_requests(connection)

    def forget_rows(self, request: ForgetRequest) -> dict[str, int]:
        """Delete the rows of a device together with its request; returns their number by table."""
        with self._writing() as connection:
            return forget.forget_rows(connection, request)

    def free_pages_remain(self) -> bool:
        """Whether rows of a forgotten device were deleted, and what is done after that is not complete."""
        with self._reading() as connection:
            return forget.rewritten(connection)

    def clear_free_pages(self) -> None:
        """Rewrite the database, so that free pages do not hold what was deleted.

        Of PostgreSQL, its own vacuum does that.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        try:
            if self._engine.dialect.name == "sqlite":
                raw = self._engine.raw_connection()
                try:
                    for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                        raw.cursor().execute(statement)
                finally:
                    raw.close()
        except FAILURES as error:
            raise InputError(f"cannot be written: {reason_of(error)}", file=self.name) from None
        with self._writing() as connection:
            forget.rewritten(connection, datetime.now(tz=UTC))

    def record_round(self, result: RoundResult) -> None:
        """Store one round of the judge: all of it, or nothing.

        Raises
        ------
        InputError
            If the store has another position of the source, or cannot be written.
        """
        with self._writing() as connection:
            rounds.record_round(connection, result, self.settings)

    def try_round(self, result: RoundResult) -> tuple[VerdictChange, ...]:
        """Changes of statements that a round would make; nothing is stored.

        Raises
        ------
        InputError
            As :meth:`record_round`.
        """
        try:
            with self._engine.connect().execution_options(writes=True) as connection, connection.begin() as transaction:
                before = reads.changes(connection, limit=1)
                rounds.record_round(connection, result, self.settings)
                after = reads.changes_after(connection, before[0].id if before else 0)
                transaction.rollback()
        except EthogramError:
            raise
        except FAILURES as error:
            raise InputError(f"cannot be written: {reason_of(error)}", file=self.name) from None
        return after

    def save(self, path: Path) -> int:
        """Write everything but sessions to a file from which :meth:`restore` makes a store; returns the rows.

        Raises
        ------
        InputError
            If the store cannot be read, or the file cannot be written.
        """
        with self._reading() as connection:
            return backup.save(connection, path)

    @classmethod
    def restore(cls, path: Path, place: str | Path, settings: JudgeSettings | None = None) -> Self:
        """Make a store from a file that :meth:`save` wrote, also one of an earlier schema or of another database.

        Raises
        ------
        InputError
            If the file cannot be used, or the place holds a store already.
        """
        url = url_of(place)
        store = cls(connect(url), shown(url), settings)
        try:
            with store._writing() as connection:
                backup.restore(connection, path, store.name)
        except BaseException:
            store.close()
            raise
        return store

    def record_groups(self, groups: Sequence[tuple[Sequence[str], Sequence[str]]]) -> None:
        """Store groups of unknown devices: ids of the members, and what they share."""
        with self._writing() as connection:
            edits.record_groups(connection, groups)
