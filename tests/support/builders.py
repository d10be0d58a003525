"""Short words for the values that tests are made of."""

from collections.abc import Iterable, Mapping

from scheduler.model.accelerators import Accelerator, Catalog, Figure, Track, WorkClass
from scheduler.model.cluster import Cell, Cluster, Pool
from scheduler.model.events import Configured
from scheduler.model.jobs import Job, JobType, Measured, Option, Resources, Role, Work
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.model.tenants import Quota, Tenant, Tenants
from scheduler.model.units import US_PER_S

S = US_PER_S


def figure(value: float, spread: float = 0.2) -> Figure:
    return Figure(value, value * (1 - spread), value * (1 + spread), source="a test")


def accelerator(
    name: str, rate: float = 1.0, *, family: str = "", hbm_gib: float = 96.0, **more: object
) -> Accelerator:
    """Equally good at everything: `rate` h20-96 per device in each work class."""
    values: dict = {
        "vendor": "nvidia",
        "adapter": "nvidia",
        "track": Track.IMPORTED,
        "compute_units": round(rate * 1000),
        "rates": dict.fromkeys(WorkClass, figure(rate)),
        **more,
    }
    return Accelerator(name=name, family=family or name, hbm_gib=figure(hbm_gib), **values)


H200 = accelerator("h200", 6.0, hbm_gib=141.0)
H20 = accelerator("h20-96", 1.0, family="h20")
H20_141 = accelerator("h20-141", 1.1, family="h20", hbm_gib=141.0)
A910C = accelerator(
    "ascend-910c",
    3.4,
    family="910c",
    hbm_gib=128.0,
    vendor="huawei",
    adapter="ascend",
    track=Track.DOMESTIC,
    dies=2,
    grants=(1, 2, 4, 8),
)
CATALOG = Catalog((H200, H20, H20_141, A910C))


def pool(accelerator_name: str, nodes: int, devices: int, **more: object) -> Pool:
    values: dict = {"cpu_milli": 64_000, "memory_mib": 512_000, **more}
    name = values.pop("name", accelerator_name)
    return Pool(name=name, accelerator=accelerator_name, nodes=nodes, devices_per_node=devices, **values)


def cluster(*cells: Iterable[Pool], **more: object) -> Cluster:
    """Cells called a, b, c ... of the given pools."""
    named = tuple(Cell(name="abcdefgh"[i], pools=tuple(pools)) for i, pools in enumerate(cells))
    return Cluster(name="test", cells=named, **more)


def tenants(**limits: Mapping[str, int]) -> Tenants:
    """`tenants(red={"h200": 4}, red__vision={})`: two underscores make a child."""
    return Tenants(
        tenants=tuple(
            Tenant(
                name=name.replace("__", "/"),
                quotas=tuple(Quota(resource=r.replace("__", ":"), nominal=n) for r, n in quota.items()),
            )
            for name, quota in limits.items()
        )
    )


QUICK = Policy(  # by class, priority and arrival: stories are told in that order
    name="priority",
    min_run_us=0,
    notice_min_us=S,
    notice_max_us=10 * S,
    start_timeout_us=60 * S,
    stop_grace_us=5 * S,
)


def configured(
    fleet: Cluster, tree: Tenants | None = None, policy: Policy = QUICK, catalog: Catalog = CATALOG
) -> Configured:
    return Configured(catalog, fleet, tree or tenants(red={}, blue={}), Rules(), policy)


def options(**counts: int | tuple[int, ...]) -> tuple[Option, ...]:
    """`options(h200=4, h20_96=(8, 16))`: underscores are hyphens."""
    return tuple(
        Option(accelerator=name.replace("_", "-"), counts=count if isinstance(count, tuple) else (count,))
        for name, count in counts.items()
    )


def job(name: str = "train", *wanted: Option, tenant: str = "red", elastic: bool = False, **more: object) -> Job:
    """A training job of 100 steps that one h20-96 does in 100 s; by default on one h200."""
    resources = Resources(options=wanted or options(h200=1), elastic=elastic)
    values: dict = {
        "type": JobType.TRAINING,
        "roles": (Role(entrypoint=("python", "train.py"), resources=resources),),
        "work": Work(amount=100.0, measured=(Measured(accelerator="h20-96", count=1, rate=1.0),)),
        **more,
    }
    return Job(name=name, tenant=tenant, **values)
