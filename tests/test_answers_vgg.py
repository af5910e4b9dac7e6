"""The exercises of chapter 03 take a right answer, and tell two typical mistakes apart."""

import numpy as np
from keras import layers as L

CHAPTER = "vgg"


def net(x, stages, *, activation="relu", padding="same", pool_each=False):
    for convs, channels in stages:
        for last in range(convs, 0, -1):
            x = L.Conv2D(channels, 3, padding=padding, activation=activation)(x)
            if pool_each and last > 1:
                x = L.MaxPooling2D(2, padding="same")(x)
        x = L.MaxPooling2D(2, padding="same" if pool_each else "valid")(x)
    return x


def one_kernel(first, second, *, turned=False):
    result = np.zeros((5, 5, first.shape[2], second.shape[3]))
    for i, j in np.ndindex(3, 3):
        result[i : i + 3, j : j + 3] += first @ second[i, j]
    return result[::-1, ::-1] if turned else result


def test_numbers(said):
    assert said("layers", 7).startswith("Right.")
    assert said("layers", 5).startswith("Not right yet")
    assert said("pooled", 15_227_688).startswith("Right.")
    assert said("pooled", 14_714_688).startswith("Not right yet")


def test_net_of_stages(said):
    assert said("net", net).startswith("Right.")
    linear = said("net", lambda x, stages: net(x, stages, activation=None))
    assert "the outputs differ" in linear
    assert "10 in all, yours has 5" in said("net", lambda x, stages: net(x, [(1, c) for _, c in stages]))
    tapered = said("net", lambda x, stages: net(x, [(n, 10) for n, _ in stages]))
    assert "the stages say" in tapered
    assert "raised" in said("net", lambda x, stages: net(x, stages, padding="valid"))


def test_one_kernel_for_two(said):
    assert said("one_kernel", one_kernel).startswith("Right.")
    turned = said("one_kernel", lambda a, b: one_kernel(a, b, turned=True))
    assert "upside down" in turned
    assert "(3, 3, 2, 5)" in said("one_kernel", lambda a, b: a @ b)
    assert "differ by" in said("one_kernel", lambda a, b: 2 * one_kernel(a, b))


def test_pairs_against_fives(said):
    apart = {"pairs": [20.0, 21.0, 22.0], "5x5": [24.0, 25.0, 26.0]}
    assert said("pairs", (apart, "decided")).startswith("Right.")
    assert "from 20.00 to 22.00 and from 24.00 to 26.00" in said("pairs", (apart, "not decided"))
