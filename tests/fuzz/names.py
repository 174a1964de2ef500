"""Files of users that name devices, and logs of resolvers."""

from __future__ import annotations

import sqlite3

from ethogram.io.names.open import read_names
from ethogram.io.resolver.open import read_log
from ethogram.schema import NAME_ANSWER, NAME_QUESTION, NAMED_DEVICE
from tests.io.identity.messages import dns, dns_name, dnstap, record

from .harness import Target, allowed, written

CAM = b"aa:bb:cc:00:00:01"
NAMES = [
    b"1714600000 " + CAM + b" 192.168.1.5 cam *\nduid 00:01\n1714600000 1234 fd00::5 cam 00:01\n",
    b"lease 192.168.1.5 {\n  starts 2 2024/04/30 12:00:00;\n  hardware ethernet " + CAM
    + b';\n  client-hostname "c";\n}\n',
    b"address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state\n192.168.1.5,"
    + CAM + b",,3600,1714568400,1,0,0,cam,0\n",
    b"127.0.0.1 localhost\n192.168.1.5 cam cam.home # hall\n", b"192.168.1.5 dev lan lladdr " + CAM + b" REACHABLE\n",
    b"cam (192.168.1.5) at " + CAM + b" [ether] on eth0\n", b"Name;MAC;IP\nDen;aabb.cc00.0001;192.168.1.5, fe80::1\n",
    b'{"data": [{"mac": "' + CAM + b'", "ip": "192.168.1.5", "name": "Den"}]}',
]  # fmt: skip
LOGS = [
    b"May  1 12:00:00 dnsmasq[7]: query[A] a.example from 192.168.1.5\nMay  1 12:00:00 dnsmasq[7]: reply a.example is "
    b"<CNAME>\nMay  1 12:00:00 dnsmasq[7]: reply b.example is 203.0.113.1\n",
    b"[1714564800] unbound[1:0] info: 192.168.1.5 a.example. A IN\n",
    b'{"T":"2024-05-01T12:00:00Z","QH":"a.example","QT":"A","Answer":"AAeBgAABAAEAAAAAAWEAAAEAAcAMAAEAAQAAADwABMsAcQE=",'
    b'"IP":"192.168.1.5"}\n',
    b"#separator \\x09\n#path\tdns\n#fields\tts\tid.orig_h\tid.orig_p\tid.resp_h\tquery\tanswers\tTTLs\n"
    b"1714564800.5\t192.168.1.5\t53412\t192.168.1.1\ta.example\t203.0.113.1\t60.0\n",
]  # fmt: skip
WORDS = (b"{", b"}", b'"', b",", b";", b"\t", b"\n", b"\0", b"<CNAME>", b"::", b"0.0.0.0", b"99999999999999", b"-1",
         b"\xff", b"null", b"lease ", b" is ", b" from ", b"[1]", b"Feb 30 25:00:00",
         b"9999-99-99T99:99:99")  # fmt: skip


def check_names(octets: bytes) -> None:
    """Entries conform to their form, and sums add up."""

    def read() -> None:
        _, entries = read_names(written("names", octets))
        entries.accounting.check()
        assert NAMED_DEVICE.matches(entries.table().schema)

    allowed(read)


def check_log(octets: bytes) -> None:
    """Answers and questions conform to their forms, and sums add up."""

    def read() -> None:
        log = read_log(written("log", octets), "Europe/Berlin")
        log.accounting.check()
        assert NAME_ANSWER.matches(log.answers.schema)
        assert NAME_QUESTION.matches(log.questions.schema)

    allowed(read)


def databases() -> list[bytes]:
    path = written("pihole.db", b"")
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA page_size = 512")
        database.execute("CREATE TABLE queries (id INTEGER PRIMARY KEY, timestamp, client TEXT, domain TEXT)")
        database.execute("INSERT INTO queries VALUES (1, 1714564800, '192.168.1.5', 'a.example')")
    database.close()
    return [path.read_bytes()]


ANSWER = dns(record(dns_name("a", "example"), 1, bytes([203, 0, 113, 1])), flags=0x8180)

TARGETS = [
    Target("dnstap", lambda: [dnstap(ANSWER, ANSWER)], check_log, compiled=True,
           words=(b"\x72", b"\x08\6", b"\xff\xff", bytes(4))),
    Target("names", lambda: NAMES, check_names, words=WORDS),
    Target("resolver-log", lambda: LOGS, check_log, compiled=True, words=WORDS),
    Target("pihole-database", databases, check_log, words=(b"\0", b"\xff\xff", b"queries", b"domain")),
]
