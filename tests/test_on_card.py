"""Images that lie on the device, and many steps in one go: the numbers of the other way."""

import keras
import numpy as np
import pytest
from keras import layers as L

from cnnbook import segmentation, training
from cnnbook.training import batches, on_card

pytestmark = pytest.mark.jax

on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="it is JAX' way")


def images(n, side=9, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (n, side, side, 2)).astype("float32"), rng.integers(0, 3, n)


def masks(n, side=9, seed=0):
    x, _ = images(n, side, seed)
    return x, (x[..., 0] > x[..., 1]).astype("int64")


def classifier(outputs=1):
    """A net with everything that keeps something from step to step: batch norm, dropout, momentum."""
    x = inputs = keras.Input((9, 9, 2))
    x = L.Conv2D(4, 3, groups=2, use_bias=False, name="conv1")(x)
    x = L.Activation("relu")(L.BatchNormalization(momentum=0.9, name="conv1_bn")(x))
    x = L.Dropout(0.2)(L.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, [L.Dense(3, activation="softmax", name=f"out{i}")(x) for i in range(outputs)])


def segmenter():
    """A class for every pixel but those at the border."""
    x = inputs = keras.Input((9, 9, 2))
    x = L.BatchNormalization(momentum=0.5)(L.Conv2D(4, 3, activation="relu")(x))
    return keras.Model(inputs, L.Conv2D(2, 1, activation="softmax")(x))


# --------------------------------------------------------------------------- images that move


@on_jax
@pytest.mark.parametrize("border", ["constant", "reflect"])
@pytest.mark.parametrize("shift, mirror", [(0, True), (3, False), (2, True), (8, True), (11, True)])
def test_images_move_as_numpy_moves_them(border, shift, mirror):
    x, y = masks(20)
    chosen = np.array([3, 3, 19, 0, 7, 12])
    draws = batches.drawn(np.random.default_rng(shift), 6, shift=shift, mirror=mirror)
    expected = batches.moved([x[chosen], y[chosen]], *draws, border=border)
    for array, moved in zip((x, y), expected, strict=True):
        found = np.asarray(on_card.moved(keras.ops.convert_to_tensor(array), chosen, *draws, border))
        np.testing.assert_array_equal(found, moved)


@pytest.mark.parametrize(
    "count, size, expected",
    [
        (70, 32, [(2, 32), (1, 6)]),
        (64, 32, [(2, 32)]),
        (5, 32, [(1, 5)]),
        (12_000, 128, [(93, 128), (1, 96)]),
        (60_000, 128, [(117, 128)] * 4 + [(1, 96)]),
        (257 * 10 + 1, 10, [(257, 10), (1, 1)]),  # a prime number of batches: one loop, not 257
    ],
)
def test_loops_are_equally_long(count, size, expected):
    loops = on_card.loops(count, size)
    assert loops == expected and sum(steps * images for steps, images in loops) == count


# --------------------------------------------------------------------------- the same run


class Kept(keras.callbacks.Callback):
    """What the optimiser holds at the end."""

    def on_train_end(self, logs=None):
        self.values = [keras.ops.convert_to_numpy(v) for v in self.model.optimizer.variables]


def run(build, x, y, *, callbacks=(), **options):
    """(history, weights, what the optimiser holds) of a run from the same first weights."""
    net, kept = seeded(build), Kept()
    options = dict(epochs=3, batch_size=16, shift=2, verbose=False, seed=1) | options
    history = training.fit(net, x, y, callbacks=[*callbacks, kept], **options)
    return history, net.get_weights(), kept.values


def seeded(build):
    training.seed(1)
    return build()


def assert_same(one, other, tolerance):
    (history, weights, kept), (other_history, other_weights, other_kept) = one, other
    assert list(history.curves) == list(other_history.curves) and history.settings == other_history.settings
    for key, curve in history.curves.items():
        np.testing.assert_allclose(other_history.curves[key], curve, atol=tolerance, err_msg=key)
    for a, b in zip(weights + kept, other_weights + other_kept, strict=True):
        np.testing.assert_allclose(b, a, atol=tolerance)


CASES = {
    "labels": (classifier, images, dict(validation=images(21, seed=5), clean_training_accuracy=True, warmup=1)),
    "labels, several outputs": (lambda: classifier(2), images, dict(schedule="step", momentum=0, mirror=False)),
    "labels, factors and decay": (classifier, images, dict(rates={"conv1": 0.1}, weight_decay=0.1, shift=0)),
    "labels, nothing moves": (classifier, images, dict(shift=0, mirror=False, epochs=1, batch_size=64)),
    "masks and weights": (segmenter, masks, dict(pixel_weights=np.random.default_rng(1).random((45, 9, 9)),
                                                 validation=masks(60, seed=5))),
    "masks, another loss": (segmenter, masks, dict(loss=segmentation.dice_loss, schedule="constant")),
}  # fmt: skip


@on_jax
@pytest.mark.parametrize("case", CASES)
def test_a_run_on_the_card_has_the_same_numbers(case):
    """45 images in batches of 16: two full ones in a loop and one of 13."""
    build, data, options = CASES[case]
    host, card = (run(build, *data(45), on_card=on, **options) for on in (False, True))
    assert_same(host, card, 1e-5)
    moved = [np.abs(a - b).max() for a, b in zip(card[1], seeded(build).get_weights(), strict=True)]
    assert max(moved) > 0.01


@on_jax
@pytest.mark.filterwarnings("ignore:this processor has no instructions for bfloat16")
def test_bfloat16_on_the_card():
    """The order of sums differs between loop and step, which bfloat16 makes visible."""
    host, card = (
        run(classifier, *images(45), on_card=on, precision="mixed_bfloat16") for on in (False, True)
    )
    assert_same(host, card, 0.01)


@on_jax
def test_a_run_goes_on_from_a_file_whichever_way_wrote_it(tmp_path):
    class Stops(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                raise KeyboardInterrupt

    whole = run(classifier, *images(45), on_card=False)
    for first, then in ((True, False), (False, True)):
        file = tmp_path / f"{first}.npz"
        with pytest.raises(KeyboardInterrupt):
            run(classifier, *images(45), on_card=first, checkpoint=file, callbacks=[Stops()])
        resumed = run(classifier, *images(45), on_card=then, checkpoint=file)
        assert_same(whole, resumed, 1e-5)


class Ends(keras.callbacks.Callback):
    """Ends the run after two epochs, and keeps what it was told and what the net holds by then."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append((epoch, logs["loss"], self.model.get_weights()))
        self.model.stop_training = epoch == 1


@on_jax
def test_callbacks_of_epochs_see_the_net_and_may_end_the_run():
    ends = Ends()
    history, weights, _ = run(classifier, *images(45), on_card=True, callbacks=[ends])
    epochs, losses, seen = zip(*ends.seen, strict=True)
    assert epochs == (0, 1) and list(losses) == history.curves["loss"] and history.epochs == 2
    shorter = run(classifier, *images(45), on_card=True, callbacks=[Ends()], epochs=4)
    kernel = 0
    assert np.abs(seen[0][kernel] - seen[1][kernel]).max() > 1e-4
    np.testing.assert_array_equal(seen[1][kernel], weights[kernel])
    assert shorter[0].epochs == 2


# --------------------------------------------------------------------------- which way


class ByBatch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        pass


def batched(*arrays):
    return training.Batches(*arrays[:2], pixel_weights=arrays[2] if arrays[2:] else None)


@on_jax
def test_the_card_is_taken_where_there_is_room(monkeypatch):
    net, x, y = classifier(), np.zeros((100, 9, 9, 2), "float32"), np.zeros(100, "int64")
    assert not on_card.wanted(None, net, batched(x, y))  # a processor has no memory of its own
    monkeypatch.setattr(on_card, "_room", lambda: 4 * (x.nbytes + 400))  # labels are sent as int32
    assert on_card.wanted(None, net, batched(x, y)) and on_card.wanted(
        None, net, batched(x.astype("float64"), y)
    )
    assert not on_card.wanted(None, net, batched(x, y, np.zeros((1, 1, 1))))
    assert not on_card.wanted(None, net, batched(x, y), (x[:1], (y[:1], y[:1])))
    assert not on_card.wanted(False, net, batched(x, y))
    assert not on_card.wanted(None, net, batched(x, y), None, [keras.callbacks.History(), ByBatch()])
    assert on_card.wanted(True, net, batched(x, y, x), None, [keras.callbacks.History()])


@on_jax
def test_a_callback_of_batches_and_several_devices_go_by_the_other_way(monkeypatch):
    with pytest.raises(ValueError, match="many batches in one go, and ByBatch acts before or after single"):
        run(classifier, *images(45), on_card=True, callbacks=[ByBatch()])
    net = classifier()
    monkeypatch.setattr(on_card, "_room", lambda: 2**40)
    assert on_card.wanted(None, net, batched(*images(45)))
    monkeypatch.setattr(keras.distribution, "distribution", object)
    assert not on_card.wanted(None, net, batched(*images(45)))
    with pytest.raises(ValueError, match="without a keras.distribution"):
        on_card.wanted(True, net, batched(*images(45)))


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="here it works")
def test_other_backends_say_what_it_takes():
    assert not on_card.wanted(None, classifier(), batched(*images(4)))
    with pytest.raises(ValueError, match="start Python with KERAS_BACKEND=jax"):
        run(classifier, *images(45), on_card=True)
