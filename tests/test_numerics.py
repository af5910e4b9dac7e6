"""Full float32 inside `exact`, and products rounded as a card does outside of it."""

import os
import subprocess
import sys
import types

import keras
import numpy as np
import pytest

from cnnbook import models, numerics
from cnnbook.training import gradients

pytestmark = [pytest.mark.jax, pytest.mark.torch]

BACKEND = keras.backend.backend()


def torch_with(matmul, cudnn):
    """torch's switches, where torch itself is not installed."""
    backends = types.SimpleNamespace(
        cuda=types.SimpleNamespace(matmul=types.SimpleNamespace(allow_tf32=matmul)),
        cudnn=types.SimpleNamespace(allow_tf32=cudnn),
    )
    return types.SimpleNamespace(backends=backends)


def test_exact_sets_torchs_switches_and_puts_them_back(monkeypatch):
    torch = torch_with(False, True)
    monkeypatch.setitem(sys.modules, "torch", torch)
    with pytest.raises(KeyError), numerics.exact():
        assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32
        raise KeyError
    assert not torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="TensorFlow's switch; the other backends have theirs here"
)
@pytest.mark.parametrize("before", [True, False])
def test_exact_sets_tensorflows_switch_and_puts_it_back(before):
    import tensorflow as tf

    config, found = tf.config.experimental, tf.config.experimental.tensor_float_32_execution_enabled()
    config.enable_tensor_float_32_execution(before)
    try:
        with numerics.exact():
            assert not config.tensor_float_32_execution_enabled()
        assert config.tensor_float_32_execution_enabled() == before
    finally:
        config.enable_tensor_float_32_execution(found)


def test_exact_sets_jaxs_switch_and_puts_it_back():
    jax = pytest.importorskip("jax")
    with jax.default_matmul_precision("bfloat16"):
        with numerics.exact():
            assert jax.config.jax_default_matmul_precision == "highest"
        assert jax.config.jax_default_matmul_precision == "bfloat16"


def to_10_bits(x):
    """By the bits themselves: 13 of 23 are dropped, to the nearest."""
    bits = np.asarray(x, "float32").view("int32").astype("int64")
    return ((bits + 2**12) >> 13 << 13).astype("int32").view("float32")


def data(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def test_products_have_factors_of_10_bits_outside_of_exact():
    a, b = data(8, 60), data(60, 5, seed=1)  # no factor lies just between two numbers of 10 bits
    with numerics.rounded_products():
        rounded = keras.ops.convert_to_numpy(keras.ops.matmul(a, b))
        with numerics.exact():
            full = keras.ops.convert_to_numpy(keras.ops.matmul(a, b))
    after = keras.ops.convert_to_numpy(keras.ops.matmul(a, b))
    np.testing.assert_allclose(rounded, to_10_bits(a) @ to_10_bits(b), atol=2e-5)
    np.testing.assert_allclose(full, a @ b, atol=2e-5)
    assert np.array_equal(full, after) and 1e-4 < np.abs(rounded - full).max() < 0.1


def test_a_compiled_net_rounds_outside_and_not_inside_of_exact():
    net, images = models.ResNetCIFAR(8, input_shape=(16, 16, 1)), data(4, 16, 16, 1)
    right = net.predict(images, verbose=0)
    with numerics.rounded_products():
        other = keras.models.clone_model(net)
        other.set_weights(net.get_weights())
        outside, again = other.predict(images, verbose=0), other.predict(images, verbose=0)
        with numerics.exact():
            inside = other.predict(images, verbose=0)
    assert np.array_equal(outside, again) and np.abs(outside - right).max() > 1e-5
    np.testing.assert_allclose(inside, right, atol=1e-6)


def test_a_net_that_is_called_outside_of_a_function_rounds_as_well():
    keras.utils.set_random_seed(0)  # a weight halfway between two numbers may be rounded either way
    image = keras.Input((4, 4, 1))
    net = keras.Model(image, keras.layers.Conv2D(2, 4)(image))
    x = data(3, 4, 4, 1)
    kernel = keras.ops.convert_to_numpy(net.layers[-1].kernel)
    with numerics.rounded_products():
        rounded = keras.ops.convert_to_numpy(net(x))[:, 0, 0]
    right = to_10_bits(x).reshape(3, 16) @ to_10_bits(kernel).reshape(16, 2)
    np.testing.assert_allclose(rounded, right, atol=1e-6)


def test_the_backward_pass_is_rounded_as_well():
    w, x = data(6, 4), data(8, 6, seed=1)
    target = data(8, 4, seed=2)

    def loss(images):
        return keras.ops.sum(keras.ops.multiply(keras.ops.matmul(images, w), target))

    with numerics.rounded_products():
        gradient = gradients.of_input(loss, x)[1]
    np.testing.assert_allclose(gradient, to_10_bits(target) @ to_10_bits(w).T, atol=1e-5)


def test_a_variable_of_the_environment_rounds_a_whole_process():
    code = (
        "import cnnbook, keras, numpy as np\n"
        "print(float(keras.ops.matmul(np.float32([[1 + 2**-12]]), np.float32([[1]]))[0, 0]))"
    )
    environment = {**os.environ, "CNNBOOK_ROUNDED_PRODUCTS": "10"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == 1.0


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's devices are chosen before it starts them")
def test_devices_can_be_chosen_after_cnnbook_was_imported():
    code = (
        "import cnnbook, keras, numpy as np, tensorflow as tf\n"
        "tf.config.set_logical_device_configuration(\n"
        "    tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2)\n"
        "product = lambda: float(keras.ops.matmul(np.float32([[1 + 2**-12]]), np.float32([[1]]))[0, 0])\n"
        "outside = product()\n"
        "with cnnbook.numerics.exact():\n"
        "    inside = product()\n"
        "print(len(tf.config.list_logical_devices('CPU')), outside, inside)"
    )
    environment = {**os.environ, "CNNBOOK_ROUNDED_PRODUCTS": "10"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["2", "1.0", str(1 + 2**-12)]
