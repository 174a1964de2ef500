"""The templates in force, by exporter, version, observation domain and number, within bounds.

A template belongs to the exporter's address and port; over TCP and in files to the session. Several exporters may share
an address (behind a translator or a container host), and the same number may mean something else to each. An exporter
that comes back under another port takes its templates along: see :meth:`TemplateStore.take_over`.

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
"""Slot of the exporter, version, observation domain, template number."""

MAX_EVENTS = 1024
SWEEP_NS = 1_000_000_000  # between looks for exporters to give up
SAME_BOOT_MS = 5_000  # export times are whole seconds, and clocks are set right
GONE_NS = 10_000_000_000  # an exporter silent for so long may have gone before another port was heard
MOVED_NS = 600_000_000_000  # an exporter silent for so long may go on under another port
TAKEN_OVER = "taken over from another port"
SILENT_NS = 600_000_000_000  # an exporter silent for so long may leave where there is no room for others


@dataclass(frozen=True, slots=True)
class TemplateEvent:
    """Something worth knowing that happened to a template: *new*, *changed*, *withdrawn*, *expired*, *evicted*,
    *taken over from another port*, *taken back*, *refused: why*."""

    arrival_ns: int
    exporter: Exporter
    version: int
    domain: int
    id: int
    what: str


@dataclass(slots=True)
class TemplateEntry:
    """A template in force: when it was last sent, by whom, and when that exporter started by its uptime (v9)."""

    template: Template
    seen_ns: int
    exporter: Exporter
    boot_ms: int | None = None


@dataclass(slots=True)
class ExporterSlot:
    """An exporter that is known: its templates in order of last use, what they count as together, and whether it has
    sent records that need none. ``first_ns`` is when it was first heard, ``batch`` when it was last looked up,
    ``given`` what another port has taken over from this one because it was silent."""

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
        """Whether anything of it was understood."""
        return bool(self.keys) or self.proven


class TemplateStore:
    """Templates by key, each with a generation number that is never used twice.

    Parameters
    ----------
    settings
        Bounds and lifetime.

    Attributes
    ----------
    counters
        What happened how often, by the words of :class:`TemplateEvent`.
    events
        The last of them.
    """

    def __init__(self, settings: WireSettings | None = None) -> None:
        self._settings = settings or WireSettings()
        self._entries: OrderedDict[Key, TemplateEntry] = OrderedDict()  # in order of last use
        self._slots: dict[tuple[str, str, int], int] = {}
        self._known: dict[int, ExporterSlot] = {}
        self._of_address: dict[str, list[int]] = {}  # slots over UDP
        self._batch = 0
        self._next_slot = 0  # never used twice: sets may still wait under the number of an exporter that has left
        self._swept_ns: int | None = None
        self._weight = 0
        self._generation = 0
        self._oldest_ns: int | None = None  # no template was last sent before
        self._by_generation: dict[int, Key] = {}
        self._retired: dict[int, TemplateEntry] = {}
        self.table = GenerationTable(self._settings.max_templates)
        self.counters: Counter[str] = Counter()
        self.events: deque[TemplateEvent] = deque(maxlen=MAX_EVENTS)

    def __len__(self) -> int:
        return len(self._entries)

    # Exporters

    def begin_batch(self) -> None:
        """The exporters of the next batch are looked up from here on: none of them makes room for another."""
        self._batch += 1

    def slot(self, exporter: Exporter, now_ns: int, first_ns: int | None = None) -> int:
        """Number of an exporter; -1 when there are too many already.

        Parameters
        ----------
        now_ns, first_ns
            When the last of its messages arrived, and the first of those since the last call.
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
        """Give up the number of an exporter that has no templates left."""
        exporter = self._known.pop(slot).exporter
        del self._slots[place_of(exporter)]
        others = self._of_address.get(exporter.address)
        if others is not None and slot in others:
            others.remove(slot)
            if not others:
                del self._of_address[exporter.address]

    def shares_address(self, slot: int) -> bool:
        """Whether other ports of the exporter's address are known."""
        known = self._known.get(slot)
        return (
            known is not None and known.exporter.transport == "udp"
            and len(self._of_address[known.exporter.address]) > 1
        )  # fmt: skip

    def take_over(self, key: Key, boot_ms: int | None, now_ns: int, *, last: bool = False) -> TemplateEntry | None:
        """A template for an exporter that has sent none of this key, from another port of its address.

        An exporter that restarts, or whose translator gives it another port, is the same exporter. One that sends
        beside another is not, and decoding its records with the other's template would give wrong numbers. It is the
        same when

        - it started at the same moment by its own uptime (NetFlow v9), or
        - the other port had been silent for ten seconds when this one was first heard, and still is, or
        - either port has been silent since the other was first heard, and that is ten minutes ago.

        Until then its sets wait, and its own template ends that at once. When the port that had sent the template is
        heard again after all, what was taken from it on account of silence is taken back.

        Parameters
        ----------
        key
            Of the template that is missing.
        boot_ms
            When the exporter started, milliseconds since 1970; None where its messages do not tell.
        now_ns
            Time of arrival.
        last
            Whether nothing will come any more, so that there is nothing to wait for.
        """
        slot, version, domain, number = key
        if not self.shares_address(slot):
            return None
        known = self._known[slot]
        found: list[tuple[bool, int, int, TemplateEntry]] = []
        for other in self._of_address[known.exporter.address]:
            entry = self._entries.get((other, version, domain, number))
            if entry is None or other == slot:
                continue
            same = boot_ms is not None and entry.boot_ms is not None and abs(boot_ms - entry.boot_ms) <= SAME_BOOT_MS
            found.append((same, self._known[other].seen_ns, other, entry))
        if not found:
            return None
        same, _, source, entry = max(found, key=lambda one: one[:2])
        others = [self._known[other] for _, _, other, _ in found]
        silent_ns = known.first_ns - max(one.seen_ns for one in others)
        # The ports must not overlap: one was heard for the last time before the other for the first.
        apart_ns = min(max(known.first_ns - one.seen_ns, one.first_ns - known.seen_ns) for one in others)
        moved_ns = now_ns - max(known.first_ns, *(one.first_ns for one in others))
        gone = silent_ns >= GONE_NS or (apart_ns >= 0 and (last or moved_ns >= MOVED_NS))
        if not same and not gone:
            return None
        definition = Definition(number, entry.template.fields, entry.template.options)
        taken = self.apply(slot, known.exporter, version, domain, definition, now_ns, boot_ms, TAKEN_OVER)
        if taken is not None and not same and silent_ns >= 0:
            self._known[source].given[key] = taken
        return taken

    def _take_back(self, known: ExporterSlot, now_ns: int) -> None:
        """An exporter that was thought to have moved is heard again: the one that has its templates is another."""
        for key, taken in known.given.items():
            if self._entries.get(key) is taken:
                self._remove(key, now_ns, "taken back")
        known.given.clear()

    def exporter(self, slot: int) -> Exporter:
        """The exporter with this number."""
        return self._known[slot].exporter

    def prove(self, slot: int) -> None:
        """Note that an exporter sent records that need no template: it is not one that sends rubbish."""
        self._known[slot].proven = True

    def _forget(self, now_ns: int) -> bool:
        """Give up some exporters to make room; whether there were any.

        Those leave first of whom nothing was ever understood, then those that were silent for longest. None leaves
        that has sent something in the batch that is being decoded.
        """
        # A flood of forged addresses must not make each of them look through all.
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
        """Forget a TCP connection or file and its templates (RFC 7011 section 8.4); returns its number."""
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
        """Whether a definition would change anything; one that only repeats is noted as sent again."""
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
        The new template; None when one was withdrawn or is void.
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
        """Withdraw a template, or all of a kind; or delete one whose redefinition cannot be used."""
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
        """Forget templates not sent again for their lifetime; those of sessions live as long as the session."""
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
        """The template of a generation, also of one that is no longer in force since :meth:`settle`."""
        key = self._by_generation.get(generation)
        return self._retired[generation] if key is None else self._entries[key]

    def settle(self, used: list[int]) -> None:
        """Note which generations a batch used, and let go of those that are no longer in force."""
        for generation in used:
            key = self._by_generation.get(generation)
            if key is not None:
                self._used(key)
        self._retired.clear()

    def _used(self, key: Key) -> None:
        self._entries.move_to_end(key)
        self._known[key[0]].keys.move_to_end(key)

    def entries(self) -> list[TemplateEntry]:
        """All templates in force, in order of exporter, version, domain and number."""
        return [entry for _, entry in sorted(self._entries.items(), key=lambda item: item[0])]

    def save(self, path: Path) -> None:
        """Write the templates that came over UDP; the file is replaced as a whole, or not at all.

        Raises
        ------
        InputError
            When it cannot be written.
        """
        save_templates(path, [(e.exporter, e.template, e.seen_ns) for e in self._entries.values()])

    def load(self, path: Path) -> str | None:
        """Take up what :meth:`save` wrote; returns why it could not be, and then nothing was taken up."""
        try:
            found = load_templates(path, self._settings.max_fields)
        except InputError as error:
            return f"{error}: templates will be learned again"
        for exporter, template, seen_ns in found:
            slot = self.slot(exporter, seen_ns)
            if slot >= 0:
                definition = Definition(template.id, template.fields, template.options)
                self.apply(slot, exporter, template.version, template.domain, definition, seen_ns, what="loaded")
        return None

    def _note(self, key: Key, exporter: Exporter, now_ns: int, what: str) -> None:
        self.counters[what] += 1
        self.events.append(TemplateEvent(now_ns, exporter, key[1], key[2], key[3], what))


def place_of(exporter: Exporter) -> tuple[str, str, int]:
    """What tells exporters apart: the UDP port, or the connection or file."""
    if exporter.transport == "udp":
        return exporter.address, "udp", exporter.port
    return exporter.address, "session", exporter.session
