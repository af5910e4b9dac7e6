"""Experiments of chapter 19: down and up again, with skips and without; pixels weighed where cells touch; U-Nets in a U-Net.

Scenes and cells are drawn, so the truth is known for every pixel. Nets are small, with padding "same", batch norm and no
dropout, and learn by batches of 8 with one epoch of warm-up; what is measured are images that no net learned from.
"""

import keras
import numpy as np
from keras import layers as L
from scipy import ndimage

from cnnbook import data, graph, segmentation, training
from cnnbook.experiments import Experiment
from cnnbook.models import FCN32s, UNet, UNetPlusPlus, unet, unet_plus_plus

HOW = dict(padding="same", batch_norm=True)
RECIPE = dict(batch_size=8, warmup=1, verbose=False)
HELD_OUT = 150  # scenes
WIDTHS = (4, 8, 16, 32)  # channels of the levels; the paper: 64 to 1024

# ---------------------------------------------------------------------------------------- filling outlines: do levels help?


def outlines(masks):
    """The outline of each class as 1 on 0: masks (n, h, w) to images float32 (n, h, w, 1)."""
    drawn = np.zeros((*masks.shape, 1), "float32")
    for image, mask in zip(drawn, masks, strict=True):
        for k in np.unique(mask[mask > 0]):
            image[..., 0] += (mask == k) & ~ndimage.binary_erosion(mask == k, border_value=1)
    return drawn


def finished(image, x, name):
    """The net from `image` to x, with two class scores a pixel."""
    return keras.Model(image, L.Conv2D(2, 1, activation="softmax", name="predictions")(x), name=name)


def u_net(shape, widths=WIDTHS):
    """U-Net."""
    return UNet(widths=widths, dropout=0, input_shape=shape, **HOW)


def no_skips(shape, widths=WIDTHS):
    """U-Net with its skips cut: the way up knows nothing but the lowest map."""
    image = keras.Input(shape)
    *maps, x = unet.contract(image, widths, 0, **HOW)
    for i in range(len(maps), 0, -1):
        # The size alone is taken from `like`.
        x = unet.expand(x, None, widths[i - 1], 2, f"up{i}", like=maps[i - 1], **HOW)
    return finished(image, x, "no_skips")


def level_net(shape, widths=WIDTHS):
    """Seven 3x3 convolutions at full size, as wide as U-Net's multiply-adds allow."""
    x = image = keras.Input(shape)
    paid = graph.totals(graph.blueprint(u_net, shape, widths))["macs"] / (shape[0] * shape[1])
    channels = max(c for c in range(1, 999) if 9 * (shape[2] * c + 6 * c * c) + 2 * c <= paid)
    for i in range(1, 8):
        x = unet.conv(x, channels, 3, f"conv{i}", **HOW)
    return finished(image, x, "level")


def fcn(shape, widths=WIDTHS):
    """FCN-32s on U-Net's way down, two levels deeper: from stride 32 it enlarges in one leap."""
    image = keras.Input(shape)
    *_, x = unet.contract(image, [*widths, *[widths[-1]] * (6 - len(widths))], 0, **HOW)
    return FCN32s(backbone=keras.Model(image, x, name="encoder"), classes=2)


NETS = {"FCN-32s": fcn, "no skips": no_skips, "level": level_net, "U-Net": u_net}


def packed(answers):
    """Answers (n, h, w) of 0 and 1 as a list of bytes, eight pixels in each, so that a kept file stays small."""
    return np.packbits(np.asarray(answers, "uint8")).tolist()


def unpacked(packed_bytes, size):
    """The answers (n, size, size) that `packed` wrote."""
    return np.unpackbits(np.array(packed_bytes, "uint8")).reshape(-1, size, size)


def scored(net, x, y):
    """Mean IoU, the F-score of the items' outlines within one pixel, and the first two answers packed, of a net on images
    (n, h, w, c)."""
    truth, answer = training.predicted(net, x, y)
    outline = segmentation.boundary_f(truth, answer, 2, tolerance=1)[1]
    overlap = segmentation.mean_iou(truth, answer, 2)
    return {"mean IoU": float(overlap), "outline F": float(outline), "answers": packed(answer[:2])}


def drawn(task, images, size, seed):
    """Scenes and which pixels belong to an item: (x, y) to train on, `images` of them, and (x, y) held out, in one tuple.

    task: "colour", the scenes standardised, (n, size, size, 3); "outlines", the outlines of their items, (n, size, size, 1).
    """
    scenes = data.load("scenes", size=size, train=images, test=HELD_OUT, seed=seed, verbose=False)
    y, y_test = ((part > 0).astype("uint8") for part in (scenes.y_train, scenes.y_test))
    if task == "outlines":
        return outlines(scenes.y_train), y, outlines(scenes.y_test), y_test
    scaled = scenes.standardised()
    return scaled.x_train, y, scaled.x_test, y_test


def filled(*, net, task, images, epochs, size, seed):
    """Scores of a net that finds items in scenes (task "colour") or fills their outlines (task "outlines").

    Returns the held-out mean IoU by epoch, both scores at the end, and the answers for the first two scenes held out.
    """
    x, y, x_test, y_test = drawn(task, images, size, seed)
    training.seed(seed)
    trained = NETS[net](x.shape[1:])
    history = training.fit(trained, x, y, epochs=epochs, seed=seed, validation=(x_test, y_test), **RECIPE)
    by_epoch = [float(v) for v in history.curves["val_mean_iou"]]
    return {"mean IoU by epoch": by_epoch, **scored(trained, x_test, y_test)}


FILLED = Experiment(
    filled,
    variants={
        **{f"{name}, outlines": dict(net=name, task="outlines") for name in NETS},
        **{f"{name}, colour": dict(net=name, task="colour") for name in NETS},
    },
    live=dict(images=112, epochs=3, size=64),
    live_seeds=1,
    kept=dict(images=240, epochs=10, size=64),
    kept_seeds=3,
)

# -------------------------------------------------------------------------------------------------- cells that touch


def counted_cells(instances, answers):
    """How cells (n, h, w), numbered from 1 in each image, come out as connected pieces of the answers (n, h, w).

    Returns "found": the share of cells that a piece overlaps with an IoU above one half; "merged": the share whose piece
    covers another cell too; "pieces": how many pieces there are to each cell.
    """
    found = merged = total = drawn = 0
    for truth, answer in zip(instances, answers, strict=True):
        pieces, n = ndimage.label(answer)
        each = [truth == k for k in np.unique(truth)[1:]]
        own = np.array([cell.sum() for cell in each])[:, None]
        area = np.bincount(pieces.ravel(), minlength=n + 1)[1:]
        shared = np.array([np.bincount(pieces[cell], minlength=n + 1)[1:] for cell in each])
        overlap = shared / (own + area - shared)
        covers = shared > 0.5 * own
        found += (overlap.max(1, initial=0) > 0.5).sum()
        merged += covers[:, covers.sum(0) > 1].any(1).sum()
        total, drawn = total + len(each), drawn + n
    return {"found": float(found / total), "merged": float(merged / total), "pieces": drawn / total}


def drawn_cells(images, size, seed):
    """Cells that touch, `images` to train on and 60 held out, those of a run of `touching` with this seed."""
    return data.load("cells", size=size, train=images, test=60, seed=seed, verbose=False)


def touching(*, weighed, widths, images, epochs, size, seed):
    """Cells found and merged, and pieces drawn, by a U-Net that learned with the weight map of seams or without; and its
    answers for the first two images held out."""
    cells = drawn_cells(images, size, seed)
    weights, scaled = cells.weights["train"] if weighed else None, cells.standardised()
    training.seed(seed)
    net = u_net(scaled.x_train.shape[1:], widths)
    training.fit(
        net, scaled.x_train, scaled.y_train, epochs=epochs, pixel_weights=weights, seed=seed, **RECIPE
    )
    truth, answer = training.predicted(net, scaled.x_test, scaled.y_test)
    overlap = float(segmentation.mean_iou(truth, answer, 2))
    counted = counted_cells(cells.instances["test"], answer)
    return {**counted, "mean IoU": overlap, "answers": packed(answer[:2])}


TOUCHING = Experiment(
    touching,
    variants={"without weights": dict(weighed=False), "with the weight map": dict(weighed=True)},
    live=dict(widths=[8, 16, 32], images=88, epochs=5, size=48),
    live_seeds=1,
    kept=dict(widths=[8, 16, 32], images=300, epochs=30, size=48),
    kept_seeds=3,
)

# ---------------------------------------------------------------------------------------------------- U-Nets in a U-Net


def nested(*, task, widths, images, epochs, size, seed):
    """Held-out mean IoU of one U-Net++ with four outputs, cut to 1, 2, 3 and 4 levels."""
    x, y, x_test, y_test = drawn(task, images, size, seed)
    training.seed(seed)
    whole = UNetPlusPlus(deep_supervision=True, widths=widths, dropout=0, input_shape=x.shape[1:])
    # Four losses add up, and there is no batch norm, hence the low rate.
    recipe = {**RECIPE, "batch_size": 4, "learning_rate": 0.01}
    training.fit(whole, x, y, epochs=epochs, seed=seed, **recipe)
    cut = [unet_plus_plus.prune(whole, level) for level in (1, 2, 3, 4)]
    scores = [segmentation.mean_iou(*training.predicted(net, x_test, y_test), 2) for net in cut]
    return {"mean IoU": [float(score) for score in scores]}


NESTED = Experiment(
    nested,
    variants={"outlines": dict(task="outlines"), "colour": dict(task="colour")},
    live=dict(widths=[8, 8, 16, 16, 16], images=120, epochs=2, size=48),
    live_seeds=1,
    kept=dict(widths=[8, 8, 16, 16, 16], images=240, epochs=12, size=48),
    kept_seeds=3,
)
