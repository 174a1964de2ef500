"""Datagrams: each is used, or dropped for a reason; memory is bounded whatever is sent."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from ethogram.config import CollectSettings
from ethogram.errors import InputError
from ethogram.io.receive import udp
from ethogram.io.receive.address import Listen
from ethogram.io.receive.queue import MESSAGE_OVERHEAD, Exporters, MessageQueue, SessionEnd
from ethogram.io.receive.udp import UdpReceiver
from ethogram.schema import DatagramBatch
from sending import needs_ipv6


class Received:
    """Everything a queue gave, message by message."""

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
    """Until so many datagrams were read; the test then says what became of them."""
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


def test_an_address_over_its_rate_is_limited_whatever_port_it_sends_from() -> None:
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
    with receiving("udp://0.0.0.0:0", max_exporters=100) as receiver, sender("127.0.0.1") as known:
        known.sendto(b"k", ("127.0.0.1", receiver.listening[0].port))
        wait_for(receiver, 1)
        for i in range(1000):
            with sender(f"127.1.{i // 250}.{i % 250 + 1}") as opened:
                opened.sendto(b"f", ("127.0.0.1", receiver.listening[0].port))
        known.sendto(b"k", ("127.0.0.1", receiver.listening[0].port))
        wait_for(receiver, 1002)
    assert receiver.accounting.dropped == Counter({"too many exporters": 901})
    got = Received(receiver._queue).drain()
    assert len(receiver._exporters.now) == 100
    assert got.messages.count(b"k") == 2


def test_exporters_that_fell_silent_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "FORGET_EVERY_NS", 0)
    with receiving("udp://0.0.0.0:0", max_exporters=8, idle_s=0.3) as receiver:
        for i in range(8):
            with sender(f"127.0.1.{i + 1}") as opened:
                opened.sendto(b"old", ("127.0.0.1", receiver.listening[0].port))
        wait_for(receiver, 8)
        time.sleep(0.6)
        with sender("127.0.2.1") as opened:
            opened.sendto(b"new", ("127.0.0.1", receiver.listening[0].port))
            wait_for(receiver, 9)
    got = Received(receiver._queue).drain()
    assert got.messages.count(b"new") == 1
    assert len(got.ended) == 8
    assert receiver.accounting.dropped == Counter()
    # An index is given again only when whoever reads the queue has said so.
    assert len(receiver._exporters.now) == 9
    again, other = got.ended[0], got.ended[1].exporter
    assert receiver._exporters.add([again.exporter]) == [9]
    receiver._exporters.release(again.index)
    assert receiver._exporters.add([other]) == [again.index]


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
    kept = 0
    while True:
        try:
            kept += bool(opened.recv(2000))
        except BlockingIOError:
            break
    assert 0 < kept < 500
    assert receiver.accounting.dropped == Counter({"socket": 500 - kept})
    receiver._close()
    assert receiver.accounting.dropped == Counter({"socket": 500 - kept})


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
