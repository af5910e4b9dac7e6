"""Compiled functions that nets share: no second compiling, the same numbers, and nothing shared that differs."""

import functools
import logging
import warnings

import keras
import numpy as np
import pytest
from keras import layers as L

from cnnbook import models, numerics, segmentation, training
from cnnbook.training import fast, programs

pytestmark = [
    pytest.mark.jax,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="Keras compiles so on JAX alone"),
]


@pytest.fixture(autouse=True)
def nothing_kept():
    programs._kept.clear()


def images(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (n, 8, 8, 4)).astype("float32"), rng.integers(0, 3, n)


def net(*, activation="relu", strides=1, rate=0.3, name=None, extra=()):
    x = inputs = keras.Input((8, 8, 4))
    x = L.Conv2D(4, 3, strides, groups=2, use_bias=False, name=name)(x)
    x = L.Activation(activation)(L.BatchNormalization()(x))
    for layer in extra:
        x = layer(x)
    x = L.Dropout(rate)(L.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, L.Dense(3, activation="softmax")(x))


def fitted(seed, *, build=net, **options):
    training.seed(seed)
    model, (x, y) = build(), images(seed=seed)
    options = dict(epochs=2, batch_size=16, shift=1, verbose=False, validation=images(20, seed=9)) | options
    return model, training.fit(model, x, y, seed=seed, **options)


@pytest.mark.parametrize("on_card", [False, True])
def test_a_second_fit_compiles_nothing_and_has_the_numbers_of_a_first(on_card, caplog):
    import jax

    fitted(1, on_card=on_card)
    traced = {key: program.traced for key, program in programs._kept.items()}
    # Another seed, rate and length of the run: weights, dropout, schedule and draws are arguments.
    other = dict(epochs=3, learning_rate=0.02, warmup=1, on_card=on_card)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        model, history = fitted(2, **other)
    compiled = [r.getMessage() for r in caplog.records if "_traced" in r.getMessage()]
    assert not compiled and {key: program.traced for key, program in programs._kept.items()} == traced
    programs._kept.clear()
    alone, alone_history = fitted(2, **other)
    for key, curve in history.curves.items():
        np.testing.assert_array_equal(alone_history.curves[key], curve)
    for a, b in zip(alone.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_count_sees_what_is_compiled(caplog):
    """A last batch of another size is one more shape, and the record of JAX says so, too."""
    import jax

    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        fitted(1)
    said = [r.getMessage() for r in caplog.records]
    programs_ = [(key[0].__name__, program.traced) for key, program in programs._kept.items()]
    assert ("train_step", 2) in programs_ and ("test_step", 1) in programs_  # batches of 16 and of 8
    assert sum("XLA compilation of jit(_traced)" in line for line in said) == sum(n for _, n in programs_)


class Doubled(L.Layer):
    def call(self, x):
        return 2 * x


def adapted():
    layer = L.Normalization()
    layer.adapt(np.ones((4, 6, 6, 4), "float32"))
    return layer


def patched():
    model = net()
    model.layers[1].call = lambda x: x
    return model


@pytest.mark.parametrize(
    "build",
    [
        lambda: net(extra=[Doubled()]),
        lambda: net(extra=[L.Lambda(lambda x: 2 * x)]),
        lambda: net(extra=[L.Conv2D(4, 1, kernel_regularizer=lambda kernel: 0.0)]),
        lambda: net(extra=[adapted()]),  # its mean is an array, not a variable
        lambda: net(activation=lambda x: x),
        patched,
    ],
    ids=["own layer", "lambda", "own regulariser", "array", "own activation", "patched"],
)
def test_a_net_of_unknown_parts_shares_nothing(build):
    assert programs.described(build()) is None
    one, two = (programs.compiled(programs.predict_step, build()) for _ in range(2))
    assert one.func is not two.func and not programs._kept


def test_a_layer_that_was_edited_trains_as_it_is_now():
    """The same name and configuration, another computation: what a cell that is run again makes."""
    first, _ = fitted(1, build=lambda: net(extra=[Doubled()]))

    class Edited(L.Layer):
        def call(self, x):
            return 0 * x

    Edited.__name__ = Edited.__qualname__ = "Doubled"
    _, history = fitted(1, build=lambda: net(extra=[Edited()]))
    kernel = first.get_weights()[0]
    assert np.abs(kernel).max() > 0 and len(set(np.round(history.curves["val_loss"], 6))) <= 2


def frozen():
    model = net()
    model.layers[2].trainable = False
    return model


def test_nets_that_compute_alike_have_one_description_and_others_have_their_own():
    plain = programs.described(net())
    assert plain is not None and programs.described(net(name="another_name")) == plain
    others = [net(activation="tanh"), net(strides=2), net(rate=0.4), frozen(), net(extra=[L.ReLU()])]
    described = [programs.described(model) for model in others]
    model = net()
    with fast.computing(model):
        described.append(programs.described(model))
    with (
        warnings.catch_warnings(action="ignore"),
        fast.computing(model, on=False, precision="mixed_bfloat16"),
    ):
        described.append(programs.described(model))
    with numerics.rounded_products():
        described.append(programs.described(model))
    assert None not in described and len({plain, *described}) == 1 + len(described)
    assert programs.described(model) == plain


def test_loss_and_optimiser_decide_too():
    def program(loss=None, excluded=(), kind="cosine", **options):
        model = net()
        schedule = training.Schedule(np.random.default_rng().random(), 10, kind=kind)
        optimizer = training.MomentumSGD(schedule, **dict(momentum=0.9, weight_decay=1e-4) | options)
        optimizer.exclude_from_weight_decay(var_names=excluded)
        optimizer.build(model.trainable_variables)
        return programs.compiled(programs.train_step, model, loss=loss, optimizer=optimizer).func

    ours = keras.losses.SparseCategoricalCrossentropy
    different = [
        {},
        dict(loss=ours()),
        dict(loss=ours(ignore_class=2)),
        dict(loss="sparse_categorical_crossentropy"),
        dict(loss=segmentation.dice_loss),
        dict(momentum=0.5),
        dict(weight_decay=None),
        dict(excluded=["bias"]),
        dict(kind="step"),
        dict(factors=[0.1] * 5),
    ]
    found = [[program(**options) for options in different] for _ in range(2)]
    assert len({*found[0]}) == len(different) and found[0] == found[1]
    own = [
        dict(loss=lambda labels, p: keras.ops.mean(p)),
        dict(loss=functools.partial(segmentation.focal_loss, gamma=1)),
    ]
    assert not {program(**options) for options in own} & {*programs._kept.values()}


def test_only_the_last_ones_are_kept(monkeypatch):
    monkeypatch.setattr(programs, "MOST", 2)
    one, two, three = net(), net(strides=2), net(rate=0.5)
    kept = [programs.compiled(programs.predict_step, model).func for model in (one, two)]
    assert programs.compiled(programs.predict_step, one).func is kept[0]
    programs.compiled(programs.predict_step, three)
    assert programs.compiled(programs.predict_step, one).func is kept[0]
    assert programs.compiled(programs.predict_step, two).func is not kept[1]


def test_no_model_is_held_behind_a_run():
    import gc
    import weakref

    model, _ = fitted(1)
    held = weakref.ref(model)
    assert model.train_function is None and model.test_function is None
    del model
    gc.collect()
    assert held() is None and programs._kept


def test_nets_of_the_course_share():
    for build in (models.LeNet5, lambda: models.ResNetCIFAR(8, widths=(4, 8, 8), input_shape=(14, 14, 1))):
        keras.backend.clear_session()
        first = programs.described(build())
        assert first is not None and programs.described(build()) == first
