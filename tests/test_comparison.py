"""What `cnnbook.compare` says of one changed line."""

import keras
import pytest
from helpers.zoo import plan
from keras import layers as L

import cnnbook
from cnnbook import models

pytestmark = pytest.mark.jax


def counted(name, **arguments):
    return plan(getattr(models, name), **arguments)


def test_one_changed_argument():
    found = cnnbook.compare(counted("ResNet18"), counted("ResNet18", shortcut="A"))
    assert found.totals["params"] == (11_689_512, 11_515_688)
    before, after = found.stages["conv3"]
    # what the projections of option B hold: 64 x 128 weights, gamma and beta
    assert before["params"] - after["params"] == 64 * 128 + 2 * 128
    assert found.stages["conv2"][0] == found.stages["conv2"][1]
    assert found.layers["conv3_block1_0_conv"] == "only in the first"
    assert found.layers["conv3_block1_0_pad"] == "only in the second"
    assert all(name.startswith(("conv3_block1", "conv4_block1", "conv5_block1")) for name in found.layers)
    assert list(found.to_frame().loc["conv3", "params"]) == [before["params"], after["params"]]


def test_a_changed_setting_is_named():
    found = cnnbook.compare(counted("VGG13"), counted("VGG13", kernel=5))
    assert found.layers["block1_conv1"] == "kernel_size 3 -> 5"
    assert found.layers["block1_conv2"] == "only in the first"
    assert "38,720 -> 4,864 (-87.4 %)" in repr(found)
    assert "38,720 -&gt; 4,864" in found._repr_html_() and "font-weight:bold" in found._repr_html_()


def test_a_layer_that_differs_only_in_its_size_says_so():
    found = cnnbook.compare(counted("LeNet5"), counted("LeNet5", input_shape=(36, 36, 1)))
    assert found.layers["c3"] == "output 10 x 10 x 16 -> 12 x 12 x 16"
    assert found.totals["params"][1] > found.totals["params"][0]  # the dense layers grow with the image


def test_order_of_stages_and_nothing_changed():
    def net(*names):
        x = inputs = keras.Input((8, 8, 1), name="image")
        for name in names:
            x = L.Conv2D(2, 1, name=name)(x)
        return keras.Model(inputs, x)

    found = cnnbook.compare(net("a1", "b1", "d1"), net("a1", "c1", "d1", "e1"))
    assert list(found.stages) == ["image", "a1", "b1", "c1", "d1", "e1"]
    same = cnnbook.compare(net("a1"), net("a1"))
    assert same.layers == {} and "no layer differs" in repr(same)


def test_layers_that_cannot_be_saved_are_compared_by_what_they_are():
    class Scaled(L.Layer):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def call(self, x):
            return self.function(x)

    def net(filters):
        image = keras.Input((8, 8, 1), name="image")
        x = Scaled(abs)(image)
        return keras.Model(image, L.Conv2D(filters, 3, name="conv")(x))

    text = str(cnnbook.compare(net(2), net(4)))
    assert "filters 2 -> 4" in text and "Scaled" not in text
