"""Chapter 07's slim nets cost the same, and its exercises tell right answers from wrong ones."""

import numpy as np
import pytest

from cnnbook import graph, models
from cnnbook.answers import inception_family as answers
from cnnbook.experiments import inception_family as slim


@pytest.mark.parametrize("modules", [9, 18])
def test_nets_of_one_depth_cost_the_same(modules):
    costs = {
        kind: graph.totals(graph.blueprint(slim.slim, kind, modules=modules))["macs"] for kind in slim.WIDTHS
    }
    assert max(costs.values()) < 1.03 * min(costs.values()), costs


def test_only_the_residual_net_adds():
    for kind in slim.WIDTHS:
        kinds = [row.kind for row in graph.trace(graph.blueprint(slim.slim, kind))]
        assert kinds.count("Add") == (9 if kind == "residual" else 0), kind


def test_the_nearest_product_of_a_column_and_a_row():
    def split(kernel):
        u, s, v = np.linalg.svd(kernel)
        return u[:, :1] * s[0], v[:1]

    answers.right_split(split)
    with pytest.raises(AssertionError, match="leaves squares"):
        answers.right_split(lambda kernel: (kernel[:, :1], kernel[:1] * 0))
    with pytest.raises(AssertionError, match="of shape"):
        answers.right_split(lambda kernel: (kernel[:, 0], kernel[0]))


def test_three_per_cent_is_an_ensembles():
    (row,) = models.reported("inception")
    single = {r["call"]: r["top5_err"] for r in models.figures()}["InceptionV4()"]
    assert "ensemble" in row["entry"] and row["value"] == 3.08 < single and row["source"]
