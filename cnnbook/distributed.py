"""One net on several devices, processes or machines: `cnnbook.training.devices`, and the launcher of processes.

A script that trains on all there is:

    from cnnbook import distributed, models, training

    distributed.initialise()  # before any net is built
    training.seed(0)
    training.fit(models.ResNetCIFAR(20), x, y, checkpoint="run.npz")

    python -m cnnbook.distributed --processes 2 train.py      on one machine
    torchrun, srun                                            on several: `initialise` reads their variables
"""

import sys

from .course.launcher import free_port, launch, main  # noqa: F401
from .training import devices
from .training.devices import *  # noqa: F403

__all__ = [*devices.__all__, "free_port", "launch"]

if __name__ == "__main__":
    sys.exit(main())
