"""Chapter 22's experiment: moved images, the count of changed answers, and four nets of which two cost the same."""

import keras
import numpy as np
import pytest

from cnnbook import graph
from cnnbook.experiments import your_own_network as project


def test_images_move_and_the_darkest_value_comes_in():
    image = np.arange(1, 10, dtype="float32").reshape(1, 3, 3, 1)
    down_and_left = project.moved(image, 1, -1)[0, ..., 0]
    assert down_and_left.tolist() == [[1, 1, 1], [2, 3, 1], [5, 6, 1]]
    assert np.array_equal(project.moved(image, 0, 0), image)


def test_changed_answers_are_counted_over_four_moves():
    # The class is whether the middle place is lit, so each of the four moves changes the answer of the first image only.
    images = np.zeros((2, 3, 3, 1), "float32")
    images[0, 1, 1] = 1
    image = keras.Input((3, 3, 1))
    lit = keras.layers.Cropping2D(1)(image)
    scores = keras.layers.Concatenate()([keras.layers.Flatten()(0.5 - lit), keras.layers.Flatten()(lit)])
    assert project.changed_by_a_move(keras.Model(image, scores), images) == 50


@pytest.mark.parametrize(
    ("variant", "params", "macs"),
    [
        ("strided", 19_810, 2_364_864),
        ("averaged first", 19_810, 2_364_864),
        ("averaged after", 19_810, 3_719_616),
        ("strided, wider", 30_720, 3_677_360),
    ],
)
def test_what_the_four_nets_cost(variant, params, macs):
    chosen = project.HALVING.variants[variant]
    net = project.small_net(project.BLOCKS[chosen["kind"]], chosen["widths"])
    total = graph.totals(net)
    assert (total["params"], total["macs"]) == (params, macs)
