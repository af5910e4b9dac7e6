"""A home that cannot be written: what kernels keep there goes to a temporary folder instead.

matplotlib and IPython would do so themselves, but say so in the notebook's outputs, and anew for each kernel.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path

from cnnbook import files


@functools.cache
def substitutes() -> dict[str, str]:
    """Variables for the environment of kernels: where matplotlib and IPython keep their files, if not at home.

    Empty where their places can be written. The folder is removed when this process ends.
    """
    missing = [name for name, places in _places().items() if any(map(files.obstacle, places))]
    if not missing:
        return {}
    folder = tempfile.mkdtemp(prefix="cnnbook-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {name: os.path.join(folder, name.lower()) for name in missing}


def _places():
    """The folders that each of these variables stands for, as set or by default."""
    # Not Path.home(), which raises where there is none.
    home = Path(os.path.expanduser("~"))
    matplotlib = [home / ".matplotlib"]
    if sys.platform.startswith(("linux", "freebsd")):
        config = os.environ.get("XDG_CONFIG_HOME") or home / ".config"
        cache = os.environ.get("XDG_CACHE_HOME") or home / ".cache"
        matplotlib = [Path(config) / "matplotlib", Path(cache) / "matplotlib"]
    defaults = {"MPLCONFIGDIR": matplotlib, "IPYTHONDIR": [home / ".ipython"]}
    return {
        name: [Path(os.environ[name])] if os.environ.get(name) else default
        for name, default in defaults.items()
    }
