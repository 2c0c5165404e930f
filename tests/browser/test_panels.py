"""Three journeys through the panels, as a student takes them: in JupyterLab, in a browser."""

import io
import re

import numpy as np
from lab_page import button, choose, move, restart, run_all, screenshot, slider
from PIL import Image

PAINT = """
import time
import numpy as np
from helpers.images import load_image
from helpers.live import image_choice, live, log_slider, several

def paint(content="china", style="night_swirls", style_weight=50.0, size=256, steps=60, start="content",
          colours=None, layers=("block1", "block3"), smooth=True):
    content, style = load_image(content, size), load_image(style).mean((0, 1))
    noise = np.random.default_rng(0)
    for number in range(steps):
        time.sleep(0.04)
        share = (number + 1) / steps * style_weight / (style_weight + 20)
        if start == "nowhere":
            raise RuntimeError("there is no such start")
        loss = 1 / (number + 1) + 0.05 * noise.random()
        losses = {"total": 80 * loss + 9, "content": 9, "style": 60 * loss, "total variation": 20 * loss}
        yield content * (1 - share) + style * share, losses
"""
PANEL = """live(
    paint, content=image_choice(), style=image_choice(), style_weight=log_slider(0.1, 10_000, zero=True),
    size=(64, 512, 32), steps=(5, 300), start=["content", "noise", "nowhere"],
    colours={"of the style": None, "of the content": "luminance"},
    layers=several(["block1", "block2", "block3", "block4", "block5"]),
)"""
FREE = "import threading\nprint('free while', [thread.name for thread in threading.enumerate()].count('steps_0'))"


def image(page, number=0):
    """Return what a live image shows, as an array, and how wide it is on the page."""
    shown = page.locator("img.atelier-image[alt='paint: the image']").nth(number)
    data = shown.evaluate("async image => Array.from(new Uint8Array(await (await fetch(image.src)).arrayBuffer()))")
    return np.asarray(Image.open(io.BytesIO(bytes(data))).convert("RGB"), float), shown.bounding_box()["width"]


def test_a_picture_is_painted_stopped_saved_and_goes_wrong(open_notebook, lab):
    page = open_notebook([PAINT, PANEL])
    button(page, "Run").wait_for()
    assert page.locator("img.atelier-image:visible").count() == 0  # nothing runs by itself
    for label in ("Style weight", "Size", "Steps"):
        assert slider(page, label).count() == 1
    screenshot(page, "ready")

    upload = page.get_by_label("Upload an image: Content")
    upload.set_input_files({"name": "huge.png", "mimeType": "image/png", "buffer": b"0" * 9_000_000})
    page.get_by_text("huge.png has 9.0 MB").wait_for()
    upload.set_input_files({"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"})
    page.get_by_text("notes.png: ").wait_for()
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), (200, 30, 30)).save(buffer, "PNG")
    upload.set_input_files({"name": "red.png", "mimeType": "image/png", "buffer": buffer.getvalue()})
    page.get_by_role("radio", name="red.png").wait_for(state="attached")
    assert page.get_by_role("radio", name="red.png").is_checked() and page.get_by_text("notes.png: ").count() == 0
    move(page, "Style weight", "Home")
    move(page, "Steps", "Home")
    button(page, "Run").click()
    page.get_by_text("Finished after 5 steps").wait_for()
    seen, _ = image(page)
    assert seen.shape == (40, 60, 3) and np.allclose(seen.mean((0, 1)), (200, 30, 30), atol=4)
    button(page, "Show as code").click()
    call = page.locator("pre.atelier-call").inner_text()
    assert call.startswith('paint(content=load_image("red.png"), style="night_swirls", style_weight=0.0')

    button(page, "Reset").click()
    page.get_by_text("Press Run.").wait_for()
    assert page.get_by_role("radio", name="china").first.is_checked()
    content = page.get_by_role("radiogroup", name="Content").get_by_role("radio", name="china")
    content.focus()
    page.keyboard.press("ArrowRight")  # by keyboard alone: another image, sliders, Run and Stop
    assert page.get_by_role("radiogroup", name="Content").get_by_role("radio", name="flower").is_checked()
    assert move(page, "Style weight", "ArrowRight") == "100"
    assert move(page, "Steps", "End") == "300"
    button(page, "Run").press("Enter")
    page.get_by_text(re.compile(r"step \d\d+ of 300, \d+ s left")).wait_for()
    page.locator("img.atelier-image[alt='paint: the curves']:visible").wait_for()
    first, width = image(page)
    assert width >= 360
    page.wait_for_timeout(1500)
    screenshot(page, "running")
    later, _ = image(page)
    assert np.abs(first - later).mean() > 1
    button(page, "Stop").press("Enter")
    page.get_by_text(re.compile("Stopped after .* steps")).wait_for()
    button(page, "Save PNG").click()
    page.get_by_text("saved/paint_01.png").wait_for()
    button(page, "Save GIF").click()
    page.get_by_text("saved/paint_01.gif").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "paint_01.gif"
    button(page, "Show as code").click()
    call = page.locator("pre.atelier-call").inner_text()
    assert call.startswith('islice(paint(content="flower"')
    png, gif = (Image.open(lab.folder / "saved" / f"paint_01.{ending}") for ending in ("png", "gif"))
    assert png.text["Description"] == gif.info["comment"].decode() == call
    assert png.width == 256 and gif.n_frames >= 10

    choose(page, "Start", "nowhere")
    button(page, "Run").click()
    page.get_by_text("RuntimeError: there is no such start").wait_for()
    assert 'raise RuntimeError("there is no such start")' in page.get_by_role("status").inner_text()
    screenshot(page, "error")
    choose(page, "Start", "content")
    move(page, "Steps", "Home")
    button(page, "Run").click()
    page.get_by_text("Finished after 5 steps").wait_for()


def test_two_panels_at_once_a_free_kernel_and_a_restarted_one(open_notebook):
    page = open_notebook([PAINT, f"from ipywidgets import VBox\nVBox([{PANEL}, {PANEL}])", FREE])
    page.get_by_text("free while 0").wait_for()
    for number in range(2):
        button(page, "Run").nth(number).click()
    page.get_by_text(re.compile(r"step \d+ of 60, ")).nth(1).wait_for()
    page.locator(".jp-CodeCell").last.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    page.get_by_text("free while 1").wait_for()  # between two steps, and in one thread for both
    assert page.get_by_text("Finished").count() == 0
    page.get_by_text("Finished after 60 steps").nth(1).wait_for()
    assert np.abs(image(page, 0)[0] - image(page, 1)[0]).max() == 0

    restart(page)
    run_all(page)
    page.get_by_text("Press Run.").nth(1).wait_for()
    button(page, "Run").first.click()
    page.get_by_text("Finished after 60 steps").wait_for()


def test_a_digit_is_drawn_and_read(open_notebook):
    network = """
import keras
import numpy as np
from helpers.digit_canvas import DigitCanvas
from helpers.synthetic import digits
(images, labels), _ = digits(train=1000, test=10)
means = np.array([images[labels == label].mean(0).ravel() / 255 for label in range(10)])
model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
model.set_weights([means.T, -0.5 * (means**2).sum(1)])  # the nearest mean image is the most probable one
DigitCanvas(model)"""
    page = open_notebook([network])
    canvas, bars = page.locator("canvas.atelier-canvas"), page.get_by_role("list", name="probabilities")
    canvas.scroll_into_view_if_needed()
    frame = canvas.bounding_box()
    ring = [
        (frame["x"] + 110 + 45 * np.sin(turn), frame["y"] + 110 - 75 * np.cos(turn))
        for turn in np.linspace(0, 2 * np.pi, 30)
    ]
    page.mouse.move(*ring[0])
    page.mouse.down()
    for place in ring:
        page.mouse.move(*place)
    page.mouse.up()
    best = bars.locator(".atelier-best")
    best.filter(has_text=re.compile("^0")).wait_for()
    screenshot(page, "digit")
    button(page, "Clear").click()
    best.wait_for(state="detached")
