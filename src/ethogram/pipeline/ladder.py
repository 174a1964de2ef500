"""The ladder of levels for observed devices: public knowledge, identity facts and the library in one answer.

What a library of the user's own network says of a device is the deepest level; above it, and for devices that it does
not know, the packaged library and the knowledge pack speak.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from itertools import islice
from typing import Literal

import polars as pl

from ethogram.identify.ladder import Ladder, LadderDecision, LadderWeights
from ethogram.identify.ladder_file import LadderFile, read_ladder
from ethogram.identify.ladder_library import LadderLibrary
from ethogram.identify.library import Identity, Library
from ethogram.knowledge.evidence import collect_evidence
from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.device_facts import device_facts
from ethogram.pipeline.library import OpenLibrary, open_library
from ethogram.pipeline.several import (
    NAMES_SCORE,
    SCORE,
    NamedPart,
    VendorParts,
    named_parts,
    shares_of,
    vendor_parts,
)
from ethogram.schema import (
    IDENTITY,
    KINDS,
    UNKNOWN,
    DevicePart,
    Inventory,
    LadderEvidence,
    LadderLevel,
    LadderTerm,
    LadderVerdict,
    LevelEvidence,
    LevelVerdict,
    Verdict,
    Windows,
)

__all__ = [
    "LadderJudge", "add_ladder", "base_kinds", "canonical", "canonical_vendor", "packaged_ladder", "with_packaged",
]  # fmt: skip

DEFAULT_THRESHOLD = 2 / 3
"""A wrong statement costs twice what a right one gains, so that a probability of two thirds breaks even."""
LIKELY = 0.5
"""What a vendor's devices usually are is a fact about a device only if the vendor is at least this probable."""
TOP = 5
SHOWN = 5
"""Facts shown of a level."""
LEAST_SHOWN = 0.005
LEAST_OF_PAIR = 0.2
"""Of two labels stated together, the second has at least this share of their probability."""
NO_NAMES = "names of remote ends"
NO_MAC = "MAC of a known organisation"
SEPARATOR = "/"
"""Between vendor and kind in the label of a family."""


@cache
def packaged_ladder() -> LadderFile:
    """The weights in the package."""
    with resources.as_file(resources.files("ethogram") / "data" / "ladder.json") as path:
        return read_ladder(path)


def base_kinds(knowledge: Knowledge) -> dict[str, float]:
    """Share of each kind among devices of unknown vendor: the mean over the vendors that the pack knows."""
    shares = dict.fromkeys(KINDS, 0.2)
    for vendor in knowledge.vendors:
        for kind, share in knowledge.kinds_of(vendor).items():
            shares[kind] = shares.get(kind, 0.0) + share
    total = sum(shares.values())
    return {kind: share / total for kind, share in shares.items()}


@dataclass
class LadderJudge:
    """Judges windows at every level.

    Parameters
    ----------
    products
        Fitted on known products, seen on any network; see :meth:`of_library`.
    knowledge
        Public facts.
    weights
        Weights and thresholds.
    """

    products: LadderLibrary
    knowledge: Knowledge = field(default_factory=Knowledge.bundled)
    weights: LadderWeights = field(default_factory=lambda: packaged_ladder().weights)

    def __post_init__(self) -> None:
        self.ladder = Ladder(self.weights)
        self._base = base_kinds(self.knowledge)

    @classmethod
    def of_library(cls, library: Library, knowledge: Knowledge | None = None) -> LadderJudge:
        """Judge with the products of a library and the packaged weights."""
        knowledge = knowledge or Knowledge.bundled()
        identities = [canonical(entry.identity, knowledge) for entry in library.entries]
        products = LadderLibrary(packaged_ladder().behaviour).fit(library.windows(), identities)
        return cls(products, knowledge)

    def evidence(self, windows: Windows, identity: pl.DataFrame | None = None) -> list[LadderEvidence]:
        """Everything that speaks for the levels of n items."""
        evidence = self.public_evidence(windows, identity)
        self.add_library(evidence, windows)
        return evidence

    def public_evidence(self, windows: Windows, identity: pl.DataFrame | None = None) -> list[LadderEvidence]:
        """What public knowledge says of n items of one network."""
        return collect_evidence(windows, self.knowledge, identity, self._base)

    def add_library(self, evidence: Sequence[LadderEvidence], windows: Windows) -> None:
        """Add what the library says of the items, and the kinds and owners of the vendors that only it names."""
        self.products.add_terms(evidence, windows)
        for item in evidence:
            for term in item.terms:
                vendor = term.vendor or (term.label if term.level == "vendor" else "")
                if vendor and vendor not in item.owners:
                    item.owners[vendor] = self.knowledge.owner(vendor)
                    item.vendor_kinds[vendor] = self.knowledge.kinds_of(vendor)

    def verdicts(self, windows: Windows, identity: pl.DataFrame | None = None) -> list[LadderVerdict]:
        """One answer for each of n items."""
        evidence = self.evidence(windows, identity)
        decisions = self.ladder.decide(evidence)
        verdicts = [self.verdict(item, decision) for item, decision in zip(evidence, decisions, strict=True)]
        for item, parts in vendor_parts(windows, evidence, self.knowledge).items():
            verdicts[item] = verdicts[item].model_copy(update=_several(self._parts(parts), SCORE))
        if identity is not None and identity.height:
            for item, named in named_parts(windows, identity, self.knowledge).items():
                devices = self._named(windows, item, named, verdicts[item].several)
                score = max(NAMES_SCORE, SCORE if verdicts[item].several else 0.0)
                verdicts[item] = verdicts[item].model_copy(update=_several(devices, score))
        return verdicts

    def _named(
        self, windows: Windows, item: int, named: Sequence[NamedPart], clouds: Sequence[DevicePart]
    ) -> list[DevicePart]:  # fmt: skip
        """Devices by host name, and those that clouds alone tell; shares are those of the clouds of their vendors."""
        owners = {self.knowledge.owner(part.vendor): part.vendor for part in named if part.vendor}
        shares = shares_of(windows, item, owners, self.knowledge) if owners and not clouds else {}
        of_clouds = {self.knowledge.vendor(part.vendor) or part.vendor: part for part in clouds}
        vendors = [part.vendor for part in named]
        devices = []
        for part in named:
            of_vendor = of_clouds.get(part.vendor)
            kind = part.kind or (of_vendor.kind if of_vendor else "")
            vendor = self.knowledge.vendor_name(part.vendor) if part.vendor else ""
            words = " ".join(word for word in (vendor, kind_name(kind) if kind else "device" if vendor else "") if word)
            alone = vendors.count(part.vendor) == 1
            share = (of_vendor.share if of_vendor else shares.get(part.vendor)) if alone else None
            devices.append(DevicePart(
                name=f"{words} ({part.name})" if words else part.name, vendor=vendor, kind=kind,
                share=None if share is None else round(share, 3),
            ))  # fmt: skip
        return devices + [part for vendor, part in of_clouds.items() if vendor not in vendors]

    def _parts(self, parts: VendorParts) -> list[DevicePart]:
        """Devices by cloud; each part is judged by itself."""
        decisions = self.ladder.decide(self.evidence(parts.windows))
        devices = []
        for label, share, decision in zip(parts.vendors, parts.shares, decisions, strict=True):
            kinds = {k: p for (v, k), p in decision.families.items() if v == label}
            kind = next((k for k, p in kinds.items() if p >= self._threshold("family")), "")
            vendor = self.knowledge.vendor_name(label)
            name = f"{vendor} {kind_name(kind) if kind else 'device'}"
            devices.append(DevicePart(name=name, vendor=vendor, kind=kind, share=round(share, 3)))
        return devices

    def verdict(self, item: LadderEvidence, decision: LadderDecision) -> LadderVerdict:
        """The answer for one item, with the facts behind it."""
        families = {f"{v}{SEPARATOR}{k}": p for (v, k), p in islice(decision.families.items(), TOP)}
        candidates: tuple[tuple[LadderLevel, Mapping[str, float], Callable[[str], str]], ...] = (
            ("kind", decision.kinds, kind_name), ("vendor", decision.vendors, self.knowledge.vendor_name),
            ("platform", decision.platforms, self.knowledge.vendor_name), ("family", families, self._family_name),
            ("model", decision.models, str),
        )  # fmt: skip
        levels: list[LevelVerdict] = []
        likeliest = next((vendor for vendor, p in decision.vendors.items() if p >= LIKELY), "")
        for level, probabilities, name in candidates:
            top = {label: p for label, p in islice(probabilities.items(), TOP) if p >= LEAST_SHOWN}
            if top:
                label, score = next(iter(top.items()))
                levels.append(LevelVerdict(
                    level=level, label=label, name=name(label), score=score, stated=score >= self._threshold(level),
                    sure=score >= self._sure(level), top=top,
                    evidence=self._facts(item, level, label, likeliest, decision.platforms),
                ))  # fmt: skip
        statement = next(self._statements({verdict.level: verdict for verdict in levels if verdict.sure}, decision))
        probable = self._probable({verdict.level: verdict for verdict in levels if verdict.stated}, decision)
        if statement.level == "unknown":
            if probable.text:
                statement = replace(statement, text=f"probably {_article(probable.text)}", score=probable.score)
        elif statement.level in ("vendor", "platform") and probable.kind:
            kinds = _kinds_text(probable.kind.split(" or "))
            statement = replace(statement, text=f"{statement.text}, probably {_article(kinds)}")
        return LadderVerdict(
            statement=statement.text, level=statement.level, labels=list(statement.labels), score=statement.score,
            vendor=statement.vendor or probable.vendor, kind=statement.kind or probable.kind, model=statement.model,
            levels=levels,
            missing=[text for text, at_hand in ((NO_NAMES, item.named), (NO_MAC, item.has_mac)) if not at_hand],
        )  # fmt: skip

    def _threshold(self, level: str) -> float:
        return self.weights.thresholds.get(level, DEFAULT_THRESHOLD)

    def _sure(self, level: str) -> float:
        return max(self.weights.sure.get(level, 0.0), self._threshold(level))

    def _facts(
        self, item: LadderEvidence, level: LadderLevel, label: str, vendor: str, platforms: Mapping[str, float]
    ) -> list[LevelEvidence]:  # fmt: skip
        if level == "vendor":
            weighed = self.ladder.explain_vendor(item, label)
        elif level == "kind":
            weighed = self.ladder.explain_kind(item, label, vendor, platforms)
        elif level == "family":
            of_vendor, _, kind = label.rpartition(SEPARATOR)
            weighed = self.ladder.explain_kind(item, kind, of_vendor, platforms)
        else:
            weighed = [(term, term.value) for term in item.terms if (term.level, term.label) == (level, label)]
        texts: dict[str, LevelEvidence] = {}
        for term, nats in weighed:
            if nats > 0.0 and term.text and len(texts) < SHOWN:
                text = self._fact_text(term, item, label, vendor)
                source = term.source or ("knowledge pack" if "share" in term.feature.split() else "traffic")
                texts.setdefault(text, LevelEvidence(text=text, source=source, nats=round(nats, 3)))
        return list(texts.values())

    def _fact_text(self, term: LadderTerm, item: LadderEvidence, label: str, vendor: str) -> str:
        if term.feature == "share":
            return self._share_text(item, label, vendor)
        if term.feature == "platform share":
            share = item.platform_kinds[term.text][term.label]
            return f"{share:.0%} of {self.knowledge.vendor_name(term.text)} devices are {KINDS[term.label].plural}"
        return term.text

    def _share_text(self, item: LadderEvidence, label: str, vendor: str) -> str:
        of_vendor, _, kind = label.rpartition(SEPARATOR)
        of_vendor = of_vendor or vendor
        share = item.vendor_kinds.get(of_vendor, {}).get(kind, 0.0)
        return f"{share:.0%} of {self.knowledge.vendor_name(of_vendor)} devices are {KINDS[kind].plural}"

    def _family_name(self, family: str) -> str:
        vendor, _, kind = family.rpartition(SEPARATOR)
        return f"{self.knowledge.vendor_name(vendor)} {kind_name(kind)}"

    def _statements(self, sure: Mapping[str, LevelVerdict], decision: LadderDecision) -> Iterator[_Statement]:
        """What can be stated, the deepest level first; *unknown* is the last."""
        vendor, kind, family, platform = (sure.get(level) for level in ("vendor", "kind", "family", "platform"))
        name, kind_label = (vendor.name if vendor else ""), (kind.label if kind else "")
        if family is not None:
            of_vendor, _, kind_label = family.label.rpartition(SEPARATOR)
            name = self.knowledge.vendor_name(of_vendor)
            if (model := sure.get("model")) is not None:
                text = f"{family.name}: {model.label}"
                yield _Statement(text, "model", (model.label,), model.score, name, kind_label, model.label)
            if (models := _pair(decision.models, self._sure("model"))) is not None:
                both = " or ".join(models.labels)
                text = f"{family.name}: {both}"
                yield _Statement(text, "model", models.labels, models.score, name, kind_label, both)
            yield _Statement(family.name, "family", (family.label,), family.score, name, kind_label)
        if vendor is not None:
            of_vendor_kinds = {k: p for (v, k), p in decision.families.items() if v == vendor.label}
            if (kinds := _pair(of_vendor_kinds, self._sure("kinds"))) is not None:
                labels = tuple(f"{vendor.label}{SEPARATOR}{k}" for k in kinds.labels)
                text = f"{name} {_kinds_text(kinds.labels)}"
                yield _Statement(text, "family", labels, kinds.score, name, " or ".join(kinds.labels))
            yield _Statement(f"{name} device", "vendor", (vendor.label,), vendor.score, name, kind_label)
        if kind is not None:
            yield _Statement(f"{kind.name}, vendor unknown", "kind", (kind.label,), kind.score, "", kind.label)
        if (kinds := _pair(decision.kinds, self._sure("kinds"))) is not None:
            text = f"{_kinds_text(kinds.labels)}, vendor unknown"
            yield _Statement(text, "kind", kinds.labels, kinds.score, "", " or ".join(kinds.labels))
        if platform is not None:
            yield _Statement(f"device on {platform.name}", "platform", (platform.label,), platform.score)
        yield _Statement(UNKNOWN, "unknown", (), 0.0)

    def _probable(self, shown: Mapping[str, LevelVerdict], decision: LadderDecision) -> _Statement:
        """Vendor and kind that are probable, sure or not; two kinds if only both together are."""
        vendor, kind = shown.get("vendor"), shown.get("kind")
        name = vendor.name if vendor else ""
        kinds: tuple[str, ...] = (kind.label,) if kind else ()
        if not kinds and (pair := _pair(decision.kinds, self._threshold("kinds"))) is not None:
            kinds = pair.labels
        if vendor and kinds:
            score = sum(decision.families.get((vendor.label, label), 0.0) for label in kinds)
        else:
            score = vendor.score if vendor else sum(decision.kinds[label] for label in kinds)
        text = " ".join(part for part in (name, _kinds_text(kinds) if kinds else "device" if name else "") if part)
        return _Statement(text, "unknown", (), score, name, " or ".join(kinds))


def _several(devices: Sequence[DevicePart], score: float) -> dict[str, object]:
    """Fields of the answer for an item that is several devices, the largest share first."""
    ordered = sorted(devices, key=lambda part: -1.0 if part.share is None else part.share, reverse=True)
    names = ", ".join(device.name for device in ordered[:SHOWN]) + (", ..." if len(ordered) > SHOWN else "")
    return {
        "statement": f"several devices: {names}", "level": "several", "labels": [], "score": score, "kind": "",
        "vendor": "", "model": "", "several": ordered,
    }  # fmt: skip


@dataclass(frozen=True)
class _Statement:
    text: str
    level: LadderLevel | Literal["several", "unknown"]
    labels: tuple[str, ...]
    score: float
    vendor: str = ""
    kind: str = ""
    model: str = ""


@dataclass(frozen=True)
class _Pair:
    labels: tuple[str, str]
    score: float


def _pair(probabilities: Mapping[str, float], least: float) -> _Pair | None:
    """The two most probable labels, if their total reaches ``least`` and the second has enough of it."""
    best = sorted(probabilities.items(), key=lambda pair: (-pair[1], pair[0]))[:2]
    total = sum(p for _, p in best)
    if len(best) < 2 or total < least or best[1][1] < LEAST_OF_PAIR * total:
        return None
    return _Pair((best[0][0], best[1][0]), total)


def canonical_vendor(vendor: str, knowledge: Knowledge) -> str:
    """The vendor as the knowledge pack names it; unchanged if the pack does not know it."""
    return (knowledge.vendor(vendor) or vendor) if vendor else ""


def canonical(who: Identity, knowledge: Knowledge) -> Identity:
    """The identity with vendor and kind as the ladder names them."""
    vendor = canonical_vendor(who.vendor, knowledge)
    return Identity(who.label, who.at("model"), vendor, who.type if who.type in KINDS else "", who.coarse)


def kind_name(kind: str) -> str:
    """A kind in a statement: the first word of its label, since *plug or switch or light* cannot be read."""
    return KINDS[kind].label.partition(" or ")[0] if kind in KINDS else kind


def _kinds_text(kinds: Iterable[str]) -> str:
    return " or ".join(map(kind_name, kinds))


def _article(text: str) -> str:
    """The text with its indefinite article, by the first letter; *LG*, *NAS* and the like are read as words.

    >>> _article("Amazon speaker"), _article("plug or light")
    ('an Amazon speaker', 'a plug or light')
    """
    return f"{'an' if text[:1].lower() in 'aeio' else 'a'} {text}"


def with_packaged(known: OpenLibrary) -> Library:
    """The packaged library, with those entries of the user's that name a vendor or a kind."""
    if known.bundled:
        return known
    entries = tuple(entry for entry in known.entries if entry.identity.vendor or entry.identity.type)
    return Library(open_library().entries).merge(Library(entries))


def add_ladder(
    inventory: Inventory, windows: Windows, judge: LadderJudge, identity: pl.DataFrame | None = None, *,
    enrolled: Mapping[str, Identity] | None = None,
) -> Inventory:  # fmt: skip
    """Add the answer at every level to each verdict of an inventory.

    Parameters
    ----------
    inventory, windows
        Verdicts and the items that they are about, in the same order.
    judge
        Judges the levels.
    identity
        Identity facts of the devices.
    enrolled
        Identities that the user gave, by label: a verdict with such a label is the deepest level.
    """
    identity = IDENTITY.empty() if identity is None else identity
    identities = enrolled or {}
    devices = []
    facts = device_facts(windows, identity)
    for verdict, ladder, fact in zip(inventory.devices, judge.verdicts(windows, identity), facts, strict=True):
        given = identities.get(verdict.verdict) if verdict.level == "label" or verdict.pinned else None
        devices.append(verdict.model_copy(update={
            "ladder": ladder if given is None else _with_device(ladder, verdict, given, judge.knowledge),
            "name": fact.name, "first_seen": fact.first_seen, "last_seen": fact.last_seen,
            "octets_a_day": round(fact.octets_a_day, 1), "identity": fact.identity,
        }))  # fmt: skip
    return inventory.model_copy(update={"devices": devices})


def _with_device(
    ladder: LadderVerdict, verdict: Verdict, enrolled: Identity, knowledge: Knowledge
) -> LadderVerdict:
    """The answer for a device that the user enrolled: what the library says of it, and the ladder above."""
    top = dict(sorted(verdict.known_types.items(), key=lambda pair: (-pair[1], pair[0]))[:TOP])
    device = LevelVerdict(
        level="device", label=verdict.verdict, name=verdict.verdict, score=verdict.score, stated=True, top=top,
        evidence=[LevelEvidence(text=verdict.reason, source="library", nats=verdict.raw_score)],
    )  # fmt: skip
    vendor = knowledge.vendor_name(knowledge.vendor(enrolled.vendor) or enrolled.vendor) if enrolled.vendor else ""
    return ladder.model_copy(update={
        "statement": verdict.verdict, "level": "device", "labels": [verdict.verdict], "score": verdict.score,
        "vendor": vendor or ladder.vendor, "kind": enrolled.type or ladder.kind,
        "model": enrolled.model or ladder.model, "levels": [*ladder.levels, device],
    })  # fmt: skip
