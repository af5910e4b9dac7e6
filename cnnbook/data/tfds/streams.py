"""Sets by TFDS: those that fit in memory as `Images`, the larger ones as `Streams` of tf.data."""

import dataclasses
from typing import Any

import numpy as np

from ..images import PARTS, choose, counted, from_arrays, height_width
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


def arrays(name, *, data_dir=None, size=None, **choice):
    """A small set as `Images`, all of it by default; `choice` as in `choose`."""

    def read_all(builder):
        import tensorflow_datasets as tfds

        stored = {}
        for part in ("train", "test"):
            examples = builder.as_dataset(split=part, batch_size=-1, shuffle_files=False)
            examples = tfds.as_numpy(examples)
            stored[f"x_{part}"], stored[f"y_{part}"] = examples["image"], examples["label"]
        return stored, builder.info.features["label"].names, str(builder.info.version)

    stored, classes, version = read(name, read_all, data_dir)
    return from_arrays(name, stored, classes, f"TensorFlow Datasets {name} {version}", size, **choice)


def streams(name, *, task="classify", data_dir=None, size=None, **choice):
    """A larger set as `Streams`; `choice` as in `choose`. tf_flowers has no test part: a seeded fifth of it is set apart."""
    tasks = ("classify", "segment") if name == "oxford_iiit_pet" else ("classify",)
    if task not in tasks:
        raise ValueError(f"{name}: task={task!r}: choose one of {', '.join(tasks)}")
    shape = None if size is None else height_width(size)
    return read(name, lambda builder: _open(builder, name, task, shape, **choice), data_dir)


def _open(builder, name, task, shape, **choice):
    import tensorflow as tf

    # Reading every record once, undecoded, gives the labels and finds damaged files before training does.
    labels = {
        split: np.fromiter(_encoded(builder, split).map(lambda e: e["label"]).as_numpy_iterator(), "int64")
        for split in builder.info.splits
    }
    chosen = _chosen(name, labels, **choice)
    decode = _decoder(builder.info.features, task, shape)

    def stream(part):
        split = part if part in labels and part == "test" else "train"
        wanted = np.zeros(len(labels[split]), bool)
        wanted[chosen[part]] = True
        table = tf.constant(wanted)
        examples = _encoded(builder, split).enumerate().filter(lambda i, _: table[i]).map(lambda _, e: e)
        examples = examples.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        return examples.apply(tf.data.experimental.assert_cardinality(len(chosen[part])))

    classes = builder.info.features["label"].names if task == "classify" else ("background", "pet", "border")
    source = f"TensorFlow Datasets {name} {builder.info.version}"
    sizes = {part: len(chosen[part]) for part in PARTS if len(chosen[part])}
    return Streams(name, tuple(classes), source, *map(stream, PARTS), sizes)


def _encoded(builder, split):
    """The examples of a split in a fixed order, images and masks still as the bytes of their files."""
    import tensorflow_datasets as tfds

    images = {"image", "segmentation_mask"} & set(builder.info.features)
    decoders = {key: tfds.decode.SkipDecoding() for key in images}
    return builder.as_dataset(split=split, decoders=decoders, shuffle_files=False)


def _chosen(name, labels, *, seed=0, **choice):
    """Indices of the three parts, as `choose`; those of the test part are of the split "test" where the set has one."""
    if "test" in labels:
        return choose(name, labels["train"], labels["test"], seed=seed, **choice)
    labels = labels["train"]
    division = choose(name, labels, labels[:0], validation=len(labels) // 5, seed=seed)
    rest, held_out = np.sort(division["train"]), np.sort(division["validation"])
    chosen = choose(name, labels[rest], labels[held_out], seed=seed, **choice)
    return {part: (held_out if part == "test" else rest)[index] for part, index in chosen.items()}


def _decoder(features, task, shape):
    """A function of an encoded example: (image, label), or (image, mask) for the task "segment"."""
    import tensorflow as tf

    def decode(example):
        image = _fit(features["image"].decode_example(example["image"]), shape, "bilinear")
        if task == "classify":
            return image, example["label"]
        mask = features["segmentation_mask"].decode_example(example["segmentation_mask"])
        # Stored are 1 pet, 2 background, 3 border.
        answers = tf.constant([0, 1, 0, 2], tf.uint8)
        return image, tf.gather(answers, tf.cast(_fit(mask, shape, "nearest"), tf.int32))

    return decode


def _fit(image, shape, method):
    """The largest centred part with the proportions of `shape`, (height, width), resized to it; None leaves it."""
    import tensorflow as tf

    if shape is None:
        return image
    h, w = tf.shape(image)[0], tf.shape(image)[1]
    height, width = tf.minimum(h, w * shape[0] // shape[1]), tf.minimum(w, h * shape[1] // shape[0])
    image = tf.image.crop_to_bounding_box(image, (h - height) // 2, (w - width) // 2, height, width)
    image = tf.image.resize(image, shape, method=method, antialias=True)
    return tf.ensure_shape(tf.cast(tf.round(image), tf.uint8), (*shape, image.shape[-1]))
