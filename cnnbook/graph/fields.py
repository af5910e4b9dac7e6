"""What a unit sees: windows of input pixels, and how layers change them. Every pair is (height, width).

Araujo, Norris & Sim 2019, Computing receptive fields of convolutional neural networks.
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction


@dataclass(frozen=True)
class Field:
    """The input pixels that the units of one tensor see.

    size: of a unit's window. step: between neighbouring units, a fraction where maps have been enlarged. start: the first
    pixel that unit (0, 0) sees, negative inside the padding. local: False for a vector of the whole image, which has no
    place of its own. global_context: a global pool or a flatten lies before. known: False after an operation that is
    not registered in the rules. regular: unit u sees the pixels from start + u * step to that + size - 1; False behind an
    enlargement, where the window depends on the unit's place: `windows` follows it back by the `moves` of each operation,
    and repeats after `period` units.
    """

    size: tuple = (1, 1)
    step: tuple = (1, 1)
    start: tuple = (0, 0)
    local: bool = True
    global_context: bool = False
    known: bool = True
    regular: bool = True
    period: tuple = (1, 1)
    moves: tuple = ()

    def slide(self, kernel, stride, before):
        """The field after a window of `kernel` pixels moves by `stride`, with `before` pixels of padding."""
        return replace(
            self,
            period=tuple(p // math.gcd(p, s) for p, s in zip(self.period, stride, strict=True)),
            moves=(*self.moves, ("slide", tuple(kernel), tuple(stride), tuple(before))),
            size=tuple(s + (k - 1) * j for s, k, j in zip(self.size, kernel, self.step, strict=True)),
            step=tuple(_tidy(j * s) for j, s in zip(self.step, stride, strict=True)),
            start=tuple(a - p * j for a, p, j in zip(self.start, before, self.step, strict=True)),
        )

    def enlarge(self, kernel, stride, cut):
        """The field after a transposed convolution or an enlargement, which cuts `cut` pixels off the upper left.

        Steps shrink by `stride`. Output o reads the inputs from ceil((o + cut - kernel + 1) / stride) to
        floor((o + cut) / stride), so that the windows of neighbours differ in place and in size.
        """
        return replace(
            self,
            step=tuple(_tidy(Fraction(j) / s) for j, s in zip(self.step, stride, strict=True)),
            regular=self.regular and max(stride) == max(kernel) == 1,
            period=tuple(p * s for p, s in zip(self.period, stride, strict=True)),
            moves=(*self.moves, ("enlarge", tuple(kernel), tuple(stride), tuple(cut))),
        )

    def repeat_edge(self, sides):
        """The field of a map of these sides that goes on beyond its edge with the units at the edge."""
        return replace(self, regular=False, moves=(*self.moves, ("edge", tuple(sides))))

    def of_whole_image(self):
        """The field of a vector that has no place of its own: behind a global pool or a flatten."""
        return replace(self, local=False, global_context=True)

    def with_global_context(self):
        """The same window, of units that also know something of the whole image."""
        return replace(self, global_context=True)

    def unknown(self):
        return replace(self, known=False)


def union(fields):
    """The field of a merge: the window that holds those of all branches. Vectors of the whole image add none."""
    context, known = any(f.global_context for f in fields), all(f.known for f in fields)
    local = [f for f in fields if f.local]
    if not local:
        return replace(fields[0], global_context=context, known=known, moves=())
    if len({f.step for f in local}) > 1:  # units of different spacing: no one window
        return Field(global_context=context, known=False)
    start = tuple(min(f.start[a] for f in local) for a in (0, 1))
    end = tuple(max(f.start[a] + f.size[a] for f in local) for a in (0, 1))
    size = tuple(e - s for s, e in zip(start, end, strict=True))
    period = tuple(math.lcm(*(f.period[a] for f in local)) for a in (0, 1))
    return Field(size, local[0].step, start, True, context, known, all(f.regular for f in local), period)


def padding_before(padding, kernel, stride, sides):
    """Pixels of padding above and to the left; Keras' "same" puts the odd pixel below and to the right."""
    if padding != "same":
        return 0, 0
    before = []
    for k, s, n in zip(kernel, stride, sides, strict=True):
        total = max((math.ceil(n / s) - 1) * s + k - n, 0) if n else max(k - s, 0)
        before.append(total // 2)
    return tuple(before)


def as_pair(value):
    """(height, width) of what may be one number for both."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _tidy(number):
    return int(number) if number == int(number) else number
