"""The templates in force, by exporter, version, observation domain and id, within limits.

A template belongs to the exporter's address and port; over TCP and in files, to the session. Several exporters can
share an address (behind NAT or on a container host), and the same id can have a different meaning for each. An exporter
that changes its port keeps its templates, see :meth:`TemplateStore.take_over`.

Reference: RFC 7011 sections 8 and 8.4.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from pathlib import Path

from ethogram.config import WireSettings
from ethogram.errors import InputError
from ethogram.io.wire.lookup import GenerationTable
from ethogram.io.wire.template import Definition, Template
from ethogram.io.wire.template_file import load_templates, save_templates
from ethogram.io.wire.walk import IPFIX
from ethogram.schema import Exporter

__all__ = ["Key", "TemplateEntry", "TemplateEvent", "TemplateStore"]

Key = tuple[int, int, int, int]
"""Slot of the exporter, version, observation domain, template id."""

MAX_EVENTS = 1024
SWEEP_NS = 1_000_000_000  # interval between evictions of exporters
SAME_BOOT_MS = 5_000  # export times are whole seconds, and clocks are set right
GONE_NS = 10_000_000_000  # silence after which an exporter may have moved to another port
MOVED_NS = 600_000_000_000  # silence after which an exporter is assumed to have moved
TAKEN_OVER = "taken over from another port"
SILENT_NS = 600_000_000_000  # silence after which an exporter can be evicted


@dataclass(frozen=True, slots=True)
class TemplateEvent:
    """A template event.

    One of *new*, *changed*, *withdrawn*, *expired*, *evicted*, *taken over from another port*, *taken back* and
    *refused: reason*.
    """

    arrival_ns: int
    exporter: Exporter
    version: int
    domain: int
    id: int
    what: str


@dataclass(slots=True)
class TemplateEntry:
    """A template in force: time of last transmission, sender, and start time of the sender by its uptime (v9)."""

    template: Template
    seen_ns: int
    exporter: Exporter
    boot_ms: int | None = None


@dataclass(slots=True)
class ExporterSlot:
    """A known exporter: its templates in order of last use, their total weight, and whether it has sent records that
    need none. ``first_ns`` is the time of its first message, ``batch`` the batch of its last lookup, ``given`` the
    templates that another port has taken over because this one was silent.
    """

    exporter: Exporter
    seen_ns: int
    keys: OrderedDict[Key, None]
    first_ns: int
    weight: int = 0
    proven: bool = False
    batch: int = 0
    given: dict[Key, TemplateEntry] = field(default_factory=dict)

    @property
    def useful(self) -> bool:
        """Whether anything from it was decoded."""
        return bool(self.keys) or self.proven


class TemplateStore:
    """Templates by key, each with a unique generation number.

    Parameters
    ----------
    settings
        Limits and lifetime.

    Attributes
    ----------
    counters
        Number of events, by the words of :class:`TemplateEvent`.
    events
        The latest events.
    """

    def __init__(self, settings: WireSettings | None = None) -> None:
        self._settings = settings or WireSettings()
        self._entries: OrderedDict[Key, TemplateEntry] = OrderedDict()  # in order of last use
        self._slots: dict[tuple[str, str, int], int] = {}
        self._known: dict[int, ExporterSlot] = {}
        self._of_address: dict[str, list[int]] = {}  # slots over UDP
        self._batch = 0
        self._next_slot = 0  # never reused: sets can still wait under the slot of an evicted exporter
        self._swept_ns: int | None = None
        self._weight = 0
        self._generation = 0
        self._oldest_ns: int | None = None  # no template has an earlier time of transmission
        self._by_generation: dict[int, Key] = {}
        self._retired: dict[int, TemplateEntry] = {}
        self.table = GenerationTable(self._settings.max_templates)
        self.counters: Counter[str] = Counter()
        self.events: deque[TemplateEvent] = deque(maxlen=MAX_EVENTS)

    def __len__(self) -> int:
        return len(self._entries)

    # Exporters

    def begin_batch(self) -> None:
        """Begin a batch: its exporters are not evicted for one another."""
        self._batch += 1

    def slot(self, exporter: Exporter, now_ns: int, first_ns: int | None = None) -> int:
        """Slot of an exporter; -1 if there are too many exporters.

        Parameters
        ----------
        exporter
            The exporter.
        now_ns, first_ns
            Arrival of its latest message, and of the first one since the previous call.
        """
        place = place_of(exporter)
        slot = self._slots.get(place)
        if slot is None:
            if len(self._slots) >= self._settings.max_exporters and not self._forget(now_ns):
                return -1
            slot = self._next_slot
            self._next_slot += 1
            self._slots[place] = slot
            self._known[slot] = ExporterSlot(exporter, now_ns, OrderedDict(), now_ns if first_ns is None else first_ns)
            if exporter.transport == "udp":
                self._of_address.setdefault(exporter.address, []).append(slot)
        known = self._known[slot]
        if known.given:
            self._take_back(known, now_ns)
        known.seen_ns, known.batch = max(known.seen_ns, now_ns), self._batch
        return slot

    def _leave(self, slot: int) -> None:
        """Release the slot of an exporter without templates."""
        exporter = self._known.pop(slot).exporter
        del self._slots[place_of(exporter)]
        others = self._of_address.get(exporter.address)
        if others is not None and slot in others:
            others.remove(slot)
            if not others:
                del self._of_address[exporter.address]

    def shares_address(self, slot: int) -> bool:
        """Whether other ports of this exporter's address are known."""
        known = self._known.get(slot)
        return (
            known is not None and known.exporter.transport == "udp"
            and len(self._of_address[known.exporter.address]) > 1
        )  # fmt: skip

    def take_over(self, key: Key, boot_ms: int | None, now_ns: int, *, last: bool = False) -> TemplateEntry | None:
        """Find a template for an exporter that has not sent it, at another port of its address.

        An exporter that restarts, or gets another port from a NAT, is the same exporter. A second exporter at the same
        address is not, and decoding its records with a template of the other would give wrong values. Two ports are the
        same exporter if

        - they started at the same moment by their uptime (NetFlow v9), or
        - the other port had been silent for ten seconds when this one first sent a message, and still is, or
        - either port has been silent since the other first sent a message ten minutes ago.

        Until then, its sets wait; they are decoded at once if its own template arrives. If the other port resumes,
        templates that were taken over because it was silent are taken back.

        Parameters
        ----------
        key
            Key of the missing template.
        boot_ms
            Start time of the exporter, milliseconds since 1970; None if its messages do not state it.
        now_ns
            Time of arrival.
        last
            Whether no more messages will arrive, so that waiting is pointless.
        """
        slot, version, domain, number = key
        if not self.shares_address(slot):
            return None
        known = self._known[slot]
        candidates: list[tuple[bool, int, int, TemplateEntry]] = []
        for other in self._of_address[known.exporter.address]:
            entry = self._entries.get((other, version, domain, number))
            if entry is None or other == slot:
                continue
            same = boot_ms is not None and entry.boot_ms is not None and abs(boot_ms - entry.boot_ms) <= SAME_BOOT_MS
            candidates.append((same, self._known[other].seen_ns, other, entry))
        if not candidates:
            return None
        same, _, source, entry = max(candidates, key=lambda candidate: candidate[:2])
        others = [self._known[other] for _, _, other, _ in candidates]
        silent_ns = known.first_ns - max(slot.seen_ns for slot in others)
        # The ports must not overlap: one sent its last message before the first of the other.
        apart_ns = min(max(known.first_ns - slot.seen_ns, slot.first_ns - known.seen_ns) for slot in others)
        moved_ns = now_ns - max(known.first_ns, *(slot.first_ns for slot in others))
        gone = silent_ns >= GONE_NS or (apart_ns >= 0 and (last or moved_ns >= MOVED_NS))
        if not same and not gone:
            return None
        definition = Definition(number, entry.template.fields, entry.template.options)
        taken = self.apply(slot, known.exporter, version, domain, definition, now_ns, boot_ms, TAKEN_OVER)
        if taken is not None and not same and silent_ns >= 0:
            self._known[source].given[key] = taken
        return taken

    def _take_back(self, known: ExporterSlot, now_ns: int) -> None:
        """Take templates back: the exporter was assumed to have moved, but sends again."""
        for key, taken in known.given.items():
            if self._entries.get(key) is taken:
                self._remove(key, now_ns, "taken back")
        known.given.clear()

    def exporter(self, slot: int) -> Exporter:
        """The exporter in this slot."""
        return self._known[slot].exporter

    def prove(self, slot: int) -> None:
        """Mark an exporter as valid: it sent records that need no template."""
        self._known[slot].proven = True

    def _forget(self, now_ns: int) -> bool:
        """Evict exporters to make room; returns whether any were evicted.

        Exporters without decodable messages are evicted first, then those that were silent longest. Exporters of the
        current batch are kept.
        """
        # A flood of forged addresses must not cause a full scan for each one.
        if self._swept_ns is not None and 0 <= now_ns - self._swept_ns < SWEEP_NS:
            return False
        self._swept_ns = now_ns
        silent_ns = now_ns - min(int(self._settings.template_lifetime_s * 1e9), SILENT_NS)
        leaving = sorted(
            (known.useful, known.seen_ns, slot)
            for slot, known in self._known.items()
            if known.batch != self._batch and (known.seen_ns < silent_ns or not known.useful)
        )
        for useful, _, slot in leaving[: max(1, self._settings.max_exporters // 16)]:
            known = self._known[slot]
            for key in list(known.keys):
                self._remove(key, now_ns, "evicted")
            self._leave(slot)
            self.counters["exporters evicted: " + ("silent" if useful else "nothing understood")] += 1
        return bool(leaving)

    def end_session(self, exporter: Exporter, now_ns: int = 0) -> int | None:
        """Forget a TCP connection or file and its templates (RFC 7011 section 8.4); returns its slot."""
        slot = self._slots.get(place_of(exporter))
        if slot is not None:
            for key in list(self._known[slot].keys):
                self._remove(key, now_ns, "session ended")
            self._leave(slot)
        self._retired.clear()
        return slot

    # Templates

    def changes(
        self, slot: int, version: int, domain: int, definition: Definition, now_ns: int, boot_ms: int | None = None
    ) -> bool:
        """Whether a definition would change anything; a repetition updates the time of transmission."""
        entry = self._entries.get((slot, version, domain, definition.id))
        if entry is None or definition.fields is None:
            return True
        template = entry.template
        if template.fields != definition.fields or template.options != definition.options:
            return True
        entry.seen_ns, entry.boot_ms = now_ns, boot_ms
        self._used((slot, version, domain, definition.id))
        return False

    def apply(
        self, slot: int, exporter: Exporter, version: int, domain: int, definition: Definition, now_ns: int,
        boot_ms: int | None = None, what: str = "new",
    ) -> TemplateEntry | None:  # fmt: skip
        """Put a definition into force; ``what`` names the event of a new template.

        Returns
        -------
        The new template; None if it was withdrawn or is void.
        """
        key = (slot, version, domain, definition.id)
        if definition.fields is None:
            self._void(key, exporter, definition, now_ns)
            return None
        old = self._entries.get(key)
        if old is not None:
            self._remove(key, now_ns, None)
        self._generation += 1
        template = Template(version, domain, definition.id, definition.fields, definition.options, self._generation)
        self._make_room(slot, template.weight, now_ns)
        self._weight += template.weight
        self._known[slot].weight += template.weight
        entry = self._entries[key] = TemplateEntry(template, now_ns, exporter, boot_ms)
        self._known[slot].keys[key] = None
        self._by_generation[self._generation] = key
        self.table[key] = self._generation
        self._oldest_ns = now_ns if self._oldest_ns is None else min(self._oldest_ns, now_ns)
        self._note(key, exporter, now_ns, what if old is None else "changed")
        return entry

    def _void(self, key: Key, exporter: Exporter, definition: Definition, now_ns: int) -> None:
        """Withdraw a template or all of a kind, or delete one with an invalid redefinition."""
        slot, version, domain, number = key
        if definition.problem is not None:
            self._remove(key, now_ns, None)
            self._note(key, exporter, now_ns, f"refused: {definition.problem}")
        elif version == IPFIX and number < 256:
            for other in list(self._known[slot].keys):
                same_domain = other[1:3] == (version, domain)
                if same_domain and self._entries[other].template.options == definition.options:
                    self._remove(other, now_ns, "withdrawn")
        else:
            self._remove(key, now_ns, "withdrawn")

    def _make_room(self, slot: int, weight: int, now_ns: int) -> None:
        known = self._known[slot]
        while known.keys and known.weight + weight > self._settings.max_templates_per_exporter:
            self._remove(next(iter(known.keys)), now_ns, "evicted")
        while self._entries and self._weight + weight > self._settings.max_templates:
            self._remove(next(iter(self._entries)), now_ns, "evicted")

    def _remove(self, key: Key, now_ns: int, what: str | None) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        known = self._known[key[0]]
        del known.keys[key]
        known.weight -= entry.template.weight
        self._weight -= entry.template.weight
        del self.table[key]
        del self._by_generation[entry.template.generation]
        self._retired[entry.template.generation] = entry
        if what is not None:
            self._note(key, entry.exporter, now_ns, what)

    def expire(self, now_ns: int) -> None:
        """Remove templates whose lifetime has passed; those of sessions live as long as the session."""
        before = now_ns - int(self._settings.template_lifetime_s * 1e9)
        if self._oldest_ns is None or self._oldest_ns >= before:
            return
        oldest: int | None = None
        for key, entry in list(self._entries.items()):
            if entry.exporter.transport != "udp":
                continue
            if entry.seen_ns < before:
                self._remove(key, now_ns, "expired")
            else:
                oldest = entry.seen_ns if oldest is None else min(oldest, entry.seen_ns)
        self._oldest_ns = oldest

    def of(self, generation: int) -> TemplateEntry:
        """The template of a generation, even if it is no longer in force since the last :meth:`settle`."""
        key = self._by_generation.get(generation)
        return self._retired[generation] if key is None else self._entries[key]

    @property
    def generation(self) -> int:
        """Number of the latest template."""
        return self._generation

    def lookup(self, exporter: Exporter, version: int, domain: int, number: int) -> Template | None:
        """The template of an id that an exporter has in force; None if there is none."""
        slot = self._slots.get(place_of(exporter))
        entry = None if slot is None else self._entries.get((slot, version, domain, number))
        return None if entry is None else entry.template

    def settle(self, used: list[int]) -> None:
        """Record which generations a batch used, and release those no longer in force."""
        for generation in used:
            key = self._by_generation.get(generation)
            if key is not None:
                self._used(key)
        self._retired.clear()

    def _used(self, key: Key) -> None:
        self._entries.move_to_end(key)
        self._known[key[0]].keys.move_to_end(key)

    def entries(self) -> list[TemplateEntry]:
        """All templates in force, ordered by exporter, version, domain and id."""
        return [entry for _, entry in sorted(self._entries.items(), key=lambda item: item[0])]

    def by_exporter(self) -> Counter[Exporter]:
        """Number of templates in force of each exporter."""
        return Counter(entry.exporter for entry in list(self._entries.values()))

    def save(self, path: Path) -> None:
        """Write the templates received over UDP atomically.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        save_templates(path, [(e.exporter, e.template, e.seen_ns) for e in self._entries.values()])

    def load(self, path: Path) -> str | None:
        """Load the output of :meth:`save`; returns the reason if it cannot be used, in which case nothing is loaded."""
        try:
            rows = load_templates(path, self._settings.max_fields)
        except InputError as error:
            return f"{error}: templates will be learned again"
        for exporter, template, seen_ns in rows:
            slot = self.slot(exporter, seen_ns)
            if slot >= 0:
                definition = Definition(template.id, template.fields, template.options)
                self.apply(slot, exporter, template.version, template.domain, definition, seen_ns, what="loaded")
        return None

    def _note(self, key: Key, exporter: Exporter, now_ns: int, what: str) -> None:
        self.counters[what] += 1
        self.events.append(TemplateEvent(now_ns, exporter, key[1], key[2], key[3], what))


def place_of(exporter: Exporter) -> tuple[str, str, int]:
    """Identity of an exporter: the UDP port, or the connection or file."""
    if exporter.transport == "udp":
        return exporter.address, "udp", exporter.port
    return exporter.address, "session", exporter.session
