"""The conditions that `cnnbook shake` repeats a notebook under: a seed, and a machine as the environment makes it.

Which kernels, threads and backend are in force is read back from a process started as the notebooks are: what this
machine cannot give is not run and not counted.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass

from cnnbook import machine
from cnnbook.course.processes import OWN_GROUP, end_tree
from cnnbook.course.project import ONE_THREAD, UserError, kernel_environment, one_thread

PROBE_SECONDS = 300
# How the processors' levels are called; oneDNN says "Intel AVX2" on every maker's.
LEVELS = ("AVX-512", "AVX2", "SSE4.1")
KERNELS = {"avx512": ("AVX512_CORE", "AVX-512"), "avx2": ("AVX2", "AVX2"), "sse41": ("SSE41", "SSE4.1")}
_CPU = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
# Every condition says all of this, so that nothing of the user's environment is in it.
_PLAIN = {
    "KERAS_BACKEND": "tensorflow",
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "ONEDNN_MAX_CPU_ISA": "ALL",
    "CNNBOOK_ROUNDED_PRODUCTS": "",
    "CNNBOOK_CLAIMS": "report",
    **one_thread({}),
    **_CPU,
}


@dataclass(frozen=True)
class Machine:
    """A kind of machine: the environment that asks for it, and what must be in force for it to be that."""

    environment: dict
    wanted: dict


def _cpu(wanted=None, **environment):
    usual = {"backend": "tensorflow", "device": "cpu", "one_thread": True, "rounded": False}
    return Machine({**_PLAIN, **environment}, {**usual, **(wanted or {})})


MACHINES = {
    # This processor's best kernels.
    "plain": _cpu(),
    **{
        name: _cpu(dict(kernels=level), ONEDNN_MAX_CPU_ISA=isa) for name, (isa, level) in KERNELS.items()
    },
    "off": _cpu(dict(kernels=None), TF_ENABLE_ONEDNN_OPTS="0"),
    "threads": _cpu(dict(one_thread=False), **dict.fromkeys(ONE_THREAD, "2"), XLA_FLAGS=""),
    "rounded": _cpu(dict(rounded=True), CNNBOOK_ROUNDED_PRODUCTS="10"),
    "jax": _cpu(dict(backend="jax", one_thread=None), KERAS_BACKEND="jax"),
    # With the backend of the user's environment, and the threads that it has.
    "gpu": Machine({"CNNBOOK_ROUNDED_PRODUCTS": "", "CNNBOOK_CLAIMS": "report"}, {"device": "gpu"}),
    # The user's environment as it is.
    "here": Machine({"CNNBOOK_CLAIMS": "report"}, {}),
}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """A machine and a seed: the parameter `seed` of a notebook."""

    machine: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.machine}-{self.seed}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that a kernel needs for it."""
        return MACHINES[self.machine].environment


# Seed and machine change together. The first ones differ most, for who runs only some of them; JAX compiles for each size
# and so takes twice the time: once.
_TWELVE = (
    "plain", "avx2", "off", "rounded", "threads", "jax",
    "avx512", "plain", "avx2", "off", "rounded", "sse41",
)  # fmt: skip
_GPU = ("gpu", "gpu")
SEEDS_APART = 100
# Where a claim was missed, it is asked again under two seeds that no record knows.
CONFIRMING = (Condition("here", 9000), Condition("here", 9100))


def conditions(more: bool = False) -> list[Condition]:
    """The twelve, and two on a GPU; more: the second twelve, the same machines with other seeds."""
    machines = (*_TWELVE, *_GPU)
    first = SEEDS_APART * len(machines) * more
    return [Condition(name, first + SEEDS_APART * i) for i, name in enumerate(machines)]


def choose_conditions(words: str | None, more: bool = False) -> list[Condition]:
    """Those that a text names: a number takes the first ones, a list such as "avx2,plain-0" machines and conditions."""
    every = conditions() + (conditions(more=True) if more else [])
    if words is None:
        return every
    if words.strip().isdecimal():
        if not 1 <= int(words) <= len(every):
            raise UserError(f"--conditions takes a number from 1 to {len(every)}, or names; got {words}")
        return every[: int(words)]
    chosen = set()
    for word in filter(None, (word.strip() for word in words.split(","))):
        named = [c for c in every if word in (c.machine, c.name)]
        if not named:
            names = ", ".join(c.name for c in every)
            raise UserError(
                f"there is no condition {word!r}; there is: {names}, and the part before the dash"
            )
        chosen.update(named)
    return [condition for condition in every if condition in chosen]


def in_force(name: str) -> dict | None:
    """What a process has that is started as a machine's kernels are; None where it does not start.

    Gives what course.probe says, `kernels` (the level of oneDNN's convolutions, None where TensorFlow uses none) and
    `processor`.
    """
    env = {**kernel_environment(), **MACHINES[name].environment, "ONEDNN_VERBOSE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "cnnbook.course.probe"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, encoding="utf-8", errors="replace", **OWN_GROUP,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    finally:
        end_tree(process)
    last = said.strip().rpartition("\n")[2]
    if process.returncode or not last.startswith("{"):
        return None
    level = None
    # oneDNN says what it is when it is first used, and a line for each of its operations.
    if isa := re.search(r"^onednn_verbose,.*\bcpu,isa:(.*)$", said, re.M):
        computed = re.search(r"^onednn_verbose,.*\bexec,cpu,convolution,", said, re.M)
        level = next((name for name in LEVELS if computed and name in isa[1]), None)
    return {**json.loads(last), "kernels": level, "processor": machine.processor()}


def differs(name: str, found: dict | None) -> str | None:
    """Why what is in force is not the machine of that name, in words; None where it is."""
    if found is None:
        return "its backend does not start here"
    wanted = MACHINES[name].wanted.items()
    wrong = [
        f"{key} {found[key]}"
        for key, value in wanted
        if found[key] != value and not _unseen(key, found, value)
    ]
    return f"in force here: {', '.join(wrong)}" if wrong else None


def _unseen(key, found, value):
    return key == "one_thread" and None in (found[key], value)


def kind(found: dict) -> str:
    """What is in force, as the course names it: "TensorFlow AVX2, two threads"."""
    names = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
    words = names.get(found["backend"], found["backend"])
    if found["device"] != "cpu":
        return f"{words} on a GPU"
    if found["backend"] == "tensorflow":
        words += f" {found['kernels']}" if found["kernels"] else " without oneDNN"
        words += ", two threads" if found["one_thread"] is False else ""
    return words + (", rounded products" if found["rounded"] else "")
