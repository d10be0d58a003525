"""From an allocation to commands: which ranks run where, with which devices. Pure."""

from collections.abc import Iterator
from functools import lru_cache

from scheduler.engine.records import Attempt, JobRecord
from scheduler.engine.state import State
from scheduler.model.accelerators import Accelerator
from scheduler.model.allocations import Grant
from scheduler.model.commands import Release, Start, Stop, Task
from scheduler.model.jobs import RanksPer, Role
from scheduler.model.lifecycle import StopCause
from scheduler.model.units import WHOLE_DEVICE

__all__ = ["release_command", "start_command", "stop_command"]


def start_command(state: State, job: JobRecord, attempt: Attempt) -> Start:
    spec = job.spec
    checkpoint = spec.checkpoint
    return Start(
        job=job.number,
        attempt=attempt.n,
        epoch=attempt.epoch,
        job_id=job.id,
        name=spec.name,
        tenant=spec.tenant,
        user=job.actor.user,
        cell=attempt.cell,
        tasks=tuple(_tasks(state, job, attempt)),
        workdir=spec.workdir,
        secrets=spec.secrets,
        checkpoint_path=checkpoint.path if checkpoint else "",
        checkpoint_every_us=checkpoint.every_us if checkpoint else 0,
        work=spec.work.amount,
        service=spec.service is not None,
    )


def stop_command(job: JobRecord, attempt: Attempt, cause: StopCause, notice_us: int) -> Stop:
    return Stop(
        job=job.number,
        attempt=attempt.n,
        epoch=attempt.epoch,
        job_id=job.id,
        cell=attempt.cell,
        notice_us=max(0, notice_us),
        cause=cause.value,
    )


def release_command(job: JobRecord, attempt: Attempt) -> Release:
    return Release(job=job.number, attempt=attempt.n, epoch=attempt.epoch, job_id=job.id, cell=attempt.cell)


def _tasks(state: State, job: JobRecord, attempt: Attempt) -> Iterator[Task]:
    """Tasks by world, then in the order of the grants. A world is a role, or one replica of a service."""
    worlds: dict[int, list[Grant]] = {}
    for grant in attempt.allocation.grants:
        world = grant.replica if job.spec.service is not None else grant.role
        worlds.setdefault(world, []).append(grant)
    for world, grants in sorted(worlds.items()):
        ranks = [_rank_count(state, job, grant) for grant in grants]
        size, first = sum(ranks), 0
        for grant, count in zip(grants, ranks, strict=True):
            yield _task(state, job, attempt, grant, (world, size, first, count))
            first += count


def _rank_count(state: State, job: JobRecord, grant: Grant) -> int:
    if job.spec.roles[grant.role].resources.ranks_per is RanksPer.NODE:
        return 1
    return grant.count * _kind(state, grant).dies


def _kind(state: State, grant: Grant) -> Accelerator:
    return state.fleet.catalog.accelerators[state.fleet.accelerator.item(grant.node)]


def _task(state: State, job: JobRecord, attempt: Attempt, grant: Grant, ranks: tuple[int, int, int, int]) -> Task:
    """`ranks`: number and size of the world, the first rank of the task and how many it has."""
    fleet = state.fleet
    role = job.spec.roles[grant.role]
    kind = _kind(state, grant)
    emulated = fleet.pools[fleet.pool.item(grant.node)].emulated
    world, size, first, count = ranks
    return Task(
        node=fleet.node_name(grant.node),
        node_index=grant.node,
        role=role.name,
        accelerator=kind.name,
        adapter=kind.adapter,
        dies=kind.dies,
        emulated=emulated,
        devices=_numbers(grant.devices),
        world=world,
        world_size=size,
        first_rank=first,
        local_ranks=count,
        replica=grant.replica,
        entrypoint=role.entrypoint,
        env=_environment(job, role, attempt),
        image=_image(role, kind.name),
        cpu_milli=grant.cpu_milli,
        memory_mib=grant.memory_mib,
        hbm_gib=kind.hbm_gib.value * grant.thousandths / WHOLE_DEVICE,
        pace_s=_pace_s(state, job, attempt) if emulated else 0.0,
    )


@lru_cache(maxsize=4096)
def _numbers(devices: int) -> tuple[int, ...]:
    """Of the bits that are set, ascending."""
    return tuple(bit for bit in range(devices.bit_length()) if devices >> bit & 1)


def _environment(job: JobRecord, role: Role, attempt: Attempt) -> dict[str, str]:
    told = {} if job.array is None else {"DUALTRACK_ARRAY_INDEX": str(job.array.index)}
    if attempt.allocation.layout and role is job.spec.roles[0]:
        told["DUALTRACK_LAYOUT"] = attempt.allocation.layout
    return {**role.env, **told}


def _image(role: Role, accelerator: str) -> str:
    own = next((o.image for o in role.resources.options if o.accelerator == accelerator), "")
    return own or role.image


def _pace_s(state: State, job: JobRecord, attempt: Attempt) -> float:
    """Seconds per work unit on the scaled clock; 0 where the rate is only a ratio and means no duration."""
    held = int(state.columns.job("current")[job.number])
    if held < 0 or not state.rows_of[job.number].rows[held].option.rate.absolute:
        return 0.0
    granted = attempt.allocation
    return 1.0 / ((granted.modelled or granted.rate) * state.config.cluster.emulation.speedup)
