"""Layer stacks side by side, as papers draw them, read from the models: `stacks(AlexNet(), VGG16())`.

One column per network, one box per layer that changes numbers across pixels or classes. What belongs to the layer
before it has no box: activations, batch normalisation, dropout, padding, flattening.
"""

from dataclasses import dataclass

from ... import tables
from ...graph.rules import size_text
from .paint import FILLS, GREY, RULE, Drawing, Page, ink_on, width
from .rows import place_legend
from .structure import boxes

# pixels: a box at least, from one box to the next, what stands above the first, and the sizes on the left of a column
WIDTH, HEIGHT, PITCH, TOP, LEFT = 190, 24, 30, 74, 66


@dataclass(frozen=True)
class Box:
    """One layer of a stack. text: what the box says. size: its output's (height, width), None for a vector."""

    name: str
    kind: str
    text: str
    size: tuple | None


class Stacks(Drawing):
    """Stacks that show themselves. `.rows`: {model name: [Box, ...]}. `.svg()`, `.figure()`: the drawing."""

    def __init__(self, models):
        self.rows = {}
        for model in models:
            title, n = model.name, 2
            while title in self.rows:  # two forms of one network keep both columns
                title, n = f"{model.name} ({n})", n + 1
            self.rows[title] = [_box(layer) for layer in boxes(model)[0]]
        super().__init__(stacks_page(self.rows), self._in_words())

    def count(self, name, *kinds):
        """How many boxes of these kinds a stack has: count("vgg19", "conv") is 16."""
        return sum(box.kind in kinds for box in self.rows[name])

    def _in_words(self):
        parts = [
            f"{name}, {self.count(name, 'conv')} convolutions, {self.count(name, 'pool')} pools and "
            f"{self.count(name, 'dense')} dense layers"
            for name in self.rows
        ]
        return "Layer stacks side by side, one box per layer: " + "; ".join(parts) + "."

    def __repr__(self):
        lines = []
        for name, stack in self.rows.items():
            lines.append(f"{name}: {self.count(name, 'conv', 'dense')} weight layers")
            lines += [f"  {box.text}" for box in stack]
        return "\n".join(map(tables.printable, lines))


def _box(layer):
    size = layer.row.output_shape[:2] if len(layer.row.output_shape) == 3 else None
    return Box(layer.row.name, layer.kind, layer.text, size)


def stacks_page(stacks):
    """The page of {name: [Box, ...]}, a column each."""
    page = Page()
    texts = [box.text for stack in stacks.values() for box in stack]
    box_width = max([WIDTH, *(width(text, 12) + 12 for text in texts)])
    page.width, bottom = LEFT, TOP
    for name, stack in stacks.items():
        bottom = max(bottom, _place_stack(page, name, stack, page.width, box_width))
        page.width += box_width + LEFT
    page.width -= LEFT - 16
    place_legend(page, {box.kind for stack in stacks.values() for box in stack}, bottom + 8, size=11)
    return page


def _place_stack(page, name, stack, left, box_width):
    """One column from the top down, with output sizes on the left where they change; returns where it ends."""
    middle, before = left + box_width / 2, None
    depth = sum(box.kind in ("conv", "dense") for box in stack)
    page.words(middle, 22, name, 15, bold=True)
    page.words(middle, 44, f"{depth} weight layers", 11.5, color=GREY)
    centres = [TOP + PITCH * i for i in range(len(stack))]
    page.line((middle, centres[0]), (middle, centres[-1]), color=RULE)
    for box, y in zip(stack, centres, strict=True):
        page.rect(left, y - HEIGHT / 2, box_width, HEIGHT, fill=FILLS[box.kind], of=box)
        page.words(middle, y, box.text, 12, color=ink_on(box.kind))
        if box.size is not None and box.size != before:
            page.words(left - 6, y, size_text(box.size, "x"), 11, "end", GREY)
            before = box.size
    return centres[-1] + PITCH


def stacks(*models):
    """Networks side by side, one column each, one box per layer, read from the models themselves.

    `models` are classifiers such as VGG16(), or blueprints of them (`graph.blueprint(VGG16)` needs no memory).
    The result shows itself in a notebook; `.rows` holds the boxes, `.svg()` and `.figure()` the drawing, `.alt` its words.
    ValueError without a model, or for one that does not take one image.
    """
    if not models:
        raise ValueError("stacks(...) needs at least one model")
    return Stacks(models)
