"""Architecture search in small: what writes strings, and how a budget of children is spent on them. NumPy alone.

space      Space: the decisions that a string holds, and the choices of each
searchers  Controller, trained by REINFORCE, and RandomSearch: `ask()` gives a string, `tell(string, reward)` what it earned;
           `spend` lets either of them have so many children

A string is a tuple of numbers, one for each decision: which of its choices was made. What a string means, and how its child
is built and trained, lies with whoever searches (chapter 14: cnnbook.experiments.architecture_search). Nothing here builds
or trains a net.
"""

from .searchers import Controller, RandomSearch, spend
from .space import Space

__all__ = ["Controller", "RandomSearch", "Space", "spend"]
