"""What we want done. A command carries (job, attempt, epoch) and is idempotent; a stale one is refused."""

from collections.abc import Mapping

from msgspec import Struct, field

__all__ = ["Command", "Release", "Start", "Stop", "Task"]


class Task(Struct, frozen=True, kw_only=True, gc=False):
    """The ranks of one role on one node. `devices` are the node's device indices, ascending.

    Ranks rendezvous in a *world*: all tasks with the same `world` number share one master address and port, and their
    ranks are numbered from 0 to `world_size` - 1. Each role is a world of its own, and so is each replica of a service.
    """

    node: str
    node_index: int
    role: str
    accelerator: str
    adapter: str
    emulated: bool
    devices: tuple[int, ...]
    dies: int = 1  # of one device
    world: int
    world_size: int
    first_rank: int
    local_ranks: int
    replica: int = 0
    entrypoint: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    cpu_milli: int = 0
    memory_mib: int = 0
    hbm_gib: float = 0.0  # of one device
    pace_s: float = 0.0  # emulated only: seconds that one work unit of the whole job takes; 0: unpaced


class Start(Struct, frozen=True, kw_only=True, tag="start", gc=False):
    """Start every task of the attempt, or none."""

    job: int
    attempt: int
    epoch: int
    job_id: str
    name: str
    tenant: str
    user: str
    cell: str
    tasks: tuple[Task, ...]
    workdir: str = ""
    secrets: tuple[str, ...] = ()
    checkpoint_path: str = ""
    checkpoint_every_us: int = 0
    work: float | None = None  # total, in the workload's unit
    service: bool = False  # the tasks are replicas that serve, each on a port of its own


class Stop(Struct, frozen=True, kw_only=True, tag="stop", gc=False):
    """Give the ranks notice now, kill what is left after `notice_us`. Zero kills at once."""

    job: int
    attempt: int
    epoch: int
    job_id: str
    cell: str
    notice_us: int
    cause: str


class Release(Struct, frozen=True, kw_only=True, tag="release", gc=False):
    """The end of the attempt is recorded: drop supervisors and placement groups; logs stay."""

    job: int
    attempt: int
    epoch: int
    job_id: str
    cell: str


Command = Start | Stop | Release
