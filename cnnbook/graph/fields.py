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
    not registered in the rules.
    """

    size: tuple = (1, 1)
    step: tuple = (1, 1)
    start: tuple = (0, 0)
    local: bool = True
    global_context: bool = False
    known: bool = True

    def slide(self, kernel, stride, before):
        """The field after a window of `kernel` pixels moves by `stride`, with `before` pixels of padding."""
        return replace(
            self,
            size=tuple(s + (k - 1) * j for s, k, j in zip(self.size, kernel, self.step, strict=True)),
            step=tuple(_tidy(j * s) for j, s in zip(self.step, stride, strict=True)),
            start=tuple(a - p * j for a, p, j in zip(self.start, before, self.step, strict=True)),
        )

    def enlarge(self, kernel, stride, cut):
        """The field after a transposed convolution or an enlargement, which cuts `cut` pixels off the upper left.

        Steps shrink by `stride`; the window is that of the outputs that see most, ceil(kernel / stride) inputs.
        """
        starts, sizes = [], []
        for axis, (k, s, c) in enumerate(zip(kernel, stride, cut, strict=True)):
            # the first and last input of each of the outputs 0 to s - 1, after which all repeats
            inputs = [(math.ceil((o + c - k + 1) / s), (o + c) // s) for o in range(s)]
            widest = max(range(s), key=lambda o: inputs[o][1] - inputs[o][0])
            first, last = inputs[widest]
            step = self.step[axis]
            sizes.append(self.size[axis] + max(last - first, 0) * step)
            starts.append(self.start[axis] + first * step - widest * Fraction(step) / s)
        steps = tuple(_tidy(Fraction(j) / s) for j, s in zip(self.step, stride, strict=True))
        return replace(self, size=tuple(map(_tidy, sizes)), step=steps, start=tuple(map(_tidy, starts)))

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
        return replace(fields[0], global_context=context, known=known)
    if len({f.step for f in local}) > 1:  # units of different spacing: no one window
        return Field(global_context=context, known=False)
    start = tuple(min(f.start[a] for f in local) for a in (0, 1))
    end = tuple(max(f.start[a] + f.size[a] for f in local) for a in (0, 1))
    size = tuple(e - s for s, e in zip(start, end, strict=True))
    return Field(size, local[0].step, start, True, context, known)


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
