"""Pictures one after another, in a notebook and on a static page: HTML that needs no kernel, no network and no library.

Without scripts (an untrusted notebook, GitHub) one picture stays, with a sentence that says what happens.
"""

import base64
import hashlib
import json
from html import escape

from ..picture import Picture, png

_SCRIPT = """
(function () {
  var frames = %(frames)s, labels = %(labels)s;
  document.querySelectorAll(".%(name)s:not([data-ready])").forEach(function (box) {
    box.setAttribute("data-ready", "");
    var image = box.querySelector("img"), row = box.querySelector(".cnnbook-replay-row");
    row.innerHTML = %(controls)s;
    var button = row.querySelector("button"), slider = row.querySelector("input"), words = row.querySelector("output");
    var timer = null, at = +slider.value, last = frames.length - 1;
    var still = window.matchMedia && window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    function show(k) {
      at = Math.max(0, Math.min(last, k));
      image.src = "data:image/png;base64," + frames[at];
      image.alt = "%(alt)s: " + labels[at];
      slider.value = at;
      slider.setAttribute("aria-valuetext", labels[at]);
      words.textContent = labels[at];
    }
    function stop() {
      clearInterval(timer);
      timer = null;
      button.textContent = "\\u25b6 Play";
    }
    function play() {
      if (timer) { return stop(); }
      if (at === last) { show(0); }
      button.textContent = "\\u23f8 Pause";
      timer = setInterval(function () { at < last ? show(at + 1) : stop(); }, %(milliseconds)d);
    }
    button.addEventListener("click", play);
    slider.addEventListener("input", function () { stop(); show(+slider.value); });
    box.addEventListener("keydown", function (event) {
      var step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) { return; }
      event.preventDefault();
      event.stopPropagation();
      stop();
      show(at + step);
    });
    row.style.cssText = "display:flex;flex-wrap:wrap;gap:0.4rem 0.8rem;align-items:center";
    button.hidden = still || !%(plays)s;
    words.textContent = labels[at];
  });
})();
"""


class Replay(Picture):
    """Pictures one after another. A subclass has `labels`, `sentence`, `_figure()` and `_turn(figure, k)`, which draws
    frame k on the figure. `.shown`: the frame that stands where scripts do not run; `.frames()`: all as PNG."""

    labels, sentence, shown, plays, milliseconds = (), "", -1, True, 600

    def _turn(self, figure, k):
        raise NotImplementedError

    def frames(self):
        """The frames as PNG files (bytes), with 256 colours so that a page stays small."""
        import matplotlib.pyplot as plt

        figure, files = self._drawn(), []
        for k in range(len(self.labels)):
            self._turn(figure, k)
            files.append(png(figure, colors=256))
        plt.close(figure)
        return files

    def _repr_html_(self):
        frames = [base64.b64encode(frame).decode() for frame in self.frames()]
        start = range(len(frames))[self.shown]
        name = "cnnbook-replay-" + hashlib.sha256("".join(frames).encode()).hexdigest()[:10]
        # The script makes them. Without it there is nothing to press, even where a page's cleaning drops "hidden", as
        # JupyterLab's does.
        controls = (
            '<button type="button" style="min-width:6em">▶ Play</button>'
            f'<input type="range" min="0" max="{len(frames) - 1}" value="{start}" style="flex:1 1 8rem;min-width:0" '
            'aria-label="Frame"><output style="min-width:9em"></output>'
        )
        script = _SCRIPT % dict(
            frames=json.dumps(frames), labels=script_json(self.labels), name=name, alt=script_json(self.alt)[1:-1],
            milliseconds=self.milliseconds, plays=json.dumps(self.plays), controls=script_json(controls),
        )  # fmt: skip
        return (
            f'<div class="cnnbook-replay {name}" style="max-width:760px;break-inside:avoid">'
            f'<img src="data:image/png;base64,{frames[start]}" alt="{escape(self.alt, True)}: '
            f'{escape(self.labels[start], True)}" style="width:100%;height:auto;padding:0;background:#fff">'
            '<div class="cnnbook-replay-row"></div>'
            f'<p style="font-size:0.9em">{escape(self.sentence)}</p>'
            # in print there is nothing to press, and the picture's title says which frame it is
            "<style>@media print{.cnnbook-replay-row{display:none!important}}</style>"
            f"<script>{script}</script></div>"
        )


def script_json(value):
    """JSON that may stand inside a script element."""
    return json.dumps(value).replace("<", "\\u003c")
