"""Private PostgreSQL and Redis servers for benchmarks and tests, from Debian's packages.

    apt-get install postgresql redis-server

Each runs on a free port of 127.0.0.1 with its data in a temporary folder, and is gone afterwards.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


POSTGRES_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "fsync": "off",  # the data need not outlive the machine
    "shared_buffers": "64MB",
}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def postgres_binaries() -> Path | None:
    """The newest PostgreSQL's programs; Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
    if found:
        return found[-1]
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


def redis_binary() -> str | None:
    return shutil.which("redis-server")


@dataclass(frozen=True)
class Postgres:
    """A running PostgreSQL server."""

    binaries: Path
    data: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def restart(self, mode: str = "immediate") -> None:
        """Stops the server, as a crash would (``immediate``) or in order (``fast``); starts it."""
        self._control("stop", "-m", mode)
        self.start()

    def start(self) -> None:
        self._control("start", "-l", str(self.data / "log"))

    def stop(self) -> None:
        self._control("stop", "-m", "immediate")

    def _control(self, *arguments: str) -> None:
        command = [str(self.binaries / "pg_ctl"), "-D", str(self.data), "-w", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **_as_postgres())


def _as_postgres() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: Debian's package has made a user for it."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": "/"}


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A fresh PostgreSQL server.

    Raises:
        RuntimeError: If PostgreSQL is not installed.
    """
    binaries = postgres_binaries()
    if binaries is None:
        raise RuntimeError("PostgreSQL is missing: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="lrss-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        data, port = folder / "data", free_port()
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-N"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **_as_postgres())
        options = {**POSTGRES_OPTIONS, "port": port, "unix_socket_directories": folder}
        with (data / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in options.items())
        server = Postgres(binaries, data, port)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """A fresh Redis server; yields its URL.

    Raises:
        RuntimeError: If Redis is not installed or does not start.
    """
    binary = redis_binary()
    if binary is None:
        raise RuntimeError("Redis is missing: apt-get install redis-server")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="lrss-redis-") as folder:
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        command += ["--save", "", "--appendonly", "no"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                _wait_for(port)
                yield f"redis://127.0.0.1:{port}"
            finally:
                process.terminate()


def _wait_for(port: int, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port} after {seconds} s")
