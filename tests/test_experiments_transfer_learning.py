"""The scenes and nets of chapter 15's experiment differ in what the chapter says, and in nothing else."""

import keras
import numpy as np
import pytest

from cnnbook import data, transfer
from cnnbook.experiments import transfer_learning

SMALL = dict(train=100, test=50, seed=1)


def test_both_questions_are_asked_of_the_same_scenes():
    x, items, x_test, items_test = transfer_learning.scenes("new items", **SMALL)
    other, colours, other_test, colours_test = transfer_learning.scenes("colour", **SMALL)
    assert np.array_equal(x, other) and np.array_equal(x_test, other_test) and x.dtype == "float32"
    # Of 50 classes in a row each comes once: three items in five colours.
    assert x.shape == (30, 32, 32, 3) and x_test.shape == (15, 32, 32, 3)
    assert sorted(zip(items_test, colours_test, strict=True)) == [(i, c) for i in range(3) for c in range(5)]
    drawn = data.load("scenes", task="classify", size=32, verbose=False, **SMALL)
    held_out = transfer.backbones()["scenes7"]["held_out"]
    names = [drawn.classes[y] for y in drawn.y_train if drawn.classes[y].split(" ", 1)[1] in held_out]
    colour_names = [name.split(" ")[0] for name in drawn.classes[:5]]
    assert names == [f"{colour_names[c]} {held_out[i]}" for i, c in zip(items, colours, strict=True)]


def test_known_items_are_the_seven_that_the_net_names():
    x, y, _, y_test = transfer_learning.scenes("known items", **SMALL)
    assert len(x) == 70 and np.bincount(y).tolist() == [10] * 7 and np.bincount(y_test).tolist() == [5] * 7


def test_as_many_of_each_class_are_chosen_and_none_twice():
    y = np.repeat([0, 1, 2], 30)
    few = transfer_learning.chosen(y, 8, seed=2)
    assert len(set(few)) == 24 and np.bincount(y[few]).tolist() == [8] * 3
    assert not np.array_equal(few, transfer_learning.chosen(y, 8, seed=3))


def test_a_trained_net_keeps_its_batch_norms_and_a_new_one_learns_all():
    trained, new = (transfer_learning.whole(flag, 3) for flag in (True, False))
    frozen = {layer.name for layer in trained.layers if layer.weights and not layer.trainable}
    norms = {layer.name for layer in new.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert frozen == norms - {"head_bn"} and len(frozen) == 7
    assert all(layer.trainable for layer in new.layers)
    kernels = [net.get_layer("conv3_block1_1_conv").get_weights()[0] for net in (trained, new)]
    assert np.array_equal(
        kernels[0], transfer.backbone("scenes7").get_layer("conv3_block1_1_conv").get_weights()[0]
    )
    assert not np.array_equal(*kernels)


@pytest.mark.parametrize("plan, read", [("pixels", 3072), ("head", 64)])
def test_a_head_alone_reads_vectors(plan, read):
    x = np.full((4, 32, 32, 3), 255, "float32")
    trials, given, held_out, options = transfer_learning.by_plan(plan, x, x[:2], 5, steps=2)
    assert given.shape == (4, read) and held_out.shape == (2, read) and options == {}
    assert trials.model.output_shape == (None, 5) and trials.steps == 2
    assert plan != "pixels" or given.max() == 1


def test_every_plan_is_measured_for_every_number_of_labels():
    run = transfer_learning.FEW_LABELS.run(
        "colour", 0, dict(plans=["pixels"], labels=[2, 4], steps=2, train=100, test=50)
    )
    assert set(run.values) == {"pixels", "pixels, labelled scenes"}
    assert all(len(values) == 2 and all(0 <= v <= 100 for v in values) for values in run.values.values())
