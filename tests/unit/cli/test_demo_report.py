"""The demo's report is drawn from plain values, needs no network, and says what went wrong."""

import re
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.cli.demo_picture import runs_of, timeline_svg
from scheduler.cli.demo_record import (
    DemoRecord,
    JobLine,
    NodeLine,
    RequestCount,
    Span,
    TenantLine,
    moves,
    ranks_at_once,
)
from scheduler.cli.demo_report import job_cells, write_report


def span(**changes):
    values = {
        "job": "pretrain",
        "tenant": "foundation",
        "attempt": 1,
        "node": "h200-0",
        "accelerator": "h200",
        "ranks": 1,
    }
    values |= {"devices": (0, 1, 2, 3), "start_s": 0.0, "up_s": 2.0, "end_s": 10.0, "ended": "preempted"}
    return Span(**(values | changes))


def job(**changes):
    values = {
        "name": "pretrain",
        "tenant": "foundation",
        "type": "training",
        "state": "succeeded",
        "device": "h20-96 x16",
    }
    values |= {"attempts": 2, "preemptions": 1, "wait_s": 0.2, "run_s": 20.0, "first_loss": 5.5, "loss": 2.25}
    return JobLine(**(values | {"forecast_s": 29.0, "finished_s": 30.0} | changes))


@pytest.fixture
def record():
    node = {"cell": "imported", "executor": "ray", "devices": 8, "emulated": True}
    return DemoRecord(
        variant="full",
        executor="ray",
        machine="2 cores",
        versions={"dualtrack": "0.1.0"},
        order="as in <a trace>",
        forecast_makespan_s=33.0,
        makespan_s=30.0,
        wall_s=41.0,
        rank_starts=5,
        ranks_at_once=3,
        jobs=(job(), job(name="chat", type="inference", state="cancelled", loss=None)),
        tenants=(TenantLine(name="foundation", device_s=90.0, share=1.0, nominal={"h200": 8}),),
        nodes=(
            NodeLine(name="h200-0", accelerator="h200", **node),
            NodeLine(name="h20-0", accelerator="h20-96", **node),
        ),
        spans=(span(), span(attempt=2, node="h20-0", accelerator="h20-96", start_s=12.0, up_s=None, end_s=30.0)),
        requests=RequestCount(sent=40, answered=40, p50_ms=12.0),
    )


def test_a_job_that_failed_and_a_service_that_stopped_by_itself_are_problems(record):
    assert record.problems() == ()
    failed = msgspec.structs.replace(record, jobs=(job(state="failed", detail="exit code 3"), job(name="b")))
    assert failed.problems() == ("pretrain: failed exit code 3",)
    served = msgspec.structs.replace(record, jobs=(job(name="chat", type="inference", state="succeeded"),))
    assert served.problems() == ("chat: succeeded",)


def test_a_service_that_answered_nothing_is_a_problem(record):
    silent = msgspec.structs.replace(record, requests=RequestCount(sent=3, failed=3))
    assert silent.problems() == ("the inference service answered no request",)


def test_the_forecast_is_held_against_what_happened(record):
    assert record.forecast_error == pytest.approx(0.1)


def test_a_job_with_several_attempts_is_told_by_where_it_went(record):
    assert moves(record.spans) == ("pretrain: h200 x4, then h20-96 x4",)


def test_ranks_at_once_counts_an_attempt_until_it_has_ended():
    first, second = span(ranks=2, start_s=0.0, end_s=5.0), span(ranks=3, start_s=5.0, end_s=9.0)
    assert ranks_at_once([first, second]) == 3
    assert ranks_at_once([first, span(ranks=3, start_s=4.9, end_s=9.0)]) == 5
    assert ranks_at_once([]) == 0


@given(st.sets(st.integers(0, 62)))
def test_runs_cover_exactly_the_devices(devices):
    covered = [device for first, count in runs_of(tuple(devices)) for device in range(first, first + count)]
    assert covered == sorted(devices)
    assert all(first + count not in devices for first, count in runs_of(tuple(devices)))


def test_the_picture_is_well_formed_and_names_every_node_and_says_emulated(record):
    svg = timeline_svg(record)
    root = ElementTree.fromstring(svg)
    texts = [node.text for node in root.iter() if node.text]
    assert {"h200-0", "h20-0"} <= set(texts)
    assert any("emulated" in text for text in texts)
    assert all(float(rect.get("width")) > 0 for rect in root.iter("{http://www.w3.org/2000/svg}rect"))


def test_the_report_holds_everything_it_shows_and_asks_the_network_for_nothing(record, tmp_path):
    page = write_report(record, tmp_path / "report").read_text()
    assert "pretrain" in page
    assert "as in &lt;a trace&gt;" in page
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=[\"']?http", page)
    figures = msgspec.json.decode((tmp_path / "report" / "report.json").read_bytes())
    assert figures["forecast_error"] == pytest.approx(0.1)
    assert figures["problems"] == []
    assert (tmp_path / "report" / "timeline.svg").read_text().startswith("<svg")


def test_a_job_that_never_ran_has_dashes_instead_of_figures(record):
    waiting = job(state="waiting", device="", loss=None, first_loss=None, forecast_s=None, finished_s=None)
    cells = job_cells(msgspec.structs.replace(record, jobs=(waiting,)))
    assert cells[0][3] == cells[0][7] == cells[0][9] == "-"
