"""What may be searched: a row of decisions, each with its choices."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Space"]


class Space:
    """The strings that one writes by taking one choice in each decision, in order.

    decisions: {name: its choices}, at least one decision, and at least one choice in each; ValueError otherwise.
    """

    def __init__(self, decisions: Mapping[str, Sequence]):
        self.decisions = {name: tuple(choices) for name, choices in decisions.items()}
        empty = [name for name, choices in self.decisions.items() if not choices]
        if empty or not self.decisions:
            what = f"{', '.join(empty)} has no choice" if empty else "got none"
            raise ValueError(
                f"a space has decisions, {{name: choices}}, with a choice or more in each; {what}"
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many choices each decision has."""
        return tuple(map(len, self.decisions.values()))

    def strings(self) -> Iterator[tuple[int, ...]]:
        """Every string, the last decision running quickest."""
        return itertools.product(*map(range, self.sizes))

    def choices(self, string: Sequence[int]) -> tuple:
        """What a string says: the choice itself in each decision. ValueError for what is no string of the space."""
        fits = len(string) == len(self.sizes)
        if not fits or not all(0 <= number < size for number, size in zip(string, self.sizes, strict=True)):
            raise ValueError(
                f"{tuple(string)} is no string of this space: it takes {len(self.sizes)} numbers from 0, each below "
                f"{', '.join(map(str, self.sizes))}"
            )
        return tuple(choices[i] for choices, i in zip(self.decisions.values(), string, strict=True))
