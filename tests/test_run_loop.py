import asyncio
import gc
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

from helpers.run_loop import FAILED, FINISHED, STOPPED, BusyError, Pace, RunLoop


class Witness:
    """A run loop that notes what it is told."""

    def __init__(self, on_step=None):
        self.steps, self.ends = [], []
        self.loop = RunLoop(on_step or self.steps.append, lambda how, error: self.ends.append((how, error)))

    def run(self, make_steps):
        async def go():
            await self.loop.start(make_steps)

        asyncio.run(go())


def endless(closed):
    number = 0
    try:
        while True:
            yield (number := number + 1)
    finally:
        closed.append(number)


def test_all_steps_come_in_order_and_the_end_is_told_once():
    witness = Witness()
    witness.run(lambda: iter(range(5)))
    assert witness.steps == [0, 1, 2, 3, 4] and witness.ends == [(FINISHED, None)]
    assert not witness.loop.running


def test_steps_are_computed_outside_the_event_loops_thread():
    witness = Witness()
    witness.run(lambda: (threading.current_thread() for _ in range(3)))
    assert len(set(witness.steps)) == 1 and threading.current_thread() not in witness.steps


def test_stop_ends_the_run_with_the_step_it_is_in_and_closes_the_generator():
    closed, seen = [], []

    def on_step(step):
        seen.append(step)
        if step == 3:
            witness.loop.stop()

    witness = Witness(on_step)
    witness.run(lambda: endless(closed))
    assert seen == [1, 2, 3] and closed == [3] and witness.ends == [(STOPPED, None)]


def test_the_event_loop_is_free_during_a_step():
    asked = threading.Event()

    def steps():
        yield "first"
        assert asked.wait(20), "nobody could ask while the step was computed"
        yield "second"
        yield "third"

    async def go():
        task = witness.loop.start(steps)
        while not witness.steps:
            await asyncio.sleep(0.001)
        witness.loop.stop()  # while the second step waits for it
        asked.set()
        await task

    witness = Witness()
    asyncio.run(go())
    assert witness.ends == [(STOPPED, None)] and "third" not in witness.steps


def test_a_second_run_is_refused_while_one_is_going_and_the_first_goes_on():
    async def go():
        task = witness.loop.start(lambda: iter(range(3)))
        with pytest.raises(BusyError, match="Press Stop"):
            witness.loop.start(lambda: iter("abc"))
        await task
        await witness.loop.start(lambda: iter("abc"))

    witness = Witness()
    asyncio.run(go())
    assert witness.steps == [0, 1, 2, "a", "b", "c"]


@pytest.mark.parametrize("place", ["making", "stepping", "watching"])
def test_an_error_ends_the_run_and_the_next_one_works(place):
    closed = []

    def steps():
        if place == "making":
            raise ValueError("not so")

        def generator():
            try:
                yield 1
                if place == "stepping":
                    raise ValueError("not so")
                yield 2
            finally:
                closed.append(True)

        return generator()

    def on_step(step):
        if place == "watching":
            raise ValueError("not so")

    witness = Witness(on_step)
    witness.run(steps)
    ((how, error),) = witness.ends
    assert how == FAILED and str(error) == "not so" and not witness.loop.running
    assert closed == [True] * (place != "making")
    witness.loop.on_step = witness.steps.append
    witness.run(lambda: iter([7]))
    assert witness.steps == [7] and witness.ends[1] == (FINISHED, None)


def test_two_runs_at_once_take_turns():
    busy, most, order = 0, 0, []

    def steps(name):
        nonlocal busy, most
        for number in range(20):
            busy += 1
            most = max(most, busy)
            order.append(name)
            busy -= 1
            yield number

    async def go():
        await asyncio.gather(one.loop.start(lambda: steps("one")), two.loop.start(lambda: steps("two")))

    one, two = Witness(), Witness()
    asyncio.run(go())
    assert one.steps == two.steps == list(range(20)) and most == 1
    assert order != sorted(order)  # neither had to wait for the other's end


def test_after_ten_runs_nothing_of_them_is_held():
    made = []

    def steps():
        for _ in range(4):
            picture = np.zeros((50, 50))
            made.append(weakref.ref(picture))
            yield picture

    witness = Witness(lambda step: None)
    for _ in range(10):
        witness.run(steps)
    gc.collect()
    assert len(made) == 40 and all(picture() is None for picture in made)
    assert witness.ends == [(FINISHED, None)] * 10


@pytest.mark.parametrize("end", [FINISHED, STOPPED, FAILED])
def test_memory_threads_and_tasks_are_the_same_after_the_third_run_and_after_the_thirteenth(end):
    """A run makes six pictures of 800 kB. If only one of a run were kept, ten runs would hold 8 MB more."""

    def steps():
        kept = []  # as an optimiser keeps its memory
        for number in range(6):
            kept.append(np.zeros(100_000))
            if end == FAILED and number == 4:
                raise ValueError("not so")
            yield number, kept[-1]

    def on_step(step):
        if end == STOPPED and step[0] == 2:
            witness.loop.stop()

    witness = Witness(on_step)
    held, threads = [], []
    tracemalloc.start()
    try:
        for number in range(13):
            witness.run(steps)
            assert [how for how, _ in witness.ends] == [end]
            witness.ends.clear()  # an error holds the frames that it went through
            if number in (2, 12):
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
                threads.append(threading.active_count())
    finally:
        tracemalloc.stop()
    assert held[1] - held[0] < 400_000
    assert threads[0] == threads[1] and witness.loop.task is None


def test_without_an_event_loop_nothing_starts():
    witness = Witness()
    with pytest.raises(RuntimeError):
        witness.loop.start(lambda: iter("abc"))
    assert not witness.loop.running


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize("cost", [0.001, 0.05, 0.4, 3.0])
def test_drawing_never_takes_more_than_its_share_whatever_it_costs(cost):
    clock = Clock()
    pace, drawn = Pace(0.1, interval=0.25, clock=clock), []
    for _ in range(4000):  # steps of 20 ms
        clock.now += 0.02
        if pace.due():
            drawn.append(clock.now)
            with pace:
                clock.now += cost
    assert len(drawn) >= 2
    assert pace.spent == pytest.approx(cost * len(drawn))
    assert pace.spent <= 0.1 * (clock.now - 100) + cost  # the first drawing's cost is not known before
    assert np.diff(drawn).min() >= 0.25
