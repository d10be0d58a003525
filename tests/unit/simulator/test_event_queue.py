"""The queue of virtual time."""

from hypothesis import given
from hypothesis import strategies as st

from scheduler.simulator.event_queue import EventQueue


def test_items_leave_by_time_and_equal_times_in_the_order_of_entry():
    queue: EventQueue[str] = EventQueue()
    for time_us, item in ((5, "late"), (1, "first"), (1, "second"), (0, "early")):
        queue.push(time_us, item)
    assert [queue.pop() for _ in range(len(queue))] == [(0, "early"), (1, "first"), (1, "second"), (5, "late")]


def test_nothing_is_due_before_its_time():
    queue: EventQueue[str] = EventQueue()
    assert queue.next_us() is None
    assert queue.pop_due(10) is None
    queue.push(11, "later")
    assert queue.pop_due(10) is None
    assert queue.next_us() == 11
    assert queue.pop_due(11) == "later"


@given(st.lists(st.integers(min_value=0, max_value=20)))
def test_any_sequence_leaves_sorted_and_stable(times: list[int]):
    queue: EventQueue[int] = EventQueue()
    for place, time_us in enumerate(times):
        queue.push(time_us, place)
    left = [queue.pop() for _ in range(len(times))]
    assert left == sorted((time_us, place) for place, time_us in enumerate(times))
