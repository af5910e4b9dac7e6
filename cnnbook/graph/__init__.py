"""The one reader of graphs: every table, picture and test of the course reads a network through `trace`.

Rows of a model's operations, the rules for each kind of layer, models rewritten, stages and endpoints, summaries and
comparisons. It knows Keras and nothing else of cnnbook but the ground.
"""

from .comparison import Comparison, compare
from .rows import (
    AT_REST,
    PREPROCESSING,
    Endpoint,
    Endpoints,
    Field,
    Row,
    Summary,
    as_functional,
    blueprint,
    calls_in,
    features,
    flatten,
    main_rows,
    stage_of,
    summary,
    totals,
    trace,
)

__all__ = [
    "AT_REST",
    "PREPROCESSING",
    "Comparison",
    "Endpoint",
    "Endpoints",
    "Field",
    "Row",
    "Summary",
    "as_functional",
    "blueprint",
    "calls_in",
    "compare",
    "features",
    "flatten",
    "main_rows",
    "stage_of",
    "summary",
    "totals",
    "trace",
]
