"""Every row of the package's figures table, counted from the code that builds the network."""

import pytest

from cnnbook import graph, models


@pytest.mark.parametrize("row", models.figures(), ids=lambda row: row["call"])
def test_published_figures(row):
    total = graph.totals(graph.blueprint(models.builder(row["builder"]), **row["arguments"]))
    assert total["params"] == row["params"]
    assert total["macs"] == row["macs"]
    if row["receptive_field"]:
        assert total["receptive_field"] == (row["receptive_field"],) * 2
        assert total["stride"] == (row["stride"],) * 2
    assert row["source"]


def test_every_builder_has_a_row():
    assert {row["builder"] for row in models.figures()} == set(models.BUILDERS)
    assert {row["builder"] for row in models.figures() if row["smallest"]} == set(models.BUILDERS)
    assert not any(None in row for row in models.figures())  # a comma without quotes


def test_table_prints_what_it_counts():
    (row,) = [r for r in models.table("resnet50") if r["builder"] == "ResNet50()"]
    assert (row["params"], row["state"], row["receptive_field"]) == (25_557_032, 53_120, (483, 483))
    assert row["input"] == (224, 224, 3) and row["top5_err"] == 6.71
