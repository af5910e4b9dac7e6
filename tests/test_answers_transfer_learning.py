"""Chapter 15: each checked exercise takes its solution, and tells two typical mistakes apart in words."""

import keras
import numpy as np
import pytest

from cnnbook import exercises
from cnnbook.exercises import check

BatchNormalization = keras.layers.BatchNormalization


@pytest.fixture(autouse=True)
def nothing_answered(monkeypatch):
    monkeypatch.setattr(exercises, "_wrong", exercises.Counter())


def said(capsys, entry, answer):
    check(f"transfer_learning.{entry}", answer)
    return capsys.readouterr().out


def freezes(net, stage):
    for layer in net.layers:
        layer.trainable = layer.name[:5] > stage and not isinstance(layer, BatchNormalization)


def forgets_batch_norm(net, stage):
    for layer in net.layers:
        layer.trainable = layer.name[:5] > stage


def freezes_all_but_the_stage(net, stage):
    for layer in net.layers:
        layer.trainable = layer.name.startswith(stage) and not isinstance(layer, BatchNormalization)


def never_thaws(net, stage):
    for layer in net.layers:
        if layer.name[:5] <= stage or isinstance(layer, BatchNormalization):
            layer.trainable = False


def freezes_the_net_itself(net, stage):
    net.trainable = False
    freezes(net, stage)


def steps(weights, gradients, names, rate, factors):
    of_layer = [factors.get(name.split("_")[0], 1) for name in names]
    return [w - f * rate * g for w, g, f in zip(weights, gradients, of_layer, strict=True)]


def freezes_other_layers(weights, gradients, names, rate, factors):
    of_layer = [factors.get(name.split("_")[0], 0) for name in names]
    return [w - f * rate * g for w, g, f in zip(weights, gradients, of_layer, strict=True)]


def climbs(weights, gradients, names, rate, factors):
    of_layer = [factors.get(name.split("_")[0], 1) for name in names]
    return [w + f * rate * g for w, g, f in zip(weights, gradients, of_layer, strict=True)]


def changes_in_place(weights, gradients, names, rate, factors):
    for w, g, name in zip(weights, gradients, names, strict=True):
        w -= factors.get(name.split("_")[0], 1) * rate * g
    return weights


APART = {"pixels": [54.9, 55.3, 56.0], "head": [35.3, 36.9, 36.0]}
SOLUTIONS = {
    "head": 64 * 50 + 50,
    "rate_of_zero": 480,
    "freeze_until": freezes,
    "slow_step": steps,
    "verdict": (APART, "decided"),
}
MISTAKES = {
    "head": (64 * 50, 64 * 3 + 3),
    "rate_of_zero": (0, 240),
    "freeze_until": (forgets_batch_norm, freezes_all_but_the_stage, never_thaws, freezes_the_net_itself),
    "slow_step": (freezes_other_layers, climbs, changes_in_place),
    "verdict": ((APART, "not decided"), ({"pixels": [0.55, 54.0, 56.0], "head": [35.0, 36.0]}, "decided")),
}


@pytest.mark.parametrize("entry", SOLUTIONS)
def test_a_solution_is_right_and_mistakes_are_told_apart(capsys, entry):
    assert said(capsys, entry, SOLUTIONS[entry]).startswith("Right. ")
    told = [said(capsys, entry, mistake) for mistake in MISTAKES[entry]]
    assert all(text.startswith("Not right yet") for text in told)
    # The answer itself and the hint, which differs by the number of tries, are not what tells them apart.
    reasons = [text.split("Hint ")[0].split("\n", 1)[1:] for text in told]
    if callable(SOLUTIONS[entry]) or entry == "verdict":
        assert len({str(reason) for reason in reasons}) == len(reasons) and all(map(any, reasons))


def test_the_words_name_the_mistake(capsys):
    assert "conv2: the batch norm conv3_block1_1_bn is not frozen" in said(
        capsys, "freeze_until", forgets_batch_norm
    )
    told = said(capsys, "freeze_until", freezes_all_but_the_stage)
    assert "conv2_block1_1_conv learns and is to be frozen" in told
    assert "conv1: conv2_block1_1_conv is frozen and is to learn" in said(capsys, "freeze_until", never_thaws)
    assert "the net as a whole lists 0" in said(capsys, "freeze_until", freezes_the_net_itself)
    assert "changes the arrays that it is given" in said(capsys, "slow_step", changes_in_place)
    assert np.isclose(steps([1.0], [2.0], ["head"], 0.1, {})[0], 0.8)
