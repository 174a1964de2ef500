"""Sinks of the live service, each read by a receiver of its protocol; failures are counted and stop nothing else."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks.webhooks

from ethogram.cli import main
from ethogram.config.serve import ServeSettings
from ethogram.config.sinks import FileSinkSettings, MqttSettings, SyslogSettings, WebhookSettings
from ethogram.errors import ConfigurationError
from ethogram.schema import AlertPass, AlertSighting, ExportedDevice, SinkEvent
from ethogram.serve.service import Service
from ethogram.serve.sinks import runner as runners
from ethogram.serve.sinks.json_file import JsonFile
from ethogram.serve.sinks.mqtt import Mqtt
from ethogram.serve.sinks.runner import SinkRunner, Sinks
from ethogram.serve.sinks.sink import RefusedEventError, SinkError
from ethogram.serve.sinks.syslog import Syslog
from ethogram.serve.sinks.webhook import Webhook
from ethogram.serve.store import Store
from tests.serve.sinks.receivers import MOSQUITTO, broker, stream_receiver, wait_for, web_receiver
from tests.serve.store_rows import document, judge, see, sighting

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
CAMERA = ExportedDevice("1a", "cam\x1b[2J", ("192.168.1.5",), ("02:00:00:00:00:0a",), (), "camera", "Acme", "",
                        "Acme camera", "vendor", 0.9, "known", NOW, NOW)  # fmt: skip
EVENT = SinkEvent(7, NOW, "alert", "critical", "Two devices, one address", "192.168.1.5 is ü used twice\n", CAMERA,
                  {"kind": "address conflict", "alert": 3})  # fmt: skip
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def webhook(tmp_path: Path, url: str, **values: Any) -> Webhook:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    return Webhook(WebhookSettings.of(type="webhook", url=url, secret_file=str(secret), **values))


def test_the_reference_receiver_verifies_a_webhook(tmp_path: Path) -> None:
    with web_receiver() as receiver:
        webhook(tmp_path, receiver.url).send(EVENT)
        webhook(tmp_path, receiver.url, format="ecs").send(EVENT)
    (headers, body), (_, ecs) = receiver.requests
    headers["webhook-timestamp"] = str(headers["webhook-timestamp"])
    read = standardwebhooks.webhooks.Webhook(SECRET).verify(body, headers)
    assert read == EVENT.to_dict()
    assert json.loads(ecs)["event"]["kind"] == "alert"
    with pytest.raises(standardwebhooks.webhooks.WebhookVerificationError):
        standardwebhooks.webhooks.Webhook(SECRET).verify(body.replace(b"critical", b"warning"), headers)


@pytest.mark.parametrize(("status", "error"), [
    (400, RefusedEventError), (413, RefusedEventError), (401, SinkError), (429, SinkError), (500, SinkError),
    (302, SinkError),
])  # fmt: skip
def test_a_status_says_whether_an_event_is_sent_again(tmp_path: Path, status: int, error: type[Exception]) -> None:
    with web_receiver() as receiver:
        receiver.status = status
        with pytest.raises(error, match=f"status {status}"):
            webhook(tmp_path, receiver.url).send(EVENT)


def test_a_receiver_that_does_not_answer_is_an_error_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(SinkError, match="no answer"):
            webhook(tmp_path, url, timeout_s=0.2).send(EVENT)


RFC_5424 = re.compile(
    rb"<(?P<priority>\d{1,3})>1 (?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (?P<host>[!-~]{1,255}) "
    rb"(?P<app>[!-~]{1,48}) (?P<process>[!-~]{1,128}) (?P<id>[!-~]{1,32}) (?P<data>(?:\[[^\]]*\])+) "
    rb"\xef\xbb\xbf(?P<text>.*)", re.DOTALL,
)  # fmt: skip


def read_syslog(octets: bytes) -> dict[str, str]:
    match = RFC_5424.fullmatch(octets)
    assert match is not None, octets
    return {name: value.decode() for name, value in match.groupdict().items()}


def test_syslog_over_udp_is_one_datagram_of_bounded_length() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        url = f"udp://127.0.0.1:{receiver.getsockname()[1]}"
        Syslog(SyslogSettings.of(type="syslog", url=url, host_name="home box")).send(EVENT)
        read = read_syslog(receiver.recv(65_535))
        assert (read["priority"], read["host"], read["app"], read["id"]) == (
            "130", "home-box", "ethogram", "address-conflict",
        )  # fmt: skip
        assert read["time"] == "2026-01-02T03:04:05.678901Z"
        assert read["text"] == "192.168.1.5 is ü used twice\\x0a"
        long = SinkEvent(8, NOW, "test", "info", "Test", "ü" * 5000)
        Syslog(SyslogSettings.of(type="syslog", url=url, max_octets=480)).send(long)
        cut = receiver.recv(65_535)
        assert len(cut) in (479, 480)
        assert read_syslog(cut)["priority"] == "134"


def test_syslog_over_tcp_counts_octets_and_connects_again() -> None:
    with stream_receiver() as receiver:
        settings = SyslogSettings.of(type="syslog", url=f"tcp://127.0.0.1:{receiver.port}", format="ethogram")
        sink = Syslog(settings)
        sink.send(EVENT)
        sink.send(EVENT)
        wait_for(lambda: len(receiver.messages) == 2)
        assert len(receiver.connections) == 1
        receiver.connections[0].shutdown(socket.SHUT_RDWR)
        receiver.connections[0].close()

        def arrives_again() -> bool:
            sink.send(EVENT)
            return len(receiver.connections) == 2

        wait_for(arrives_again)
        sink.close()
    assert json.loads(read_syslog(receiver.messages[0])["text"]) == EVENT.to_dict()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
             "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
             "-keyout", folder / "key.pem", "-out", folder / "certificate.pem"],
            capture_output=True, check=True, timeout=60,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"openssl makes no certificate here: {error}")
    return folder


def test_syslog_over_tls_needs_a_receiver_that_is_trusted(certificate: Path) -> None:
    with stream_receiver(certificate) as receiver:
        url = f"tls://127.0.0.1:{receiver.port}"
        sink = Syslog(SyslogSettings.of(type="syslog", url=url, ca=str(certificate / "certificate.pem")))
        sink.send(EVENT)
        sink.send(EVENT)
        wait_for(lambda: len(receiver.messages) == 2)
        sink.close()
        with pytest.raises(SinkError, match="cannot be sent"):
            Syslog(SyslogSettings.of(type="syslog", url=url)).send(EVENT)
    assert ssl.HAS_TLSv1_3


def test_a_file_has_one_line_an_event_and_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonFile(FileSinkSettings.of(type="file", path=str(path), rotate_octets=4096))
    for _ in range(20):
        sink.send(EVENT)
    lines = (tmp_path / "events.jsonl.1").read_text().splitlines() + path.read_text().splitlines()
    assert path.stat().st_size <= 4096
    assert {json.dumps(json.loads(line)) for line in lines} == {json.dumps(EVENT.to_dict())}
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SinkError, match="cannot be written"):
        JsonFile(FileSinkSettings.of(type="file", path=str(tmp_path / "no" / "file"))).send(EVENT)


needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


class Listener:
    """A client that keeps the latest retained and other messages of each topic."""

    def __init__(self, port: int, **login: str) -> None:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self.messages: dict[str, bytes] = {}
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.subscribed = False
        self.client.on_subscribe = lambda *_: setattr(self, "subscribed", True)
        self.client.on_message = lambda _, __, message: self.messages.__setitem__(message.topic, message.payload)
        if login:
            self.client.username_pw_set(login["user"], login["password"])
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.client.subscribe("#", qos=1)
        wait_for(lambda: self.subscribed)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def json(self, topic: str) -> Any:
        return json.loads(self.messages[topic])


@needs_broker
def test_home_assistant_finds_each_device_and_forgets_those_that_are_gone(tmp_path: Path) -> None:
    with broker(tmp_path, user="ha", password="secret-1") as port:
        password = tmp_path / "password"
        password.write_text("secret-1\n")
        listener = Listener(port, user="ha", password="secret-1")
        sink = Mqtt(MqttSettings.of(type="mqtt", url=f"mqtt://127.0.0.1:{port}", user="ha", sync_s=0.001,
                                    password_file=str(password)))  # fmt: skip
        sink.send(EVENT)
        kept = sink.sync(lambda: [CAMERA], {"devices": ["gone"]})
        config, state = "homeassistant/device/ethogram_1a/config", "ethogram/device/ethogram_1a/state"
        wait_for(lambda: {config, state, "ethogram/events", "ethogram/status"} <= set(listener.messages))
        assert listener.json("ethogram/events") == EVENT.to_dict()
        assert listener.messages["ethogram/status"] == b"online"
        announced = listener.json(config)
        assert announced["device"] == {"identifiers": ["ethogram_1a"], "name": "cam\\x1b[2J", "manufacturer": "Acme",
                                       "model": "camera", "connections": [["mac", "02:00:00:00:00:0a"]]}  # fmt: skip
        assert announced["state_topic"] == state
        assert announced["availability_topic"] == "ethogram/status"
        for entity in announced["components"].values():
            assert {"platform", "unique_id", "name", "value_template"} <= entity.keys()
        values = listener.json(state)
        used = re.findall(r"value_json\.(\w+)", json.dumps(announced))
        assert set(used) <= set(values)
        assert (values["present"], values["statement"]) == (True, "Acme camera")
        assert kept == {"devices": ["1a"]}
        wait_for(lambda: sink.sync(list, kept) == {"devices": []})
        wait_for(lambda: listener.messages[config] == listener.messages[state] == b"")
        sink.close()
        wait_for(lambda: listener.messages["ethogram/status"] == b"offline")
        listener.close()
        wrong = Mqtt(MqttSettings.of(type="mqtt", url=f"mqtt://127.0.0.1:{port}"))
        with pytest.raises(SinkError, match="no connection"):
            wrong.send(EVENT)
    with pytest.raises(SinkError, match="no connection"):
        sink.send(EVENT)


# The runner


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store.open(tmp_path / "store.db") as opened:
        yield opened


def raise_alerts(store: Store, *names: str) -> None:
    """One alert each, of severity warning."""
    position = store.alert_state()[0]
    raised = tuple(AlertSighting("changed verdict", name, f"{name} has changed") for name in names)
    store.record_alerts(AlertPass(datetime.now(tz=UTC), position, position, raised=raised))


def runner_of(store: Store, path: Path, **values: Any) -> SinkRunner:
    settings = FileSinkSettings.of(type="file", path=str(path), **values)
    return SinkRunner("log", settings, lambda: store, path.parent / "position.json")


def texts(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()] if path.exists() else []


def test_a_new_sink_begins_with_the_next_event_and_goes_on_after_a_restart(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "events.jsonl"
    raise_alerts(store, "before")
    runner_of(store, path)._step()
    assert texts(path) == []
    raise_alerts(store, "one", "two")
    first = runner_of(store, path)
    first._step()
    assert texts(path) == ["one has changed", "two has changed"]
    assert first.health.state == "running"
    raise_alerts(store, "three")
    again = runner_of(store, path)
    again._step()
    again._step()
    assert texts(path) == ["one has changed", "two has changed", "three has changed"]
    assert again.health.figures == {"sent": 3.0, "failed": 0.0, "refused": 0.0, "dropped": 0.0, "waiting": 0.0}


def test_a_failure_is_counted_and_shown_and_nothing_is_lost(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "log"
    runner = SinkRunner("log", FileSinkSettings.of(type="file", path=str(folder / "events.jsonl")), lambda: store,
                        tmp_path / "position.json")  # fmt: skip
    runner._step()
    raise_alerts(store, "one", "two")
    waits = [runner._step() for _ in range(4)]
    assert runner.health.state == "degraded"
    assert "No such file or directory" in runner.health.message
    assert runner.health.figures["failed"] == 4.0
    assert runner.health.figures["waiting"] == 2.0
    assert [0.7 * each < wait < 1.3 * each for each, wait in zip(runners.BACK_OFF_S, waits, strict=False)] == [True] * 4
    folder.mkdir()
    runner._step()
    assert texts(folder / "events.jsonl") == ["one has changed", "two has changed"]
    assert runner.health.state == "running"


def test_events_beyond_the_bound_are_dropped_and_counted(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "events.jsonl"
    runner = runner_of(store, path, max_waiting=2)
    runner._step()
    for name in ("one", "two", "three", "four", "five"):
        raise_alerts(store, name)
    runner._step()
    assert texts(path) == ["four has changed", "five has changed"]
    assert runner.health.figures["dropped"] == 3.0


def test_only_wanted_kinds_and_severities_are_sent(tmp_path: Path, store: Store) -> None:
    path, everything = tmp_path / "grave.jsonl", tmp_path / "all.jsonl"
    grave = runner_of(store, path, severity="critical")
    every = SinkRunner("all", FileSinkSettings.of(type="file", path=str(everything),
                                                  events=("alert", "device new", "verdict changed")),
                       lambda: store, tmp_path / "all.json")  # fmt: skip
    for runner in (grave, every):
        runner._step()
    (device,) = see(store, sighting("02:00:00:00:00:01", addresses=("192.168.1.5",)))
    judge(store, device, document("Acme camera"))
    raise_alerts(store, "one")
    for runner in (grave, every):
        runner._step()
    assert texts(path) == []
    lines = [json.loads(line) for line in everything.read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["device new", "verdict changed", "alert"]
    assert lines[0]["device"]["vendor"] == "Acme"
    assert lines[1]["text"].endswith(": Acme camera")


def test_a_refused_event_is_passed_over(tmp_path: Path, store: Store) -> None:
    said: list[str] = []
    with web_receiver() as receiver:
        settings = WebhookSettings.of(type="webhook", url=receiver.url)
        runner = SinkRunner("hook", settings, lambda: store, tmp_path / "hook.json", said.append)
        runner._step()
        raise_alerts(store, "one")
        receiver.status = 400
        runner._step()
        raise_alerts(store, "two")
        receiver.status = 200
        runner._step()
    assert [json.loads(body)["text"] for _, body in receiver.requests] == ["one has changed", "two has changed"]
    assert (runner.health.figures["refused"], runner.health.figures["sent"]) == (1.0, 1.0)
    assert len(said) == 1
    assert "is refused: status 400" in said[0]


def test_a_damaged_position_is_said_and_replaced(tmp_path: Path, store: Store) -> None:
    (tmp_path / "position.json").write_text("{")
    said: list[str] = []
    runner = SinkRunner("log", FileSinkSettings.of(type="file", path=str(tmp_path / "e.jsonl")), lambda: store,
                        tmp_path / "position.json", said.append)  # fmt: skip
    runner._step()
    assert "damaged; the sink begins with the next event" in said[0]
    assert json.loads((tmp_path / "position.json").read_text())["format"] == "ethogram.sink/1"


def test_a_sink_that_hangs_does_not_hold_up_the_others(tmp_path: Path, store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        sinks = Sinks({
            "hangs": WebhookSettings.of(type="webhook", url=url, timeout_s=1.0),
            "log": FileSinkSettings.of(type="file", path=str(tmp_path / "events.jsonl")),
        }, lambda: store, tmp_path / "sinks")  # fmt: skip
        sinks.start()
        wait_for(lambda: len(list((tmp_path / "sinks").glob("*.json"))) == 2)
        raise_alerts(store, "one")
        sinks.wake()
        wait_for(lambda: texts(tmp_path / "events.jsonl") == ["one has changed"])
        wait_for(lambda: sinks.health()[0].state == "degraded")
        sinks.stop()
    assert [health.state for health in sinks.health()] == ["stopped", "stopped"]


# Settings and commands


def settings_file(tmp_path: Path, text: str) -> str:
    file = tmp_path / "serve.toml"
    file.write_text(f'data = "{tmp_path / "data"}"\ncollect = false\npage = false\n{text}')
    return str(file)


@pytest.mark.parametrize(("text", "message"), [
    ('[sinks.a]\ntype = "webhook"\nurl = "ftp://x"\n', "setting sinks.a.webhook.url"),
    ('[sinks.a]\ntype = "pigeon"\n', "setting sinks.a"),
    ('[sinks.a]\ntype = "file"\npath = "x"\ncolour = 1\n', "setting sinks.a.file.colour: Extra inputs"),
    ('[sinks."../a"]\ntype = "file"\npath = "x"\n', "setting sinks"),
    ('[sinks.a]\ntype = "webhook"\nurl = "https://x.example/"\nsecret_file = "none"\n', "sink a: none: cannot be read"),
    ('[sinks.a]\ntype = "syslog"\nurl = "tls://x.example"\nca = "none"\n', "sink a: none: no certificates"),
])  # fmt: skip
def test_wrong_settings_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "--check", "--config", settings_file(tmp_path, text)]) == 5
    assert message in capsys.readouterr().err


def test_the_command_lists_and_tests_sinks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "events.jsonl"
    config = settings_file(tmp_path, f'[sinks.log]\ntype = "file"\npath = "{path}"\n[sinks.siem]\ntype = "syslog"\n'
                                     'url = "tcp://127.0.0.1:9"\ntimeout_s = 1\n')  # fmt: skip
    assert main(["sinks", "--config", config]) == 0
    assert capsys.readouterr().out.splitlines() == [f"log   file     {path}", "siem  syslog   tcp://127.0.0.1:9"]
    assert main(["sinks", "--config", config, "--test", "log"]) == 0
    assert texts(path) == ["This is a test of a sink of Ethogram."]
    assert main(["sinks", "--config", config, "--test", "siem"]) == 3
    assert "sink siem: cannot be sent" in capsys.readouterr().err
    assert main(["sinks", "--config", config, "--test", "none"]) == 2


def test_mqtt_without_its_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "paho.mqtt.client", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'ethogram\[mqtt\]'"):
        Mqtt(MqttSettings.of(type="mqtt", url="mqtt://127.0.0.1"))


def test_the_service_runs_sinks_and_shows_them(
    tmp_path: Path, wait: Callable[..., None] = wait_for
) -> None:
    path = tmp_path / "events.jsonl"
    settings = ServeSettings.of(
        data=str(tmp_path / "data"), collect=False, page=False, judge={"interval_s": 0.1},
        sinks={"log": {"type": "file", "path": str(path)}, "bad": {"type": "file", "path": str(tmp_path / "no" / "x")}},
    )  # fmt: skip
    service = Service(settings)
    service.start()
    try:
        wait(lambda: [h.state for h in service.health() if h.part.startswith("sink ")] == ["running", "running"])
        assert service.store is not None
        raise_alerts(service.store, "one")
        wait(lambda: texts(path) == ["one has changed"])
        wait(lambda: [h.state for h in service.health() if h.part == "sink bad"] == ["degraded"])
    finally:
        service.stop()
