"""Buildings, fences and what stands on the horizon of a drawn street."""

from __future__ import annotations

from random import Random

import numpy as np

from gff_keras.data.label_tables import STREET_SCENES

from .scene_canvas import NEAR, Canvas, Colour, Point

BUILDING = STREET_SCENES.classes.index("building")
FENCE = STREET_SCENES.classes.index("fence")
VEGETATION = STREET_SCENES.classes.index("vegetation")

# Walls share colours with road (greys), sky (pale blue), vegetation (olive) and people (reds).
WALLS: tuple[Colour, ...] = (
    (0.55, 0.32, 0.25),
    (0.72, 0.62, 0.48),
    (0.50, 0.50, 0.50),
    (0.80, 0.78, 0.72),
    (0.60, 0.68, 0.78),
    (0.48, 0.50, 0.36),
    (0.75, 0.55, 0.35),
    (0.36, 0.34, 0.36),
    (0.68, 0.44, 0.40),
)
ROOFS: tuple[Colour, ...] = ((0.45, 0.22, 0.16), (0.28, 0.27, 0.28), (0.40, 0.36, 0.30))
FENCES: tuple[Colour, ...] = (
    (0.48, 0.36, 0.24),
    (0.75, 0.74, 0.70),
    (0.30, 0.36, 0.26),
    (0.42, 0.42, 0.44),
    (0.22, 0.22, 0.24),
)


def vary(rng: Random, colour: Colour, by: float = 0.08) -> Colour:
    """A colour near the given one: brightness and each part move by up to `by`."""
    shift = rng.uniform(-by, by)
    red, green, blue = (
        min(1.0, max(0.02, part + shift + rng.uniform(-by / 2, by / 2))) for part in colour
    )
    return red, green, blue


def draw_building(
    canvas: Canvas, rng: Random, near: tuple[float, float], far: tuple[float, float], depth: float
) -> None:
    """A house along the street.

    Args:
        canvas: What to draw on.
        rng: Source of its height, colours, windows and roof.
        near: (x, z) of the corner of its street front that is closer to the camera.
        far: (x, z) of the other corner.
        depth: Metres from the street front to its back, signed: negative on the left side.
    """
    (x0, z0), (x1, z1) = near, far
    if z0 < NEAR:  # cut here, so that its windows are spread over what can be seen
        x0, z0 = x0 + (x1 - x0) * (NEAR - z0) / (z1 - z0), NEAR
    height = rng.choice((1, 1, 2, 2, 3, 4, 6)) * 3.0 + rng.uniform(2.6, 4.2)
    wall = vary(rng, rng.choice(WALLS), 0.1)
    to_street: Point = (-1.0 if depth > 0 else 1.0, 0.0, 0.0)
    if height < 11 and rng.random() < 0.6:
        _draw_roof(canvas, rng, (x0, z0), (x1, z1), depth, height, wall)
    front: list[Point] = [(x0, 0, z0), (x1, 0, z1), (x1, height, z1), (x0, height, z0)]
    gable: list[Point] = [
        (x0 + depth, 0, z0),
        (x0, 0, z0),
        (x0, height, z0),
        (x0 + depth, height, z0),
    ]
    canvas.face(gable, wall, BUILDING, (0.0, 0.0, -1.0))
    canvas.face(front, wall, BUILDING, to_street)
    plinth = vary(rng, (wall[0] * 0.7, wall[1] * 0.7, wall[2] * 0.72), 0.04)
    canvas.face(_patch(front, 0, 0, 1, rng.uniform(0.05, 0.28)), plinth, None, to_street)
    _draw_windows(canvas, rng, front, z1 - z0, to_street)
    if z0 > 2.0:
        _draw_windows(canvas, rng, gable, abs(depth), (0.0, 0.0, -1.0))


def _patch(face: list[Point], s0: float, t0: float, s1: float, t1: float) -> list[Point]:
    """The part of a four-cornered face between (s0, t0) and (s1, t1), both 0..1."""
    a, b, c, d = np.asarray(face)
    places = ((s0, t0), (s1, t0), (s1, t1), (s0, t1))
    return [
        tuple(((1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * d + s * c)).tolist())
        for s, t in places
    ]


def _draw_roof(
    canvas: Canvas,
    rng: Random,
    near: tuple[float, float],
    far: tuple[float, float],
    depth: float,
    height: float,
    wall: Colour,
) -> None:
    (x0, z0), (x1, z1) = near, far
    tip = height + rng.uniform(1.5, 3.5)
    tiles = vary(rng, rng.choice(ROOFS))
    ridge0, ridge1 = (x0 + depth / 2, tip, z0), (x1 + depth / 2, tip, z1)
    slope: Point = (-0.6 if depth > 0 else 0.6, 0.8, 0.0)
    canvas.face([(x0, height, z0), (x1, height, z1), ridge1, ridge0], tiles, BUILDING, slope)
    canvas.face(
        [(x0, height, z0), (x0 + depth, height, z0), ridge0], wall, BUILDING, (0.0, 0.0, -1.0)
    )


def _draw_windows(
    canvas: Canvas, rng: Random, face: list[Point], length: float, normal: Point
) -> None:
    """Rows of windows; only colours, for windows are part of the building."""
    height, z = face[2][1], (face[0][2] + face[1][2]) / 2
    floors, bays = int(height / 3), int(length / rng.uniform(1.9, 3.2))
    left, right = canvas.outline(face[:2])[::2]
    if (
        bays < 1
        or abs(right - left) < 6 * bays
        or max(left, right) < 0
        or min(left, right) > (canvas.width)
    ):
        return  # out of the picture, or narrower than two pixels each
    rows, columns = np.meshgrid(np.arange(floors), np.arange(bays), indexing="ij")
    wide, tall, sill = rng.uniform(0.4, 0.7), rng.uniform(0.45, 0.7), rng.uniform(0.25, 0.35)
    s0, t0 = (columns + (1 - wide) / 2) / bays, (rows + sill) / floors
    s1, t1 = s0 + wide / bays, t0 + min(tall, 0.95 - sill) / floors
    a, b, c, d = np.asarray(face)
    s = np.stack([s0, s1, s1, s0], -1)[..., None]  # (floors, bays, 4, 1)
    t = np.stack([t0, t0, t1, t1], -1)[..., None]
    quads = canvas.camera.project((1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * d + s * c))
    sky = canvas.light.sky_low
    glasses = [
        canvas.light.shade((0.16, 0.18, 0.22), z, normal),
        canvas.light.shade((0.30, 0.32, 0.36), z, normal),
        canvas.light.shade((sky[0] * 0.7, sky[1] * 0.75, sky[2] * 0.8), z, normal),
    ]
    if canvas.light.name == "dusk":
        glasses += [(240, 200, 120), (225, 180, 110)]
    usual = rng.choice(glasses)
    for quad in quads.reshape(-1, 8).tolist():
        canvas.flat(quad, usual if rng.random() < 0.7 else rng.choice(glasses), None)


def draw_fence(
    canvas: Canvas, rng: Random, near: tuple[float, float], far: tuple[float, float]
) -> None:
    """Planks, a railing or a low barrier from one (x, z) to another."""
    (x0, z0), (x1, z1) = near, far
    if z0 < NEAR:
        x0, z0 = x0 + (x1 - x0) * (NEAR - z0) / (z1 - z0), NEAR
    height, colour = rng.uniform(0.9, 1.9), vary(rng, rng.choice(FENCES))
    normal: Point = (-1.0 if x0 > 0 else 1.0, 0.0, 0.0)
    base: list[Point] = [(x0, 0.0, z0), (x1, 0.0, z1), (x1, height, z1), (x0, height, z0)]
    canvas.face(base, colour, FENCE, normal)
    dark: Colour = (colour[0] * 0.6, colour[1] * 0.6, colour[2] * 0.62)
    light: Colour = (min(1, colour[0] * 1.2), min(1, colour[1] * 1.2), min(1, colour[2] * 1.2))
    for level in (0.2, 0.8):
        canvas.face(_patch(base, 0, level, 1, level + 0.06), light, None, normal)
    z, gap = z0, rng.choice((0.3, 0.45, 0.8))
    while z < min(z1, 30.0):  # farther slats are below a pixel
        t = (z - z0) / (z1 - z0)
        x = x0 + t * (x1 - x0)
        slat: list[Point] = [
            (x, 0.0, z),
            (x, 0.0, z + gap * 0.3),
            (x, height, z + gap * 0.3),
            (x, height, z),
        ]
        canvas.face(slat, dark, None, normal)
        z += gap


def draw_horizon(canvas: Canvas, rng: Random) -> None:
    """A far line of houses, woods or hills that hides the edge of the world."""
    light, horizon, width = canvas.light, canvas.camera.horizon, canvas.width
    kind = rng.choice(("houses", "woods", "hills"))
    label = BUILDING if kind == "houses" else VEGETATION
    u, bottom = 0.0, horizon + 0.01 * canvas.height
    while u < width:
        step = width * rng.uniform(0.02, 0.07)
        top = horizon - canvas.height * rng.uniform(0.015, 0.10)
        if kind == "houses":
            ink = light.shade(vary(rng, rng.choice(WALLS)), rng.uniform(110, 170))
            canvas.flat([u, top, u + step, top, u + step, bottom, u, bottom], ink, label)
        else:
            ink = light.shade(vary(rng, (0.26, 0.34, 0.18), 0.05), rng.uniform(90, 150))
            reach = step * (0.8 if kind == "woods" else 3.0)
            canvas.flat_ellipse((u - reach, top, u + reach, 2 * bottom - top), ink, label)
        u += step * (1.0 if kind == "houses" else 0.6)
