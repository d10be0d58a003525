"""From what the service tells of its jobs, nodes and tenants to the demo's record."""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from scheduler.cli.demo_forecast import Expectation
from scheduler.cli.demo_play import Played
from scheduler.cli.demo_record import DemoRecord, JobLine, NodeLine, Span, TenantLine, ranks_at_once

__all__ = ["job_lines", "label", "node_lines", "ranks_of", "recorded", "seconds", "spans_of", "tenant_lines"]

VERSIONS_OF = ("dualtrack", "torch", "ray", "numpy")

View = Mapping[str, Any]


def recorded(
    played: Played,
    expected: Expectation,
    fleet: View,
    tenants: Sequence[View],
    about: Mapping[str, str],
    wall_s: float,
) -> DemoRecord:
    """Everything together; `about` holds variant, executor, order and machine."""
    end_s = played.ended_s - played.origin_s
    nodes = node_lines(fleet)
    spans = spans_of(played.jobs, nodes, played.origin_s, end_s)
    lines = job_lines(played.jobs, expected.ends_s, played.origin_s)
    ends = [line.finished_s for line in lines if line.type != "inference" and line.finished_s is not None]
    return DemoRecord(
        versions=_versions(),
        forecast_makespan_s=expected.makespan_s,
        makespan_s=max(ends, default=0.0),
        wall_s=wall_s,
        rank_starts=sum(span.ranks for span in spans),
        ranks_at_once=ranks_at_once(spans),
        jobs=lines,
        tenants=tenant_lines(tenants, spans),
        nodes=nodes,
        spans=spans,
        requests=played.requests,
        **about,
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS_OF:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def seconds(iso: str | None, origin_s: float) -> float | None:
    """Seconds of an ISO time since the origin (Unix seconds); None for None."""
    return None if not iso else datetime.fromisoformat(iso).timestamp() - origin_s


def node_lines(fleet: View) -> tuple[NodeLine, ...]:
    executors = {cell["name"]: cell["executor"] for cell in fleet["cells"]}
    return tuple(
        NodeLine(
            name=node["name"],
            cell=node["cell"],
            executor=executors[node["cell"]],
            accelerator=node["accelerator"],
            devices=node["devices"],
            emulated=node["emulated"],
        )
        for node in fleet["nodes"]
    )


def spans_of(jobs: Sequence[View], nodes: Sequence[NodeLine], origin_s: float, end_s: float) -> tuple[Span, ...]:
    """One span per attempt, role and node; an attempt without an end lasts until `end_s`."""
    accelerators = {node.name: node.accelerator for node in nodes}
    return tuple(
        Span(
            job=label(job),
            tenant=job["tenant"],
            attempt=attempt["n"],
            node=part["node"],
            accelerator=accelerators.get(part["node"], ""),
            devices=tuple(part["devices"]),
            ranks=ranks_of(job, attempt, part, accelerators.get(part["node"], "")),
            start_s=seconds(attempt["allocated"], origin_s) or 0.0,
            up_s=seconds(attempt["started"], origin_s),
            end_s=_end(attempt, origin_s, end_s),
            ended=" ".join(str(word) for word in (attempt["stop"], attempt["how"]) if word),
        )
        for job in jobs
        for attempt in job["attempts"]
        for part in attempt["nodes"]
    )


def _end(attempt: View, origin_s: float, end_s: float) -> float:
    ended_s = seconds(attempt["ended"], origin_s)
    return end_s if ended_s is None else ended_s


def label(job: View) -> str:
    """The name, with the index of a member of an array."""
    return job["name"] if job["array"] is None else f"{job['name']}[{job['array']['index']}]"


def ranks_of(job: View, attempt: View, part: View, accelerator: str) -> int:
    """Processes on this node: one, or one for each die where the job asks for that."""
    roles = job["spec"]["roles"]
    per = roles[part["role"]].get("resources", {}).get("ranks_per", "die")
    dies = 2 if accelerator == "ascend-910c" else 1
    return 1 if per == "node" else dies * len(part["devices"])


def job_lines(jobs: Sequence[View], forecast_s: Mapping[str, float | None], origin_s: float) -> tuple[JobLine, ...]:
    """`forecast_s`: the forecast end of each job by its label."""
    return tuple(
        JobLine(
            name=label(job),
            tenant=job["tenant"],
            type=job["type"],
            state=job["state"],
            device=_device(job),
            attempts=len(job["attempts"]),
            preemptions=sum(attempt["stop"] == "preempt" for attempt in job["attempts"]),
            wait_s=job["wait_s"],
            run_s=job["run_s"],
            first_loss=next((a["first_loss"] for a in job["attempts"] if a["first_loss"] is not None), None),
            loss=next((a["loss"] for a in reversed(job["attempts"]) if a["loss"] is not None), None),
            forecast_s=forecast_s.get(label(job)),
            finished_s=seconds(job["ended"], origin_s),
            detail=job["detail"],
        )
        for job in jobs
    )


def _device(job: View) -> str:
    """What the last attempt held: `h20-96 x6`."""
    if not job["attempts"]:
        return ""
    return " + ".join(f"{part['accelerator']} x{part['count']}" for part in job["attempts"][-1]["holds"])


def tenant_lines(tenants: Sequence[View], spans: Sequence[Span]) -> tuple[TenantLine, ...]:
    held = {tenant["name"]: 0.0 for tenant in tenants}
    for span in spans:
        held[span.tenant] = held.get(span.tenant, 0.0) + len(span.devices) * (span.end_s - span.start_s)
    total = sum(held.values())
    return tuple(
        TenantLine(
            name=tenant["name"],
            device_s=held[tenant["name"]],
            share=held[tenant["name"]] / total if total else 0.0,
            nominal={quota["resource"]: quota["nominal"] for quota in tenant["quotas"]},
        )
        for tenant in tenants
    )
