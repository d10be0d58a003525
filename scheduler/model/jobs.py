"""What a user submits: jobs, their roles and the options that each role could take."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field

from scheduler.model.accelerators import WorkClass
from scheduler.model.precisions import Engine, Numerics
from scheduler.model.tenants import JobClass
from scheduler.model.units import WHOLE_DEVICE

__all__ = [
    "Array",
    "Checkpoint",
    "Dependency",
    "DependsOn",
    "Job",
    "JobType",
    "Level",
    "Load",
    "Measured",
    "ModelShape",
    "Mount",
    "Moves",
    "Objectives",
    "Option",
    "PerDevice",
    "Prefer",
    "RanksPer",
    "Resources",
    "Retries",
    "RetryOn",
    "Role",
    "Service",
    "Topology",
    "Work",
    "WorkUnit",
]

MAX_ROLES = 4
MAIN_ROLE = "main"


class JobType(StrEnum):
    TRAINING = "training"
    INFERENCE = "inference"
    BATCH = "batch"
    INTERACTIVE = "interactive"


class Prefer(StrEnum):
    """How a job ranks its own options."""

    BALANCED = "balanced"  # by rate, shadow price and quota together
    LISTED = "listed"
    SOONEST = "soonest"
    FASTEST = "fastest"
    CHEAPEST = "cheapest"


class Moves(StrEnum):
    """Where a job with progress may continue. `any` needs a portable checkpoint."""

    NEVER = "never"
    SAME_ACCELERATOR = "same_accelerator"
    SAME_FAMILY = "same_family"
    ANY = "any"


class Level(StrEnum):
    NODE = "node"
    DOMAIN = "domain"
    CELL = "cell"


class RetryOn(StrEnum):
    INTERRUPTED = "interrupted"
    HUNG = "hung"
    FAILED = "failed"
    OUT_OF_MEMORY = "out_of_memory"


class DependsOn(StrEnum):
    SUCCESS = "success"
    FAILURE = "failure"
    END = "end"


class WorkUnit(StrEnum):
    STEPS = "steps"
    SAMPLES = "samples"
    TOKENS = "tokens"


class Option(Struct, frozen=True, kw_only=True, gc=False):
    """One accelerator with the device counts that the job can use, ascending."""

    accelerator: str
    counts: tuple[int, ...]
    after_wait_us: int = 0
    image: str = ""  # overrides the role's
    thousandths: int = WHOLE_DEVICE  # of one device of a shareable pool; below 1000 only with a count of 1


class PerDevice(Struct, frozen=True, kw_only=True, gc=False):
    cpu_milli: int
    memory_mib: int


class Topology(Struct, frozen=True, kw_only=True, gc=False):
    """All devices of the role within one node or domain: as a wish, or else not at all."""

    prefer: Level = Level.CELL
    require: Level = Level.CELL


class RanksPer(StrEnum):
    """How many processes a role runs: one for each die, or one for each node that drives all devices there."""

    DIE = "die"
    NODE = "node"


class Resources(Struct, frozen=True, kw_only=True, gc=False):
    """`options` may be empty when the workload tells enough for the scheduler to propose some."""

    options: tuple[Option, ...] = ()
    ranks_per: RanksPer = RanksPer.DIE
    prefer: Prefer = Prefer.BALANCED
    elastic: bool = False
    min_efficiency: float = 0.0
    per_device: PerDevice | None = None  # None: the node's share
    topology: Topology = Topology()


class ModelShape(Struct, frozen=True, kw_only=True, gc=False):
    """A transformer in the figures that its speed and memory follow from; zero means not stated. `name`: of one in the
    catalog, whose figures these then are."""

    params: float
    active_params: float = 0.0
    layers: int = 0
    hidden: int = 0
    seq_len: int = 0
    name: str = ""


class Measured(Struct, frozen=True, kw_only=True, gc=False):
    """A speed that the user has seen: `rate` work units per second on `count` devices."""

    accelerator: str
    count: int
    rate: float


class Work(Struct, frozen=True, kw_only=True, gc=False):
    """What there is to compute: `amount` in `unit`s; None: not stated, or endless (a service)."""

    work_class: WorkClass = WorkClass.DENSE_TRAINING
    unit: WorkUnit = WorkUnit.STEPS
    amount: float | None = None
    model: ModelShape | None = None
    global_batch: int = 0
    measured: tuple[Measured, ...] = ()
    numerics: Numerics = Numerics()
    engine: Engine = Engine()


class Role(Struct, frozen=True, kw_only=True, gc=False):
    """A part of a job that starts with all the others, such as a learner and its rollouts."""

    name: str = MAIN_ROLE
    entrypoint: tuple[str, ...]
    image: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = Resources()


class Mount(Struct, frozen=True, kw_only=True, gc=False):
    name: str
    path: str
    mode: str = "ro"


class Checkpoint(Struct, frozen=True, kw_only=True, gc=False):
    path: str
    every_us: int = 0
    save_us: int = 0
    restart_us: int = 0
    portable: bool = False  # may be resumed on another device type and world size


class Retries(Struct, frozen=True, kw_only=True, gc=False):
    limit: int = 3
    on: tuple[RetryOn, ...] = (RetryOn.INTERRUPTED, RetryOn.HUNG)
    backoff_us: int = 1_000_000  # before the first retry; doubles each time, at most `backoff_max_us`
    backoff_max_us: int = 600_000_000


class Dependency(Struct, frozen=True, kw_only=True, gc=False):
    job: str
    on: DependsOn = DependsOn.SUCCESS


class Array(Struct, frozen=True, kw_only=True, gc=False):
    """One job per index from `first` to `last` (included), at most `max_running` at once."""

    first: int
    last: int
    max_running: int = 0  # 0: no limit


class Objectives(Struct, frozen=True, kw_only=True, gc=False):
    ttft_ms_p99: float | None = None
    tpot_ms_p99: float | None = None


class Load(Struct, frozen=True, kw_only=True, gc=False):
    requests_per_s: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    trace: str = ""


class Service(Struct, frozen=True, kw_only=True, gc=False):
    """An inference job serves instead of finishing. Each replica takes the option's count of devices."""

    model: str = ""
    objectives: Objectives = Objectives()
    load: Load = Load()
    min_replicas: int = 1
    max_replicas: int = 1


class Job(Struct, frozen=True, kw_only=True, gc=False):
    """One submission, decoded and complete. The number and the random id are given when it is accepted."""

    name: str
    type: JobType
    roles: tuple[Role, ...]
    tenant: str = ""
    job_class: JobClass = JobClass.STANDARD
    priority: int = 500
    workdir: str = ""
    secrets: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    work: Work = Work()
    service: Service | None = None
    moves: Moves = Moves.SAME_ACCELERATOR
    checkpoint: Checkpoint | None = None
    time_limit_us: int | None = None
    retries: Retries = Retries()
    no_progress_timeout_us: int | None = None
    after: tuple[Dependency, ...] = ()
    deadline_us: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    array: Array | None = None
