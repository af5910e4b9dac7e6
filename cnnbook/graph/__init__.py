"""The one reader of graphs: every table, picture and test of the course reads a network through `trace`.

Rows of a model's operations (`rows`), the rules for each kind of layer (`rules`, `sequences`, `fields`), what a net costs
(`bill`) and the multiply-adds of layers without a formula (`products`), models rewritten (`rewrite`), stages and endpoints
(`stages`), what a net's end is (`ending`), the peak of memory (`memory`), summaries and comparisons.
It knows Keras and nothing else of cnnbook but the ground.
"""

from ..keras_internals import calls_in
from . import sequences  # noqa: F401, it registers layers
from .comparison import Comparison, compare
from .ending import Ending, ending
from .fields import Field
from .memory import PeakMemory, peak_memory
from .rewrite import SEPARATOR, as_functional, blueprint, flatten, is_graph, same_layer
from .rows import Row, main_rows, totals, trace
from .rules import (
    AT_REST,
    GROUPS,
    PREPROCESSING,
    Description,
    Rule,
    describe,
    kernel_axes,
    register,
    rule_of,
)
from .stages import Endpoint, Endpoints, cuts, features, is_automatic, stage_of
from .summary import Summary, summary
from .windows import windows

__all__ = [
    "AT_REST",
    "GROUPS",
    "PREPROCESSING",
    "Comparison",
    "Description",
    "Ending",
    "Endpoint",
    "Endpoints",
    "Field",
    "PeakMemory",
    "Row",
    "SEPARATOR",
    "Rule",
    "Summary",
    "as_functional",
    "blueprint",
    "calls_in",
    "compare",
    "cuts",
    "describe",
    "ending",
    "features",
    "flatten",
    "is_automatic",
    "is_graph",
    "kernel_axes",
    "main_rows",
    "peak_memory",
    "register",
    "rule_of",
    "same_layer",
    "stage_of",
    "summary",
    "totals",
    "trace",
    "windows",
]
