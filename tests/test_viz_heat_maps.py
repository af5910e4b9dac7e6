"""Heat maps of one's own, side by side: what is drawn where, and what is refused."""

import numpy as np
import pytest
from helpers import nets

from cnnbook import viz
from cnnbook.viz.why.compared import stretched


def test_a_coarse_map_stands_where_its_units_do():
    found = stretched(np.array([[0.0, 0.0], [4.0, 8.0]]), (8, 8))
    assert found.shape == (8, 8)
    # the units' middles lie between the pixels 1 and 2, and 5 and 6
    assert found[:2].max() == 0 and found[6:, 0].tolist() == [4, 4] and found[6:, 7].tolist() == [8, 8]
    assert found[7, 3] == pytest.approx(4 + 4 * (3 - 1.5) / 4)


def test_maps_boxes_and_titles():
    image = nets.image((16, 20, 3))
    maps = {"fine": image[..., 0], "coarse": np.ones((4, 5)), "none": np.zeros((16, 20))}
    drawn = viz.heat_maps(image, maps, box=(2, 3, 10, 12), title="for: green")
    assert [a.shape for a in drawn.array] == [(16, 20), (4, 5), (16, 20)]
    assert (
        drawn.alt
        == "An image and 3 heat maps of it: fine, coarse, none; a box is drawn around what is asked for"
    )
    axes = drawn.figure().axes
    assert [axis.get_title() for axis in axes] == ["for: green", "fine", "coarse", "none"]
    for axis in axes:
        box = axis.patches[-1]
        assert (*box.get_xy(), box.get_width(), box.get_height()) == (2.5, 1.5, 9, 8)
    assert [len(axis.images) for axis in axes] == [1, 1, 2, 1]  # a coarse map lies over the image
    low, high = axes[1].images[0].get_clim()
    assert axes[1].images[0].get_cmap().name == "RdBu_r" and low == -high  # both signs: white is 0
    assert axes[2].images[1].get_cmap().name == "viridis" and axes[3].get_xlabel() == "0 everywhere"
    assert not viz.heat_maps(image, maps).figure().axes[0].patches


@pytest.mark.parametrize(
    "maps, box, words",
    [
        ({}, None, "at least one map"),
        ({"a": np.ones(4)}, None, "'a' is no map of finite numbers"),
        ({"a": np.array([[np.nan]])}, None, "'a' is no map of finite numbers"),
        ({"a": np.ones((4, 4))}, (0, 0, 17, 4), "is not in an image of 16 x 20"),
        ({"a": np.ones((4, 4))}, (5, 0, 5, 4), "is not in an image of 16 x 20"),
    ],
)
def test_what_cannot_be_drawn(maps, box, words):
    with pytest.raises(ValueError, match=words):
        viz.heat_maps(nets.image((16, 20, 3)), maps, box=box)


def test_one_image_is_needed():
    with pytest.raises(ValueError, match="one image"):
        viz.heat_maps(nets.image((2, 16, 20, 3)), {"a": np.ones((4, 4))})
