"""Datagrams: each is used or dropped for a reason, and memory is limited whatever is sent."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.config import CollectSettings
from ethogram.errors import InputError
from ethogram.io.receive import admit as kernel
from ethogram.io.receive import udp
from ethogram.io.receive.address import Listen
from ethogram.io.receive.queue import MESSAGE_OVERHEAD, Exporters, MessageQueue, SessionEnd
from ethogram.io.receive.udp import UdpReceiver
from ethogram.schema import DatagramBatch, Exporter
from sending import CountingSender, needs_ipv6


class Received:
    """All messages of a queue, one by one."""

    def __init__(self, queue: MessageQueue) -> None:
        self.messages: list[bytes] = []
        self.senders: list[tuple[str, int]] = []
        self.arrival_ns: list[int] = []
        self.ended: list[SessionEnd] = []
        self.queue = queue

    def drain(self) -> Received:
        while (item := self.queue.take(0)) is not None:
            if isinstance(item, DatagramBatch):
                for begin, length, index in zip(item.offset, item.octets, item.exporter, strict=True):
                    self.messages.append(item.data[begin : begin + length].tobytes())
                    self.senders.append((item.exporters[index].address, item.exporters[index].port))
                self.arrival_ns += item.arrival_ns.tolist()
            else:
                self.ended.append(item)
        return self


@contextmanager
def receiving(
    *places: str, queue_octets: int = 1 << 26, max_exporters: int = 4096, largest: int = 65_535, **settings: object
) -> Iterator[UdpReceiver]:
    queue, exporters = MessageQueue(queue_octets), Exporters()
    receiver = UdpReceiver(
        [Listen.parse(place) for place in places or ("udp://127.0.0.1:0",)], queue, exporters,
        CollectSettings.of(**settings), max_exporters=max_exporters, largest=largest,
    )  # fmt: skip
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()
    assert receiver.failure is None
    assert receiver.accounting.balanced


def sender(host: str = "127.0.0.1") -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind((host, 0))
    return opened


def wait_for(receiver: UdpReceiver, datagrams: int) -> None:
    """Wait until this many datagrams were read."""
    for _ in range(500):
        if receiver.accounting.read >= datagrams:
            return
        time.sleep(0.01)


@pytest.fixture(params=["many at a time", "one at a time"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "one at a time":
        monkeypatch.setattr(udp, "has_recvmmsg", lambda: False)
    return str(request.param)


def test_datagrams_come_whole_in_order_with_their_sender(way: str) -> None:
    needs_ipv6()
    with receiving("udp://127.0.0.1:0", "udp://[::1]:0") as receiver, sender() as four, sender("::1") as six:
        before = time.time_ns()
        texts = [str(i).encode() * (i % 40) for i in range(1500)]
        for text in texts:
            four.sendto(text, ("127.0.0.1", receiver.listening[0].port))
        six.sendto(b"a" * 65_000, ("::1", receiver.listening[1].port))
        wait_for(receiver, 1501)
        senders = {four.getsockname()[:2], six.getsockname()[:2]}
    got = Received(receiver._queue).drain()
    of_four = [m for m, s in zip(got.messages, got.senders, strict=True) if s[0] == "127.0.0.1"]
    assert of_four == texts
    assert [m for m, s in zip(got.messages, got.senders, strict=True) if s[0] == "::1"] == [b"a" * 65_000]
    assert set(got.senders) == senders
    assert got.arrival_ns == sorted(got.arrival_ns)
    assert before <= got.arrival_ns[0] <= got.arrival_ns[-1] <= time.time_ns()
    assert receiver.accounting.used == receiver.accounting.read == 1501
    assert receiver._queue.octets == 0


def test_what_does_not_fit_the_queue_is_counted_exactly(way: str) -> None:
    with receiving(queue_octets=1 << 20) as receiver, sender() as opened:
        for i in range(3000):
            opened.sendto(i.to_bytes(4, "big") * 250, ("127.0.0.1", receiver.listening[0].port))
            if i % 200 == 0:
                time.sleep(0.002)
        wait_for(receiver, 3000)
        assert receiver._queue.highest_octets <= 1 << 20
        held = receiver._queue.octets
    got = Received(receiver._queue).drain()
    accounting = receiver.accounting
    assert accounting.read == 3000
    assert accounting.used == len(got.messages)
    assert accounting.dropped == Counter({"queue": 3000 - len(got.messages)})
    # The queue was filled as far as the messages fit beside what a receiver reserves for its next batch.
    assert 300 < len(got.messages) <= (1 << 20) // (1000 + MESSAGE_OVERHEAD)
    assert held <= 1 << 20


def test_who_is_not_allowed_is_refused_before_anything_is_read_of_it(way: str) -> None:
    with receiving("udp://0.0.0.0:0", allow=("127.0.0.2", "2001:db8::/32")) as receiver:
        for host, count in (("127.0.0.2", 10), ("127.0.0.3", 7)):
            with sender(host) as opened:
                for _ in range(count):
                    opened.sendto(b"x", ("127.0.0.1", receiver.listening[0].port))
        wait_for(receiver, 17)
    assert receiver.accounting.dropped == Counter({"not allowed": 7})
    assert {host for host, _ in Received(receiver._queue).drain().senders} == {"127.0.0.2"}
    assert len(receiver._exporters.now) == 1


def test_the_rate_limit_of_an_address_covers_all_its_ports() -> None:
    with receiving("udp://0.0.0.0:0", rate_limit=0.001, burst_s=20_000) as receiver:
        with sender("127.0.0.2") as one, sender("127.0.0.2") as two, sender("127.0.0.3") as other:
            for _ in range(15):
                one.sendto(b"1", ("127.0.0.1", receiver.listening[0].port))
                two.sendto(b"2", ("127.0.0.1", receiver.listening[0].port))
            for _ in range(20):
                other.sendto(b"3", ("127.0.0.1", receiver.listening[0].port))
        wait_for(receiver, 50)
    assert receiver.accounting.dropped == Counter({"rate limit": 10})
    assert Counter(host for host, _ in Received(receiver._queue).drain().senders) == {"127.0.0.2": 20, "127.0.0.3": 20}


def test_a_flood_of_exporters_is_refused_beyond_the_bound_and_known_ones_go_on() -> None:
    shares = {"address_share": 1, "prefix_share": 1}
    with receiving("udp://0.0.0.0:0", max_exporters=100, **shares) as receiver, sender("127.0.0.1") as known:
        known.sendto(b"k", ("127.0.0.1", receiver.listening[0].port))
        wait_for(receiver, 1)
        for i in range(1000):
            with sender(f"127.1.{i // 250}.{i % 250 + 1}") as opened:
                opened.sendto(b"f", ("127.0.0.1", receiver.listening[0].port))
        known.sendto(b"k", ("127.0.0.1", receiver.listening[0].port))
        wait_for(receiver, 1002)
    # A quarter of the places is for those who send something well formed.
    assert receiver.accounting.dropped == Counter({"too many exporters": 926})
    got = Received(receiver._queue).drain()
    assert len(receiver._exporters.now) == 75
    assert got.messages.count(b"k") == 2


def test_exporters_that_fell_silent_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "FORGET_EVERY_NS", 0)
    old, new = CountingSender(domain=1).announce(), CountingSender(domain=2).announce()
    with receiving("udp://0.0.0.0:0", max_exporters=8, idle_s=0.3, prefix_share=1) as receiver:
        for i in range(8):
            with sender(f"127.0.1.{i + 1}") as opened:
                opened.sendto(old, ("127.0.0.1", receiver.listening[0].port))
        wait_for(receiver, 8)
        time.sleep(0.6)
        assert receiver.evicted == Counter()  # nobody asked for a place
        with sender("127.0.2.1") as opened:
            refused = 0
            while not receiver.evicted and refused < 100:
                opened.sendto(new, ("127.0.0.1", receiver.listening[0].port))
                refused += 1
                time.sleep(0.02)
            opened.sendto(new, ("127.0.0.1", receiver.listening[0].port))
            wait_for(receiver, 9 + refused)
    got = Received(receiver._queue).drain()
    assert got.messages.count(new) >= 1
    assert set(receiver.accounting.dropped) == {"too many exporters"}
    assert 1 <= receiver.evicted["silent"] == len(got.ended) <= 8
    # An index is given again only when whoever reads the queue has said so.
    assert len(receiver._exporters.now) == 9
    again = got.ended[0]
    assert receiver._exporters.add([again.exporter]) == [9]
    receiver._exporters.release(again.index)
    assert receiver._exporters.add([Exporter("192.0.2.1", 1)]) == [again.index]


def well_formed_of(octets: bytes) -> bool:
    return bool(kernel.well_formed(np.frombuffer(octets, np.uint8), 0, len(octets)))


def test_invalid_data_from_all_ports_of_an_address_excludes_no_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither other senders nor well-formed messages of the same address are affected."""
    monkeypatch.setattr(udp, "FORGET_EVERY_NS", 1 << 60)  # no room is made meanwhile
    good = CountingSender().announce()
    assert well_formed_of(good)
    with receiving("udp://0.0.0.0:0", max_exporters=64) as receiver:
        place = ("127.0.0.1", receiver.listening[0].port)
        with ExitStack() as ports:
            for i in range(100):
                ports.enter_context(sender("127.0.3.1")).sendto(b"\x00\x0a" + bytes([i]) * 30, place)
            wait_for(receiver, 100)
        for host in ("127.0.3.1", "127.0.3.2", "127.0.4.1"):
            with sender(host) as opened:
                opened.sendto(good, place)
        wait_for(receiver, 103)
    got = Received(receiver._queue).drain()
    # A quarter of the exporters for an address, three quarters of it for rubbish.
    assert receiver.accounting.dropped == Counter({"too many exporters of its address": 100 - 12})
    senders = Counter(host for (host, _), m in zip(got.senders, got.messages, strict=True) if m == good)
    assert senders == {"127.0.3.1": 1, "127.0.3.2": 1, "127.0.4.1": 1}


def test_one_prefix_has_its_share() -> None:
    good = CountingSender().announce()
    with receiving("udp://0.0.0.0:0", max_exporters=16) as receiver:
        for i in range(30):
            with sender(f"127.0.5.{i + 1}") as opened:
                opened.sendto(good, ("127.0.0.1", receiver.listening[0].port))
        with sender("127.0.6.1") as opened:
            opened.sendto(good, ("127.0.0.1", receiver.listening[0].port))
        wait_for(receiver, 31)
    assert receiver.accounting.dropped == Counter({"too many exporters of its prefix": 22})
    assert "127.0.6.1" in {host for host, _ in Received(receiver._queue).drain().senders}


def test_rubbish_makes_room_before_anybody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "FORGET_EVERY_NS", 0)
    good = CountingSender().announce()
    with receiving("udp://0.0.0.0:0", max_exporters=16, address_share=1, prefix_share=1) as receiver:
        place = ("127.0.0.1", receiver.listening[0].port)
        for i in range(40):
            with sender(f"127.0.7.{i + 1}") as opened:
                opened.sendto(b"rubbish", place)
        wait_for(receiver, 40)
        for i in range(16):
            with sender(f"127.0.8.{i + 1}") as opened:
                opened.sendto(good, place)
                wait_for(receiver, 41 + i)
                time.sleep(0.06)  # longer than a batch, after which room is made
    got = Received(receiver._queue).drain()
    assert receiver.accounting.dropped == Counter({"too many exporters": 28})
    assert got.messages.count(good) == 16
    assert receiver.evicted == Counter({"no well-formed message": 12})


@given(st.binary(max_size=120), st.sampled_from([b"", b"\0\5", b"\0\x09", b"\0\x0a"]))
def test_checks_stay_within_the_octets_of_a_datagram(octets: bytes, version: bytes) -> None:
    whole = version + octets
    judged = well_formed_of(whole)
    if judged:
        padded = np.frombuffer(b"\xff" * 8 + whole + b"\xff" * 8, np.uint8)
        assert kernel.well_formed(padded, 8, len(whole))
        assert whole[:2] in {b"\0\5", b"\0\x09", b"\0\x0a"}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans(), st.booleans()), max_size=60))
def test_the_tables_agree_with_a_plain_model(events: list[tuple[int, int, bool, bool]]) -> None:
    """After any arrivals and removals, every exporter is found, and group counts are correct."""
    receiver = UdpReceiver([], MessageQueue(1 << 20), Exporters(), CollectSettings(), max_exporters=16)
    receiver._make_tables()
    state, tables = receiver._state[0], receiver._tables
    prefixes, counters = np.zeros((0, 4), np.uint64), np.zeros(kernel.COUNTERS, np.int64)
    slot = np.frombuffer(CountingSender().announce(), np.uint8)
    known: dict[tuple[str, int], bool] = {}
    for host, port, sound, forget in events:
        address = f"10.0.{host // 3}.{host}"
        name = np.frombuffer(udp._sockaddr(socket.AF_INET, (address, port + 1)), np.uint8)
        row = kernel.known(state, name, slot, len(slot) if sound else 3, False, prefixes, tables,
                           receiver._limits[0], 1.0, 0, counters)  # fmt: skip
        if row >= 0:
            known[address, port + 1] = known.get((address, port + 1), False) or sound
        if forget and known:
            rows = tables[1][: state["exporters"]]
            retained = rows[1:].copy()
            gone = udp._exporter(rows[0])
            del known[gone.address, gone.port]
            kernel.rebuild(state, tables, retained, tables[3].copy())
    rows = tables[1][: state["exporters"]]
    there = {(udp._exporter(row).address, udp._exporter(row).port): bool(row["sound"]) for row in rows}
    assert there == known
    of_address = Counter(address for address, _ in known)
    of_prefix = Counter(address.rpartition(".")[0] for address, _ in known)
    for row in rows:
        address = udp._exporter(row).address
        assert tables[5][row["narrow"]]["count"] == of_address[address] <= 4
        assert tables[5][row["wide"]]["count"] == of_prefix[address.rpartition(".")[0]] <= 8


def test_a_datagram_that_is_cut_off_is_not_used(way: str) -> None:
    with receiving(largest=100) as receiver, sender() as opened:
        for length in (100, 101, 50):
            opened.sendto(b"x" * length, ("127.0.0.1", receiver.listening[0].port))
        wait_for(receiver, 3)
    assert receiver.accounting.dropped == Counter({"truncated": 1})
    assert [len(m) for m in Received(receiver._queue).drain().messages] == [100, 50]


def test_what_the_kernel_drops_is_counted_too() -> None:
    queue, exporters = MessageQueue(1 << 24), Exporters()
    receiver = UdpReceiver(
        [Listen.parse("udp://127.0.0.1:0")], queue, exporters, CollectSettings.of(socket_octets=4096)
    )
    opened = receiver._places[0].open()
    receiver._sockets, receiver._lost = [opened], [0]
    receiver._enlarge(opened)
    with sender() as out:
        for _ in range(500):
            out.sendto(b"x" * 1000, ("127.0.0.1", opened.getsockname()[1]))
    retained = 0
    while True:
        try:
            retained += bool(opened.recv(2000))
        except BlockingIOError:
            break
    assert 0 < retained < 500
    assert receiver.accounting.dropped == Counter({"socket": 500 - retained})
    receiver._close()
    assert receiver.accounting.dropped == Counter({"socket": 500 - retained})


def test_a_stop_takes_what_has_arrived_and_a_second_receiver_may_have_the_port() -> None:
    with receiving() as receiver:
        with sender() as opened:
            for _ in range(2000):
                opened.sendto(b"y", ("127.0.0.1", receiver.listening[0].port))
        place = str(receiver.listening[0])
    assert receiver.accounting.used == 2000
    with receiving(place) as second, pytest.raises(InputError, match="cannot listen"), receiving(place):
        pass
    assert second.accounting.read == 0


def test_times_of_arrival_never_go_back_and_messages_after_a_closed_minute_belong_to_the_next() -> None:
    queue = MessageQueue(1 << 20)

    def put(*times: int) -> None:
        count = len(times)
        batch = DatagramBatch(np.zeros(0, np.uint8), np.zeros(count, np.int64), np.zeros(count, np.int32),
                              np.array(times), np.zeros(count, np.int32), ())  # fmt: skip
        queue.put(batch, queue.reserve(count * MESSAGE_OVERHEAD))

    put(5, 3, 9)
    put(4, 12)
    assert not queue.passed(60)
    got = Received(queue)
    items = [queue.take(0), queue.take(0)]
    assert [list(item.arrival_ns) for item in items if isinstance(item, DatagramBatch)] == [[5, 5, 9], [9, 12]]
    assert queue.passed(60)
    put(40, 61)
    [last] = [queue.take(0)]
    assert isinstance(last, DatagramBatch)
    assert list(last.arrival_ns) == [60, 61]
    assert got.drain().messages == []
    assert queue.octets == 0
