"""The figures of the course. They draw what they are given and compute only its layout.

Each function returns a matplotlib figure: the last line of a cell shows it, and `show(figure, alt)` shows it with a
text for those who cannot see it. Importing this module sets the style of every figure, of your own ones too.
"""

import io
import itertools

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats
from PIL import Image, ImageDraw, ImageFont

WIDTH = 10.0  # inches: the width of the text
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")  # Okabe and Ito 2008
MARKERS = "osv^D"
WRONG = COLOURS[1]
STYLE = {
    "figure.dpi": 144,
    "savefig.dpi": 144,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "figure.constrained_layout.use": True,
    "axes.prop_cycle": plt.cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 12,
    "axes.titlesize": 12,
    "figure.titlesize": 13,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "image.cmap": "viridis",
}
plt.rcParams.update(STYLE)
if get_ipython() is not None:  # a kernel shows figures only once it was told how, which pyplot does with its first one
    set_matplotlib_formats("png")


def show(figure, alt, jpeg=False):
    """Display a figure with `alt`, what it shows in words; `jpeg` keeps photographs small in the notebook's file."""
    from IPython.display import Image, display

    buffer, form = io.BytesIO(), "jpeg" if jpeg else "png"
    figure.savefig(buffer, format=form, pil_kwargs={"quality": 90} if jpeg else {})
    display(Image(buffer.getvalue(), format=form, alt=alt))


def _axes(rows, columns, size, title=None, **options):
    """Return a figure that pyplot does not keep in memory, and its axes, `(rows, columns)`."""
    figure = Figure(size)
    figure.suptitle(title)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def show_images(images, titles=None, columns=None, size=None, title=None, cmap="gray", value_range=None, colours=None):
    """Draw images in rows.

    Args:
        images: sequence of arrays `(h, w)`, `(h, w, 1)` or `(h, w, 3)`; RGB ones 0–255.
        titles: one text per image, or None.
        columns: images in a row; None takes the number from 3 to 5 that leaves the fewest gaps in the last one.
        size: width of one image, inches; None fills the width of the text.
        title: text above all of them.
        cmap: colour map for images of one channel.
        value_range: (black, white) for images of one channel; None takes each image's own extremes.
        colours: a colour for each title, or None.
    """
    images = list(images)
    columns = columns or min((5, 4, 3), key=lambda count: -len(images) % count)
    columns = max(1, min(columns, len(images)))
    size, rows = size or WIDTH / columns, -(-len(images) // columns)
    titles = [""] * len(images) if titles is None else [str(text) for text in titles]
    heading = max((0.23 * len(text.splitlines()) for text in titles), default=0)
    height = rows * (size * _tallest(images) + heading) + 0.3 * bool(title)
    figure, axes = _axes(rows, columns, (columns * size, height), title)
    for axis, image, text, colour in itertools.zip_longest(axes.flat, images, titles, colours or ()):
        axis.set_axis_off()
        if image is not None:
            draw_image(axis, image, cmap, value_range)
            axis.set_title(text, color=colour or "black")
    return figure


def _tallest(images):
    """Return the largest ratio of height to width; 1 if there is no image."""
    return max((np.shape(image)[0] / np.shape(image)[1] for image in images), default=1.0)


def draw_image(axis, image, cmap="gray", value_range=None):
    """Draw `(h, w)` or `(h, w, 1)` with hard pixels, or RGB `(h, w, 3)`, 0–255, smoothed where it is shrunk."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] == 3:
        return axis.imshow(np.clip(image, 0, 255).astype(np.uint8), interpolation="antialiased")
    low, high = value_range or (None, None)
    return axis.imshow(image.reshape(image.shape[:2]), cmap=cmap, vmin=low, vmax=high, interpolation="nearest")


def plot_predictions(images, labels, probabilities, class_names, columns=5, title="actual / predicted"):
    """Draw images `(n, h, w)` or `(n, h, w, 3)` with the actual class, the predicted one and its probability.

    `labels` is int `(n,)`, `probabilities` `(n, classes)`; the titles of wrong predictions are red.
    """
    guesses = np.argmax(probabilities, axis=1)
    titles = [
        f"{class_names[label]} / {class_names[guess]}\n{100 * shares[guess]:.0f}%"
        for label, guess, shares in zip(labels, guesses, probabilities, strict=True)
    ]
    colours = ["black" if label == guess else WRONG for label, guess in zip(labels, guesses, strict=True)]
    return show_images(images, titles, columns, title=title, colours=colours)


def plot_filters(kernels, columns=10, title=None):
    """Draw kernels `(h, w, channels, filters)`, averaged over `channels`: red above 0, blue below, white at 0."""
    kernels = np.asarray(kernels).mean(axis=2)
    largest = np.abs(kernels).max()
    return show_images(np.moveaxis(kernels, -1, 0), None, columns, None, title, "RdBu_r", (-largest, largest))


def plot_feature_maps(feature_maps, columns=10, size=None, title=None):
    """Draw the channels of feature maps `(h, w, channels)`, all on one scale of brightness."""
    feature_maps = np.asarray(feature_maps)
    limits = (min(0, feature_maps.min()), feature_maps.max())
    return show_images(np.moveaxis(feature_maps, -1, 0), None, columns, size, title, "magma", limits)


def plot_heat(images, heat, titles=None, colours=None, columns=5, title=None):
    """Draw RGB images `(n, h, w, 3)`, 0–255, and under each of them its heat map of `(n, rows, columns)`, 0–1.

    `titles` and `colours` (of the titles) have one entry per image.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    size = (WIDTH, rows * (2 * WIDTH / columns + 0.3) + 0.3 * bool(title))
    figure, axes = _axes(2 * rows, columns, size, title)
    for axis in axes.flat:
        axis.set_axis_off()
    for index, (image, warmth) in enumerate(zip(images, heat, strict=True)):
        above, below = axes[2 * (index // columns) :, index % columns][:2]
        draw_image(above, image)
        extent = draw_image(below, image).get_extent()
        below.imshow(warmth, cmap="inferno", alpha=0.65, vmin=0, vmax=1, interpolation="bicubic", extent=extent)
        if titles is not None:
            above.set_title(titles[index], color=colours[index] if colours else "black")
    return figure


def contact_sheet(run, title=None, size=None, **grids):
    """Call `run` for every combination of one or two hyperparameters and draw the results on a grid.

    Args:
        run: function that takes them by name and returns an image, or a number.
        title: text above the sheet.
        size: width of one cell, inches; None fills the width of the text.
        **grids: one or two names, each with a list of values: the first is the rows, the second the columns.

    Returns:
        The matplotlib figure. The results are its attribute `results`, a dict from tuples of values.

    Raises:
        ValueError: if there are no grids or more than two.
    """
    if len(grids) not in (1, 2):
        raise ValueError(f"contact_sheet: grids are {', '.join(grids) or 'missing'}; expected one or two lists.")
    results = {values: run(**dict(zip(grids, values, strict=True))) for values in itertools.product(*grids.values())}
    (row_name, rows), (column_name, columns) = [(None, [""]), *grids.items()][-2:]
    table = [list(results.values())[start : start + len(columns)] for start in range(0, len(results), len(columns))]
    size = size or WIDTH / (len(columns) + 0.5)
    if np.ndim(table[0][0]) == 0:
        figure, ((axis,),) = _axes(1, 1, (min(WIDTH, 2 + 1.4 * len(columns)), 1.5 + 0.6 * len(rows)), title)
        values = np.array(table, float)
        texts = [[f"{value:.1f}" if np.isfinite(value) else "NaN" for value in row] for row in values]
        _draw_matrix(axis, np.ma.masked_invalid(values), texts, rows, columns)
        axis.set(xlabel=column_name, ylabel=row_name)
    else:
        height = len(rows) * size * _tallest(results.values())
        figure, axes = _axes(len(rows), len(columns), (size * len(columns) + 0.4, height + 0.9), title)
        for axis, image in zip(axes.flat, results.values(), strict=True):
            draw_image(axis, image)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        for axis, column in zip(axes[0], columns, strict=True):
            axis.set_title(column)
        for axis, row in zip(axes[:, 0], rows, strict=True):
            axis.set_ylabel(row)
        figure.supxlabel(column_name)
        figure.supylabel(row_name)
    figure.results = results
    return figure


def _draw_matrix(axis, values, texts, rows, columns, cmap="viridis", **limits):
    """Draw a matrix as colours, with a text in each of its cells and names along its sides; return the image."""
    drawn = axis.imshow(values, cmap=cmap, aspect="auto", interpolation="nearest", **limits)
    brightness = drawn.cmap(drawn.norm(values))[..., :3] @ (0.299, 0.587, 0.114)
    brightness[np.ma.getmaskarray(values)] = 1  # nothing is drawn there
    for row, column in np.ndindex(brightness.shape):
        dark = brightness[row, column] < 0.5
        axis.text(column, row, texts[row][column], ha="center", va="center", color="white" if dark else "black")
    _name_ticks(axis, rows, columns)
    return drawn


def _name_ticks(axis, rows, columns):
    long = sum(len(str(name)) for name in columns) > 40
    turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if long else {}
    axis.set_xticks(range(len(columns)), [str(name) for name in columns], **turned)
    axis.set_yticks(range(len(rows)), [str(name) for name in rows])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def plot_confusion(matrix, class_names, title=None):
    """Draw a confusion matrix, such as `sklearn.metrics.confusion_matrix` returns: rows are actual, columns predicted.

    The colours show mistakes alone: the diagonal, which outweighs them, has the colour of 0.
    """
    matrix = np.asarray(matrix)
    mistakes = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
    figure, ((axis,),) = _axes(1, 1, (8.5, 6.8), title)
    drawn = _draw_matrix(axis, mistakes, matrix, class_names, class_names, "magma_r", vmin=0, vmax=mistakes.max() or 1)
    axis.set(xlabel="predicted", ylabel="actual")
    figure.colorbar(drawn, label="mistakes")
    return figure


def plot_history(history, x="step", panels=None, title=None):
    """Draw the curves of a run.

    Args:
        history: dict of equally long lists; one of them is named `x`. A list can hold None where nothing was measured.
        x: the name of the list on the horizontal axis.
        panels: dict from the title of a panel to the names of its curves; None draws the losses in one panel and the
            accuracies in another.
        title: text above all panels.
    """
    names = [name for name in history if name != x]
    if panels is None:
        panels = {kind: [name for name in names if kind in name] for kind in ("loss", "accuracy")}
        panels = {kind: chosen for kind, chosen in panels.items() if chosen} or {"value": names}

    def curve(name):
        pairs = [pair for pair in zip(history[x], history[name], strict=True) if pair[1] is not None]
        return tuple(zip(*pairs, strict=True)) or ((), ())

    return plot_curves({kind: {name: curve(name) for name in chosen} for kind, chosen in panels.items()}, x, title)


def plot_curves(panels, x="step", title=None, size=None, smooth=1, chance=None):
    """Draw curves that were measured at different positions, one panel for each kind of value.

    Args:
        panels: dict from the title of a panel to its curves, `{name: (xs, ys)}`. Names that begin with "recorded" are
            drawn dashed; a panel with "accuracy" in its title is drawn in percent.
        x: what the horizontal axis is.
        title: text above all panels.
        size: width and height of one panel, inches; None fills the width of the text.
        smooth: points of a moving average; above 1, the curves themselves are drawn faintly behind it.
        chance: accuracy of a guess, 0–1, drawn as a line in the panels of accuracies.
    """
    width, height = size or (WIDTH / max(len(panels), 1.5), 3.6)
    figure, axes = _axes(1, len(panels), (width * len(panels), height), title)
    for axis, (kind, curves) in zip(axes.flat, panels.items(), strict=True):
        percent = "accuracy" in kind
        for index, (name, (xs, ys)) in enumerate(curves.items()):
            xs, ys = np.asarray(xs, float), np.asarray(ys, float) * (100 if percent else 1)
            look = {"color": COLOURS[index % 8], "ls": "--" if name.startswith("recorded") else "-", "label": name}
            if 1 < smooth <= len(ys):
                axis.plot(xs, ys, color=look["color"], linewidth=1, alpha=0.3)
                xs, ys = xs[smooth - 1 :], np.convolve(ys, np.full(smooth, 1 / smooth), "valid")
            axis.plot(xs, ys, marker=MARKERS[index % 5], markevery=max(1, len(xs) // 8), markersize=5, **look)
        if percent and chance is not None:
            axis.axhline(100 * chance, color="gray", linestyle=":", label="chance")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set(xlabel=x, title=kind + (", %" if percent else ""))
        axis.grid(alpha=0.25)
        if len(axis.get_legend_handles_labels()[1]) > 1:
            axis.legend()
    return figure


def prediction_sheet(images, labels, probabilities, class_names, columns=5, side=96):
    """Return the same as pixels, uint8 `(height, width, 3)`: fast enough to be drawn again every few training steps.

    Above each image stand the predicted class and its probability, red where the class is wrong.

    Args:
        images, labels, probabilities, class_names: as for `plot_predictions`; the images are uint8.
        columns: images in a row.
        side: of an image on the sheet, pixels.
    """
    line, gap = 20, 8
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (side + gap), rows * (side + line + gap)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for index, (image, label, probability) in enumerate(zip(images, labels, probabilities, strict=True)):
        left, top = index % columns * (side + gap) + gap // 2, index // columns * (side + line + gap)
        sheet.paste(Image.fromarray(image).convert("RGB").resize((side, side)), (left, top + line))
        guess = int(np.argmax(probability))
        text = f"{class_names[guess]} {100 * probability[guess]:.0f}%"
        text = text if font.getlength(text) < side + gap else class_names[guess]
        colour = "black" if guess == label else WRONG
        pen.text((left + side / 2, top + line / 2), text, font=font, fill=colour, anchor="mm")
    return np.asarray(sheet)


def plot_ranges(curves, x, title=None):
    """Draw accuracies of repeated runs over a logarithmic axis: their mean, and a band from the lowest to the highest.

    Args:
        curves: `{name: {position: accuracies}}`, accuracies 0–1 in a list for each position. "recorded: name" is drawn
            dashed, in the colour of `name`.
        x: what the horizontal axis is.
        title: text above the figure.
    """
    figure, ((axis,),) = _axes(1, 1, (WIDTH, 4.5))
    kinds = list(dict.fromkeys(name.removeprefix("recorded: ") for name in curves))
    for name, points in curves.items():
        kind = kinds.index(name.removeprefix("recorded: "))
        xs, ys = sorted(points), [100 * np.asarray(points[position], float) for position in sorted(points)]
        look = {"color": COLOURS[kind % 8], "marker": MARKERS[kind % 5]}
        style = "--" if name.startswith("recorded") else "-"
        axis.plot(xs, [values.mean() for values in ys], style, label=name, **look)
        low, high = [values.min() for values in ys], [values.max() for values in ys]
        axis.fill_between(xs, low, high, color=look["color"], alpha=0.2, linewidth=0)
    axis.set(xscale="log", xlabel=x, title=title)
    axis.set_xticks(sorted({position for points in curves.values() for position in points}), minor=False)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.minorticks_off()
    axis.grid(alpha=0.25)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def plot_bars(values, names, title=None, limit=None):
    """Draw one horizontal bar for each of `names`, from 0, the first on top, with its value at its end.

    `limit` is where the horizontal axis ends; None leaves room for the longest bar.
    """
    values = np.asarray(values, float)
    figure, ((axis,),) = _axes(1, 1, (0.75 * WIDTH, 0.6 + 0.36 * len(values)))
    bars = axis.barh(range(len(values)), values, color=COLOURS[0])
    axis.bar_label(bars, fmt="{:.1f}", padding=4)
    axis.set_yticks(range(len(values)), names)
    axis.invert_yaxis()
    axis.set(xlim=(0, limit or 1.15 * values.max()), title=title, xticks=[])
    axis.spines[["bottom", "left"]].set_visible(False)
    axis.tick_params(length=0)
    return figure


def plot_embeddings(embeddings, labels, class_names, title=None, limit=None):
    """Draw clouds of points side by side, each point with the colour and the marker of its class.

    Args:
        embeddings: `{title: positions (n, 2)}`.
        labels: int `(n,)`.
        class_names: sequence of str.
        title: text above all of them.
        limit: largest coordinate that is shown, the same in all of them; None takes each one's own.
    """
    size = min((WIDTH - 1.6) / len(embeddings), 5.5)
    figure, axes = _axes(1, len(embeddings), (size * len(embeddings) + 1.6, size + 0.3), title)
    for axis, (name, positions) in zip(axes.flat, embeddings.items(), strict=True):
        _scatter(axis, np.asarray(positions), labels, class_names)
        reach = 1.05 * (np.abs(positions).max() if limit is None else limit)
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=name)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", markerscale=2)
    return figure


def _scatter(axis, positions, labels, class_names):
    for label, name in enumerate(class_names):
        look = {"color": COLOURS[label % 8], "marker": MARKERS[label // 8 % 5], "label": name}
        axis.scatter(*positions[np.asarray(labels) == label].T, s=18, alpha=0.8, linewidths=0, **look)
    axis.set_axis_off()


# Frames of films


def plot_film_frame(kernels, probabilities, labels, class_names, title=None, largest=None):
    """Draw one frame of a training film: the first layer's kernels on the left, the class circle on the right.

    Each class has a corner of the circle, and each image lies at the mean of the corners weighted by its probabilities:
    in the centre where the network is undecided, in a corner where it is sure.

    Args:
        kernels: `(h, w, channels, filters)`; red is positive, blue negative.
        probabilities: `(n, classes)`, each row summing to 1.
        labels: int `(n,)`.
        class_names: sequence of str.
        title: text above the frame.
        largest: the weight that is fully coloured, the same for all frames of a film; None takes this frame's own.
    """
    figure, ((left, right),) = _axes(1, 2, (8, 4.4), title)
    kernels = np.asarray(kernels).mean(axis=2)
    largest = np.abs(kernels).max() if largest is None else largest
    draw_image(left, _mosaic(np.moveaxis(kernels, -1, 0)), "RdBu_r", (-largest, largest))
    left.set_title("filters of the first layer")
    left.set_axis_off()
    angles = np.pi / 2 - 2 * np.pi * np.arange(len(class_names)) / len(class_names)
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    _scatter(right, np.asarray(probabilities) @ corners, labels, class_names)
    for index, (corner, name) in enumerate(zip(1.12 * corners, class_names, strict=True)):
        right.text(*corner, name, color=COLOURS[index % 8], ha="center", va="center", fontweight="bold")
    right.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal", title="predicted probabilities of the digits")
    return figure


def _mosaic(images):
    """Put images `(n, h, w)` side by side in a square, with a rim of NaN, which is drawn as nothing, between them."""
    columns = int(np.ceil(np.sqrt(len(images))))
    rows = -(-len(images) // columns)
    padded = np.pad(images, ((0, rows * columns - len(images)), (0, 1), (0, 1)), constant_values=np.nan)
    height, width = padded.shape[1:]
    return padded.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)[:-1, :-1]


def plot_confusion_frame(matrix, class_names, curve, limits, title=None):
    """Draw one frame of a film: how a confusion matrix orders itself, beside the curve of the accuracy.

    Args:
        matrix: counts `(classes, classes)`, rows are actual, columns predicted.
        class_names: sequence of str.
        curve: `(steps, accuracies)` so far, accuracies 0–1.
        limits: the last step of the film and the highest accuracy of the axis, so that all frames have one scale.
        title: text above the frame.
    """
    matrix = np.asarray(matrix, float)
    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure, ((left, right),) = _axes(1, 2, (WIDTH, 4.8), title, width_ratios=(1.25, 1))
    drawn = left.imshow(shares, cmap="magma", vmin=0, vmax=100, interpolation="nearest")
    _name_ticks(left, class_names, class_names)
    left.set(xlabel="predicted", ylabel="actual")
    figure.colorbar(drawn, ax=left, label="% of the class")
    steps, accuracies = curve[0], 100 * np.asarray(curve[1])
    right.plot(steps, accuracies)
    right.plot(steps[-1:], accuracies[-1:], "o", color=COLOURS[0])
    right.set(xlim=(0, limits[0]), ylim=(0, 100 * limits[1]), xlabel="step", title="validation accuracy, %")
    right.grid(alpha=0.25)
    return figure
