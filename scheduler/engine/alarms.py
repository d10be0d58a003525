"""When time alone makes something due: one moment for each job, set and set anew with nearly every event."""

from heapq import heapify, heappop, heappush

from scheduler.model.units import FOREVER_US

__all__ = ["Alarms"]


class Alarms:
    """One time in microseconds for each number; numbers below 0 stand for what is no job.

    A heap, whose entries go stale when a number is set again: most new times are later than all others, and then to set
    one takes a single comparison. A list in order would take as many as its length has bits, each a miss of the cache.
    """

    def __init__(self) -> None:
        self._time_of: dict[int, int] = {}
        self._heap: list[tuple[int, int]] = []

    def set(self, number: int, time_us: int) -> None:
        """FOREVER_US for never."""
        if time_us >= FOREVER_US:
            self._time_of.pop(number, None)
        elif self._time_of.get(number) != time_us:
            self._time_of[number] = time_us
            heappush(self._heap, (time_us, number))
        if len(self._heap) > 2 * len(self._time_of) + 64:
            self._heap = [(time_us, number) for number, time_us in self._time_of.items()]
            heapify(self._heap)

    def of(self, number: int) -> int:
        """When it rings; FOREVER_US for never."""
        return self._time_of.get(number, FOREVER_US)

    def clear(self) -> None:
        self._time_of.clear()
        self._heap.clear()

    @property
    def first_us(self) -> int | None:
        """The earliest, whether it has rung or not."""
        while self._heap and self._time_of.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def at(self, now_us: int) -> tuple[tuple[int, ...], int | None]:
        """The jobs whose alarm has rung, the earliest first and then by number; and when the next rings that has not.

        Looks at no more of the heap than has rung, is stale, or could be the next.
        """
        rung: set[tuple[int, int]] = set()
        next_us, places = FOREVER_US, [0]
        while places:
            place = places.pop()
            if place >= len(self._heap) or self._heap[place][0] >= next_us:
                continue
            time_us, number = entry = self._heap[place]
            holds = self._time_of.get(number) == time_us
            if holds and time_us > now_us:
                next_us = time_us
                continue
            if holds:
                rung.add(entry)
            places += (2 * place + 1, 2 * place + 2)
        due = tuple(number for _, number in sorted(rung) if number >= 0)
        return due, None if next_us == FOREVER_US else next_us
