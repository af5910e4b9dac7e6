"""The normalisations written out against the layers of Keras, and weight normalisation against its definition."""

import keras
import numpy as np
import pytest
from keras import layers as L

from cnnbook.parts import normalisation as norm

read = keras.ops.convert_to_numpy
SHAPES = [(6, 5, 7, 8), (9, 8)]


def numbers(shape, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(2, 3, shape).astype("float32")
    return x, rng.uniform(0.5, 1.5, shape[-1]).astype("float32"), rng.normal(size=shape[-1]).astype("float32")


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_is_the_layer_in_training(shape):
    x, gamma, beta = numbers(shape)
    layer = L.BatchNormalization(epsilon=1e-3)
    layer.build(shape)
    layer.set_weights([gamma, beta, *layer.get_weights()[2:]])
    ours = read(norm.batch_norm(x, gamma, beta, 1e-3))
    np.testing.assert_allclose(ours, read(layer(x, training=True)), atol=1e-5)
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(ours.mean(axes), beta, atol=1e-5)
    np.testing.assert_allclose(ours.std(axes), gamma, rtol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_layer_norm_is_the_layer_over_a_whole_sample(shape):
    x, _, _ = numbers(shape)
    _, gamma, beta = (numbers((*shape[1:-1], shape[-1]), s)[0] for s in (0, 1, 2))
    layer = L.LayerNormalization(axis=tuple(range(1, len(shape))), epsilon=1e-3)
    layer.build(shape)
    layer.set_weights([gamma, beta])
    ours = read(norm.layer_norm(x, gamma, beta, 1e-3))
    np.testing.assert_allclose(ours, read(layer(x)), atol=5e-5)
    alone = read(norm.layer_norm(x[:1], gamma, beta, 1e-3))
    np.testing.assert_allclose(
        alone, ours[:1], atol=1e-5
    )  # the batch does not matter; for batch norm it does
    assert np.abs(read(norm.batch_norm(x[:3])) - read(norm.batch_norm(x))[:3]).max() > 0.01


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
def test_group_norm_is_the_layer(groups):
    x, gamma, beta = numbers(SHAPES[0])
    layer = L.GroupNormalization(groups=groups, epsilon=1e-3)
    layer.build(x.shape)
    layer.set_weights([gamma, beta])
    ours = read(norm.group_norm(x, groups, gamma, beta, 1e-3))
    np.testing.assert_allclose(ours, read(layer(x)), atol=1e-5)
    if groups == 1:
        np.testing.assert_allclose(ours, read(norm.layer_norm(x, gamma, beta, 1e-3)), atol=1e-5)


def test_group_norm_refuses_unequal_groups():
    with pytest.raises(ValueError, match="8 channels do not make 3 groups"):
        norm.group_norm(numbers(SHAPES[0])[0], 3)


def test_weight_norm_by_its_definition():
    rng = np.random.default_rng(0)
    v = rng.normal(size=(3, 3, 5, 4)).astype("float32")
    g = np.array([0.5, 1, 2, -3], "float32")
    w = read(norm.weight_norm(v, g))
    np.testing.assert_allclose(np.sqrt((w**2).sum((0, 1, 2))), np.abs(g), rtol=1e-6)
    for k in range(4):  # the direction is that of v, whatever its length
        np.testing.assert_allclose(w[..., k], g[k] * v[..., k] / np.linalg.norm(v[..., k]), rtol=1e-5)
    np.testing.assert_allclose(read(norm.weight_norm(7 * v, g)), w, rtol=1e-5)
    dense = read(norm.weight_norm(v.reshape(45, 4), g))
    np.testing.assert_allclose(dense, w.reshape(45, 4), rtol=1e-6)


def test_weight_norm_in_a_convolution():
    rng = np.random.default_rng(1)
    x, v = rng.normal(size=(2, 6, 6, 5)), rng.normal(size=(3, 3, 5, 4))
    x, v, g = x.astype("float32"), v.astype("float32"), np.array([0.5, 1, 2, 3], "float32")
    layer = L.Conv2D(4, 3, use_bias=False)
    layer.build(x.shape)
    layer.set_weights([read(norm.weight_norm(v, g))])
    plain = L.Conv2D(4, 3, use_bias=False)
    plain.build(x.shape)
    plain.set_weights([v])
    lengths = np.sqrt((v**2).sum((0, 1, 2)))
    np.testing.assert_allclose(read(layer(x)), read(plain(x)) * g / lengths, atol=1e-5)
