"""The figures of the course. They draw what they are given and compute nothing but its layout.

Each function returns a closed matplotlib figure: the last line of a cell shows it, `display(figure)` shows it anywhere
else, and none stays in memory.
"""

import functools
import itertools

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.metrics import ConfusionMatrixDisplay

DPI = 90
COLOURS = plt.get_cmap("tab10").colors
STYLE = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "font.size": 10,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "image.interpolation": "nearest",
}


def _styled(draw):
    """Run a function that returns a figure in the course's style, and close the figure, so that it is shown once."""

    @functools.wraps(draw)
    def styled(*args, **kwargs):
        with plt.rc_context(STYLE):
            figure = draw(*args, **kwargs)
        plt.close(figure)
        return figure

    return styled


@_styled
def show_images(
    images, titles=None, columns=6, size=1.5, title=None, cmap="gray", value_range=None, colours=None, aspect=None
):
    """Draw images in rows.

    Args:
        images: sequence of arrays `(h, w)`, `(h, w, 1)` or `(h, w, 3)`; RGB ones 0–255.
        titles: one text per image, or None.
        columns: images in a row.
        size: width of one image, inches.
        title: text above all of them.
        cmap: colour map for images of one channel.
        value_range: (black, white) for images of one channel; None takes each image's own extremes.
        colours: a colour for each title, or None.
        aspect: height of an image's place in parts of its width; None takes that of the tallest image.

    Returns:
        The matplotlib figure.
    """
    images = list(images)
    aspect = _tallest(images) if aspect is None else aspect
    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    heading = 0.22 if titles is not None else 0.0
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns * size, rows * (aspect * size + heading) + 0.3 * bool(title)), squeeze=False
    )
    for index, axis in enumerate(axes.flat):
        axis.set_axis_off()
        if index >= len(images):
            continue
        draw_image(axis, images[index], cmap, value_range)
        if titles is not None:
            axis.set_title(titles[index], color=colours[index] if colours else "black")
    if title:
        figure.suptitle(title)
    return figure


def _tallest(images):
    """Return the largest ratio of height to width; 1 if there is no image."""
    return max((np.shape(image)[0] / np.shape(image)[1] for image in images), default=1.0)


def draw_image(axis, image, cmap="gray", value_range=None):
    """Draw one image on a matplotlib axis: `(h, w)`, `(h, w, 1)`, or RGB `(h, w, 3)`, 0–255."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] == 3:
        axis.imshow(np.clip(image, 0, 255).astype(np.uint8))
    else:
        low, high = value_range or (None, None)
        axis.imshow(np.squeeze(image), cmap=cmap, vmin=low, vmax=high)


@_styled
def plot_history(history, x="generation", panels=None, title=None, percent=("accuracy",)):
    """Draw curves of a run, one panel for each kind of value.

    Args:
        history: dict of equally long lists; one of them is named `x`. A list may hold None where nothing was measured.
        x: the name of the list on the horizontal axis: where each value was measured.
        panels: dict from the title of a panel to the names of its curves; None draws the losses in one panel and the
            accuracies in another.
        title: text above all panels.
        percent: curves whose panel's title holds one of these words are drawn in per cent.

    Returns:
        The matplotlib figure.
    """
    names = [name for name in history if name != x]
    if panels is None:
        panels = {kind: [name for name in names if kind in name] for kind in ("loss", "accuracy")}
        panels = {kind: chosen for kind, chosen in panels.items() if chosen} or {"value": names}
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.0), squeeze=False)
    for axis, (kind, chosen) in zip(axes.flat, panels.items(), strict=True):
        scale = 100 if any(word in kind for word in percent) else 1
        for index, name in enumerate(chosen):
            points = [
                (at, scale * value) for at, value in zip(history[x], history[name], strict=True) if value is not None
            ]
            axis.plot(*zip(*points, strict=True), color=COLOURS[index], label=name, marker="." * (len(points) < 12))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set(xlabel=x, title=kind + (", %" if scale == 100 else ""))
        axis.grid(alpha=0.25)
        if len(chosen) > 1:
            axis.legend()
    if title:
        figure.suptitle(title)
    return figure


@_styled
def plot_confusion(matrix, class_names, title=None):
    """Draw a confusion matrix, such as `sklearn.metrics.confusion_matrix` returns: rows are actual, columns predicted.

    The colours show mistakes alone: the diagonal, which outweighs all else, is left white.
    """
    matrix = np.asarray(matrix)
    mistakes = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
    figure, axis = plt.subplots(figsize=(5.2, 4.6))
    display = ConfusionMatrixDisplay(matrix, display_labels=class_names)
    display.plot(ax=axis, cmap="Reds", colorbar=False, im_kw={"vmax": max(1, mistakes.max() * 1.5)})
    if max(map(len, map(str, class_names))) > 3:
        axis.tick_params(axis="x", rotation=45)
        for text in axis.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
    display.im_.set_data(mistakes)
    for row, texts in enumerate(display.text_):
        for column, text in enumerate(texts):
            text.set(color="black" if row == column or matrix[row, column] else "lightgray", fontsize=8)
    axis.set(xlabel="predicted", ylabel="actual", title=title)
    return figure


def plot_predictions(images, labels, probabilities, class_names, columns=6, title=None):
    """Draw images with *actual / predicted* and the probability above each, red where the prediction is wrong.

    Args:
        images: `(n, h, w)` or `(n, h, w, 3)`.
        labels: int `(n,)`.
        probabilities: `(n, classes)`.
        class_names: sequence of str.
        columns: images in a row.
        title: text above all of them.
    """
    predicted = np.argmax(probabilities, axis=1)
    titles = [
        f"{class_names[label]} / {class_names[guess]}  {100 * probability[guess]:.0f} %"
        for label, guess, probability in zip(labels, predicted, probabilities, strict=True)
    ]
    colours = ["black" if label == guess else "crimson" for label, guess in zip(labels, predicted, strict=True)]
    return show_images(images, titles, columns, title=title or "actual / predicted", colours=colours)


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
        colour = "black" if guess == label else "crimson"
        pen.text((left + side / 2, top + line / 2), text, font=font, fill=colour, anchor="mm")
    return np.asarray(sheet)


def plot_filters(kernels, columns=10, title=None, size=0.8):
    """Draw kernels `(h, w, channels, filters)`, averaged over `channels`: red above 0, blue below."""
    kernels = np.asarray(kernels).mean(axis=2)
    largest = np.abs(kernels).max()
    images = np.moveaxis(kernels, -1, 0)
    return show_images(images, None, columns, size, title, "RdBu_r", (-largest, largest))


def plot_feature_maps(feature_maps, titles=None, columns=10, size=0.9, title=None):
    """Draw feature maps `(h, w, channels)`, one picture per channel, all on one scale of brightness."""
    feature_maps = np.asarray(feature_maps)
    images = np.moveaxis(feature_maps, -1, 0)
    return show_images(images, titles, columns, size, title, "magma", (min(0, feature_maps.min()), feature_maps.max()))


@_styled
def plot_film_frame(kernels, probabilities, labels, class_names, title=None, largest=None):
    """Draw one frame of a training film: the first layer's kernels on the left, the class circle on the right.

    On the circle each class has a corner, and each image lies at the mean of the corners weighted by its
    probabilities: in the centre where the network is undecided, in a corner where it is sure. Its colour is its label.

    Args:
        kernels: `(h, w, channels, filters)`; red is positive, blue negative.
        probabilities: `(n, classes)`, each row summing to 1.
        labels: int `(n,)`.
        class_names: sequence of str.
        title: text above the frame.
        largest: the weight that is fully coloured, the same for all frames of a film; None takes this frame's own.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.4))
    kernels = np.asarray(kernels).mean(axis=2)
    largest = np.abs(kernels).max() if largest is None else largest
    draw_image(left, _mosaic(np.moveaxis(kernels, -1, 0)), "RdBu_r", (-largest, largest))
    left.set(xticks=[], yticks=[], title="first-layer filters")
    left.spines[:].set_visible(False)
    angles = np.pi / 2 - 2 * np.pi * np.arange(len(class_names)) / len(class_names)
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    places = np.asarray(probabilities) @ corners
    right.scatter(*places.T, s=7, c=[COLOURS[label % 10] for label in labels], alpha=0.7, linewidths=0)
    for index, name in enumerate(class_names):
        right.text(
            *(1.1 * corners[index]), name, color=COLOURS[index % 10], ha="center", va="center", fontweight="bold"
        )
    right.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal", title="where the network puts each digit")
    right.set_axis_off()
    figure.suptitle(title)
    return figure


def _mosaic(images):
    """Put images `(n, h, w)` side by side in a square, with a rim of NaN, which is drawn as nothing, between them."""
    columns = int(np.ceil(np.sqrt(len(images))))
    rows = -(-len(images) // columns)
    padded = np.pad(images, ((0, rows * columns - len(images)), (0, 1), (0, 1)), constant_values=np.nan)
    height, width = padded.shape[1:]
    return padded.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)[:-1, :-1]


@_styled
def contact_sheet(run, title=None, text="{:.1f}", size=1.5, aspect=None, **grids):
    """Call `run` for every combination of one or two knobs and draw the results on a grid.

    Args:
        run: function that takes the knobs by name and returns an image, or a number.
        title: text above the sheet.
        text: how a number is written into its field.
        size: width of one field, inches.
        aspect: height of a field in parts of its width; None takes that of the tallest image, and 1 for numbers.
        **grids: one or two knobs, each a list of values: the first is the rows, the second the columns.

    Returns:
        The matplotlib figure. The results are its attribute `results`, a dict from tuples of values.

    Raises:
        ValueError: if there are no knobs or more than two.
    """
    if len(grids) not in (1, 2):
        raise ValueError(f"A sheet has one or two knobs; {len(grids)} were given: {', '.join(grids) or 'none'}.")
    if len(grids) == 1:
        grids = {"": [None], **grids}
    (row_name, rows), (column_name, columns) = grids.items()
    names = [name for name in grids if name]
    results = {}
    for values in itertools.product(*(grids[name] for name in names)):
        results[values] = run(**dict(zip(names, values, strict=True)))
    at = [[results[(row, column) if row_name else (column,)] for column in columns] for row in rows]
    numbers = np.ndim(at[0][0]) == 0
    if aspect is None:
        aspect = 1.0 if numbers else _tallest(results.values())
    draw = _draw_numbers if numbers else _draw_pictures
    figure = draw(at, rows, columns, text, size, aspect)
    figure.supxlabel(column_name)
    figure.supylabel(row_name or None)
    figure.suptitle(title)
    figure.results = results
    return figure


def _draw_numbers(at, rows, columns, text, size, aspect):
    figure, axis = plt.subplots(figsize=(1.6 + size * len(columns) * 0.8, 1.4 + 0.5 * aspect * size * len(rows)))
    values = np.ma.masked_invalid(np.array(at, float))
    axis.imshow(values, cmap="YlGn", aspect="auto", vmax=values.max() + 0.5 * max(np.ptp(values), 1e-9))
    for row, column in np.ndindex(values.shape):
        value = at[row][column]
        axis.text(column, row, text.format(value) if np.isfinite(value) else "NaN", ha="center", va="center")
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return figure


def _draw_pictures(at, rows, columns, text, size, aspect):
    figure, axes = plt.subplots(
        len(rows), len(columns), figsize=(size * len(columns) + 0.4, aspect * size * len(rows) + 0.6), squeeze=False
    )
    for row, column in np.ndindex(axes.shape):
        axis = axes[row, column]
        draw_image(axis, at[row][column])
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        if row == 0:
            axis.set_title(columns[column])
        if column == 0 and rows[row] is not None:
            axis.set_ylabel(rows[row])
    return figure


@_styled
def plot_curves(panels, x="generation", title=None, size=(4.6, 3.0)):
    """Draw curves that were measured at different places, one panel for each kind of value.

    Args:
        panels: dict from the title of a panel to its curves, `{name: (xs, ys)}`. Names that begin with "recorded" are
            drawn dashed; a panel with "accuracy" in its title is drawn in per cent.
        x: what the horizontal axis is.
        title: text above all panels.
        size: width and height of one panel, inches.

    Returns:
        The matplotlib figure.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(size[0] * len(panels), size[1]), squeeze=False)
    for axis, (kind, curves) in zip(axes.flat, panels.items(), strict=True):
        scale = 100 if "accuracy" in kind else 1
        for index, (name, (xs, ys)) in enumerate(curves.items()):
            dashed = "--" if name.startswith("recorded") else "-"
            mark = "." if len(xs) < 12 else ""  # one point alone would be no line
            axis.plot(xs, scale * np.asarray(ys, float), dashed, marker=mark, color=COLOURS[index % 10], label=name)
        axis.set(xlabel=x, title=kind + (", %" if scale == 100 else ""))
        axis.grid(alpha=0.25)
        if len(curves) > 1:
            axis.legend()
    figure.suptitle(title)
    return figure


@_styled
def plot_bars(values, names, title=None, text="{:.1f}", limit=None):
    """Draw one horizontal bar for each of `names`, the first on top, its value written at its end.

    Args:
        values: numbers, from 0.
        names: sequence of str.
        title: text above the bars.
        text: how a value is written.
        limit: where the horizontal axis ends; None leaves room for the longest bar.
    """
    values = np.asarray(values, float)
    figure, axis = plt.subplots(figsize=(5.2, 0.6 + 0.27 * len(values)))
    bars = axis.barh(range(len(values)), values, color=[COLOURS[index % 10] for index in range(len(values))])
    axis.bar_label(bars, [text.format(value) for value in values], padding=4)
    axis.set_yticks(range(len(values)), names)
    axis.invert_yaxis()
    axis.set(xlim=(0, limit or 1.15 * values.max()), title=title, xticks=[])
    axis.spines[["bottom", "left"]].set_visible(False)
    axis.tick_params(length=0)
    return figure


@_styled
def plot_heat(images, heat, titles=None, colours=None, columns=8, size=1.4, title=None):
    """Draw images in rows and, under each, what Grad-CAM found in it: bright where a class is seen, dark elsewhere.

    Args:
        images: RGB `(n, h, w, 3)`, 0–255.
        heat: `(n, rows, columns)`, 0–1, of any resolution.
        titles: one text per image, or None.
        colours: a colour for each title, or None.
        columns: images in a row.
        size: width and height of one image, inches.
        title: text above all of them.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(
        2 * rows, columns, figsize=(size * columns, rows * (2 * size + 0.3) + 0.3 * bool(title)), squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for index, (image, warmth) in enumerate(zip(images, heat, strict=True)):
        above, below = (axes[2 * (index // columns) + row, index % columns] for row in (0, 1))
        draw_image(above, image)
        height, width = np.asarray(image).shape[:2]
        draw_image(below, image)
        below.imshow(warmth, cmap="inferno", alpha=0.65, vmin=0, vmax=1, interpolation="bicubic",
                     extent=(-0.5, width - 0.5, height - 0.5, -0.5))  # fmt: skip
        if titles is not None:
            above.set_title(titles[index], fontsize=8, color=colours[index] if colours else "black")
    figure.suptitle(title)
    return figure


@_styled
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
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.6), width_ratios=(1.15, 1))
    left.imshow(shares, cmap="magma", vmin=0, vmax=1)
    left.set_xticks(range(len(class_names)), class_names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    left.set_yticks(range(len(class_names)), class_names, fontsize=8)
    left.tick_params(length=0)
    left.set(xlabel="predicted", ylabel="actual")
    steps, accuracies = curve
    right.plot(steps, 100 * np.asarray(accuracies), color=COLOURS[0])
    right.plot(steps[-1:], 100 * np.asarray(accuracies[-1:]), "o", color=COLOURS[0])
    right.set(xlim=(0, limits[0]), ylim=(0, 100 * limits[1]), xlabel="step", title="validation accuracy, %")
    right.grid(alpha=0.25)
    figure.suptitle(title)
    return figure


@_styled
def plot_ranges(curves, x, title=None, size=(6.4, 3.8), percent=True):
    """Draw curves of repeated runs over a logarithmic axis: their mean, and a band from the least to the most.

    Args:
        curves: `{name: {place: values}}`, the values of one place in a list. "recorded: name" is drawn dashed, in the
            colour of `name`.
        x: what the horizontal axis is; each place of the first curve is written on it.
        title: text above the figure.
        size: width and height, inches.
        percent: values are shares, 0–1, and are drawn in per cent.
    """
    figure, axis = plt.subplots(figsize=size)
    scale = 100 if percent else 1
    kinds = list(dict.fromkeys(name.removeprefix("recorded: ") for name in curves))
    for name, points in curves.items():
        colour = COLOURS[kinds.index(name.removeprefix("recorded: ")) % 10]
        places = sorted(points)
        values = [scale * np.asarray(points[place], float) for place in places]
        style = "o--" if name.startswith("recorded") else "o-"
        axis.plot(places, [np.mean(one) for one in values], style, color=colour, label=name, markersize=4)
        axis.fill_between(
            places, [one.min() for one in values], [one.max() for one in values], color=colour, alpha=0.2, linewidth=0
        )
    axis.set(xscale="log", xlabel=x, title=title)
    axis.set_xticks(sorted({place for points in curves.values() for place in points}), minor=False)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.minorticks_off()
    axis.grid(alpha=0.25)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@_styled
def plot_embeddings(embeddings, labels, class_names, title=None, limit=None, size=4.0):
    """Draw clouds of points side by side, each point in the colour of its class.

    Args:
        embeddings: `{title: places (n, 2)}`.
        labels: int `(n,)`.
        class_names: sequence of str.
        title: text above all of them.
        limit: largest coordinate that is shown, the same in all of them; None takes each one's own.
        size: width and height of one cloud, inches.
    """
    figure, axes = plt.subplots(1, len(embeddings), figsize=(size * len(embeddings) + 1.1, size + 0.3), squeeze=False)
    for axis, (name, places) in zip(axes.flat, embeddings.items(), strict=True):
        for label, class_name in enumerate(class_names):
            axis.scatter(*np.asarray(places)[labels == label].T, s=14, color=COLOURS[label % 10], label=class_name,
                         alpha=0.8, linewidths=0)  # fmt: skip
        reach = 1.05 * (np.abs(places).max() if limit is None else limit)
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=name)
        axis.set_axis_off()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", markerscale=2.5, fontsize=9)
    figure.suptitle(title)
    return figure
