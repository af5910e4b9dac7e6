"""What chapter 16 reads in place of a reader's own folder: shoes that look alike, some in the wrong sub-folder; and series.

The shoes are the package's Fashion-MNIST pictures as files of a camera's names, so that no name tells the class. The series
are squares of a photograph of gravel, each taken several times a pixel apart, as a burst or a video gives them.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from cnnbook import data

SHOES = ("Ankle boot", "Sandal", "Sneaker")


def save_shoes(root, *, each, wrong, seed):
    """Saves `each` pictures of each kind of shoe in a sub-folder of its kind, but `wrong` of all in that of another kind.

    Returns {path below root: what it shows} of those in the wrong place. ValueError for more of them than there are.
    """
    if not 0 <= wrong <= each * len(SHOES):
        raise ValueError(f"wrong is from 0 to the {each * len(SHOES)} pictures, got {wrong}")
    images, rng = data.load("fashion_mnist", verbose=False), np.random.default_rng(seed)
    kinds = np.repeat(np.arange(len(SHOES)), each)
    labels = [images.classes.index(name) for name in SHOES]
    chosen = [rng.choice(np.flatnonzero(images.y_train == label), each, replace=False) for label in labels]
    places = kinds.copy()
    moved = rng.choice(len(kinds), wrong, replace=False)
    places[moved] = (kinds[moved] + rng.integers(1, len(SHOES), wrong)) % len(SHOES)
    names = [f"IMG_{number:04}.png" for number in rng.permutation(len(kinds)) + 1]
    for i, place, name in zip(np.concatenate(chosen), places, names, strict=True):
        path = Path(root) / SHOES[place] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images.x_train[i, ..., 0]).save(path)
    return {f"{SHOES[places[k]]}/{names[k]}": SHOES[kinds[k]] for k in moved}


def save_trouble(root):
    """Adds what real folders hold: a file cut off, a copy, a copy in another class, a web page, nothing, and a note."""
    first, *others = (sorted((Path(root) / kind).glob("*.png")) for kind in SHOES)
    whole = first[0].read_bytes()
    (first[0].parent / "cut off.png").write_bytes(whole[: len(whole) // 2])
    (first[0].parent / "a copy.png").write_bytes(whole)
    (others[0][0].parent / "really a page.jpg").write_text("<html>not found</html>")
    (others[0][0].parent / "empty.png").touch()
    (others[1][0].parent / "notes.txt").write_text("taken in May")
    Image.open(others[0][1]).save(others[1][0].parent / "also a sandal.bmp")


def series(*, places, shots, seed, side=48):
    """Squares of the gravel, each shot beside the last, float32 (n, side * side), and the place of each (n,)."""
    from skimage import data as photographs

    rng, photograph = np.random.default_rng(seed), photographs.gravel().astype("float32")
    squares = []
    for top, left in rng.integers(1, 512 - side, (places, 2)):
        for y, x in rng.integers(-1, 2, (shots, 2)):
            squares.append(photograph[top + y :, left + x :][:side, :side].ravel())
    return np.stack(squares), np.repeat(np.arange(places), shots)
