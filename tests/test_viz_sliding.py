"""A kernel on a grid of numbers: each frame is the sum that it says, and the sums are the framework's convolution."""

import base64
import io
import json
import re

import keras
import numpy as np
import pytest
from helpers import nets

from cnnbook import viz

pytestmark = pytest.mark.jax

X = np.array([[0, 0, 0, 9, 9], [0, 0, 0, 9, 9], [0, 0, 9, 9, 9], [0, 0, 9, 9, 9], [0, 9, 9, 9, 9]])
STEP = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2}, {"padding": 1}, {"stride": 2, "padding": 2}, {"dilation": 2, "padding": 1}]
)
@pytest.mark.parametrize("sides", [(3, 3), (2, 1)])
def test_the_sums_are_the_frameworks(options, sides):
    image, kernel = nets.image((6, 5)), nets.image(sides, 1)
    found = viz.slide(image, kernel, **options)
    padded = np.pad(image, options.get("padding", 0)).astype("float32")
    wanted = keras.ops.conv(
        padded[None, ..., None], kernel.astype("float32")[..., None, None],
        strides=options.get("stride", 1), dilation_rate=options.get("dilation", 1),
    )  # fmt: skip
    np.testing.assert_allclose(found.array, keras.ops.convert_to_numpy(wanted)[0, ..., 0], atol=1e-5)
    assert found.products.shape == (*found.array.shape, *sides)
    np.testing.assert_allclose(found.products.sum((2, 3)), found.array)


def test_a_place_of_the_step_by_hand():
    found = viz.slide(X, STEP)
    assert found.array.tolist() == [[9, 36, 27], [27, 36, 9], [36, 27, 0]]
    assert found.products[0, 0].tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 9]]
    assert found.labels[1] == "output (0, 1) = 36" and len(found.labels) == 9
    assert found.alt == "A kernel of 3 x 3 slides over a grid of 5 x 5 numbers and gives 3 x 3 sums"
    assert viz.slide(X, STEP, stride=2, padding=1).alt.endswith("sums, with stride 2 and padding 1")


def texts(axes):
    return [text.get_text() for text in axes.texts if text.get_text()]


def test_a_frame_shows_the_window_its_products_and_the_sums_so_far():
    found = viz.slide(X, STEP)
    image, kernel, products, output = found.figure().axes
    assert texts(kernel) == [
        "\N{MINUS SIGN}1",
        "0",
        "1",
        "\N{MINUS SIGN}2",
        "0",
        "2",
        "\N{MINUS SIGN}1",
        "0",
        "1",
    ]
    # The frame in the middle: place (1, 1).
    assert texts(products) == ["0", "0", "9", "0", "0", "18", "0", "0", "9"]
    assert products.get_xlabel() == "their sum: 36" and texts(output) == ["9", "36", "27", "27", "36"]
    window = image.patches[-1]
    assert (window.get_xy(), window.get_width(), window.get_height()) == ((1, 1), 3, 3)
    padded = viz.slide(X, STEP, stride=2, padding=1).figure().axes[0]
    assert padded.get_title() == "image and padding" and padded.patches[-1].get_xy() == (2, 2)
    dilated = viz.slide(X, STEP[:2, :2], dilation=2).figure().axes[0]
    # A frame around the window and one for each of the four cells that are read.
    assert len(dilated.patches) - X.size == 5


def test_the_page_steps_and_plays():
    html = viz.slide(X, STEP)._repr_html_()
    frames, labels = re.search(r"var frames = (\[.*?\]), labels = (\[.*?\]);", html, re.S).groups()
    assert len(json.loads(frames)) == 9 and json.loads(labels)[-1] == "output (2, 2) = 0"
    assert "http" not in html and "Play" in html and len(html) < 300_000

    from PIL import Image

    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(f))).convert("RGB")).astype(int)
        for f in json.loads(frames)
    ]
    assert len({p.shape for p in pictures}) == 1
    moved = np.abs(pictures[0] - pictures[-1]).max(-1).max(0) > 40
    thirds = np.array_split(moved, 3)
    assert thirds[0].any() and thirds[2].any()  # the window, and the output
