"""Small nets for the tests of cnnbook.viz, with weights that are functions of a seed on every backend."""

import keras
import numpy as np
from keras import layers as L


def seeded(model, seed=0, scale=0.5):
    """Fills a model with seeded numbers: kernels by their fan-in, moving statistics positive."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        fan = np.prod(variable.shape[:-1]) if len(variable.shape) > 1 else 4
        values = rng.normal(0, scale * 2 / np.sqrt(fan), variable.shape)
        if variable.name in ("moving_variance", "gamma"):
            values = 1 + np.abs(values)
        variable.assign(values.astype("float32"))
    return model


def image(shape, seed=1):
    return np.random.default_rng(seed).normal(0, 1, shape).astype("float32")


def cam_net(side=(16, 20), classes=5, activation="softmax"):
    """Convolutions, a residual addition, a global average pool and one dense layer: what CAM is for."""
    inputs = keras.Input((*side, 3), name="image")
    x = L.Conv2D(6, 3, padding="same", name="conv1")(inputs)
    x = L.BatchNormalization(name="conv1_bn")(x)
    x = s = L.Activation("relu", name="conv1_relu")(x)
    x = L.MaxPooling2D(2, name="pool1")(x)
    s = L.Conv2D(8, 1, 2, name="conv2_shortcut")(s)
    x = L.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x)
    x = L.Add(name="conv2_add")([s, x])
    x = L.ReLU(name="conv2_out")(x)
    x = L.GlobalAveragePooling2D(name="avg_pool")(x)
    outputs = L.Dense(classes, activation=activation, name="predictions")(x)
    return seeded(keras.Model(inputs, outputs, name="cam_net"))


def nested(net):
    """The same function as `cam_net` twice over: its body a model inside a functional one, and inside a Sequential one."""
    body = keras.Model(net.input, net.get_layer("conv2_out").output, name="body")
    inputs = keras.Input(net.input_shape[1:], name="outer_image")
    head = L.Dense(net.output_shape[-1], activation="softmax", name="head")
    functional = keras.Model(
        inputs, head(L.GlobalAveragePooling2D(name="pool")(body(inputs))), name="functional"
    )
    chain = keras.Sequential([keras.Input(net.input_shape[1:]), body, L.GlobalAveragePooling2D(), head])
    head.set_weights(net.get_layer("predictions").get_weights())
    return functional, chain


def segmenter(side=16, classes=3):
    """An encoder and a decoder with a skip: a class for every pixel."""
    inputs = keras.Input((side, side, 3), name="image")
    skip = x = L.Conv2D(6, 3, padding="same", activation="relu", name="enc1_conv")(inputs)
    x = L.MaxPooling2D(2, name="enc1_pool")(x)
    x = L.Conv2D(8, 3, padding="same", activation="relu", name="mid_conv")(x)
    x = L.Conv2DTranspose(6, 2, 2, name="dec1_up")(x)
    x = L.Concatenate(name="dec1_cat")([skip, x])
    return seeded(
        keras.Model(inputs, L.Conv2D(classes, 1, activation="softmax", name="mask")(x), name="segmenter")
    )


def pixel_detector(side=16, at=(5, 11)):
    """A net that answers to one pixel alone: its logit is twice the pixel's first channel."""
    inputs = keras.Input((side, side, 3), name="image")
    x = L.Conv2D(1, 1, use_bias=False, name="first_channel")(inputs)
    x = L.Flatten(name="flatten")(x)
    net = keras.Model(inputs, L.Dense(2, use_bias=False, name="predictions")(x), name="detector")
    net.get_layer("first_channel").set_weights([np.reshape([1.0, 0, 0], (1, 1, 3, 1))])
    weights = np.zeros((side, side, 2))
    weights[at[0], at[1], 1] = 2
    net.get_layer("predictions").set_weights([weights.reshape(-1, 2)])
    return net
