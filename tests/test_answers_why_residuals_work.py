"""The exercises of chapter 10: each takes its solution and says what is wrong with two likely mistakes."""

import math

import keras
import numpy as np
import pytest
from keras import layers as L

from cnnbook import exercises
from cnnbook.exercises import check
from cnnbook.experiments import residual


@pytest.fixture(autouse=True)
def no_answers_yet(monkeypatch):
    monkeypatch.setattr(exercises, "_wrong", exercises.Counter())


def said(capsys, entry, answer):
    check(f"why_residuals_work.{entry}", answer)
    return capsys.readouterr().out


def conv(x, filters, **options):
    return L.Conv2D(filters, 3, padding="same", **{"use_bias": False, **options})(x)


def normed(x):
    return L.ReLU()(L.BatchNormalization(epsilon=1.001e-5)(x))


def unit(x, filters):
    return L.Add()([x, conv(normed(conv(normed(x), filters)), filters)])


def original_unit(x, filters):
    y = normed(conv(x, filters))
    y = L.BatchNormalization(epsilon=1.001e-5)(conv(y, filters))
    return L.ReLU()(L.Add()([x, y]))


def unit_with_biases(x, filters):
    return L.Add()([x, conv(normed(conv(normed(x), filters, use_bias=True)), filters, use_bias=True)])


def unit_with_operators(x, filters):
    return conv(normed(conv(normed(x), filters)), filters) + x


def unit_of_one_stack(x, filters):
    half = (L.BatchNormalization, L.ReLU, lambda: L.Conv2D(filters, 3, padding="same", use_bias=False))
    return L.Add()([x, keras.Sequential([make() for make in half * 2])(x)])


def unit_normed_behind(x, filters):
    y = normed(conv(x, filters))
    return L.Add()([x, L.BatchNormalization(epsilon=1.001e-5)(conv(y, filters))])


def unit_with_small_kernels(x, filters):
    y = L.Conv2D(filters, 1, use_bias=False)(normed(x))
    return L.Add()([x, conv(normed(y), filters)])


def unit_that_shares(x, filters):
    y, kernel = x, L.Conv2D(filters, 3, padding="same", use_bias=False)
    for _ in range(2):
        y = kernel(normed(y))
    return L.Add()([x, y])


def unit_that_adds_what_is_activated(x, filters):
    start = normed(x)
    return L.Add()([start, conv(normed(conv(start, filters)), filters)])


def without(net, block):
    behind = keras.Model(net.get_layer(f"{block}_out").output, net.output)
    return keras.Model(net.input, behind(net.get_layer(f"{block}_add").input[0]))


def without_its_shortcut(net, block):
    """Keeps what the block adds, and leaves the shortcut out."""
    behind = keras.Model(net.get_layer(f"{block}_out").output, net.output)
    return keras.Model(net.input, behind(net.get_layer(f"{block}_add").input[1]))


def silenced_for_good(net, block):
    norm = net.get_layer(f"{block}_2_bn")
    gamma, beta, *statistics = norm.get_weights()
    shorter = keras.Model(net.input, net.output)
    norm.set_weights([0 * gamma, 0 * beta, *statistics])
    return shorter


def copied_and_silenced(net, block):
    copy = keras.models.clone_model(net)
    copy.set_weights(net.get_weights())
    residual.silenced(copy, block)
    return copy


def carried(blocks, factor):
    weights = np.array([math.comb(blocks, k) * factor**k for k in range(blocks + 1)])
    return weights / weights.sum()


def not_divided(blocks, factor):
    return [math.comb(blocks, k) * factor**k for k in range(blocks + 1)]


def counted(blocks, factor):
    return [math.comb(blocks, k) / 2**blocks for k in range(blocks + 1)]


def without_the_straight_path(blocks, factor):
    return carried(blocks, factor)[1:]


APART = {"ResNet-8": [0.8, 0.82, 0.85], "ResNet-20": [0.6, 0.65, 0.7]}


@pytest.mark.parametrize(
    "entry, answer",
    [
        ("paths", (220, 0.125)),
        ("carried", carried),
        ("unit", unit),
        ("unit", unit_with_operators),
        ("unit", unit_of_one_stack),
        ("without", without),
        ("verdict", (APART, "decided")),
        ("verdict", ({"plain-56": [-0.02, 0.01, 0.0], "ResNet-56": [0.5, 0.6, 0.57]}, "decided")),
    ],
)
def test_solutions_are_right(capsys, entry, answer):
    assert said(capsys, entry, answer).startswith("Right. ")


@pytest.mark.parametrize(
    "entry, answer, words",
    [
        ("paths", (12**3, 0.125), "1 of 2 differ (no. 1)"),
        ("paths", (220, 0.5), "1 of 2 differ (no. 2)"),
        ("carried", not_divided, "The shares add up to 8"),
        ("carried", counted, "With 9 blocks and a factor of 0.5 a share is"),
        ("carried", without_the_straight_path, "yours has the shape (3,)"),
        ("unit", original_unit, "the last operation is"),
        ("unit", unit_with_biases, "the convolutions have a bias"),
        ("unit", unit_that_adds_what_is_activated, "the outputs differ"),
        ("unit", unit_with_small_kernels, "the convolutions have [256, 2304] weights"),
        ("unit", unit_normed_behind, "your layers in order are Conv2D, BatchNormalization, ReLU"),
        ("unit", unit_that_shares, "one layer is called twice"),
        ("unit", lambda x, filters: conv(x, 2 * filters), "the shape is to stay"),
        ("without", lambda net, block: net, "A new model is wanted"),
        ("without", lambda net, block: keras.Model(net.input, net.output), "those of the whole net"),
        ("without", without_its_shortcut, "away from those that are wanted"),
        ("without", silenced_for_good, "The net's own weights were changed"),
        ("without", copied_and_silenced, "does not share its weights"),
        ("verdict", (APART, "not decided"), "the cosines go from 0.80 to 0.85 and from 0.60 to 0.70"),
        ("verdict", ({**APART, "ResNet-20": [0.5, 0.6]}, "decided"), "three seeds for each"),
        ("verdict", ({**APART, "ResNet-20": [0.5, 0.6, 1.2]}, "decided"), "between -1 and 1"),
    ],
)
def test_mistakes_are_told(capsys, entry, answer, words):
    text = said(capsys, entry, answer)
    assert text.startswith("Not right yet") and words in text
