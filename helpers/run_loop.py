"""A run that can be watched and stopped: a generator of steps, consumed while the kernel stays free.

The steps are computed in one thread, which all runs share and take turns in; everything else happens in the kernel's
own event loop. Between two steps, and during one, the kernel answers: buttons, sliders, other cells.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
_WORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="steps")
_END = object()


class BusyError(RuntimeError):
    """A run was to be started while another one of the same loop is going."""


class RunLoop:
    """Consume a generator of steps, one at a time, until it ends, raises or is stopped.

    Example:
        loop = RunLoop(on_step=lambda step: print(step.number), on_end=print)
        loop.start(lambda: transfer.iterate(content, style, steps=20))
    """

    def __init__(self, on_step, on_end):
        """Set whom to tell. Both are called in the event loop's thread.

        Args:
            on_step: called with each step. If it raises, the run fails.
            on_end: called once for each run, after its generator was closed, with `"finished"`, `"stopped"` or
                `"failed"`, and the exception that ended it, or None.
        """
        self.on_step, self.on_end = on_step, on_end
        self.task, self._asked_to_stop = None, False

    @property
    def running(self):
        """Whether a run is going."""
        return self.task is not None

    def start(self, make_steps):
        """Start a run. Return its `asyncio.Task`.

        Args:
            make_steps: function that returns the generator; like the steps, it is called outside the event loop's
                thread, so that it may load pictures.

        Raises:
            BusyError: if a run is going.
            RuntimeError: if there is no event loop, as outside a notebook.
        """
        if self.running:
            raise BusyError("A run is going. Press Stop first.")
        self._asked_to_stop = False
        self.task = asyncio.get_running_loop().create_task(self._consume(make_steps))
        return self.task

    def stop(self):
        """End the run after the step that it is in."""
        self._asked_to_stop = True

    async def _consume(self, make_steps):
        in_worker = asyncio.get_running_loop().run_in_executor
        steps, error = None, None
        try:
            steps = await in_worker(_WORKER, make_steps)
            while not self._asked_to_stop:
                step = await in_worker(_WORKER, next, steps, _END)
                if step is _END:
                    break
                self.on_step(step)
                del step  # it may hold a large picture
                await asyncio.sleep(0)  # lets a Stop that came in meanwhile be heard
        except Exception as raised:  # whatever it is, it ends this run and not the kernel's loop
            error = raised
        finally:
            if hasattr(steps, "close"):
                await in_worker(_WORKER, steps.close)
            self.task = None
        self.on_end(FAILED if error else STOPPED if self._asked_to_stop else FINISHED, error)


class Pace:
    """Says when to draw, so that drawing costs at most a share of the run, whatever one drawing takes.

    Example:
        if pace.due():
            with pace:
                draw()
    """

    def __init__(self, share, interval=0.25, clock=time.perf_counter):
        """Start the clock.

        Args:
            share: of the time since the start, the most that drawings may take, 0–1.
            interval: seconds between two drawings, at least.
            clock: function that returns seconds.
        """
        self.share, self.interval, self.clock = share, interval, clock
        self.began, self.spent, self.cost, self.drawn = clock(), 0.0, 0.0, None

    def due(self):
        """Return whether a drawing like the last one fits into the share now."""
        now = self.clock()
        if self.drawn is not None and now - self.drawn < self.interval:
            return False
        return self.spent + self.cost <= self.share * (now - self.began)

    def __enter__(self):
        """Note when a drawing begins."""
        self._started = self.clock()

    def __exit__(self, *error):
        """Note what it cost."""
        self.drawn = self.clock()
        self.cost = self.drawn - self._started
        self.spent += self.cost
