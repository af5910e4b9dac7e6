"""Experiments of chapter 18: scores of stride 32, 16 and 8, and enlarging that is fixed or learned.

Scenes of 128 x 128 pixels are drawn, so the truth is known for every pixel: item or ground. Nets learn by batches of 8 with
a rate of 0.1 that falls as a cosine after half an epoch of warm-up; 120 scenes that no net learned from are measured.
"""

import keras
from keras import layers as L

from cnnbook import data, segmentation, training
from cnnbook.experiments import Experiment
from cnnbook.models import FCN8s, FCN16s, FCN32s, fcn
from cnnbook.parts import blocks

SIZE = 128
HELD_OUT = 120
WIDTHS = (8, 16, 32, 64, 64)  # channels of the five stages; the paper: 64 to 512


def backbone(height, width, widths=WIDTHS):
    """Maps at strides 2, 4, 8, 16 and 32; the last two stages have a 3x3 more. Strided kernels are 4x4, so that every place
    of a map lies in the middle of the pixels that it stands for."""
    x = image = keras.Input((height, width, 3), name="image")
    for stage, filters in enumerate(widths, 1):
        x = blocks.conv_bn(x, filters, 4, 2, padding="same", momentum=0.9, name=f"stage{stage}_half")
        if stage >= 4:
            x = blocks.conv_bn(x, filters, 3, padding="same", momentum=0.9, name=f"stage{stage}_more")
    return keras.Model(image, x, name="backbone")


def learned(net, images, epochs, seed):
    """Trains a net on scenes; returns its mean IoU, and the F-score of the items' outlines within one and two pixels."""
    scenes = data.load("scenes", size=SIZE, train=images, test=HELD_OUT, seed=seed, verbose=False)
    scaled = scenes.standardised()
    y, y_test = ((part > 0).astype("int32") for part in (scenes.y_train, scenes.y_test))
    training.fit(
        net, scaled.x_train, y, epochs=epochs, batch_size=8, learning_rate=0.1, warmup=0.5, seed=seed, verbose=False
    )  # fmt: skip
    truth, answer = training.predicted(net, scaled.x_test, y_test)
    outlines = {
        f"outline F, {n}": float(segmentation.boundary_f(truth, answer, 2, tolerance=n)[1]) for n in (1, 2)
    }
    return {"mean IoU": float(segmentation.mean_iou(truth, answer, 2)), **outlines}


# --------------------------------------------------------------------------------------------- scores of three strides

BUILDERS = {"FCN-32s": FCN32s, "FCN-16s": FCN16s, "FCN-8s": FCN8s}


def strides(*, net, images, epochs, seed):
    """Scores of FCN-32s, 16s or 8s on the small backbone."""
    training.seed(seed)
    return learned(BUILDERS[net](backbone=backbone(SIZE, SIZE), classes=2), images, epochs, seed)


STRIDES = Experiment(
    strides,
    variants={name: dict(net=name) for name in BUILDERS},
    live=dict(images=200, epochs=2),
    live_seeds=1,
    kept=dict(images=400, epochs=12),
    kept_seeds=3,
)

# ---------------------------------------------------------------------------------------- enlarging, fixed or learned


def one_leap(stride, start, trains):
    """A net whose class scores at `stride` are enlarged in one leap; new.

    start: "bilinear", or "random", what the transposed convolution begins with. trains: whether it learns.
    """
    body = backbone(SIZE, SIZE)
    name = {8: "stage3_half", 16: "stage4_more", 32: "stage5_more"}[stride]
    x = L.Conv2D(2, 1, name="scores")(body.get_layer(f"{name}_relu").output)
    if start == "bilinear":
        x = fcn.enlarge(x, stride, "up", padding="same", trainable=trains)
    else:
        x = L.Conv2DTranspose(2, 2 * stride, stride, "same", use_bias=False, trainable=trains, name="up")(x)
    return keras.Model(body.input, L.Softmax(name="predictions")(x), name=f"{start}_{stride}")


def upsampling(*, stride, start, trains, images, epochs, seed):
    """Scores of a net that enlarges its class scores by a fixed or a learned transposed convolution."""
    training.seed(seed)
    return learned(one_leap(stride, start, trains), images, epochs, seed)


KINDS = {
    "bilinear, fixed": dict(start="bilinear", trains=False),
    "bilinear, learned": dict(start="bilinear", trains=True),
    "random, learned": dict(start="random", trains=True),
}
UPSAMPLING = Experiment(
    upsampling,
    variants={
        f"stride {stride}: {name}": dict(stride=stride, **kind)
        for stride in (8, 32)
        for name, kind in KINDS.items()
    },
    live=dict(images=200, epochs=2),
    live_seeds=1,
    kept=dict(images=400, epochs=12),
    kept_seeds=3,
)
