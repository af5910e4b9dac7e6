"""The stacks drawn in the VGG chapter are read from the models, and say what the papers say."""

import pytest
from helpers.zoo import plan

from cnnbook import models, viz

pytestmark = pytest.mark.jax


@pytest.fixture(scope="module")
def shown():
    names = ("AlexNet", "VGG16C", "VGG19")
    return viz.stacks(*(plan(getattr(models, name)) for name in names))


def test_boxes_are_the_papers_layers(shown):
    assert shown.rows["alexnet"][1].text == "11x11 conv, 96, /4"
    assert shown.count("alexnet", "conv", "dense") == 8
    assert shown.count("alexnet", "norm") == 2
    assert shown.count("vgg19", "conv") == 16
    texts = [box.text for box in shown.rows["vgg16c"]]
    assert sum(text.startswith("1x1 conv") for text in texts) == 3
    assert texts[-3:] == ["dense, 4096", "dense, 4096", "dense, 1000"]
    assert shown.rows["vgg19"][3].size == (112, 112)


def test_one_box_between_two_pools_per_convolution(shown):
    runs = [0]
    for box in shown.rows["vgg19"]:
        runs = runs + [0] if box.kind == "pool" else runs
        runs[-1] += box.kind == "conv"
    assert runs == [2, 2, 4, 4, 4, 0]


def test_it_shows_itself(shown):
    assert shown._repr_png_().startswith(b"\x89PNG")
    assert "16 convolutions" in shown.alt
    assert repr(shown).startswith("alexnet: 8 weight layers\n  image, 227 x 227 x 3\n  11x11 conv, 96, /4")


def test_any_classifier():
    residual = viz.stacks(models.ResNetCIFAR(20), models.ResNetCIFAR(20))
    assert list(residual.rows) == ["resnet20", "resnet20 (2)"] or len(residual.rows) == 2
    assert {box.kind for stack in residual.rows.values() for box in stack} >= {"conv", "merge", "dense"}
    assert not any(box.kind == "other" for stack in residual.rows.values() for box in stack)
    with pytest.raises(ValueError, match="at least one model"):
        viz.stacks()


def test_a_changed_stride_changes_the_picture():
    import keras

    def net(strides):
        inputs = keras.Input((32, 32, 3))
        x = keras.layers.Conv2D(8, 3, strides, padding="same", name="conv1")(inputs)
        return keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="gap")(x), name="net")

    assert viz.stacks(net(1)).rows["net"][1].text == "3x3 conv, 8"
    assert viz.stacks(net(2)).rows["net"][1] == viz.stacks(net(2)).rows["net"][1]
    assert viz.stacks(net(2)).rows["net"][1].text == "3x3 conv, 8, /2"
    assert viz.stacks(net(2)).rows["net"][1].size == (16, 16)
