"""The experiments of chapter 11: equal costs, what a layer reads, and groups that are silenced."""

import keras
import numpy as np
import pytest

from cnnbook import graph
from cnnbook.experiments import dense_and_grouped


def test_nets_cost_what_their_names_say():
    total = {
        kind: graph.totals(graph.blueprint(dense_and_grouped.net_of, kind)) for kind in dense_and_grouped.NETS
    }
    dense = total["DenseNet"]
    assert total["ResNet, same parameters"]["params"] == pytest.approx(dense["params"], rel=0.03)
    assert total["ResNet, same multiply-adds"]["macs"] == pytest.approx(dense["macs"], rel=0.05)


def test_any_number_of_paths_costs_the_same():
    macs = [
        graph.totals(graph.blueprint(dense_and_grouped.paths_net, c))["macs"] for c in dense_and_grouped.PATHS
    ]
    assert max(macs) / min(macs) < 1.03


def test_reads_finds_the_source_whose_weights_are_large():
    net = dense_and_grouped.net_of("DenseNet")
    kernel = net.get_layer("conv2_block3_1_conv").kernel
    weights = np.ones(kernel.shape, "float32")
    weights[:, :, 16:24] = -4  # the channels of layer 1, behind the 16 that enter
    kernel.assign(weights)
    tables = dense_and_grouped.reads(net)
    assert {stage: table.shape for stage, table in tables.items()} == {2: (7, 7), 3: (7, 7), 4: (7, 7)}
    assert tables[2][2, :3] == pytest.approx([0.25, 1, 0.25]) and np.isnan(tables[2][2, 3:]).all()
    assert not np.isnan(tables[4][6]).any() and np.nanmax(tables[4], axis=1) == pytest.approx(np.ones(7))


def test_silenced_loses_nothing_without_channels_and_says_what_a_channel_was_worth():
    keras.utils.set_random_seed(0)
    net = dense_and_grouped.paths_net(8)
    x = np.random.default_rng(0).normal(size=(20, 14, 14, 1)).astype("float32")
    labels = np.arange(20) % 10
    losses = dense_and_grouped.silenced(net, x, labels, [[], list(range(80))])
    assert losses.shape == (2, 10) and not losses[0].any()
    groups, drawn = dense_and_grouped.group_sets(8, seed=0)
    assert [list(g) for g in groups[:2]] == [list(range(10)), list(range(10, 20))]
    assert sorted(np.concatenate(drawn)) == list(range(80))


def test_a_step_along_the_gradient_keeps_some_of_its_promise():
    found = dense_and_grouped.surface(kind="ResNet-38", images=32, step=1e-4, seed=0)
    assert len(found["along"]) == 9 and found["share"] == pytest.approx(1, abs=0.2)
