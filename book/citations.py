"""The references: refs.bib, in the words of the book and of references.md.

pybtex reads the file. What the pages say is written here, not by sphinxcontrib-bibtex, since most citations have words of
their own ("the ResNets of He et al.", with a link), which its roles can't hold; since references.md must be readable on
GitHub, where no Sphinx runs; and since each reference says which chapters cite it, which it does not know.
"""

import re
from pathlib import Path

from pybtex.database import parse_file

HERE = Path(__file__).resolve().parent
CITATION = re.compile(
    r"(?P<item>^[-*] (?=\[))?(?<![\]!\w`])\[(?P<key>[a-z]+\d{4}[a-z]*|keras|tfds)\](?![(\[`])", re.M
)


def bibliography():
    """{key: pybtex entry}, the entries of refs.bib."""
    return parse_file(str(HERE / "refs.bib"), bib_format="bibtex").entries


def names(person):
    """(first, last) names of a pybtex person as printed."""
    first = " ".join(map(str, person.first_names + person.middle_names))
    last = " ".join(map(str, person.prelast_names + person.last_names + person.lineage_names)).strip("{}")
    return first, last


def label(entry):
    """He et al. 2016; a second one of the same people and year is He et al. 2016b."""
    people = [names(person)[1] for person in entry.persons["author"]]
    if len(people) == 2 and people[1] != "others":
        people = [" & ".join(people)]
    text = f"{people[0]}{' et al.' if len(people) > 1 else ''} {entry.fields['year']}"
    letter = re.fullmatch(r"[a-z]+\d{4}([a-z]{2,})", entry.key or "")
    return text + "b" if letter else text


def authors(entry):
    """All names: A, B and C; A and others."""
    people = [" ".join(filter(None, names(person))) for person in entry.persons["author"]]
    if people[-1] == "others":
        return ", ".join(people[:-1]) + " and others"
    return " and ".join(filter(None, [", ".join(people[:-1]), people[-1]]))


def addresses(fields):
    """Where the paper is to be read, as Markdown links."""
    links = []
    if "eprint" in fields:
        links.append(f"[arXiv:{fields['eprint']}](https://arxiv.org/abs/{fields['eprint']})")
    if "doi" in fields:
        links.append(f"[doi:{fields['doi']}](https://doi.org/{fields['doi']})")
    if "url" in fields:
        links.append(f"[{fields['url'].partition('://')[2]}]({fields['url']})")
    return " · ".join(links)


def reference(key, entry, cited=None):
    """The lines of one reference. cited: {chapter: title}, the chapters that cite it."""
    fields = entry.fields
    where = fields.get("journal") or fields.get("booktitle") or fields.get("institution")
    where = ((f"{where}, " if where else "") + fields["year"]).replace("--", "–")
    text = f"**{label(entry)}**. {authors(entry)}. *{fields['title']}*. {where}. {addresses(fields)}".strip()
    if cited:
        links = (f"[{title}](../notebooks/{name}.ipynb)" for name, title in cited.items())
        text += "\\\nCited in " + ", ".join(links)
    return [f'<a id="{key}"></a>', text, ""]


def references(cited=None):
    """references.md: readable on GitHub, and the source of the book's page, which adds who cites what.

    cited: {key: {chapter: title}} for the book; None for the file in the repository.
    """
    lines = ["# References", "", "Written from `refs.bib` by `python book/build.py --references`.", ""]
    if cited is not None:
        lines = ["# References", "", "The papers behind the chapters, by first author.", ""]
    order = sorted(bibliography().items(), key=lambda item: (label(item[1]).lower(), item[0]))
    for key, entry in order:
        lines += reference(key, entry, (cited or {}).get(key))
    return "\n".join(lines).rstrip() + "\n"
