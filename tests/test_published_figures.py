"""Every row of the package's figures table, counted from the code that builds the network, and its layers' names.

The quick suite on TensorFlow leaves out zoo.DEEP, which it runs on JAX; `make test-all` leaves out none.
"""

import re

import keras
import pytest
from helpers.zoo import BRANCHES, DEEP

from cnnbook import counts, graph, models, weights
from cnnbook.training import fast

pytestmark = pytest.mark.jax

SOURCES = models.imagenet_sources()
WITH_TWIN = {name for name, source in SOURCES.items() if isinstance(source, weights.KerasApplication)}
LEFT_OUT = DEEP if keras.backend.backend() == "tensorflow" else ()
ROWS = [
    pytest.param(row, id=row["call"], marks=[pytest.mark.every_variant] * row["call"].startswith(LEFT_OUT))
    for row in models.figures()
]


@pytest.fixture(scope="module", params=ROWS)
def built(request):
    """(row, net), built once for both tests; one lives at a time."""
    row = request.param
    return row, graph.blueprint(models.builder(row["builder"]), **row["arguments"])


def test_published_figures(built):
    row, net = built
    total = graph.totals(net)
    assert total["params"] == row["params"]
    assert total["macs"] == row["macs"]
    assert counts.convolutions(net) == int(row["convolutions"])
    if row["receptive_field"]:
        assert total["receptive_field"] == (row["receptive_field"],) * 2
        assert total["stride"] == (row["stride"],) * 2
    assert row["source"]
    assert not any(map(fast.goes_wrong, net.operations))  # README: no network of a paper is that narrow


# {stage}_block{b}_{i}_{kind} or shorter; nets with a twin in keras.applications carry its names, ported by them
GRAMMAR = re.compile(r"^[a-z]+[0-9]*[a-z]?(_[a-z0-9]+)*$")


def test_every_layer_is_named_by_the_grammar_and_merges_take_the_shortcut_first(built):
    row, net = built
    if row["builder"] not in WITH_TWIN:
        assert [op.name for op in net.operations if not GRAMMAR.match(op.name)] == []
    automatic = [
        op.name for op in net.operations if re.fullmatch(rf"{snake(type(op).__name__)}(_\d+)?", op.name)
    ]
    assert [n for n in automatic if n not in ("flatten", "dropout", "softmax")] == []
    rows = graph.trace(net)
    field = {row.name: row.receptive_field for row in rows}
    for row in rows:
        excused = any(re.search(pattern, row.name) for pattern, _ in BRANCHES)
        adds = row.kind == "Add" and len(row.inputs) == 2 and not excused
        if adds and None not in map(field.get, row.inputs):
            assert field[row.inputs[0]] <= field[row.inputs[1]], row


def snake(kind):
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", kind)).lower()


def test_every_builder_has_a_row():
    assert {row["builder"] for row in models.figures()} == set(models.BUILDERS)
    assert {row["builder"] for row in models.figures() if row["smallest"]} == set(models.BUILDERS)
    assert not any(None in row for row in models.figures())  # a comma without quotes


def test_table_prints_what_it_counts():
    (row,) = [r for r in models.table("resnet50") if r["builder"] == "ResNet50()"]
    assert (row["params"], row["state"], row["receptive_field"]) == (25_557_032, 53_120, (483, 483))
    assert row["input"] == (224, 224, 3) and row["top5_err"] == 6.71


def test_what_papers_report_beside_their_counts():
    rows = models.reported("cifar10")
    means = {
        row["entry"]: (row["value"], row["spread"], row["runs"]) for row in rows if row["quantity"] == "mean"
    }
    assert means == {"ResNetCIFAR(depth=110)": (6.61, 0.16, 5), "Highway19()": (7.72, 0.16, 5)}
    # The best run that figures.csv prints lies where the best of five is to be expected, 1.16 spreads below the mean.
    best = {row["call"]: row["top1_err"] for row in models.figures()}
    assert all(abs(mean - 1.16 * spread - best[call]) < 0.02 for call, (mean, spread, _) in means.items())
    recipe = {
        row["quantity"]: row["value"] for row in models.reported("recipe") if row["entry"] == "ImageNet"
    }
    assert len(recipe) == 9 and recipe["batch size"] == 256 and recipe["weight decay"] == 1e-4
    for row in models.reported("flops"):
        total = graph.totals(graph.blueprint(models.builder(row["entry"])))
        assert abs(total["macs"] - row["value"]) < 0.07e9, row["entry"]
    assert all(row["source"] for table in ("cifar10", "flops", "recipe") for row in models.reported(table))


def test_a_table_that_nobody_reports():
    with pytest.raises(
        ValueError, match="nothing is reported under 'cifar'; there is: cifar10, flops, recipe"
    ):
        models.reported("cifar")
