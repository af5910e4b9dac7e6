"""Nets against each other: accuracy, memory and speed in one chart, on a page that needs no kernel."""

import base64
import hashlib
import math
from html import escape
from typing import NamedTuple

import numpy as np

from . import style
from .inside.replay import script_json
from .picture import Picture, png


class Column(NamedTuple):
    """A number that nets are compared by: its label with the unit, whether more of it is better, a logarithmic axis."""

    label: str
    more_is_better: bool = False
    log: bool = False


COLUMNS = {
    "top1": Column("top-1 accuracy (%)", True),
    "top5": Column("top-5 accuracy (%)", True),
    "images_per_s": Column("images a second", True, True),
    "memory_mb": Column("memory (MB)", False, True),
    "peak_mb": Column("memory, estimated from the graph (MB)", False, True),
    "macs": Column("multiply-adds (10^9)", False, True),
    "params": Column("parameters (10^6)", False, True),
}
# The largest disc: its radius in points on paper and in pixels on a page.
LARGEST = 16

_SCRIPT = """
(function () {
  var rows = %(rows)s, columns = %(columns)s, groups = %(groups)s, paint = %(paint)s, largest = %(largest)d;
  var W = 720, H = 440, left = 62, right = 24, top = 20, bottom = 52, space = "http://www.w3.org/2000/svg";
  document.querySelectorAll(".%(name)s:not([data-ready])").forEach(function (box) {
    box.setAttribute("data-ready", "");
    box.querySelector(".cnnbook-trade-live").innerHTML = %(live)s;
    box.querySelector(".cnnbook-trade-still").style.display = "none";
    var svg = box.querySelector("svg"), words = box.querySelector("output"), marked = null;
    var pick = {}, ticks = box.querySelectorAll("input");
    box.querySelectorAll("select").forEach(function (s) { pick[s.name] = s; s.addEventListener("change", draw); });
    ticks.forEach(function (tick) { tick.addEventListener("change", draw); });
    function put(kind, attributes, text, parent) {
      var node = document.createElementNS(space, kind);
      Object.keys(attributes).forEach(function (key) { node.setAttribute(key, attributes[key]); });
      if (text !== undefined) { node.textContent = text; }
      (parent || svg).appendChild(node);
      return node;
    }
    function short(v) { return v >= 1000 ? Math.round(v).toLocaleString("en") : String(+v.toPrecision(4)); }
    function steps(low, high, log) {
      var found = [], unit, k;
      if (log) {
        for (k = Math.floor(Math.log10(low)); k <= Math.log10(high); k++) {
          (high / low > 300 ? [1] : [1, 2, 5]).forEach(function (f) {
            var v = f * Math.pow(10, k);
            if (v >= low && v <= high) { found.push(v); }
          });
        }
        return found;
      }
      unit = Math.pow(10, Math.floor(Math.log10((high - low) / 2)));
      [5, 2, 1].forEach(function (f) { if ((high - low) / (f * unit) >= 4 && !found.unit) { found.unit = f * unit; } });
      unit = found.unit || unit / 2;
      for (k = Math.ceil(low / unit); k * unit <= high; k++) { found.push(+(k * unit).toPrecision(6)); }
      return found;
    }
    function scale(values, column, from, to) {
      var f = column.log ? Math.log : function (v) { return v; }, g = column.log ? Math.exp : f;
      var low = f(Math.min.apply(null, values)), high = f(Math.max.apply(null, values)), room = 0.1 * (high - low) || 0.5;
      low -= room;
      high += room;
      return { at: function (v) { return from + (to - from) * (f(v) - low) / (high - low); },
        ticks: steps(g(low), g(high), column.log) };
    }
    function sign(key) { return columns[key].more ? 1 : -1; }
    function ahead(a, b, keys) {
      var d = keys.map(function (k) { return sign(k) * (a[k] - b[k]); });
      return d.every(function (v) { return v >= 0; }) && d.some(function (v) { return v > 0; });
    }
    function tell(row) {
      marked = row;
      var parts = Object.keys(columns).filter(function (k) { return row[k] !== null; }).map(function (k) {
        return columns[k].label + " " + short(row[k]);
      });
      words.textContent = row.net + ", " + row.group + ": " + parts.join("; ") + (row.note ? ". " + row.note + "." : ".");
    }
    function draw() {
      var x = pick.x.value, y = pick.y.value, area = pick.size.value, used = [], seen = {};
      var on = groups.filter(function (g, i) { return !ticks[i] || ticks[i].checked; });
      var shown = rows.filter(function (r) { return on.indexOf(r.group) >= 0 && r[x] !== null && r[y] !== null; });
      svg.innerHTML = "";
      put("rect", { x: 0, y: 0, width: W, height: H, fill: "#fff" });
      if (!shown.length) { put("text", { x: left, y: 60, "font-size": 14 }, "Nothing to show: tick a box above."); return; }
      var across = scale(shown.map(function (r) { return r[x]; }), columns[x], left, W - right);
      var up = scale(shown.map(function (r) { return r[y]; }), columns[y], H - bottom, top);
      across.ticks.forEach(function (v) {
        put("line", { x1: across.at(v), x2: across.at(v), y1: top, y2: H - bottom, stroke: "#e4e4e4" });
        put("text", { x: across.at(v), y: H - bottom + 17, "font-size": 12, "text-anchor": "middle" }, short(v));
      });
      up.ticks.forEach(function (v) {
        put("line", { x1: left, x2: W - right, y1: up.at(v), y2: up.at(v), stroke: "#e4e4e4" });
        put("text", { x: left - 7, y: up.at(v) + 4, "font-size": 12, "text-anchor": "end" }, short(v));
      });
      put("text", { x: (left + W - right) / 2, y: H - 12, "font-size": 13, "text-anchor": "middle" },
        columns[x].label + (columns[x].more ? ", more is better" : ", less is better"));
      put("text", { x: 0, y: 0, "font-size": 13, "text-anchor": "middle",
        transform: "translate(15," + (top + H - bottom) / 2 + ") rotate(-90)" }, columns[y].label);
      var most = Math.max.apply(null, shown.map(function (r) { return r[area] || 0; }));
      var fronts = on.map(function (group) {
        var own = shown.filter(function (r) { return r.group === group; });
        var best = own.filter(function (r) { return !own.some(function (o) { return ahead(o, r, [x, y]); }); });
        best.sort(function (a, b) { return a[x] - b[x] || a[y] - b[y]; });
        put("polyline", { fill: "none", stroke: paint[group], "stroke-dasharray": "5 4",
          points: best.map(function (r) { return across.at(r[x]) + "," + up.at(r[y]); }).join(" ") });
        return group + ": " + best.map(function (r) { return r.net; }).join(", ");
      });
      var discs = shown.map(function (r) {
        var radius = most && r[area] ? Math.max(4, largest * Math.sqrt(r[area] / most)) : 5;
        var disc = put("circle", { cx: across.at(r[x]), cy: up.at(r[y]), r: radius, tabindex: 0, role: "img",
          fill: most && r[area] ? paint[r.group] : "#fff", "fill-opacity": 0.6, stroke: paint[r.group], "stroke-width": 2,
          "aria-label": r.net + ", " + r.group, style: "cursor:pointer" });
        ["pointerenter", "focus", "click"].forEach(function (e) { disc.addEventListener(e, function () { tell(r); }); });
        return [across.at(r[x]) - radius, up.at(r[y]) - radius, 2 * radius, 2 * radius];
      });
      function free(b) {
        var inside = b[0] > left && b[0] + b[2] < W - 2 && b[1] > 2 && b[1] + b[3] < H - bottom;
        return inside && !used.concat(discs).some(function (o) {
          return b[0] < o[0] + o[2] && o[0] < b[0] + b[2] && b[1] < o[1] + o[3] && o[1] < b[1] + b[3];
        });
      }
      shown.forEach(function (r, i) {
        var near = (seen[r.net] || []).some(function (o) {
          return Math.abs(o[0] - discs[i][0]) < 80 && Math.abs(o[1] - discs[i][1]) < 80;
        });
        if (near) { return; }
        seen[r.net] = (seen[r.net] || []).concat([discs[i]]);
        var w = 7.2 * r.net.length, place;
        discs.forEach(function (d, j) {
          var own = shown[j].net === r.net && Math.abs(d[0] - discs[i][0]) < 80 && Math.abs(d[1] - discs[i][1]) < 80;
          if (place || !own) { return; }
          var cx = d[0] + d[2] / 2, cy = d[1] + d[3] / 2;
          var above = d[1] - 15, below = d[1] + d[3] + 1;
          var places = [[d[0] + d[2] + 3, cy - 7], [d[0] - w - 3, cy - 7], [cx - w / 2, above], [cx - w / 2, below],
            [cx + 4, above], [cx - w - 4, below]];
          place = places.map(function (p) { return [p[0], p[1], w, 14]; }).filter(free)[0];
        });
        if (!place) { return; }
        used.push(place);
        put("text", { x: place[0], y: place[1] + 11, "font-size": 12, "pointer-events": "none" }, r.net);
      });
      if (marked && shown.indexOf(marked) >= 0) { tell(marked); return; }
      words.textContent = "The dashed line joins the nets that no other one of their colour beats in both. "
        + fronts.join("; ") + ". Move over a disc, or use the tab key.";
    }
    draw();
  });
})();
"""
# The script makes it: where none runs, and on paper, the figure stands instead, with nothing to press.
_LIVE = """
<div style="display:flex;flex-wrap:wrap;gap:0.3rem 1rem;margin-bottom:0.4rem">%(controls)s</div>
<svg viewBox="0 0 720 440" role="group" aria-label="%(label)s" style="width:100%%;height:auto;display:block;
font-family:sans-serif;touch-action:manipulation"></svg>
<output aria-live="polite" style="display:block;min-height:4.2em;font-size:0.9em"></output>"""


def front(rows, columns, known=COLUMNS):
    """The rows that no other one beats: none is at least as good in all columns and better in one.

    rows: dicts with a number in each of the columns, keys of `COLUMNS`, which knows whether more is better.
    """
    signs = [1 if known[column].more_is_better else -1 for column in columns]
    points = np.array([[s * row[c] for s, c in zip(signs, columns, strict=True)] for row in rows])
    return [
        row
        for row, own in zip(rows, points, strict=True)
        if not ((points >= own).all(1) & (points > own).any(1)).any()
    ]


class TradeOff(Picture):
    """`.array`: what the figure draws, float64 (nets, 3): across, up, and the area, nan where it is not known. `.rows`:
    those drawn; `.left_out`: the names of those without a number on one of the axes; `.front`: {group: the names that no
    other one of the group beats, from left to right}. In a page with scripts the axes, the area and the groups are chosen
    there, and each disc tells what it stands for."""

    size = (8, 4.9)

    def __init__(self, rows, x, y, area):
        self.x, self.y, self.area, self.all = x, y, area, rows
        self.columns = {k: c for k, c in COLUMNS.items() if any(row.get(k) is not None for row in rows)}
        for key in (x, y, area):
            if key not in self.columns:
                raise ValueError(f"no row has a number {key!r}; there is {', '.join(self.columns)}")
        self.rows = [row for row in rows if row.get(x) is not None and row.get(y) is not None]
        if not self.rows:
            raise ValueError(f"no row has both {x} and {y}")
        self.left_out = [row["net"] for row in rows if row not in self.rows]
        numbers = [[row[x], row[y], row.get(area)] for row in self.rows]
        self.array = np.array(numbers, "float64")
        self.groups = list(dict.fromkeys(row["group"] for row in rows))
        self.paint = dict(zip(self.groups, style.colors(len(self.groups)), strict=True))
        self.front = {group: [row["net"] for row in self._best(group)] for group in self.groups}
        labels = [self.columns[key].label for key in (x, y, area)]
        nets = ", ".join(dict.fromkeys(row["net"] for row in self.rows))
        self.alt = f"{labels[1]} over {labels[0]}, a disc's area is {labels[2]}: {nets}"
        self.sentence = f"Area: {labels[2]}. A dashed line joins the nets that no other one of their colour beats in both."

    def _best(self, group):
        """The rows of a group that no other one of it beats, from left to right."""
        own = [row for row in self.rows if row["group"] == group]
        return sorted(front(own, (self.x, self.y)), key=lambda row: (row[self.x], row[self.y]))

    def _radius(self, area):
        """Of a disc, in points; nan where the number is not known."""
        return 5 if math.isnan(area) else max(4, LARGEST * math.sqrt(area / np.nanmax(self.array[:, 2])))

    def draw(self, axes):
        """Discs, names and the front on one pair of axes."""
        for row, (across, up, area) in zip(self.rows, self.array, strict=True):
            colour, size = self.paint[row["group"]], math.pi * self._radius(area) ** 2
            face = "white" if math.isnan(area) else colour
            axes.scatter(across, up, s=size, c=[face], alpha=0.6, linewidths=0)
            axes.scatter(across, up, s=size, facecolors="none", edgecolors=[colour], linewidths=1.6)
        for group in self.groups:
            best = self._best(group)
            points = [r[self.x] for r in best], [r[self.y] for r in best]
            axes.plot(*points, "--", color=self.paint[group], linewidth=1, zorder=0)
        across, up = self.columns[self.x], self.columns[self.y]
        for axis, column in ((axes.xaxis, across), (axes.yaxis, up)):
            if column.log:
                _log(axis)
        better = "more" if across.more_is_better else "less"
        axes.set(xlabel=f"{across.label}, {better} is better", ylabel=up.label)
        axes.margins(0.1)
        self._name(axes)
        drawn = [group for group in self.groups if any(row["group"] == group for row in self.rows)]
        if len(drawn) > 1:
            for group in drawn:
                axes.scatter([], [], s=60, color=self.paint[group], alpha=0.7, label=group)
            axes.legend(loc="upper left", bbox_to_anchor=(0, 1.12), ncols=len(drawn), borderaxespad=0,
                        frameon=False)  # fmt: skip

    def _name(self, axes):
        """The nets' names, each at the first place around its disc that is free."""
        axes.figure.canvas.draw()
        taken, scale = [], axes.figure.dpi / 72
        frame, discs = axes.get_window_extent(), []
        for across, up, area in self.array:
            (x, y), r = axes.transData.transform((across, up)), scale * self._radius(area)
            discs.append((x - r, y - r, x + r, y + r))
        for i, row in enumerate(self.rows):
            # Discs of one net that lie together share a name.
            together = [j for j, other in enumerate(self.rows)
                        if other["net"] == row["net"] and _near(discs[i], discs[j], 55 * scale)]  # fmt: skip
            if i != together[0]:
                continue
            width = 5.6 * scale * len(row["net"])
            boxes = [b for j in together for b in _around(discs[j], width, 10 * scale)]
            free = (b for b in boxes if frame.x0 < b[0] and b[2] < frame.x1 and frame.y0 < b[1]
                    and not any(_overlap(b, other) for other in (*taken, *discs)))  # fmt: skip
            if (box := next(free, None)) is not None:
                taken.append(box)
                at = axes.transData.inverted().transform(box[:2])
                axes.text(*at, row["net"], size=9, va="bottom")

    def _repr_html_(self):
        still = base64.b64encode(png(self.figure(), colors=256)).decode()
        rows = [
            dict(
                net=r["net"], group=r["group"], note=r.get("note", ""), **{k: r.get(k) for k in self.columns}
            )
            for r in self.all
        ]
        told = {k: dict(label=c.label, more=c.more_is_better, log=c.log) for k, c in self.columns.items()}
        live = _LIVE % dict(controls=self._controls(), label=escape(self.alt, True))
        numbers = script_json(rows)
        name = "cnnbook-trade-" + hashlib.sha256((live + numbers).encode()).hexdigest()[:10]
        script = _SCRIPT % dict(
            rows=numbers, columns=script_json(told), groups=script_json(self.groups), paint=script_json(self.paint),
            largest=LARGEST, name=name, live=script_json(live),
        )  # fmt: skip
        return (
            f'<div class="cnnbook-trade {name}" style="max-width:760px;break-inside:avoid">'
            '<div class="cnnbook-trade-live"></div><div class="cnnbook-trade-still">'
            f'<img src="data:image/png;base64,{still}" alt="{escape(self.alt, True)}" '
            'style="max-width:100%;height:auto;padding:0;background:#fff">'
            f'<p style="font-size:0.9em">{escape(self.sentence)}</p></div>'
            "<style>@media print{.cnnbook-trade-live{display:none!important}"
            ".cnnbook-trade-still{display:block!important}}</style>"
            f"<script>{script}</script></div>"
        )

    def _controls(self):
        """What is chosen on the page: two axes, the area, and which groups are shown."""
        chosen = (("x", "across", self.x), ("y", "up", self.y), ("size", "area", self.area))
        lists = [
            f'<label>{word} <select name="{name}">'
            + "".join(
                f'<option value="{k}"{" selected" if k == now else ""}>{escape(c.label)}</option>'
                for k, c in self.columns.items()
            )
            + "</select></label>"
            for name, word, now in chosen
        ]
        ticks = [
            f'<label style="color:{self.paint[group]}"><input type="checkbox" checked> {escape(group)}</label>'
            for group in self.groups
            if len(self.groups) > 1
        ]
        return "".join(lists + ticks)


def _log(axis):
    """A logarithmic axis with ticks in plain figures: at 1, 2 and 5, over several decades at 1 alone."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    low, high = axis.get_data_interval()
    axis.set_major_locator(LogLocator(subs=(1,) if high / low > 300 else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}" if v >= 10 else f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())


def _around(disc, width, height):
    """Boxes (left, bottom, right, top) of a name around a disc's: right, left, above, below."""
    left, bottom, right, top = disc
    x, y = (left + right) / 2, (bottom + top) / 2
    corners = [(right + 3, y - height / 2), (left - 3 - width, y - height / 2), (x - width / 2, top + 2),
               (x - width / 2, bottom - 2 - height), (x + 3, top + 2), (x - 3 - width, bottom - 2 - height)]  # fmt: skip
    return [(a, b, a + width, b + height) for a, b in corners]


def _near(a, b, most):
    return abs(a[0] - b[0]) <= most and abs(a[1] - b[1]) <= most


def _overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def trade_off(rows, x="images_per_s", y="top1", area="memory_mb"):
    """Nets in one chart: two of their numbers across and up, a third as the area of the disc, and fronts: the nets that no
    other one beats in both.

    rows: dicts with `net`, its name, `group`, who measured, numbers under keys of `COLUMNS` (top1, top5, images_per_s,
    memory_mb, peak_mb, macs in 10^9, params in 10^6; None or missing where not known), and `note`, a sentence that its disc
    tells. x, y, area: which numbers the figure begins with; all others can be chosen on the page. The fronts are those of
    each group, since numbers of two machines do not compare. A net without the number of an axis is left out, and one
    without the area's is a small empty ring. ValueError for a number that no row has.
    """
    rows = [dict(row) for row in rows]
    for row in rows:
        if not {"net", "group"} <= row.keys():
            raise ValueError(f"each row has a net and a group, got {row!r}")
    return TradeOff(rows, x, y, area)
