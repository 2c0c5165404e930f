"""A panel around a run: knobs from the signature of your own function, Run and Stop, a live image and live curves.

    def paint(content="china", style="night_swirls", style_weight=50.0, steps=100):
        ...
            yield image, {"total": loss}

    live(paint, content=image_choice(), style=image_choice(), style_weight=log_slider(1, 1000), steps=(10, 300))

The steps are computed in one thread, in which all panels take turns; the kernel stays free for other cells.
"""

import asyncio
import base64
import functools
import html
import inspect
import io
import itertools
import json
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anywidget
import ipywidgets as widgets
import numpy as np
import traitlets
from matplotlib.figure import Figure
from PIL import Image, PngImagePlugin

from helpers.animation import GifRecorder, rasterise
from helpers.images import ImageError, load_image, sample_names, to_uint8
from helpers.run import Record, as_step

FOLDER = Path("saved")  # beside the notebook, where its kernel works
SHOWN, FRAME, FRAMES, LARGEST_GIF = 640, 360, 40, 4_000_000  # longer sides in pixels; at least, at most twice; bytes
IMAGE_SHARE, CURVE_SHARE = 0.03, 0.045  # of a run's time; with the frames of the GIF, less than a tenth
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito's
BUTTONS = {  # method of `Panel`: text, icon, tip
    "run": ("Run", "play", "Start a run with these settings"),
    "stop": ("Stop", "stop", "End the run after this step and keep what it has reached"),
    "reset": ("Reset", "undo", "Set every knob back and clear the panel"),
    "save_png": ("Save PNG", "image", "Save the image in saved/, beside the notebook"),
    "save_gif": ("Save GIF", "film", "Save the film of the run in saved/, beside the notebook"),
    "show_code": ("Show as code", "code", "Show the call that repeats this run"),
}
_WORKER, _END = ThreadPoolExecutor(1, thread_name_prefix="steps"), object()


def live(function, **knobs):
    """Return a panel that runs `function`, for the last line of a cell. Nothing runs before you press Run.

    Args:
        function: a generator function that yields, step by step, an image `(height, width, 3)`, 0–255, a dict
            {name: number}, both as `(image, numbers)`, or a `helpers.run.Step`. Each parameter needs a default.
        knobs: what each parameter may be, as in `ipywidgets.interact`: `(low, high)` or `(low, high, step)` a slider, a
            list or a dict {label: value} a dropdown, a bool a checkbox, a str a text box; or `log_slider(...)`,
            `image_choice()`, `several(...)`. A parameter without a knob keeps its default; a bool or a text gets a box.

    The time left is shown if the steps say `of`, or if a knob `steps` counts them. Accuracies are in percent.

    Raises:
        TypeError: if a knob fits no parameter or is of no such kind, or a parameter has no default.
    """
    return Panel(function, knobs)


def log_slider(low, high, zero=False):
    """Return a knob over 1, 2, 5, 10, 20, … from `low` to `high`, after 0 if `zero`."""

    def make(value):
        numbers = {float(f"{digit}e{power}") for power in range(-9, 10) for digit in (1, 2, 5)}
        numbers = {number for number in numbers if low <= number <= high} | {float(value)} | ({0.0} if zero else set())
        return widgets.SelectionSlider(options=[(f"{number:g}", number) for number in sorted(numbers)], value=value)

    return make


def image_choice():
    """Return a knob of thumbnails and an upload; the function gets a sample's name, or an upload as an array."""
    return ImageChoice


def several(options):
    """Return a knob that chooses several of a list, with Ctrl or Shift held; the function gets a list."""
    return lambda value: widgets.SelectMultiple(options=options, value=tuple(value), rows=min(4, len(options)))


def _knob(name, kind, value):
    """Return the widget of a parameter that starts at `value`, or None if it keeps its default."""
    if kind is None and not isinstance(value, bool | str):
        return None
    if kind is None or isinstance(kind, bool | str):
        kind = value
    if isinstance(kind, tuple) and len(kind) in (2, 3):
        kind = kind if all(isinstance(number, int) for number in (*kind, value)) else [float(number) for number in kind]
        low, high, step = *kind[:2], kind[2] if len(kind) == 3 else 1 if isinstance(kind, tuple) else kind[1] / 50
        kind = (min(low, value), max(high, value), step)  # a default outside of the range widens it
    elif isinstance(kind, list):
        kind = {str(choice): choice for choice in (kind if value in kind else [value, *kind])}
    if isinstance(kind, dict):
        made = Choice(kind, value) if value in kind.values() else None
    else:
        made = kind(value) if callable(kind) else widgets.interactive.widget_from_abbrev(kind, value)
    if made is None:
        raise TypeError(f"{name}={kind!r} is no knob for {value!r}. Give (low, high), a list, log_slider(low, high), …")
    made.description, made.continuous_update = name.replace("_", " ").capitalize(), False
    if isinstance(made, widgets.FloatSlider):
        made.readout_format = ".3g"
    return made


class Choice(widgets.Dropdown):
    """A dropdown of labels that stand for values; ipywidgets' own cannot be set back to a value of None."""

    def __init__(self, choices, value):
        """Take {label: value} and the value to start at."""
        self.choices = choices
        super().__init__(options=list(choices), value=list(choices)[list(choices.values()).index(value)])

    @property
    def given(self):
        """What the function gets."""
        return self.choices[self.value]


class LiveImage(anywidget.AnyWidget):
    """An image that is exchanged in place: `data` is its file, of the media type `kind`; `description` its alt text."""

    _esm, _css = Path(__file__).with_name("live.js"), Path(__file__).with_name("live.css")
    description = traitlets.Unicode().tag(sync=True)
    data, kind = traitlets.Bytes().tag(sync=True), traitlets.Unicode("image/jpeg").tag(sync=True)

    def show(self, data, kind="image/jpeg"):
        """Show the bytes of a file."""
        with self.hold_sync():
            self.kind, self.data = kind, data


class ImageChoice(anywidget.AnyWidget):
    """Thumbnails, one of which is chosen, and an upload.

    Attributes:
        value: the title of the chosen image.
        given: what the function gets: what `load_image` takes.
        problem: why the last upload was refused, or "".
    """

    _esm, _css = LiveImage._esm, LiveImage._css
    description, problem = traitlets.Unicode().tag(sync=True), traitlets.Unicode().tag(sync=True)
    value, images = traitlets.Unicode().tag(sync=True), traitlets.List().tag(sync=True)  # of [title, data URL]

    def __init__(self, value):
        """Show the samples, and `value`, which is one of them or the path of an image."""
        self.sources = {Path(name).name: name for name in (*sample_names(), value)}
        images = [[title, _thumbnail(source)] for title, source in self.sources.items()]
        super().__init__(value=Path(value).name, images=images)
        self.on_msg(lambda _, content, buffers: self.upload(content["upload"], bytes(buffers[0])))

    @property
    def given(self):
        """What the function gets."""
        return self.sources[self.value]

    @property
    def code(self):
        """The same in Python."""
        text = json.dumps(self.value)
        return f"load_image({text})" if isinstance(self.given, np.ndarray) else json.dumps(str(self.given))

    def upload(self, name, data):
        """Add the image in the bytes of a file and choose it."""
        try:
            image = load_image(data)
        except ImageError as error:
            self.problem = f"{name}: {error}"
            return
        self.problem, self.sources[name] = "", image
        self.images = [pair for pair in self.images if pair[0] != name] + [[name, _thumbnail(image)]]
        self.value = name


class Pace:
    """Draws as often as it can while that takes at most a share of the time, whatever one drawing costs."""

    def __init__(self, draw, share, interval=0.25, clock=time.perf_counter):
        """Take what draws, the share (0–1), the least seconds between two drawings, and what tells the time."""
        self.draw, self.share, self.interval, self.clock = draw, share, interval, clock
        self.began, self.spent, self.cost, self.drawn = clock(), 0.0, 0.0, -np.inf

    def step(self):
        """Draw if a drawing like the last one fits into the share now."""
        now = self.clock()
        if now - self.drawn >= self.interval and self.spent + self.cost <= self.share * (now - self.began):
            self.draw()
            self.drawn = self.clock()
            self.cost = self.drawn - now
            self.spent += self.cost


class Panel(widgets.VBox):
    """What `live` returns.

    Attributes:
        knobs: {name: widget}.
        task: the `asyncio.Task` of the run that is going, or None.
        result: the `helpers.run.Result` of the last run, or None.
    """

    def __init__(self, function, knobs):
        """Lay out the panel."""
        self.name, self.function, self.task, self.knobs = function.__name__, function, None, {}
        parameters = inspect.signature(function).parameters
        if unknown := knobs.keys() - parameters.keys():
            raise TypeError(f"{self.name} has no parameter {', '.join(unknown)}. It has {', '.join(parameters)}.")
        for name, parameter in parameters.items():
            if parameter.default is parameter.empty:
                raise TypeError(f"{self.name}: give the parameter {name} a default; its knob starts there.")
            if knob := _knob(name, knobs.get(name), parameter.default):
                self.knobs[name] = knob
        self._defaults, self.buttons = {name: knob.value for name, knob in self.knobs.items()}, {}
        for action, (text, icon, tip) in BUTTONS.items():
            self.buttons[action] = widgets.Button(description=text, icon=icon, tooltip=tip)
            self.buttons[action].on_click(functools.partial(self._press, action))
        self.buttons["run"].button_style, self.buttons["stop"].button_style = "success", "warning"
        self.progress, self.left = widgets.FloatProgress(0, min=0, max=1), widgets.Label()
        self.message, self.listing = widgets.HTML(), widgets.HTML()
        self.image = LiveImage(description=f"{self.name}: the image")
        self.curve = LiveImage(description=f"{self.name}: the curves")
        choices = [knob for knob in self.knobs.values() if isinstance(knob, ImageChoice)]
        buttons, line = widgets.HBox([*self.buttons.values()]), widgets.HBox([self.progress, self.left, self.message])
        views = widgets.HBox([self.image, self.curve])
        column = widgets.VBox([knob for knob in self.knobs.values() if knob not in choices]).add_class("atelier-knobs")
        run = widgets.VBox([buttons, line, views, self.listing]).add_class("atelier-run")
        super().__init__([*choices, widgets.HBox([column, run])])
        self.add_class("atelier-panel")
        self._clear()

    @property
    def values(self):
        """What the function is called with: {name: value}."""
        values = {name: getattr(knob, "given", knob.value) for name, knob in self.knobs.items()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @property
    def call(self):
        """The call that repeats the last run, or the run of the knobs as they are."""
        if self._ran is not None:
            return self._ran
        codes = (getattr(self.knobs[name], "code", _code(value)) for name, value in self.values.items())
        return f"{self.name}({', '.join(f'{name}={code}' for name, code in zip(self.knobs, codes, strict=True))})"

    def run(self):
        """Start a run with what the knobs say now; while one is going, do nothing."""
        if self.task is None:
            self._clear()
            self._ran, values = self.call, self.values
            self.task = asyncio.get_running_loop().create_task(self._consume(values))
            self._enable()
            self._say("Preparing the run …")

    def stop(self):
        """End the run after the step that it is in; what it has reached stays."""
        if self.task is not None:
            self._stopping = self.buttons["stop"].disabled = True
            self._say("Stopping after this step …")

    def reset(self):
        """Set every knob back to where it was when the panel was made, and clear the panel."""
        if self.task is None:
            for name, value in self._defaults.items():
                self.knobs[name].value = value
            self._clear()

    def save_png(self):
        """Save the image, or the curves where there is none, with the call in its metadata; return the path."""
        path, information = self._free_path(".png"), PngImagePlugin.PngInfo()
        information.add_text("Description", self.call)
        image = self.result.image
        (_curves(self.result.history) if image is None else _picture(image)).save(path, pnginfo=information)
        return self._say_saved(path)

    def save_gif(self):
        """Save the frames with the call as the GIF's comment, and play it in the panel; return the path."""
        recorder = GifRecorder(self._free_path(".gif"), fps=10, max_bytes=LARGEST_GIF)
        frames = [*self._frames, _picture(self.result.image, FRAME)]
        for frame in frames:  # the scales or octaves of a run have sizes of their own
            recorder.add(np.asarray(frame.resize(frames[-1].size)))
        path = recorder.save()
        path.write_bytes(_with_comment(path.read_bytes(), self.call))
        self.image.show(path.read_bytes(), "image/gif")
        return self._say_saved(path)

    def show_code(self):
        """Show the call that repeats the run."""
        text = "In a cell of your own, <code>follow(…)</code> of <code>helpers.run</code> runs this call again"
        text += "; copy the uploaded file beside the notebook first:" if "load_image(" in self.call else ":"
        self.listing.value = f'{text}<pre class="atelier-call">{html.escape(self.call)}</pre>'

    def _press(self, action, _):
        try:
            getattr(self, action)()
        except Exception as error:  # a button has no cell of its own that could show it
            self._say_error(error)

    async def _consume(self, values):
        in_worker, steps, error = functools.partial(asyncio.get_running_loop().run_in_executor, _WORKER), None, None
        try:
            steps = await in_worker(lambda: iter(self.function(**values)))
            while not self._stopping:
                value = await in_worker(next, steps, _END)
                if value is _END:
                    break
                self._on_step(as_step(value), values.get("steps"))
                del value  # it may hold a large image
                await asyncio.sleep(0)  # lets a Stop that came in meanwhile be heard
        except Exception as raised:  # whatever it is, it ends this run and not the kernel's loop
            error = raised
        if hasattr(steps, "close"):
            await in_worker(steps.close)
        self.task = None
        try:
            self._finish()
        except Exception as raised:
            error = error or raised
        self._enable()
        if error:
            self._say_error(error)

    def _on_step(self, step, of):
        if not self._record.rows:
            self._paces = Pace(self._draw, IMAGE_SHARE), Pace(self._draw_curves, CURVE_SHARE, 0.5)
            self._say("")
        self._record.add(step)
        self._of = step.of or of
        if step.image is not None:
            if self._seen % self._every == 0:
                self._frames.append(_picture(step.image, FRAME))
            self._image, self._seen = step.image, self._seen + 1
            if len(self._frames) == 2 * FRAMES:
                del self._frames[1::2]
                self._every *= 2
        for pace in self._paces:
            pace.step()

    def _draw(self):
        number, passed = len(self._record.rows), time.perf_counter() - self._paces[0].began
        text = f"step {number}"
        if isinstance(self._of, int):
            self.progress.max, self.progress.value = self._of, number
            seconds = passed / max(1, number - 1) * max(0, self._of - number)
            left = f"{seconds:.0f} s left" if seconds < 90 else f"{seconds / 60:.0f} minutes left"
            text += f" of {self._of}, {left}" if number < self._of else f" of {self._of}"
        self.left.value = text
        if self._image is not None:
            self.image.show(_encoded(_picture(self._image, SHOWN)))
            self._image = None

    def _draw_curves(self):
        history = self._record.result().history
        if len(self._record.rows) > 1 and len(history) > 1:
            self.curve.show(_encoded(_curves(history), "PNG"), "image/png")

    def _finish(self):
        """Show what the run has left."""
        number = len(self._record.rows)
        if number:
            self.result = self._record.result(self._stopping)
            self._image, self._of = self.result.image, self._of if self._stopping else number
            self._draw()
            self._draw_curves()
            self.left.value = self.left.value.partition(",")[0]
        self._ran = f"islice({self._ran}, {number})" if self._stopping else self._ran
        word, seconds = "Stopped" if self._stopping else "Finished", self._record.result().seconds
        self._say(f"{word} after {number} step{'s' * (number != 1)}, {seconds:.1f} s.")

    def _clear(self):
        """Forget the last run, so that no memory is held for it."""
        self._record, self._frames, self._every, self._seen, self._image = Record(), [], 1, 0, None
        self.result, self._ran, self._of, self._stopping = None, None, None, False
        self.progress.value, self.left.value, self.listing.value = 0, "", ""
        self.image.data = self.curve.data = b""
        self._enable()
        self._say("Press Run.")

    def _enable(self):
        running, result = self.task is not None, self.result
        self.buttons["run"].disabled = self.buttons["reset"].disabled = running
        self.buttons["stop"].disabled = not running
        self.buttons["save_png"].disabled = running or result is None
        self.buttons["save_gif"].disabled = running or result is None or result.image is None

    def _free_path(self, ending):
        FOLDER.mkdir(exist_ok=True)
        paths = (FOLDER / f"{self.name}_{number:02d}{ending}" for number in itertools.count(1))
        return next(path for path in paths if not path.exists())

    def _say(self, text, kind="said"):
        self.message.value = f'<span role="status" class="atelier-{kind}">{text}</span>'

    def _say_error(self, error):
        """Say what went wrong, and at which line of the cell that the function is in."""
        text, file = f"{type(error).__name__}: {error}"[:600], inspect.unwrap(self.function).__code__.co_filename
        lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        where = f"<br>line {lines[-1].lineno}: <code>{html.escape(lines[-1].line)}</code>" if lines else ""
        self._say(html.escape(text) + where, "problem")

    def _say_saved(self, path):
        data = path.read_bytes()
        link = f"data:image/{path.suffix[1:]};base64,{base64.b64encode(data).decode()}"
        text = f"Saved beside the notebook as <b>{path.as_posix()}</b> ({len(data) / 1e3:,.0f} kB). "
        self._say(text + f'<a href="{link}" download="{path.name}">Download</a>')
        return path

    def _repr_mimebundle_(self, **options):
        """Add what a page without a kernel shows in the panel's place: the chosen images, and a caption."""
        choices = [knob for knob in self.knobs.values() if isinstance(knob, ImageChoice)]
        still = "".join(f'<img src="{dict(c.images)[c.value]}" alt="{html.escape(c.value)}"> ' for c in choices)
        knobs = ", ".join(self.knobs).replace("_", " ")
        note = f"{still}<p><i>{self.name}: run this cell in JupyterLab to turn its knobs ({knobs}).</i></p>"
        return {**super()._repr_mimebundle_(**options), "text/plain": f"live({self.name})", "text/html": note}


def _code(value):
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _picture(image, side=None):
    """Return an image `(height, width)` or `(height, width, 3)`, 0–255, as a PIL image, no larger than `side`."""
    pixels = to_uint8(np.asarray(image))
    if not pixels.size or not (pixels.ndim == 2 or pixels.ndim == 3 and pixels.shape[2] == 3):
        raise ValueError(f"A step holds an array of shape {pixels.shape}; an image is (height, width, 3), 0–255.")
    picture = Image.fromarray(pixels).convert("RGB")
    picture.thumbnail((side or max(picture.size),) * 2, Image.Resampling.LANCZOS)
    return picture


def _encoded(picture, kind="JPEG"):
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=90)
    return buffer.getvalue()


def _thumbnail(source):
    return "data:image/jpeg;base64," + base64.b64encode(_encoded(_picture(load_image(source, 112)))).decode()


def _with_comment(gif, text):
    """Return the bytes of a GIF with a comment, blocks of at most 255 bytes, after the palette."""
    start = 13 + (3 * 2 ** ((gif[10] & 7) + 1) if gif[10] & 128 else 0)
    parts = [text.encode()[at : at + 255] for at in range(0, len(text.encode()), 255)]
    return gif[:start] + b"!\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0" + gif[start:]


def _curves(history):
    """Return a picture of a run's curves: accuracies in percent on an axis of their own, the rest together."""
    names = [name for name in history if name != "phase"]
    groups = [[name for name in names if ("accuracy" in name) == percent] for percent in (False, True)]
    figure, colours = Figure(figsize=(3.8, 3.0), dpi=200, layout="constrained"), itertools.cycle(COLOURS)
    groups = [group for group in groups if group]
    axes = figure.subplots(len(groups), sharex=True, squeeze=False)[:, 0]
    for axis, group in zip(axes, groups, strict=True):
        scale, unit = (100, ", %") if "accuracy" in group[0] else (1, "")
        for name, colour in zip(group, colours, strict=False):
            at = np.flatnonzero(np.isfinite(history[name]))
            marker = "." if len(at) < 12 else ""
            axis.plot(at + 1, scale * history[name][at], color=colour, label=name + unit, lw=2, marker=marker)
        drawn = np.concatenate([line.get_ydata() for line in axis.lines])
        if drawn.size and drawn.max() > 30 * drawn.min() > 0:
            axis.set_yscale("log")
        for step in np.flatnonzero(np.diff(history["phase"])):
            axis.axvline(step + 1.5, color="0.6", ls=":")
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=11, borderaxespad=0)
        axis.tick_params(labelsize=11)
        axis.grid(alpha=0.25)
    axes[-1].set_xlabel("step", fontsize=11)
    return Image.fromarray(rasterise(figure))
