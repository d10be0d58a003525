"""Jobs of every shape that a job file can say, for properties."""

from hypothesis import strategies as st

from scheduler.config.limits import MAX_DURATION_US
from scheduler.model.accelerators import WorkClass
from scheduler.model.jobs import (
    MAIN_ROLE,
    Array,
    Checkpoint,
    Dependency,
    DependsOn,
    Job,
    JobType,
    Level,
    Load,
    Measured,
    ModelShape,
    Mount,
    Moves,
    Objectives,
    Option,
    PerDevice,
    Prefer,
    RanksPer,
    Resources,
    Retries,
    RetryOn,
    Role,
    Service,
    Topology,
    Work,
    WorkUnit,
)
from scheduler.model.precisions import SERVED_IN, TRAINED_IN, Engine, Numerics
from scheduler.model.tenants import JobClass

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=0x7E), max_size=30)
WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=0x7E), min_size=1, max_size=30)
TIMES = st.integers(0, MAX_DURATION_US)
POSITIVE = st.floats(1e-9, 1e15, allow_nan=False)
COUNTS = st.sets(st.integers(1, 1_000_000), min_size=1, max_size=4).map(lambda found: tuple(sorted(found)))
LABELS = st.dictionaries(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,9}", fullmatch=True), TEXTS, max_size=3)
ENV = st.dictionaries(st.from_regex(r"MY_[A-Z0-9_]{0,9}", fullmatch=True), TEXTS, max_size=3)
IMAGES = st.from_regex(r"([a-z0-9][a-z0-9./:@-]{0,20})?", fullmatch=True)

several = st.builds(Option, accelerator=NAMES, counts=COUNTS, after_wait_us=TIMES, image=IMAGES)
shares = st.builds(Option, accelerator=NAMES, counts=st.just((1,)), thousandths=st.integers(1, 1000), image=IMAGES)
options = several | shares


@st.composite
def resources(draw: st.DrawFn) -> Resources:
    chosen = draw(st.lists(options, min_size=1, max_size=3, unique_by=lambda option: option.accelerator))
    several = any(len(option.counts) > 1 for option in chosen)
    return Resources(
        options=tuple(chosen),
        ranks_per=draw(st.sampled_from(RanksPer)),
        prefer=draw(st.sampled_from(Prefer)),
        elastic=several and draw(st.booleans()),
        min_efficiency=draw(st.floats(0, 1)),
        per_device=draw(
            st.none() | st.builds(PerDevice, cpu_milli=st.integers(0, 10**6), memory_mib=st.integers(0, 10**7))
        ),
        topology=Topology(prefer=draw(st.sampled_from(Level)), require=draw(st.sampled_from(Level))),
    )


models = st.builds(
    ModelShape,
    params=POSITIVE,
    layers=st.integers(0, 1000),
    hidden=st.integers(0, 10**6),
    seq_len=st.integers(0, 10**7),
)
measured = st.lists(
    st.builds(Measured, accelerator=NAMES, count=st.integers(1, 1000), rate=POSITIVE),
    max_size=2,
    unique_by=lambda row: (row.accelerator, row.count),
).map(tuple)

trained = st.builds(Numerics, precision=st.sampled_from(("", *TRAINED_IN)))
formats = st.sampled_from(("", *SERVED_IN))
kept = st.builds(Numerics, precision=formats, experts=formats, cache=formats)
engines = st.just(Engine()) | st.builds(
    Engine,
    name=NAMES,
    version=st.sampled_from(("", "0.12.0", "0.10")),
    runtime=st.sampled_from(("", "cuda 12.8", "cann 8.2")),
)


@st.composite
def works(draw: st.DrawFn, endless: bool, trains: bool) -> Work:
    return Work(
        work_class=draw(st.sampled_from(WorkClass)),
        unit=draw(st.sampled_from(WorkUnit)),
        amount=None if endless else draw(st.none() | POSITIVE),
        model=draw(st.none() | models),
        global_batch=draw(st.integers(0, 10**6)),
        measured=draw(measured),
        numerics=draw(trained if trains else kept),
        engine=draw(engines),
    )


@st.composite
def services(draw: st.DrawFn) -> Service:
    low = draw(st.integers(0, 100))
    aims = st.none() | st.floats(0.001, 1e6)
    return Service(
        model=draw(TEXTS),
        objectives=Objectives(ttft_ms_p99=draw(aims), tpot_ms_p99=draw(aims)),
        load=Load(
            requests_per_s=draw(st.floats(0, 1e6)),
            prompt_tokens=draw(st.integers(0, 10**6)),
            output_tokens=draw(st.integers(0, 10**6)),
            trace=draw(TEXTS),
        ),
        min_replicas=low,
        max_replicas=draw(st.integers(max(low, 1), 200)),
    )


@st.composite
def role_lists(draw: st.DrawFn) -> tuple[Role, ...]:
    several = draw(st.booleans())
    names = draw(st.lists(NAMES, min_size=2, max_size=4, unique=True)) if several else [MAIN_ROLE]
    return tuple(
        Role(
            name=name,
            entrypoint=(draw(WORDS), *draw(st.lists(TEXTS, max_size=3))),
            image=draw(IMAGES),
            env=draw(ENV),
            resources=draw(resources()),
        )
        for name in names
    )


@st.composite
def retry_rules(draw: st.DrawFn) -> Retries:
    first = draw(TIMES)
    return Retries(
        limit=draw(st.integers(0, 1000)),
        on=tuple(draw(st.lists(st.sampled_from(RetryOn), unique=True))),
        backoff_us=first,
        backoff_max_us=draw(st.integers(first, MAX_DURATION_US)),
    )


arrays = st.integers(0, 10**6).flatmap(
    lambda first: st.builds(
        Array, first=st.just(first), last=st.integers(first, first + 9999), max_running=st.integers(0, 10_000)
    )
)
mount_lists = st.lists(
    st.builds(Mount, name=NAMES, path=TEXTS.map(lambda text: "/" + text), mode=st.sampled_from(["ro", "rw"])),
    max_size=2,
    unique_by=lambda mount: mount.path,
).map(tuple)
dependencies = st.lists(
    st.builds(Dependency, job=NAMES, on=st.sampled_from(DependsOn)), max_size=2, unique_by=lambda entry: entry.job
).map(tuple)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """Any job that the decoder would let pass."""
    kind = draw(st.sampled_from(JobType))
    serving = kind is JobType.INFERENCE
    checkpoint = draw(
        st.none()
        | st.builds(Checkpoint, path=WORDS, every_us=TIMES, save_us=TIMES, restart_us=TIMES, portable=st.booleans())
    )
    moves = draw(st.sampled_from(Moves))
    if moves is Moves.ANY and not (checkpoint and checkpoint.portable):
        moves = Moves.NEVER
    limit = st.none() | st.integers(1, MAX_DURATION_US)
    return Job(
        name=draw(NAMES),
        type=kind,
        roles=draw(role_lists()),
        tenant=draw(st.lists(NAMES, max_size=3).map("/".join)),
        job_class=draw(st.sampled_from(JobClass)),
        priority=draw(st.integers(0, 1000)),
        workdir=draw(st.just("") | WORDS),
        secrets=tuple(draw(st.lists(NAMES, max_size=2, unique=True))),
        mounts=draw(mount_lists),
        work=draw(works(endless=serving, trains=kind is JobType.TRAINING)),
        service=draw(services()) if serving else None,
        moves=moves,
        checkpoint=checkpoint,
        time_limit_us=draw(limit),
        retries=draw(retry_rules()),
        no_progress_timeout_us=draw(limit),
        after=draw(dependencies),
        deadline_us=draw(st.none() | st.integers(0, 4 * 10**15)),
        labels=draw(LABELS),
        array=draw(st.none() | arrays),
    )
