"""The nets of chapter 05's experiments: equal cost, equal depth, a silent branch, heads that reach only what lies below."""

import keras
import numpy as np
import pytest

from cnnbook import graph
from cnnbook.experiments import nin_googlenet as slim

read = keras.ops.convert_to_numpy


def weight_layers(model):
    """Layers with weights on the longest way, batch norm not counted."""
    depth = {}
    for row in graph.trace(model):
        before = max((depth[name] for name in row.inputs), default=0)
        depth[row.name] = before + (row.kind in ("Conv2D", "Dense"))
    return depth["predictions"]


def test_five_kinds_of_module_cost_the_same():
    macs = {kind: graph.totals(graph.blueprint(slim.slim_inception, kind))["macs"] for kind in slim.WIDTHS}
    assert min(macs.values()) == 2_610_688 and max(macs.values()) == 2_680_844, macs


@pytest.mark.parametrize("head, params", [("dense", 420_338), ("dropout", 420_338), ("average", 17_522)])
def test_heads_of_equal_depth(head, params):
    """By hand: a trunk of 16,104, then 401,664 + 2,570 or 1,088 + 330."""
    model = graph.blueprint(slim.slim_nin, head)
    assert weight_layers(model) == 7
    assert graph.totals(model)["params"] == params


def test_a_silenced_branch_is_zero_and_the_others_are_not():
    keras.utils.set_random_seed(3)
    model = slim.slim_inception("module", size=32)
    maps = keras.Model(model.input, model.get_layer("inception2_out").output)
    image = np.random.default_rng(3).normal(size=(1, 32, 32, 3)).astype("float32")
    before = read(maps(image))
    slim.silence(model, "3x3")
    after = read(maps(image))
    n1, _, n3, *_ = slim.WIDTHS["module"][1]
    assert before[..., n1 : n1 + n3].any() and not after[..., n1 : n1 + n3].any()
    assert after[..., :n1].any() and after[..., n1 + n3 :].any()


@pytest.mark.parametrize("branch", slim.BRANCHES)
def test_a_module_without_a_branch(branch):
    model = graph.blueprint(slim.slim_inception, "module", without=branch)
    ending = {"pool": "pool_proj_conv"}.get(branch, f"{branch}_conv")
    assert not [layer.name for layer in model.layers if layer.name.endswith(f"_{ending}")]
    assert graph.totals(model)["macs"] < graph.totals(graph.blueprint(slim.slim_inception, "module"))["macs"]


def test_the_slim_googlenet_is_as_deep_as_googlenet_less_its_stem():
    plain, helped = (graph.blueprint(slim.slim_googlenet, auxiliary) for auxiliary in (False, True))
    assert weight_layers(plain) == 1 + 9 * 2 + 1
    assert [output.shape[-1] for output in helped.outputs] == [10, 10, 10]
    assert slim.loss_weights(helped) == [1.0, 0.3, 0.3] and slim.loss_weights(plain) == [1.0]


def test_thirds_go_by_size():
    right, share = np.array([1, 1, 0, 0, 1, 0], bool), np.array([0.1, 0.2, 0.5, 0.4, 0.9, 0.8])
    assert slim.thirds(right, share) == [1.0, 0.0, 0.5]
