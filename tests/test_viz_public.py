"""What every public function of viz returns: something that shows itself, with numbers or with a drawing as text."""

import numpy as np
import pytest
from helpers import nets

from cnnbook import viz

CLASSES = ("background", "shoe", "bag")
LABELS = np.arange(6) % 5
# Those of training runs and of classifiers are held to this where these are tested: test_training, test_transfer.
ELSEWHERE = {"curves", "confusion", "hardest"}


@pytest.fixture(scope="module")
def net():
    return nets.cam_net()


@pytest.fixture(scope="module")
def images():
    return nets.image((6, 16, 20, 3))


def filmed(net, images):
    film = viz.Film(images[0], "conv1", filters="conv1")
    film.set_model(net)
    film.set_params({"epochs": 1})
    film.on_train_begin()
    film.on_epoch_end(0, {"loss": 1.0})
    return film


def mask(images):
    return (images[0, ..., 0] > 0).astype(int)


# fmt: off
CALLS = {
    "slide": lambda net, x: viz.slide(x[0, :5, :5, 0], [[1, 0], [0, -1]]),
    "feature_maps": lambda net, x: viz.feature_maps(net, x[0], "conv2"),
    "filters": lambda net, x: viz.filters(net, "conv1"),
    "convolve": lambda net, x: viz.convolve(net, x[0], "conv2", 1),
    "receptive_field": lambda net, x: viz.receptive_field(net, x[0], "conv2"),
    "field_explorer": lambda net, x: viz.field_explorer(net, x[0]),
    "maximise": lambda net, x: viz.maximise(net, ["conv2:1", "predictions:0"], steps=2),
    "nearest": lambda net, x: viz.nearest(net, x, 0, "avg_pool", k=3),
    "embed": lambda net, x: viz.embed(net, x, "avg_pool", LABELS),
    "landscape": lambda net, x: viz.landscape(net, x, LABELS, points=3),
    "gradient_flow": lambda net, x: viz.gradient_flow(net, x, LABELS),
    "Film": filmed,
    "browse": lambda net, x: viz.browse(net, x[0]),
    "overlay": lambda net, x: viz.overlay(x[0], mask(x), CLASSES),
    "errors": lambda net, x: viz.errors(mask(x), 1 - mask(x)),
    "segmented": lambda net, x: viz.segmented(nets.segmenter(16), x[0, :, :16], CLASSES, truth=mask(x)[:, :16]),
    "skips": lambda net, x: viz.skips(nets.segmenter(16), x[0, :, :16]),
    **{name: lambda net, x, name=name: getattr(viz, name)(net, x[0]) for name in (
        "cam", "grad_cam", "grad_cam_plus_plus", "saliency", "guided_backprop", "deconvnet", "occlusion")},
    "score_cam": lambda net, x: viz.score_cam(net, x[0], most=2),
    "smooth_grad": lambda net, x: viz.smooth_grad(net, x[0], samples=2),
    "integrated_gradients": lambda net, x: viz.integrated_gradients(net, x[0], steps=2),
    "randomisation": lambda net, x: viz.randomisation(net, x[0], "saliency", steps=1),
    "deletion": lambda net, x: viz.deletion(net, x[0], viz.saliency(net, x[0]), steps=2),
    "insertion": lambda net, x: viz.insertion(net, x[0], viz.saliency(net, x[0]), steps=2),
    "heat_maps": lambda net, x: viz.heat_maps(x[0], {"mine": x[0, ..., 0], "coarse": x[0, ::4, ::4, 1] ** 2}),
    "beside": lambda net, x: viz.beside(viz.saliency(net, x[0]), viz.grad_cam(net, x[0])),
    "trade_off": lambda net, x: viz.trade_off(
        [dict(net="a", group="g", top1=70.0, images_per_s=9, memory_mb=300)]),
    "stacks": lambda net, x: viz.stacks(net, net),
    "diagram": lambda net, x: viz.diagram(net),
}
# fmt: on
DRAWINGS = {"stacks", "diagram"}


def test_the_public_names_are_functions_and_the_style():
    assert dir(viz) == sorted(viz.__all__) and len(viz.__all__) == len(set(viz.__all__))
    assert set(viz.__all__) - ELSEWHERE == {*CALLS, "style"}
    assert all(callable(getattr(viz, name)) for name in set(viz.__all__) - {"style"})


def arrays(value):
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", CALLS)
def test_it_shows_itself_and_has_its_numbers_or_its_drawing(net, images, name):
    result = CALLS[name](net, images)
    figure = result.figure()
    assert type(figure).__name__ == "Figure" and figure.axes
    assert len(result.alt) > 20 and result._repr_png_().startswith(b"\x89PNG")
    if name in DRAWINGS:
        assert not hasattr(result, "array") and result._repr_svg_() == result.svg()
        assert result.svg().startswith("<svg ") and result.svg().endswith("</svg>")
        assert {text.get_text() for text in figure.axes[0].texts} >= {"cam_net"}
    else:
        values = arrays(result.array)
        assert values and all(isinstance(v, np.ndarray) and v.size and np.isfinite(v).all() for v in values)
