"""Films and browsers: frames are what the net computed at that epoch, and the page needs nothing but itself."""

import base64
import io
import json
import re

import keras
import numpy as np
import pytest
from helpers import nets
from keras import layers as L

from cnnbook import training, viz
from cnnbook.viz.inside import film as films

pytestmark = [pytest.mark.jax, pytest.mark.torch]

read = keras.ops.convert_to_numpy


def small(classes=3):
    inputs = keras.Input((12, 12, 1), name="image")
    x = L.Conv2D(5, 3, padding="same", name="conv1_conv")(inputs)
    x = L.BatchNormalization(momentum=0.2, name="conv1_bn")(x)  # six steps are enough for its averages
    x = L.ReLU(name="conv1_relu")(x)
    x = L.Conv2D(6, 3, 2, padding="same", activation="relu", name="conv2_conv")(x)
    x = L.GlobalAveragePooling2D(name="pool")(x)
    return nets.seeded(keras.Model(inputs, L.Dense(classes, activation="softmax", name="p")(x), name="small"))


@pytest.fixture(scope="module")
def trained():
    x, y = nets.image((24, 12, 12, 1)), np.arange(24) % 3
    model = small()
    start = [read(v.value).copy() for v in model.weights]
    seen = viz.Film(x[0], ["conv1", "conv2_conv"], filters="conv1_conv", channels=4)
    history = training.fit(
        model, x, y, epochs=3, batch_size=12, validation=(x, y), callbacks=[seen], verbose=False
    )
    return model, x, seen, history, start


def page(html):
    """(frames, labels) of a page's script."""
    frames, labels = re.search(r"var frames = (\[.*?\]), labels = (\[.*?\]);", html, re.S).groups()
    return [base64.b64decode(f) for f in json.loads(frames)], json.loads(labels)


def controls(html):
    """What the page's script puts below the picture."""
    return json.loads(re.search(r'row\.innerHTML = (".*?");\n', html)[1])


def test_frames_are_what_the_net_was(trained):
    model, x, film, history, start = trained
    assert film.epochs == [0, 1, 2, 3] and film.labels == ["before training", "epoch 1", "epoch 2", "epoch 3"]
    assert {name: maps.shape for name, maps in film.maps.items()} == {
        "conv1_relu": (4, 12, 12, 4), "conv2_conv": (4, 6, 6, 4),
    }  # fmt: skip
    np.testing.assert_allclose(
        film.array[-1], viz.feature_maps(model, x[0], "conv1_relu").array[..., :4], atol=1e-6
    )
    np.testing.assert_array_equal(film.kernels[-1], read(model.get_layer("conv1_conv").kernel)[..., :4])
    np.testing.assert_array_equal(film.kernels[0], start[0][..., :4])
    fresh = small()
    for variable, old in zip(fresh.weights, start, strict=True):
        variable.assign(old)
    np.testing.assert_allclose(
        film.array[0], viz.feature_maps(fresh, x[0], "conv1_relu").array[..., :4], atol=1e-6
    )
    assert np.abs(film.array[1] - film.array[0]).max() > 1e-3  # it did learn between
    assert film.losses == {key: history.curves[key] for key in ("loss", "val_loss")}


def test_a_history_says_nothing_of_callbacks(trained):
    *_, history, _ = trained
    plain = training.fit(
        small(), trained[1], np.arange(24) % 3, epochs=3, batch_size=12, validation=(trained[1], np.arange(24) % 3),
        verbose=False,
    )  # fmt: skip
    assert history.settings == plain.settings and list(history.curves) == list(plain.curves)
    # watching changes nothing
    np.testing.assert_allclose(history.curves["loss"], plain.curves["loss"], rtol=1e-3)


def test_the_page_needs_nothing_but_itself(trained):
    film = trained[2]
    html = film._repr_html_()
    frames, labels = page(html)
    assert labels == film.labels and len(frames) == 4 and all(f.startswith(b"\x89PNG") for f in frames)
    assert "http" not in html and html.count("<script>") == 1 and len(html) < 300_000
    first, script = html.split("<script>")
    still = re.search(r'<img src="data:image/png;base64,(.*?)" alt="(.*?)"', first)
    # without scripts: the last frame,
    assert base64.b64decode(still[1]) == frames[-1] and "epoch 3" in still[2]
    # and what happens
    assert f"{film.sentence}</p>" in first and "the training loss goes from" in film.sentence
    assert "<button" not in first and "<input" not in first  # nothing to press where no script runs
    assert '<div class="cnnbook-replay-row"></div>' in first
    assert "<button" in controls(html) and 'type="range" min="0" max="3" value="3"' in controls(html)
    for needed in ("prefers-reduced-motion", "ArrowLeft", "ArrowRight", "aria-valuetext", "Pause"):
        assert needed in script
    assert film._repr_png_().startswith(b"\x89PNG") and repr(film) == f"Film: {film.alt}"

    from PIL import Image

    pictures = [np.asarray(Image.open(io.BytesIO(f)).convert("RGB")).astype(int) for f in frames]
    assert len({p.shape for p in pictures}) == 1
    moved = np.abs(pictures[0] - pictures[-1]).max(-1) > 40
    middle = len(moved) // 3
    assert moved[:middle].any() and moved[middle:].any()  # the line of the epoch, and the maps


def test_a_long_training_keeps_few_frames():
    x, y = nets.image((6, 12, 12, 1)), np.arange(6) % 3
    film = viz.Film(x[0], "conv2_conv", frames=4)
    training.fit(small(), x, y, epochs=9, callbacks=[film], verbose=False)
    assert film.epochs == [0, 3, 6, 9] and len(film.losses["loss"]) == 9 and len(film.array) == 4
    assert film.kernels is None and "val_loss" not in film.losses


def test_one_strong_frame_does_not_darken_the_others():
    film = viz.Film(None, "conv1")
    maps = np.abs(nets.image((5, 8, 8, 2)))
    film.maps, film.epochs = {"conv1": np.concatenate([100 * maps[:1], maps[1:]])}, [0, 1, 2, 3, 4]
    (strip,) = film.strips().values()
    spreads = strip.std((1, 2)).max(-1)
    assert spreads[1:].min() > 0.1 and strip.shape[0] == 5


def test_large_maps_are_averaged_down():
    maps = np.arange(100 * 100, dtype="float32").reshape(100, 100, 1)
    found = films.reduced(maps)
    assert found.shape == (33, 33, 1)
    assert found[0, 0, 0] == maps[:3, :3].mean()
    np.testing.assert_array_equal(films.reduced(maps[:48, :40]), maps[:48, :40])


def test_browse_goes_through_the_stages():
    net, image = nets.cam_net(), nets.image((16, 20, 3))
    found = viz.browse(net, image)
    assert found.labels == ["conv1_relu", "pool1", "conv2_out"]
    np.testing.assert_allclose(
        found.array["conv2_out"], viz.feature_maps(net, image, "conv2_out").array, atol=1e-6
    )
    html = found._repr_html_()
    frames, labels = page(html)
    assert labels == found.labels and len(frames) == 3 and "!false" in html  # a slider, no play button
    assert "from conv1_relu to conv2_out" in found.sentence and found._repr_png_().startswith(b"\x89PNG")
    nested = viz.browse(nets.nested(net)[0], image, layers=["conv2", "conv1"], most=3)
    assert nested.labels == ["conv2", "conv1"]


def test_the_field_explorer_has_the_boxes_of_receptive_field():
    net, image = nets.cam_net(), nets.image((16, 20, 3))
    found = viz.field_explorer(net, image)
    assert list(found.fields) == ["conv1_relu", "pool1", "conv2_out"]
    for layer, box in zip(found.fields, found.array, strict=True):
        assert tuple(box) == viz.receptive_field(net, image, layer).box
    assert found.box("conv2_out", (3, 1)) == viz.receptive_field(net, image, "conv2_out", (3, 1)).box
    html = found._repr_html_()
    layers = json.loads(re.search(r"var layers = (\[.*?\]), side = \[16, 20\];", html)[1])
    assert [layer["name"] for layer in layers] == list(found.fields) and layers[2]["stride"] == [2, 2]
    assert "http" not in html and len(html) < 80_000
    assert found._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="has no map"):
        viz.field_explorer(net, image, "predictions")


def test_without_scripts_and_on_paper_the_explorer_is_a_figure():
    net, image = nets.cam_net(), nets.image((16, 20, 3))
    found = viz.field_explorer(net, image)
    before, script = found._repr_html_().split("<script>")
    still = re.search(r'<img src="data:image/png;base64,(.*?)" alt="(.*?)"', before)
    assert all(f"{n} {' x '.join(map(str, f['field']))}" in still[2] for n, f in found.fields.items())
    from PIL import Image

    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(still[1]))).convert("RGB")).astype(int)
    orange = np.abs(drawn - (213, 94, 0)).max(-1) < 30  # a box in each layer's panel
    thirds = [third.any(0).sum() for third in np.array_split(orange, 3, axis=1)]
    assert drawn.shape[1] > 500 and 0 < thirds[0] < thirds[1] < thirds[2]  # 3, 4 and 8 pixels
    assert f"{found.sentence}</p>" in before
    assert "position" not in before  # a page that drops styles (GitHub) shows it as well
    live = json.loads(re.search(r'innerHTML = (".*?");\n', script)[1])
    assert live.count("<option") == 3 and "move the mouse" in live and "arrow keys" in live
    assert not [part for part in ("<select", "<output", "tabindex", "move the mouse") if part in before]
    paper = re.search(r"<style>@media print\{(.*?)\}</style>", before)[1]
    assert ".cnnbook-field-live{display:none!important}" in paper
    assert ".cnnbook-field-still{display:block!important}" in paper


def test_a_name_may_hold_anything():
    net = nets.cam_net()
    odd = keras.Model(net.input, net.output, name='a"<b>')
    html = viz.browse(odd, nets.image((16, 20, 3)), "conv2")._repr_html_()
    assert "<b>" not in html and "a&quot;&lt;b&gt;" in html and r"a\"\u003cb>" in html


def test_a_wrong_layer_is_told_before_training():
    film = viz.Film(nets.image((12, 12, 1)), "conv9")
    with pytest.raises(ValueError, match="no layer 'conv9'"):
        training.fit(
            small(), nets.image((6, 12, 12, 1)), np.arange(6) % 3, epochs=1, callbacks=[film], verbose=False
        )


def test_frames_between_two_epochs():
    x, y = nets.image((24, 12, 12, 1)), np.arange(24) % 3
    film = viz.Film(x[0], "conv2_conv", per_epoch=2)
    model, early = small(), []

    def look(batch, logs):
        if keras.backend.backend() == "jax":
            model.jax_state_sync()
        early.append(viz.feature_maps(model, x[0], "conv2_conv").array[..., : film.channels])

    look = keras.callbacks.LambdaCallback(on_train_batch_end=look)
    training.fit(model, x, y, epochs=2, batch_size=4, callbacks=[film, look], verbose=False)
    assert film.epochs == [0, 0.5, 1, 1.5, 2]
    assert film.labels == ["before training", "epoch 0.5", "epoch 1", "epoch 1.5", "epoch 2"]
    np.testing.assert_allclose(film.array[1], early[2], atol=1e-6)  # three of six batches
    np.testing.assert_allclose(film.array[3], early[8], atol=1e-6)
    assert len(page(film._repr_html_())[0]) == 5
    plain = viz.Film(x[0], "conv2_conv")
    by_batch = "on_train_batch_end"
    assert getattr(type(plain), by_batch) is getattr(keras.callbacks.Callback, by_batch)


def test_few_frames_of_many_are_spread_over_the_training():
    x, y = nets.image((12, 12, 12, 1)), np.arange(12) % 3
    film = viz.Film(x[0], "conv2_conv", per_epoch=3, frames=3)
    training.fit(small(), x, y, epochs=2, batch_size=4, callbacks=[film], verbose=False)
    assert film.epochs == [0, 1, 2]


def test_a_map_that_ends_at_0_is_not_drawn(trained):
    film = viz.Film(trained[1][0], "conv2_conv", channels=4)
    maps = np.ones((2, 6, 6, 4), "float32")
    maps[-1, ..., 2] = 0
    film.maps, film.epochs = {"conv2_conv": maps}, [0, 1]
    assert list(film.strips()) == ["conv2_conv, maps 0 to 3 without 1 that end at 0"]
    maps[-1] = 0  # where all do, they are all drawn
    assert list(film.strips()) == ["conv2_conv, maps 0 to 3"]
