"""Diagrams: what is drawn is what the graph holds, and nothing lies on anything else."""

import functools
import itertools

import keras
import pytest
from helpers import nets, zoo
from keras import layers as L

from cnnbook import graph, models, viz
from cnnbook.parts import blocks
from cnnbook.viz.diagrams import elements, structure, u_shape
from cnnbook.viz.diagrams import rows as net_rows
from cnnbook.viz.diagrams.paint import Line, Rect, Words, width

pytestmark = pytest.mark.jax

BUILDERS = ("ResNet50", "GoogLeNet", "DenseNet121", "UNet", "MobileNetV3Small")
# Those that have most to say: they are set closer, or told in words in part.
LARGE = (
    "SKNet50",
    "ResNeSt50",
    "InceptionV3",
    "InceptionV4",
    "InceptionResNetV2",
    "EfficientNetB0",
    "ShuffleNetV2",
    "DeconvNet",
)


@pytest.fixture(scope="module")
def drawn():
    """Diagrams of big nets, each made once and without memory for weights."""
    made = {}

    def draw(name):
        if name not in made:
            size = {
                key: zoo.SMALL[name][key] for key in ("depth", "growth") if key in zoo.SMALL.get(name, ())
            }
            made[name] = viz.diagram(zoo.plan(getattr(models, name), **size))
        return made[name]

    return draw


def texts(diagram):
    return [item.text for item in diagram.page.of(Words)]


def boxes(diagram, what):
    """How many layers' boxes have `what` in their first line."""
    layers = [r.of for r in diagram.page.of(Rect) if isinstance(r.of, elements.Layer)]
    return sum(what in layer.what for layer in layers)


def apart(a, b, room=0.0):
    return a[2] <= b[0] + room or b[2] <= a[0] + room or a[3] <= b[1] + room or b[3] <= a[1] + room


def inside(a, b):
    return a[0] >= b[0] and a[1] >= b[1] and a[2] <= b[2] and a[3] <= b[3]


OTHERS = sorted({*models.BUILDERS} - {*BUILDERS, *LARGE})


@pytest.mark.parametrize(
    "name", [*BUILDERS, *LARGE, *(pytest.param(n, marks=pytest.mark.every_variant) for n in OTHERS)]
)
def test_nothing_lies_on_anything_else(drawn, name):
    page = drawn(name).page
    rects, words = [r for r in page.of(Rect) if r.of is not None], page.of(Words)
    for a, b in itertools.combinations(rects, 2):
        assert apart(a.box, b.box) or inside(a.box, b.box) or inside(b.box, a.box), (a.of, b.of)
    for a, b in itertools.combinations(words, 2):
        assert apart(a.box, b.box), (a.text, b.text)
    for word in words:
        left, top, right, bottom = word.box
        assert left >= 0 and top >= 0 and right <= page.width and bottom <= page.height, word.text
        middle = (left + right) / 2, (top + bottom) / 2
        home = [r for r in rects if r.box[0] < middle[0] < r.box[2] and r.box[1] < middle[1] < r.box[3]]
        assert all(inside((left, top + 3, right, bottom - 3), r.box) for r in home), word.text
    for x, y in (point for line in page.of(Line) for point in line.points):
        assert 0 <= x <= page.width and 0 <= y <= page.height
    assert page.width <= net_rows.PAGE[0] and page.height <= net_rows.PAGE[1]


@pytest.mark.parametrize("name", [n for n in LARGE if n != "DeconvNet"])
def test_rows_hold_every_parameter(drawn, name):
    total = graph.totals(zoo.plan(getattr(models, name)))["params"]
    assert sum(row["params"] for row in drawn(name).rows) == total


def test_resnet_50_is_table_1(drawn):
    diagram = drawn("ResNet50")
    assert diagram.blocks == [
        f"conv{s}_block{b}" for s, n in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True) for b in range(1, n + 1)
    ]
    assert [t for t in texts(diagram) if t.startswith("×")] == ["×2", "×3", "×5", "×2"]
    shown = texts(diagram)
    assert {"conv2_block2 … 3", "conv3_block2 … 4", "conv4_block2 … 6", "conv5_block2 … 3"} <= set(shown)
    # of each stage its first block with a projection, and the others once, with the identity
    assert boxes(diagram, "+") == 8 and sum(line.skip for line in diagram.page.of(Line)) == 4
    assert boxes(diagram, "conv") == 1 + 4 * (4 + 3) and boxes(diagram, "dense") == 1
    rows = diagram.rows
    assert [row["size"] for row in rows] == [(112, 112), (56, 56), (28, 28), (14, 14), (7, 7), None]
    assert [row["output"][-1] for row in rows] == [64, 256, 512, 1024, 2048, 1000]
    assert [row["receptive field"] for row in rows[:-1]] == [(n, n) for n in (7, 35, 99, 291, 483)]
    assert sum(row["params"] for row in rows) == 25_557_032
    assert {"7", "35", "99", "291", "483", "all", "14 × 14", "conv4"} <= set(shown)


def test_shapes_follow_the_model():
    net = models.ResNetCIFAR(14, input_shape=(24, 40, 3), widths=(4, 6, 8))
    changed = viz.diagram(net)
    assert {"24 × 40", "12 × 20", "6 × 10"} <= set(texts(changed)) and changed.rows[1]["output"] == (
        12,
        20,
        6,
    )
    free = viz.diagram(models.ResNetCIFAR(8, input_shape=(None, None, 3), widths=(4, 4, 4)))
    assert "? × ?" in texts(free) and len(free.rows) == 4  # rows by stride, where the size is free


def test_another_norm_changes_no_drawing(drawn):
    """Normalisation is not drawn, whichever it is."""
    norm = functools.partial(L.GroupNormalization, 8)
    net = graph.blueprint(models.ResNet50, norm=norm)
    assert len(viz.diagram(net).page.of(Rect)) == len(drawn("ResNet50").page.of(Rect))
    assert {row.group for row in graph.trace(net) if row.kind == "GroupNormalization"} == {"norm"}


def test_googlenet_draws_a_module_once(drawn):
    diagram = drawn("GoogLeNet")
    assert len(diagram.blocks) == 9 and diagram.blocks[0] == "inception3a"
    assert boxes(diagram, "concat") == 1 and boxes(diagram, "5×5 conv") == 1
    shown = texts(diagram)
    # Table 1, behind the pools of 3b to 4d and of 4e to 5b; the module that is drawn, 3a, has 32
    assert "pool → 64" in shown and "pool → 128" in shown and "pool → 32" not in shown
    # Table 1, 4b; three branches of eight modules
    assert "112 → 224" in shown and sum("→" in t for t in shown) == 8 * 3
    with_heads = viz.diagram(zoo.plan(models.GoogLeNet, auxiliary=True))
    assert with_heads.blocks == diagram.blocks
    assert [t for t in texts(with_heads) if t.startswith("not drawn: ")]


def test_densenet_is_dense_blocks_and_transitions(drawn):
    diagram = drawn("DenseNet121")
    assert [t for t in texts(diagram) if t.startswith("×")] == ["×6", "×12", "×24", "×16"]
    assert len(diagram.blocks) == 6 + 12 + 24 + 16 and boxes(diagram, "concat") == 4
    # channels before and behind the dense blocks
    assert {"64", "256", "128", "512", "1024"} <= set(texts(diagram))
    assert boxes(diagram, "avg pool") == 3  # transitions


def test_unet_is_a_u(drawn):
    diagram = drawn("UNet")
    skips = [line for line in diagram.page.of(Line) if line.skip]
    assert len(skips) == 4 and texts(diagram).count("copy, crop") == 4
    assert all(line.points[0][0] < line.points[-1][0] for line in skips)
    lengths = [line.points[-1][0] - line.points[0][0] for line in skips]
    assert lengths == sorted(lengths)  # the deepest first, the longest above
    assert {"568×568×64", "28×28×1024", "388×388×2", "sees 140 px"} <= set(texts(diagram))
    place = {id(r.of): r for r in diagram.page.of(Rect)}
    layers = [r.of for r in place.values() if isinstance(r.of, elements.Layer)]
    low = max(layers, key=lambda layer: place[id(layer)].y)
    assert low.row.name == "down5_2_conv"
    left, right = (next(x for x in layers if x.row.name == n) for n in ("down2_1_conv", "up2_1_conv"))
    assert place[id(left)].x < place[id(low)].x < place[id(right)].x
    assert abs(place[id(left)].y - place[id(right)].y) < 60  # the same level


def test_other_nets_that_enlarge_their_maps():
    fcn, *_ = structure.boxes(zoo.plan(models.FCN8s))
    groups, skips = u_shape.read(fcn)
    assert [g.stride for g in groups] == [1, 2, 4, 8, 16, 32, 16, 8, 1]
    assert [(s.row.stride[0], [w.what for w in way]) for s, way, _ in skips] == [
        (16, ["1×1 conv"]),
        (8, ["1×1 conv"]),
    ]
    switches = viz.diagram(zoo.plan(models.DeconvNet))
    assert texts(switches).count("switches") == 4 and boxes(switches, "unpool") == 5
    nested_u, *_ = structure.boxes(zoo.plan(models.UNetPlusPlus))
    groups, skips = u_shape.read(nested_u)
    assert len(groups) == 15 and len(skips) == 4 * 1 + 3 * 2 + 2 * 3 + 1 * 4
    on_resnet = viz.diagram(zoo.plan(models.UNet, padding="same", backbone="ResNet18"))
    assert sum(line.skip for line in on_resnet.page.of(Line)) == 4 and len(on_resnet.blocks) == 8


def test_nested_and_sequential_nets_are_read_through():
    net = nets.cam_net()
    plain = viz.diagram(net)
    assert boxes(plain, "+") == 1 and len(plain.blocks) == 1
    for other in nets.nested(net):
        drawn = viz.diagram(other)
        assert boxes(drawn, "+") == 1 and boxes(drawn, "conv") == boxes(plain, "conv") == 3
        assert [row["params"] for row in drawn.rows] == [row["params"] for row in plain.rows]


def test_twins_of_keras_and_bare_operations():
    twin = viz.diagram(zoo.plan(keras.applications.MobileNetV2, weights=None))
    assert len(twin.blocks) == 16 and "block_4" in twin.blocks and "block_3" in twin.blocks
    # the ten that have a shortcut come in five groups of equal ones
    assert sum(line.skip for line in twin.page.of(Line)) == 5 and boxes(twin, "+") == 5
    inputs = keras.Input((8, 8, 2))
    x = L.Conv2D(2, 3, padding="same")(inputs)
    model = keras.Model(inputs, keras.ops.relu(x + inputs) * 2, name="bare")
    assert boxes(viz.diagram(model), "+") == 1


def test_branches_that_cross_are_counted():
    x = inputs = keras.Input((8, 8, 4), name="image")
    before = x
    for cell in (1, 2):  # each reads the two before it, as NASNet's do
        a, b = (
            L.Conv2D(4, k, padding="same", name=f"cell{cell}_conv{k}")(t) for k, t in ((1, before), (3, x))
        )
        before, x = x, L.Concatenate(name=f"cell{cell}_concat")([a, L.Add(name=f"cell{cell}_add")([a, b])])
    drawn = viz.diagram(keras.Model(inputs, L.Concatenate(name="out")([before, x]), name="crossing"))
    assert {"2 1×1 conv", "2 3×3 conv"} <= set(texts(drawn)) or len(drawn.blocks) == 2


def test_squeeze_and_excitation_is_one_box():
    inputs = keras.Input((16, 16, 4), name="image")
    x = inputs
    for name in ("conv2_block1", "conv2_block2"):
        y = L.Conv2D(4, 3, padding="same", name=f"{name}_conv")(x)
        x = L.Add(name=f"{name}_add")([x, blocks.squeeze_excite(y, 2, name=f"{name}_se")])
    net = viz.diagram(keras.Model(inputs, x, name="se"))
    assert (
        boxes(net, "squeeze") == 1 and net.blocks == ["conv2_block1", "conv2_block2"] and "×2" in texts(net)
    )


def test_what_is_left_out_of_a_large_net_is_told(drawn):
    """A block in words has its numbers, in the order of its branches, and the legend says that this is in short."""
    for name in ("SKNet50", "InceptionResNetV2"):
        assert sum(t == net_rows.IN_SHORT for t in texts(drawn(name))) == 1
    select = drawn("SKNet50")
    assert "256 → (256 in 32 | 256 in 32) → attention → 256 → 512" in texts(select)
    # one drawn for each kind of block
    assert boxes(select, "sum splits") == 3 and select.blocks[-1] == "conv5_block3"
    assert [t for t in texts(select) if t.startswith("×")] == ["×2", "×3", "×5", "×2"]
    other = drawn("InceptionResNetV2")
    assert {"256 → 256 → 384, /2", "384, /2"} <= set(texts(other))
    fourth = drawn("InceptionV4")
    assert net_rows.IN_SHORT not in texts(fourth)
    # three of the stem, five kinds of block, the last with two concatenations inside
    assert boxes(fourth, "concat") == 3 + 5 + 2
    shown = drawn("EfficientNetB0")
    assert net_rows.IN_SHORT not in texts(shown) and boxes(shown, "squeeze") == 12  # closer is enough


def test_one_block_layer_by_layer():
    net = zoo.plan(models.ResNet50)
    block = viz.diagram(net, block="conv4_block1")
    layers = [r.of for r in block.page.of(Rect) if r.of is not None]
    assert sorted(layer.row.name for layer in layers) == sorted(
        row.name for row in graph.trace(net) if row.name.startswith("conv4_block1_")
    )
    assert {"28×28×512", "14×14×1024", "1×1 conv, 1024, /2", "batch norm", "ReLU"} <= set(texts(block))
    assert not any(line.skip for line in block.page.of(Line))
    identity = viz.diagram(net, block="conv4_block2")
    assert sum(line.skip for line in identity.page.of(Line)) == 1 and identity.blocks == ["conv4_block2"]
    assert "the identity" in identity.alt and "3×3 conv 256" in identity.alt
    inside = viz.diagram(net, block="conv4_block2_add")  # a layer of it stands for its block
    assert {"1×1 conv, 256", "+"} <= set(texts(inside))
    both = block.beside(identity)
    assert both.page.width == block.page.width + identity.page.width
    assert len(both.page.items) == len(block.page.items) + len(identity.page.items)
    with pytest.raises(ValueError, match="no block 'conv9'.*conv2_block1"):
        viz.diagram(net, block="conv9")


def test_a_text_is_as_wide_as_its_font_says():
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    for text in ("3×3 conv", "local response norm", "112 → 224", "conv2_block2 … 3", "64, /2"):
        for bold in (False, True):
            font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=10.5)
            rendered = TextToPath().get_text_width_height_descent(text, font, ismath=False)[0]
            assert width(text, 10.5, bold) == pytest.approx(rendered, rel=0.02)
    assert width("卷") == 10.5  # what the font lacks counts as a square


def test_it_shows_itself(drawn, tmp_path):
    from xml.etree import ElementTree

    diagram = drawn("GoogLeNet")
    svg = diagram._repr_svg_()
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img" and root.get("aria-label") == diagram.alt
    found = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert found == texts(diagram) and len(svg) < 60_000
    # no ids, no dates: equal outputs for equal nets
    assert svg == viz.diagram(graph.blueprint(models.GoogLeNet)).svg()
    assert diagram._repr_png_().startswith(b"\x89PNG") and repr(diagram) == f"Diagram: {diagram.alt}"
    diagram.save(tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text("utf-8") == svg
    two = keras.Input((4, 4, 1)), keras.Input((4, 4, 1))
    with pytest.raises(ValueError, match="begins with one image"):
        viz.diagram(keras.Model(two, L.Add()(two)))
