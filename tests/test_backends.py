"""Equal weights give equal outputs and equal gradients on TensorFlow, JAX and PyTorch.

TensorFlow's are stored (helpers/backends.py says how they are made), and each backend is held to them here, TensorFlow too.
"""

import keras
import numpy as np
import pytest
from helpers import backends

pytestmark = [pytest.mark.jax, pytest.mark.torch]

STORED = np.load(backends.STORED)
# From TensorFlow's, so that any two of the three are within 1e-4 and 1e-3 of each other.
OUTPUTS, GRADIENTS = 5e-5, 5e-4


# JAX compiles each operation for each shape: minutes for all.
LESS = {"lenet5", "resnet", "valid_unet"} if keras.backend.backend() == "jax" else set(backends.nets())


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.every_variant] * (n not in LESS)) for n in backends.nets()],
)
def test_equal_weights_give_equal_numbers(name):
    found = {what: backends.thinned(array) for what, array in backends.measured(name).items()}
    asked = {key.partition("/")[2]: STORED[key] for key in STORED.files if key.startswith(f"{name}/")}
    assert found.keys() == asked.keys() and len(found) > 10
    # A bias before batch norm has the gradient 0, and rounding in its place: the largest of all is what it is small beside.
    largest = max(asked[what][-1] for what in asked if what.startswith("weight"))
    for what, right in asked.items():
        gradient = what not in ("outputs", "loss")
        beside = max(right[-1], 1e-3 * largest) if gradient else 1
        wrong = np.abs(found[what] - right).max() / beside
        assert wrong < (GRADIENTS if gradient else OUTPUTS), f"{what}: {wrong:.1e}"


def test_every_net_is_stored_and_says_something():
    names = set(backends.nets())
    assert {key.partition("/")[0] for key in STORED.files} == {*names, backends.TRAINING}
    for name in names:
        assert np.ptp(STORED[f"{name}/outputs"][:-1]) > 0.01 and STORED[f"{name}/pixels"][-1] > 1e-5


def test_a_short_training_goes_the_same_way():
    net, losses = backends.trained()
    assert losses[1] < losses[0] - 0.02
    np.testing.assert_allclose(losses, STORED[backends.TRAINING], rtol=1e-3)
    assert np.isfinite(keras.ops.convert_to_numpy(net(np.ones((1, *net.input_shape[1:]), "float32")))).all()
