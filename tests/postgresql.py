"""A PostgreSQL server for tests: Debian's, started in a folder of its own on a free port of the loopback interface."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Server", "missing", "running"]

START_S = 30.0


def _programs() -> Path | None:
    """Folder of initdb and postgres: the newest of Debian's, else that of the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    if folders:
        return folders[0]
    initdb = shutil.which("initdb")
    return None if initdb is None else Path(initdb).resolve().parent


def _account() -> pwd.struct_passwd | None:
    """The account that runs the server: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def missing() -> str:
    """Why no server can be started; empty if one can."""
    if _programs() is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    if _account() is None:
        return "there is no account postgres or nobody to run PostgreSQL under"
    try:
        import pg8000  # noqa: F401
    except ImportError:
        return "pg8000 is not installed (pip install 'ethogram[postgresql]')"
    return ""


@dataclass
class Server:
    """A running server.

    Parameters
    ----------
    folder, port
        Of its data; where it listens.
    """

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        programs, account = _programs(), _account()
        assert programs is not None
        assert account is not None
        options = {} if os.geteuid() != 0 else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        if not (self.folder / "PG_VERSION").exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                os.chown(self.folder, account.pw_uid, account.pw_gid)
            subprocess.run(
                [programs / "initdb", "-D", self.folder, "-U", "ethogram", "-A", "trust", "-E", "UTF8", "--no-sync",
                 "--locale", "C"],
                check=True, capture_output=True, cwd="/", **options,
            )  # fmt: skip
        self._process = subprocess.Popen(
            [programs / "postgres", "-D", self.folder, "-p", str(self.port), "-k", self.folder, "-h", "127.0.0.1",
             "-c", "fsync=off"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **options,
        )  # fmt: skip
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            try:
                self.execute("SELECT 1")
            except Exception:  # whatever is raised
                time.sleep(0.1)
            else:
                return
        raise TimeoutError("PostgreSQL does not start")

    def stop(self) -> None:
        """Stop it; running transactions end."""
        if self._process is not None:
            self._process.send_signal(2)  # fast shutdown
            self._process.wait(START_S)
            self._process = None

    def execute(self, statement: str) -> None:
        """Run a statement in the database ``postgres``."""
        import pg8000.native

        connection = pg8000.native.Connection("ethogram", host="127.0.0.1", port=self.port, database="postgres")
        try:
            connection.run(statement)
        finally:
            connection.close()

    def new_database(self) -> str:
        """URL of a new, empty database."""
        name = f"t{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        return f"postgresql://ethogram@127.0.0.1:{self.port}/{name}"


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """A server until the end of the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(folder, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()
