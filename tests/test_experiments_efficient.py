"""The nets and data of chapter 13's experiments differ in what the chapter says, and in nothing else."""

import numpy as np

from cnnbook import graph, models
from cnnbook.experiments import efficient


def cost(kind, width):
    return graph.totals(graph.blueprint(efficient.stacked, kind, width))["macs"]


def test_full_and_separable_nets_at_equal_width_and_at_equal_cost():
    options = efficient.FACTORISED.variants
    full, separable, narrow = (cost(**options[name]) for name in options)
    assert (full, separable, narrow) == (5_447_872, 757_984, 774_165)
    assert 1 < narrow / separable < 1.03


def test_half_of_the_pairs_are_of_one_class_and_neither_item_tells():
    (x, y), (held_out, answers) = efficient.pairs(200, seed=1)
    assert x.shape == (200, 14, 14, 2) and held_out.shape == (1000, 14, 14, 2)
    assert set(np.unique(y)) == {0, 1} and y.mean() == answers.mean() == 0.5
    again = efficient.pairs(200, seed=1)[0]
    assert np.array_equal(x, again[0]) and np.array_equal(y, again[1])


def test_a_shuffle_is_all_that_differs_between_grouped_nets():
    options = dict(groups=2, stem_groups=2, channels=2, classes=2)
    on, off = (
        graph.trace(graph.blueprint(efficient.grouped, shuffle, **options)) for shuffle in (True, False)
    )
    assert [row.kind for row in on if row.kind != "ShuffleChannels"] == [row.kind for row in off]
    assert sum(row.kind == "ShuffleChannels" for row in on) == 3
    assert sum(row.macs for row in on) == sum(row.macs for row in off)


def test_a_relu_behind_each_narrow_map_is_all_that_differs_between_bottlenecks():
    linear, relu = (graph.blueprint(efficient.bottlenecks, kind, 4) for kind in (None, "relu"))
    more = len(graph.trace(relu)) - len(graph.trace(linear))
    assert more == 4 and graph.totals(linear)["params"] == graph.totals(relu)["params"]


def test_what_the_paper_reports_of_mobilenets_full_twin():
    twin = {row["quantity"]: row["value"] for row in models.reported("mobilenet")}
    assert twin == {"top1_err": 28.3, "multiply-adds": 4.866e9, "parameters": 29.3e6}
