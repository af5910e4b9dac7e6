"""What the experiments of chapter 19 measure, on cases that can be counted by hand."""

import numpy as np

from cnnbook import graph
from cnnbook.experiments import unet


def test_outlines_are_the_pixels_of_a_class_that_touch_another():
    mask = np.zeros((1, 7, 7), int)
    mask[0, 1:6, 1:6] = 3
    mask[0, 1:6, 4:6] = 5  # a second item beside the first
    drawn = unet.outlines(mask)[0, ..., 0]
    assert drawn.shape == (7, 7) and drawn.sum() == 25 - 3 and set(np.unique(drawn)) == {0, 1}
    assert np.array_equal(np.argwhere((drawn == 0) & (mask[0] > 0)), [[2, 2], [3, 2], [4, 2]])


def test_found_merged_and_pieces_of_three_cells():
    truth = np.zeros((1, 6, 11), int)
    truth[0, :, 0:3], truth[0, :, 4:7], truth[0, :, 8:11] = 1, 2, 3
    split = (truth > 0).astype(int)
    assert unet.counted_cells(truth, split) == {"found": 1, "merged": 0, "pieces": 1}
    joined = split.copy()
    joined[0, 2, 3] = 1  # one pixel of seam
    counted = unet.counted_cells(truth, joined)
    assert counted == {"found": 1 / 3, "merged": 2 / 3, "pieces": 2 / 3}
    assert unet.counted_cells(truth, 0 * split) == {"found": 0, "merged": 0, "pieces": 0}


def test_the_four_nets_answer_for_every_pixel_at_the_costs_that_the_chapter_compares():
    totals = {}
    for name, build in unet.NETS.items():
        net = graph.blueprint(build, (64, 64, 1))
        assert net.output_shape == (None, 64, 64, 2), name
        totals[name] = graph.totals(net)
    level, whole = totals["level"], totals["U-Net"]
    assert 0.8 < level["macs"] / whole["macs"] <= 1
    assert (level["receptive_field"], level["stride"]) == ((15, 15), (1, 1))
    assert totals["no skips"]["receptive_field"] == whole["receptive_field"] > level["receptive_field"]
    assert totals["FCN-32s"]["macs"] < whole["macs"]


def test_answers_come_back_as_they_were_packed():
    answers = np.random.default_rng(0).integers(0, 2, (2, 48, 48))
    packed = unet.packed(answers)
    assert len(packed) == 2 * 48 * 48 // 8 and np.array_equal(unet.unpacked(packed, 48), answers)
