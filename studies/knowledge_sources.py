"""Readers of public sources for the knowledge pack: each gives rows, and copies no text beyond the facts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ethogram.knowledge import Knowledge, Row, key_problem, squeezed

__all__ = ["READERS", "ieee_prefixes", "read_lines"]

Reader = Callable[[Path, Path, Knowledge], Iterator[Row]]
About = Callable[[str], list[tuple[str, str]]]

_ASSIGNED = re.compile(r"^([0-9A-F]{6})(?:-([0-9A-F]{6}))?\s+\(base 16\)\s+(.*)$")
_HEX = re.compile(r"^([0-9A-F]{2}-[0-9A-F]{2}-[0-9A-F]{2})\s+\(hex\)")
_MAX_ORGANISATION = 60
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")

# Home Assistant's platforms that tell a kind, most telling first.
_PLATFORM_KINDS = (
    ("vacuum", "vacuum"), ("lawn_mower", "garden"), ("alarm_control_panel", "alarm"), ("lock", "lock"),
    ("water_heater", "appliance"), ("climate", "thermostat"), ("humidifier", "appliance"), ("fan", "appliance"),
    ("camera", "camera"), ("media_player", "media"), ("cover", "blind"), ("light", "light"), ("valve", "garden"),
    ("switch", "plug"), ("sensor", "sensor"),
)  # fmt: skip
_MAX_KINDS, _HUB_KINDS = 4, 3

# Lists of domain-list-community whose names many vendors' devices contact.
_SHARED_LISTS = {
    "category-ads-all": "advertising", "category-public-tracker": "analytics", "category-ntp": "clock",
    "category-doh": "resolver", "category-cdn-!cn": "cdn", "category-cdn-cn": "cdn", "category-stun": "relay",
    "category-speedtest": "connectivity-check", "category-ip-geo-detect": "dynamic-dns", "category-ddns": "dynamic-dns",
    "category-cas": "certificate", "category-social-media-!cn": "social", "category-communication": "social",
    "aws": "cloud", "azure": "cloud", "cloudflare": "cdn", "akamai": "cdn", "fastly": "cdn", "digitalocean": "cloud",
    "netflix": "streaming", "spotify": "streaming", "youtube": "streaming", "disney": "streaming", "hulu": "streaming",
    "hbo": "streaming", "primevideo": "streaming", "twitch": "streaming", "deezer": "streaming", "tidal": "streaming",
    "pandora": "streaming", "soundcloud": "streaming", "tiktok": "social", "facebook": "social", "instagram": "social",
    "whatsapp": "social", "telegram": "social", "twitter": "social", "snap": "social", "discord": "social",
    "github": "hosting", "category-container": "hosting", "win-update": "update", "apple-pki": "certificate",
    "plex": "", "category-emby": "",
}  # fmt: skip
_BRAND_LISTS = {
    "acer", "alibaba", "amazon", "android", "anker", "apple", "asus", "att", "auxgroup", "baidu", "blurams", "canon",
    "cisco", "dell", "dji", "gigabyte", "google", "gree", "haier", "hikvision", "hisense", "honor", "hp", "huawei",
    "ikea", "intel", "jd", "kakao", "kindle", "lenovo", "lg", "logitech", "meizu", "microsoft", "midea", "mikrotik",
    "motorola", "narwal", "naver", "nintendo", "nvidia", "oculus", "oppo", "panasonic", "playstation", "qnap",
    "razer", "roku", "samsung", "sky", "sony", "steam", "synology", "tcl", "telekom", "tencent", "tesla", "ubiquiti",
    "verizon", "vivo", "westerndigital", "xbox", "xiaomi", "yandex", "zte",
}  # fmt: skip
_ECOSYSTEMS = frozenset({
    "amazon", "apple", "google", "microsoft", "alibaba", "tencent", "baidu", "yandex", "jd", "naver", "kakao", "valve",
    "meta", "comcast", "att", "verizon", "telekom", "intel",
})  # fmt: skip
_MAX_DEPTH = 4  # of lists that include lists
_MAX_LABELS = 3  # longer names of lists are left out: their parent is enough

_RECOG = {
    "dhcp_vendor_class.xml": ("dhcp", "", "strong"),
    "mdns_device-info_txt.xml": ("texts", "mdns-model ", "strong"),
    "sip_user_agents.xml": ("texts", "sip-agent ", "strong"),
    "http_servers.xml": ("texts", "http-server ", "fair"),
}
_SYSTEMS = {"Android", "Chrome OS", "Windows"}
_RECOG_KINDS = {
    "printer": "printer", "multifunction device": "printer", "print server": "printer", "ip camera": "camera",
    "web cam": "camera", "dvr": "camera", "router": "router", "broadband router": "router", "firewall": "router",
    "adsl router": "router", "dsl modem": "router", "cable modem": "router", "gateway": "router",
    "wap": "access-point", "wireless controller": "access-point", "switch": "switch", "voip": "voip",
    "voip phone": "voip", "sip phone": "voip", "phone": "phone", "nas": "nas", "storage": "nas",
    "game console": "console", "media server": "media", "set-top box": "tv", "laptop": "laptop", "desktop": "pc",
    "tablet": "tablet", "ups": "energy", "watch": "wearable", "power device": "energy", "thermostat": "thermostat",
    "smart tv": "tv", "tv": "tv", "wearable": "wearable", "speaker": "speaker", "smart speaker": "speaker",
    "media player": "tv", "digital video recorder": "camera",
}  # fmt: skip
_MIN_PREFIX = 4  # characters of a pattern of Recog that must be literal
_META = re.compile(r"[\\^$.|?*+()\[\]{}]")


def read_lines(path: Path) -> Iterator[list[str]]:
    """Fields of a hand-written table after its header."""
    for text in path.read_text(encoding="utf-8").splitlines()[1:]:
        if text.strip() and not text.startswith("#"):
            yield text.split("\t")


# Home Assistant


def _home_assistant(folder: Path, hand: Path, known: Knowledge) -> Iterator[Row]:
    source = "home-assistant"
    manifests = {}
    for line in (folder / "manifests.jsonl").read_text(encoding="utf-8").splitlines():
        manifest = json.loads(line)
        manifests[manifest["domain"]] = manifest
    by_integration = {fields[0]: fields[1:] for fields in read_lines(hand / "home_assistant.tsv")}
    platforms = _json(folder / "platforms.json")

    def about(integration: str) -> list[tuple[str, str]]:
        """What an integration tells: a vendor or platform, and a kind if all its devices are of one."""
        subject, value, kind = (*by_integration.get(integration, ()), "", "", "")[:3]
        facts = [("kind", kind)] if kind else []
        if subject == "ignore":
            return []
        if subject == "new":
            return [("vendor", integration.replace("_", "-")), *facts]
        if subject:
            return [(subject, value), *facts]
        name = manifests.get(integration, {}).get("name", integration)
        vendor = known.vendor(name) or known.vendor(integration.replace("_", " "))
        return [("vendor", vendor)] if vendor else []

    for integration, (subject, *_) in by_integration.items():
        if subject == "new" and integration in manifests:
            slug = integration.replace("_", "-")
            yield Row("vendors", slug, "name", manifests[integration]["name"], "strong", source)
            yield from _integration_kinds(slug, platforms.get(integration, []), source)
    yield from _dhcp_matchers(_json(folder / "dhcp.json")["DHCP"], about, source)
    services = _json(folder / "zeroconf.json")
    yield from _zeroconf_matchers(services["ZEROCONF"], about, source)
    for model, entry in sorted(services["HOMEKIT"].items()):
        pattern = model if model.endswith("*") else f"{model}*"
        for fact in about(entry["domain"]):
            yield Row("texts", f"homekit-model {pattern}", *fact, "strong", source)
    for integration, matchers in sorted(_json(folder / "ssdp.json")["SSDP"].items()):
        for fact in about(integration):
            yield from _ssdp_rows(matchers, fact, source)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _integration_kinds(slug: str, platforms: list[str], source: str) -> Iterator[Row]:
    """Kinds of an integration's devices: the most telling platforms, each half as likely as the one before."""
    kinds = list(dict.fromkeys(kind for platform, kind in _PLATFORM_KINDS if platform in platforms))
    if len(kinds) > 1:  # nearly every device has switches and sensors beside what it is
        kinds = [kind for kind in kinds if kind not in ("plug", "sensor")] or kinds
    if len(kinds) >= _HUB_KINDS:  # an integration with many kinds of devices is usually a hub
        kinds = ["hub", *kinds]
    weights = [2.0**-place for place in range(len(kinds[:_MAX_KINDS]))]
    parts = [max(1, round(weight / sum(weights) * 1000)) for weight in weights]
    for place, (kind, part) in enumerate(zip(kinds, parts, strict=False)):
        share = (part if place else 1000 - sum(parts[1:])) / 1000
        yield Row("kinds", slug, "kind", kind, f"{share:.3f}".rstrip("0").rstrip("."), source)


def _dhcp_matchers(matchers: list[dict[str, Any]], about: About, source: str) -> Iterator[Row]:
    for matcher in matchers:
        host, prefix = matcher.get("hostname", ""), matcher.get("macaddress", "").rstrip("*").lower()
        facts = about(matcher["domain"])
        literal = re.sub(r"[*?]|\[[^]]*\]|\([^)]*\)", "", host)
        if host and "[" not in host and "(" not in host and len(literal) >= 4 and host not in ("connect", "target"):
            # With a prefix beside it, the host name alone tells less.
            weight = "fair" if prefix or len(literal) < 6 else "strong"
            yield from (Row("hosts", host, *fact, weight, source) for fact in facts)
        if prefix and not host and 6 <= len(prefix) <= 12:
            yield from (Row("macs", prefix, *fact, "strong", source) for fact in facts)


def _zeroconf_matchers(services: dict[str, list[dict[str, Any]]], about: About, source: str) -> Iterator[Row]:
    for service, matchers in sorted(services.items()):
        key = service.lower().removesuffix(".local.").rstrip(".")
        if len(matchers) == 1 and len(matchers[0]) == 1:
            yield from (Row("mdns", key, *fact, "strong", source) for fact in about(matchers[0]["domain"]))
        for matcher in matchers:
            facts = about(matcher["domain"])
            properties = matcher.get("properties", {})
            texts = [("mdns-name", matcher.get("name", "")), ("mdns-vendor", properties.get("manufacturer", ""))]
            texts += [("mdns-model", properties.get(field, "")) for field in ("model", "md", "am")]
            for kind, text in texts:
                if len(text.strip("*")) >= _MIN_PREFIX:
                    weight = "fair" if kind == "mdns-name" else "strong"
                    yield from (Row("texts", f"{kind} {text}", *fact, weight, source) for fact in facts)


def _ssdp_rows(matchers: list[dict[str, str]], fact: tuple[str, str], source: str) -> Iterator[Row]:
    for matcher in matchers:
        for field, kind in (("manufacturer", "ssdp-manufacturer"), ("modelName", "ssdp-model"), ("st", "ssdp-type"),
                            ("deviceType", "ssdp-type")):  # fmt: skip
            text = matcher.get(field, "")
            # Types of the UPnP forum and single words belong to no vendor.
            if len(text) < 4 or text == "upnp:rootdevice" or ("schemas-upnp-org:" in text and "fritz" not in text):
                continue
            yield Row("texts", f"{kind} {text}", *fact, "strong" if field != "modelName" else "fair", source)


# domain-list-community


def _domain_lists(folder: Path, _hand: Path, known: Knowledge) -> Iterator[Row]:
    data = folder / "data"
    known_names = {fact.key for vendor in known.vendors for fact in known.vendor_facts(vendor) if fact.table == "names"}
    for name, parent_class in _SHARED_LISTS.items():
        if not parent_class or not (data / name).exists():
            continue
        for domain in sorted({domain for domain, _ in _entries(data, name)}):
            ends = {domain.split(".", place)[-1] for place in range(domain.count("."))}
            if not ends & known_names and domain.count(".") < _MAX_LABELS and known.is_shared(domain) is None:
                yield Row("parents", domain, "shared", parent_class, "none", "domain-list")
    shared = {row.key for row in known.rows("parents")}
    for name in sorted(_BRAND_LISTS):
        vendor = known.vendor(name)
        if vendor is None or not (data / name).exists():
            continue
        for domain, tags in sorted(set(_entries(data, name)), key=_by_domain):
            if "ads" in tags or domain in shared or domain.count(".") > 1 or known.name(domain):
                continue
            yield Row("names", domain, "vendor", vendor, "weak" if vendor in _ECOSYSTEMS else "fair", "domain-list")


def _by_domain(entry: tuple[str, frozenset[str]]) -> tuple[str, list[str]]:
    return entry[0], sorted(entry[1])


def _entries(data: Path, name: str, depth: int = 0) -> Iterator[tuple[str, frozenset[str]]]:
    """Domains of a list with their attributes; an include with attributes takes only the domains that have one."""
    for line in (data / name).read_text(encoding="utf-8").splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        kind, colon, value = words[0].rpartition(":")
        attributes = frozenset(word.lstrip("@") for word in words[1:] if word.startswith("@"))
        if kind == "include":
            if depth < _MAX_DEPTH and (data / value).exists():
                inner = _entries(data, value, depth + 1)
                yield from (entry for entry in inner if not attributes or attributes & entry[1])
        elif (not colon or kind in ("domain", "full")) and _HOST.fullmatch(value):
            yield value, attributes


# Telemetry lists


def _nextdns(folder: Path, _hand: Path, known: Knowledge) -> Iterator[Row]:
    for path in sorted((folder / "domains").iterdir()):
        vendor = known.vendor({"windows": "microsoft"}.get(path.name, path.name))
        for domain in path.read_text(encoding="utf-8").split():
            weight = "fair" if vendor in _ECOSYSTEMS else "strong"
            known_facts = {(fact.value, fact.weight) for fact in known.name(domain)}
            if not vendor or not _HOST.fullmatch(domain) or known.is_shared(domain) is not None:
                continue
            if (vendor, weight) not in known_facts:
                yield Row("names", domain, "vendor", vendor, weight, "nextdns")


def _perflyst(folder: Path, _hand: Path, known: Knowledge) -> Iterator[Row]:
    """Names that televisions ask for; a comment heads the names of each brand."""
    for path, first in ((folder / "SmartTV.txt", None), (folder / "AmazonFireTV.txt", "amazon")):
        vendor = first
        for line in path.read_text(encoding="utf-8").splitlines():
            text = line.strip().lower()
            if text.startswith("#"):
                words = re.findall(r"[a-z]+", text)
                vendor = first or next((known_vendor for word in words if (known_vendor := known.vendor(word))), vendor)
            if not _HOST.fullmatch(text) or known.is_shared(text) is not None:
                continue
            facts = [fact for fact in known.name(text) if fact.subject == "vendor"]
            if vendor is None or not facts or facts[0].value != vendor:
                continue
            yield Row("names", text, "vendor", vendor, facts[0].weight, "perflyst")
            yield Row("names", text, "kind", "tv", "fair", "perflyst")


# Recog


def _recog(folder: Path, _hand: Path, known: Knowledge) -> Iterator[Row]:
    for name, (table, start, weight) in _RECOG.items():
        for fingerprint in ElementTree.parse(folder / name).getroot().iter("fingerprint"):  # noqa: S314 (own sources)
            literal = _literal_start(fingerprint.get("pattern", ""))
            if start == "mdns-model ":
                if not literal.startswith("model="):
                    continue
                literal = literal.removeprefix("model=")
            if len(literal.rstrip("*")) < _MIN_PREFIX:
                continue
            key = f"{start}{literal}"
            values = {each.get("name"): each.get("value") or "" for each in fingerprint.iter("param")}
            parts = ("hw", "service") if _of_many_vendors(values) else ("hw", "os", "service")
            makers = [values.get(f"{part}.vendor") or "" for part in parts]
            vendor = next((known_vendor for maker in makers if maker and (known_vendor := known.vendor(maker))), None)
            if vendor in ("hpe",) and "print" in (values.get("hw.device") or "").lower():
                vendor = "hp"
            devices = [(values.get(f"{part}.device") or "").lower() for part in ("hw", "os")]
            kind = next((_RECOG_KINDS[device] for device in devices if device in _RECOG_KINDS), None)
            if key_problem(table, key) is not None:
                continue
            if vendor:
                yield Row(table, key, "vendor", vendor, weight, "recog")
            if kind:
                yield Row(table, key, "kind", kind, weight, "recog")


def _of_many_vendors(values: Mapping[str | None, str]) -> bool:
    """Whether a fingerprint tells an operating system that devices of many vendors run."""
    return not _SYSTEMS.isdisjoint((values.get("os.product") or "", values.get("os.family") or ""))


def _literal_start(regex: str) -> str:
    """The literal text that a regular expression begins with, as a pattern; '' if it is not anchored."""
    text = re.sub(r"^\(\?i\)", "", regex)
    if not text.startswith("^"):
        return ""
    text = re.sub(r"\\([^\w\s]|\s)", lambda match: f"\0{match[1]}", text[1:])  # escaped punctuation is literal
    place = 0
    while place < len(text) and not (_META.match(text[place]) and (place == 0 or text[place - 1] != "\0")):
        place += 1
    rest = text[place:]
    literal = text[:place].replace("\0", "")
    if rest[:1] in ("?", "*", "{"):
        literal = literal[:-1]
    literal = literal.rstrip().lower()
    return literal if rest == "$" else f"{literal}*" if literal and "*" not in literal and "?" not in literal else ""


READERS: dict[str, Reader] = {
    "home_assistant": _home_assistant,
    "domain_list_community": _domain_lists,
    "nextdns_native": _nextdns,
    "perflyst_smart_tv": _perflyst,
    "recog": _recog,
}
"""Reader of each source by the name of its folder, in order of precedence."""


# IEEE


def ieee_prefixes(folder: Path) -> dict[str, str]:
    """Organisation of each prefix in the IEEE's lists (``oui.txt``, ``mam.txt``, ``oui36.txt``).

    A block of 28 or 36 bits is written as its 24 bits, then the range of the rest: ``B00000-BFFFFF``. The registry's
    own entries, which are split into such blocks, are left out.
    """
    prefixes: dict[str, str] = {}
    for name, digits in (("oui.txt", 6), ("mam.txt", 7), ("oui36.txt", 9)):
        path = folder / name
        if not path.exists():
            continue
        block = ""
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            begin = _HEX.match(line)
            if begin:
                block = begin[1].replace("-", "")
            match = _ASSIGNED.match(line)
            if match is None:
                continue
            organisation = " ".join(match[3].split())[:_MAX_ORGANISATION].strip()
            prefix = (block + match[1])[:digits] if match[2] else match[1]
            if squeezed(organisation) not in {"", "ieeeregistrationauthority", "private"}:
                prefixes.setdefault(prefix.lower(), organisation)
    return prefixes
