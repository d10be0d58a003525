"""What quota is worth at this moment: the ledger's limits, brought up to date with what is in service."""

from scheduler.engine.in_service import in_service
from scheduler.engine.state import State
from scheduler.model.units import FOREVER_US

__all__ = ["refresh_limits"]


def refresh_limits(state: State, now_us: int) -> None:
    """Nothing is preempted by it: it decides what may start."""
    if state.tree.counts_money:
        state.reprice(now_us)
    uses = state.accounts.budgets.used(now_us)
    spent = {key: use for key, use in uses.items() if use.spent}
    state.ledger.serve(in_service(state.room, state.tree), spent)
    if uses or state.tree.counts_money:
        changes_us = state.book.prices.next_change_us(now_us) if state.tree.counts_money else FOREVER_US
        state.watch_money(min([changes_us, *(use.period_ends_us for use in spent.values())]))
