"""What holds for every net: 40 random ones in the quick suite, 500 with every_variant; each is built once for all checks."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from helpers.random_nets import multiplied, random_net
from keras import layers as L

from cnnbook import graph
from cnnbook.keras_internals import producer
from cnnbook.viz.inside import fields
from cnnbook.viz.reading import Net

read = keras.ops.convert_to_numpy


def flattened_gives_the_same(net):
    for a, b in zip(net.answers, keras.tree.flatten(net.flat(net.image)), strict=True):
        np.testing.assert_array_equal(read(a), read(b))
    names = [row.name for row in net.rows]
    assert len(set(names)) == len(names)


def parameters_are_those_of_keras(net):
    assert sum(row.params + row.state for row in net.rows) == net.model.count_params()


def multiply_adds_are_those_of_the_framework(net):
    assert graph.totals(net.model, net.rows)["macs"] == net.multiplied


def windows_hold_every_gradient(net):
    """The box of a unit holds what it sees when every kernel is positive; less is seen through holes and at edges."""
    watched, rng = Net(net.model), np.random.default_rng(len(net.rows))
    maps = [row for row in watched.rows[1:] if row.known and row.local and len(row.output_shape) == 3]
    maps = [row for row in maps if not row.global_context]  # a gate sees the whole image
    for row in maps[-1:]:
        unit = tuple(int(rng.integers(side)) for side in row.output_shape[:2])
        windows, seen = graph.windows(watched.rows, row), fields.measured(watched, row.name, unit)
        for axis in (0, 1) if seen is not None else ():
            first, stop = (int(ends[unit[axis]]) for ends in windows[axis])
            found = seen[axis], seen[axis + 2]
            assert first <= found[0] and found[1] <= stop, (
                f"{row.name} {unit}: {first} to {stop}, seen {found}"
            )
            assert found[1] - found[0] <= row.receptive_field[axis], (
                f"{row.name}: {row.receptive_field}, seen {found}"
            )


def the_end_is_what_was_put_there(net):
    """Of every output, alone and behind a net around it that only passes values on: kind, place, classes, labels."""
    image = keras.Input(net.model.input_shape[1:])
    outputs = keras.tree.flatten(net.model(image))
    around = keras.Model(image, [L.Dropout(0.5)(L.Activation("linear")(tensor)) for tensor in outputs])
    for i, answer in enumerate(map(read, net.answers)):
        units, last = answer.shape[-1], producer(net.model.outputs[i])
        scores = last.activation is keras.activations.linear
        kind = {1: ("probability", "logit"), 3: ("softmax", "logits")}[units][scores]
        labels = answer.argmax(-1) if units > 1 else (answer[..., 0] > (0 if scores else 0.5)).astype(int)
        for model in (net.model, around):
            end = graph.ending(model, i)
            place = "pixel" if answer.ndim == 4 else "image"
            assert (end.kind, end.per, end.classes) == (kind, place, max(units, 2)), f"output {i}: {end}"
            np.testing.assert_array_equal(end.labels(answer), labels)
            np.testing.assert_allclose(end.probabilities(answer).sum(-1), 1, atol=1e-5)


CHECKS = [
    flattened_gives_the_same,
    parameters_are_those_of_keras,
    multiply_adds_are_those_of_the_framework,
    windows_hold_every_gradient,
    the_end_is_what_was_put_there,
]


def check(seed):
    model = random_net(seed)
    shape = (1, *model.input_shape[1:])
    image = np.random.default_rng(seed).normal(0, 1, shape).astype("float32")
    with multiplied() as found:
        answers = keras.tree.flatten(model(image))
    flat, rows = graph.flatten(model), graph.trace(model)
    net = SimpleNamespace(
        model=model, flat=flat, rows=rows, image=image, answers=answers, multiplied=sum(found)
    )
    for holds in CHECKS:
        holds(net)


@pytest.mark.parametrize("ten", range(4))
def test_what_holds_for_every_net(ten):
    for seed in range(10 * ten, 10 * ten + 10):
        try:
            check(seed)
        except Exception as error:
            raise AssertionError(f"random_net({seed}): {error}") from error


@pytest.mark.every_variant
@pytest.mark.parametrize("seed", range(40, 540))
def test_what_holds_for_many_nets(seed):
    check(seed)
