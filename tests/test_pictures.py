"""One picture's file: what is read, what it may cost, and the reason where it is not used."""

import io
import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from cnnbook import data
from cnnbook.data import images, pictures

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
NOISE = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype("uint8")


def deep(path, values, colour):
    """A PNG with 16 bits a channel; colour: 2 for RGB, 6 for RGBA."""
    height, width, _ = values.shape
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))
    return path


def test_16_bits_that_would_be_black_are_refused(tmp_path):
    """Twelve bits of a camera in 16, and 8 in 16; a bright picture, and one that is black, are read."""
    ramp = np.linspace(0, 1, 64).reshape(8, 8)
    for highest in (255, 4095):
        Image.fromarray((ramp * highest).astype("uint16")).save(tmp_path / "grey.png")
        Image.fromarray((ramp * highest).astype("uint16")).save(tmp_path / "grey.tif")
        colours = np.repeat((ramp * highest).astype("uint16")[..., None], 4, axis=-1)
        deep(tmp_path / "rgb.png", colours[..., :3], 2)
        deep(tmp_path / "rgba.png", colours | [0, 0, 0, 65535], 6)
        for name in ("grey.png", "grey.tif", "rgb.png", "rgba.png"):
            with pytest.raises(
                ValueError, match=f"{name}: 16 bits that use the lowest twelve or fewer, nearly black"
            ):
                data.pixels(tmp_path / name)
    Image.fromarray(np.zeros((8, 8), "uint16")).save(tmp_path / "grey.png")
    assert data.pixels(tmp_path / "grey.png").max() == 0
    bright = (np.repeat(ramp[..., None], 3, axis=-1) * 65535).astype("uint16")
    assert (data.pixels(deep(tmp_path / "rgb.png", bright, 2)) == bright >> 8).all()
    Image.fromarray((ramp * 255).astype("int32")).save(tmp_path / "32.tif")  # no range of its own
    assert data.pixels(tmp_path / "32.tif").max() == 255


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "avif"])
def test_more_names_of_formats_that_are_read(tmp_path, suffix):
    if suffix == "avif" and "AVIF" not in pictures.formats():
        pytest.skip("this Pillow reads no AVIF")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shade = Image.new("RGB", (16, 16), (250, 10, 40) if name == "a" else (10, 240, 40))
        shade.save(tmp_path / name / f"1.{suffix}", format="AVIF" if suffix == "avif" else "JPEG")
    ours = data.folder(tmp_path, test=0)
    assert ours.report() == "no file left out"
    colours = dict(zip(ours.y_train.tolist(), ours.x_train[:, 8, 8].astype(int).tolist(), strict=True))
    np.testing.assert_allclose([colours[0], colours[1]], [(250, 10, 40), (10, 240, 40)], atol=6)


def test_other_formats_are_told_to_be_converted(tmp_path):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(NOISE if name == "a" else 255 - NOISE).save(tmp_path / name / "1.png")
    (tmp_path / "a" / "photo.HEIC").write_bytes(heic)
    (tmp_path / "a" / "renamed.jpg").write_bytes(heic)
    convert = "a format that is not read here: convert it to JPEG or PNG"
    assert data.folder(tmp_path, test=0).skipped == {
        f"a/{name}": convert for name in ("photo.HEIC", "renamed.jpg")
    }
    (tmp_path / "drawn.svg").write_text("<svg/>")
    with pytest.raises(ValueError, match="drawn.svg: a format that is not read here: convert"):
        data.pixels(tmp_path / "drawn.svg")


def test_no_other_format_and_no_other_program_is_tried(tmp_path, monkeypatch):
    """PostScript would start Ghostscript; other decoders are nobody's need."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "holiday.jpg").write_bytes(script)
    for name in ("PPM", "TGA", "ICO", "SGI"):
        Image.fromarray(NOISE).save(tmp_path / f"{name}.png", format=name)
    for name in ("holiday.jpg", "PPM.png", "TGA.png", "ICO.png", "SGI.png"):
        with pytest.raises(ValueError, match="not an image"):
            data.pixels(tmp_path / name)
    assert not (tmp_path / "started").exists()
    Image.fromarray(NOISE).save(tmp_path / "really a png.jpg", format="PNG")
    assert (data.pixels(tmp_path / "really a png.jpg") == NOISE).all()


def test_one_file_costs_itself_and_no_more(tmp_path, monkeypatch):
    """A side without end, a file without end, a picture beyond the memory: each is left out with its reason."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(NOISE if name == "a" else 255 - NOISE).save(tmp_path / name / "1.png")
    long = io.BytesIO()
    Image.new("1", (1, 1)).save(long, "PNG")
    wide = long.getvalue().replace(struct.pack(">II", 1, 1), struct.pack(">II", 100_000_000, 1))
    at = wide.index(b"IHDR")
    wide = wide[: at + 17] + struct.pack(">I", zlib.crc32(wide[at : at + 17])) + wide[at + 21 :]
    (tmp_path / "a" / "wide.png").write_bytes(wide)
    with open(tmp_path / "a" / "huge.png", "wb") as file:
        file.truncate(3 * 2**30)
    Image.fromarray(NOISE[:20]).save(tmp_path / "b" / "greedy.png")
    real = images.resize

    def resize(pixels, size):
        if pixels.shape[0] == 20:
            raise MemoryError
        return real(pixels, size)

    monkeypatch.setattr(pictures, "resize", resize)
    ours = data.folder(tmp_path, size=(40, 30), test=0)
    assert ours.sizes == {"train": 2} and ours.skipped == {
        "a/wide.png": "a side of more than 65,535 pixels (100000000 x 1)",
        "a/huge.png": "a file of more than 200 MB",
        "b/greedy.png": "too large for this machine's memory",
    }
    with pytest.raises(ValueError, match="greedy.png: too large for this machine's memory"):
        data.pixels(tmp_path / "b" / "greedy.png", size=(40, 30))


def peak(function):
    """(what it returns, the most bytes it held at once)."""
    tracemalloc.start()
    try:
        return function(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_large_picture_is_resized_without_a_copy_in_floating_point():
    large = np.random.default_rng(0).integers(0, 256, (3000, 1000, 3)).astype("uint8")
    small, most = peak(lambda: data.resize(large, (30, 20)))
    assert most < 3 * large.nbytes  # in float64 it is eight times as large
    assert (small == (large.reshape(30, 100, 20, 50, 3).sum((1, 3)) + 2500) // 5000).all()
    odd, blocks = large[:700, :333], data.resize(large[:700, :333], (201, 400))
    assert (blocks[:, :, :1] == data.resize(odd[..., :1], (201, 400))).all()


def test_a_folder_is_never_in_memory_twice(tmp_path):
    rng, total = np.random.default_rng(0), 40 * 128 * 128 * 3
    for i in range(40):
        path = tmp_path / "ab"[i % 2] / f"{i}.bmp"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (128, 128, 3)).astype("uint8")).save(path)
    data.pixels(tmp_path / "a" / "0.bmp")
    ours, most = peak(lambda: data.folder(tmp_path))
    assert most < 1.5 * total and ours.sizes == {"train": 32, "test": 8}
    for part in ("train", "test"):
        for x, file in zip(ours.part(part)[0], ours.files[part], strict=True):
            assert (x == data.pixels(tmp_path / file)).all()
