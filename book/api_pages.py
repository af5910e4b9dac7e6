"""A Sphinx extension: a page for each room of the package, `book/api/ROOM`, of what its `__all__` names.

What the pages say stands in the docstrings; autodoc finds them, `docstrings` brings them into form. Overviews are written
here, since autosummary ends a sentence at "eq. 1". The networks have a table for each paper in place of seventy
signatures that differ in little.
"""

import importlib
import inspect
import re
import types

from docstrings import escaped, inline, list_table, restructured, summary

import cnnbook

# `cnnbook.layers` is `cnnbook.parts.layers` under an older name.
FACES = ("layers",)
PLACE = "book/api"
# The first line of a builder's docstring that fixes another's arguments.
VARIANT = re.compile(r"\w+ is (.+)\.$", re.M)
# Lines of a paper's file that begin a thought.
THOUGHT = re.compile(r"\n(?=As in the paper|Differs from|Change first)")
# Full names of all that has an entry.
KNOWN = set()


def setup(app):
    app.connect("builder-inited", write_pages)
    app.connect("source-read", list_rooms)
    app.connect("autodoc-process-docstring", reform)
    app.connect("autodoc-process-signature", without_addresses)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}


def rooms():
    """{name: module} of the package's rooms."""
    found = {name: getattr(cnnbook, name) for name in cnnbook.__all__ if name not in FACES}
    return {name: value for name, value in found.items() if isinstance(value, types.ModuleType)}


def public(module):
    """{name: object} of a module in the order of the alphabet: what its `__all__` names, else what is defined in it."""
    names = getattr(module, "__all__", None)
    if names is None:
        here = module.__name__
        names = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == here]
    return {name: getattr(module, name) for name in sorted(names, key=str.lower) if not name.startswith("_")}


def inside(module):
    """The public modules in a room: `cnnbook.parts` has `blocks`, `layers`, ..."""
    return [value for value in public(module).values() if isinstance(value, types.ModuleType)]


# --------------------------------------------------------------------------- pages


def write_pages(app):
    """Writes the pages into the folder that Sphinx is about to read."""
    KNOWN.clear()
    for module in rooms().values():
        for part in (module, *inside(module)):
            remember(part)
    folder = app.srcdir / PLACE
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in rooms().items():
        lines = heading(module.__name__, "=") + (models_page if name == "models" else room_page)(module)
        (folder / f"{name}.rst").write_text("\n".join([*lines, ""]), "utf-8")


def list_rooms(app, page, source):
    """The rooms, each with the first sentence of its docstring, in place of the mark in api.md."""
    if page != PLACE:
        return
    lines = []
    for name, module in rooms().items():
        lines += [f"[`cnnbook.{name}`](api/{name}.rst)", f": {' '.join(summary(module.__doc__).split())}", ""]
    tree = ["```{toctree}", ":hidden:", "", *(f"api/{name}" for name in rooms()), "```"]
    source[0] = source[0].replace("<!-- rooms -->", "\n".join([*lines, *tree]))


def room_page(module):
    """A room, then a section for each public module inside."""
    lines = entries(module, public(module))
    for part in inside(module):
        lines += [*heading(part.__name__.removeprefix("cnnbook."), "-"), *entries(part, public(part))]
    return lines


def entries(module, names):
    """A module's docstring, an overview of the functions and classes in `names` ({name: object}), an entry for each."""
    link = linker(module.__name__)
    lines = [f".. module:: {module.__name__}", "", *restructured(module.__doc__ or "", link=link)]
    rows, details, constants = [], [], []
    for name, value in names.items():
        if callable(value):
            words = inline(summary(value.__doc__ or ""), link)
            rows.append([f":py:obj:`{name} <{module.__name__}.{name}>`", words])
            kind, options = ("class", ["   :members:"]) if inspect.isclass(value) else ("function", [])
            details += [f".. auto{kind}:: {name}", *options, ""]
        elif not isinstance(value, types.ModuleType):
            constants += [f".. py:data:: {name}", f"   :value: {short(repr(value))}", ""]
    return [*lines, *(list_table(rows) if rows else []), *details, *constants]


def models_page(module):
    """The networks: what all take, functions around them, and for each paper its builders as a table."""
    functions = {name: value for name, value in public(module).items() if name not in module.BUILDERS}
    functions.pop("BUILDERS")
    lines = entries(module, functions)
    papers = {}
    for builder, file in module.BUILDERS.items():
        papers.setdefault(file, []).append(builder)
    for file, builders in papers.items():
        lines += paper(module, importlib.import_module(f"{module.__name__}.{file}"), builders)
    return lines


def paper(module, file, builders):
    """A paper: the docstring of its file and of its networks, the builders with what they are and cost."""
    link = linker(module.__name__)
    title, _, rest = file.__doc__.partition(". ")
    lines = [*heading(title, "-"), *restructured(THOUGHT.sub("\n\n", rest), link=link)]
    costs = {}
    # Of several rows the one with the fewest arguments, the first of those.
    for row in sorted(module.figures(), key=lambda row: len(row["arguments"])):
        costs.setdefault(row["builder"], row)
    rows, told = [], set()
    for name in builders:
        call, words, own = described(module, name)
        if words and words not in told:
            lines += restructured(words, [parameter.name for parameter in own], link)
        if words not in told and call is not None and own:
            lines += [
                "Their own arguments: " + ", ".join(f"``{parameter.name}``" for parameter in own) + ".",
                "",
            ]
        told.add(words)
        call = call or f"{name}({', '.join(map(str, own))})"
        rows.append([f"``{name}``", f"``{short(call)}``", *counted(costs.get(name, {}))])
    header = ["builder", "is", "parameters", "multiply-adds", "with"]
    # A last column that says nothing is left out.
    width = 5 if any(row[-1] for row in rows) else 4
    return [*lines, *list_table([row[:width] for row in rows], header[:width])]


def described(module, name):
    """(the call that a variant stands for or None, the words on its network, its own parameters) of a builder."""
    builder = getattr(module, name)
    doc = inspect.getdoc(builder) or ""
    # What all take begins the lines of the room's docstring.
    shared = set(re.findall(r"^([a-z_]+) {2,}\S", module.__doc__, re.M)) - {"backbone"}
    own = [p for p in inspect.signature(builder).parameters.values() if p.name not in shared]
    variant = VARIANT.match(doc)
    return variant and variant[1], doc[variant.end() if variant else 0 :].strip(), own


def counted(row):
    """Cells of a row of figures.csv: parameters, multiply-adds, the arguments that they were counted with."""
    example = ", ".join(f"{key}={value!r}" for key, value in row.get("arguments", {}).items())
    numbers = (row.get("params"), row.get("macs"))
    return [*("" if n is None else f"{n:,}" for n in numbers), f"``{example}``" if example else ""]


def heading(text, line):
    return ["", escaped(text), line * 2 * len(text), ""]


def short(text):
    return text if len(text) <= 100 else text[:100].rsplit(" ", 1)[0] + " ..."


# --------------------------------------------------------------------------- entries


def remember(module):
    for name, value in public(module).items():
        if callable(value) and name not in getattr(module, "BUILDERS", ()):
            KNOWN.add(f"{module.__name__}.{name}")
        members = vars(value).items() if inspect.isclass(value) else ()
        for member, function in members:
            if isinstance(function, (property, types.FunctionType, classmethod)) and function.__doc__:
                KNOWN.add(f"{module.__name__}.{name}.{member}")


def linker(place):
    """What code in a docstring of that module or object stands for: a name beside it, else one of another room."""
    around = place.split(".")

    def link(code):
        code = code.removeprefix("cnnbook.")
        names = (".".join([*around[:n], code]) for n in range(len(around), 0, -1))
        return next((name for name in names if name in KNOWN), None)

    return link


def reform(app, what, name, value, options, lines):
    """A docstring that autodoc found, in form."""
    try:
        parameters = [p for p in inspect.signature(value).parameters if p not in ("self", "cls")]
    except (TypeError, ValueError):  # a property, a class without a signature
        parameters = ()
    lines[:] = restructured("\n".join(lines), parameters, linker(name))


def without_addresses(app, what, name, value, options, signature, returns):
    """Functions as defaults by their names, without the address that each run has anew."""
    function = r"<(?:built-in )?(?:function|class) '?([\w.<>]+?)'?(?: at 0x\w+)?>"
    return (re.sub(function, lambda m: m[1].split(".")[-1], signature), returns) if signature else None


def skip(app, what, name, value, skipped, options):
    """Fields of named tuples have no words of their own."""
    return True if str(getattr(value, "__doc__", "")).startswith("Alias for field number") else None
