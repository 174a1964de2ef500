"""The sink that sends through Apprise: read by a mail server and a web server, without its secrets in any message."""

from __future__ import annotations

import email
import email.policy
import json
import logging
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from ethogram.cli import main
from ethogram.config.sinks import AppriseSettings
from ethogram.errors import ConfigurationError
from ethogram.schema import SinkEvent
from ethogram.serve.sinks.apprise_service import AppriseService
from ethogram.serve.sinks.sink import SinkError
from tests.serve.sinks.receivers import web_receiver

EVENT = SinkEvent(7, datetime(2026, 1, 2, tzinfo=UTC), "alert", "critical", "Two devices", "cam\x1b[2J is ü\nhere")


def service(tmp_path: Path, url: str) -> AppriseService:
    file = tmp_path / "url"
    file.write_text(url + "\n")
    return AppriseService(AppriseSettings.of(type="apprise", url_file=str(file)))


class Mailbox:
    """Keeps what a server of SMTP receives."""

    def __init__(self) -> None:
        self.envelopes: list[Any] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:
        self.envelopes.append(envelope)
        return "250 OK"


def test_a_mail_arrives(tmp_path: Path) -> None:
    mailbox = Mailbox()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        service(tmp_path, f"mailto://127.0.0.1:{port}?from=e@example.com&to=me@example.com&mode=insecure").send(EVENT)
    finally:
        controller.stop()
    (envelope,) = mailbox.envelopes
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    body = message.get_body(("plain", "html"))
    assert body is not None
    assert envelope.rcpt_tos == ["me@example.com"]
    assert message["Subject"] == "critical: Two devices"
    assert "cam\\x1b[2J is ü\\x0ahere" in body.get_content()


def test_a_json_webhook_arrives_and_refusals_are_errors(tmp_path: Path) -> None:
    with web_receiver() as receiver:
        sink = service(tmp_path, f"json://user:s3cret@127.0.0.1:{receiver.port}/hook")
        sink.send(EVENT)
        receiver.status = 500
        with pytest.raises(SinkError, match="the service took no message") as caught:
            sink.send(EVENT)
    read = json.loads(receiver.requests[0][1])
    assert (read["title"], read["message"], read["type"]) == (
        "critical: Two devices", "cam\\x1b[2J is ü\\x0ahere", "failure",
    )  # fmt: skip
    assert "s3cret" not in str(caught.value)


def test_a_receiver_that_is_not_there_shows_no_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with caplog.at_level(logging.DEBUG), pytest.raises(SinkError) as caught:
        service(tmp_path, f"json://user:s3cret@127.0.0.1:{port}/").send(EVENT)
    captured = capfd.readouterr()
    assert "s3cret" not in f"{caught.value}{captured.out}{captured.err}{caplog.text}"


@pytest.mark.parametrize(("url", "message"), [
    ("no url at s3cret", "not a URL of a service that Apprise knows"), ("", "is empty"),
    ("nosuchservice://s3cret@host", "not a URL of a service that Apprise knows"),
])  # fmt: skip
def test_a_wrong_url_is_one_line_without_it(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        service(tmp_path, url)
    assert "s3cret" not in str(caught.value)


def test_the_url_is_in_a_file_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = AppriseSettings.of(type="apprise", url_variable="MAIL_URL")
    monkeypatch.delenv("MAIL_URL", raising=False)
    with pytest.raises(ConfigurationError, match="environment variable MAIL_URL is not set"):
        AppriseService(settings)
    with pytest.raises(ConfigurationError, match="either url_file or url_variable"):
        AppriseService(AppriseSettings.of(type="apprise"))
    with web_receiver() as receiver:
        monkeypatch.setenv("MAIL_URL", f"json://127.0.0.1:{receiver.port}/")
        AppriseService(settings).send(EVENT)
    assert len(receiver.requests) == 1


def test_the_command_lists_and_tests_the_sink(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, config = tmp_path / "url", tmp_path / "serve.toml"
    config.write_text(f'[sinks.mail]\ntype = "apprise"\nurl_file = "{file}"\n')
    with web_receiver() as receiver:
        file.write_text(f"json://user:s3cret@127.0.0.1:{receiver.port}/")
        given = ["sinks", "--config", str(config), "--data", str(tmp_path)]
        assert main(given) == main([*given, "--test", "mail"]) == 0
    captured = capsys.readouterr()
    assert "mail  apprise" in captured.out
    assert "s3cret" not in captured.out + captured.err
    assert json.loads(receiver.requests[0][1])["title"] == "info: Test"


WATCH = """
import sys

def watch(name, values):
    if name == "socket.bind" and values[1][0] in ("::1", "127.0.0.1"):
        return  # urllib3 looks whether this machine has IPv6
    if name in ("socket.bind", "socket.connect", "socket.getaddrinfo", "socket.sendto"):
        sys.exit(f"{name} {values}")

sys.addaudithook(watch)
import apprise
assert apprise.Apprise.instantiate("mailto://u:p@example.com") is not None
"""


def test_importing_apprise_asks_no_network() -> None:
    done = subprocess.run([sys.executable, "-c", WATCH], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
