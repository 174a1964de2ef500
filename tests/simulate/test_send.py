"""Messages arrive as sent: over UDP of both families, TCP, TLS, and in a file."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from pathlib import Path

import orjson
import pytest

from ethogram.cli.app import main
from ethogram.errors import ConfigurationError, InputError, UsageError
from ethogram.io.wire.build import batch
from ethogram.io.wire.decoder import Decoder
from ethogram.simulate import SimulatedHome
from ethogram.simulate.exporter import ExportSettings, FlowExporter
from ethogram.simulate.impairment import Message
from ethogram.simulate.send import Pace, client_context, place_of, send, write


def messages(**options: object) -> list[Message]:
    frames = [frame.head(400) for frame in SimulatedHome(days=1).batches()]
    return list(FlowExporter(ExportSettings.of(**options)).messages(frames))


def udp_receiver(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    receiver = socket.socket(family, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    receiver.settimeout(10)
    try:
        receiver.bind((host, 0))
    except OSError as error:
        pytest.skip(f"no socket at {host} here: {error}")
    return receiver


def split(octets: bytes) -> list[bytes]:
    """Consecutive IPFIX messages."""
    result, at = [], 0
    while at < len(octets):
        length = int.from_bytes(octets[at + 2 : at + 4])
        result.append(octets[at : at + length])
        at += length
    return result


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams_arrive_one_message_each(host: str) -> None:
    given = messages(flush_s=3600, active_s=0)
    with udp_receiver(host) as receiver:
        port = receiver.getsockname()[1]
        delivery = send(given, place_of(f"udp://[{host}]:{port}" if ":" in host else f"udp://{host}:{port}"))
        arrived = [receiver.recv(65_536) for _ in given]
    assert arrived == [message.octets for message in given]
    assert (delivery.messages, delivery.flows, delivery.units) == (len(given), 400, 400)
    assert delivery.octets == sum(map(len, arrived))
    assert delivery.refused == 0


def test_datagrams_without_a_listener_are_reported() -> None:
    with udp_receiver("127.0.0.1") as receiver:
        place = place_of(f"udp://127.0.0.1:{receiver.getsockname()[1]}")
    delivery = send(messages(flush_s=3600), place)
    assert delivery.refused > 0


def accepted(listener: socket.socket, sessions: list[bytes], count: int, context: ssl.SSLContext | None = None) -> None:
    for _ in range(count):
        connection, _ = listener.accept()
        connection.settimeout(20)
        if context is not None:
            connection = context.wrap_socket(connection, server_side=True)
        octets = b""
        while part := connection.recv(65_536):
            octets += part
        sessions.append(octets)
        connection.close()


def test_a_restarted_exporter_opens_another_connection() -> None:
    start = SimulatedHome().start
    given = messages(restarts=[start.replace(hour=1)])
    assert {message.run for message in given} == {0, 1}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        sessions: list[bytes] = []
        thread = threading.Thread(target=accepted, args=(listener, sessions, 2))
        thread.start()
        delivery = send(given, place_of(f"tcp://127.0.0.1:{listener.getsockname()[1]}"))
        thread.join(20)
    assert [split(octets) for octets in sessions] == [[m.octets for m in given if m.run == run] for run in (0, 1)]
    assert delivery.messages == len(given)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=collector", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", folder / "key.pem", "-out", folder / "certificate.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"openssl makes no certificate here: {error}")
    return folder


def test_tls_requires_an_authenticated_collector(certificate: Path) -> None:
    given = messages(flush_s=3600)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        place = place_of(f"tls://127.0.0.1:{listener.getsockname()[1]}")
        sessions: list[bytes] = []
        thread = threading.Thread(target=accepted, args=(listener, sessions, 1, context))
        thread.start()
        send(given, place, context=client_context(certificate / "certificate.pem"))
        thread.join(20)
        assert split(sessions[0]) == [message.octets for message in given]

        def refuse() -> None:
            with pytest.raises(ssl.SSLError):
                accepted(listener, [], 1, context)

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(InputError, match="cannot connect"):
            send(given, place, context=client_context(None))
        thread.join(20)


def test_invalid_destinations_and_files_are_one_line_errors(tmp_path: Path) -> None:
    for text in ("127.0.0.1:9", "http://127.0.0.1:9", "udp://", "udp://127.0.0.1:0", "udp://127.0.0.1:x"):
        with pytest.raises(UsageError, match="Invalid destination"):
            place_of(text)
    with pytest.raises(InputError, match="cannot send"):
        send(messages(), place_of("udp://no-such-host.invalid:9"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = place_of(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    with pytest.raises(InputError, match="cannot connect"):
        send(messages(), place)
    with pytest.raises(InputError, match="cannot be written"):
        write(messages(), tmp_path / "no" / "file.ipfix")
    with pytest.raises(ConfigurationError, match="TLS"):
        client_context(tmp_path / "no.pem")
    with pytest.raises(UsageError):
        Pace(rate=0)


def test_a_file_holds_every_message(tmp_path: Path) -> None:
    given = messages(protocol="ipfix-uniflow")
    delivery = write(given, tmp_path / "home.ipfix")
    assert split((tmp_path / "home.ipfix").read_bytes()) == [message.octets for message in given]
    assert delivery.messages == len(given)
    assert [path.name for path in tmp_path.iterdir()] == ["home.ipfix"]


def test_pace_holds_the_rate_and_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("ethogram.simulate.send.time.monotonic", lambda: now[0])
    monkeypatch.setattr("ethogram.simulate.send.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    by_rate = Pace(rate=100)
    for _ in range(5):
        by_rate.wait(Message(b"", 0, 1, 0, 50, 50))
    assert now[0] == pytest.approx(102.0)
    by_speed = Pace(speed=3600)
    for hour in range(4):
        by_speed.wait(Message(b"", hour * 3_600_000, 1, 0, 50, 50))
    assert now[0] == pytest.approx(105.0)


def test_the_command_writes_a_file_and_says_what_it_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "home.ipfix"
    options = ["--days", "2", "--loss", "0.05", "--reorder", "0.05", "--restart-at", "1.5", "--sampling", "4"]
    assert main(["simulate", "-o", str(file), *options, "--domains", "2", "--json"]) == 0
    report = orjson.loads(capsys.readouterr().out)
    assert report["simulated"] is True
    assert report["exported"]["restarts"] == 1
    assert report["delivered"]["messages"] == report["exported"]["messages"] - report["lost"]["messages"]
    octets = split(file.read_bytes())
    decoder = Decoder()
    result = decoder.decode(batch(octets))
    assert sum(len(decoded) for decoded in result if not decoded.template.options) == report["delivered"]["flows"]
    assert len(octets) == report["delivered"]["messages"]
    assert report["exported"]["units"] - report["lost"]["units"] == report["delivered"]["units"]


def test_the_command_sends_to_the_place_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    with udp_receiver("127.0.0.1") as receiver:
        to = f"udp://127.0.0.1:{receiver.getsockname()[1]}"
        assert main(["simulate", "--to", to, "--protocol", "v5", "--rate", "200000"]) == 0
        first = receiver.recv(65_536)
    assert first[:2] == b"\0\5"
    text = capsys.readouterr().err
    assert "none of these devices exists" in text
    assert "delivered:" in text


def test_over_tcp_templates_are_sent_once(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        sessions: list[bytes] = []
        thread = threading.Thread(target=accepted, args=(listener, sessions, 1))
        thread.start()
        to = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        assert main(["simulate", "--to", to, "--rate", "1000000", "--json"]) == 0
        thread.join(20)
    report = orjson.loads(capsys.readouterr().out)
    octets = split(sessions[0])
    assert len(octets) == report["delivered"]["messages"] > 1000
    assert [i for i, message in enumerate(octets) if message[16:18] == b"\0\2"] == [0]
    assert report["exported"]["templates"] == 2


def test_the_command_loads_a_collector(capsys: pytest.CaptureFixture[str]) -> None:
    with udp_receiver("127.0.0.1") as receiver:
        to = f"udp://127.0.0.1:{receiver.getsockname()[1]}"
        assert main(["simulate", "--to", to, "--load", "0.2", "--homes", "100", "--rate", "50000", "--json"]) == 0
    report = orjson.loads(capsys.readouterr().out)
    assert report["devices"] == 1500
    assert report["delivered"]["flows"] == report["delivered"]["units"] > 4000
    assert report["delivered"]["flows"] < 20_000 + 50_000 * report["delivered"]["seconds"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "say where to"),
        (["--to", "udp://127.0.0.1:1", "-o", "x.ipfix"], 2, "say where to"),
        (["-o", "x.ipfix", "--protocol", "v9"], 2, "over UDP only"),
        (["-o", "x.ipfix", "--load", "1"], 2, "--load goes to"),
        (["--to", "tcp://127.0.0.1:1", "--load", "1"], 2, "load is sent over UDP only"),
        (["--to", "udp://127.0.0.1:1", "--load", "1", "--homes", "0"], 2, "homes"),
        (["-o", "x.ipfix", "--protocol", "sflow"], 2, "no protocol"),
        (["-o", "x.ipfix", "--loss", "2"], 2, "between 0 and 1"),
        (["-o", "x.ipfix", "--mtu", "10"], 5, "setting mtu"),
        (["-o", "/nowhere/x.ipfix"], 3, "cannot be written"),
    ],
)
def test_wrong_arguments_are_one_line_errors(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *arguments]) == code
    assert said in capsys.readouterr().err
