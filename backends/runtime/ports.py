"""Free ports for masters and services, chosen when a request is sent."""

import secrets
import socket
from collections.abc import Mapping, Sequence

import msgspec

from backends.runtime.request import TaskRequest
from scheduler.errors import UnavailableError

__all__ = ["choose_ports", "free_ports", "with_addresses"]

FIRST, LAST = 20_000, 31_999  # below the kernel's ephemeral range, whose ports come and go by themselves
TRIES = 2_000


def free_ports(count: int, host: str = "") -> tuple[int, ...]:
    """`count` different ports on which nothing listens now. Raises UnavailableError when there are not as many."""
    found: list[int] = []
    for _ in range(TRIES):
        if len(found) == count:
            break
        port = FIRST + secrets.randbelow(LAST - FIRST + 1)
        if port not in found and _is_free(host, port):
            found.append(port)
    if len(found) < count:
        raise UnavailableError(f"found {len(found)} free ports of {count} between {FIRST} and {LAST}")
    return tuple(found)


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def choose_ports(requests: Sequence[TaskRequest]) -> tuple[TaskRequest, ...]:
    """The requests of one attempt with every port filled in, for tasks that all run on this machine."""
    ports = free_ports(3 * len(requests))
    return with_addresses(requests, [ports[3 * i : 3 * i + 3] for i in range(len(requests))])


def with_addresses(requests: Sequence[TaskRequest], ports: Sequence[tuple[int, ...]]) -> tuple[TaskRequest, ...]:
    """Fill in master, service and role addresses. `ports` are three free ones of each task's own host; pure.

    The master of a world is its first rank's task, and a role is reached at its first task of the lowest world.
    """
    masters = {r.task.world: (r.host, ports[i][0]) for i, r in enumerate(requests) if r.task.first_rank == 0}
    roles: dict[str, str] = {}
    for i, request in sorted(enumerate(requests), key=lambda e: (e[1].task.world, e[1].task.first_rank)):
        roles.setdefault(request.task.role, f"{request.host}:{ports[i][2]}")
    return tuple(
        msgspec.structs.replace(
            request,
            master_addr=masters[request.task.world][0],
            master_port=masters[request.task.world][1],
            service_port=_service_port(requests, ports, request),
            role_addresses=roles if len(roles) > 1 else {},
        )
        for request in requests
    )


def _service_port(requests: Sequence[TaskRequest], ports: Sequence[tuple[int, ...]], request: TaskRequest) -> int:
    """The port of the replica, which its first rank serves and its other tasks may know."""
    owners: Mapping[int, int] = {r.task.world: ports[i][1] for i, r in enumerate(requests) if r.task.first_rank == 0}
    return owners[request.task.world] if request.start.service else 0
