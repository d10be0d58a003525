"""From an allocation to commands: which ranks run where, with which devices. Pure."""

from collections.abc import Iterator

from scheduler.engine.records import Attempt, JobRecord
from scheduler.engine.state import State
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
        for position, grant in enumerate(grants):
            yield _task(state, job, attempt, grant, world, ranks, position)


def _rank_count(state: State, job: JobRecord, grant: Grant) -> int:
    if job.spec.roles[grant.role].resources.ranks_per is RanksPer.NODE:
        return 1
    kind = state.fleet.catalog.accelerators[int(state.fleet.accelerator[grant.node])]
    return grant.count * kind.dies


def _task(
    state: State, job: JobRecord, attempt: Attempt, grant: Grant, world: int, ranks: list[int], position: int
) -> Task:
    fleet = state.fleet
    role = job.spec.roles[grant.role]
    kind = fleet.catalog.accelerators[int(fleet.accelerator[grant.node])]
    pool = fleet.pools[int(fleet.pool[grant.node])]
    return Task(
        node=fleet.cluster.node_name(grant.node),
        node_index=grant.node,
        role=role.name,
        accelerator=kind.name,
        adapter=kind.adapter,
        dies=kind.dies,
        emulated=pool.emulated,
        devices=tuple(bit for bit in range(grant.devices.bit_length()) if grant.devices >> bit & 1),
        world=world,
        world_size=sum(ranks),
        first_rank=sum(ranks[:position]),
        local_ranks=ranks[position],
        replica=grant.replica,
        entrypoint=role.entrypoint,
        env=_environment(job, role),
        image=_image(role, kind.name),
        cpu_milli=grant.cpu_milli,
        memory_mib=grant.memory_mib,
        hbm_gib=kind.hbm_gib.value * grant.thousandths / WHOLE_DEVICE,
        pace_s=_pace_s(state, job, attempt) if pool.emulated else 0.0,
    )


def _environment(job: JobRecord, role: Role) -> dict[str, str]:
    if job.array is None:
        return dict(role.env)
    return {**role.env, "DUALTRACK_ARRAY_INDEX": str(job.array.index)}


def _image(role: Role, accelerator: str) -> str:
    own = next((o.image for o in role.resources.options if o.accelerator == accelerator), "")
    return own or role.image


def _pace_s(state: State, job: JobRecord, attempt: Attempt) -> float:
    """Seconds per work unit on the scaled clock; 0 where the rate is only a ratio and means no duration."""
    held = int(state.columns.job("current")[job.number])
    if held < 0 or not state.rows_of[job.number].rows[held].option.rate.absolute:
        return 0.0
    held = attempt.allocation
    return 1.0 / ((held.modelled or held.rate) * state.config.cluster.emulation.speedup)
