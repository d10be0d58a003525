"""Random small worlds: a fleet, tenants, jobs and misfortunes, all drawn from one seed."""

from random import Random

from msgspec import Struct
from msgspec.structs import replace

from scheduler.model.accelerators import Accelerator, Catalog, Figure, Track, WorkClass
from scheduler.model.cluster import Cell, Cluster, Pool
from scheduler.model.events import Configured
from scheduler.model.jobs import (
    Array,
    Checkpoint,
    Dependency,
    DependsOn,
    Job,
    JobType,
    Level,
    Measured,
    Moves,
    Option,
    PerDevice,
    Resources,
    Retries,
    RetryOn,
    Role,
    Service,
    Topology,
    Work,
)
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.model.tenants import JobClass, Quota, Tenant, Tenants, UserLimits
from scheduler.model.units import US_PER_S
from scheduler.model.workload import Arrival, Truth
from scheduler.placement import STRATEGIES
from scheduler.simulator.execution import Overheads
from scheduler.simulator.faults import Faults, draw

MINUTE = 60 * US_PER_S
MAX_NODES = 16
MAX_JOBS = 30
TENANTS = ("blue", "blue/one", "blue/two", "red")


def chip(name: str, family: str, track: Track, rate: float, units: int, grants: tuple[int, ...] = ()) -> Accelerator:
    figure = Figure(rate, rate * 0.8, rate * 1.2)
    return Accelerator(
        name=name,
        family=family,
        vendor="vendor",
        adapter="cpu",
        track=track,
        compute_units=units,
        grants=grants,
        hbm_gib=Figure(96.0, 96.0, 96.0),
        rates=dict.fromkeys(WorkClass, figure),
    )


CATALOG = Catalog(
    (
        chip("h20-96", "h20", Track.IMPORTED, 1.0, 1000),
        chip("h200", "h200", Track.IMPORTED, 5.0, 6000),
        chip("ascend-910c", "ascend-910c", Track.DOMESTIC, 3.0, 4000, grants=(1, 2, 4, 8)),
    )
)


class Schedule(Struct, frozen=True, kw_only=True):
    configured: Configured
    arrivals: tuple[Arrival, ...]
    overheads: Overheads
    faults: Faults


def schedule(seed: int) -> Schedule:
    """The world of a seed: at most 16 nodes and 30 jobs."""
    random = Random(f"schedule {seed}")
    cluster = _cluster(random)
    configured = Configured(CATALOG, cluster, _tenants(random, cluster), Rules(), _policy(random))
    arrivals = _arrivals(random, cluster)
    finer = Random(f"placement {seed}")  # of its own, so that the schedules of before stay what they were
    if finer.random() < 0.5:
        configured, arrivals = _placed_finely(finer, configured, arrivals)
    return Schedule(
        configured=configured,
        arrivals=arrivals,
        overheads=Overheads(
            start_us=random.randrange(30 * US_PER_S),
            stop_us=random.randrange(3 * US_PER_S),
            restart_us=random.randrange(30 * US_PER_S),
            report_us=random.choice((0, MINUTE, 10 * MINUTE)),
        ),
        faults=draw(seed),
    )


def _cluster(random: Random) -> Cluster:
    left = random.randint(2, MAX_NODES)
    cells = []
    for c in range(random.randint(1, 3)):
        pools = []
        for p, kind in enumerate(random.sample(CATALOG.names, random.randint(1, 2))):
            nodes = min(left, random.randint(1, 6))
            left -= nodes
            devices = random.choice((1, 4, 8, 8))
            if nodes:
                pools.append(
                    Pool(
                        name=f"pool-{c}-{p}",
                        accelerator=kind,
                        nodes=nodes,
                        devices_per_node=devices,
                        cpu_milli=devices * 12_000,
                        memory_mib=devices * 100_000,
                        domain_nodes=random.choice((1, 2)),
                    )
                )
        if pools:
            cells.append(Cell(name=f"cell-{c}", executor="fake", pools=tuple(pools)))
    return Cluster(name="small", cells=tuple(cells))


def _placed_finely(
    random: Random, configured: Configured, arrivals: tuple[Arrival, ...]
) -> tuple[Configured, tuple[Arrival, ...]]:
    """Some pools share their devices or keep spares, some jobs of one device take a share, by any strategy."""

    def pool(old: Pool) -> Pool:
        shareable = random.random() < 0.5
        spare = 0 if shareable or old.domain_nodes == 1 else random.choice((0, 1))
        return replace(old, shareable=shareable, spare_nodes=spare)

    def resources(old: Resources) -> Resources:
        share = random.choice((150, 300, 500, 1000))
        return replace(
            old, options=tuple(replace(o, thousandths=share if o.counts == (1,) else 1000) for o in old.options)
        )

    def job(old: Job) -> Job:
        return replace(old, roles=tuple(replace(role, resources=resources(role.resources)) for role in old.roles))

    cells = tuple(replace(cell, pools=tuple(map(pool, cell.pools))) for cell in configured.cluster.cells)
    placed = replace(
        configured,
        cluster=replace(configured.cluster, cells=cells),
        policy=replace(configured.policy, placement=random.choice(sorted(STRATEGIES))),
    )
    return placed, tuple(replace(arrival, job=job(arrival.job)) for arrival in arrivals)


def _tenants(random: Random, cluster: Cluster) -> Tenants:
    total = cluster.device_count()
    tenants = []
    for name in TENANTS:
        quotas = tuple(
            Quota(resource=kind, nominal=random.randint(total // 4, total), ceiling=random.choice((None, total)))
            for kind in CATALOG.names
            if random.random() < 0.4
        )
        limits = UserLimits(max_devices=random.choice((None, None, max(8, total // 2))))
        tenants.append(Tenant(name=name, quotas=quotas, per_user=limits))
    return Tenants(tenants=tuple(tenants))


def _policy(random: Random) -> Policy:
    return Policy(
        name=random.choice(("priority", "priority", "fifo-best-type")),
        preemption=random.random() < 0.8,
        min_run_us=random.choice((0, MINUTE, 10 * MINUTE)),
        notice_min_us=random.choice((US_PER_S, 10 * US_PER_S)),
        notice_max_us=MINUTE,
        start_timeout_us=random.choice((2 * MINUTE, 10 * MINUTE)),
        stop_grace_us=30 * US_PER_S,
        max_preemptions_per_cycle=random.choice((1, 4, 32)),
    )


def _arrivals(random: Random, cluster: Cluster) -> tuple[Arrival, ...]:
    arrivals, jobs = [], random.randint(8, MAX_JOBS)
    now_us, entered = 0, 0
    while entered < jobs:
        now_us += int(random.expovariate(1 / random.choice((10, 300))) * US_PER_S)
        before = arrivals[-1].job if arrivals else None
        job, truth = _job(random, cluster, entered, min(jobs - entered, 6), before)
        entered += job.array.last - job.array.first + 1 if job.array else 1
        arrivals.append(Arrival(at_us=now_us, job=job, user=random.choice(("ann", "bob")), truth=truth))
    return tuple(arrivals)


def _job(random: Random, cluster: Cluster, index: int, room: int, before: Job | None) -> tuple[Job, Truth]:
    is_service = random.random() < 0.1
    measured = Measured(accelerator="h20-96", count=1, rate=1.0)
    declares = not is_service and random.random() < 0.85
    amount = float(random.randint(60, 3 * 3600)) * random.choice((1, 4))
    checkpoint = Checkpoint(
        path="checkpoint",
        every_us=random.choice((0, MINUTE, 10 * MINUTE)),
        save_us=random.randrange(20 * US_PER_S),
        restart_us=random.randrange(MINUTE),
        portable=random.random() < 0.5,
    )
    moves = random.choice((Moves.NEVER, Moves.SAME_ACCELERATOR, Moves.SAME_FAMILY, Moves.ANY))
    portable = checkpoint.portable or moves is not Moves.ANY
    follows = before is not None and random.random() < 0.15
    tenant = before.tenant if follows else random.choice(TENANTS)
    job = Job(
        name=f"job-{index}",
        type=JobType.INFERENCE if is_service else random.choice((JobType.TRAINING, JobType.BATCH)),
        roles=_roles(random, cluster, is_service),
        tenant=tenant,
        job_class=random.choice(tuple(JobClass)),
        priority=random.randint(0, 1000),
        work=Work(amount=amount if declares else None, measured=(measured,)),
        service=Service(min_replicas=1, max_replicas=random.randint(1, 3)) if is_service else None,
        moves=moves if portable else Moves.SAME_ACCELERATOR,
        checkpoint=checkpoint if random.random() < 0.8 else None,
        time_limit_us=random.choice((None, None, 6 * 3600 * US_PER_S)),
        retries=Retries(
            limit=random.randint(0, 6),
            on=random.choice(((RetryOn.INTERRUPTED, RetryOn.HUNG), tuple(RetryOn), ())),
            backoff_us=random.randrange(1, MINUTE),
            backoff_max_us=10 * MINUTE,
        ),
        no_progress_timeout_us=20 * MINUTE,
        after=(Dependency(job=before.name, on=random.choice(tuple(DependsOn))),) if follows else (),
        array=Array(first=0, last=random.randint(0, room - 1), max_running=random.randint(0, 2))
        if not is_service and random.random() < 0.1
        else None,
    )
    return job, _truth(random, declares)


def _truth(random: Random, declares: bool) -> Truth:
    return Truth(
        rate_factor={name: random.uniform(0.5, 1.5) for name in CATALOG.names if random.random() < 0.5},
        fails_at=random.random() if random.random() < 0.1 else None,
        run_us=None if declares else random.randrange(MINUTE, 180 * MINUTE),
    )


def _roles(random: Random, cluster: Cluster, is_service: bool) -> tuple[Role, ...]:
    present = tuple(dict.fromkeys(pool.accelerator for pool in cluster.pools))
    several = not is_service and random.random() < 0.1
    return tuple(
        Role(name=name, entrypoint=("train",), resources=_resources(random, present))
        for name in (("learner", "rollout") if several else ("main",))
    )


def _resources(random: Random, present: tuple[str, ...]) -> Resources:
    kinds = random.sample(present, random.randint(1, len(present)))
    if random.random() < 0.1:
        kinds.append(random.choice([name for name in CATALOG.names if name not in kinds] or kinds[:1]))
    options = []
    for kind in dict.fromkeys(kinds):
        counts = sorted(random.sample((1, 1, 2, 2, 4, 4, 8, 16), random.randint(1, 3)))
        after_us = random.choice((0, 0, 30 * MINUTE))
        options.append(Option(accelerator=kind, counts=tuple(dict.fromkeys(counts)), after_wait_us=after_us))
    return Resources(
        options=tuple(options),
        elastic=random.random() < 0.3,
        per_device=PerDevice(cpu_milli=random.choice((1000, 12_000)), memory_mib=random.choice((1000, 100_000)))
        if random.random() < 0.3
        else None,
        topology=Topology(require=random.choice((Level.CELL, Level.CELL, Level.DOMAIN, Level.NODE))),
    )
