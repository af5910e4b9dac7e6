"""A network on one page, as its paper draws it, read from the model: `diagram(ResNet50())`.

A row for each map size, boxes for layers, frames for blocks with their shortcuts and branches, repeats once (×3). Nets
that enlarge their maps again (U-Net, FCN) stand as a U, a level for each stride. `block=` draws one block, layer by layer.

Three steps: `structure` reads `elements` from a model; `rows` and `u_shape` place them on a page, by `layout`; `paint`
writes the page as SVG or draws it with matplotlib.
"""

from ... import graph
from . import rows, u_shape
from .elements import Layer, in_words, label, name_of, single
from .paint import Drawing, side_by_side
from .structure import bands, boxes, chain, gates, levels, named, of_block


class Diagram(Drawing):
    """`.page`: boxes, lines and words with their places. `.rows`: what the rows say, a dict for each map size.
    `.blocks`: the net's blocks by name, repeats each. `.svg()`: the drawing as text; `.figure()`: matplotlib."""

    def __init__(self, name, page, rows, blocks, alt):
        super().__init__(page, alt)
        self.name, self.rows, self.blocks = name, rows, blocks

    def beside(self, *others):
        """This diagram and others in one: `diagram(a, block="conv2_block1").beside(diagram(b, block="conv2_block1"))`."""
        drawn = [self, *others]
        page, rows = side_by_side([d.page for d in drawn]), [row for d in drawn for row in d.rows]
        name, blocks = ", ".join(d.name for d in drawn), [b for d in drawn for b in d.blocks]
        return Diagram(name, page, rows, blocks, "; ".join(d.alt for d in drawn))


def diagram(model, *, block=None):
    """The network on one page: a row for each size of its maps, blocks in frames, repeats once; what a unit sees, and
    parameters, beside. A net that enlarges its maps again is drawn as a U. One that would not fit the page (`rows.PAGE`) is
    set closer, then a block is written in words where one like it is drawn, and the legend says so.

    model: functional, Sequential or nested; `graph.blueprint(ResNet152)` needs no memory. block: the name of one block,
    "conv4_block2" (the beginning of its layers' names, or a layer inside it): that block alone, every layer of it. Shows
    itself as SVG, and as PNG where SVG is not trusted. ValueError for a net without one image as input, or for a block that
    is not in it.
    """
    if block is not None:
        layers = of_block(boxes(model, everything=True)[0], block, model.name)
        title = label(layers)
        page, elements = rows.block_page(layers, title)
        return Diagram(model.name, page, [], [title], f"{title} of {model.name}: {in_words(elements)}")
    layers, others, traced = boxes(model)
    total = graph.totals(model, traced)
    notes = [f"not drawn: {others} layers that lead to further outputs"] * bool(others)
    if u_shape.is_u(layers):
        page, groups = u_shape.u_page(model.name, total, layers, notes)
        sizes, elements = levels(groups), [element for group in groups for element in group.elements]
    else:
        elements = named(gates([layers[0], *chain(layers[1:], layers[0])]))
        sizes = bands(elements)
        page = rows.rows_page(model.name, total, elements, sizes, notes)
    blocks = [name_of(element) for element in single(elements) if not isinstance(element, Layer)]
    alt = f"Diagram of {model.name}. " + "; ".join(
        f"{band.name()}: {in_words(band.elements)}" for band in sizes
    )
    return Diagram(model.name, page, [band.record() for band in sizes], blocks, alt)
