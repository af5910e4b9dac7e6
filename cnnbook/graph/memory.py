"""How much memory a net needs to classify a batch: its weights, and the largest moment on the way through."""

from dataclasses import dataclass

from ..arguments import whole_number
from .rows import trace


@dataclass(frozen=True)
class PeakMemory:
    """An estimate of what inference needs at its fullest moment.

    layer: the row of `trace` whose inputs and output together are largest. values: how many numbers those are for one
    image. weights: all numbers of the model's variables, trained or not. batch_size: images at once. bytes_each: bytes
    a number, 4 in float32.
    """

    layer: str
    values: int
    weights: int
    batch_size: int
    bytes_each: int = 4

    @property
    def maps_mb(self) -> float:
        """Inputs and output of that layer for the whole batch, in 10^6 bytes."""
        return self.batch_size * self.values * self.bytes_each / 1e6

    @property
    def weights_mb(self) -> float:
        """The weights, in 10^6 bytes; a batch of any size needs them once."""
        return self.weights * self.bytes_each / 1e6

    @property
    def megabytes(self) -> float:
        """Both together."""
        return self.maps_mb + self.weights_mb


def peak_memory(model, batch_size=1, bytes_each=4, rows=None):
    """The `PeakMemory` of a model: the largest in + out of one layer times the batch, plus the weights.

    The estimate supposes that a layer's input is given back once its output is there, that a layer does not write over
    its input, and that nothing else is kept. Branches that wait for a merge and the scratch space of fast convolutions
    are not in it, so a real library may need more; one that joins batch norm and ReLU to their convolution needs less.
    Training keeps every map for the way back, so it is another sum: `totals(model)["activations"]`.
    rows: those of `trace(model)`, where it has been traced already. ValueError for a model with a size left free, and
    for a batch below 1.
    """
    batch_size = whole_number(batch_size, "batch_size")
    rows = trace(model) if rows is None else rows
    free = next((row.name for row in rows if row.activations is None), None)
    if free:
        raise ValueError(f"the size of {free} is free: build the model with a fixed input_shape")
    sizes = {row.name: row.activations for row in rows}

    def moment(row):
        return row.activations + sum(sizes[name] for name in row.inputs)

    fullest = max(rows, key=moment)
    weights = sum(row.params + row.state for row in rows)
    return PeakMemory(fullest.name, moment(fullest), weights, batch_size, bytes_each)
