"""What will happen next in virtual time: a heap whose ties break by the order of entry."""

from heapq import heappop, heappush
from typing import Generic, TypeVar

__all__ = ["EventQueue"]

Item = TypeVar("Item")


class EventQueue(Generic[Item]):
    """Items by time in microseconds. Equal times leave in the order in which they came, so that runs repeat."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Item]] = []
        self._entered = 0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, time_us: int, item: Item) -> None:
        self._entered += 1
        heappush(self._heap, (time_us, self._entered, item))

    def next_us(self) -> int | None:
        """The time of the first item, or None when there is none."""
        return self._heap[0][0] if self._heap else None

    def pop(self) -> tuple[int, Item]:
        """The first item with its time. Raises IndexError when there is none."""
        time_us, _, item = heappop(self._heap)
        return time_us, item

    def pop_due(self, now_us: int) -> Item | None:
        """The first item if its time has come, else None."""
        if self._heap and self._heap[0][0] <= now_us:
            return heappop(self._heap)[2]
        return None
