"""The second lock behind `stage.py`: no page brings a file into the book that is not in the folder that Sphinx reads.

Links have more forms than the stage knows, and Sphinx copies what an image or a download points to, wherever that lies.
"""

from pathlib import Path

from sphinx.errors import SphinxError


def setup(app):
    app.connect("builder-inited", forbid_insertion)
    app.connect("env-updated", refuse_files_from_outside)
    return {"parallel_read_safe": True}


def forbid_insertion(app):
    """`include`, `literalinclude`, `raw` and tables read no files."""
    app.env.settings["file_insertion_enabled"] = False


def refuse_files_from_outside(app, env):
    """Ends the build before anything is copied."""
    # myst-nb puts the figures of a notebook's outputs into a folder of its own.
    figures = getattr(getattr(env, "mystnb_config", None), "output_folder", None)
    places = [Path(place).resolve() for place in (app.srcdir, figures) if place]
    for files in (env.images, env.dlfiles):
        for name, (pages, *_) in files.items():
            if not any(Path(app.srcdir, name).resolve().is_relative_to(place) for place in places):
                raise SphinxError(f"{', '.join(sorted(pages))} shows a file outside of the book: {name}")
