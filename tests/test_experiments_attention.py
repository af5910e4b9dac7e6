"""The pictures, the nets and the gates of chapter 12's experiments."""

import keras
import numpy as np
import pytest

from cnnbook import graph
from cnnbook.experiments import attention as slim


def test_items_follow_from_the_seed_and_come_in_many_sizes():
    x, y, sides = slim.items(200, 3)
    again, _, _ = slim.items.__wrapped__(200, 3)
    assert x.shape == (200, 40, 40, 1) and x.dtype == "float32" and (x == again).all()
    assert not (x == slim.items(200, 4)[0]).all()
    assert (
        sides.min() == slim.LEAST and slim.MOST - 2 <= sides.max() <= slim.MOST and set(y) == set(range(10))
    )


def test_a_doubled_item_covers_what_four_small_ones_cover():
    ways, labels = slim.doubled(6, 1)
    assert labels.shape == (6,) and {images.shape for images in ways.values()} == {(6, 40, 40, 1)}
    small, four, large = (ways[name] for name in ("one small", "four small", "one large"))
    outside = np.ones((40, 40), bool)
    outside[4:36, 4:36] = False
    # Outside of the square in the middle the three are the same canvas.
    assert (small[:, outside] == large[:, outside]).all() and (four[:, outside] == large[:, outside]).all()
    painted = [(a != small).any(-1).sum((1, 2)) for a in (four, large)]
    assert all((count > 100).all() for count in painted)
    # The four copies are one item: 16 pixels to the right the same paint lies on another ground.
    bright = four[0, 4:20, 4:20, 0] > 1.2
    assert (four[0, 4:20, 20:36, 0][bright] > 0.5).all()


@pytest.mark.parametrize(
    "kind, params", [("no gate", 73_114), ("SE", 85_588), ("wider", 85_319), ("SK", 108_754)]
)
def test_the_nets(kind, params):
    """By hand for the gates of SE: 2 C C / 8 + C / 8 + C of 48, 96 and 192 channels are 12,474."""
    assert graph.totals(slim.net_of(kind))["params"] == params


def test_between_classes():
    labels = np.repeat([0, 1], 50)
    apart = np.stack([labels, -labels], -1).astype("float32")
    assert slim.between_classes(apart, labels) == pytest.approx(1)
    noise = np.random.default_rng(0).normal(size=(100, 2))
    assert slim.between_classes(noise, labels) < 0.1
    # Half of the variance lies between: a class mean of -1 or 1, and -1 or 1 around it.
    both = (2 * labels - 1 + np.tile([-1, 1], 50))[:, None]
    assert slim.between_classes(both, labels) == pytest.approx(0.5)


def test_gates_held_still_and_shares():
    keras.utils.set_random_seed(0)
    x, _, _ = slim.items(20, 0)
    net = slim.net_of("SE")
    before = slim.gates(net, x)
    assert {stage: a.shape for stage, a in before.items()} == {
        "conv2": (20, 48),
        "conv3": (20, 96),
        "conv4": (20, 192),
    }
    slim.hold_still(net, "conv3", before["conv3"].mean(0))
    after = slim.gates(net, x)
    assert np.abs(after["conv3"] - before["conv3"].mean(0)).max() < 1e-5
    assert (after["conv2"] == before["conv2"]).all() and before["conv3"].std(0).max() > 1e-3
    shares = slim.shares(slim.net_of("SK"), x)
    assert {stage: a.shape for stage, a in shares.items()} == {
        "conv2": (20, 12),
        "conv3": (20, 24),
        "conv4": (20, 48),
    }
    assert all(a.min() > 0 and a.max() < 1 for a in shares.values())
    with pytest.raises(ValueError, match="conv5"):
        slim.hold_still(net, "conv5", before["conv3"].mean(0))


@pytest.mark.parametrize(
    "entry, wrong", [("shares", (0.25, 0.25)), ("select", lambda maps, numbers: maps.mean(0))]
)
def test_wrong_answers_are_told(entry, wrong):
    from cnnbook import answers

    with pytest.raises(AssertionError):
        answers.of("attention")[entry].correct(wrong)
