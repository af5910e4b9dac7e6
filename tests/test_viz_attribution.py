"""The attributions against what is known exactly: CAM, completeness, a detector of one pixel, cases by hand."""

import keras
import numpy as np
import pytest
from helpers import nets
from helpers.zoo import plan
from keras import layers as L

from cnnbook import graph, models, viz
from cnnbook.viz import reading
from cnnbook.viz.why import attribution

pytestmark = [pytest.mark.jax, pytest.mark.torch]

read = keras.ops.convert_to_numpy


def two_dense():
    x = L.GlobalAveragePooling2D(name="pool")(inputs := keras.Input((8, 8, 3)))
    return keras.Model(inputs, L.Dense(2, name="predictions")(L.Dense(4, name="fc")(x)))


def test_grad_cam_after_a_global_average_pool_is_cam(net, image):
    inner = keras.Model(net.input, net.get_layer("conv2_out").output)
    maps = read(inner(image[None]))[0]
    weights = read(net.get_layer("predictions").kernel)
    for target in range(5):
        found = viz.grad_cam(net, image, target=target)
        cam = np.maximum(maps @ weights[:, target], 0)
        assert found.layer == "conv2_out"
        np.testing.assert_allclose(found.values * maps.shape[0] * maps.shape[1], cam, rtol=1e-4, atol=1e-5)
    probabilities = read(net(image[None]))[0]
    top = viz.grad_cam(net, image).question
    assert top.target == probabilities.argmax()
    assert top.probability == pytest.approx(probabilities.max(), rel=1e-4)
    assert top.score == pytest.approx(
        float(
            maps.mean((0, 1)) @ weights[:, top.target] + read(net.get_layer("predictions").bias)[top.target]
        ),
        rel=1e-4,
    )


def test_cam_is_the_weighted_sum_of_the_averaged_maps(net, image):
    inner = keras.Model(net.input, net.get_layer("conv2_out").output)
    maps = read(inner(image[None]))[0]
    kernel, bias = (read(v) for v in net.get_layer("predictions").weights)
    for target in range(5):
        found = viz.cam(net, image, target=target)
        assert found.layer == "conv2_out" and found.signed
        np.testing.assert_allclose(found.values, maps @ kernel[:, target], rtol=1e-4, atol=1e-5)
        # its mean and the bias are the logit; Grad-CAM is its positive part over the map's area
        assert found.values.mean() + bias[target] == pytest.approx(found.question.score, rel=1e-4, abs=1e-5)
        grad = viz.grad_cam(net, image, target=target).values * maps[..., 0].size
        np.testing.assert_allclose(grad, np.maximum(found.values, 0), rtol=1e-4, atol=1e-5)


def test_cam_of_averaged_class_maps_is_the_map_itself():
    net = nets.seeded(models.NiN(classes=4, input_shape=(16, 16, 3)))
    image = nets.image((16, 16, 3))
    maps = read(keras.Model(net.input, net.get_layer("classes_relu").output)(image[None]))[0]
    found = viz.cam(net, image, target=3)
    np.testing.assert_allclose(found.values, maps[..., 3], rtol=1e-4, atol=1e-5)
    assert found.layer == "classes_relu" and found.array.shape == (16, 16)


@pytest.mark.parametrize(
    "build, named",
    [(lambda: nets.pixel_detector(), "flatten"), (lambda: nets.segmenter(), "mask"), (two_dense, "fc")],
)
def test_cam_says_which_layer_is_in_its_way(build, named):
    net = build()
    with pytest.raises(ValueError, match=rf"has {named} \(.*viz.grad_cam takes any net"):
        viz.cam(net, nets.image(net.input_shape[1:]))


def test_grad_cam_plus_plus_by_its_formula(net, image):
    """Equation 19 written out for each pixel and channel, where the slope of the logit is the same all over a map."""
    inner = keras.Model(net.input, net.get_layer("conv2_out").output)
    maps = read(inner(image[None]))[0].astype("float64")
    slope = read(net.get_layer("predictions").kernel)[:, 2] / maps[..., 0].size
    weights = []
    for k, g in enumerate(slope):
        share = g**2 / (2 * g**2 + maps[..., k].sum() * g**3)
        weights.append(maps[..., 0].size * share * max(g, 0))
    found = viz.grad_cam_plus_plus(net, image, target=2)
    np.testing.assert_allclose(found.values, np.maximum(maps @ np.array(weights), 0), rtol=1e-3, atol=1e-6)


def test_score_cam_weighs_maps_by_what_the_net_says(net, image):
    row = reading.Net(net)["conv2_out"]
    maps = reading.Net(net).read(image[None], ["conv2_out"])["conv2_out"][0]
    fine = reading.spread(maps, row, (16, 20))
    straight = keras.Model(net.input, L.Dense(5)(net.get_layer("avg_pool").output))
    straight.layers[-1].set_weights(net.layers[-1].get_weights())
    zero = read(straight(np.zeros((1, 16, 20, 3), "float32")))[0, 3]
    gains = []
    used = [k for k in range(8) if np.ptp(maps[..., k]) > 0]
    for k in used:
        low, high = maps[..., k].min(), maps[..., k].max()
        masked = image * ((fine[..., k] - low) / (high - low))[..., None]
        gains.append(read(straight(masked[None].astype("float32")))[0, 3] - zero)
    weights = np.exp(gains) / np.exp(gains).sum()
    found = viz.score_cam(net, image, target=3, most=None)
    np.testing.assert_allclose(found.values, np.maximum(maps[..., used] @ weights, 0), rtol=1e-3, atol=1e-5)


def test_through_nested_models_as_through_the_flat_one(net, image):
    for other in nets.nested(net):
        for name in ("grad_cam", "grad_cam_plus_plus", "saliency", "integrated_gradients", "guided_backprop"):
            flat, inside = (getattr(viz, name)(m, image, target=1) for m in (net, other))
            np.testing.assert_allclose(inside.array, flat.array, rtol=1e-4, atol=1e-6)
        lower = [viz.grad_cam(m, image, "pool1", target=1) for m in (net, other)]
        np.testing.assert_allclose(lower[0].values, lower[1].values, rtol=1e-4, atol=1e-6)
        calls = len(net.get_layer("conv1")._inbound_nodes)
        viz.saliency(other, image)
        assert len(net.get_layer("conv1")._inbound_nodes) == calls  # inlined once, not at every question


def test_gradients_of_inner_maps_by_differences(net, image):
    """The slope that Grad-CAM reads, beside a shortcut that passes the layer, against small steps."""
    from cnnbook.viz.why.question import Question

    q = Question(net, image, target=1)
    row = q.net.map("pool1")
    values = q.values(row)
    slope = q.slope(row, values)
    for place in ((2, 3, 0), (5, 5, 4)):
        ends = []
        for step in (-0.02, 0.02):
            moved = values.copy()
            moved[place] += step
            ends.append(float(q._total_from(q.x, row.name, moved[None])))
        assert slope[place] == pytest.approx((ends[1] - ends[0]) / 0.04, rel=0.02, abs=1e-4)


@pytest.mark.parametrize("preprocess", [None, lambda x: (x - 120.0) / 60.0])
def test_integrated_gradients_are_complete(net, image, preprocess):
    image = image if preprocess is None else (image * 40 + 120).clip(0, 255)
    found = viz.integrated_gradients(net, image, preprocess=preprocess)
    assert found.completeness < 0.01
    assert found.values.sum() == pytest.approx(found.difference, rel=0.01)
    start = np.zeros((1, 16, 20, 3)) if preprocess is None else np.full((1, 16, 20, 3), -2.0)
    q = found.question
    assert found.difference == pytest.approx(q.score - float(q.scores(start.astype("float32"))[0]), rel=1e-4)


def test_occlusion_finds_the_one_pixel_that_counts():
    at = (5, 11)
    detector, image = nets.pixel_detector(at=at), np.abs(nets.image((16, 16, 3))) + 1
    for size in (1, 3):
        found = viz.occlusion(detector, image, size=size, step=1, target=1, fill=0)
        assert np.unravel_index(found.array.argmax(), found.array.shape) == at
        assert found.array[at] == pytest.approx(2 * image[5, 11, 0], rel=1e-4)
    alone = viz.occlusion(detector, image, size=1, step=1, target=1, fill=0)
    assert np.count_nonzero(np.abs(alone.array) > 1e-5) == 1
    assert np.argwhere(viz.saliency(detector, image, target=1).array).tolist() == [list(at)]
    assert viz.saliency(detector, image, target=1).array[at] == pytest.approx(2)
    wide = viz.occlusion(nets.cam_net((12, 20)), nets.image((12, 20, 3)), size=5, step=3)
    assert wide.array.shape == (12, 20) and wide.values.shape == (4, 6)  # the last patch ends at the edge


def test_smooth_grad_without_noise_is_the_gradient(net, image):
    still = viz.smooth_grad(net, image, noise=0, samples=3, target=2)
    np.testing.assert_allclose(still.values, viz.saliency(net, image, target=2).values, atol=1e-6)
    one, two = (viz.smooth_grad(net, image, samples=2, seed=s, target=2).array for s in (3, 3))
    np.testing.assert_array_equal(one, two)


def by_hand():
    """Two ReLUs in a row on a 1 x 4 image: y = [1, -1] . relu(w2 relu(x)), every number known."""
    inputs = keras.Input((1, 4, 1))
    x = L.Conv2D(1, 1, use_bias=False, activation="relu", name="first")(inputs)
    x = L.ReLU(name="second")(L.Conv2D(2, 1, use_bias=False, name="mix")(x))
    x = L.Flatten(name="flatten")(x)
    net = keras.Model(inputs, L.Dense(1, use_bias=False, name="predictions")(x))
    net.set_weights([np.ones((1, 1, 1, 1)), np.reshape([2.0, -3.0], (1, 1, 1, 2)),
                     np.array([1.0, 1, -1, 1, 1, 1, -1, -1])[:, None]])  # fmt: skip
    return net, np.array([1.0, 2, -3, 4], "float32").reshape(1, 4, 1)


def test_three_ways_back_through_a_relu_by_hand():
    """mix: 2x and -3x of x = relu(image) = (1, 2, 0, 4); the second channel is shut wherever x > 0, at x = 0 both are."""
    net, image = by_hand()
    plain = viz.saliency(net, image).values.ravel()
    # the dense weights 1, -1, ., -1 through the open channel
    np.testing.assert_allclose(plain, [2, -2, 0, -2])
    guided = viz.guided_backprop(net, image).values.ravel()
    np.testing.assert_allclose(guided, [2, 0, 0, 0])  # negative ones are stopped at the second ReLU
    # deconvnet asks only for the sign: 2 * 1 - 3 * 1 < 0, - 3 * 1 < 0, 2 - 3 < 0, nothing
    np.testing.assert_allclose(viz.deconvnet(net, image).values.ravel(), [0, 0, 0, 0])
    net.layers[-1].set_weights([np.array([1.0, 0, -1, 0, 1, 0, 1, 0])[:, None]])
    np.testing.assert_allclose(viz.guided_backprop(net, image).values.ravel(), [2, 0, 0, 2])
    # even where x was negative
    np.testing.assert_allclose(viz.deconvnet(net, image).values.ravel(), [2, 0, 2, 2])


def test_deconvnet_sends_pools_back_to_their_maxima():
    inputs = keras.Input((4, 4, 1))
    x = L.MaxPooling2D(2, name="pool")(L.ReLU(name="relu")(inputs))
    net = keras.Model(inputs, L.Dense(1, use_bias=False, name="predictions")(L.Flatten(name="f")(x)))
    net.set_weights([np.array([[1.0], [2.0], [-3.0], [4.0]])])
    image = np.zeros((4, 4, 1), "float32")
    image[1, 0], image[0, 3], image[2, 1], image[3, 3] = 1, 1, 1, 1
    expected = np.zeros((4, 4))
    expected[1, 0], expected[0, 3], expected[3, 3] = 1, 2, 4
    np.testing.assert_allclose(viz.deconvnet(net, image).array, expected)


def test_relus_of_every_kind_are_found_and_the_model_is_untouched(net, image):
    inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(2, 3, activation="relu6", name="a")(inputs)
    x = keras.ops.relu(L.Conv2D(2, 1, name="b")(x))
    x = L.Activation("relu", name="c")(L.DepthwiseConv2D(1, name="d")(x))
    x = L.ReLU(max_value=6, name="e")(L.Conv2D(2, 1, name="f")(x))
    net_ = nets.seeded(keras.Model(inputs, L.GlobalAveragePooling2D(name="g")(x)))
    swap = attribution._swap_relus(reading.Net(net_), lambda above, is_open: above)
    assert len(swap) == 4
    one = nets.image((8, 8, 1))
    before, weights = read(net_(one[None])), net_.get_weights()
    viz.guided_backprop(net_, one), viz.deconvnet(net_, one)
    assert net_.get_layer("a").activation is keras.activations.relu6
    np.testing.assert_array_equal(read(net_(one[None])), before)
    assert all(np.array_equal(a, b) for a, b in zip(weights, net_.get_weights(), strict=True))
    smooth = keras.Model(inputs, L.GlobalAveragePooling2D()(L.Conv2D(2, 3, activation="silu")(inputs)))
    with pytest.raises(ValueError, match="no ReLU .* silu"):
        viz.guided_backprop(smooth, one)


def test_the_layer_is_the_last_map_before_the_global_pool():
    for name, layer in {"VGG16": "block5_pool", "MobileNetV2": "out_relu", "InceptionV3": "mixed10"}.items():
        model = plan(getattr(keras.applications, name), weights=None)
        assert reading.Net(model).last_map().name == layer
    assert reading.Net(plan(models.ResNetCIFAR, 8)).last_map().name == "conv4_block1_out"
    assert reading.Net(nets.segmenter()).last_map().name == "mid_conv"
    inputs = keras.Input((8, 8, 3))
    flat = keras.Model(
        inputs, L.Conv2D(2, 1, name="mask")(L.Conv2D(4, 3, padding="same", name="body")(inputs))
    )
    assert reading.Net(flat).last_map().name == "body"


@pytest.mark.parametrize(
    "name, side, layer",
    [
        ("InceptionV3", 75, "mixed7"),  # mixed8 reads it by three branches, and pools to 1 x 1
        ("InceptionResNetV1", 75, "block17_10_ac"),
        ("ResNet50V2", 32, "conv4_block5_out"),
        ("ResNeXt50", 32, "conv4_block6_out"),
        ("ShuffleNet", 32, "stage3_block8_out"),
        ("ShuffleNetV2", 32, "stage3_block8_out"),
    ],
)
def test_the_map_of_class_activation_maps_is_on_every_way(name, side, layer):
    net = graph.blueprint(getattr(models, name), input_shape=(side, side, 3), classes=10)
    assert reading.Net(net).last_map().name == layer


def test_the_map_of_class_activation_maps_of_two_inputs_of_a_cell():
    """As in NASNet, whose cells read two: no map of the coarsest stride is on every way, so it is the last merge."""
    x = image = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, padding="same", name="stem")(x)
    x, before = L.MaxPooling2D(2, name="pool")(x), L.Conv2D(4, 1, 2, name="beside")(x)
    for i in (1, 2):
        x, before = L.Add(name=f"cell{i}")([L.Conv2D(4, 1)(x), L.Conv2D(4, 1)(before)]), x
    x = L.Add(name="reduced")([L.Conv2D(4, 4, name="last")(x), L.Conv2D(4, 4, name="passes")(before)])
    net = keras.Model(image, L.Dense(2)(L.Flatten()(x)))
    assert reading.Net(net).last_map().name == "cell2"


def test_heat_stands_where_the_units_look():
    """One bright pixel, two convolutions with stride 2 and no padding: the map's peak lies on the pixel."""
    inputs = keras.Input((41, 41, 1))
    x = L.Conv2D(1, 5, 2, activation="relu", name="a")(inputs)
    x = L.Conv2D(1, 5, 2, activation="relu", name="b")(x)
    net = keras.Model(inputs, L.Dense(1, name="predictions")(L.GlobalAveragePooling2D(name="p")(x)))
    bump = np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1.0])[..., None, None]
    net.set_weights([bump, np.zeros(1), bump, np.zeros(1), np.ones((1, 1)), np.zeros(1)])
    for place in ((10, 30), (18, 14)):  # units' centres: 6 + 4 i
        image = np.zeros((41, 41, 1), "float32")
        image[place] = 1
        assert np.unravel_index(viz.grad_cam(net, image).array.argmax(), (41, 41)) == place


def test_a_region_of_a_map_of_classes():
    net, image = nets.segmenter(), nets.image((16, 16, 3))
    mask = np.zeros((16, 16), bool)
    mask[3:6, 8:12] = True
    straight = keras.Model(net.input, L.Conv2D(3, 1)(net.get_layer("dec1_cat").output))
    straight.layers[-1].set_weights(net.layers[-1].get_weights())
    found = viz.saliency(net, image, target=2, mask=mask)
    assert found.question.score == pytest.approx(
        float(read(straight(image[None]))[0, ..., 2][mask].mean()), rel=1e-4
    )
    seen = np.argwhere(found.array)  # 3x3, pool, 3x3, enlargement: at most 4 or 5 pixels beyond the region
    assert seen.min() >= 0 and (seen.max(0) <= (10, 16)).all() and found.array[:3].any()
    assert not found.array[12:].any()
    predicted = read(net(image[None]))[0].argmax(-1)
    common = np.bincount(predicted.ravel()).argmax()
    q = viz.saliency(net, image).question
    assert q.target == common and np.array_equal(q.mask, predicted == common)
    assert viz.grad_cam(net, image, mask=mask).layer == "mid_conv"
    assert viz.integrated_gradients(net, image, target=1, mask=mask).completeness < 0.01
    for bad, message in ((mask[:8], "height, width"), (mask & False, "no pixel")):
        with pytest.raises(ValueError, match=message):
            viz.saliency(net, image, mask=bad)


def test_every_attribution_shows_itself(net, image):
    for name in attribution.METHODS:
        found = getattr(viz, name)(net, image, names=list("abcde"))
        assert found.array.shape == (16, 20) and np.isfinite(found.array).all()
        assert repr(found).startswith("Attribution: ") and found.question.label in "abcde"
    assert found._repr_png_().startswith(b"\x89PNG")
    both = viz.beside(found, viz.saliency(net, image), titles=["one", "two"])
    assert [a.get_title() for a in both.figure().axes] == ["image", "one", "two"]
    assert both._repr_png_().startswith(b"\x89PNG")


def test_what_cannot_be_asked(net, image):
    def refused(message, *arguments, method=viz.grad_cam, **options):
        with pytest.raises(ValueError, match=message):
            method(*arguments, **options)

    refused("no layer 'conv2_ou'.*conv2_out", net, image, "conv2_ou")
    refused("predictions of cam_net has no map.*last map before it is conv2_out", net, image, "predictions")
    refused("class from 0 to 4.*got 5", net, image, target=5)
    refused("class from 0 to 4.*got 'cat'", net, image, target="cat")
    refused(r"takes images of shape \(16, 20, 3\), got \(20, 16, 3\)", net, np.swapaxes(image, 0, 1))
    refused("one image .* got an array of shape", net, np.zeros((2, 16, 20, 3)))
    refused("finite numbers", net, np.full((16, 20, 3), np.nan))
    refused("does not scale its input", net, np.zeros((16, 20, 3), "uint8"))
    refused("applied already", net, image, preprocess=lambda x: x)
    refused("a mask is for a net whose output is a map", net, image, mask=np.ones((16, 20)))
    refused(
        "patch's side in pixels, is a whole number from 1 to 16", net, image, method=viz.occlusion, size=17
    )
    refused(
        "step, pixels between patches, is a whole number from 1 to 3, got 4",
        net,
        image,
        method=viz.occlusion,
        size=3,
        step=4,
    )
    refused("fill is a number, or one for each of 3", net, image, method=viz.occlusion, fill=[0, 0])
    refused(
        r"like the image, \(16, 20, 3\), got \(8, 20, 3\)",
        net,
        image,
        method=viz.integrated_gradients,
        baseline=image[:8],
    )
    scaled = keras.Sequential([keras.Input((16, 20, 3)), L.Rescaling(1 / 255, name="scale"), net])
    refused("begins with scale: it takes values from 0 to 255", scaled, np.full((16, 20, 3), 0.5, "float32"))
    two = keras.Input((4, 4, 1)), keras.Input((4, 4, 1))
    refused("must take one image", keras.Model(two, L.Flatten()(two[0] + two[1])), image)


def test_a_question_asks_the_net_once(net, image, monkeypatch):
    from cnnbook.viz.why.question import Question

    runs, run = [], reading.Net.run
    monkeypatch.setattr(reading.Net, "run", lambda *a, **k: runs.append(a) or run(*a, **k))
    q = Question(net, image, target=2)
    assert len(runs) == 1
    assert q.score == pytest.approx(float(q.scores(q.x)[0])) and len(runs) == 2
    assert q.probability == pytest.approx(float(read(net(image[None]))[0, 2]), rel=1e-4)
