"""Columns give back what was laid into them, in compressed rows; rows of options are what the ledger would say."""

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine import State
from scheduler.model.lifecycle import JobState
from scheduler.model.tenants import JobClass, Quota, Tenant, Tenants, UserLimits
from scheduler.quota.ledger import Ledger
from tests.support.builders import S, cluster, configured, job, options, pool, tenants
from tests.support.harness import ANN, Table

FLEET = cluster([pool("h200", 2, 4), pool("h20-96", 1, 8)], [pool("h200", 1, 4, name="far"), pool("ascend-910c", 2, 8)])
WANTED = [
    options(h200=1),
    options(h200=(2, 4), h20_96=8),
    options(ascend_910c=8, h200=8),
    options(h20_96=(1, 2, 4)),
    options(h200=12, ascend_910c=16),
]


def table(*wanted, tree=None) -> Table:
    made = Table(configured(FLEET, tree or tenants(red={"h200": 6}, red__vision={"h200": 3}, blue={})))
    for number, opts in enumerate(wanted):
        made.submit(job(f"j{number}", *opts, tenant=("red", "red/vision", "blue")[number % 3]))
    return made


@given(st.lists(st.sampled_from(WANTED[:4]), min_size=1, max_size=6), st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_gathered_for_some_jobs_is_what_each_of_them_has(wanted, data):
    state = table(*wanted, tree=tenants(red={}, red__vision={}, blue={})).state
    numbers = sorted(data.draw(st.sets(st.sampled_from(range(len(wanted))))))
    found = state.columns.gather(np.array(numbers, dtype=np.int64))
    for place, number in enumerate(numbers):
        rows = state.rows_of[number].rows
        span = range(found.ptr[place], found.ptr[place + 1])
        assert len(span) == len(rows)
        for option, row in zip(span, rows, strict=True):
            uses = slice(found.use_ptr[option], found.use_ptr[option + 1])
            pairs = zip(found.use_row[uses].tolist(), found.use_amount[uses].tolist(), strict=True)
            assert tuple(pairs) == row.uses
            assert state.columns.option("rate")[found.option[option]] == row.option.rate.value
            assert state.columns.option("devices")[found.option[option]] == row.option.chosen[0].count


def test_options_of_jobs_that_ended_are_laid_anew_and_the_others_keep_what_they_hold():
    made = table(*[options(h200=1)] * 3)
    made.run_all(*made.state.jobs)
    state = made.state
    columns = state.columns
    columns.dead = columns.options.size + 5_000
    made.end(state.jobs[0])
    assert state.columns is not columns
    assert state.columns.dead == 0
    assert [int(held) for held in state.columns.job("current")[1:]] == [0, 0]
    assert state.columns.in_state(JobState.STARTING, JobState.RUNNING).tolist() == [1, 2]


@given(
    st.sampled_from(WANTED),
    st.sampled_from(["red", "red/vision", "blue", "blue/deep"]),
    st.sampled_from(list(JobClass)),
    st.integers(0, 12),
    st.integers(0, 12),
)
@settings(max_examples=150, deadline=None)
def test_an_option_is_admitted_alone_where_an_empty_ledger_has_no_shortage(wanted, tenant, job_class, own, most):
    tree = Tenants(
        tenants=(
            Tenant(name="red", quotas=(Quota(resource="h200", nominal=8),)),
            Tenant(name="red/vision", quotas=(Quota(resource="h200", nominal=own, borrowing_limit=2),)),
            Tenant(name="blue", per_user=UserLimits(max_devices=most)),
            Tenant(name="blue/deep", quotas=(Quota(resource="h200", nominal=own, borrowing_limit=2),)),
        )
    )
    state = State.new(configured(FLEET, tree))
    spec = job("asked", *wanted, tenant=tenant, job_class=job_class)
    number = state.tree.index[tenant]
    for row in state.rows.of_job(spec, number, "ann").rows:
        short = Ledger(state.tree).shortages(number, "ann", row.option.chosen, row.option.charge, job_class)
        assert state.rows.admits_alone(row) == (not short)


def test_the_same_job_asked_about_twice_has_the_same_rows_and_so_has_its_equal():
    state = table().state
    spec = job("asked", *WANTED[1])
    equal = msgspec.json.decode(msgspec.json.encode(spec), type=type(spec))
    red, blue = state.tree.index["red"], state.tree.index["blue"]
    first = state.rows.of_job(spec, red, "ann")
    assert state.rows.of_job(spec, red, "ann") is first
    assert state.rows.of_job(equal, red, "ann") == first
    assert state.rows.of_job(spec, blue, "ann") != first


def test_an_option_that_no_cell_can_hold_is_excluded_with_its_reason_and_the_other_stays():
    state = table().state
    found = state.rows.of_job(job("asked", *WANTED[4]), state.tree.index["blue"], "ann")
    assert {row.option.chosen[0].accelerator for row in found.rows} == {"ascend-910c"}
    assert [(chosen.accelerator, reason.need) for chosen, reason in found.excluded] == [("h200", 12)]


def test_waits_after_which_options_open_are_told_once_each():
    late = tuple(msgspec.structs.replace(o, after_wait_us=w * S) for o, w in zip(WANTED[1], (0, 60), strict=True))
    state = table().state
    assert state.rows.of_job(job("asked", *late), state.tree.index["blue"], "ann").opens_us == (0, 60 * S)


def test_waiting_jobs_are_counted_by_user_and_tenant_with_those_below():
    made = table(options(h200=1), options(h200=1), options(h200=1))
    made.submit(job("more"))
    assert made.state.waiting_jobs("red", ANN.user) == 3
    assert made.state.waiting_jobs("red/vision", ANN.user) == 1
    assert made.state.waiting_jobs("blue", ANN.user) == 1
    assert made.state.waiting_jobs("blue", "nobody") == 0
    made.decide()
    assert made.state.waiting_jobs("red", ANN.user) == 0
