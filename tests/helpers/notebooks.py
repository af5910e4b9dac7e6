"""Toy notebooks: cells, notebooks of them, and a folder that holds some."""

import pytest

nbformat = pytest.importorskip("nbformat")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def output(kind, **fields):
    return nbformat.v4.new_output(kind, **fields)


def printed(text):
    return output("stream", name="stdout", text=text)


def markdown(source, *tags):
    return nbformat.v4.new_markdown_cell(source, metadata={"tags": list(tags)} if tags else {})


def code(source, *outputs, tags=(), **metadata):
    """A cell as if executed."""
    metadata |= {"tags": list(tags)} if tags else {}
    return nbformat.v4.new_code_cell(source, metadata=metadata, outputs=list(outputs), execution_count=1)


def notebook(*cells):
    """A notebook of cells; a text is a code cell that has not been executed."""
    cells = [nbformat.v4.new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    for i, cell in enumerate(cells):
        cell.id = f"cell-{i}"
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


def write(folder, notebooks):
    """Writes {name: notebook} into a folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in notebooks.items():
        nbformat.write(content, folder / f"{name}.ipynb")
    return folder
