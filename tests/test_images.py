"""Images of every kind that a student may drop into the folder: each is read, or one line says why not."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from helpers import files, images
from helpers.images import (
    ImageError,
    fitted,
    load_image,
    luminance,
    match_color,
    resize,
    sample_image,
    sample_names,
    save_image,
    to_uint8,
)  # fmt: skip

RANDOM = np.random.default_rng(0)
PIXELS = np.kron(RANDOM.integers(0, 256, (4, 6, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
PICTURE = Image.fromarray(PIXELS)
GREY = np.asarray(PICTURE.convert("L"), np.float32)[..., None].repeat(3, axis=-1)
LEVELS = np.linspace(0, 65535, 32 * 48).astype(np.uint16).reshape(32, 48)


def encoded(picture, form="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def png(width, height, depth=8, kind=2, rows=b""):
    """Return a PNG that says it is `width` × `height`, whatever `rows` hold."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(PICTURE, exif=exif)


def translucent(mode):
    picture = PICTURE.convert("L" if mode == "LA" else "RGB")
    picture.putalpha(Image.new("L", PICTURE.size, 128))
    return encoded(picture)


def transparent_palette():
    palette = PICTURE.quantize(24)
    image = np.array(palette.convert("RGB"))
    image[np.asarray(palette) == palette.getpixel((0, 0))] = 255
    return encoded(palette, "GIF", transparency=palette.getpixel((0, 0))), image


READABLE = {
    "1x1": (encoded(PICTURE.crop((0, 0, 1, 1))), PIXELS[:1, :1]),
    "grey": (encoded(PICTURE.convert("L")), GREY),
    "black and white": (encoded(PICTURE.convert("1")), np.asarray(PICTURE.convert("1").convert("RGB"))),
    "grey and alpha": (translucent("LA"), GREY * (128 / 255) + 127),
    "RGBA": (translucent("RGBA"), PIXELS * (128 / 255) + 127),
    "palette": (encoded(PICTURE.quantize(24)), np.asarray(PICTURE.quantize(24).convert("RGB"))),
    "a palette with a transparent colour": transparent_palette(),
    "CMYK": (encoded(PICTURE.convert("CMYK"), "TIFF"), PIXELS),
    "16 bits": (encoded(Image.fromarray(LEVELS)), LEVELS[..., None].repeat(3, axis=-1) / 257),
    "16 bits, TIFF": (encoded(Image.fromarray(LEVELS), "TIFF"), LEVELS[..., None].repeat(3, axis=-1) / 257),
    "16 bits of red, green and blue": (png(1, 1, 16, 2, b"\0" + bytes([255, 255, 128, 0, 0, 0])), [[[255, 128, 0]]]),
    "turned to the left": (turned(8), np.rot90(PIXELS)),
    "turned to the right": (turned(6), np.rot90(PIXELS, -1)),
    "an animated GIF": (
        encoded(PICTURE.quantize(24), "GIF", save_all=True, append_images=[Image.new("P", PICTURE.size)] * 2),
        np.asarray(PICTURE.quantize(24).convert("RGB")),  # its first frame
    ),
    "JPEG": (encoded(PICTURE, "JPEG", quality=95, subsampling=0), PIXELS),
    "WebP": (encoded(PICTURE, "WEBP", lossless=True), PIXELS),
    "TIFF": (encoded(PICTURE, "TIFF", compression="tiff_lzw"), PIXELS),
    "TIFF of floats": (encoded(Image.fromarray(GREY[..., 0]), "TIFF"), GREY),
}


@pytest.mark.parametrize("kind", READABLE)
def test_an_image_of_this_kind_is_read(kind):
    data, expected = READABLE[kind]
    image = load_image(data)
    assert image.dtype == np.float32 and image.shape == np.shape(expected)
    np.testing.assert_allclose(image, expected, atol=8 if kind == "JPEG" else 1.01)


@pytest.mark.parametrize("name", ["a.png", "Grüße aus Łódź.png", "写真.png", "a 'quoted' <name>.png", "🌻.png"])
def test_from_any_name_an_open_file_bytes_or_an_array(name, tmp_path):
    path = tmp_path / "folder" / name
    save_image(path, PIXELS)
    with open(path, "rb") as file:
        for source in (path, str(path), file, path.read_bytes(), PIXELS):
            np.testing.assert_array_equal(load_image(source), PIXELS)


def test_arrays_of_every_kind():
    np.testing.assert_allclose(load_image(LEVELS)[..., 1], LEVELS / 257, rtol=1e-6)
    opaque = np.dstack([PIXELS, np.full(PIXELS.shape[:2], 51)])
    np.testing.assert_allclose(load_image(opaque), PIXELS * 0.2 + 255 * 0.8, rtol=1e-5)
    np.testing.assert_array_equal(load_image(np.array([[-9.0, 300.0]])), [[[0] * 3, [255] * 3]])
    assert load_image(np.zeros((4, 4, 3))).max() == 0 and load_image(np.ones((4, 4, 3), np.uint8)).max() == 1
    given = np.full((4, 4, 3), 300, np.float32)
    load_image(given)
    assert given.min() == 300, "what is given stays as it is"


NOT_READABLE = {
    "empty": b"",
    "a text": b"My holiday\n",
    "a truncated PNG": encoded(PICTURE)[:-40],
    "a truncated JPEG": encoded(PICTURE, "JPEG")[:-400],
    "a truncated TIFF": encoded(PICTURE, "TIFF")[:-400],
    "a header alone": encoded(PICTURE)[:33],
    "no pixel": png(0, 5),
    "floats with NaN": encoded(Image.fromarray(np.full((4, 5), np.nan, np.float32)), "TIFF"),
    "a bomb": png(30_000, 30_000, rows=bytes(30_000 * 3 + 1)),
}


@pytest.mark.parametrize("kind", NOT_READABLE)
def test_a_file_that_is_not_a_whole_image_is_refused_by_name(kind, tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(NOT_READABLE[kind])
    with pytest.raises(ImageError, match="picture.jpg cannot be read.*PNG or JPEG, of at most 100,000,000 pixels"):
        load_image(path)


def test_damaged_bytes_raise_no_other_error():
    """Flip and cut bytes of every format: it is read, or refused with an `ImageError`."""
    random = np.random.default_rng(0)
    for form in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        whole = np.frombuffer(encoded(PICTURE, form), np.uint8)
        for _ in range(25):
            damaged = whole[: random.integers(20, len(whole))].copy() if random.random() < 0.3 else whole.copy()
            damaged[random.integers(0, min(len(damaged), 200), 3)] = random.integers(0, 256, 3)
            try:
                assert np.isfinite(load_image(damaged.tobytes())).all()
            except ImageError:
                pass


def test_sizes_keep_the_aspect_ratio_and_never_enlarge():
    assert load_image(PIXELS, max_side=30).shape == (20, 30, 3)
    assert load_image(PIXELS, max_side=600).shape == PIXELS.shape
    assert load_image(PIXELS[:, :1], max_side=4).shape == (4, 1, 3) and fitted((1, 4000), 40) == (1, 40)
    circle = np.zeros((100, 300, 3), np.uint8)
    row, column = np.mgrid[:100, :300]
    circle[(row - 50) ** 2 + (column - 150) ** 2 < 40**2] = 255
    inside = load_image(circle, shape=(50, 50))[..., 0] > 127
    assert inside.shape == (50, 50)
    assert abs(inside.any(axis=0).sum() - inside.any(axis=1).sum()) <= 2
    assert load_image(circle, shape=(123, 77)).shape == (123, 77, 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "CMYK", "I;16", "turned"])
def test_a_large_image_is_shrunk_in_two_steps_to_nearly_the_same(mode, monkeypatch):
    monkeypatch.setattr(images, "DIRECT", 100_000)
    picture, options = Image.fromarray(to_uint8(sample_image("china"))), {}
    if mode in ("RGBA", "LA"):
        picture = picture.convert(mode[:-1])
        picture.putalpha(Image.radial_gradient("L").resize(picture.size))
    elif mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    elif mode == "turned":
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 6
    else:
        picture = picture.convert(mode)
    data = encoded(picture, "TIFF" if mode == "CMYK" else "PNG", **options)
    whole = load_image(data)
    for options in ({"max_side": 64}, {"shape": (50, 70)}):
        image, expected = load_image(data, **options), load_image(whole, **options)
        assert image.shape == expected.shape and image.dtype == np.float32
        assert 0 < np.abs(image - expected).mean() < 1 and abs((image - expected).mean()) < 0.5


@pytest.mark.parametrize(("direct", "sides"), [(images.DIRECT, (96, 20)), (0, (640, 384, 161, 160))])
def test_an_image_that_is_not_far_too_large_is_shrunk_in_one_step(direct, sides, monkeypatch):
    monkeypatch.setattr(images, "DIRECT", direct)
    china = sample_image("china")
    for side in sides:
        expected = np.clip(resize(china, fitted(china.shape, side)), 0, 255)
        np.testing.assert_array_equal(sample_image("china", side), expected)


def test_a_huge_transparent_image_takes_little_memory_and_its_unseen_colours_do_not_leak(tmp_path):
    """40 million pixels are 160 MB in the file, and 640 MB as floats."""
    pixels = np.zeros((5000, 8000, 4), np.uint8)
    pixels[..., 0], pixels[:, 2000:6000] = 255, (0, 0, 255, 255)  # transparent red on both sides of blue
    Image.fromarray(pixels).save(tmp_path / "huge.png", compress_level=1)
    program = (
        "import resource, sys; from helpers.images import load_image\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "image = load_image(sys.argv[1], max_side=96)\n"
        "grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024\n"
        "print(*image.shape, grown, *image[30, [2, 48]].ravel(), image[:, :20].min())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "huge.png")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=files.PROJECT, check=True)
    height, width, channels, mebibytes, *colours, least = map(float, done.stdout.split())
    assert (height, width, channels) == (60, 96, 3) and mebibytes < 400 and done.stderr == ""
    np.testing.assert_allclose(colours, [255, 255, 255, 0, 0, 255], atol=1)
    assert least > 250


def test_resize_keeps_means_and_to_uint8_rounds_and_clips_before_the_cast():
    image = resize(PIXELS, (17, 31))
    assert image.shape == (17, 31, 3) and image.dtype == np.float32
    assert image.mean() == pytest.approx(PIXELS.mean(), rel=0.02)
    np.testing.assert_array_equal(resize(PIXELS, PIXELS.shape[:2]), PIXELS)
    np.testing.assert_allclose(resize(np.full((9, 9, 2), 77.25), (30, 20)), 77.25, rtol=1e-5)
    stripes = np.tile([[[0.0]], [[255.0]]], (20, 40, 3))
    assert np.abs(resize(stripes, (10, 10))[2:-2] - 127.5).max() < 10  # smoothed, not every fourth line
    np.testing.assert_array_equal(to_uint8([-30.0, 0.4, 0.6, 254.6, 300.0]), [0, 0, 1, 255, 255])


@pytest.mark.parametrize("name", ["two.jpg", "three.webp", "four.bmp", "five.TIF"])
def test_save_and_load(tmp_path, name):
    smooth = np.linspace(0, 255, 40 * 60 * 3).reshape(40, 60, 3)
    save_image(tmp_path / name, smooth)
    np.testing.assert_allclose(load_image(tmp_path / name), smooth, atol=12)
    assert [path.name for path in tmp_path.iterdir()] == [name]


# Colours


def test_the_luminance_of_red_green_and_blue():
    primaries = 100 * np.eye(3)[None, None]
    np.testing.assert_allclose(luminance(primaries), [[[29.9, 58.7, 11.4]]], rtol=1e-6)
    assert luminance(primaries[0]).shape == (1, 3)


def test_by_luminance_brightness_stays_and_hues_are_the_reference():
    """By hand: Y of (200, 100, 50) is 124.2, Y of (40, 80, 120) is 72.6; the reference is raised by the difference."""
    image, reference = np.tile([200.0, 100, 50], (2, 3, 1)), np.tile([40.0, 80, 120], (2, 3, 1))
    np.testing.assert_allclose(match_color(image, reference), np.tile([91.6, 131.6, 171.6], (2, 3, 1)), rtol=1e-5)
    dark = match_color(np.zeros((2, 3, 3)), reference)
    np.testing.assert_allclose(dark, np.tile([0, 7.4, 47.4], (2, 3, 1)), atol=1e-4)


def test_by_histogram_mean_and_covariance_are_the_reference():
    """By hand: grey levels 0 and 60 become 90 and 110; and in general, colours that are correlated differently."""
    two = np.repeat([[[0.0], [60.0]]], 3, axis=-1), np.repeat([[[90.0], [110.0]]], 3, axis=-1)
    np.testing.assert_allclose(match_color(*two, "histogram"), two[1], atol=0.05)
    image, reference = (
        RANDOM.normal(size=(60, 50, 3)) @ RANDOM.normal(size=(3, 3)) * 8 + mean for mean in (100, [120, 140, 160])
    )
    matched = match_color(image, reference, "histogram")
    np.testing.assert_allclose(matched.mean((0, 1)), reference.mean((0, 1)), atol=0.1)
    covariances = [np.cov(values.reshape(-1, 3), rowvar=False) for values in (matched, reference, image)]
    np.testing.assert_allclose(covariances[0], covariances[1], rtol=0.02, atol=1.0)
    assert np.abs(covariances[1] - covariances[2]).max() > 50
    assert np.isfinite(match_color(np.full((9, 9, 3), 50), reference, "histogram")).all()  # one colour alone


# Names, and what is refused


def test_samples_are_found_by_name(tmp_path, monkeypatch):
    assert {"china", "flower", "grace_hopper", "night_swirls"} < set(sample_names())
    assert sample_image("china").shape == (427, 640, 3)
    assert sample_image("flower", max_side=64).shape == (43, 64, 3)
    monkeypatch.setattr(images, "FOLDER", tmp_path)
    save_image(tmp_path / "my own.png", PIXELS)
    (tmp_path / "notes.txt").write_text("not an image")
    assert sample_names() == ["china", "flower", "grace_hopper", "my own"]
    for read in (sample_image, load_image):
        np.testing.assert_array_equal(read("my own"), PIXELS)
        with pytest.raises(ImageError, match="did you mean 'china'"):
            read("chian")


NAN = np.full((4, 5, 3), np.nan)
REFUSED = {
    "load_image, a missing file": (lambda: load_image("no such file.png"), "no file.*china"),
    "load_image, a folder": (lambda: load_image("."), "folder"),
    "load_image, source": (lambda: load_image(17), "17"),
    "load_image, a shape": (lambda: load_image(np.zeros((4, 5, 2))), r"\(4, 5, 2\)"),
    "load_image, NaN": (lambda: load_image(NAN), "NaN"),
    "load_image, 0 to 1": (lambda: load_image(PIXELS / 255), "between 0 and 1.*Multiply it by 255"),
    "load_image, max_side": (lambda: load_image(PIXELS, max_side=1.5), "max_side is 1.5"),
    "load_image, shape": (lambda: load_image(PIXELS, shape=(0, 5)), r"shape is \(0, 5\)"),
    "sample_image, name": (lambda: sample_image(None), "name is None"),
    "resize, one number": (lambda: resize(PIXELS, 5), "shape is 5"),
    "resize, a huge shape": (lambda: resize(PIXELS, (10**6, 10**6)), "at most 100,000,000"),
    "resize, image": (lambda: resize(PIXELS[..., 0], (4, 4)), r"image is an array of shape \(32, 48\)"),
    "to_uint8, text": (lambda: to_uint8(np.array(["a"])), "image"),
    "to_uint8, ragged": (lambda: to_uint8([[1], [2, 3]]), "image is"),
    "to_uint8, NaN": (lambda: to_uint8(NAN), "diverged"),
    "luminance, image": (lambda: luminance(np.zeros((3, 4))), "image"),
    "save_image, path": (lambda: save_image(PIXELS, "a.png"), "(path|image) is"),
    "save_image, the ending": (lambda: save_image("picture.xyz", PIXELS), r"\.png"),
    "save_image, image": (lambda: save_image("a.png", PIXELS[None]), "image"),
    "save_image, quality": (lambda: save_image("a.png", PIXELS, 101), "quality is 101"),
    "match_color, image": (lambda: match_color(PIXELS[..., :2], PIXELS), "image"),
    "match_color, reference": (lambda: match_color(PIXELS, NAN), "reference"),
    "match_color, sizes": (lambda: match_color(PIXELS, PIXELS[:20]), "one size"),
    "match_color, mode": (lambda: match_color(PIXELS, PIXELS, "hue"), "mode is 'hue'.*histogram"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_value_is_refused_in_one_line(case):
    call, words = REFUSED[case]
    with pytest.raises(ImageError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
