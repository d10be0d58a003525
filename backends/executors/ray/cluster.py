"""Which Ray cluster a cell runs on: an embedded head that we start and reap, or one that others keep.

<home>/ray/<cell>/   head.json   token (0600)   head.log   head.lock
"""

import contextlib
import hashlib
import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from backends.executors.ray.request import namespace_of, node_resources
from backends.runtime.environment import base_environment
from backends.runtime.places import locked, write_atomically
from backends.runtime.ports import free_ports
from backends.runtime.processes import Identity, identify, kill_session
from scheduler.errors import UnavailableError
from scheduler.model.cluster import Cell

__all__ = [
    "attach",
    "find_head",
    "ray_environment",
    "RayHandle",
    "refreshed",
    "require_ray",
    "start_head",
    "stop_head",
]

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 90.0
PROBE_TIMEOUT_S = 3.0
OBJECT_STORE_BYTES = 80_000_000  # the least that Ray takes is 75 MiB; nothing of ours is kept there
WORKERS = 2  # kept ready by Ray, so that the first actors start sooner
LONGEST_FOLDER = 40  # a Unix socket's path has at most 107 bytes, of which Ray's own names take some sixty


class RayHandle(Struct, frozen=True, kw_only=True):
    """How to reach a cluster. `head` is the session of the head that we started, None when others run it."""

    address: str
    namespace: str
    token_file: str = ""
    token_digest: str = ""
    head: Identity | None = None
    directory: str = ""  # of head.json
    temp_dir: str = ""

    def environment(self) -> dict[str, str]:
        """Ray's own variables for a process that joins. Nothing of the user's home or environment is consulted."""
        return ray_environment(self.token_file, loopback=self.address.startswith(f"{LOOPBACK}:"))

    def check_answers(self) -> None:
        """Raises UnavailableError when nothing listens at the address, before Ray's client tries for a minute."""
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), PROBE_TIMEOUT_S).close()
        except (OSError, ValueError):
            remedy = "start it, or correct the address" if self.head is None else "start the service again"
            raise UnavailableError(f"no Ray cluster answers at {self.address}", remedy) from None


def ray_environment(token_file: str, *, loopback: bool) -> dict[str, str]:
    """Explicit at both ends, because Ray turns authentication on or off by what it finds in the user's home."""
    env = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token" if token_file else "disabled",
        "RAY_NUM_REDIS_GET_RETRIES": "3",  # a second each, also after a refusal
    }
    if token_file:
        env["RAY_AUTH_TOKEN_PATH"] = token_file
    if loopback:
        env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # else Ray's client replaces 127.0.0.1 by an outer address
    return env


def start_head(home: Path, cell: Cell) -> RayHandle:
    """Run a head on this machine that stands for all nodes of the cell, or adopt the one that already runs.

    It is a session of its own, listens on loopback only, and stays until `stop_head`. Raises UnavailableError when Ray
    is missing or does not start, or when a head runs under a token that is not ours.
    """
    require_ray()
    directory = home.resolve() / "ray" / cell.name
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(directory / "head.lock"):
        if (running := _running(directory)) is not None:
            return running
        return _start(home, cell, directory)


def find_head(home: Path, cell: str) -> RayHandle | None:
    """The head that was started for the cell, by whichever process, or None."""
    return _recorded(home.resolve() / "ray" / cell)


def attach(address: str, *, home: Path, cell: str, token_file: Path | None = None, namespace: str = "") -> RayHandle:
    """Use a cluster that others keep; its raylets offer `node_<name>` and `acc_<accelerator>`.

    `namespace` is by default of this home and cell; name it where schedulers with other homes take over from each
    other. Raises UnavailableError when Ray is missing, the address does not answer, or the token cannot be read.
    """
    require_ray()
    if token_file is not None and not os.access(token_file, os.R_OK):
        raise UnavailableError(f"the token of Ray in {token_file} cannot be read", "name a file that holds it")
    handle = RayHandle(
        address=address,
        namespace=namespace or namespace_of(home, cell),
        token_file=str(token_file.resolve()) if token_file is not None else "",
    )
    handle.check_answers()
    return handle


def stop_head(handle: RayHandle) -> int:
    """Kill every process of the head that we started, and with its actors all supervisors and ranks.

    Returns how many processes of the head there were; 0 when it had gone or was never ours. Its files are removed.
    """
    if handle.head is None:
        return 0
    directory = Path(handle.directory)
    with locked(directory / "head.lock"):
        killed = kill_session(handle.head)
        shutil.rmtree(handle.temp_dir, ignore_errors=True)
        if _recorded(directory) == handle:
            (directory / "head.json").unlink()
            (directory / "token").unlink(missing_ok=True)
    return killed


def refreshed(handle: RayHandle) -> RayHandle:
    """The same cell's head as it is on record now."""
    recorded = _recorded(Path(handle.directory)) if handle.head is not None else None
    return handle if recorded is None else msgspec.structs.replace(recorded, namespace=handle.namespace)


def require_ray() -> None:
    if importlib.util.find_spec("ray") is None:
        raise UnavailableError("Ray is not installed", "pip install 'dualtrack[run]', or choose the executor local")


def _recorded(directory: Path) -> RayHandle | None:
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        return msgspec.json.decode((directory / "head.json").read_bytes(), type=RayHandle)
    return None


def _running(directory: Path) -> RayHandle | None:
    """The head on record, if it answers; what is left of one that does not is reaped."""
    handle = _recorded(directory)
    if handle is None or handle.head is None:
        return None
    try:
        handle.check_answers()
    except UnavailableError:
        kill_session(handle.head)
        shutil.rmtree(handle.temp_dir, ignore_errors=True)
        return None
    if _digest(Path(handle.token_file)) != handle.token_digest:
        raise UnavailableError(
            f"Ray already runs at {handle.address} with a token other than the one in {handle.token_file}",
            "stop it with 'dualtrack down'",
        )
    return handle


def _digest(token_file: Path) -> str:
    with contextlib.suppress(OSError):
        return hashlib.sha256(token_file.read_bytes()).hexdigest()
    return ""


def _start(home: Path, cell: Cell, directory: Path) -> RayHandle:
    token_file = directory / "token"
    write_atomically(token_file, secrets.token_hex(32).encode())
    token_file.chmod(0o600)
    folder = tempfile.gettempdir()
    temp_dir = tempfile.mkdtemp(prefix="dtr-", dir=folder if len(folder) <= LONGEST_FOLDER else "/tmp")  # noqa: S108 - a short path is the point
    head = _run_ray_start(cell, directory, token_file, temp_dir)
    try:
        address = (Path(temp_dir) / "ray_current_cluster").read_text().strip()
    except OSError:
        kill_session(head)
        shutil.rmtree(temp_dir, ignore_errors=True)
        raise UnavailableError(f"Ray did not start: {_last_line(directory / 'head.log')}") from None
    handle = RayHandle(
        address=address,
        namespace=namespace_of(home, cell.name),
        token_file=str(token_file),
        token_digest=_digest(token_file),
        head=head,
        directory=str(directory),
        temp_dir=temp_dir,
    )
    write_atomically(directory / "head.json", msgspec.json.encode(handle))
    return handle


def _run_ray_start(cell: Cell, directory: Path, token_file: Path, temp_dir: str) -> Identity:
    """Run `ray start`, which ends when the head is up; every process of the head stays in its session."""
    env = {
        **base_environment(os.environ),
        **ray_environment(str(token_file), loopback=True),
        "RAY_memory_monitor_refresh_ms": "0",  # it would kill supervisors, which are small, for ranks, which are not
    }
    with (directory / "head.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", *_arguments(cell, temp_dir)],
            env=env,
            cwd=temp_dir,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        head = identify(process.pid)
        try:
            process.wait(START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            kill_session(head)
            process.wait()
    return head


def _arguments(cell: Cell, temp_dir: str) -> list[str]:
    nodes = {
        f"{pool.name}-{index}": (pool.accelerator, pool.devices_per_node)
        for pool in cell.pools
        for index in range(pool.nodes)
    }
    arguments: Mapping[str, str] = {
        "--node-ip-address": LOOPBACK,
        "--port": "0",
        "--num-cpus": str(WORKERS),
        "--num-gpus": "0",
        "--resources": msgspec.json.encode(node_resources(nodes)).decode(),
        "--object-store-memory": str(OBJECT_STORE_BYTES),
        "--include-dashboard": "false",
        "--include-log-monitor": "false",
        "--temp-dir": temp_dir,
        "--log-color": "false",
    }
    client = ["--ray-client-server-port", str(free_ports(1, LOOPBACK)[0])] if importlib.util.find_spec("grpc") else []
    flat = [word for pair in arguments.items() for word in pair]
    return ["start", "--head", "--disable-usage-stats", "--no-monitor", *flat, *client]


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"
