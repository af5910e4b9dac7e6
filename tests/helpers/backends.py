"""What nets with equal weights give on the backend that runs: outputs and gradients, as arrays to compare and to store.

python tests/helpers/backends.py     writes tests/saved/tensorflow.npz, on TensorFlow and in the checkout
"""

import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers as L
from keras import ops

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from cnnbook import models, training  # noqa: E402
from cnnbook.parts import layers as ours  # noqa: E402
from cnnbook.training import gradients  # noqa: E402
from helpers.nets import image  # noqa: E402
from helpers.weights import randomised  # noqa: E402

STORED = Path(__file__).parents[1] / "saved" / "tensorflow.npz"
# Of each array at most so many numbers are stored, evenly spread: the others follow from the same sums.
NUMBERS = 32
IMAGES, CLASSES = 6, 4
TRAINING = "training"


def nets():
    """{name: a function that builds it}: every kind of layer of the chapters' nets, small. No dropout: it draws."""
    small = dict(input_shape=(16, 16, 3), classes=CLASSES)
    return {
        "lenet5": lambda: models.LeNet5(input_shape=(32, 32, 1), classes=CLASSES),
        "resnet": lambda: models.ResNetCIFAR(8, widths=(4, 6, 8), **small),
        "projected": lambda: models.ResNetCIFAR(8, shortcut="B", widths=(4, 6, 8), **small),
        "preact": lambda: models.PreActResNetCIFAR(8, widths=(4, 6, 8), **small),
        "densenet": lambda: models.DenseNetCIFAR(10, 4, **small),
        "resnext": lambda: models.ResNeXtCIFAR(11, cardinality=2, width=8, widths=(16, 16, 24), **small),
        "mobilenet": lambda: models.MobileNet(
            alpha=0.25, dropout=0, input_shape=(32, 32, 3), classes=CLASSES
        ),
        "unet": lambda: models.UNet(padding="same", widths=(4, 6), dropout=0, batch_norm=True, **small),
        "valid_unet": lambda: models.UNet(widths=(4, 6), dropout=0, input_shape=(20, 20, 3), classes=CLASSES),
        "pieces": _pieces,
    }


def _pieces():
    """What the nets of the chapters have and those above have not: other norms, other activations, other ways to a map."""
    x = image = keras.Input((13, 15, 3))
    x = ours.LocalResponseNormalization()(L.Conv2D(8, 5, 2, padding="same")(x))
    x = L.MaxPooling2D(3, 2, padding="same")(L.Activation("silu")(x))
    gate = L.Dense(8, activation="hard_sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(x))
    x = L.Multiply()([x, gate])
    x = L.SeparableConv2D(6, 3, padding="same", activation="gelu")(L.LayerNormalization()(x))
    x = L.GroupNormalization(3)(L.UpSampling2D(2, interpolation="bilinear")(x))
    x = L.Conv2D(6, 3, dilation_rate=2, padding="same", activation="leaky_relu")(L.ZeroPadding2D(1)(x))
    x = L.Conv2DTranspose(5, 3, 2, padding="same", activation="tanh")(x)
    x = L.AveragePooling2D(2, padding="same")(L.DepthwiseConv2D(3, 2, padding="same")(x))
    return keras.Model(image, L.Dense(CLASSES, activation="softmax")(L.GlobalMaxPooling2D()(x)))


def net_of(name):
    """One of the nets, its weights functions of its name."""
    return randomised(nets()[name](), seed=len(name))


def measured(name):
    """{what: array} of a net: its outputs at rest, the cross-entropy in training, its gradients for the weights, and the
    gradient of the one at rest for the images.
    """
    net = net_of(name)
    x = image((IMAGES, *net.input_shape[1:]))
    shape = (IMAGES, *net.output_shape[1:-1])
    labels = np.random.default_rng(2).integers(0, CLASSES, shape)
    loss, weights = gradients.of_weights(net, objective := gradients.loss_on(x, labels))
    _, pixels = gradients.of_input(lambda t: objective(net(t, training=False)), x)
    found = {f"weight {number}": g for number, g in enumerate(weights.values())}
    outputs = ops.convert_to_numpy(net(x, training=False))
    return {"outputs": outputs, "loss": np.float32(loss), "pixels": pixels, **found}


def trained():
    """A net after ten steps of `fit` from equal weights, over equal batches, and the loss of each of the two epochs."""
    net = net_of("resnet")
    x, y = image((40, *net.input_shape[1:])), np.arange(40) % CLASSES
    history = training.fit(net, x, y, epochs=2, batch_size=8, learning_rate=0.01, verbose=False)
    return net, np.array(history.curves["loss"])


def thinned(array):
    """At most `NUMBERS` numbers of an array and the largest size in it, flat."""
    flat = np.ravel(array)
    return np.append(flat[:: -(-len(flat) // NUMBERS)], np.abs(flat).max()).astype("float32")


def write():
    """Stores what TensorFlow gives."""
    found = {f"{name}/{what}": thinned(a) for name in nets() for what, a in measured(name).items()}
    np.savez_compressed(STORED, **found, **{TRAINING: trained()[1]})
    print(f"{STORED.name}: {len(found)} arrays, {STORED.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    assert keras.backend.backend() == "tensorflow", "the stored side is TensorFlow's"
    write()
