"""Where the service keeps its state, and how a command finds the service."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from scheduler.errors import ConfigError, UnavailableError

__all__ = [
    "JOURNAL_FILE",
    "Endpoint",
    "ServiceFile",
    "find_endpoint",
    "forget_service",
    "home_dir",
    "read_service",
    "write_private",
    "write_service",
]

JOURNAL_FILE = "journal.db"
SERVICE_FILE = "service.json"
TOKEN_FILE = "admin.token"  # noqa: S105  the name of a file, not a secret


class ServiceFile(Struct, frozen=True, kw_only=True):
    """What a running service leaves for commands: how to reach it and which process it is."""

    url: str
    token_path: str
    pid: int
    version: str
    mode: str
    cluster: str
    started_us: int


class Endpoint(Struct, frozen=True):
    """Where to ask and with which token (may be empty)."""

    url: str
    token: str


def home_dir(home: str | None = None, env: Mapping[str, str] = os.environ) -> Path:
    """The state directory: the argument, else $DUALTRACK_HOME, else the XDG state directory."""
    chosen = home or env.get("DUALTRACK_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    base = env.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(base) / "dualtrack"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def write_service(home: Path, service: ServiceFile) -> None:
    write_private(home / SERVICE_FILE, msgspec.json.encode(service).decode())


def read_service(home: Path) -> ServiceFile | None:
    """What the service of this home wrote, or None. It may have died since."""
    try:
        return msgspec.json.decode((home / SERVICE_FILE).read_bytes(), type=ServiceFile)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(
            f"cannot read it: {error}", "remove it and start the service", file=str(home / SERVICE_FILE)
        ) from error


def forget_service(home: Path, pid: int) -> None:
    """Remove the file if it is still that of process `pid`."""
    service = read_service(home)
    if service is not None and service.pid == pid:
        (home / SERVICE_FILE).unlink(missing_ok=True)


def find_endpoint(server: str | None = None, home: str | None = None, env: Mapping[str, str] = os.environ) -> Endpoint:
    """`server`, else $DUALTRACK_SERVER, else the file that `up` left; the token from $DUALTRACK_TOKEN,
    $DUALTRACK_TOKEN_FILE or the home. Raises UnavailableError where nothing tells."""
    place = home_dir(home, env)
    service = read_service(place)
    url = server or env.get("DUALTRACK_SERVER") or (service.url if service else "")
    if not url:
        raise UnavailableError("no service is running here", "start one with `dualtrack up`, or name one with --server")
    if not url.startswith(("http://", "https://")):
        url = f"http://{url}"
    return Endpoint(url.rstrip("/"), _token(place, service, url, env))


def _token(home: Path, service: ServiceFile | None, url: str, env: Mapping[str, str]) -> str:
    if env.get("DUALTRACK_TOKEN"):
        return env["DUALTRACK_TOKEN"]
    named = env.get("DUALTRACK_TOKEN_FILE")
    # The token of this home goes to this home's service only, never to a server that somebody else named.
    if not named and service is not None and service.url.rstrip("/") == url.rstrip("/"):
        named = service.token_path
    if not named:
        return ""
    try:
        return Path(named).read_text().strip()
    except OSError as error:
        raise ConfigError(
            f"cannot read the token: {error.strerror}", "name a file that you may read", file=named
        ) from error
