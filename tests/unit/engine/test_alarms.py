"""When time alone makes something due: set anew with nearly every event, and asked at every cycle."""

from hypothesis import given
from hypothesis import strategies as st

from scheduler.engine.alarms import Alarms
from scheduler.model.units import FOREVER_US

NUMBERS = st.integers(-3, 12)
TIMES = st.one_of(st.integers(0, 20), st.just(FOREVER_US))


def test_nothing_rings_where_nothing_is_set():
    alarms = Alarms()
    assert alarms.first_us is None
    assert alarms.at(FOREVER_US) == ((), None)


def test_an_alarm_set_again_rings_at_its_last_time_only():
    alarms = Alarms()
    alarms.set(1, 10)
    alarms.set(1, 30)
    assert alarms.at(20) == ((), 30)
    assert alarms.of(1) == 30
    alarms.set(1, 10)
    assert alarms.at(20) == ((1,), None)


def test_one_that_has_rung_stays_until_it_is_set_again():
    alarms = Alarms()
    alarms.set(1, 10)
    assert alarms.at(10) == alarms.at(10) == ((1,), None)
    alarms.set(1, FOREVER_US)
    assert alarms.at(10) == ((), None)


def test_what_is_no_job_is_never_due_and_rings_all_the_same():
    alarms = Alarms()
    alarms.set(-1, 10)
    assert alarms.at(5) == ((), 10)
    assert alarms.at(10) == ((), None)
    assert alarms.first_us == 10


@given(st.lists(st.tuples(NUMBERS, TIMES), max_size=300), st.integers(0, 20))
def test_they_tell_what_a_plain_table_of_times_tells(sets, now_us):
    alarms, times = Alarms(), {}
    for number, time_us in sets:
        alarms.set(number, time_us)
        times[number] = time_us
    rings = sorted((time_us, number) for number, time_us in times.items() if time_us < FOREVER_US)
    due = tuple(number for time_us, number in rings if time_us <= now_us and number >= 0)
    later = next((time_us for time_us, _ in rings if time_us > now_us), None)
    assert alarms.at(now_us) == (due, later)
    assert alarms.first_us == (rings[0][0] if rings else None)
    assert alarms.at(now_us) == (due, later)
    assert all(alarms.of(number) == time_us for number, time_us in times.items())
