"""The switch that computes faster: equal numbers, nothing left behind."""

import keras
import numpy as np
import pytest
from keras import layers as L

from cnnbook import fast, training

tensorflow = keras.backend.backend() == "tensorflow"


def net():
    training.seed(0)
    x = inputs = keras.Input((9, 8, 4))
    for i, (groups, strides, padding) in enumerate([(1, 1, "same"), (4, 2, "same"), (2, 1, "valid")]):
        x = L.Conv2D(8, 3, strides, padding, groups=groups, name=f"conv{i}", use_bias=i == 2)(x)
        x = L.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"bn{i}")(x)
        x = L.Activation("relu", name=f"relu{i}")(x)
    inner = keras.Sequential(
        [keras.Input(x.shape[1:]), L.Conv2D(8, 1, groups=8, name="inner")], name="nested"
    )
    return keras.Model(inputs, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(inner(x))))


def batches():
    rng = np.random.default_rng(0)
    return rng.normal(1, 2, (48, 9, 8, 4)).astype("float32"), rng.integers(0, 3, 48)


def trained(on):
    model, (x, y) = net(), batches()
    history = training.fit(model, x, y, epochs=2, batch_size=16, learning_rate=0.05, fast=on, verbose=False)
    return model, history


def test_training_gives_the_same_weights_and_moving_statistics():
    (plain, slow_history), (quick, history) = trained(False), trained(True)
    assert history.curves["loss"][-1] < history.curves["loss"][0]
    for a, b in zip(plain.weights, quick.weights, strict=True):
        a, b = keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b)
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(history.curves["loss"], slow_history.curves["loss"], rtol=1e-5)


def test_the_switch_really_changes_how_it_computes_and_leaves_nothing_behind(tmp_path):
    model, (x, _) = net(), batches()
    before = [(type(layer), layer.get_config()) for layer in model.layers]
    predicted = keras.ops.convert_to_numpy(model(x))
    with fast.computing(model) as changed:
        assert changed == 3 + 3 * tensorflow  # grouped convolutions, one of them nested; batch norms
        assert model.get_layer("conv1").convolution_op.__func__ is fast.split_convolution
        np.testing.assert_allclose(keras.ops.convert_to_numpy(model(x)), predicted, atol=1e-6)
        model.save(tmp_path / "net.keras")
    assert [(type(layer), layer.get_config()) for layer in model.layers] == before
    assert not any({"call", "convolution_op"} & vars(layer).keys() for layer in model.layers)
    again = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(x)), predicted)
    with fast.computing(model, on=False) as changed:
        assert changed == 0


def test_the_layers_are_stock_again_after_an_error():
    model = net()
    with pytest.raises(RuntimeError), fast.computing(model):
        raise RuntimeError
    assert "convolution_op" not in vars(model.get_layer("conv1"))


def test_frozen_batch_norm_stays_frozen():
    model, (x, y) = net(), batches()
    model.get_layer("bn1").trainable = False
    before = model.get_layer("bn1").get_weights()
    training.fit(model, x, y, epochs=1, batch_size=16, verbose=False)
    for a, b in zip(before, model.get_layer("bn1").get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
