"""What chapter 21 runs: a small net, alike in one process and in several, and what is said of processes and of time.

Nothing here is kept: equal weights need no second size, and seconds are those of the reader's own machine.
"""

import os
import signal
from pathlib import Path
from time import perf_counter

import keras
import numpy as np
from keras import layers as L

from .. import data, training


def clothes(images, *, seed, size=14):
    """Fashion-MNIST, standardised, at `size` pixels: training images (images, size, size, 1) and their labels."""
    loaded = data.load("fashion_mnist", train=images, test=200, size=size, seed=seed, verbose=False)
    return loaded.standardised().x_train, loaded.y_train


def small(norm=None, *, filters=(8, 16), seed, size=14):
    """A few convolutions and a dense layer. norm: options of a batch norm behind each convolution; None for none."""
    training.seed(seed)
    x = inputs = keras.Input((size, size, 1))
    for channels in filters:
        x = L.Conv2D(channels, 3, padding="same", use_bias=norm is None)(x)
        x = x if norm is None else L.BatchNormalization(**norm)(x)
        x = L.MaxPooling2D()(L.ReLU()(x))
    answer = L.Dense(10, activation="softmax")(L.Flatten()(x))
    return keras.Model(inputs, answer, name="small")


def two_devices():
    """A MirroredStrategy over two devices that are both this processor; None where Keras is not on TensorFlow.

    To be called before TensorFlow computes anything; calling it again changes nothing. RuntimeError where it is too late.
    """
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(processor) or ()) < 2:
        tf.get_logger().setLevel("ERROR")  # it tells of every sum that it sends
        tf.config.set_visible_devices([], "GPU")  # else copies of the net would lie on unlike devices
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


class Dies(keras.callbacks.Callback):
    """kill -9 of the second process of a job, when it has finished its epoch number `after`."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def on_epoch_end(self, epoch, logs=None):
        if training.devices.rank() == 1 and epoch + 1 == self.after:
            os.kill(os.getpid(), signal.SIGKILL)


def environment(folder):
    """Variables for processes of a small net on this machine's processor, where compiling takes most of the time."""
    return {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        # What one process has compiled, the next one finds.
        "JAX_COMPILATION_CACHE_DIR": str(Path(folder) / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def result(path):
    """What the chapter's script has saved: all weights of the net in one long vector, and the loss of every epoch."""
    with np.load(path) as file:
        return np.concatenate([file[key].ravel() for key in file if key != "loss"]), file["loss"]


def seconds_a_step(net, images, *, seed, steps=8):
    """The median time of a training step, by plain SGD, on `images` drawn images of the net's size."""
    net.compile("sgd", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(seed)
    pictures = rng.normal(size=(images, *net.input_shape[1:])).astype("float32")
    labels = rng.integers(0, net.output_shape[-1], images)
    seconds = []
    for _ in range(3 + steps):
        begin = perf_counter()
        net.train_on_batch(pictures, labels)
        seconds.append(perf_counter() - begin)
    return float(np.median(seconds[3:]))  # the first ones build the program
