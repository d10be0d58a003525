"""What passes between the executor and its gateway: calls and replies as MessagePack, each with its length in front."""

import struct
from typing import IO

import msgspec
from msgspec import Struct

import scheduler.errors
from backends.executors.ray.request import RayRequest
from scheduler.errors import DualtrackError, ExecutorError
from scheduler.model.commands import Release, Stop

__all__ = [
    "Call",
    "failure",
    "GatewaySettings",
    "List",
    "Logs",
    "raised",
    "read_frame",
    "Reply",
    "Reports",
    "Send",
    "SETTINGS",
    "write_frame",
]

_LENGTH = struct.Struct("!I")
MAX_FRAME = 256 * 1024 * 1024
SETTINGS = "DUALTRACK_RAY_GATEWAY"


class GatewaySettings(Struct, frozen=True):
    """Handed over in the environment, as JSON; the token is named by Ray's own variable."""

    address: str
    namespace: str
    mirror: str
    node_root: str
    room_timeout_s: float


class Send(Struct, frozen=True, tag="send"):
    request: RayRequest


class List(Struct, frozen=True, tag="list"):
    pass


class Reports(Struct, frozen=True, tag="reports"):
    seen: tuple[tuple[str, int, int], ...]  # job id, attempt, number
    wait_s: float


class Logs(Struct, frozen=True, tag="logs"):
    job_id: str
    attempt: int
    rank: int | None
    offset: int


class Call(Struct, frozen=True):
    number: int
    body: Send | Stop | Release | List | Reports | Logs


class Reply(Struct, frozen=True):
    """`error` names a class of scheduler.errors; empty: `result` holds the answer, encoded as its own message.

    Number 0 is the greeting: the gateway has joined the cluster, or says why not.
    """

    number: int
    result: bytes = b""
    error: str = ""
    problem: str = ""
    remedy: str = ""


def failure(number: int, error: DualtrackError) -> Reply:
    return Reply(number, error=type(error).__name__, problem=error.problem, remedy=error.remedy)


def raised(reply: Reply) -> DualtrackError:
    """The error that a reply carries; what only the gateway knows becomes an ExecutorError."""
    kind = getattr(scheduler.errors, reply.error, ExecutorError)
    error: DualtrackError = kind(reply.problem, reply.remedy)
    return error


def write_frame(stream: IO[bytes], message: Call | Reply) -> None:
    """The caller sees to it that one thread writes at a time."""
    body = msgspec.msgpack.encode(message)
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """The next message, or None when the other side is gone."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME:
        return None
    body = stream.read(length)
    return body if len(body) == length else None
