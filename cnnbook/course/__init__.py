"""The course as a thing that runs: its commands, the runner of notebooks, chapters and their notebooks, the doctor.

No notebook's result depends on anything in this room. A notebook may start processes by its launcher, under the name
`cnnbook.distributed`; that file then counts among what the notebook uses.
"""

# Its face is the command: `cnnbook --help`.
__all__ = []
