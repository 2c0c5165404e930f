"""Every panel as a student uses it: in JupyterLab, in a browser, with the notebook's own cells."""

import io
import re
import time

import imageio.v3 as imageio
import numpy as np
import pytest
from lab_page import button, cells_for, choose, move, run_all, screenshot, visit
from PIL import Image

from helpers.commands import execute


def gif_frames(path):
    """Return the frames of a GIF, `(n, height, width, 3)`."""
    return imageio.imread(path, index=None, plugin="pillow", mode="RGB").astype(float)


def shown_width(page, alt):
    """Return how wide the picture is that a panel shows, in its own pixels."""
    return page.locator(f"img.atelier-picture[alt*='{alt}']").evaluate("image => image.naturalWidth")


def picture_file(name, size=(60, 40)):
    """Return a drawn picture as a file to upload."""
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(buffer, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": buffer.getvalue()}


def test_style_transfer(open_notebook, lab):
    page = open_notebook(cells_for("04", "style_transfer_panel("))
    button(page, "Run").wait_for()
    assert shown_width(page, "the picture") == 0  # nothing runs by itself
    screenshot(page, "style_transfer_ready")

    assert move(page, "Steps", "End") == "300"
    button(page, "Run").click()
    page.get_by_text(re.compile(r"step \d\d+ of 300,")).wait_for()
    page.wait_for_function("document.querySelector('img[alt=\"curve of the run\"]').naturalWidth > 0")
    screenshot(page, "style_transfer_running")
    began = time.perf_counter()
    button(page, "Stop").click()
    page.get_by_text(re.compile("Stopped after .* steps")).wait_for()
    print(f"Stop answered after {time.perf_counter() - began:.2f} s")
    assert button(page, "Run").is_enabled()

    assert move(page, "Steps", "Home") == "5"
    assert move(page, "Longest side", "Home") == "64"
    page.get_by_role("radio", name="woodcut_waves").nth(1).check(force=True)
    button(page, "Run").click()
    page.get_by_text("Finished after 5 steps").wait_for()
    assert shown_width(page, "the picture") == 64

    button(page, "Save PNG").click()
    page.get_by_text("saved/style_transfer_01.png").wait_for()
    button(page, "Save GIF").click()
    page.get_by_text("saved/style_transfer_01.gif").wait_for()
    result = imageio.imread(lab.folder / "saved" / "style_transfer_01.png").astype(float)
    frames = gif_frames(lab.folder / "saved" / "style_transfer_01.gif")
    assert frames.shape[1:] == result.shape and result.shape[1] == 64 and len(frames) in (5, 6)
    assert np.abs(frames[-1] - result).mean() < np.abs(frames[0] - result).mean()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "style_transfer_01.gif"

    button(page, "Show as code").click()
    code = page.locator("pre", has_text="transfer.stylize(").last.inner_text()
    assert "steps=5" in code and "woodcut_waves" in code
    compile(code, "cell", "exec")


def test_uploads(open_notebook):
    page = open_notebook(cells_for("04", "style_transfer_panel("))
    upload = page.get_by_label("Upload a picture: Content")
    upload.set_input_files({"name": "huge.png", "mimeType": "image/png", "buffer": b"0" * 9_000_000})
    page.get_by_text("huge.png has 9.0 MB; at most 8 MB").wait_for()
    upload.set_input_files({"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"})
    page.get_by_text("notes.png is no picture").wait_for()
    upload.set_input_files(picture_file("mine.png"))
    thumbnail = page.get_by_role("radio", name="mine.png")
    thumbnail.wait_for(state="attached")
    assert thumbnail.is_checked() and page.get_by_text("notes.png is no picture").count() == 0
    move(page, "Steps", "Home")
    button(page, "Run").click()
    page.get_by_text("Finished after 5 steps").wait_for()
    assert shown_width(page, "the picture") == 60


@pytest.mark.skipif(not execute.NOTEBOOKS.joinpath("05_deepdream.ipynb").exists(), reason="There is no notebook 05.")
def test_deepdream_error_and_recovery(open_notebook, lab):
    page = open_notebook(cells_for("05", "deepdream_panel("))
    move(page, "Octaves", "End")
    assert move(page, "Octave scale", "End") == "2.00"
    button(page, "Run").click()
    page.get_by_text("The smallest of 6 octaves would be").wait_for()
    button(page, "Reset").click()
    page.get_by_text("Press Run.").wait_for()
    assert move(page, "Longest side", "Home") == "128"
    move(page, "Octaves", "Home")
    move(page, "Steps", "Home")
    button(page, "Run").click()
    page.get_by_text("Finished after 1 steps").wait_for()
    assert shown_width(page, "the picture") == 128
    button(page, "Reset").click()
    move(page, "Steps", "End")
    button(page, "Run").click()
    page.wait_for_function("document.querySelector('img[alt=\"curve of the run\"]').naturalWidth > 0")
    screenshot(page, "deepdream_running")
    button(page, "Stop").click()
    page.get_by_text(re.compile("Stopped after .* steps")).wait_for()
    button(page, "Save GIF").click()
    page.get_by_text("saved/deepdream_01.gif").wait_for()
    assert len(gif_frames(lab.folder / "saved" / "deepdream_01.gif")) >= 2


def drawn(cells):
    """Return a notebook's cells, on the pictures that the course draws itself."""
    assert any('SOURCE = "auto"' in cell for cell in cells)
    return [cell.replace('SOURCE = "auto"', 'SOURCE = "synthetic"') for cell in cells]


def run_until_stopped(page, name):
    """Run a training of 1,000 steps, take a screenshot of it as `name`, and stop it."""
    assert move(page, "Steps", "End") == "1000"
    button(page, "Run").click()
    page.wait_for_function("document.querySelector('img[alt=\"curve of the run\"]').naturalWidth > 0")
    page.get_by_text(re.compile(r"step \d\d+ of 1000,")).wait_for()
    screenshot(page, name)
    button(page, "Stop").click()
    page.get_by_text(re.compile("Stopped after .* steps")).wait_for()


def test_training(open_notebook, lab):
    page = open_notebook(drawn(cells_for("01", "training_panel(")))
    assert move(page, "Learning rate", "ArrowRight") == "0.002"
    run_until_stopped(page, "training_running")
    assert move(page, "Steps", "Home") == "20"
    button(page, "Run").click()
    page.get_by_text("Finished after 20 steps").wait_for()
    button(page, "Save GIF").click()
    page.get_by_text("saved/training_01.gif").wait_for()
    assert gif_frames(lab.folder / "saved" / "training_01.gif").shape[0] == 2  # after the first and the last step


def test_training_on_colour_pictures(open_notebook, lab):
    page = open_notebook(drawn(cells_for("02", "training_panel(")))
    choose(page, "Network", "classic_cnn")
    assert move(page, "Steps", "Home") == "20"
    button(page, "Run").click()
    page.get_by_text("Finished after 20 steps").wait_for()
    assert shown_width(page, "the picture") > 0
    screenshot(page, "training_on_colour_pictures")


def test_fine_tuning(open_notebook, lab):
    page = open_notebook(drawn(cells_for("03", "fine_tuning_panel(")))
    choose(page, "Head", "trained first")
    choose(page, "Train", "block4_conv1 to the end")
    run_until_stopped(page, "fine_tuning_running")
    choose(page, "Weights", "random")
    choose(page, "Train", "all layers")
    choose(page, "Images a class", "10")
    assert move(page, "Steps", "Home") == "20"
    button(page, "Run").click()
    page.get_by_text("Finished after 20 steps").wait_for()
    assert shown_width(page, "the picture") > 0
    button(page, "Show as code").click()
    code = page.locator("pre", has_text="transfer_network(").last.inner_text()
    assert "load_backbone('mini_vgg', None)" in code and "unfreeze(network, None)" in code
    compile(code, "cell", "exec")


def test_a_digit_is_drawn_and_classified(open_notebook):
    train = "from helpers.training_loop import Training"
    train += "\nfor _ in Training(modern).iterate(mnist, 0.003, batch_size=64, steps=150):\n    pass"
    *cells, panel = drawn(cells_for("01", "digit_panel(", also=["mnist"]))
    page = open_notebook([*cells, train, panel])
    canvas = page.locator(".atelier-canvas")
    canvas.scroll_into_view_if_needed()
    bars = page.locator("[aria-label=probabilities]")
    bars.wait_for()
    frame = canvas.bounding_box()
    around = np.linspace(0, 2 * np.pi, 30)
    ring = [(frame["x"] + 110 + 45 * np.sin(a), frame["y"] + 110 - 75 * np.cos(a)) for a in around]
    page.mouse.move(*ring[0])
    page.mouse.down()
    for place in ring:
        page.mouse.move(*place)
    page.mouse.up()
    winner = bars.locator("div", has=page.locator("xpath=self::*[contains(@style,'bold')]"))
    bars.get_by_text("%").first.wait_for()
    page.wait_for_timeout(500)  # what is drawn last is sent after a tenth of a second
    screenshot(page, "digit_drawn")
    assert winner.count() == 1 and winner.inner_text().split()[0] == "0"
    button(page, "Clear").click()
    bars.get_by_text("%").first.wait_for(state="detached")


def test_two_panels_at_once_and_a_restarted_kernel(open_notebook):
    *cells, panel = cells_for("04", "style_transfer_panel(")
    page = open_notebook([*cells, f"from ipywidgets import VBox\nVBox([{panel}, {panel}])"])
    for number in range(2):
        page.locator(".widget-hslider", has=page.get_by_text("Longest side")).nth(number).locator(".noUi-handle").press(
            "Home"
        )
        button(page, "Run").nth(number).click()
    page.get_by_text("Finished after 60 steps").nth(1).wait_for()

    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Restart Kernel…")).click()
    page.locator(".jp-Dialog button", has_text="Restart").click()
    page.get_by_text("(ipykernel) | Idle").wait_for()
    run_all(page)
    page.get_by_text("Press Run.").nth(1).wait_for()
    page.locator(".widget-hslider", has=page.get_by_text("Steps")).first.locator(".noUi-handle").press("Home")
    button(page, "Run").first.click()
    page.get_by_text("Finished after 5 steps").wait_for()


@pytest.mark.parametrize("path", execute.find(), ids=lambda path: path.stem)
def test_a_notebook_as_it_is_stored(lab, page, path):
    """It opens without an error and shows its pictures; a panel says that it is to be run."""
    (lab.folder / path.name).write_bytes(path.read_bytes())
    visit(page, lab.address(path.name))
    page.get_by_role("heading", level=1).first.wait_for()
    assert page.get_by_text("Error displaying widget").count() == 0
