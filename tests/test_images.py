"""Pictures of every kind that a student may drop into the folder."""

import io

import numpy as np
import pytest
from PIL import Image

from helpers import images
from helpers.images import ImageError, load_image, match_color, resize, sample_image, sample_names, save_image, to_uint8

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def encoded(picture, form="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def test_loads_rgb_as_float32_rgb(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "picture.png")
    for source in (tmp_path / "picture.png", str(tmp_path / "picture.png"), encoded(Image.fromarray(PICTURE)), PICTURE):
        image = load_image(source)
        assert image.dtype == np.float32
        np.testing.assert_array_equal(image, PICTURE)
    with open(tmp_path / "picture.png", "rb") as file:
        np.testing.assert_array_equal(load_image(file), PICTURE)


def test_exif_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter to the right
    image = load_image(encoded(Image.fromarray(PICTURE), exif=exif))
    np.testing.assert_array_equal(image, np.rot90(PICTURE, -1))


def test_transparency_goes_onto_white():
    pixels = np.dstack([PICTURE, np.full((40, 60), 255, np.uint8)])
    pixels[:10, :, 3], pixels[10:20, :, 3] = 0, 51
    expected = PICTURE.astype(np.float32)
    expected[:10], expected[10:20] = 255, expected[10:20] * 0.2 + 255 * 0.8
    np.testing.assert_allclose(load_image(encoded(Image.fromarray(pixels))), expected, atol=1e-3)
    np.testing.assert_allclose(load_image(pixels), expected, atol=1e-3)
    grey = Image.fromarray(pixels).convert("LA")
    assert (load_image(encoded(grey))[:10] == 255).all()


def test_palette_with_a_transparent_colour():
    palette = Image.fromarray(PICTURE).quantize(8)
    transparent = palette.getpixel((0, 0))
    image = load_image(encoded(palette, "GIF", transparency=transparent))
    assert image.shape == (40, 60, 3) and (image[0, 0] == 255).all()


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "RGB"])
def test_modes_become_rgb(mode):
    form = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    smooth = Image.fromarray(np.tile(np.linspace(20, 230, 64, dtype=np.uint8)[None, :, None], (48, 1, 3)))
    converted = smooth.quantize(64) if mode == "P" else smooth.convert(mode)
    image = load_image(encoded(converted, form))
    assert image.shape == (48, 64, 3) and image.dtype == np.float32
    if mode != "1":
        np.testing.assert_allclose(image, np.asarray(smooth, np.float32), atol=12)


def test_sixteen_bits_are_scaled():
    levels = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)
    for source in (encoded(Image.fromarray(levels)), encoded(Image.fromarray(levels), "TIFF"), levels):
        image = load_image(source)
        assert image.shape == (40, 60, 3) and image.max() == pytest.approx(255) and image.min() == 0
        np.testing.assert_allclose(image[..., 0], levels / 257, rtol=1e-5)


def test_max_side_keeps_the_aspect_ratio_and_never_enlarges():
    assert load_image(PICTURE, max_side=30).shape == (20, 30, 3)
    assert load_image(PICTURE, max_side=600).shape == PICTURE.shape
    assert load_image(PICTURE[:, :1], max_side=4).shape == (4, 1, 3)


def test_shape_cuts_and_never_squeezes():
    circle = np.zeros((100, 300, 3), np.uint8)
    row, column = np.mgrid[:100, :300]
    circle[(row - 50) ** 2 + (column - 150) ** 2 < 40**2] = 255
    inside = load_image(circle, shape=(50, 50))[..., 0] > 127
    assert inside.shape == (50, 50)
    assert abs(inside.any(axis=0).sum() - inside.any(axis=1).sum()) <= 2
    assert load_image(circle, shape=(123, 77)).shape == (123, 77, 3)


def large(mode):
    """Return a smooth photograph as the bytes of a file."""
    photograph = Image.fromarray(to_uint8(sample_image("china"))).resize((1451, 982), Image.BICUBIC)
    alpha = Image.fromarray(to_uint8(sample_image("flower"))).convert("L").resize(photograph.size, Image.BICUBIC)
    if mode == "16 bits":
        return encoded(Image.fromarray(np.asarray(photograph.convert("L")).astype(np.uint16) * 257), compress_level=1)
    if mode == "32 bits":
        return encoded(Image.fromarray(np.asarray(photograph.convert("L")).astype(np.float32)), "TIFF")
    if mode in ("RGBA", "LA"):
        photograph = photograph.convert(mode[:-1])
        photograph.putalpha(alpha)
    elif mode == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        return encoded(photograph, exif=exif, compress_level=1)
    elif mode == "P":
        photograph = photograph.quantize(256)
    elif mode in ("CMYK", "L"):
        photograph = photograph.convert(mode)
    return encoded(photograph, "TIFF" if mode == "CMYK" else "PNG", **({} if mode == "CMYK" else {"compress_level": 1}))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "16 bits", "32 bits", "turned"])
def test_a_large_picture_is_shrunk_in_two_steps_to_nearly_the_same(mode, monkeypatch):
    monkeypatch.setattr(images, "DIRECT", 1_000_000)
    data = large(mode)
    whole = load_image(data)
    for options, shape in (({"max_side": 96}, (65, 96)), ({"shape": (101, 150)}, (101, 150))):
        shape = shape if mode != "turned" or "shape" in options else shape[::-1]
        image, expected = load_image(data, **options), load_image(whole, **options)
        assert image.shape == expected.shape == (*shape, 3) and image.dtype == np.float32
        difference = np.abs(image - expected)
        assert 0 < difference.mean() < 1 and abs((image - expected).mean()) < 0.5


def test_colours_that_are_not_seen_do_not_leak_into_a_large_picture():
    pixels = np.zeros((2000, 2100, 4), np.uint8)  # more than 4 million
    pixels[..., 0], pixels[:, 700:1400] = 255, (0, 0, 255, 255)  # red that is transparent beside blue
    image = load_image(encoded(Image.fromarray(pixels), compress_level=1), max_side=100)
    expected = load_image(pixels, max_side=100)
    assert np.abs(image - expected).max() < 3 and image[:, :20].min() > 250


@pytest.mark.parametrize(("direct", "sides"), [(images.DIRECT, (384, 96, 20)), (0, (640, 384, 161, 160))])
def test_a_picture_that_is_not_far_too_large_is_shrunk_in_one_step(direct, sides, monkeypatch):
    """What has 4 million pixels at most, or is 4 times too large at most, stays what it was, to the last bit."""
    monkeypatch.setattr(images, "DIRECT", direct)
    china = sample_image("china")
    for side in sides:
        expected = np.clip(resize(china, images.fitted(china.shape, side)), 0, 255)
        np.testing.assert_array_equal(sample_image("china", side), expected)


def test_resize_keeps_a_mean_and_odd_sizes():
    image = resize(PICTURE, (17, 31))
    assert image.shape == (17, 31, 3) and image.dtype == np.float32
    assert image.mean() == pytest.approx(PICTURE.mean(), rel=0.02)
    np.testing.assert_array_equal(resize(PICTURE, (40, 60)), PICTURE)
    np.testing.assert_allclose(resize(np.full((9, 9, 3), 77.25), (30, 20)), 77.25, rtol=1e-5)
    stripes = np.tile([[[0.0]], [[255.0]]], (20, 40, 3))
    assert np.abs(resize(stripes, (10, 10))[2:-2] - 127.5).max() < 10  # smoothed, not every fourth line


def test_to_uint8_rounds_and_clips_before_the_cast():
    np.testing.assert_array_equal(to_uint8([-30.0, 0.4, 0.6, 254.6, 300.0]), [0, 0, 1, 255, 255])
    with pytest.raises(ImageError, match="diverged"):
        to_uint8([1.0, np.nan])


@pytest.mark.parametrize("name", ["one.png", "two.jpg", "folder/three.webp", "four.bmp"])
def test_save_and_load(tmp_path, name):
    smooth = np.linspace(0, 255, 40 * 60 * 3).reshape(40, 60, 3)
    save_image(tmp_path / name, smooth)
    np.testing.assert_allclose(load_image(tmp_path / name), smooth, atol=12)
    assert len(list((tmp_path / name).parent.iterdir())) == 1


def test_luminance_weighs_green_most_and_blue_least():
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [10, 20, 30]]])
    np.testing.assert_allclose(images.luminance(colours), [[76.245, 149.685, 29.07, 255, 18.15]], rtol=1e-5)


def test_match_by_luminance_keeps_brightness_and_takes_hues():
    image, reference = np.full((8, 8, 3), 120.0) + np.arange(8)[:, None, None], np.tile([150.0, 100.0, 60.0], (8, 8, 1))
    matched = match_color(image, reference, "luminance")
    np.testing.assert_allclose(images.luminance(matched), images.luminance(image), rtol=1e-4)
    hues = matched - images.luminance(matched)[..., None]
    np.testing.assert_allclose(
        hues, np.broadcast_to(reference - images.luminance(reference)[..., None], hues.shape), atol=1e-3
    )


def test_match_by_histogram_takes_mean_and_covariance():
    generator = np.random.default_rng(0)
    image = np.clip(generator.normal(size=(60, 60, 3)) @ generator.normal(size=(3, 3)) * 8 + 100, 0, 255)
    reference = np.clip(generator.normal(size=(50, 70, 3)) @ generator.normal(size=(3, 3)) * 8 + 140, 0, 255)
    matched = match_color(image, reference, "histogram")
    np.testing.assert_allclose(matched.mean((0, 1)), reference.mean((0, 1)), atol=0.2)
    covariances = [np.cov(values.reshape(-1, 3), rowvar=False) for values in (matched, reference)]
    np.testing.assert_allclose(covariances[0], covariances[1], rtol=0.02, atol=1.0)
    assert np.isfinite(match_color(np.full((9, 9, 3), 50), reference, "histogram")).all()  # one colour alone


def test_samples_are_found_by_name(tmp_path, monkeypatch):
    for name in ("china", "flower", "grace_hopper"):
        assert name in sample_names()
    assert sample_image("china").shape == (427, 640, 3)
    assert sample_image("flower", max_side=64).shape == (43, 64, 3)
    assert sample_image("grace_hopper", shape=(50, 70)).shape == (50, 70, 3)
    monkeypatch.setattr(images, "FOLDER", tmp_path)
    save_image(tmp_path / "my own.png", PICTURE)
    (tmp_path / "notes.txt").write_text("no picture")
    assert sample_names() == ["china", "flower", "grace_hopper", "my own"]
    np.testing.assert_array_equal(sample_image("my own"), PICTURE)
    np.testing.assert_array_equal(load_image("my own"), PICTURE)


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr(images, "LARGEST", 1000)
    with pytest.raises(ImageError, match="60 × 40 pixels"):
        load_image(encoded(Image.fromarray(PICTURE)))


@pytest.mark.parametrize(
    "source, words",
    [
        ("no such file.png", "no file"),
        (".", "folder"),
        (b"this is a text", "PNG or JPEG"),
        (encoded(Image.fromarray(PICTURE))[:900], "cannot be read"),
        (np.zeros((4, 5, 2)), "shape"),
        (np.full((4, 5, 3), np.nan), "NaN"),
        (17, "int"),
    ],
)
def test_errors_say_what_to_do(source, words):
    with pytest.raises(ImageError, match=words):
        load_image(source)


def test_other_errors(tmp_path):
    for read in (sample_image, load_image):
        with pytest.raises(ImageError, match="Did you mean 'china'"):
            read("chian")
    with pytest.raises(ImageError, match="png"):
        save_image(tmp_path / "picture.xyz", PICTURE)
    with pytest.raises(ImageError, match="one size"):
        match_color(PICTURE, PICTURE[:20])
    with pytest.raises(ImageError, match="histogram"):
        match_color(PICTURE, PICTURE, "hue")
    with pytest.raises(ImageError, match="height must be a whole number from 1, got 0"):
        resize(PICTURE, (0, 5))
