"""A real PostgreSQL of our own on a loopback port, for as long as a block lasts."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from tests.support.waiting import until


class Unavailable(Exception):
    """No PostgreSQL can be started here; the text says why."""


def _binaries() -> Path:
    found = shutil.which("initdb") or max(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), default="")
    if not found:
        raise Unavailable("the programs of a PostgreSQL server are not installed")
    return Path(found).parent


def _owner() -> str | None:
    """PostgreSQL refuses to run as root: who else it can be."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise Unavailable("PostgreSQL does not run as root, and there is no other user")


def free_port() -> int:
    """A loopback port on which nobody listens at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise Unavailable("PostgreSQL ended at once")
    try:
        psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def server(fsync: bool = False) -> Iterator[int]:
    """The port of a fresh server: user postgres, database postgres, no password. Raises Unavailable."""
    binaries, owner = _binaries(), _owner()
    folder = Path(tempfile.mkdtemp(prefix="dualtrack-pg-"))
    data = str(folder / "data")
    switch = {"user": owner, "group": pwd.getpwnam(owner).pw_gid, "extra_groups": ()} if owner else {}
    try:
        if owner:
            os.chown(folder, pwd.getpwnam(owner).pw_uid, -1)
        create = [
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "--no-locale",
        ]
        made = subprocess.run(create, capture_output=True, cwd=folder, check=False, timeout=120, **switch)
        if made.returncode:
            raise Unavailable(f"initdb failed: {made.stderr.decode(errors='replace').strip()}")
        port = free_port()
        settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}"]
        settings += [f"fsync={'on' if fsync else 'off'}", "shared_buffers=16MB", "max_connections=40"]
        command = [binaries / "postgres", "-D", data, *(part for s in settings for part in ("-c", s))]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, **switch)
        try:
            until(lambda: _answers(port, process), what="PostgreSQL")
            yield port
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown
            process.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fresh_schema(port: int, name: str) -> str:
    """The URL of a new, empty schema on the server."""
    with psycopg.connect(
        host="127.0.0.1", port=port, user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(f'CREATE SCHEMA "{name}"')
    return f"postgresql://postgres@127.0.0.1:{port}/postgres?options=-csearch_path%3D{name}"
