"""The command `cnnbook`: run notebooks and experiments, keep the pairs equal, look at the machine and at the networks.

Everything heavy is imported by the sub-command that needs it, so that `cnnbook --help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns 0 done, 1 something failed, 2 wrong input, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        # Replace characters that the console cannot encode instead of failing.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    arguments = _parser().parse_args(argv)
    from cnnbook.course.project import UserError, quick_nbformat

    quick_nbformat()
    try:
        return arguments.command(arguments)
    except UserError as error:
        print(f"cnnbook {arguments.name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `cnnbook models | head`
        sys.stderr.close()
        return 0
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"cnnbook {arguments.name}: {error.strerror or error}: {error.filename}", file=sys.stderr)
        return 1


CHOICE = "a choice such as 'vgg,start' or '03': a part of a name, or its number"


def _parser():
    from cnnbook import __version__

    parser = argparse.ArgumentParser(prog="cnnbook", description="The course's notebooks and networks.")
    parser.add_argument("--version", action="version", version=f"cnnbook {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name, function, help, only=None, root=True):
        sub = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        sub.set_defaults(command=function, name=name)
        if root:
            sub.add_argument("--root", metavar="DIR", help="the course's folder (default: found from here)")
        if only:
            sub.add_argument("--only", metavar="NAMES", help=only)
        return sub

    _add_run_options(
        command("run", _run, "execute the notebooks, write build/ with a summary and the book", CHOICE)
    )
    command(
        "doctor",
        _doctor,
        "say which versions, devices and data are here, and what to do where one is missing",
    )
    models = command(
        "models", _models, "show the table of networks with their figures", "a part of a name", root=False
    )
    models.add_argument("--json", action="store_true", help="for programs")
    _add_sync_options(
        command("sync", _sync, "write the notebooks from the chapters, keeping outputs of unchanged cells; "
                               "refresh the sources that they show", CHOICE)
    )  # fmt: skip
    _add_shake_options(
        command("shake", _shake, "repeat the notebooks under other seeds and kernels, and count how often "
                                 "each claim holds", CHOICE)
    )  # fmt: skip
    _add_reproduce_options(
        command("reproduce", _reproduce, "run experiments at the size that convinces, and keep what they measure as "
                                         "the evidence that chapters show")
    )  # fmt: skip
    command("form", _form, "say how much prose each chapter has for its code, and hold to the limits those that "
                           "pyproject.toml lists or --only names", CHOICE)  # fmt: skip
    student = command("student", _student, "write the students' copies: no solutions, no outputs", CHOICE)
    student.add_argument("--out", type=Path, metavar="DIR", help="where they go (default: build/student)")
    book = command("book", _book, "render the book from the stored notebooks")
    book.add_argument("--out", type=Path, metavar="DIR", help="where the pages go")
    return parser


def _add_run_options(run):
    run.add_argument(
        "--profile", default="default", metavar="NAME", help="sizes of notebooks/profiles/NAME.yaml"
    )
    run.add_argument(
        "--jobs", type=_count, metavar="N", help="notebooks at a time (default: one per core that pays)"
    )
    run.add_argument("--timeout", type=_seconds, metavar="S", help="seconds that one notebook may take")
    run.add_argument("--out", type=Path, metavar="DIR", help="where the results go (default: build)")
    run.add_argument("--no-book", action="store_true", help="do not render the book")
    run.add_argument("--fresh", action="store_true", help="run again what passed before and did not change")


def _add_sync_options(sync):
    sync.add_argument("--execute", action="store_true", help="run the notebooks and store their outputs")
    sync.add_argument("--from", dest="source", choices=("chapters", "notebooks"), default="chapters",
                      help="which of the two holds the edits (default: chapters)")  # fmt: skip
    sync.add_argument("--force", action="store_true", help="overwrite cells edited on the other side")
    sync.add_argument("--timeout", type=_seconds, metavar="S", help="seconds that one cell may take")


def _add_shake_options(shake):
    shake.add_argument("--conditions", metavar="N|NAMES", help="the first N, or such as 'avx2,plain-0'")
    shake.add_argument("--more", action="store_true",
                       help="notebooks that have missed a claim: also the second twelve")  # fmt: skip
    shake.add_argument("--confirm", type=Path, metavar="FILE",
                       help="only ask again, under two other seeds, for the claims that pytest --nbval missed")  # fmt: skip
    shake.add_argument("--check", action="store_true", help="only say how the records stand; runs nothing")
    shake.add_argument(
        "--jobs", type=_count, metavar="N", help="notebooks at a time (default: one per core that pays)"
    )
    shake.add_argument("--timeout", type=_seconds, metavar="S", help="seconds that one notebook may take")
    shake.add_argument(
        "--out", type=Path, metavar="DIR", help="where the runs are kept (default: build/shake)"
    )
    shake.add_argument("--fresh", action="store_true", help="run again what has run and did not change")


def _add_reproduce_options(reproduce):
    reproduce.add_argument("names", nargs="*", metavar="NAME",
                           help="such as normalisation.placement, or the file: normalisation (default: all)")  # fmt: skip
    reproduce.add_argument("--list", action="store_true", help="only show the experiments and their evidence")
    reproduce.add_argument(
        "--seeds",
        type=_count,
        metavar="N",
        help="seeds a variant; other than its own, the evidence stays beside the runs",
    )
    reproduce.add_argument(
        "--jobs", type=_count, metavar="N", help="runs at a time (default: one per core; one on a GPU)"
    )
    reproduce.add_argument(
        "--out", type=Path, metavar="DIR",
        help="where runs and evidence go; those of the package are not looked at (default: runs to build/reproduce, "
             "evidence into the package)",
    )  # fmt: skip
    reproduce.add_argument("--fresh", action="store_true", help="run again what has run and did not change")


def _count(text):
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 is wanted, not {text!r}")
    return value


def _seconds(text):
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"a number of seconds above 0 is wanted, not {text!r}")
    return value


def _project(arguments):
    from cnnbook.course.project import Project

    return Project.find(arguments.root)


def _run(arguments):
    from cnnbook.course.run import run

    result = run(
        _project(arguments),
        profile=arguments.profile,
        only=arguments.only,
        jobs=arguments.jobs,
        timeout=arguments.timeout,
        out=arguments.out,
        book=not arguments.no_book,
        fresh=arguments.fresh,
    )
    print(result.text(), flush=True)
    return result.status


def _doctor(arguments):
    from cnnbook.course.doctor import doctor

    return doctor()


def _models(arguments):
    from cnnbook.course.doctor import models

    return models(arguments.only, as_json=arguments.json)


def _sync(arguments):
    from cnnbook.course.sync import sync

    return sync(
        _project(arguments),
        arguments.only,
        execute=arguments.execute,
        source=arguments.source,
        force=arguments.force,
        timeout=arguments.timeout,
    )


def _shake(arguments):
    project = _project(arguments)
    if arguments.check:
        from cnnbook.course.track import check

        status = check(project, arguments.only)
        if not arguments.only:
            from cnnbook.course.reproduce import standing

            print(standing())
        return status
    from cnnbook.course.shake import confirm, shake

    options = dict(jobs=arguments.jobs, timeout=arguments.timeout, out=arguments.out)
    if arguments.confirm:
        return confirm(project, arguments.confirm, **options)
    return shake(
        project,
        only=arguments.only,
        conditions=arguments.conditions,
        more=arguments.more,
        fresh=arguments.fresh,
        **options,
    )


def _reproduce(arguments):
    from cnnbook.course.reproduce import listed, reproduce

    if arguments.list:
        print(listed(arguments.names))
        return 0
    return reproduce(
        arguments.names,
        arguments.out or _project(arguments).root / "build" / "reproduce",
        seeds=arguments.seeds,
        jobs=arguments.jobs,
        apart=arguments.out is not None,
        fresh=arguments.fresh,
    )


def _form(arguments):
    from cnnbook.course.form import form

    return form(_project(arguments), arguments.only)


def _student(arguments):
    from cnnbook.course import asked
    from cnnbook.course.notebook import read_notebook
    from cnnbook.course.sync import student

    project = _project(arguments)
    told = False
    for path in student(project, arguments.out or project.root / "build" / "student", arguments.only):
        print(path)
        place, new, _ = path.stem.partition(".new")
        if new:
            print(f"  {place}.ipynb there was changed since it was written, and stays as it is")
        cells = read_notebook(path).cells
        open_ = sum(asked.shows_answers(cell.source) for cell in cells if cell.cell_type == "code")
        if open_:
            print(
                f"  {open_} of its exercises hold their answers: check(key, answer) would keep them off the page"
            )
        for problem in asked.gives_away(cells):
            told = True
            print(f"  an answer is given away: {problem}", file=sys.stderr)
    return 1 if told else 0


def _book(arguments):
    from cnnbook.course.book import build_book

    return build_book(_project(arguments), out=arguments.out) or 0


if __name__ == "__main__":
    sys.exit(main())
