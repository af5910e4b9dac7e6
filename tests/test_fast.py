"""The switch that computes faster: equal numbers, nothing left behind."""

import contextlib
import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from keras import layers as L

from cnnbook import training
from cnnbook.training import fast

pytestmark = pytest.mark.jax

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


def test_inference_is_fused_for_batches_and_what_was_compiled_before_is_back():
    model, (x, _) = net(), batches()
    rng = np.random.default_rng(0)
    for i in range(3):
        model.get_layer(f"bn{i}").set_weights(rng.uniform(0.5, 2, (4, 8)))
    expected = model.predict(x, verbose=0)
    stock = model.predict_function
    with fast.computing(model):
        for n in (48, 1, 5):  # one image is left to Keras: TensorFlow's fusion would slow it down
            np.testing.assert_allclose(model.predict_on_batch(x[:n]), expected[:n], rtol=1e-5, atol=1e-5)
        assert model.predict_function is not stock
        if tensorflow:
            assert [kernels_of(model, n).count("FusedBatchNormV3") for n in (48, 1, None)] == [3, 0, 0]
    assert model.predict_function is stock  # compiled before, valid again


def kernels_of(model, batch):
    """The types of TensorFlow's operations in the net's inference."""
    import tensorflow as tf

    call = tf.function(lambda x: model(x, training=False))
    graph = call.get_concrete_function(tf.TensorSpec((batch, *model.input_shape[1:]))).graph
    return [operation.type for operation in graph.get_operations()]


# ----------------------------------------------------------------------- what TensorFlow gets wrong

NARROW = """
import keras
import numpy as np
from cnnbook import training, viz
from cnnbook.training import gradients

rng = np.random.default_rng(0)
x, y = rng.normal(0, 1, (4, 16, 20, 6)).astype("float32"), np.array([0, 1, 0, 1])
for _ in range(4):  # memory is overwritten now and then
    narrow = keras.layers.Conv2D(8, 1, 2, use_bias=False, name="narrow")
    ends = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, activation="softmax", name="head")]
    net = keras.Sequential([keras.Input((16, 20, 6)), narrow, keras.layers.ReLU(name="relu"), *ends])
    seen, kernel, head = x[:, ::2, ::2], narrow.kernel.numpy()[0, 0], ends[1].kernel.numpy()
    open_ = seen @ kernel > 0
    wrong = (net.predict(x, verbose=0) - np.eye(2)[y]) / 4
    expected = np.einsum("nyxc,nyxo,no->co", seen, open_, wrong @ head.T / 80)

    found = gradients.of_weights(net, gradients.loss_on(x, y))[1][narrow.kernel.path][0, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    pixels = viz.saliency(net, x[0], target=1).values[::2, ::2]
    np.testing.assert_allclose(pixels, open_[0] * head[:, 1] / 80 @ kernel.T, rtol=1e-3, atol=1e-6)
    training.fit(net, x, y, epochs=1, batch_size=4, learning_rate=1, schedule="constant", momentum=0, weight_decay=0,
                 shift=0, mirror=False, fast=False, verbose=False)
    np.testing.assert_allclose(kernel - narrow.kernel.numpy()[0, 0], expected, rtol=1e-3, atol=1e-6)
"""


@pytest.mark.skipif(not tensorflow, reason="the gradient that is wrong is TensorFlow's")
def test_a_narrow_1x1_convolution_with_a_stride_gets_its_gradient_with_onednn_on():
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "1"}  # read once, at import: a process of its own
    done = subprocess.run([sys.executable, "-c", NARROW], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ----------------------------------------------------------------------- bfloat16


@pytest.fixture
def quiet():
    """This processor may be one that warns; see the test of the warning."""
    with pytest.warns(match="no instructions for bfloat16") if warns() else contextlib.nullcontext():
        yield


def warns():
    fast._warn_where_bfloat16_is_slow.cache_clear()
    return fast.multiplies_bfloat16() is False


def policies(model):
    return [layer.dtype_policy.name for layer in fast._layers(model)]


def test_bfloat16_trains_nearly_the_same_net_and_leaves_float32(tmp_path, quiet):
    (plain, plain_history), model, (x, y) = trained(True), net(), batches()
    before = [(layer.dtype_policy, layer.get_config()) for layer in model.layers]
    seen = Seen()
    history = training.fit(model, x, y, epochs=2, batch_size=16, learning_rate=0.05, verbose=False,
                           precision="mixed_bfloat16", callbacks=[seen])  # fmt: skip
    assert seen.policies == [
        *["mixed_bfloat16"] * (len(seen.policies) - 1),
        "float32",
    ]  # the last one answers
    assert seen.answers.dtype == "float32" and np.abs(seen.answers - model.predict(x, verbose=0)).max() > 1e-6
    assert history.settings["precision"] == "mixed_bfloat16"
    assert "precision" not in plain_history.settings
    assert [(layer.dtype_policy, layer.get_config()) for layer in model.layers] == before
    assert {v.dtype for v in model.weights} == {"float32"}
    moved, apart = distances(net(), plain), distances(model, plain)
    assert 0 < apart < 0.1 * moved
    model.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    assert set(policies(again)) == {"float32"}
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


class Seen(keras.callbacks.Callback):
    """What the net is while it trains."""

    def on_train_end(self, logs=None):
        self.policies = policies(self.model)
        self.answers = self.model.predict(batches()[0], verbose=0)


def distances(one, other):
    """The length of the difference of all trained weights."""
    pairs = zip(one.trainable_variables, other.trainable_variables, strict=True)
    return float(sum(np.sum((np.asarray(a) - np.asarray(b)) ** 2) for a, b in pairs)) ** 0.5


def test_policies_are_back_after_an_error_and_compiled_functions_too(quiet):
    model, (x, _) = net(), batches()
    expected = model.predict(x, verbose=0)
    with pytest.raises(RuntimeError), fast.computing(model, precision="mixed_bfloat16"):
        assert np.abs(model.predict(x, verbose=0) - expected).max() > 1e-6
        raise RuntimeError
    assert set(policies(model)) == {"float32"}
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


def test_another_precision_is_refused():
    message = "precision is None or \"mixed_bfloat16\", got 'float16'"
    with pytest.raises(ValueError, match=message):
        training.fit(net(), *batches(), epochs=1, verbose=False, precision="float16")
    with pytest.raises(ValueError, match=message), fast.computing(net(), precision="float16"):
        pass


@pytest.mark.parametrize(
    "flags, warned", [({"avx2"}, 1), ({"avx2", "avx512_bf16"}, 0), ({"bf16", "asimd"}, 0), (set(), 0)]
)
def test_a_processor_without_bfloat16_is_told_once(monkeypatch, flags, warned):
    monkeypatch.setattr(fast.machine, "processor_flags", lambda: flags)
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0"])
    fast._warn_where_bfloat16_is_slow.cache_clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):
            with fast.computing(net(), precision="mixed_bfloat16"):
                pass
    assert len([w for w in said if "no instructions for bfloat16" in str(w.message)]) == warned
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0"])
    assert fast.multiplies_bfloat16() is True
    fast._warn_where_bfloat16_is_slow.cache_clear()


@pytest.mark.skipif(not tensorflow, reason="the fused kernel is TensorFlow's")
def test_batch_norm_of_a_keras_without_renorm_is_fused():
    """Keras below 3.14, Colab's 3.10 for one, has no such attribute."""
    layer = L.BatchNormalization()
    layer.build((None, 4, 4, 2))
    vars(layer).pop("renorm", None)
    assert not hasattr(layer, "renorm") and fast._can_be_fused(layer)
    layer.renorm = True
    assert not fast._can_be_fused(layer)
