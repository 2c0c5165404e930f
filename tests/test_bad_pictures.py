"""Every kind of file that may be dropped where a picture is expected: it is read, or one line says why not."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from helpers import files as storage
from helpers import images
from helpers.images import ImageError, load_image, save_image

PIXELS = np.kron(np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
PICTURE = Image.fromarray(PIXELS)


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


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 8  # turn a quarter to the left
    return encoded(PICTURE, exif=exif)


def translucent(mode):
    picture = PICTURE.convert("L" if mode == "LA" else "RGB")
    picture.putalpha(Image.new("L", PICTURE.size, 128))
    return encoded(picture)


GREY = np.asarray(PICTURE.convert("L"), np.float32)[..., None].repeat(3, axis=-1)
LEVELS = np.linspace(0, 65535, 32 * 48).astype(np.uint16).reshape(32, 48)
READABLE = {
    "1x1": (encoded(PICTURE.crop((0, 0, 1, 1))), PIXELS[:1, :1]),
    "20 px": (encoded(PICTURE.crop((0, 0, 20, 20))), PIXELS[:20, :20]),
    "5:1": (encoded(PICTURE.crop((0, 0, 40, 8))), PIXELS[:8, :40]),
    "1:5": (encoded(PICTURE.crop((0, 0, 6, 30))), PIXELS[:30, :6]),
    "grey": (encoded(PICTURE.convert("L")), GREY),
    "grey and alpha": (translucent("LA"), GREY * (128 / 255) + 255 * (127 / 255)),
    "RGBA": (translucent("RGBA"), PIXELS * (128 / 255) + 255 * (127 / 255)),
    "palette": (encoded(PICTURE.quantize(24)), np.asarray(PICTURE.quantize(24).convert("RGB"))),
    "CMYK": (encoded(PICTURE.convert("CMYK"), "TIFF"), PIXELS),
    "16 bits": (encoded(Image.fromarray(LEVELS)), LEVELS[..., None].repeat(3, axis=-1) / 257),
    "16 bits of red, green and blue": (png(1, 1, 16, 2, b"\0" + bytes([255, 255, 128, 0, 0, 0])), [[[255, 128, 0]]]),
    "turned by EXIF": (rotated(), np.rot90(PIXELS)),
    "an animated GIF": (
        encoded(PICTURE.quantize(24), "GIF", save_all=True, append_images=[Image.new("P", PICTURE.size)] * 2),
        np.asarray(PICTURE.quantize(24).convert("RGB")),  # its first frame
    ),
    "WebP": (encoded(PICTURE, "WEBP", lossless=True), PIXELS),
    "TIFF": (encoded(PICTURE, "TIFF", compression="tiff_lzw"), PIXELS),
    "TIFF of floats": (encoded(Image.fromarray(GREY[..., 0]), "TIFF"), GREY),
}


@pytest.mark.parametrize("kind", READABLE)
def test_a_picture_of_this_kind_is_read(kind, tmp_path):
    data, expected = READABLE[kind]
    path = tmp_path / "a picture"
    path.write_bytes(data)
    image = load_image(path)
    assert image.dtype == np.float32 and image.shape == np.shape(expected)
    np.testing.assert_allclose(image, expected, atol=1.01)


NOT_READABLE = {
    "empty": (b"", "no picture"),
    "a text": (b"My holiday\n", "no picture.*Convert it to PNG or JPEG"),
    "a web page": (b"<!DOCTYPE html><title>404</title>", "no picture"),
    "a truncated PNG": (encoded(PICTURE)[:-40], "cannot be read.*anew"),
    "a truncated JPEG": (encoded(PICTURE, "JPEG")[:-400], "cannot be read.*anew"),
    "a truncated TIFF": (encoded(PICTURE, "TIFF")[:-400], "cannot be read.*anew|no picture"),
    "a header alone": (encoded(PICTURE)[:33], "cannot be read|no picture"),
    "no pixel": (png(0, 5), "cannot be read|no picture"),
    "floats with NaN": (encoded(Image.fromarray(np.full((4, 5), np.nan, np.float32)), "TIFF"), "NaN"),
}


@pytest.mark.parametrize("kind", NOT_READABLE)
def test_what_is_no_whole_picture_is_refused_by_name(kind, tmp_path):
    data, words = NOT_READABLE[kind]
    path = tmp_path / "picture.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=f"(?s){words}") as caught:
        load_image(path)
    assert kind == "floats with NaN" or "picture.jpg" in str(caught.value)


def test_a_folder_a_missing_file_and_a_forbidden_one(tmp_path, monkeypatch):
    with pytest.raises(ImageError, match="is a folder; name a picture in it"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match="There is no file .*nothing.png.*china"):
        load_image(tmp_path / "nothing.png")
    save_image(tmp_path / "secret.png", PIXELS)
    monkeypatch.setattr("builtins.open", lambda *arguments: (_ for _ in ()).throw(PermissionError(13, "denied")))
    with pytest.raises(ImageError, match="secret.png cannot be read: this account may not"):
        load_image(tmp_path / "secret.png")


@pytest.mark.parametrize("name", ["Grüße aus Łódź.png", "写真.png", "a 'quoted' <name>.png", "🌻.png"])
def test_a_name_may_hold_any_letters(name, tmp_path):
    save_image(tmp_path / name, PIXELS)
    np.testing.assert_array_equal(load_image(tmp_path / name), PIXELS)
    np.testing.assert_array_equal(load_image(str(tmp_path / name)), PIXELS)


def in_a_process(path, *lines):
    """Run `lines` with `load_image` and `path` in a process; return what they print, and by how many MiB it grew."""
    program = (
        "import resource, sys\n"
        "from helpers.images import ImageError, load_image\n"
        "path, before = sys.argv[1], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n",
        *(f"{line}\n" for line in lines),
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n",
    )
    run = subprocess.run(
        [sys.executable, "-c", "".join(program), str(path)],
        capture_output=True, text=True, timeout=60, cwd=storage.PROJECT, check=True,
    )  # fmt: skip
    assert run.stderr == ""
    *printed, mebibytes = run.stdout.splitlines()
    return printed, int(mebibytes)


def test_a_bomb_is_refused_by_its_header_and_takes_no_memory(tmp_path):
    """900 million pixels would be 2.7 GB: the peak of a process that is handed them rises by less than 50 MB."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png(30_000, 30_000, rows=bytes(30_000 * 3 + 1)))
    (message,), mebibytes = in_a_process(
        path, "try:", "    load_image(path)", "except ImageError as error:", "    print(error)"
    )
    assert "more than 100,000,000 pixels. Make it smaller" in message
    assert mebibytes < 50


def test_a_thumbnail_of_a_huge_transparent_picture_takes_little_memory(tmp_path):
    """40 million pixels are 160 MB as they lie in the file, and 640 MB as floats."""
    path = tmp_path / "huge.png"
    Image.new("RGBA", (8000, 5000), (200, 100, 0, 128)).save(path, compress_level=1)
    printed, mebibytes = in_a_process(
        path, "image = load_image(path, max_side=96)", "print(*image.shape)", "print(*image.mean((0, 1)))"
    )
    shape, colour = (line.split() for line in printed)
    assert mebibytes < 400 and shape == ["60", "96", "3"]
    on_white = np.array([200, 100, 0]) * 128 / 255 + 127
    np.testing.assert_allclose(np.array(colour, float), on_white, atol=1)


def test_a_picture_just_above_the_limit_is_refused_without_a_warning(monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)  # below 32 × 48: Pillow warns
    monkeypatch.setattr(images, "LARGEST", 1500)
    with pytest.raises(ImageError, match="48 × 32 pixels, more than 1,500 pixels"):
        load_image(encoded(PICTURE))
    assert not recwarn.list


def test_a_size_that_no_memory_holds_is_refused():
    for call in (lambda size: images.resize(PIXELS, size), lambda size: load_image(PIXELS, shape=size)):
        with pytest.raises(ImageError, match="1000000 × 1000000 pixels.*at most 100,000,000"):
            call((10**6, 10**6))


def test_damaged_bytes_raise_no_other_error():
    """Flip and cut bytes of every format: it is read, or refused with an `ImageError`."""
    random = np.random.default_rng(0)
    for form in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        whole = np.frombuffer(encoded(PICTURE, form), np.uint8)
        for _ in range(25):
            damaged = whole[: random.integers(20, len(whole))] if random.random() < 0.3 else whole.copy()
            if damaged.flags.writeable:
                damaged[random.integers(0, min(len(damaged), 200), 3)] = random.integers(0, 256, 3)
            try:
                assert np.isfinite(load_image(damaged.tobytes())).all()
            except ImageError:
                pass
