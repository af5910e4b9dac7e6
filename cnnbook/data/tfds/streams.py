"""Sets by TFDS: those that fit in memory as `Images`, the larger ones as `Streams` of tf.data."""

import dataclasses
from typing import Any

import numpy as np

from ..images import choose, counted, from_arrays, height_width
from .prepared import read

ARRAYS = ("cifar10", "cifar100")
STREAMS = ("tf_flowers", "oxford_iiit_pet")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Streams:
    """`train`, `validation`, `test`: unbatched `tf.data.Dataset`s of (image, answer), in a fixed order.

    image: uint8 (height, width, 3), each its own size unless `size` was given. answer: int64 class index into `classes`;
    for `oxford_iiit_pet` with task="segment" a uint8 (height, width, 1) mask: 0 background, 1 pet, 2 border. `sizes` says
    how many examples each part has. Shuffle, batch and prefetch are the caller's.
    """

    name: str
    classes: tuple
    source: str
    train: Any
    validation: Any
    test: Any
    sizes: dict

    def __repr__(self):
        names = ", ".join(self.classes[:10]) + (", ..." if len(self.classes) > 10 else "")
        return (
            f"Streams {self.name!r}: {counted(self.sizes)}\n  tf.data of {self.train.element_spec}\n"
            f"  {len(self.classes)} classes: {names}\n  source: {self.source}"
        )


def arrays(name, *, data_dir=None, size=None, **asked):
    """All of a set as `Images`; `asked` as in `choose`."""

    def use(builder):
        import tensorflow_datasets as tfds

        stored = {}
        for part in ("train", "test"):
            whole = builder.as_dataset(split=part, batch_size=-1, shuffle_files=False)
            whole = tfds.as_numpy(whole)
            stored[f"x_{part}"], stored[f"y_{part}"] = whole["image"], whole["label"]
        return stored, builder.info.features["label"].names, str(builder.info.version)

    stored, classes, version = read(name, use, data_dir)
    return from_arrays(name, stored, classes, f"TensorFlow Datasets {name} {version}", size, **asked)


def streams(name, *, task="classify", data_dir=None, size=None, train=None, test=None, validation=0, seed=0):
    """A larger set as `Streams`. tf_flowers has no test part of its own: a seeded fifth of it is set apart."""
    tasks = ("classify", "segment") if name == "oxford_iiit_pet" else ("classify",)
    if task not in tasks:
        raise ValueError(f"{name}: task={task!r}: choose one of {', '.join(tasks)}")
    shape = None if size is None else height_width(size)
    return read(
        name, lambda builder: _open(builder, name, task, shape, train, test, validation, seed), data_dir
    )


def _open(builder, name, task, shape, train, test, validation, seed):
    import tensorflow as tf
    import tensorflow_datasets as tfds

    plain = {
        key: tfds.decode.SkipDecoding()
        for key in ("image", "segmentation_mask")
        if key in builder.info.features
    }

    def encoded(part):
        return builder.as_dataset(split=part, decoders=plain, shuffle_files=False)

    # Reading every record once, undecoded, gives the labels and finds damaged files before training does.
    labels = {
        part: np.fromiter(encoded(part).map(lambda e: e["label"]).as_numpy_iterator(), "int64")
        for part in builder.info.splits
    }
    if "test" in labels:
        chosen = choose(name, labels["train"], labels["test"], train, test, validation, seed)
    else:
        everything = labels["train"]
        apart = choose(name, everything, everything[:0], validation=len(everything) // 5, seed=seed)
        rest, held = np.sort(apart["train"]), np.sort(apart["validation"])
        chosen = choose(name, everything[rest], everything[held], train, test, validation, seed)
        chosen = {part: (held if part == "test" else rest)[index] for part, index in chosen.items()}

    def fit(image, method):
        if shape is not None:  # the largest centred part with these proportions, then resized
            h, w = tf.shape(image)[0], tf.shape(image)[1]
            high, wide = tf.minimum(h, w * shape[0] // shape[1]), tf.minimum(w, h * shape[1] // shape[0])
            image = tf.image.crop_to_bounding_box(image, (h - high) // 2, (w - wide) // 2, high, wide)
            image = tf.image.resize(image, shape, method=method, antialias=True)
            image = tf.ensure_shape(tf.cast(tf.round(image), tf.uint8), (*shape, image.shape[-1]))
        return image

    def decode(example):
        image = fit(builder.info.features["image"].decode_example(example["image"]), "bilinear")
        if task == "classify":
            return image, example["label"]
        mask = fit(
            builder.info.features["segmentation_mask"].decode_example(example["segmentation_mask"]), "nearest"
        )
        return image, tf.gather(
            tf.constant([0, 1, 0, 2], tf.uint8), tf.cast(mask, tf.int32)
        )  # 1 pet, 2 ground, 3 border

    def part_of(part):
        stored = part if part in labels and part == "test" else "train"
        wanted = np.zeros(len(labels[stored]), bool)
        wanted[chosen[part]] = True
        table = tf.constant(wanted)
        data = encoded(stored).enumerate().filter(lambda i, _: table[i]).map(lambda _, e: e)
        data = data.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        return data.apply(tf.data.experimental.assert_cardinality(len(chosen[part])))

    classes = (
        tuple(builder.info.features["label"].names) if task == "classify" else ("background", "pet", "border")
    )
    source = f"TensorFlow Datasets {name} {builder.info.version}"
    sizes = {part: len(index) for part, index in chosen.items() if len(index)}
    sizes = {part: sizes[part] for part in ("train", "validation", "test") if part in sizes}
    return Streams(name, classes, source, *(part_of(p) for p in ("train", "validation", "test")), sizes)
