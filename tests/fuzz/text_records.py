"""Flow records as text, and user files: mapping, devices, labels."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from pathlib import Path

from ethogram.config import FlowSettings
from ethogram.flow.devices_file import DeviceFile
from ethogram.identify.labels import read_labels
from ethogram.io.capture import is_capture
from ethogram.io.open import READERS, Input, open_inputs
from ethogram.schema import BIFLOW, FLOW, NAME_ANSWER

from .harness import TESTS, Target, allowed, written

sys.path.insert(0, str(TESTS))
import flow_records as records

WORDS = (b'"', b",", b"{", b"}", b"[", b"]", b"null", b"-1", b"1e400", b"NaN", b"\t", b"\n", b"99999999999999999999",
         b"\xef\xbb\xbf", b"\xff", b"::", b"0x", b"true", b"NULL", b"1,234", b"1.5", b"2.3 M", b"::ffff:",
         b"00:00:04.096", b"1700000000250", b"2023-11-14T22:13Z", b"\xef\xbc\x91")  # fmt: skip
FORMS = tuple(READERS)
for module, *_ in READERS.values():
    import_module(module)  # before the first input, so that what is loaded on use is instrumented too
import_module("ethogram.io.mapping")


def given(opened: Input) -> None:
    """Read an input to its end; tables conform to their schema and sums add up."""
    if opened.source is None:
        return
    source = opened.source()
    table = FLOW if opened.format == "flow-table" else BIFLOW
    rows = 0

    def batches() -> None:
        nonlocal rows
        for frame in source.batches():
            assert table.matches(frame.schema)
            rows += frame.height
        assert NAME_ANSWER.matches(source.name_answers().schema)

    allowed(batches)
    source.accounting.check()
    assert source.accounting.used == rows, f"{source.accounting.used} used, {rows} given"


def check_open(path: Path, form: str | None = None, described: Path | None = None) -> None:
    """Open a file with a stated or detected format, and read its whole content."""
    result: list[Input] = []
    allowed(lambda: result.extend(open_inputs(path, FlowSettings(), is_capture, form=form, mapping=described)))
    for opened in result:
        given(opened)


def check_text(form: str, octets: bytes) -> None:
    """Text of a format; a marker at its end selects whether neighbouring name logs exist (Zeek)."""
    check_open(written(f"conn.{form}", octets), form)


def check_stream(octets: bytes) -> None:
    """Concatenated logs or outputs, detected by content, as is and as UTF-16."""
    check_open(written("joined.json", octets))
    check_open(written("joined.txt", octets.decode("utf-8", "replace").encode("utf-16")))


def mixed_logs() -> list[bytes]:
    """Zeek logs of several kinds in one stream: JSON with and without the log name, and sections."""
    conn = records.zeek_json()
    named = conn.replace(b"{", b'{"_path": "conn", ')
    other = b'{"_path": "dns", "ts": 1.5, "query": "a"}\n{"ts": 1.5, "id.orig_h": "10.0.0.1", "name": "x"}\n'
    notice = records.zeek_tsv(["ts", "uid", "msg"], [["1", "C1", "conn_state"]], "notice")
    return [other + named + b"\n" + other, conn + b"\n" + other,
            notice + records.zeek_tsv() + records.zeek_tsv(path="conn_long")]  # fmt: skip


def joined_outputs() -> list[bytes]:
    old, new = records.nfdump_csv(), records.nfdump_new_csv() + b"\nSummary: total flows: 5\nSys: 0.1s\n"
    return [old + new + old, b"No matched flows\n" + new + new, records.nfdump_json() + records.nfdump_json()]


def check_zeek_beside(octets: bytes) -> None:
    """A connection log and its neighbouring logs, separated by zero octets."""
    for name, part in zip(("conn", "ssl", "dns", "http"), octets.split(b"\0"), strict=False):
        written(f"{name}.log", part)
    check_open(written("conn.log", octets.split(b"\0")[0]), "zeek")


def check_mapping(octets: bytes) -> None:
    """A mapping file and a text that it describes, separated by a zero octet."""
    toml, _, text = octets.partition(b"\0")
    check_open(written("mapped.csv", text), None, written("mapping.toml", toml))


def check_devices(octets: bytes) -> None:
    allowed(lambda: DeviceFile.load(written("devices.csv", octets)))


def check_labels(octets: bytes) -> None:
    allowed(lambda: read_labels(written("labels.csv", octets)))


def texts_of(form: str) -> list[bytes]:
    return [octets for name, (_, octets) in records.TEXTS.items() if name.split(" ")[0] == form]


def beside() -> list[bytes]:
    conn = records.zeek_tsv()
    names = records.zeek_tsv(["ts", "uid", "server_name"], [["1", "C2", "cloud.example"]], "ssl")
    answers = records.zeek_tsv(
        ["ts", "uid", "id.orig_h", "query", "answers", "TTLs"],
        [["1556668800.2", "C1", "192.168.1.5", "a.example", "198.51.100.7,b.example", "300.000000,2"]], "dns",
    )  # fmt: skip
    return [b"\0".join([conn, names, answers])]


def mappings() -> list[bytes]:
    full = (
        records.MAPPING
        + '[time]\nformat = "epoch_ms"\nzone = "Europe/Paris"\n[units]\nduration = "ms"\noctets = "bits"\n'
    )
    return [
        records.MAPPING.encode() + b"\0" + records.MAPPED_CSV,
        full.encode() + b"\0" + records.MAPPED_CSV.replace(b"2019-05-01T00:00:00.250Z", b"1556668800250"),
    ]


DEVICES = (b"device,mac,ip,from,to\ncamera,00:17:88:0a:0b:0c,192.168.1.5,2024-05-01,2024-06-01T12:00:00Z\n"
           b"hub,0017.880a.0b0d,,,\nplug,,2001:db8::5,2024-05-01T00:00:00+02:00,\n")  # fmt: skip
LABELS = (b"device,label,model,vendor,type,coarse,from,to\ncamera,den camera,m1,acme,camera,camera,2024-05-01,\n"
          b'"hub, old",hub,,,,,,2024-06-01T12:00\n')  # fmt: skip

TARGETS = [
    *(Target(form, partial(texts_of, form), partial(check_text, form), words=WORDS) for form in FORMS),
    Target("zeek-beside", beside, check_zeek_beside, words=(*WORDS, b"#fields\t", b"#separator \\x09", b"\0")),
    Target("zeek-mixed", mixed_logs, check_stream, words=(*WORDS, b'"_path":', b"#path\t", b"#fields\t")),
    Target("nfdump-joined", joined_outputs, check_stream, words=(*WORDS, b"Summary\n", b"flows,bytes\n", b"ts,te,pr,")),
    Target("mapping", mappings, check_mapping, words=(*WORDS, b"[columns]\n", b"epoch_ns", b"%Y", b"\0")),
    Target("devices", lambda: [DEVICES], check_devices, words=WORDS),
    Target("labels", lambda: [LABELS], check_labels, words=WORDS),
]
