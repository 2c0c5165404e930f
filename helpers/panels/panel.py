"""The frame of every panel: knobs, buttons, progress, live picture and curve. Each kind of panel says what is run."""

import base64
import functools
import html
import time
from pathlib import Path

import ipywidgets as widgets
import numpy as np

from helpers.animation import GifRecorder, rasterise
from helpers.figures import plot_history
from helpers.images import fitted, resize, save_image
from helpers.panels.knobs import LivePicture
from helpers.run_loop import FAILED, STOPPED, BusyError, Pace, RunLoop

FOLDER = Path("saved")  # beside the notebook, because that is where its kernel works
SIDE = 370  # pixels of the live picture's longer side
FRAMES, LARGEST_GIF = 40, 4_000_000  # at most; bytes
PICTURE_SHARE, CURVE_SHARE = 0.03, 0.045  # of a run's time; with the frames of the GIF, less than a tenth


def in_words(act):
    """Wrap a panel's method: what it raises is said in the panel, and the panel stays usable."""

    @functools.wraps(act)
    def careful(self, *arguments):
        try:
            return act(self, *arguments)
        except Exception as error:  # a button has no cell of its own that could show it
            return self.say_error(error)

    return careful


class Panel(widgets.VBox):
    """A run behind buttons. Nothing runs before Run is pressed.

    A kind of panel is a subclass that says what is run (`steps`), what is seen of it (`shows`, `frame`, `losses`,
    `draw_curve`, `outcome`) and which code does the same (`code`). None of these computes: they call helpers.

    Attributes:
        knobs: {name: widget}; `values` are what they say.
        loop: the `RunLoop`.
        result: the picture of the last run, `(height, width, 3)`, or None.
        recorder: the `GifRecorder` of the last run, or None.
    """

    title, file_name = "Panel", "panel"

    def __init__(self, knobs, choosers=()):
        """Lay out the panel.

        Args:
            knobs: {name: widget with a `value`}.
            choosers: names of knobs that stand above the others, in full width.
        """
        self.knobs = knobs
        self.defaults = {name: knob.value for name, knob in knobs.items()}
        self.loop = RunLoop(self._on_step, self._on_end)
        self._make_widgets()
        wrapped = widgets.Layout(flex_flow="row wrap", grid_gap="8px")
        views = widgets.HBox([self.picture, self.curve], layout=wrapped)
        sides = widgets.HBox(
            [
                widgets.VBox([knob for name, knob in knobs.items() if name not in choosers]),
                widgets.VBox([self.buttons, self.progress_line, self.message, views]),
            ],
            layout=wrapped,
        )
        heading = widgets.HTML(f"<b>{self.title}</b>")
        super().__init__([heading, *(knobs[name] for name in choosers), sides, self.listing])
        self._forget()

    # What each kind of panel says

    def steps(self, values):
        """Return the generator of steps for these values of the knobs; it is called and consumed in another thread."""
        raise NotImplementedError

    def losses(self, step):
        """Return {name: number or None} for the curves."""
        return step.losses

    def shows(self, step):
        """Return whether there is a new picture with this step."""
        return True

    def pictures(self, steps):
        """Return how many pictures a run of so many steps shows."""
        return steps

    def frame(self, step):
        """Return the picture of a step, `(height, width, 3)`, 0–255."""
        return step.image

    def outcome(self):
        """Return the picture that a run leaves, or None."""
        return None if self._last_shown is None else self.frame(self._last_shown)

    def draw_curve(self, history):
        """Return the figure of the losses."""
        figure = plot_history(history, x="step", panels={"loss": [name for name in history if name != "step"]})
        axis = figure.axes[0]
        axis.set(yscale="log", title="", xlabel="step (losses on a logarithmic scale)")
        axis.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4, columnspacing=1, frameon=False)
        return figure

    def code(self, values, stopped_at=None):
        """Return the cell that does the same as a run with these values, up to the step at which it was stopped."""
        raise NotImplementedError

    # What the buttons do

    @property
    def values(self):
        """What the knobs say now: {name: value}."""
        return {name: knob.value for name, knob in self.knobs.items()}

    @in_words
    def run(self, _=None):
        """Start a run with what the knobs say now; while one is going, do nothing."""
        if self.loop.running:
            return
        self._forget()
        self.ran = self.values
        try:
            self.loop.start(lambda values=self.ran: self.steps(values))
        except BusyError:
            return
        self._set_running(True)
        self.say("Preparing the run …")

    @in_words
    def stop(self, _=None):
        """End the run after the step that it is in; what it has reached stays."""
        if self.loop.running:
            self.loop.stop()
            self.stop_button.disabled = True
            self.say("Stopping after this step …")

    @in_words
    def reset(self, _=None):
        """Turn every knob back to where it was when the panel was made, and clear the panel."""
        if self.loop.running:
            return
        for name, value in self.defaults.items():
            self.knobs[name].value = value
        self._forget()

    @in_words
    def save_png(self, _=None):
        """Save the picture beside the notebook, in `saved/`, under a name that is free."""
        path = self._free_path(".png")
        save_image(path, self.result)
        self._say_saved(path, "image/png")
        return path

    @in_words
    def save_gif(self, _=None):
        """Save the recording beside the notebook, in `saved/`, under a name that is free, and play it in the panel."""
        self.recorder.path = self._free_path(".gif")
        path = self.recorder.save()
        self.picture.show_file(path.read_bytes(), "image/gif")
        self._say_saved(path, "image/gif", f"{len(self.recorder.frames)} frames, ")
        return path

    @in_words
    def show_code(self, _=None):
        """Show the cell that reproduces the last run, or, before the first one, the run of the knobs as they are."""
        code = html.escape(self.listed_code())
        style = "padding:8px; border:1px solid #8888; white-space:pre-wrap"
        self.listing.value = f'Copy this into a new cell:<pre style="{style}">{code}</pre>'

    def listed_code(self):
        """Return what `show_code` shows."""
        return self.code(self.ran or self.values, self.stopped_at)

    def say(self, text, colour="inherit"):
        """Say something in the panel."""
        self.message.value = f'<span role="status" style="color:{colour}">{text}</span>'

    def say_error(self, error):
        """Say in the panel what went wrong; the exception is kept as `error`."""
        self.error = error
        known = isinstance(error, ValueError | ArithmeticError | OSError) and str(error)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        self.say(html.escape(text[:600]), "var(--jp-error-color1, #c62828)")

    # How a run is watched

    def _on_step(self, step):
        now = time.perf_counter()
        if self.recorder is None:
            self._begin(step, now)
        self.steps_done = step.number
        self.history["step"].append(step.number)
        for name, value in self.losses(step).items():
            self.history.setdefault(name, []).append(value)
        if self.shows(step):
            if self._shown % self._every == 0:
                self.recorder.add(self.frame(step))
            self._last_shown, self._shown, self._picture_is_new = step, self._shown + 1, True
        if self._pace.due():
            with self._pace:
                self._draw_progress(step, now)
                if self._picture_is_new:
                    self._draw_picture(self.frame(self._last_shown))
        if len(self.history["step"]) >= 4 and self._curve_pace.due():
            with self._curve_pace:
                self._draw_curve()

    def _begin(self, step, now):
        self._every = -(-self.pictures(step.of) // FRAMES)
        self.recorder = GifRecorder(FOLDER / f"{self.file_name}.gif", size=320, fps=10, max_bytes=LARGEST_GIF)
        self._began, self._first = now, step.number
        self._pace, self._curve_pace = Pace(PICTURE_SHARE), Pace(CURVE_SHARE, interval=0.5)
        self.say("")

    def _on_end(self, how, error):
        self._set_running(False)
        if self.recorder is not None:
            self.stopped_at = self.steps_done if how == STOPPED else None
            elapsed = time.perf_counter() - self._began
            self._finish(how, elapsed)
        if how == FAILED:
            self.say_error(error)
        elif self.recorder is None:
            self.say("Stopped before the first step.")

    @in_words
    def _finish(self, how, elapsed):
        self.result = self.outcome()
        if self.result is not None:
            self._draw_picture(self.result)
            self._record_outcome()
        if len(self.history["step"]) > 1:
            self._draw_curve()
        for button in (self.png_button, self.gif_button):
            button.disabled = self.result is None
        word = "Stopped" if how == STOPPED else "Finished"
        self.progress.value = self.steps_done
        self.left.value = f"step {self.steps_done} of {self.progress.max:.0f}"
        self.say(f"{word} after {self.steps_done} steps, {elapsed:.1f} s.")

    def _record_outcome(self):
        """Make the outcome the last frame, whatever step it comes from, unless it is that already."""
        frames = self.recorder.frames
        self.recorder.add(self.result)
        if len(frames) > 1 and np.array_equal(frames[-1], frames[-2]):
            frames.pop()

    def _draw_progress(self, step, now):
        self.progress.max, self.progress.value = step.of, step.number
        text = f"step {step.number} of {step.of}"
        if step.number > self._first:
            left = (now - self._began) / (step.number - self._first) * (step.of - step.number)
            text += f", {left:.0f} s left" if left < 90 else f", {left / 60:.0f} minutes left"
        self.left.value = text

    def _draw_picture(self, picture):
        if max(picture.shape[:2]) > SIDE:
            picture = resize(picture, fitted(picture.shape, SIDE))
        self.picture.show(picture)
        self._picture_is_new = False

    def _draw_curve(self):
        figure = self.draw_curve(self.history)
        figure.set_size_inches(4.0, 2.8)
        figure.set_layout_engine("none")  # the layout that suits every figure takes half of the time
        figure.subplots_adjust(left=0.13, right=0.97, top=0.9, bottom=0.17, wspace=0.4)
        self.curve.show(rasterise(figure))

    # The frame itself

    def _make_widgets(self):
        def button(text, icon, action, tip):
            made = widgets.Button(description=text, icon=icon, tooltip=tip, layout=widgets.Layout(width="auto"))
            made.on_click(action)
            return made

        self.run_button = button("Run", "play", self.run, "Start a run with these settings")
        self.stop_button = button("Stop", "stop", self.stop, "End the run after this step; keep what it has reached")
        self.reset_button = button("Reset", "undo", self.reset, "Turn every knob back, clear the picture")
        self.png_button = button("Save PNG", "image", self.save_png, "Save the picture beside the notebook, in saved/")
        self.gif_button = button("Save GIF", "film", self.save_gif, "Save the recording beside the notebook, in saved/")
        self.code_button = button("Show as code", "code", self.show_code, "Show the cell that reproduces this run")
        self.run_button.button_style, self.stop_button.button_style = "success", "warning"
        self.buttons = widgets.HBox(
            [self.run_button, self.stop_button, self.reset_button, self.png_button, self.gif_button, self.code_button],
            layout=widgets.Layout(flex_flow="row wrap"),
        )
        self.progress = widgets.FloatProgress(0, min=0, max=1, tooltip="progress", layout=widgets.Layout(width="200px"))
        self.left = widgets.Label()
        self.progress_line = widgets.HBox([self.progress, self.left])
        self.picture, self.curve = LivePicture(alt=f"{self.title}: the picture"), LivePicture(alt="curve of the run")
        self.message, self.listing = widgets.HTML(), widgets.HTML()

    def _forget(self):
        """Clear what the last run left, so that no memory is held for it."""
        self.history, self.recorder, self.result, self.ran, self.error = {"step": []}, None, None, None, None
        self._last_shown, self._shown, self._picture_is_new = None, 0, False
        self.steps_done, self.stopped_at = 0, None
        self.progress.value, self.left.value, self.listing.value = 0, "", ""
        self.picture.value = self.curve.value = b""
        self._set_running(False)
        self.png_button.disabled = self.gif_button.disabled = True
        self.say("Press Run.")

    def _set_running(self, running):
        self.run_button.disabled = self.reset_button.disabled = running
        self.stop_button.disabled = not running
        if running:
            self.png_button.disabled = self.gif_button.disabled = True

    def _free_path(self, ending):
        """Return the first path that no file has yet."""
        number = 1
        while (path := FOLDER / f"{self.file_name}_{number:02d}{ending}").exists():
            number += 1
        return path

    def _say_saved(self, path, kind, what=""):
        data = path.read_bytes()
        link = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        size = f"{len(data) / 1e6:.1f} MB" if len(data) >= 1e5 else f"{len(data) / 1e3:.0f} kB"
        self.say(
            f"Saved beside the notebook as <b>{path.as_posix()}</b> ({what}{size}). "
            f'<a href="{link}" download="{path.name}" style="text-decoration:underline">Download</a>'
        )

    def _repr_mimebundle_(self, **options):
        """Add what a page without a kernel shows in the panel's place."""
        names = ", ".join(getattr(knob, "description", "") or knob.label for knob in self.knobs.values()).lower()
        note = f"<i>{self.title}: run this cell in JupyterLab to turn its knobs ({html.escape(names)}).</i>"
        return {**super()._repr_mimebundle_(**options), "text/plain": self.title, "text/html": note}
