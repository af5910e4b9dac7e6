"""Images that fit a net: their shape, their numbers, and what the net does to them before its first weights.

Whether a net takes pixels from 0 to 255 is not read off the classes of its first layers but tried: what stands before its
first kernels is run on a black and on a white image. So a `Rescaling`, a `Normalization`, a `preprocess_input` written as
operations, a `Lambda` and a layer of one's own are all found alike.
"""

from dataclasses import dataclass

import numpy as np
from keras import ops

from .. import graph
from .picture import in_unit_range
from .reading import Net

# --------------------------------------------------------------------------- what the net does first


@dataclass(frozen=True)
class Entrance:
    """What a net does to its input before its first kernels.

    by: the name of the first operation that changes the values, "" where none does. takes: "pixels" from 0 to 255, which
    are brought to a few units, or their mean taken off; "unit", values from 0 to 1, which are spread; "any" values, where
    each image is normalised by itself or an operation cannot be tried; else "as is".
    """

    by: str = ""
    takes: str = "as is"


def entrance(net):
    """The `Entrance` of a `reading.Net`."""
    rows, last = _before_kernels(net)
    if None in net.shape or all(isinstance(row.operation, graph.AT_REST) for row in rows):
        return Entrance()  # augmentation does nothing at inference
    x = np.stack([np.full(net.shape, value, "float32") for value in (0, 128, 255)])
    at_rest = {
        id(row.operation): lambda x, **_: x for row in rows if isinstance(row.operation, graph.AT_REST)
    }
    try:
        values = net.run({net.input: ops.convert_to_tensor(x)}, [row.name for row in rows], at_rest)
    except Exception:  # somebody else's Lambda may ask for anything; then nothing is known of it
        return Entrance(rows[0].name, "any")
    ends = {row.name: _typical(values[row.name]) for row in rows if len(row.output_shape or ()) == 3}
    changed = [name for name, end in ends.items() if not _same(end, _typical(x))]
    if not changed:
        return Entrance()
    found = {_judged(*ends[name]) for name in last if name in changed}
    return Entrance(changed[0], next((f for f in ("pixels", "unit", "any") if f in found), "as is"))


def _before_kernels(net):
    """(rows, last): the rows behind the input that only operations without kernels have made, and the names of those that
    a kernel, or nobody, reads."""
    inside, rows = {net.input}, []
    for row in net.rows:
        kernels = any(len(v.shape) > 1 for v in getattr(row.operation, "weights", ()))
        if row.inputs and inside.issuperset(row.inputs) and not kernels:
            inside.add(row.name)
            rows.append(row)
    read = {name: [row.name for row in net.rows if name in row.inputs] for name in inside}
    return rows, [row.name for row in rows if not read[row.name] or not inside.issuperset(read[row.name])]


def _typical(values):
    """(black, grey, white): the median of every channel of what has been made of the images; padding does not sway it."""
    values = ops.convert_to_numpy(values).astype("float32")
    return np.median(values.reshape(3, -1, values.shape[-1]), axis=1)


def _same(ends, others):
    return all(bool(np.isclose(f(ends, 1), f(others, 1)).all()) for f in (np.min, np.max))


def _judged(black, grey, white):
    """What an entrance takes that makes these of 0, 128 and 255, channel by channel."""
    rise = white - black
    if not np.isfinite(rise).all() or np.abs(rise).max() < 0.1:  # by the image itself, or for 16 bits
        return "any"
    if (np.abs(white - grey) < 0.01 * np.abs(rise)).all():  # cut off, or squashed, below
        return "as is"
    middle = -black / np.where(rise == 0, 1, rise)  # the share of the range that becomes 0
    if max(np.abs(black).max(), np.abs(white).max()) < 12 or ((middle > 0.08) & (middle < 0.95)).all():
        return "pixels"
    gain, middle = rise / 255, 255 * middle
    spread = (gain > 1) & (middle > 0.1) & (middle < 0.9)
    return "unit" if spread.all() or (gain.min() >= 100 and not black.any()) else "as is"


# --------------------------------------------------------------------------- an image that fits


def prepare(model, image, preprocess=None, output=0):
    """(net, x, shown): the net, the image as it takes it (1, h, w, c) float32, and the picture to show, 0 to 1.

    output: which of the net's outputs is asked about, its place or its name.
    """
    pixels = numbers(image)
    if pixels.ndim == 4 and len(pixels) == 1:
        pixels = pixels[0]
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3:
        raise ValueError(
            f"one image (height, width, channels) is needed, got an array of shape {np.shape(image)}"
        )
    net, x = fit(model, pixels[None], preprocess, output)
    return net, x, show(pixels)


def fit(model, images, preprocess=None, output=0):
    """(net, x): the net and the images (n, h, w, c) as it takes them, float32. ValueError says what does not fit.

    `preprocess` is the net's input scaling, a function of images as they are seen (0 to 255, or 0 to 1).
    """
    images = numbers(images)
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images have the shape (n, height, width, channels), got {images.shape}")
    if not np.isfinite(images).all():
        raise ValueError(f"images are finite numbers; these have {np.sum(~np.isfinite(images))} that are not")
    low, high = float(images.min()), float(images.max())
    if preprocess is not None and (low < 0 or high > 255):
        raise ValueError(
            f"preprocess takes images as they are seen, from 0 to 255; these go from {low:.4g} to {high:.4g}, "
            "as if it had been applied already: leave one of the two out"
        )
    x = scaled(images, preprocess)
    net = Net(model, x.shape[1:], output)
    if any(have is not None and have != got for have, got in zip(net.shape, x.shape[1:], strict=True)):
        raise ValueError(
            f"{model.name} takes images of shape {net.shape}, got {x.shape[1:]}; {_remedy(net.shape, x.shape[1:])}"
        )
    _check_range(net, entrance(net), images if preprocess is None else x, preprocess)
    return net, x


def scaled(images, preprocess=None):
    """Images as a net takes them, float32. `preprocess` gets a copy: Keras' own functions write into what they are given."""
    return np.asarray(preprocess(np.array(images)) if preprocess else images).astype("float32")


def numbers(images):
    """An array of numbers; bfloat16 and other short floats, which NumPy does not count as such, as float32."""
    try:
        images = np.asarray(images)
    except ValueError:
        raise ValueError(
            "images are one array of numbers, all of one size; data.resize(image, size) resizes"
        ) from None
    if images.dtype.kind == "V" and images.dtype.names is None and images.dtype.itemsize <= 2:
        images = images.astype("float32")
    if images.dtype.kind not in "uifb":
        raise ValueError(
            f"an image is an array of numbers, got {images.dtype}; data.pixels(file) reads a file as one"
        )
    return images


def _remedy(wanted, got):
    """What to do with images (h, w, c) of another shape."""
    channels = wanted[-1]
    fits = [want in (None, have) for want, have in zip(wanted, np.roll(got, -1), strict=True)]
    if got[-1] != channels and all(fits):
        return "channels stand last: np.moveaxis(image, -3, -1)"
    if got[-1] == 4 and channels == 3:
        return "the fourth channel is transparency: image[..., :3] leaves it out"
    if got[-1] == 1 and channels == 3:
        return "a grey image has one channel: np.repeat(image, 3, -1) makes three"
    if got[-1] == 3 and channels == 1:
        return "a grey image has one channel: image.mean(-1, keepdims=True) makes it of colours"
    if got[-1] != channels:
        return f"the net reads {channels} channels, the image has {got[-1]}"
    return "data.resize(images, size) resizes"


def _check_range(net, first, images, preprocess):
    low, high, name = float(images.min()), float(images.max()), net.model.name
    unit, pixels = images.dtype.kind == "f" and 0 < high <= 1, first.takes == "pixels"
    if pixels and preprocess is not None and (low < 0 or unit):
        raise ValueError(
            f"{name} begins with {first.by}, which scales pixels from 0 to 255, and preprocess brings them to {low:.4g} to "
            f"{high:.4g} before: leave preprocess out"
        )
    if (pixels and (low < 0 or high > 255 or unit)) or (first.takes == "unit" and high > 16):
        raise ValueError(
            f"{name} begins with {first.by}: it takes values from 0 to {255 if pixels else 1}, these go from {low:.4g} to "
            f"{high:.4g}"
            + ("; np.clip(image, 0, 255) cuts off what resizing has added" if high > 255 else "")
        )
    if first.takes == "as is" and preprocess is None and images.dtype == np.uint8:
        raise ValueError(
            f"{name} does not scale its input, and these are raw pixels from 0 to 255: give the images as it "
            "was trained on them, or preprocess=..., their scaling; if it was trained on raw pixels, x.astype('float32')"
        )


def show(pixels):
    """An image (h, w, c) as it can be drawn: (h, w, 3) or (h, w), 0 to 1."""
    pixels = in_unit_range(pixels)
    return pixels if pixels.shape[-1] == 3 else pixels.mean(-1)
