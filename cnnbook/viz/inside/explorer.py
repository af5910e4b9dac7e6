"""The receptive field under the mouse: a page that needs no kernel, from the numbers of `graph.trace` alone."""

import base64
import hashlib
from html import escape

import numpy as np

from ... import graph
from ..entrance import prepare
from ..picture import Picture, bare, panels, pixels_png, png, ratio_of
from .replay import script_json

_SCRIPT = """
(function () {
  var layers = %(layers)s, side = [%(height)d, %(width)d];
  document.querySelectorAll(".%(name)s:not([data-ready])").forEach(function (box) {
    box.setAttribute("data-ready", "");
    box.querySelector(".cnnbook-field-live").innerHTML = %(live)s;
    box.querySelector(".cnnbook-field-still").style.display = "none";
    var stage = box.querySelector(".cnnbook-field-image"), frame = box.querySelector(".cnnbook-field-box");
    var choice = box.querySelector("select"), words = box.querySelector("output"), unit = null;
    function clip(value, low, high) { return Math.max(low, Math.min(high, value)); }
    function show(at) {
      var layer = layers[+choice.value], edges = [];
      unit = at.map(function (u, a) { return clip(u, 0, layer.units[a] - 1); });
      [0, 1].forEach(function (a) {
        %(ends)s
      });
      frame.style.top = 100 * edges[0][0] / side[0] + "%%";
      frame.style.height = 100 * (edges[0][1] - edges[0][0]) / side[0] + "%%";
      frame.style.left = 100 * edges[1][0] / side[1] + "%%";
      frame.style.width = 100 * (edges[1][1] - edges[1][0]) / side[1] + "%%";
      words.textContent = "unit (" + unit.join(", ") + ") of " + layer.units.join(" x ") + " sees "
        + %(sees)s.join(" x ") + " pixels" + (layer.global ? ", and the whole image by a global pool" : "");
    }
    function middle() { return layers[+choice.value].units.map(function (n) { return Math.floor(n / 2); }); }
    stage.addEventListener("pointermove", function (event) {
      var layer = layers[+choice.value], here = stage.getBoundingClientRect();
      var pixel = [side[0] * (event.clientY - here.top) / here.height, side[1] * (event.clientX - here.left) / here.width];
      show(pixel.map(function (p, a) {
        return Math.round((p - 0.5 - %(centre)s) / layer.stride[a]);
      }));
    });
    stage.addEventListener("keydown", function (event) {
      var step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) { return; }
      event.preventDefault();
      event.stopPropagation();
      show([unit[0] + step[0], unit[1] + step[1]]);
    });
    choice.addEventListener("change", function () { show(middle()); });
    show(middle());
  });
})();
"""
# Where all layers have windows of one size at equal distances.
_REGULAR = dict(
    ends="""var start = layer.window[a] + unit[a] * layer.stride[a];
        edges.push([clip(start, 0, side[a]), clip(start + layer.field[a], 0, side[a])]);""",
    sees="layer.field",
    centre="layer.window[a] - (layer.field[a] - 1) / 2",
)
# Where the windows of one depend on the place, behind an enlargement.
_UNEQUAL = dict(
    ends="""var from = layer.starts[a][unit[a]], to = layer.stops[a][unit[a]];
        edges.push([clip(from, 0, side[a]), clip(to, 0, side[a])]);""",
    sees="unit.map(function (u, a) { return layer.stops[a][u] - layer.starts[a][u]; })",
    centre="layer.centre[a]",
)
# The script makes it: where none runs, and on paper, the figure stands instead, with nothing to press.
_LIVE = """
<div style="display:flex;flex-wrap:wrap;gap:0.2rem 0.8rem;margin-bottom:0.4rem">
<select aria-label="Layer">%(options)s</select><output aria-live="polite"></output></div>
<div class="cnnbook-field-image" tabindex="0" style="position:relative;overflow:hidden;touch-action:none;max-width:420px">
<img src="data:image/png;base64,%(image)s" alt="%(alt)s"
style="width:100%%;display:block;padding:0;border-radius:0;image-rendering:pixelated">
<div class="cnnbook-field-box" style="position:absolute;box-sizing:border-box;pointer-events:none;border:3px solid #D55E00;
outline:1px solid #fff"></div></div>
<p style="font-size:0.9em">The box is what one unit of the layer can see: move the mouse over the image, or click on it and
use the arrow keys.</p>"""


class FieldExplorer(Picture):
    """`.fields`: {layer: dict with units, field, stride, window (height, width)}; where one lies behind an enlargement, each
    has also centre, starts and stops of its units' windows along both axes. `.array`: the box of each layer's middle
    unit, (layers, 4): top, left, bottom, right. In a page with scripts the box follows the mouse and the arrow keys."""

    def __init__(self, name, rows, shown, windows):
        self.shown, self.fields, self.windows = shown, {}, windows
        self.parts = _REGULAR if all(row.field.regular for row in rows) else _UNEQUAL
        for row in rows:
            self.fields[row.name] = dict(
                units=list(row.output_shape[:2]), field=list(row.receptive_field), stride=list(map(float, row.stride)),
                window=list(map(float, row.window)), **{"global": row.global_context},
            )  # fmt: skip
            if self.parts is _UNEQUAL:
                starts, stops = zip(*windows[row.name], strict=True)
                ends = {"starts": starts, "stops": stops}
                ends = {key: [[int(e) for e in axis] for axis in value] for key, value in ends.items()}
                self.fields[row.name] |= dict(centre=list(row.centre), **ends)
        self.array = np.array([self.box(layer) for layer in self.fields])
        sees = ", ".join(f"{n} {' x '.join(map(str, f['field']))}" for n, f in self.fields.items())
        self.alt = f"Receptive fields of {name} on an image, in pixels: {sees}"
        self.sentence = "The box is what the middle unit of each layer can see of the image."

    def box(self, layer, unit=None):
        """(top, left, bottom, right) of what a unit (row, column) can see; the middle one by default."""
        known = self.fields[layer]
        unit = [n // 2 for n in known["units"]] if unit is None else unit
        (tops, bottoms), (lefts, rights) = self.windows[layer]
        return tuple(
            float(ends[u]) for ends, u in zip((tops, lefts, bottoms, rights), (*unit, *unit), strict=True)
        )

    def _figure(self):
        # two lines of title above each
        figure, axes = panels(len(self.fields), 4, 1.9, 1.9 * ratio_of(self.shown) + 0.62)
        height, width = self.shown.shape[:2]
        for axis, (name, field), box in zip(axes, self.fields.items(), self.array, strict=True):
            axis.imshow(self.shown, cmap="gray", vmin=0, vmax=1)
            top, left, bottom, right = np.clip(box, 0, [height, width, height, width]) - 0.5
            corners = [left, right, right, left, left], [top, top, bottom, bottom, top]
            axis.plot(*corners, color="white", linewidth=3.4)
            axis.plot(*corners, color="#D55E00", linewidth=2)
            bare(axis, f"{name}\n{' x '.join(map(str, field['field']))} pixels", fontsize=8)
        return figure

    def _repr_html_(self):
        still = base64.b64encode(png(self.figure(), colors=256)).decode()
        height, width = self.shown.shape[:2]
        layers = script_json([dict(f, name=name) for name, f in self.fields.items()])
        live = _LIVE % dict(
            options="".join(f'<option value="{i}">{escape(n)}</option>' for i, n in enumerate(self.fields)),
            image=base64.b64encode(pixels_png(self.shown)).decode(),
            alt="The image, and the box of one unit",
        )
        name = "cnnbook-field-" + hashlib.sha256((live + layers).encode()).hexdigest()[:10]
        script = _SCRIPT % dict(
            self.parts, layers=layers, name=name, height=height, width=width, live=script_json(live)
        )
        return (
            f'<div class="cnnbook-field {name}" style="max-width:760px;break-inside:avoid">'
            '<div class="cnnbook-field-live"></div><div class="cnnbook-field-still">'
            f'<img src="data:image/png;base64,{still}" alt="{escape(self.alt, True)}" '
            'style="max-width:100%;height:auto;padding:0;background:#fff">'
            f'<p style="font-size:0.9em">{escape(self.sentence)}</p></div>'
            "<style>@media print{.cnnbook-field-live{display:none!important}"
            ".cnnbook-field-still{display:block!important}}</style>"
            f"<script>{script}</script></div>"
        )


def field_explorer(model, image, layers=None, *, preprocess=None):
    """What a unit can see of this image, for the unit under the mouse; the layer is chosen on the page.

    layers: names of layers or stages; by default the last layer of each stage whose receptive field is known.
    """
    from .film import stage_ends

    net, _, shown = prepare(model, image, preprocess)
    if layers is None:
        layers = [name for name in stage_ends(net) if net[name].known]
    rows = [net.map(layer) for layer in ([layers] if isinstance(layers, str) else layers)]
    unknown = [row for row in rows or net.rows if not row.known]
    if unknown or not rows:
        which, why = ", ".join(row.name for row in unknown[:4]) or "any layer", ""
        if unknown:
            why = f": {net.hides_fields(unknown[0])}"
        raise ValueError(f"no receptive field is known of {which}{why}; name other layers")
    return FieldExplorer(model.name, rows, shown, {row.name: graph.windows(net.rows, row) for row in rows})
