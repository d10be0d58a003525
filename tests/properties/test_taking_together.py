"""Many starts are held against quota at once: with the answer that one after the other gives."""

from hypothesis import event, given, settings
from hypothesis import strategies as st

from scheduler.model.allocations import Allocation, Chosen, Grant
from scheduler.model.tenants import JobClass, Tenants
from scheduler.quota import Ledger, TenantTree
from tests.support.builders import CATALOG
from tests.support.plain_quota import CHIPS, NAMES, trees

asked = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(CHIPS), st.integers(1, 4), st.sampled_from(JobClass)), max_size=8
)


def allocation(chip: str, count: int, job_class: JobClass) -> Allocation:
    grants = (Grant(0, 0, 0, 0, 0),)
    return Allocation(chosen=(Chosen(chip, count),), grants=grants, rate=1.0, charge=5, job_class=job_class)


@given(trees, asked, asked)
@settings(max_examples=300, deadline=None)
def test_what_is_admitted_together_is_admitted_one_after_the_other(
    tenants: Tenants, before: list[tuple], wanted: list[tuple]
) -> None:
    tree = TenantTree(tenants, CATALOG)
    ledger = Ledger(tree)
    for name, *rest in before:
        ledger.add(tree.index[name], "ann", allocation(*rest))
    pairs = [(tree.index[name], allocation(*rest)) for name, *rest in wanted]
    together = ledger.admits_all(pairs)
    one_by_one = True
    for tenant, part in pairs:
        one_by_one &= not ledger.shortages(tenant, "ann", part.chosen, part.charge, part.job_class)
        ledger.add(tenant, "ann", part)
    event(f"together {together}, one by one {one_by_one}")
    plain = tree.lends_all and not tree.refuses.any() and not any(tree.user_levels)
    assert together == one_by_one if plain else together <= one_by_one
