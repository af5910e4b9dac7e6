"""The code of the chapters' cells: one seed from which every draw follows, and asserts that say what came.

What is allowed: a seed, or whatever binds a name that begins with "seed", is an expression in which a name stands that
follows from the parameter: one that begins with "seed" (`seed`, `seed + 1`, `[seed, k]`, `seeds[0]`, `range(seed, seed +
runs)`), one that the same scope takes from such an expression (`for k in seeds`), or a parameter of a function that every
call of it in the chapter gives such a value. The name `seed` itself is bound in one place, the cell tagged `parameters`;
functions and comprehensions have names of their own.
"""

import ast
import re
from pathlib import Path

import pytest

from cnnbook.course import sync
from cnnbook.course.project import Project, tags

pytest.importorskip("jupytext")
transform = pytest.importorskip("IPython.core.inputtransformer2").TransformerManager().transform_cell
COURSE = Project(Path(__file__).parents[1])
# Functions whose arguments without a name are a seed, and names of arguments that are one in any call.
DRAW = {"default_rng", "RandomState", "SeedSequence", "SeedGenerator", "set_random_seed", "set_seed", "seed"}
SEEDS = {"seed", "seeds", "random_state"}
SCOPES = ast.FunctionDef | ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
each = pytest.mark.parametrize("path", COURSE.chapter_paths(), ids=lambda path: path.stem)


def cells(path):
    """(what the cell begins with, its tags, its code as a tree) of every code cell of a chapter."""
    found = [cell for cell in sync.read_chapter(path).cells if cell.cell_type == "code"]
    return [(cell.source[:60], tags(cell), ast.parse(transform(cell.source))) for cell in found]


def stored(node):
    return {
        part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }


def follows(node, known=frozenset()):
    """Whether a name that begins with "seed", or is known to follow from one, stands in the expression."""
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return bool(names & known) or any(name.startswith("seed") for name in names)


def following(scope, known):
    """The names of a scope, `known` ones among them, that are taken from what follows from the seed alone."""
    pairs = [(name, value) for node in ast.walk(scope) for names, value in bound(node) for name in names]
    known, before = set(known), None
    while known != before:
        before = set(known)
        known |= {name for name, _ in pairs if all(follows(v, known) for n, v in pairs if n == name)}
    return frozenset(known)


def arguments_that_follow(trees):
    """{function of the chapter: its parameters that every call gives what follows from the seed}."""
    functions = {n.name: n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    # All are taken to follow until a call is met that gives something else; functions call each other.
    follow = {
        name: {a.arg for a in ast.walk(f.args) if isinstance(a, ast.arg)} for name, f in functions.items()
    }
    called, before = set(), None
    while follow != before:
        before = {name: set(parameters) for name, parameters in follow.items()}
        for scope in [*trees, *functions.values()]:
            known = following(scope, before.get(getattr(scope, "name", None), ()))
            for node in _own_nodes(scope):
                name = getattr(node.func, "id", None) if isinstance(node, ast.Call) else None
                if name in functions:
                    called.add(name)
                    given_ = _values(node, functions[name].args, known)
                    follow[name] -= {parameter for parameter, does in given_.items() if not does}
    return {name: follow[name] for name in called}


def _values(call, parameters, known):
    """{parameter: whether this call gives it what follows}, for those that it gives."""
    names = [argument.arg for argument in [*parameters.posonlyargs, *parameters.args]]
    pairs = [*zip(names, call.args, strict=False), *((word.arg, word.value) for word in call.keywords)]
    return {name: follows(value, known) for name, value in pairs}


def given(node):
    """The seeds that a call or a dictionary is given."""
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return [value for key, value in pairs if isinstance(key, ast.Constant) and key.value in SEEDS]
    if not isinstance(node, ast.Call):
        return []
    called = getattr(node.func, "attr", getattr(node.func, "id", None))
    if called in DRAW and not node.args and not node.keywords:
        return [node]  # no seed at all: another draw in every run
    draws = node.args if called in DRAW else []
    return [*draws, *(word.value for word in node.keywords if word.arg in SEEDS)]


def bound(node):
    """(names, the expression that they are taken from) of an assignment, a loop or a function's defaults."""
    if isinstance(node, ast.Assign):
        return [(set().union(*map(stored, node.targets)), node.value)]
    if isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value:
        return [(stored(node.target), node.value)]
    if isinstance(node, ast.For | ast.comprehension):
        return [(stored(node.target), node.iter)]
    if isinstance(node, ast.arguments):
        last = node.args[len(node.args) - len(node.defaults) :]
        pairs = zip([*last, *node.kwonlyargs], [*node.defaults, *node.kw_defaults], strict=True)
        return [({argument.arg}, default) for argument, default in pairs if default]
    return []


def outside_of_scopes(node):
    """The nodes of a cell that bind its own names."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, SCOPES):
            yield from outside_of_scopes(child)


def own_seeds(tree, arguments=None):
    """What of a cell's code does not follow from the notebook's seed, as it is written.

    arguments: as `arguments_that_follow` gives them.
    """
    found = []
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    for scope in [tree, *functions]:
        known = following(scope, (arguments or {}).get(getattr(scope, "name", None), ()))
        for node in _own_nodes(scope):
            found += [ast.unparse(value) for value in given(node) if not follows(value, known)]
            for bind, value in bound(node):
                if any(name.startswith("seed") for name in bind) and not follows(value, known):
                    found.append(f"{', '.join(sorted(bind))} from {ast.unparse(value)}")
    again = [node for node in outside_of_scopes(tree) for bind, _ in bound(node) if "seed" in bind]
    return found + [f"seed is bound again in line {node.lineno}" for node in again]


def _own_nodes(scope):
    """The nodes of a scope without those of the functions inside it."""
    yield scope
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef):
            yield from _own_nodes(child)


def without_message(tree):
    return [ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Assert) and n.msg is None]


@each
def test_the_parameters_hold_one_seed(path):
    (tree,) = [tree for _, tags_, tree in cells(path) if "parameters" in tags_]
    found = [ast.unparse(node) for node in tree.body if any("seed" in name for name in stored(node))]
    assert len(found) == 1 and re.fullmatch(r"seed = \d+", found[0]), (
        f"{found}, expected seed = 0 alone: the others follow, as in seeds = range(seed, seed + runs)"
    )


@each
def test_no_cell_has_a_seed_of_its_own(path):
    code = [(begin, tree) for begin, tags_, tree in cells(path) if "parameters" not in tags_]
    arguments = arguments_that_follow([tree for _, tree in code])
    found = [f"{begin!r}: {seed}" for begin, tree in code for seed in own_seeds(tree, arguments)]
    assert not found, "these do not follow from the parameter `seed`:\n" + "\n".join(found)


@each
def test_an_assert_says_what_was_expected(path):
    found = [line for _, _, tree in cells(path) for line in without_message(tree)]
    assert not found, 'assert x == y, f"{x}, expected {y}":\n' + "\n".join(found)


@pytest.mark.parametrize(
    "code",
    [
        "rng = np.random.default_rng([seed, 3])",
        "training.seed(seed + 1)",
        "seeds = range(seed, seed + runs)",
        "made = [run(seed) for seed in seeds]",
        "fit(x, seed=seeds[-1], shuffle=True)",
        "def run(name, seed):\n    keras.utils.set_random_seed(seed)\n    for seed in range(seed, 3): pass",
        "settings = {'seed': seed_of_the_net, 'size': 3}",
        "PCA(3, random_state=seed)",
        "nets[label, seed] = build()",
        "for one, seed_of_it in zip(nets, seeds): fit(one, seed=seed_of_it)",
    ],
)
def test_what_follows_from_the_seed(code):
    assert own_seeds(ast.parse(code)) == []


@pytest.mark.parametrize(
    "code, found",
    [
        ("rng = np.random.default_rng(0)", ["0"]),
        ("rng = default_rng()", ["default_rng()"]),
        ("training.seed(k)", ["k"]),
        ("fit(x, seed=3)", ["3"]),
        ("default_rng(seed=3)", ["3"]),
        ("how = dict(max_iter=50, random_state=0)", ["0"]),
        ("how = {'random_state': 0}", ["0"]),
        ("seeds = [0, 1]", ["seeds from [0, 1]"]),
        ("made = [run(seed) for seed in (0, 1)]", ["seed from (0, 1)"]),
        ("def run(name, seed=0): pass", ["seed from 0"]),
        ("run = lambda *, seed=0: seed", ["seed from 0"]),
        ("seed = 4", ["seed from 4", "seed is bound again in line 1"]),
        ("if full:\n    seed += 1", ["seed from 1", "seed is bound again in line 2"]),
        ("for seed in seeds: pass", ["seed is bound again in line 1"]),
        ("for seed, part in enumerate(parts): pass",
         ["part, seed from enumerate(parts)", "seed is bound again in line 1"]),
    ],
)  # fmt: skip
def test_what_is_a_seed_of_its_own(code, found):
    assert own_seeds(ast.parse(code)) == found


CALLED = """
def build(k): training.seed(k)
def trained(k, size=3): build(k); fit(seed=k, size=size)
nets = [trained(CALL) for number in range(3)]
"""


@pytest.mark.parametrize(
    "call, found", [("seed + number", []), ("number", ["k", "k"]), ("k=seed", []), ("0", ["k", "k"])]
)
def test_the_parameter_of_a_function_follows_where_its_calls_do(call, found):
    tree = ast.parse(CALLED.replace("CALL", call))
    assert own_seeds(tree, arguments_that_follow([tree])) == found


@pytest.mark.parametrize(
    "code, found", [("for k in seeds: fit(seed=k)", []), ("for k in (0, 1): fit(seed=k)", ["k"])]
)
def test_a_name_taken_from_the_seeds_follows(code, found):
    assert own_seeds(ast.parse(code)) == found


def test_an_assert_without_a_message_is_found():
    tree = ast.parse("assert a == b\nassert c, 'c is none'")
    assert without_message(tree) == ["assert a == b"]
