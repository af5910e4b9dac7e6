"""Answers to the exercises of chapter 01."""

import itertools

from cnnbook.answers import Answer


def _is_step(answer):
    """Whether the outer product of a column and a row is the kernel of upright edges."""
    import numpy as np

    two = hasattr(answer, "__len__") and not isinstance(answer, (str, dict)) and len(answer) == 2
    assert two, "Give two lists: the column and the row."
    column, row = (np.asarray(part, "float64").ravel() for part in answer)
    assert column.shape == row.shape == (3,), (
        f"Three numbers each are wanted, got {column.size} and {row.size}."
    )
    product, step = np.outer(column, row), np.outer([1, 2, 1], [-1, 0, 1])
    assert not np.array_equal(product, step.T), "This is the kernel of level edges: the two are exchanged."
    assert np.allclose(product, step), f"The column times the row gives {product.tolist()}."


def _convolves(conv2d):
    """Whether conv2d(x, kernel, stride, padding) gives the framework's numbers: x (h, w, c), kernel (k, k, c, n)."""
    import numpy as np
    from keras import ops

    from cnnbook import numerics

    rng = np.random.default_rng(1)
    for side, stride, padding, channels in [
        (3, 1, 0, 1),
        (3, 1, 0, 4),
        (3, 1, 1, 2),
        (5, 2, 0, 3),
        (2, 3, 2, 3),
    ]:
        x = rng.normal(size=(11, 8, channels)).astype("float32")
        kernel = rng.normal(size=(side, side, channels, 2)).astype("float32")
        what = f"stride {stride}, padding {padding}, {channels} channel{'s' * (channels > 1)}"
        padded = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
        with numerics.exact():
            wanted, turned = (
                ops.convert_to_numpy(ops.conv(padded[None], w, strides=stride))[0]
                for w in (kernel, kernel[::-1, ::-1].copy())
            )
        found = np.asarray(conv2d(x.copy(), kernel.copy(), stride, padding))
        assert found.shape == wanted.shape, f"With {what}: the shape is {found.shape}, not {wanted.shape}."
        assert not np.allclose(found, turned, atol=1e-3), (
            f"With {what}: these are the sums of the kernel turned by 180 degrees."
        )
        apart = float(np.abs(found - wanted).max())
        assert apart < 1e-3, f"With {what}: Keras' numbers are up to {apart:.2g} away."


def _goes_back(backward):
    """Whether backward(x, kernel, g, stride) gives the gradients for x (h, w) and kernel (k, k) of the sum of g times y."""
    import numpy as np

    rng = np.random.default_rng(2)
    for side, stride in [(3, 1), (3, 2), (2, 3)]:
        x, kernel = rng.normal(size=(7, 9)), rng.normal(size=(side, side))
        g = rng.normal(size=[(n - side) // stride + 1 for n in x.shape])
        what = f"Stride {stride}, kernel {side} x {side}"
        for_x, for_kernel = np.zeros_like(x), np.zeros_like(kernel)
        for (i, j), (u, v) in itertools.product(np.ndindex(g.shape), np.ndindex(kernel.shape)):
            for_x[stride * i + u, stride * j + v] += g[i, j] * kernel[u, v]
            for_kernel[u, v] += g[i, j] * x[stride * i + u, stride * j + v]
        found = backward(x.copy(), kernel.copy(), g.copy(), stride)
        assert isinstance(found, (tuple, list)) and len(found) == 2, (
            "Return two arrays: for the image, for the kernel."
        )
        for name, part, wanted in zip(("image", "kernel"), found, (for_x, for_kernel), strict=True):
            shape = np.shape(part)
            assert shape == wanted.shape, (
                f"{what}: the {name}'s gradient has the shape {shape}, not {wanted.shape}."
            )
            apart = float(np.abs(np.asarray(part) - wanted).max())
            assert apart < 1e-5, f"{what}: the {name}'s gradient is up to {apart:.2g} away."


def _shrinks(answer):
    """Whether {depth: (side of the box, side that holds 95 %)} of four stacks of 3x3 convolutions says what happens."""
    assert isinstance(answer, dict) and len(answer) >= 4, "Give {depth: (box, effective)} for four depths."
    parts = {}
    for depth, (box, effective) in sorted(answer.items()):
        assert box == 2 * depth + 1, (
            f"{depth} layers of 3x3 see {2 * depth + 1} pixels a side; your box has {box}."
        )
        assert 0 < effective <= box, (
            f"At depth {depth} the effective side is {effective}, which cannot be in a box of {box}."
        )
        parts[depth] = effective / box
    (least, first), *_, (most, last) = parts.items()
    assert most >= 4 * least, (
        f"The depths {least} and {most} lie too near together: take one at least four times the other."
    )
    assert last < first, f"The part goes from {first:.2f} to {last:.2f}; is the deepest box inside the image?"


ANSWERS = {
    "stack": Answer(
        (32, 5088, 9),
        why="(64 + 2 - 3) // 2 + 1 = 32; 448 + 2,320 + 2,320 parameters; the field goes 3, 5, 9, the jump 1, 2, 2.",
        hints=(
            "Only the layer with the stride changes the side, and the first layer reads three channels.",
            "Each output channel has a bias; the last layer's kernel reaches over two steps of the jump.",
        ),
    ),
    "separable": Answer(
        _is_step,
        why="A weighted sum down the column, a difference along the row: 3 + 3 multiplications a place do the work of 9.",
        hints=(
            "All rows of the kernel are multiples of one row.",
            "The row is the difference of the right and the left pixel; the column says how often each row takes it.",
        ),
    ),
    "conv2d": Answer(
        _convolves,
        why="A window of all channels, times a kernel of all channels, and one sum for each output channel.",
        hints=(
            "Pad height and width, not the channels; then the size follows from the formula with the padded side.",
            "np.tensordot(window, kernel, 3) sums over height, width and channels at once.",
        ),
    ),
    "backward": Answer(
        _goes_back,
        why="The same two statements at every place serve any stride, because each repeats one product of the way forward.",
        hints=(
            "Visit the places of g as the way forward does. What did place (i, j) read, and with which weights?",
            "Each place adds g[i, j] times the kernel to a window of one gradient, g[i, j] times the window to the other.",
        ),
    ),
    "fields": Answer(
        _shrinks,
        why="The box grows with the depth, what is used of it more slowly: Luo et al. derive the root of the depth.",
        hints=(
            "Let the image be larger than the deepest box, or padding cuts it.",
            "Each side of field.box and field.effective is a difference: bottom less top.",
        ),
    ),
}
