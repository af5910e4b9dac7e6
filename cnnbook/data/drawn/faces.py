"""Faces: drawn people, each a fixed shape in three dimensions, seen from many sides in changing light.

Real faces belong to someone; these belong to nobody. A person is a head whose shape and tones are a few numbers; pose, light
and noise change from image to image. So every answer is known: who it is, how the head is turned, where its landmarks are,
in the head and in the image. Person k and example i are functions of (seed, part, k) and (seed, part, i) alone. The drawing
is simple: no expression, no age, no glasses, one manner of hair. What a net reaches on it says nothing about real faces.
"""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from ...arguments import whole_number
from ..images import Images
from . import drawing

SOURCE = "drawn by cnnbook; nobody's face"
# How many in the training and in the test part.
PEOPLE = (80, 40)
TRAITS = (
    *("head width", "cheek width", "jaw width", "chin length", "forehead", "depth of head"),
    *("eye distance", "eye height", "eye size", "eye slant", "brow height", "brow slant", "brow thickness"),
    *("nose length", "nose width", "nose projection", "mouth width", "mouth height", "lip thickness"),
    *("hairline", "skin tone", "hair tone", "eye tone"),
)
# The six that two-dimensional alignment uses come first (Taigman et al. 2014, section 2); left is the left of the image.
LANDMARKS = (
    *("left eye", "right eye", "nose tip", "left mouth corner", "right mouth corner", "mouth"),
    *("left eye outer", "left eye inner", "right eye inner", "right eye outer"),
    *(
        "left brow outer",
        "left brow",
        "left brow inner",
        "right brow inner",
        "right brow",
        "right brow outer",
    ),
    *("nose bridge", "nose left", "nose right", "nose base", "upper lip", "lower lip"),
    *("chin", "left chin", "right chin", "left jaw", "right jaw", "left cheek", "right cheek"),
    *("left temple", "right temple", "left forehead", "forehead", "right forehead"),
)
POSE = ("yaw", "pitch", "roll", "scale", "right", "down")


class Faces(NamedTuple):
    """`images` uint8 (n, size, size, 3); `labels` int64 (n,), the person; `landmarks` float64 (n, 34, 2), (x, y) in pixels,
    whole numbers at pixel centres, in the order of LANDMARKS; `heads` float64 (n, 34, 3), the same points on the person's
    head, x to the right, y down, z to the viewer, 1 is about half of a head; `poses` float64 (n, 6) in the order of POSE:
    degrees to the right, downwards and clockwise, image sides per unit, and the head's place off the middle in image sides.
    landmarks = project(heads, poses, size), exactly."""

    images: np.ndarray
    labels: np.ndarray
    landmarks: np.ndarray
    heads: np.ndarray
    poses: np.ndarray


def faces(n, *, people=None, size=64, seed=0, part="train", start=0):
    """Faces start ... start + n - 1 of a part, as `Faces`; example i shows person i % people of that part.

    people: how many, 80 in the part "train" and 40 in "test" by default. No person is in both parts. Raises ValueError for
    another part, a size below 32, people below 1, or a negative n or start.
    """
    n, size, seed, start = drawing.checked(n, size, seed, part, start)
    people = whole_number(PEOPLE[part == "test"] if people is None else people, "people")
    images = np.empty((n, size, size, 3), "uint8")
    labels = (start + np.arange(n)) % people
    heads, poses = np.empty((n, len(LANDMARKS), 3)), np.empty((n, len(POSE)))
    for i, label in enumerate(labels.tolist()):
        traits = person(label, seed=seed, part=part)
        rng = drawing.generator(seed, part, start + i, 7)
        poses[i], light = _pose(rng), _light(rng)
        heads[i] = landmarks(traits)
        images[i] = draw(traits, poses[i], light, size=size, rng=rng)
    return Faces(images, labels.astype("int64"), project(heads, poses, size), heads, poses)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FaceImages(Images):
    """`Images` of faces, and by part name: `landmarks` float64 (n, 34, 2), x and y in pixels, `heads` float64 (n, 34, 3) and
    `poses` float64 (n, 6), see `Faces`."""

    landmarks: dict | None = None
    heads: dict | None = None
    poses: dict | None = None


def load(*, people=None, **choice):
    """`data.load("faces")` as `FaceImages`: by default 1,600 training images of 80 people and 400 test images of 40 others.

    people: (training, test). The test people's labels follow those of the training people; validation shows the latter.
    """
    people = PEOPLE if people is None else people
    if not isinstance(people, (tuple, list)) or len(people) != 2:
        raise ValueError(f"people={people!r}: give two numbers, of the training and of the test part")

    def draw_part(n, *, part="train", **options):
        drawn = faces(n, people=people[part == "test"], part=part, **options)
        return drawn._replace(labels=drawn.labels + (people[0] if part == "test" else 0))

    drawn = drawing.parts("faces", draw_part, counts=(1600, 400), **choice)
    names = dict(x="images", y="labels", landmarks="landmarks", heads="heads", poses="poses")
    classes = tuple(f"person {k}" for k in range(sum(people)))
    return FaceImages(name="faces", classes=classes, source=SOURCE, **drawing.fields(drawn, **names))


def person(k, *, seed=0, part="train"):
    """The traits of person k of a part: {name: number}, 0 is the generic face, most lie between -2 and 2; tones 0 to 1."""
    rng = drawing.generator(whole_number(seed, "seed", 0), part, whole_number(k, "k", 0), 11)
    values = np.clip(rng.normal(0, 1, len(TRAITS)), -2, 2)
    tones = rng.uniform(0, 1, 3)
    return {t: float(v) for t, v in zip(TRAITS, (*values[:-3], *tones), strict=True)}


# Everybody's mean.
GENERIC = {t: 0.5 if t.endswith("tone") else 0.0 for t in TRAITS}


def landmarks(traits):
    """The landmarks of a person on the head, float64 (34, 3), in the order of LANDMARKS."""
    s = _shape(tuple(traits[t] for t in TRAITS))
    points = {"nose tip": (0, s.tip), "mouth": (0, s.mouth), "nose bridge": (0, s.eye_y), "nose base": (0, s.tip + 0.12),
              "upper lip": (0, s.mouth - s.lip), "lower lip": (0, s.mouth + 1.3 * s.lip), "chin": (0, s.chin - 0.07),
              "forehead": (0, s.hairline + 0.12)}  # fmt: skip
    for sign, side in ((-1, "left"), (1, "right")):
        points |= {
            f"{side} eye": (sign * s.eye_x, s.eye_y),
            f"{side} eye outer": (sign * (s.eye_x + s.eye_w), s.eye_y - s.slant * s.eye_w),
            f"{side} eye inner": (sign * (s.eye_x - s.eye_w), s.eye_y + s.slant * s.eye_w),
            f"{side} brow": (sign * s.eye_x, s.brow(0)),
            f"{side} brow outer": (sign * (s.eye_x + 0.19), s.brow(0.19)),
            f"{side} brow inner": (sign * (s.eye_x - 0.19), s.brow(-0.19)),
            f"nose {side}": (sign * s.nose_w, s.tip + 0.03),
            f"{side} mouth corner": (sign * s.mouth_w, s.mouth),
            f"{side} chin": (sign * 0.5 * s.width(s.chin - 0.13), s.chin - 0.13),
            f"{side} jaw": (sign * 0.8 * s.width(0.6), 0.6),
            f"{side} cheek": (sign * 0.85 * s.width(0.22), 0.22),
            f"{side} temple": (sign * 0.85 * s.width(-0.3), -0.3),
            f"{side} forehead": (sign * 0.45, s.hairline + 0.16),
        }
    x, y = np.array([points[name] for name in LANDMARKS]).T
    return np.stack([x, y, s.front(x, y)], axis=-1)


def rotation(yaw, pitch, roll):
    """The (3, 3) matrix that turns a head by degrees to the right, then downwards, then clockwise in the image."""
    (cy, cp, cr), (sy, sp, sr) = (f(np.deg2rad([yaw, pitch, roll])) for f in (np.cos, np.sin))
    aside = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    lean = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return lean @ nod @ aside


def cameras(poses, size):
    """The affine maps (n, 2, 4) from points of the head (x, y, z, 1) to pixels (x, y)."""
    maps = np.empty((len(poses), 2, 4))
    for camera, (*angles, scale, right, down) in zip(maps, np.asarray(poses, "float64"), strict=True):
        camera[:, :3] = size * scale * rotation(*angles)[:2]
        camera[:, 3] = size * (0.5 + np.array([right, down])) - 0.5
    return maps


def project(heads, poses, size):
    """Points on heads (n, k, 3) in pixels, (n, k, 2), seen from afar: without perspective."""
    camera = cameras(poses, size)
    return heads @ np.swapaxes(camera[:, :, :3], 1, 2) + camera[:, None, :, 3]


# --------------------------------------------------------------------------- the head


@dataclasses.dataclass(frozen=True)
class _Shape:
    """A head: `width`(y) and `depth`(y) of its level sections, `front`(x, y) the face's height z; places of its parts."""

    head: float
    cheek: float
    jaw: float
    chin: float
    depth_: float
    eye_x: float
    eye_y: float
    eye_w: float
    slant: float
    brow_y: float
    brow_slant: float
    brow_t: float
    tip: float
    nose_w: float
    nose_z: float
    mouth_w: float
    mouth: float
    lip: float
    hairline: float

    top = -1.15

    def _egg(self, y, power, root):
        middle, half = (self.top + self.chin) / 2, (self.chin - self.top) / 2
        return np.maximum(1 - np.abs((y - middle) / half) ** power, 0) ** (1 / root)

    def width(self, y):
        knots = (-1.3, -0.5, 0.1, 0.45, 0.75, 1.0, 1.2)
        cheek, jaw = self.cheek, self.jaw
        taper = (1, 1, 0.98 + cheek, 0.93 + (cheek + jaw) / 2, 0.82 + jaw, 0.72 + jaw, 0.6)
        return self.head * self._egg(y, 2.6, 2.0) * _smooth(y, knots, taper)

    def depth(self, y):
        return self.depth_ * self._egg(y, 3.0, 2.2)

    def front(self, x, y):
        """z of the face over (x, y), the skin without hair."""
        across = np.clip(x / np.maximum(self.width(y), 1e-6), -1, 1)
        return self.depth(y) * np.sqrt(1 - across**2) + self.relief(x, y)

    def relief(self, x, y):
        """What nose, eyes, lips, cheeks and chin add to z."""
        side = np.abs(x)
        along = np.clip((y - self.eye_y) / (self.tip - self.eye_y), 0, 1)
        end = np.exp(-(np.maximum(y - self.tip, 0) ** 2) / (2 * 0.055**2)) * (y > self.eye_y - 0.2)
        start = np.exp(-(np.minimum(y - self.eye_y, 0) ** 2) / (2 * 0.08**2))
        ridge = 0.05 + (self.nose_z - 0.05) * along**1.3
        breadth = 0.055 + 0.55 * self.nose_w * along
        z = ridge * end * start * np.exp(-(side**2) / (2 * breadth**2))
        z += _bump(side - self.nose_w * 0.75, y - self.tip - 0.01, 0.05, 0.05) * 0.08  # wings of the nose
        z -= _bump(side - self.eye_x, y - self.eye_y, 0.16, 0.1) * 0.09
        z += _bump(side - self.eye_x, y - self.eye_y, 0.08, 0.06) * 0.04
        z += _bump(side - self.eye_x, y - self.brow_y, 0.2, 0.06) * 0.05
        z += _bump(side - 0.4, y - 0.2, 0.16, 0.16) * 0.06
        z += _bump(x, y - self.mouth, self.mouth_w * 0.8, 0.07) * (0.05 + 0.3 * self.lip)
        z += _bump(x, y - self.chin + 0.12, 0.17, 0.11) * 0.1
        return z

    def brow(self, outwards):
        """y of the brow, `outwards` of the eye's centre."""
        return self.brow_y - self.brow_slant * outwards + 1.1 * outwards**2


def _shape(values):
    t = dict(zip(TRAITS, values, strict=True))
    return _Shape(
        head=0.80 * (1 + 0.06 * t["head width"]),
        cheek=0.035 * t["cheek width"],
        jaw=0.06 * t["jaw width"],
        chin=1.02 + 0.06 * t["chin length"],
        depth_=0.88 * (1 + 0.05 * t["depth of head"]),
        eye_x=0.34 + 0.026 * t["eye distance"],
        eye_y=-0.12 + 0.035 * t["eye height"],
        eye_w=0.145 * (1 + 0.1 * t["eye size"]),
        slant=0.10 * t["eye slant"],
        brow_y=-0.34 + 0.035 * t["eye height"] + 0.03 * t["brow height"],
        brow_slant=0.13 * t["brow slant"],
        brow_t=0.036 * (1 + 0.28 * t["brow thickness"]),
        tip=0.27 + 0.05 * t["nose length"],
        nose_w=0.14 * (1 + 0.14 * t["nose width"]),
        nose_z=0.30 * (1 + 0.2 * t["nose projection"]),
        mouth_w=0.27 * (1 + 0.11 * t["mouth width"]),
        mouth=0.58 + 0.035 * t["mouth height"],
        lip=0.055 * (1 + 0.25 * t["lip thickness"]),
        hairline=-0.72 - 0.05 * t["forehead"] - 0.05 * t["hairline"],
    )


def _bump(x, y, width, height):
    return np.exp(-(x**2) / (2 * width**2) - y**2 / (2 * height**2))


def _smooth(x, knots, values):
    """A smooth curve through the knots: cubic pieces, slopes by differences."""
    knots, values = np.asarray(knots, "float64"), np.asarray(values, "float64")
    slopes = np.gradient(values, knots)
    i = np.clip(np.searchsorted(knots, x) - 1, 0, len(knots) - 2)
    gap = knots[i + 1] - knots[i]
    t = (x - knots[i]) / gap
    rise = values[i + 1] - values[i]
    return values[i] + t * (gap * slopes[i] + t * (3 * rise - gap * (2 * slopes[i] + slopes[i + 1])
           + t * (gap * (slopes[i] + slopes[i + 1]) - 2 * rise)))  # fmt: skip


# --------------------------------------------------------------------------- the picture

# From dark to light; the colours between are mixed.
SKIN = ((108, 70, 52), (176, 122, 92), (232, 194, 168))
HAIR = ((22, 18, 18), (84, 54, 34), (176, 138, 92))
EYES = ((58, 36, 24), (74, 92, 70), (86, 122, 158))


@functools.lru_cache(maxsize=256)
def _mesh(values, density):
    """Points of a head (3, m), their normals (3, m) and colours (3, m): what does not change from image to image."""
    s, tones = _shape(values), dict(zip(TRAITS, values, strict=True))
    rows, columns = round(150 * density), round(250 * density)
    t = np.linspace(0, 1, rows)[:, None] + np.zeros(columns)
    t = 0.35 * t + 0.65 * (1 - np.cos(np.pi * t)) / 2  # more rows where the head closes
    y = np.clip(s.top + (s.chin - s.top) * t, s.top + 1e-4, s.chin - 1e-4)
    angle = np.linspace(-2.5, 2.5, columns) + np.zeros_like(y)
    width, depth = s.width(y), s.depth(y)
    x, z = width * np.sin(angle), depth * np.cos(angle)
    z = z + np.where(np.cos(angle) > 0, s.relief(x, y) * np.clip(4 * np.cos(angle), 0, 1), 0)
    hair = _hair(s, x, y, angle)
    ear = _bump(np.abs(angle) - 1.62, y - 0.02, 0.13, 0.16)
    out = 1 + 0.07 * hair + 0.16 * ear
    points = np.stack([x * out, y - 0.07 * hair * np.clip(-y - 0.6, 0, 1), z * out], axis=-1)
    normals = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    colours = _paint(s, tones, x, y, angle, hair * (1 - ear), (rows, columns))
    neck = _neck(s, tones, density)
    parts = zip((points, normals, colours), neck, strict=True)
    return tuple(
        np.concatenate([a.reshape(-1, 3), b.reshape(-1, 3)]).T.astype("float32", order="C") for a, b in parts
    )


def _hair(s, x, y, angle):
    """1 where hair grows, 0 on skin, between on the edge."""
    front = s.hairline + 0.1 * (x / 0.5) ** 2
    above = _step(front - y, 0.02)
    aside = _step(np.abs(angle) - 1.32 - 0.25 * (y > 0.1), 0.04) * _step(0.28 - y, 0.04)
    behind = _step(np.abs(angle) - 1.8, 0.06) * _step(0.75 - y, 0.05)
    return np.maximum(np.maximum(above, aside), behind)


def _step(x, soft):
    return np.clip(0.5 + x / (2 * soft), 0, 1)


def _tone(table, t):
    table = np.asarray(table, "float64")
    at = t * (len(table) - 1)
    i = min(int(at), len(table) - 2)
    return table[i] + (at - i) * (table[i + 1] - table[i])


def _paint(s, tones, x, y, angle, hair, shape):
    """The colour of every point under white light, (rows, columns, 3)."""
    skin, hair_colour = _tone(SKIN, tones["skin tone"]), _tone(HAIR, tones["hair tone"])
    front, side = np.cos(angle) > 0, np.abs(x)
    picture = np.broadcast_to(skin, (*shape, 3)).copy()

    def lay(colour, mask):
        picture[:] = picture + (np.asarray(colour) - picture) * (mask * front)[..., None]

    lay(skin * (0.97, 0.82, 0.8), 0.6 * _bump(side - 0.42, y - 0.22, 0.14, 0.12))  # cheeks
    lay(skin * 0.72, 0.55 * _bump(side - s.eye_x, y - s.eye_y, 0.19, 0.1))  # sockets
    across = x / s.mouth_w
    bow = np.maximum(1 - across**2, 0)
    upper, lower = s.mouth - s.lip * bow * (0.8 + 0.5 * np.abs(across)), s.mouth + 1.3 * s.lip * bow
    lay(skin * (0.86, 0.56, 0.56), _step(y - upper, 0.012) * _step(lower - y, 0.015) * (np.abs(across) < 1))
    lay(skin * (0.4, 0.25, 0.25), _step(0.016 - np.abs(y - s.mouth), 0.01) * (np.abs(across) < 1))
    lay(skin * 0.35, 0.9 * _bump(side - 0.55 * s.nose_w, y - s.tip - 0.075, 0.03, 0.016))  # nostrils
    lay(skin * 0.75, 0.5 * _bump(side - s.nose_w, y - s.tip - 0.02, 0.02, 0.06))
    outwards = side - s.eye_x
    tilted = y - s.eye_y + s.slant * outwards
    open_ = s.eye_w * 0.48 * np.maximum(1 - (outwards / s.eye_w) ** 2, 0)
    inside = _step(open_ - np.abs(tilted), 0.012) * (np.abs(outwards) < s.eye_w)
    lay((232, 228, 222), inside)
    away = np.hypot(outwards, y - s.eye_y)
    lay(_tone(EYES, tones["eye tone"]), inside * _step(0.072 - away, 0.01))
    lay((12, 10, 10), inside * _step(0.04 - away, 0.01))
    lid = _step(0.018 - np.abs(tilted + open_), 0.01) * (np.abs(outwards) < 1.05 * s.eye_w)
    lay(skin * 0.25, 0.9 * lid)
    brow = _step(s.brow_t * (1 - 0.5 * outwards / 0.24) - np.abs(y - s.brow(outwards)), 0.012)
    lay(0.8 * hair_colour, 0.9 * brow * (np.abs(outwards) < 0.23))
    strands = 1 + 0.12 * np.sin(46 * angle + 9 * np.sin(5 * y))[..., None]
    return picture + (np.clip(hair_colour * strands, 0, 255) - picture) * hair[..., None]


def _neck(s, tones, density):
    """Points, normals and colours of a short column under the head."""
    y = np.linspace(0.7, 1.75, round(70 * density))[:, None] + np.zeros(round(110 * density))
    angle = np.linspace(-1.9, 1.9, y.shape[1]) + np.zeros_like(y)
    width = 0.46 * s.head / 0.8 + 0.9 * np.maximum(y - 1.35, 0) ** 1.5
    normals = np.stack([np.sin(angle), -0.2 + 0 * y, np.cos(angle)], axis=-1)
    points = np.stack([width * np.sin(angle), y, 0.42 * np.cos(angle) - 0.05], axis=-1)
    shadow = 0.55 + 0.4 * np.clip((y - s.chin) / 0.5, 0, 1)
    return points, normals, _tone(SKIN, tones["skin tone"]) * shadow[..., None]


def _pose(rng):
    yaw, pitch, roll = rng.uniform(-40, 40), rng.uniform(-14, 14), rng.uniform(-18, 18)
    return np.array([yaw, pitch, roll, rng.uniform(0.27, 0.35), *rng.uniform(-0.07, 0.07, 2)])


def _light(rng):
    """Where the light comes from and what it does: direction (3,), ambient share, gain of the three colours (3,)."""
    aside, above = np.deg2rad([rng.uniform(-60, 60), rng.uniform(-15, 50)])
    towards = np.array([np.sin(aside) * np.cos(above), -np.sin(above), np.cos(aside) * np.cos(above)])
    warmth = rng.uniform(-0.1, 0.1)
    return towards, rng.uniform(0.35, 0.6), rng.uniform(0.75, 1.25) * np.array([1 + warmth, 1, 1 - warmth])


def draw(traits, pose, light, *, size=64, rng=None):
    """One face, uint8 (size, size, 3): the points of the head are turned, lit and painted from the farthest to the nearest.

    pose: in the order of POSE; light: (direction to the light, share of ambient light, gain of the colours). rng draws the
    background and the noise; None leaves a grey ground and no noise.
    """
    direction, ambient, gain = light
    fine = 2 * size  # painted at twice the size, then averaged
    points, normals, colours = _mesh(tuple(traits[t] for t in TRAITS), max(size / 64, 1.0))
    turn = rotation(*pose[:3]).astype("float32")
    facing = np.flatnonzero(_along(turn[2], normals) > -0.05)
    points = points.take(facing, axis=1)
    middle = fine * (0.5 + np.asarray(pose[4:6], "float32"))
    places = np.stack([_along(fine * pose[3] * t, points) + m for t, m in zip(turn, middle, strict=False)])
    inside = np.flatnonzero(((places >= 0) & (places < fine)).all(axis=0))
    depth = _along(turn[2], points.take(inside, axis=1))
    order = inside[np.argsort((depth * 4096).astype("int16"), kind="stable")]  # whole numbers sort quicker
    across, down = places.take(order, axis=1).astype("int32")
    falls = _along(direction @ turn, normals.take(facing[order], axis=1))
    lit = colours.take(facing[order], axis=1) * (ambient + (1.15 - ambient) * np.maximum(falls, 0))
    canvas = np.zeros((4, fine * fine), "float32")
    for channel, values in zip(canvas, (*lit, 1), strict=True):
        channel[down * fine + across] = values  # of several points at one place the last one stays
    canvas = canvas.reshape(4, size, 2, size, 2).sum(axis=(2, 4))
    weight = canvas[3]
    image = canvas[:3] / np.maximum(weight, 1)
    ground = np.full((3, 1, 1), 128.0)
    if rng is not None:
        ground = rng.uniform(60, 190, (3, 1, 1)) + 35 * drawing.smooth_noise(rng, 4, size)
    share = np.where(_inside(weight), 1, weight / 4) * (weight > 0)
    image = (ground + (image - ground) * share) * gain[:, None, None]
    if rng is not None:
        image = image + rng.normal(0, 5, image.shape)
    return drawing.grey_levels(np.moveaxis(image, 0, -1))


def _along(direction, points):
    """The part of points (3, m) along a direction, float32 (m,). No matrix product: its last digit is the machine's."""
    x, y, z = np.asarray(direction, "float32")
    return x * points[0] + y * points[1] + z * points[2]


def _inside(weight):
    """Where all four neighbours are painted too: a gap between points, not the head's edge."""
    some = np.pad(weight > 0, 1)
    return some[:-2, 1:-1] & some[2:, 1:-1] & some[1:-1, :-2] & some[1:-1, 2:]
