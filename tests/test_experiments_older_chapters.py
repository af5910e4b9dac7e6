"""The nets and data of the experiments of chapters 02, 08, 10, 18 and a0 do what their names say."""

import keras
import numpy as np
import pytest

from cnnbook import graph, numerics
from cnnbook.experiments import alexnet, before_cnns, fcn, residual


def test_a_net_with_an_invertible_activation_differs_from_the_plain_one_in_nothing_else():
    plain, leaky = (graph.blueprint(residual.net_of, kind, 20) for kind in ("plain", "leaky"))
    counts = [(t["params"], t["macs"], t["receptive_field"]) for t in map(graph.totals, (plain, leaky))]
    assert counts[0] == counts[1]
    kinds = [[row.kind for row in graph.trace(net)] for net in (plain, leaky)]
    assert [k.replace("LeakyReLU", "Activation") for k in kinds[1]][:-2] == kinds[0][:-2]
    assert kinds[1].count("LeakyReLU") == 19


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_a_silenced_block_passes_its_input_on_and_comes_back(kind):
    keras.utils.set_random_seed(1)
    net = residual.net_of(kind, 8 if kind == "plain" else 14)
    blocks = residual.removable(net)
    assert blocks == (
        ["conv2_block1"]
        if kind == "plain"
        else [f"conv{s}_block{b}" for s, b in ((2, 1), (2, 2), (3, 2), (4, 2))]
    )
    before = net.get_layer("conv1_relu").output
    ends = keras.Model(net.input, [before, net.get_layer("conv2_block1_out").output])
    images, weights = np.random.default_rng(2).normal(size=(2, 14, 14, 1)), net.get_weights()
    with numerics.exact():
        kept = residual.silenced(net, "conv2_block1")
        into, out = ends.predict(images, verbose=0)
        assert np.abs(into - out).max() < 1e-5
        residual.restored(kept)
        into, out = ends.predict(images, verbose=0)
    assert np.abs(into - out).max() > 0.1
    assert all(map(np.array_equal, weights, net.get_weights()))


def test_images_move_along_both_axes_by_what_is_asked():
    images = np.zeros((40, 32, 32))
    images[:, 16, 16] = 1
    rows, columns = np.nonzero(before_cnns.moved(images, 3, seed=0))[1:]
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {(13, 13), (13, 19), (19, 13), (19, 19)}
    assert np.array_equal(before_cnns.moved(images, 0, seed=0), images)


def test_features_by_hand_have_36_directions_and_59_patterns_a_place():
    maps = before_cnns.described(np.random.default_rng(0).uniform(size=(2, 32, 32)))
    assert maps.shape == (2, 7, 7, 95)
    # Roots of shares: the patterns of 8 x 8 pixels add up to 1.
    assert np.allclose((maps[..., 36:] ** 2).sum(-1), 1, atol=1e-6)


def test_one_leap_is_bilinear_until_it_learns():
    coarse = np.random.default_rng(0).normal(size=(1, 16, 16, 2)).astype("float32")
    wanted = keras.ops.convert_to_numpy(keras.ops.image.resize(coarse, (128, 128), interpolation="bilinear"))
    for start, trains, tent in (("bilinear", False, True), ("bilinear", True, True), ("random", True, False)):
        up = fcn.one_leap(8, start, trains).get_layer("up")
        assert bool(up.trainable_weights) == trains and up.kernel.shape == (16, 16, 2, 2)
        with numerics.exact():
            apart = np.abs(keras.ops.convert_to_numpy(up(coarse)) - wanted)[:, 4:-4, 4:-4].max()
        assert (apart < 1e-5) == tent


def test_every_switch_of_the_pattern_leaves_its_parameters_alone():
    nets = [
        graph.blueprint(alexnet.pattern, a, d, widths=(8, 16, 16), hidden=128)
        for a, d in (("relu", 0), ("tanh", 0.5))
    ]
    assert {graph.totals(net)["params"] for net in nets} == {95_354}
