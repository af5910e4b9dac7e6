"""What a claim's key follows: the code that decides its number, and nothing else."""

import shutil
from pathlib import Path

import pytest

from cnnbook.course.said import makes_claims, repeated
from cnnbook.course.standing import Standing
from cnnbook.sources.decisive import decisive
from cnnbook.sources.imports import Imports, _parse
from cnnbook.sources.parts import _statements, reached

pytestmark = pytest.mark.jax
PACKAGE = Path(__file__).parents[1] / "cnnbook"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of this package's sources, to edit."""
    folder = tmp_path_factory.mktemp("copy") / "cnnbook"
    shutil.copytree(
        PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__", "files", "kept", "*.npz", "*.h5")
    )
    return Imports(folder)


def cell(source, *tags, kind="code"):
    return {"cell_type": kind, "source": source, "metadata": {"tags": list(tags)}}


def cells(**changed):
    """A notebook, some of its cells with another source."""
    made = {
        "colab": cell("import importlib.util", "colab"),
        "title": cell("# Title", kind="markdown"),
        "parameters": cell("seed = 0\nepochs = 3", "parameters"),
        "imports": cell("import numpy as np\nfrom cnnbook import claim, data, models, training, viz"),
        "train": cell("net = models.LeNet5(classes=10)\nhistory = training.fit(net, *data.load('digits'), epochs=epochs)"),
        "draw": cell("fig = viz.curves(history)", "hide-input"),
        "prepare": cell("names = sorted(history)", "hide-input"),
        "exact": cell("assert net.count_params() == 61706, 'as in the paper'"),
        "first": cell("claim('it learns', history['acc'], above=0.5)\nprint(names)"),
        "second": cell("best = max(history['acc'])\nclaim('it learns well', best, above=0.9)"),
        "solution": cell("answer = 1", "solution"),
        "after": cell("print(best)"),
    }  # fmt: skip
    for name, source in changed.items():
        made[name] = {**made[name], "source": source}
    return list(made.values())


FIRST, SECOND = 8, 9


def keys(package, **changed):
    found = Standing(cells(**changed), package)
    return found.key(FIRST), found.key(SECOND)


@pytest.mark.parametrize(
    "name, source",
    [
        ("title", "# Another title"),
        ("colab", "%pip install cnnbook"),
        ("draw", "fig = viz.curves(history, title='another')"),
        ("exact", "assert net.count_params() == 61706, f'Table 1 has 61,706'"),
        ("train", "# Ten classes.\nnet = models.LeNet5(classes = 10)\n\n"
                  "history = training.fit(net, *data.load('digits'),\n                       epochs=epochs)"),
        ("imports", "import numpy as np\n\nfrom cnnbook import viz, claim, data, models, training"),
        ("first", "claim('another sentence', history['acc'], below=7)\nprint(names)"),
        ("solution", "answer = 2"),
        ("after", "print(worst)"),
    ],
)  # fmt: skip
def test_an_edit_that_decides_no_number_leaves_the_keys(package, name, source):
    assert keys(package, **{name: source}) == keys(package)


@pytest.mark.parametrize(
    "name, source, changed",
    [
        ("parameters", "seed = 0\nepochs = 4", (True, True)),
        ("imports", "import numpy as np\nfrom cnnbook import claim, data, models, training, viz as models", (True, True)),
        ("train", "net = models.LeNet5(classes=11)\nhistory = training.fit(net, *data.load('digits'), epochs=epochs)",
         (True, True)),
        # A drawing that makes what a later cell reads is no drawing.
        ("prepare", "names = sorted(history)[::-1]", (True, True)),
        ("exact", "assert net.count_params() == 61707, 'as in the paper'", (True, True)),
        ("first", "claim('it learns', history['loss'], above=0.5)\nprint(names)", (True, True)),
        ("second", "best = min(history['acc'])\nclaim('it learns well', best, above=0.9)", (False, True)),
    ],
)  # fmt: skip
def test_an_edit_that_may_decide_a_number_changes_the_keys(package, name, source, changed):
    pairs = zip(keys(package, **{name: source}), keys(package), strict=True)
    assert tuple(now != before for now, before in pairs) == changed


def edited(package, *edits):
    """The keys after edits of files of the package, (name, old text, new text), which are then undone."""
    before = {package.folder / name: (package.folder / name).read_text("utf-8") for name, _, _ in edits}
    try:
        for (path, text), (_, old, new) in zip(before.items(), edits, strict=True):
            assert old in text
            path.write_text(text.replace(old, new, 1), "utf-8")
        _forget_sources()
        return keys(Imports(package.folder))
    finally:
        for path, text in before.items():
            path.write_text(text, "utf-8")
        _forget_sources()


def computing(package, source):
    """The modules that decide the numbers of a code cell."""
    return decisive(package, package.imports_of([source]), [source])


def _forget_sources():
    _parse.cache_clear()
    _statements.cache_clear()


@pytest.mark.parametrize(
    "edit",
    [
        ("training/fitting.py", "momentum=float(", "momentum=0.5 * float("),
        ("training/statistics.py", "SHARE = 0.01", "SHARE = 0.02"),
        ("models/lenet.py", "L.Conv2D(120,", "L.Conv2D(121,"),
    ],
    ids=lambda edit: edit[0],
)
def test_a_file_that_decides_counts(package, edit):
    assert not set(edited(package, edit)) & set(keys(package))


def test_what_decides_nothing_does_not_count(package):
    edits = [
        ("training/fitting.py", '"""', '"""Another docstring. '),
        ("training/batches.py", "\nimport ", "\n# A comment.\nimport "),
        # What only PyTorch runs through: kept evidence is made on the other two.
        (
            "training/programs.py",
            "    if None in key",
            '    if keras.backend.backend() == "torch":\n        key = (None,)\n    if None in key',
        ),
        # Neither what draws, nor what says, nor a network that the notebook does not name.
        ("viz/style.py", "\ndef ", "\nSIZE = 2\n\ndef "),
        ("claims.py", "\ndef ", "\nSIZE = 2\n\ndef "),
        ("exercises.py", "\ndef ", "\nSIZE = 2\n\ndef "),
        ("models/nasnet.py", "\ndef ", "\nSIZE = 2\n\ndef "),
        # Nor a function more, and the name under which a room gives it.
        ("training/measures.py", "\ndef ", "\ndef nobody_calls_it(x):\n    return fit(x)\n\n\ndef "),
        (
            "training/__init__.py",
            '"accuracy": "measures",',
            '"accuracy": "measures", "nobody_calls_it": "measures",',
        ),
        ("models/figures.csv", "61706", "61707"),
    ]
    assert edited(package, *edits) == keys(package)


def test_what_code_reaches_by_name(tmp_path):
    folder = tmp_path / "toy"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("", "utf-8")
    (folder / "data" / "__init__.py").write_text("", "utf-8")
    sources = {
        "a": ["from .b import two as second\nONE = 1", "def one():\n    return _one(ONE)", "def _one(x):\n    return x",
              "def other():\n    return second()", "print('read')"],
        "b": ["TABLE = {'x': 'three'}", "def _one():\n    return 1", "def two():\n    return globals()[TABLE['x']]()",
              "def three():\n    return 3"],
    }  # fmt: skip
    for name, statements in sources.items():
        (folder / "data" / f"{name}.py").write_text("\n\n\n".join(statements) + "\n", "utf-8")
    modules = ["toy.data.a", "toy.data.b"]

    def count(text):
        return {m.rpartition(".")[2]: len(d) for m, d in reached(Imports(folder), modules, [text]).items()}

    assert count("nothing()") == {}
    # one, its own _one, ONE, and the call that runs when the module is imported.
    assert count("one()") == {"a": 4}
    assert count("toy.data.a.other()") == {"a": 3, "b": 3}, (
        "other, its `second`, print; two, TABLE, and three by the table"
    )
    assert count("three") == {"b": 1}
    # A function's own variable is not the module's function of that name, a parameter neither.
    assert count("def f(two):\n    one = 1\n    return one + two") == {}
    assert count("def f():\n    global one\n    one = 1\n    return one") == {"a": 4}


EXPERIMENTS = """\"\"\"Experiments.\"\"\"

from cnnbook import models, training
from cnnbook.experiments import Experiment


def width(*, filters, seed):
    return training.fit(models.NiN(), filters, seed)


WIDTH = Experiment(width, variants={"one": {"filters": 1}}, live={}, kept={})
"""


def test_the_files_of_experiments_count_that_cells_name(package):
    path = package.folder / "experiments" / "width.py"

    def keys_with(text, name):
        path.write_text(text, "utf-8")
        (package.folder / "experiments" / "other.py").write_text(EXPERIMENTS.replace("NiN", "VGG16"), "utf-8")
        _forget_sources()
        loading = cell(f"from cnnbook import experiments\nruns = experiments.load({name!r}).live(seed=0)")
        claiming = cell("claim('it learns', runs.spread('accuracy')['one'][0], above=0.5)")
        found = Standing([loading, claiming], Imports(package.folder))
        return found.key(1), {m.removeprefix("cnnbook.") for m in found.modules}

    try:
        key, modules = keys_with(EXPERIMENTS, "width.width")
        assert {"experiments.width", "models.nin", "training.fitting"} <= modules
        # Nor another file of experiments, with its networks, nor what all files share.
        assert not {"experiments.other", "models.vgg", "experiments", "experiments.common.room"} & modules
        assert keys_with(EXPERIMENTS.replace("Experiments.", "Of chapter 03."), "width.width")[0] == key
        assert keys_with(EXPERIMENTS.replace("{}, kept", "{'x': 1}, kept"), "width.width")[0] != key
        other, modules = keys_with(EXPERIMENTS, "none.width")
        assert other != key and not {"models.nin", "training.fitting", "experiments.width"} & modules
    finally:
        for name in ("width", "other"):
            (package.folder / "experiments" / f"{name}.py").unlink()
        _forget_sources()


def test_networks_count_by_name_with_the_papers_that_they_modify(package):
    def papers(*names, source=""):
        found = computing(package, f"from cnnbook import {', '.join(names)}\n{source}")
        others = {"network", "registry", "published"}
        return {name.rpartition(".")[2] for name in found if ".models." in name} - others

    assert papers("models", "viz") == set()
    assert papers("models", source="models.ResNeXt50()") == {"resnext", "resnet"}
    # What `transfer` builds by name counts where it is imported.
    by_name = papers("transfer")
    assert "efficientnet_lite" in by_name and "nasnet" not in by_name


def test_answers_to_exercises_decide_nothing(package):
    """They may build and train what they like: `check` judges an answer with it, and no claim stands on that."""
    path = package.folder / "answers" / "toy.py"
    path.write_text("def right(net):\n    from cnnbook.models import vgg\n", "utf-8")
    try:
        source = "from cnnbook.exercises import check\nprint('vgg')"
        assert computing(Imports(package.folder), source) == computing(package, "print('vgg')") == []
    finally:
        path.unlink()


def test_the_run_key_follows_sentences_and_not_bounds(package):
    def run(**changed):
        return Standing(cells(**changed), package).run()

    second = "best = max(history['acc'])\nclaim('it learns well', best, above={bound})"
    assert run(second=second.format(bound=0.8)) == run(second=second.format(bound=0.9)) == run()
    assert run(second=second.format(bound=0.9).replace("well", "best")) != run()
    assert run(after="print(1)") == run() != run(parameters="seed = 0\nepochs = 5")


def test_how_a_claim_is_called_follows_its_bound(package):
    one = Standing(cells(), package)
    two = Standing(
        cells(second="best = max(history['acc'])\nclaim('it learns well', best, above=0.8)"), package
    )
    assert one.call(FIRST) == two.call(FIRST) and one.call(SECOND) != two.call(SECOND)


def test_a_cell_with_magics_or_no_python_counts(package):
    magic = [
        cell("%matplotlib inline\nif True:\n    !ls\nx = 1"),
        cell("%%bash\nls -l"),
        cell("claim('a', x, above=0)"),
    ]
    same = [cell("%matplotlib notebook\nif True:\n    !dir\nx = 1"), *magic[1:]]
    other = [magic[0], cell("%%bash\nls -a"), magic[2]]
    made = [Standing(these, package).key(2) for these in (magic, same, other)]
    assert made[0] == made[1] != made[2]


def test_sentences_that_two_claims_share_are_named():
    output = {"output_type": "display_data", "metadata": {"cnnbook_claim": {"sentence": "in a loop"}}}
    looped = {**cell("for n in names:\n    claim(f'in a loop', n, above=0)"), "outputs": [output, output]}
    twice = [
        cell("claim('twice.', 1, above=0)"),
        cell("claims.claim('twice', 2, above=0)\nclaim('once', 2, above=0)"),
    ]
    assert repeated([looped, *twice]) == ["in a loop", "twice"]
    assert makes_claims("claims.claim('a', 1, above=0)") and not makes_claims("claims.report()")
