"""Profiles: notebooks/profiles/NAME.yaml gives the notebooks other sizes than those in their cells tagged `parameters`."""

from __future__ import annotations

import functools
import json
import re
import reprlib

from cnnbook.course.project import Project, UserError

# What YAML 1.1 takes for a date or for a number of base 60, and 1.2 for text; and the floats that 1.1 takes for text.
DATE = re.compile(r"\d{4}-\d\d?-\d\d?(?!\d)|[-+]?\d[\d_]*(:\d+)+(\.\d*)?$")
# What a profile may hold in all.
VALUES, CHARACTERS = 5_000, 100_000
FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")


def read_profile(project: Project, name: str) -> dict[str, dict]:
    """notebooks/profiles/NAME.yaml: notebook -> parameter -> value. `default` needs no file."""
    folder = project.notebooks / "profiles"
    known = sorted({"default", *(p.stem for p in folder.glob("*.yaml"))})
    if name not in known:
        raise UserError(f"there is no profile {name!r}; there is: {', '.join(known)} ({folder}/NAME.yaml)")
    path = folder / f"{name}.yaml"
    if not path.exists():
        return {}
    profile = _parsed(path)
    if not isinstance(profile, dict) or not all(isinstance(v, dict) for v in profile.values()):
        raise UserError(
            f"{path} must map each notebook's name to its parameters, such as `03-vgg: {{epochs: 20}}`"
        )
    stems = [p.stem for p in project.notebook_paths()]
    unknown = [stem for stem in profile if stem not in stems]
    if unknown:
        raise UserError(
            f"{path} names {', '.join(map(repr, unknown))}; the notebooks are: {', '.join(stems)}"
        )
    for stem, parameters in profile.items():
        for parameter, value in parameters.items():
            if not _can_be_passed(value):
                raise UserError(
                    f"{path} gives {stem} the {parameter} {reprlib.repr(value)}, which cannot be passed to a notebook: "
                    "possible are numbers, texts, true, false, null, lists of these, and mappings whose keys are texts"
                )
    return profile


def _parsed(path):
    import yaml

    try:
        # Bytes, since YAML itself finds out how they are encoded.
        loader = _loader()(path.read_bytes())
        node = loader.get_single_node()
        if node is None:
            return {}
        _check_size(node, path)
        return loader.construct_document(node) or {}
    except RecursionError:
        raise UserError(f"{path} is nested too deep for a profile") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _check_size(root, path):
    """Raises UserError where a file, its aliases written out as they will be, holds more than a profile does.

    Aliases of aliases make a number of any size out of a few lines, and an alias of what it stands in one without end.
    """
    open_, values, characters = [root], 0, 0
    while open_:
        node = open_.pop()
        values += 1
        if isinstance(node.value, str):
            characters += len(node.value)
        else:
            for part in node.value:
                open_ += part if isinstance(part, tuple) else (part,)
        if values + len(open_) > VALUES or characters > CHARACTERS:
            raise UserError(
                f"{path} holds more than a profile may, {VALUES:,} values and {CHARACTERS:,} characters, its aliases "
                "(*name) written out: give numbers, texts and short lists"
            )


@functools.cache
def _loader():
    """A safe loader that takes 1e-3 for a number, and dates and 16:9 for the texts that they are in the file."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {
            first: [("tag:yaml.org,2002:str", DATE), *others]
            for first, others in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))
    return Loader


def _can_be_passed(value):
    """Whether JSON, by which a notebook's process gets its parameters, gives it back as it was."""
    try:
        return repr(json.loads(json.dumps(value))) == repr(value)
    except (TypeError, ValueError):
        return False
