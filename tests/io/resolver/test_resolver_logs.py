"""Logs of resolvers: questions and answers with their clients, times in their zone, and what cannot be used."""

from __future__ import annotations

import base64
import gzip
import os
import sqlite3
import string
import struct
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.errors import ConfigurationError, EthogramError
from ethogram.io.resolver.open import read_log
from ethogram.schema import NAME_ANSWER, NAME_QUESTION
from tests.io.identity.messages import dns_name, dnstap

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)

DNSMASQ = """May  1 12:00:00 dnsmasq[7]: query[A] Api.Maker.example from 192.168.1.5
May  1 12:00:00 dnsmasq[7]: forwarded api.maker.example to 192.0.2.53
May  1 12:00:00 dnsmasq[7]: reply api.maker.example is <CNAME>
May  1 12:00:00 dnsmasq[7]: reply edge.cdn.example is 203.0.113.1
May  1 12:00:00 dnsmasq[7]: reply edge.cdn.example is 203.0.113.2
May  1 12:00:01 dnsmasq[7]: query[AAAA] ntp.example from 192.168.1.6
May  1 12:00:01 dnsmasq[7]: cached ntp.example is NODATA-IPv6
May  1 12:00:02 dnsmasq-dhcp[7]: DHCPACK(lan) 192.168.1.5
"""
EXTRA = """2024-05-01T14:00:00+02:00 router dnsmasq[7]: 17 192.168.1.5/53412 query[A] api.maker.example from 192.168.1.5
2024-05-01T14:00:00+02:00 router dnsmasq[7]: 18 192.168.1.6/40000 query[A] ntp.example from 192.168.1.6
2024-05-01T14:00:00+02:00 router dnsmasq[7]: 17 192.168.1.5/53412 reply api.maker.example is 203.0.113.1
2024-05-01T14:00:00+02:00 router dnsmasq[7]: 18 192.168.1.6/40000 reply ntp.example is 203.0.113.9
"""
UNBOUND = """[1714564800] unbound[123:0] info: 192.168.1.5 Api.maker.example. A IN
[1714564800] unbound[123:0] info: 192.168.1.5 api.maker.example. A IN NOERROR 0.012 0 56
[1714564801] unbound[123:0] notice: init module 0: validator
[1714564801] unbound[123:0] query: 192.168.1.6 ntp.example. AAAA IN
"""
ZEEK = """#separator \\x09
#path\tdns
#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tquery\tanswers\tTTLs
1714564800.5\tC1\t192.168.1.5\t53412\t192.168.1.1\t53\tudp\tapi.maker.example\tedge.cdn.example,203.0.113.1\t300.0,60.0
1714564801.5\tC2\t192.168.1.6\t53413\t192.168.1.1\t53\tudp\t-\t-\t-
"""


def adguard() -> str:
    answer = struct.pack(">HHHHHH", 7, 0x8180, 1, 1, 0, 0) + dns_name("api", "maker", "example") + b"\0\1\0\1"
    answer += b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes([203, 0, 113, 1])
    entries = [
        {"T": "2024-05-01T14:00:00.123456789+02:00", "QH": "api.maker.example", "QT": "A", "QC": "IN",
         "Answer": base64.b64encode(answer).decode(), "IP": "192.168.1.5"},
        {"T": "2024-05-01T14:00:01+02:00", "QH": "ads.example", "QT": "A", "QC": "IN", "Answer": "?",
         "IP": "192.168.1.6"},
    ]  # fmt: skip
    return "".join(orjson.dumps(entry).decode() + "\n" for entry in entries)


def pihole(path: Path, version: int = 21, columns: str = "timestamp REAL, client TEXT, domain TEXT") -> Path:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE ftl (id INTEGER PRIMARY KEY, value BLOB)")
        database.execute("INSERT INTO ftl VALUES (0, ?)", (version,))
        database.execute(f"CREATE TABLE queries (id INTEGER PRIMARY KEY, {columns})")
        if "domain" in columns:
            database.execute("INSERT INTO queries VALUES (1, 1714564800.5, '192.168.1.5', 'api.maker.example')")
            database.execute("INSERT INTO queries VALUES (2, 1714564801, 'no address', 'ntp.example')")
    database.close()
    return path


def test_dnstap_has_answers_ports_and_servers(tmp_path: Path) -> None:
    answer = base64.b64decode(orjson.loads(adguard().splitlines()[0])["Answer"])
    path = tmp_path / "dnstap.log"
    path.write_bytes(dnstap(answer, b"no message") + b"\0\0\1\0cut")
    log = read_log(path)
    assert log.format == "dnstap"
    assert log.answers.select("client", "address", "name", "ttl_s").rows() == [(*ANSWER, 60)]
    assert log.questions.select("client_port", "server", "name").rows() == [
        (53412, "192.168.1.1", "api.maker.example"),
    ]  # fmt: skip
    assert log.questions["time"][0] == NOON.replace(microsecond=500_000)
    assert log.accounting.dropped == {"no time, client or name": 1, "frame cut short or too long": 1}
    log.accounting.check()


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    os.utime(path, (1714600000, 1714600000))
    return path


ANSWER = ("192.168.1.5", "203.0.113.1", "api.maker.example")


def test_dnsmasq_replies_answer_the_name_at_their_beginning(tmp_path: Path) -> None:
    log = read_log(written(tmp_path / "dnsmasq.log", DNSMASQ), "Europe/Berlin")
    assert log.format == "dnsmasq log"
    assert log.zoneless
    assert log.answers.select("client", "address", "name").rows() == [
        ANSWER, ("192.168.1.5", "203.0.113.2", "api.maker.example"),
    ]  # fmt: skip
    assert log.answers["time"][0] == NOON.replace(hour=10), "May: two hours ahead of UTC"
    assert log.questions.select("client", "client_port", "name").rows() == [
        ("192.168.1.5", None, "api.maker.example"), ("192.168.1.6", None, "ntp.example"),
    ]  # fmt: skip
    log.accounting.check()
    assert log.accounting.ignored == {"other log line": 2}


def test_dnsmasq_extra_states_clients_and_ports(tmp_path: Path) -> None:
    log = read_log(written(tmp_path / "dnsmasq.log", EXTRA))
    assert not log.zoneless
    assert log.answers.select("client", "address", "name").rows() == [
        ANSWER, ("192.168.1.6", "203.0.113.9", "ntp.example"),
    ]  # fmt: skip
    assert log.answers["time"].to_list() == [NOON, NOON]
    assert log.questions["client_port"].to_list() == [53412, 40000]


def test_a_time_without_a_year_is_not_after_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "dnsmasq.log", DNSMASQ.replace("May  1", "Dec 31"))
    assert read_log(path).answers["time"].dt.year().unique().to_list() == [2023]


def test_unbound_states_questions(tmp_path: Path) -> None:
    log = read_log(written(tmp_path / "unbound.log", UNBOUND), "Europe/Berlin")
    assert log.format == "Unbound log"
    assert not log.zoneless
    assert log.questions.select("time", "client", "name").unique().sort("time").rows() == [
        (NOON, "192.168.1.5", "api.maker.example"), (NOON.replace(second=1), "192.168.1.6", "ntp.example"),
    ]  # fmt: skip
    assert not log.answers.height


def test_adguard_home_has_answers_as_messages(tmp_path: Path) -> None:
    path = tmp_path / "querylog.json.gz"
    path.write_bytes(gzip.compress((adguard() + "{broken\n").encode()))
    log = read_log(path)
    assert log.format == "AdGuard Home query log"
    assert log.answers.select("client", "address", "name", "ttl_s").rows() == [(*ANSWER, 60)]
    assert log.questions["name"].to_list() == ["api.maker.example", "ads.example"]
    assert log.first_problem == (3, "broken JSON line")
    log.accounting.check()


def test_zeek_dns_log_has_ports_and_lifetimes(tmp_path: Path) -> None:
    log = read_log(written(tmp_path / "dns.log", ZEEK))
    assert log.format == "Zeek dns log"
    assert log.answers.select("client", "address", "name", "ttl_s").rows() == [(*ANSWER, 60)]
    assert log.questions.select("client", "client_port", "server").rows() == [("192.168.1.5", 53412, "192.168.1.1")]
    log.accounting.check()


def test_pihole_is_read_only_and_states_questions(tmp_path: Path) -> None:
    path = pihole(tmp_path / "pihole-FTL.db")
    before = path.read_bytes(), sorted(tmp_path.iterdir())
    log = read_log(path)
    assert log.questions.select("client", "name").rows() == [("192.168.1.5", "api.maker.example")]
    assert log.questions["time"][0] == NOON.replace(microsecond=500_000)
    assert log.accounting.dropped == {"no time, client or name": 1}
    assert (path.read_bytes(), sorted(tmp_path.iterdir())) == before


def test_pihole_of_another_version_and_other_databases(tmp_path: Path) -> None:
    assert read_log(pihole(tmp_path / "new.db", 99)).version_note == (
        "database version 99 is newer than 21, the newest that was tested"
    )
    with pytest.raises(ConfigurationError, match="no column domain in queries; version 99, known up to 21"):
        read_log(pihole(tmp_path / "other.db", 99, "timestamp REAL, client TEXT"))
    with sqlite3.connect(tmp_path / "x.db") as database:
        database.execute("CREATE TABLE t (a)")
    database.close()
    with pytest.raises(ConfigurationError, match="a database of another program"):
        read_log(tmp_path / "x.db")
    (tmp_path / "cut.db").write_bytes((tmp_path / "new.db").read_bytes()[:3000])
    with pytest.raises(ConfigurationError, match=r"resolver log .*cut.db: (damaged|cannot be read)"):
        read_log(tmp_path / "cut.db")


def test_a_locked_database_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ethogram.io.resolver.pihole._WAIT_S", 0.01)
    path = pihole(tmp_path / "pihole-FTL.db")
    owner = sqlite3.connect(path, isolation_level=None)
    owner.execute("BEGIN EXCLUSIVE")
    owner.execute("DELETE FROM queries")
    try:
        with pytest.raises(ConfigurationError, match="locked by another program; read a copy of it") as error:
            read_log(path)
        assert "\n" not in str(error.value)
    finally:
        owner.rollback()
        owner.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"),
     (b"1714600000 aa:bb:cc:00:00:01 192.168.1.5 cam *\n", "no resolver log of a known form"),
     (b'{"a": 1}\n', "no resolver log of a known form")],
)  # fmt: skip
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason):
        read_log(tmp_path / "log")
    with pytest.raises(ConfigurationError, match="No such file"):
        read_log(tmp_path / "nothing")


@given(st.sampled_from([DNSMASQ, EXTRA, UNBOUND, ZEEK, adguard()]),
       st.lists(st.tuples(st.integers(0, 500), st.text(string.printable, max_size=4)), max_size=6))  # fmt: skip
def test_changed_logs_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str, changes: list[tuple[int, str]]
) -> None:
    for at, new in changes:
        text = text[:at] + new + text[at + len(new) :]
    path = written(tmp_path_factory.getbasetemp() / "log", text)
    try:
        log = read_log(path)
    except EthogramError as error:
        assert "\n" not in str(error)
    else:
        log.accounting.check()
        assert NAME_ANSWER.matches(log.answers.schema)
        assert NAME_QUESTION.matches(log.questions.schema)
