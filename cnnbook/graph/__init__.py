"""The one reader of graphs: every table, picture and test of the course reads a network through `trace`.

Rows of a model's operations (`rows`), the rules for each kind of layer (`rules`, `sequences`, `fields`), what a net costs
(`bill`) and the multiply-adds of layers without a formula (`products`), models rewritten (`rewrite`), stages and endpoints
(`stages`), the peak of memory (`memory`), summaries and comparisons.
It knows Keras and nothing else of cnnbook but the ground.
"""

from ..keras_internals import calls_in
from . import sequences  # noqa: F401, it registers layers
from .comparison import Comparison, compare
from .fields import Field
from .memory import PeakMemory, peak_memory
from .rewrite import as_functional, blueprint, flatten
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
from .stages import Endpoint, Endpoints, features, stage_of
from .summary import Summary, summary

__all__ = [
    "AT_REST",
    "GROUPS",
    "PREPROCESSING",
    "Comparison",
    "Description",
    "Endpoint",
    "Endpoints",
    "Field",
    "PeakMemory",
    "Row",
    "Rule",
    "Summary",
    "as_functional",
    "blueprint",
    "calls_in",
    "compare",
    "describe",
    "features",
    "flatten",
    "kernel_axes",
    "main_rows",
    "peak_memory",
    "register",
    "rule_of",
    "stage_of",
    "summary",
    "totals",
    "trace",
]
