"""What devices are worth to a job, whatever rates its user states."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.model.allocations import Chosen
from scheduler.model.jobs import Measured, Work
from scheduler.quota.worth import MOST_OF_A_DEVICE, h20_equivalents
from tests.support.builders import CATALOG, cluster, configured, job, options, pool
from tests.support.harness import Table


def test_measured_speeds_say_how_many_h20_a_device_is_worth():
    fast, slow = Measured(accelerator="h200", count=1, rate=4.0), Measured(accelerator="h20-96", count=1, rate=1.0)
    assert h20_equivalents(Work(measured=(fast, slow)), [Chosen("h200", 1)], CATALOG) == pytest.approx(4.0)


@given(st.floats(1e-300, 1e18), st.floats(1e-300, 1e18), st.integers(1, 4096))
def test_no_stated_rate_makes_a_device_worth_more_than_any_chip_is(here, there, count):
    rows = (Measured(accelerator="h200", count=count, rate=here), Measured(accelerator="h20-96", count=1, rate=there))
    worth = h20_equivalents(Work(measured=rows), [Chosen("h200", count)], CATALOG)
    assert 0 <= worth <= MOST_OF_A_DEVICE * count


def test_a_rate_next_to_nothing_leaves_the_account_whole():
    table = Table(configured(cluster([pool("h200", 1, 8), pool("h20-96", 1, 8)])))
    rows = (Measured(accelerator="h200", count=1, rate=1.0), Measured(accelerator="h20-96", count=1, rate=1e-9))
    work = table.submit(job("odd", *options(h200=1), work=Work(amount=1e6, measured=rows)))
    table.run_all(work)
    table.later(30 * 86_400)
    table.end(work)
    assert table.state.accounts.past.faded(table.now_us).max() < MOST_OF_A_DEVICE * 30 * 24
