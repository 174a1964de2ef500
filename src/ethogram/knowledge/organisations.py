"""Names of companies in one form, so that ``TP-LINK TECHNOLOGIES CO.,LTD.`` and ``tp-link`` compare equal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

__all__ = ["company_words", "label_spellings", "squeezed"]

_MAX_TEXT = 200
_OTHERS = re.compile(r"[^a-z0-9]+")
_MAX_WORDS = 12
_MAX_PARTS, _MAX_JOINED = 8, 3  # parts of a label between hyphens, and of these in one name

# Words that end the names of many companies, and places that begin them.
_FORMS = frozenset(re.findall(r"\w+", """
    inc ltd limited co corp corporation company gmbh mbh ag sa sas sarl srl spa bv nv ab as asa oy oyj aps plc llc llp
    lp kg kgaa se kk pty pte pvt private the group holding holdings international intl global technologies technology
    tech electronics electronic electric electrical appliances systems system communications communication networks
    network networking digital industries industrial industry products product solutions solution enterprise
    enterprises labs lab laboratories research development innovation innovations software hardware devices device
    usa us uk china europe eu america americas japan korea taiwan hk hongkong singapore germany d r and of trading
    manufacturing mfg factory science smart home iot intelligent intelligence information info equipment consumer
    lighting audio video mobile computer computers robotics robot
"""))  # fmt: skip
_PLACES = frozenset(re.findall(r"\w+", """
    shenzhen hangzhou guangdong guangzhou beijing shanghai zhejiang jiangsu dongguan zhuhai xiamen ningbo suzhou
    nanjing sichuan chengdu wuhan qingdao hefei foshan huizhou zhongshan fujian hunan hong kong the china taiwan sz
    guang dong
"""))  # fmt: skip
# What makers put around their name in a domain.
_BEFORE = ("my", "get", "go", "the", "app", "api", "smart", "iot")
_AFTER = (
    "cloud", "iot", "smarthome", "smart", "home", "api", "cam", "cams", "camera", "link", "tech", "technology", "life",
    "app", "apps", "services", "service", "online", "connect", "connected", "global", "corp", "usa", "eu",
    "cn", "inc", "group", "device", "devices", "dev", "hub", "net", "data", "security", "systems", "labs", "lab",
    "audio", "tv", "platform", "static", "cdn", "media", "robot", "robotics", "electronics", "international", "os",
    "portal", "prod", "production", "firmware", "ota", "update", "updates", "mqtt", "ntp", "time", "push", "web", "us",
)  # fmt: skip


def squeezed(text: str) -> str:
    """Letters and digits of a text in lower case, without accents.

    >>> squeezed("TP-Link"), squeezed("Café 8")
    ('tplink', 'cafe8')
    """
    plain = text[:_MAX_TEXT]
    if not plain.isascii():
        plain = unicodedata.normalize("NFKD", plain)
    return _OTHERS.sub("", plain.lower())


def company_words(text: str) -> Iterator[tuple[str, bool]]:
    """Spellings under which a company may be known, longest first, and whether the spelling is its whole name.

    Legal forms, trades and places do not count as part of a name.

    >>> [spelling for spelling, whole in company_words("Shenzhen Example Technology Ltd.") if whole]
    ['shenzhenexampletechnologyltd', 'shenzhenexampletechnology', 'shenzhenexample', 'example']
    """
    plain = unicodedata.normalize("NFKD", text[:_MAX_TEXT]).lower()
    plain = plain.encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", re.sub(r"[.'’]", "", plain))[:_MAX_WORDS]
    if not words:
        return
    yield "".join(words), True
    core = list(words)
    while len(core) > 1 and core[-1] in _FORMS:
        core.pop()
        yield "".join(core), True
    while len(core) > 1 and core[0] in _PLACES:
        core.pop(0)
        yield "".join(core), True
    for length in range(len(core) - 1, 0, -1):
        yield "".join(core[:length]), False


def label_spellings(label: str) -> Iterator[str]:
    """Spellings of a maker that one label of a host name may hold, the label itself first, then parts between hyphens.

    >>> list(label_spellings("my-maker-cloud"))
    ['mymakercloud', 'makercloud', 'mymaker', 'maker', 'my', 'cloud']
    """
    whole = squeezed(label)
    forms = [whole]
    forms += [whole[len(word) :] for word in _BEFORE if whole.startswith(word)]
    for form in list(forms):
        forms += [form[: -len(word)] for word in _AFTER if form.endswith(word)]
    parts = [squeezed(part) for part in re.split(r"[-_]", label)][:_MAX_PARTS]
    for length in range(min(_MAX_JOINED, len(parts) - 1), 0, -1):
        forms += ["".join(parts[first : first + length]) for first in range(len(parts) - length + 1)]
    yield from dict.fromkeys(form for form in forms if form == whole or len(form) >= 2)
