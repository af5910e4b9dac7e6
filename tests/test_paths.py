"""The drawing of a residual network's paths, and the experiment about loss surfaces."""

from functools import partial

import numpy as np
import pytest

from cnnbook.experiments import loss_surfaces
from cnnbook.models import ResNetCIFAR
from cnnbook.viz.diagrams.paths import unravelled


def test_every_way_through_three_blocks_is_drawn_once():
    drawn = unravelled(3)
    assert drawn.paths == [(1, 2, 3), (1, 2), (1, 3), (2, 3), (1,), (2,), (3,), ()]
    assert drawn.left == drawn.paths
    assert drawn._repr_png_().startswith(b"\x89PNG")


def test_half_of_the_paths_are_left_without_a_block():
    drawn = unravelled(3, missing=2)
    assert drawn.left == [(1, 3), (1,), (3,), ()]
    assert "4 paths are left" in drawn.alt
    titles = [axes.get_title() for axes in drawn.figure().axes]
    assert titles == ["the network", "4 of 8 paths without block 2"]


@pytest.mark.parametrize("given, words", [((5,), "1 to 4"), ((3, 4), "1 to 3"), ((0,), "got 0")])
def test_what_has_no_drawing_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        unravelled(*given)


def test_a_surface_has_its_net_in_the_middle(monkeypatch):
    monkeypatch.setitem(loss_surfaces.DEEP, "ResNet-56", partial(ResNetCIFAR, 8, widths=(4, 4, 4)))
    found = loss_surfaces.surfaces(
        kind="ResNet-56", images=64, epochs=1, measured_on=32, points=3, span=0.5, seed=0
    )
    assert len(found["surface"]) == 9
    assert found["surface"][4] == pytest.approx(found["loss"], rel=0.01)
    assert all(value == float(f"{value:.3g}") for value in found["surface"])
    assert np.ptp(found["surface"]) > 0 and 0 <= found["error"] <= 100
