"""Answers to the exercises of chapter 21."""

from cnnbook.answers import Answer

# The assumed machine of the chapter: multiply-adds per second, images per device, bytes per second over 10 Gbit/s.
RATE, IMAGES, SPEED = 2e13, 32, 10e9 / 8
# Parameters and multiply-adds of one image, as the chapter counts them.
RESNET50_PARAMS = 25_557_032
VGG16_PARAMS, VGG16_MACS = 138_357_544, 15_470_264_320


def _gain_in_halves():
    """Of two devices for VGG-16 over 10 Gbit/s, with two bytes a number and no latency."""
    compute = 3 * VGG16_MACS * IMAGES / RATE
    return 2 * compute / (compute + 2 * VGG16_PARAMS / SPEED)


def _exchanges(function):
    """`function(vectors)` is an all-reduce by recursive doubling: the mean in each device, and the messages of each."""
    import numpy as np

    rng = np.random.default_rng(21)
    for devices, rounds in ((2, 1), (4, 2), (8, 3)):
        vectors = [rng.normal(size=5) for _ in range(devices)]
        before = [vector.copy() for vector in vectors]
        found = function(vectors)
        assert isinstance(found, tuple) and len(found) == 2, (
            "return two things: the list of means, and how many messages each device has sent"
        )
        means, messages = found
        assert all(np.array_equal(a, b) for a, b in zip(vectors, before, strict=True)), (
            "the vectors that were given have changed: work on copies"
        )
        assert len(means) == devices, f"{devices} devices were given, {len(means)} means came back"
        apart = [float(np.abs(np.asarray(m) - np.mean(before, 0)).max()) for m in means]
        wrong = sum(a > 1e-9 for a in apart)
        total = max(float(np.abs(np.asarray(m) - np.sum(before, 0)).max()) for m in means)
        assert total > 1e-9, "these are the sums: divide by the number of devices at the end"
        assert not wrong, (
            f"{wrong} of {devices} devices do not hold the mean; the largest difference is {max(apart):.2g}"
        )
        assert messages == rounds, f"{devices} devices need {rounds} messages each, but you report {messages}"


def _accumulates(function):
    """`function(gradient, x, y, size)` is the gradient of the mean loss over a batch that never fits at once."""
    import numpy as np

    rng = np.random.default_rng(21)
    w, seen = rng.normal(size=3), []

    def gradient(images, labels):
        seen.append(len(images))
        return images.T @ (images @ w - labels) / len(images)

    for number, size in ((12, 4), (12, 12), (10, 4), (7, 3)):
        x, y = rng.normal(size=(number, 3)), rng.normal(size=number)
        seen.clear()
        found = np.asarray(function(gradient, x, y, size))
        assert max(seen, default=0) <= size, (
            f"with size={size} the function was given {max(seen)} images at once"
        )
        assert sum(seen) == number, f"of {number} images {sum(seen)} were used"
        wanted = x.T @ (x @ w - y) / number
        apart = float(np.abs(found - wanted).max())
        uneven = "; the last part is smaller" if number % size else ""
        assert apart < 1e-9, (
            f"{number} images in parts of at most {size}{uneven}: the gradient is off by {apart:.2g}"
        )


def _times(answer):
    """Whether three times of a step were measured, and what a cut into sixteen would gain follows from them."""
    assert isinstance(answer, tuple) and len(answer) == 2, (
        "give a pair: the dictionary of seconds, and a number"
    )
    seconds, gain = answer
    assert isinstance(seconds, dict) and set(seconds) == {4, 16, 64}, (
        "the dictionary has the keys 4, 16 and 64: the images of a step"
    )
    seconds = {images: float(value) for images, value in seconds.items()}
    assert all(0 < value < 100 for value in seconds.values()), (
        "a step takes some seconds or less, and more than none"
    )
    assert seconds[64] > seconds[4], (
        "your 64 images take no longer than 4: measure again, with nothing else running"
    )
    wanted = seconds[64] / seconds[4]
    assert abs(float(gain) - wanted) < 0.05 * wanted, (
        f"each of sixteen devices computes 4 images, one alone 64: by your seconds that is another number than {gain}"
    )


ANSWERS = {
    "megabytes": Answer(
        6 * RESNET50_PARAMS / 1e6,
        why="2 (n - 1) / n of the gradient is one and a half times its bytes, and the gradient has four bytes a number.",
        hints=(
            "How many bytes has the gradient itself?",
            "In each of two rounds a device sends all pieces but one, and there are as many pieces as devices.",
        ),
        tolerance=0.5,
    ),
    "halves": Answer(
        _gain_in_halves(),
        why="Half the bytes take half the time to send, but the computing stays: still slower than one device, if less so.",
        hints=(
            "Only the time of sending changes; the table has both times with four bytes a number.",
            "Two devices gain twice the computing time, divided by the sum of both times.",
        ),
        tolerance=0.01,
    ),
    "doubling": Answer(
        _exchanges,
        why="One more message when the devices double; the price is that each message is the whole vector.",
        hints=(
            "In the first round the partner of device d is d ^ 1, then d ^ 2, then d ^ 4; both add what comes.",
            "All exchanges of a round happen at once: make the new list from the old one before you replace it.",
        ),
    ),
    "accumulate": Answer(
        _accumulates,
        why="One device takes the parts in turn and steps once: the same batch, in less memory, and nothing is sent.",
        hints=(
            "Add up the parts' gradients, and ask what each has been divided by.",
            "A part counts by its share of the batch's images, and the last part may be smaller.",
        ),
    ),
    "times": Answer(
        _times,
        why="Small batches use a device less well, so cutting a step costs something even where sending is free.",
        hints=(
            "The cut is free of sending here: compare one device that computes 64 images with one that computes 4.",
            "Divide the time of the largest step by the time of the smallest.",
        ),
    ),
}
