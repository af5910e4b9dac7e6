"""What chapter 20 stands on: published figures, the peak of memory, top-k with ties, nets in one chart."""

import json
import re
import sys

import keras
import numpy as np
import pytest

from cnnbook import graph, models, training, viz
from cnnbook.training import footprint
from cnnbook.viz import trading

PEAKS = {
    "VGG16": 2198,
    "InceptionV3": 803,
    "ResNet50": 719,
    "ResNet34": 506,
    "GoogLeNet": 439,
    "AlexNet": 398,
}


# --------------------------------------------------------------------------- memory


@pytest.mark.parametrize("name", PEAKS)
def test_the_peak_of_memory_for_a_batch_of_64(name):
    arguments = {"towers": 1} if name == "AlexNet" else {}
    peak = graph.peak_memory(graph.blueprint(getattr(models, name), **arguments), 64)
    assert round(peak.megabytes) == PEAKS[name]


def test_the_peak_is_the_largest_input_and_output_of_a_layer():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="wide")(image)
    y = keras.layers.ReLU(name="relu")(x)
    both = keras.layers.Add(name="sum")([x, y])
    net = keras.Model(image, keras.layers.GlobalAveragePooling2D(name="pool")(both))
    peak = graph.peak_memory(net, batch_size=10)
    assert (peak.layer, peak.values, peak.weights) == ("sum", 3 * 8 * 8 * 4, 3 * 3 * 3 * 4 + 4)
    assert peak.maps_mb == 10 * 4 * peak.values / 1e6 and peak.weights_mb == 4 * peak.weights / 1e6
    assert graph.peak_memory(net, 10, bytes_each=2).megabytes == peak.megabytes / 2


def test_batch_norm_moving_statistics_are_weights_too():
    image = keras.Input((4, 4, 2))
    net = keras.Model(image, keras.layers.BatchNormalization()(image))
    assert graph.peak_memory(net).weights == 4 * 2


def test_a_free_size_and_an_empty_batch_are_refused():
    net = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(1, 3, name="free")])
    with pytest.raises(ValueError, match="fixed input_shape"):
        graph.peak_memory(net)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        graph.peak_memory(graph.blueprint(models.LeNet5), 0)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_memory_on_this_machine():
    found = footprint.peaks({"LeNet5": {}, "AlexNet": {}}, 67, 2)
    # AlexNet's weights at this size alone are 110 MB.
    weights = graph.peak_memory(graph.blueprint(models.AlexNet, input_shape=(67, 67, 3))).weights_mb
    assert weights * 0.9 < found["AlexNet"] < 6 * weights and found["LeNet5"] < 60


def test_a_net_that_cannot_be_measured_is_none(monkeypatch):
    monkeypatch.delattr(footprint.os, "fork", raising=False)
    assert footprint.peaks({"LeNet5": {}}, 32, 1) == {"LeNet5": None}


# --------------------------------------------------------------------------- top-k


SCORES = np.array([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.2, 0.3, 0.5], [0.7, 0.2, 0.1]])


def test_top_k_counts_the_class_among_the_best():
    y = [1, 2, 0, 2]
    assert [training.top_k(SCORES, y, k) for k in (1, 2, 3)] == [0.25, 0.5, 1.0]
    assert training.top_k(np.log(SCORES), y, 2) == 0.5


def test_top_1_is_accuracy_where_nothing_ties():
    rng = np.random.default_rng(0)
    scores, y = rng.normal(size=(200, 7)), rng.integers(0, 7, 200)
    assert training.top_k(scores, y, 1) == np.mean(scores.argmax(1) == y)


def test_ties_count_for_their_share():
    assert training.top_k(np.zeros((3, 1000)), [0, 500, 999], 5) == pytest.approx(0.005)
    # one ahead, three level: two of the three places 2 and 3 are left for them
    assert training.top_k([[9.0, 1, 1, 1, 0]], [2], 3) == pytest.approx(2 / 3)
    assert training.top_k([[9.0, 1, 1, 1, 0]], [0], 1) == 1


def test_a_row_with_a_nan_is_wrong():
    assert training.top_k([[np.nan, 1.0], [0.0, 1.0]], [1, 1], 1) == 0.5
    assert training.top_k([[np.nan, np.nan]], [0], 2) == 0


@pytest.mark.parametrize(
    "scores, y, k, words",
    [
        (np.zeros(3), [0], 1, "got .3,., .1,."),
        (np.zeros((2, 3)), [0], 1, "got .2, 3., .1,."),
        (np.zeros((0, 3)), [], 1, "at least one"),
        (np.zeros((1, 3)), [0], 4, "k is from 1 to the 3 classes, got 4"),
        (np.zeros((1, 3)), [3], 1, "labels are from 0 to 2, got 3 to 3"),
    ],
)
def test_top_k_refuses_what_does_not_fit(scores, y, k, words):
    with pytest.raises(ValueError, match=words):
        training.top_k(scores, y, k)


# --------------------------------------------------------------------------- published figures


def test_the_zoo_has_each_net_and_its_conditions():
    rows = models.zoo()
    assert {row["builder"] for row in rows} <= set(models.BUILDERS)
    assert all(row["source"] and row["conditions"] and 50 < row["top1"] < 80 for row in rows)
    speeds = {row["builder"]: row["images_per_s"] for row in models.zoo("slides")}
    assert speeds == {"AlexNet": 13270, "VGG16": 797, "GoogLeNet": 3150, "InceptionV3": 914,
                      "ResNet34": 2497, "ResNet50": 1263, "ResNet101": 722, "ResNet152": 495}  # fmt: skip
    table = {row["builder"]: row for row in models.zoo("table")}
    assert (table["AlexNet"]["top1"], table["AlexNet"]["top5"]) == (54.92, 78.03)
    assert all(row["top5"] > row["top1"] and row["images_per_s"] is None for row in table.values())
    with pytest.raises(ValueError, match="run='2020': there is 'chart 2019-03', 'slides', 'table'"):
        models.zoo("2020")


def test_the_later_run_is_4_to_9_per_cent_faster():
    first = {row["builder"]: row["images_per_s"] for row in models.zoo("chart 2019-03")}
    ratios = [r["images_per_s"] / first[r["builder"]] for r in models.zoo("slides") if r["builder"] in first]
    assert min(ratios) > 1.03 and max(ratios) < 1.09, ratios


def test_winners_and_detectors():
    won = models.winners()
    assert [row["top5_err"] for row in won] == [28.2, 25.8, 16.4, 11.7, 6.7, 7.3, 3.57]
    assert [row["layers"] for row in won] == [None, None, 8, 8, 22, 19, 152]
    assert [row["year"] for row in won if row["place"] == 1] == list(range(2010, 2016))
    same = {r["builder"]: r["map"] for r in models.detectors()
            if (r["detector"], r["trained_on"]) == ("Faster R-CNN", "07+12")}  # fmt: skip
    assert same == {"VGG16": 73.2, "ResNet101": 76.4}


# --------------------------------------------------------------------------- the chart


ROWS = [
    dict(net="good", group="here", top1=70.0, images_per_s=100, memory_mb=300, note="<b>bold</b>"),
    dict(net="slow", group="here", top1=60.0, images_per_s=50, memory_mb=None),
    dict(net="fast", group="here", top1=50.0, images_per_s=900, memory_mb=200),
    dict(net="good", group="there", top1=70.0, images_per_s=1000, memory_mb=300),
    dict(net="unknown", group="there", top1=70.0, images_per_s=None, memory_mb=300),
]


def test_the_front_is_what_no_other_beats():
    assert [row["net"] for row in trading.front(ROWS[:3], ("images_per_s", "top1"))] == ["good", "fast"]
    # less memory is better
    assert [row["net"] for row in trading.front(ROWS[::2], ("memory_mb", "top1"))] == [
        "good",
        "fast",
        "unknown",
    ]
    assert len(trading.front([ROWS[0], dict(ROWS[0])], ("images_per_s", "top1"))) == 2


def test_a_chart_has_a_front_for_each_group():
    chart = viz.trade_off(ROWS)
    assert chart.front == {"here": ["good", "fast"], "there": ["good"]} and chart.left_out == ["unknown"]
    assert chart.array.shape == (4, 3) and np.isnan(chart.array[1, 2])
    axes = chart.figure().axes[0]
    assert {text.get_text() for text in axes.texts} == {"good", "slow", "fast"}
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "images a second, more is better"


def test_the_page_holds_all_rows_and_needs_nothing_else():
    html = viz.trade_off(ROWS)._repr_html_()
    assert "<b>bold" not in html and "\\u003cb>bold" in html
    rows = json.loads(re.search(r"var rows = (\[.*?\]), columns", html)[1])
    assert [row["net"] for row in rows] == [row["net"] for row in ROWS] and rows[1]["memory_mb"] is None
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "")
    assert html.count('<img src="data:image/png;base64,') == 1 and "@media print" in html


def test_a_chart_of_numbers_that_nobody_has_is_refused():
    with pytest.raises(
        ValueError, match="no row has a number 'macs'; there is top1, images_per_s, memory_mb"
    ):
        viz.trade_off(ROWS, x="macs")
    with pytest.raises(ValueError, match="a net and a group"):
        viz.trade_off([dict(net="a", top1=1)])
