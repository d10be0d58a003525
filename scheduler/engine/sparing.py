"""Nobody moves to let another in where the other could take the place that it would move to.

A policy weighs options, and options that differ only in their cell weigh the same: to give a newcomer the cell of a
running job and the running job another one is worth as much as the reverse, but for a stop and a start. Policies that
choose for one right after the other do not see that cost, for it falls on a job that chooses later.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from scheduler.engine.options import OptionRow
from scheduler.engine.snapshot import Snapshot
from scheduler.policies import NONE, Choice, Problem

__all__ = ["elsewhere", "without_needless_moves"]


def elsewhere(snapshot: Snapshot, problem: Problem, index: int, position: int) -> Iterator[int]:
    """Positions of the open options of the job at `index` that differ from the one at `position` in the cell alone, to
    the rules too: devices of the same tracks."""
    rows = snapshot.rows_of[int(problem.number[index])].rows
    first, here = int(problem.ptr[index]), rows[position]
    imported = snapshot.book.shelves()[0]
    tracks = [imported[shelf] for shelf, _ in _devices(snapshot, here)]
    for other, row in enumerate(rows):
        if other == position or row.option != here.option or not problem.open[first + other]:
            continue
        if [imported[shelf] for shelf, _ in _devices(snapshot, row)] == tracks:
            yield other


def without_needless_moves(snapshot: Snapshot, problem: Problem, choice: Choice) -> Choice:
    """The same choice, in which a waiting job and a running one that it would send to another cell change places, as
    often as there are such pairs. What the choice takes of each row stays the same."""
    running, given = problem.current != NONE, choice.option != NONE
    movers = np.flatnonzero(running & given & (choice.option != problem.current))
    newcomers = np.flatnonzero(~running & given)
    if not len(movers) or not len(newcomers):
        return choice
    by_row: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for index in newcomers.tolist():
        row = _row(snapshot, problem, index, int(choice.option[index]))
        by_row.setdefault(_devices(snapshot, row), []).append(index)
    option = choice.option.copy()
    for mover in movers.tolist():
        held, wanted = (_row(snapshot, problem, mover, int(at[mover])) for at in (problem.current, option))
        if held.option != wanted.option:
            continue
        rivals = by_row.get(_devices(snapshot, held), [])
        for rival in rivals:
            found = _into(snapshot, problem, rival, int(option[rival]), wanted)
            if found != NONE:
                option[mover], option[rival] = problem.current[mover], found
                rivals.remove(rival)
                break
    return replace(choice, option=option)


def _into(snapshot: Snapshot, problem: Problem, index: int, option: int, wanted: OptionRow) -> int:
    """The option of the job at `index` that takes what `wanted` takes of the cell of `wanted`, or NONE."""
    first = int(problem.ptr[index])
    rows = snapshot.rows_of[int(problem.number[index])].rows
    for other in elsewhere(snapshot, problem, index, option - first):
        if _devices(snapshot, rows[other]) == _devices(snapshot, wanted):
            return first + other
    return NONE


def _row(snapshot: Snapshot, problem: Problem, index: int, option: int) -> OptionRow:
    return snapshot.rows_of[int(problem.number[index])].rows[option - int(problem.ptr[index])]


def _devices(snapshot: Snapshot, row: OptionRow) -> tuple[tuple[int, int], ...]:
    """What the option takes of the shelves of its cell."""
    return tuple(use for use in row.uses if use[0] < snapshot.rows.capacity_rows)
