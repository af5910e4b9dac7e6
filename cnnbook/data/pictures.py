"""One picture's file: its bytes, and its pixels as RGB, or in words why it cannot be used.

The file may be anybody's. So only the formats below are tried, no other program is started, and what it may cost is
bounded: its bytes, its pixels, and a few times their memory.
"""

import contextlib
import functools
import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np

from ..tables import printable
from .images import height_width, resize

# Pillow's names of the formats, and how their files' names end.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (),  # what some cameras write as .jpg: JPEGs one after the other
    "PNG": (".png",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
# Pictures by their names, of formats that are not read.
# fmt: off
OTHERS = frozenset((
    ".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".svg", ".eps", ".ps", ".pdf", ".psd", ".ico", ".tga", ".dds",
    ".ppm", ".pgm", ".pbm", ".pnm", ".exr", ".hdr", ".dcm",
    ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf",
))
# fmt: on
NO_IMAGE, CONVERT = "not an image", "a format that is not read here: convert it to JPEG or PNG"
# Bytes of a file, pixels of a picture, pixels of a side. A picture takes 7 bytes a pixel until it is resized.
MEGABYTES, LARGEST, SIDE = 200, 100_000_000, 65_535
# 16 bits whose values all lie below this are of a camera of 8 to 12 bits: the upper eight bits would be nearly black.
DIM = 4096


class Unusable(Exception):
    """A file that is no image we can use, and why."""


def pixels(file, size=None):
    """The picture in a file as uint8 (height, width, 3): turned as its camera says, transparency on white, 16 bits by
    their upper eight, of a film the first frame.

    size: as in `folder`, which reads by this too. OSError where the file cannot be opened, ValueError with its name where
    it holds no picture of a format that is read, more than 200 MB, 100 million pixels or 65,535 on a side, or one whose
    range of values is not known: floating-point pixels, and 16 bits of which only the lower twelve are used.
    """
    shape = None if size is None else height_width(size)
    try:
        with whole(file := Path(file).expanduser()):
            return sized(decoded(content(file)), shape)
    except Unusable as error:
        raise ValueError(f"{printable(file)}: {error}") from None


@contextlib.contextmanager
def whole(file):
    """Around what is done with one file: a lack of memory, or another format by its name, is that file's reason."""
    try:
        yield
    except MemoryError:
        raise Unusable("too large for this machine's memory") from None
    except Unusable as error:
        raise (
            Unusable(CONVERT) if str(error) == NO_IMAGE and file.suffix.lower() in OTHERS else error
        ) from None


def content(file):
    """The bytes of a file; Unusable for what is none, or too large."""
    try:
        status = os.stat(file)
    except ValueError:
        raise Unusable("no file can have this name") from None
    if stat.S_ISDIR(status.st_mode):
        raise Unusable("a folder, not the file of a picture")
    # Reading a pipe would wait for ever.
    if not stat.S_ISREG(status.st_mode):
        raise Unusable("not a regular file")
    if status.st_size > MEGABYTES * 2**20:
        raise Unusable(f"a file of more than {MEGABYTES} MB")
    with open(file, "rb") as opened:
        return opened.read(status.st_size)


@functools.cache
def formats():
    """Those of FORMATS that this Pillow reads."""
    from PIL import Image, features

    Image.init()
    # Registered without the library that decodes it, where Pillow was built so.
    missing = {"AVIF": "avif", "WEBP": "webp"}
    return tuple(
        name
        for name in FORMATS
        if name in Image.OPEN and (name not in missing or features.check(missing[name]))
    )


def decoded(data):
    """uint8 (height, width, 3) of the bytes of a picture; Unusable where that cannot be."""
    from PIL import Image, ImageOps

    if not data:
        raise Unusable("an empty file")
    try:
        with warnings.catch_warnings():
            # Of large images and odd metadata: what matters is raised or checked.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=formats()) as image:
                _fits(image)
                # 16 bits a channel, which Pillow cuts to the upper eight.
                deep = image.mode in ("RGB", "RGBA", "LA") and ";16" in str([tile[3] for tile in image.tile])
                ImageOps.exif_transpose(image, in_place=True)
                return _grey(image) if image.mode.startswith("I") else _rgb(image, deep)
    except (Unusable, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise Unusable(f"more than {LARGEST // 10**6} million pixels") from None
    except Image.UnidentifiedImageError:
        # The box that opens HEIC, AVIF and their kin, and the signature of JPEG XL, whatever the file is called.
        other = data[4:8] == b"ftyp" or data[:12] == b"\0\0\0\x0cJXL \r\n\x87\n"
        raise Unusable(CONVERT if other else NO_IMAGE) from None
    except Exception as error:
        # Pillow's decoders raise nearly anything on a broken file.
        raise Unusable(f"damaged ({printable(error)})") from None


def _fits(image):
    size = f"({image.width} x {image.height})"
    if image.width * image.height > LARGEST:
        raise Unusable(f"more than {LARGEST // 10**6} million pixels {size}")
    if max(image.size) > SIDE:
        raise Unusable(f"a side of more than {SIDE:,} pixels {size}")


def _grey(image):
    """uint8 (height, width, 3) of whole numbers of more than 8 bits."""
    # Pillow would cut 16 bits at 255.
    values = np.asarray(image)
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > 65535:
        raise Unusable("whole numbers beyond 16 bits: their range is not known")
    # 32 bits have no range of their own: up to 255 they are taken as 8 bits.
    if image.mode != "I" or highest > 255:
        _not_dim(highest)
        values = values >> 8
    return np.repeat(values.astype("uint8")[..., None], 3, axis=-1)


def _not_dim(highest):
    if 0 < highest < DIM:
        raise Unusable(
            f"16 bits that use the lowest twelve or fewer, nearly black: scale them to 0 to {65535}, or save 8 bits"
        )


def _rgb(image, deep):
    """uint8 (height, width, 3) of a Pillow image in any mode of 8 bits. deep: the file has 16."""
    from PIL import Image

    if image.mode == "F":
        raise Unusable("floating-point pixels: their range is not known, save it with 8 or 16 bits")
    image.load()
    transparent = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
    width, height = image.size
    out, highest = np.empty((height, width, 3), "uint8"), 0
    # Some rows at a time, so that a large picture is in memory twice and not five times.
    rows = max(1, 2**20 // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        if transparent:
            strip = strip.convert("RGBA")
            highest = max(highest, int(np.asarray(strip)[..., :3].max())) if deep else 0
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip)
        out[top : top + rows] = np.asarray(strip.convert("RGB"))
    if deep:
        # The lower eight bits are gone, so 0 may be anything below 256.
        _not_dim(256 * (highest if transparent else int(out.max())) + 255)
    return out


def sized(pixels, shape):
    """Cut around the centre to the proportions of `shape`, (height, width), and resized to it."""
    if shape is None:
        return pixels
    (h, w), (height, width) = pixels.shape[:2], shape
    new_h, new_w = max(1, min(h, round(w * height / width))), max(1, min(w, round(h * width / height)))
    top, left = (h - new_h) // 2, (w - new_w) // 2
    return resize(pixels[top : top + new_h, left : left + new_w], shape)
