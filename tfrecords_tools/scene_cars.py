"""Cars of a drawn street: a side profile stretched across the car's width, turned anywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from gff_keras.data.label_tables import STREET_SCENES

from .scene_buildings import vary
from .scene_canvas import Canvas, Colour, Point

World = Callable[[float, float, float], Point]  # along, up, across the car -> the world
CAR = STREET_SCENES.classes.index("car")

PAINTS: tuple[Colour, ...] = (
    (0.80, 0.80, 0.80),
    (0.10, 0.10, 0.11),
    (0.42, 0.43, 0.45),
    (0.58, 0.12, 0.12),
    (0.14, 0.24, 0.50),
    (0.62, 0.58, 0.48),
    (0.20, 0.34, 0.24),
    (0.80, 0.62, 0.16),
)
GLASS: Colour = (0.20, 0.24, 0.28)
TYRE: Colour = (0.07, 0.07, 0.07)


@dataclass(frozen=True)
class Profile:
    """A car from its side: (metres from the rear bumper, metres up), clockwise from the rear."""

    outline: tuple[tuple[float, float], ...]
    windows: tuple[tuple[float, float], ...]
    glass: tuple[int, ...]  # which edges of the outline carry a window
    width: float


HATCHBACK = Profile(
    ((0, 0.3), (0, 0.9), (0.3, 1.44), (2.2, 1.48), (3.05, 0.98), (3.95, 0.82), (4.05, 0.3)),
    ((0.45, 0.95), (0.6, 1.36), (2.1, 1.4), (2.75, 0.97)),
    (1, 3),
    1.75,
)
SALOON = Profile(
    (
        (0, 0.3),
        (0, 0.88),
        (0.7, 1.0),
        (1.3, 1.42),
        (2.6, 1.45),
        (3.35, 0.98),
        (4.4, 0.82),
        (4.5, 0.3),
    ),
    ((1.05, 0.98), (1.45, 1.36), (2.5, 1.38), (3.05, 0.97)),
    (2, 4),
    1.8,
)
VAN = Profile(
    ((0, 0.35), (0, 1.9), (0.1, 2.15), (3.7, 2.15), (4.5, 1.25), (5.0, 1.05), (5.1, 0.35)),
    ((3.1, 1.3), (3.1, 1.9), (3.65, 1.9), (4.2, 1.3)),
    (3,),
    1.95,
)


def draw_car(canvas: Canvas, rng: Random, x: float, z: float, turn: float) -> None:
    """A car whose middle stands at (x, z).

    Args:
        canvas: What to draw on.
        rng: Source of its shape and paint.
        x: Metres to the right.
        z: Metres from the camera.
        turn: Radians: 0 drives away from the camera, pi towards it, pi/2 to the right.
    """
    profile = rng.choice((HATCHBACK, HATCHBACK, SALOON, SALOON, VAN))
    paint = vary(rng, rng.choice(PAINTS), 0.06)
    length, half = profile.outline[-1][0], profile.width / 2
    sin, cos = math.sin(turn), math.cos(turn)

    def world(along: float, up: float, across: float) -> Point:
        a = along - length / 2
        return x + a * sin + across * cos, up, z + a * cos - across * sin

    faces = []  # (distance, draw it): far faces first
    edges = list(zip(profile.outline, [*profile.outline[1:], profile.outline[0]], strict=True))
    for index, ((a0, y0), (a1, y1)) in enumerate(edges):
        out = math.hypot(a1 - a0, y1 - y0)
        along, up = -(y1 - y0) / out, (a1 - a0) / out
        normal = (along * sin, up, along * cos)
        centre = world((a0 + a1) / 2, (y0 + y1) / 2, 0)
        if _turned_away(canvas, normal, centre):
            continue
        quad = [
            world(a0, y0, -half),
            world(a0, y0, half),
            world(a1, y1, half),
            world(a1, y1, -half),
        ]
        faces.append((centre[2], index, quad, normal))
    for side in (-1, 1):
        normal = (side * cos, 0.0, -side * sin)
        centre = world(length / 2, 0.8, side * half)
        if not _turned_away(canvas, normal, centre):
            panel = [world(a, y, side * half) for a, y in profile.outline]
            faces.append((centre[2], -side - 10, panel, normal))
    for _, index, corners, normal in sorted(faces, key=lambda face: -face[0]):
        canvas.face(corners, paint, CAR, normal)
        if index < 0:
            _draw_side(canvas, profile, world, -index - 10, normal)
        elif index in profile.glass:
            canvas.face(_inset(corners, 0.12, 0.1), GLASS, None, normal)
        elif index in (0, len(edges) - 2):
            _draw_end(canvas, rng, corners, rear=index == 0)


def _turned_away(canvas: Canvas, normal: Point, centre: Point) -> bool:
    x, y, z = centre
    return normal[0] * x + normal[1] * (y - canvas.camera.eye) + normal[2] * z > 0


def _inset(quad: list[Point], across: float, along: float) -> list[Point]:
    """The middle of a quad whose sides 0-1 and 3-2 run across the car."""

    def at(s: float, t: float) -> Point:
        weights = ((1 - s) * (1 - t), s * (1 - t), s * t, (1 - s) * t)
        px, py, pz = (
            sum(w * corner[axis] for w, corner in zip(weights, quad, strict=True))
            for axis in range(3)
        )
        return px, py, pz

    s, t = across, along
    return [at(s, t), at(1 - s, t), at(1 - s, 1 - t), at(s, 1 - t)]


def _draw_side(canvas: Canvas, profile: Profile, world: World, side: int, normal: Point) -> None:
    half = side * profile.width / 2
    canvas.face([world(a, y, half) for a, y in profile.windows], GLASS, None, normal)
    length = profile.outline[-1][0]
    for axle in (0.75, length - 0.8):
        for radius, colour in ((0.33, TYRE), (0.18, (0.5, 0.5, 0.5))):
            angles = [math.pi * index / 6 for index in range(12)]
            wheel = [
                world(axle + radius * math.sin(t), 0.33 + radius * math.cos(t), half)
                for t in angles
            ]
            canvas.face(wheel, colour, CAR, normal)


def _draw_end(canvas: Canvas, rng: Random, quad: list[Point], *, rear: bool) -> None:
    """Lamps and the number plate on the rear or the front of a car; dark below the bumper."""
    low = [quad[0], quad[1]] if rear else [quad[3], quad[2]]  # the lower edge
    high = [quad[3], quad[2]] if rear else [quad[0], quad[1]]

    def band(s0: float, s1: float, t0: float, t1: float) -> list[Point]:
        points = []
        for s, t in ((s0, t0), (s1, t0), (s1, t1), (s0, t1)):
            px, py, pz = (
                (1 - t) * ((1 - s) * low[0][axis] + s * low[1][axis])
                + t * ((1 - s) * high[0][axis] + s * high[1][axis])
                for axis in range(3)
            )
            points.append((px, py, pz))
        return points

    dusk = canvas.light.name == "dusk"
    lamp: Colour = (0.7, 0.08, 0.08) if rear else (0.85, 0.85, 0.8)
    if dusk:
        lamp = (lamp[0] * 2, lamp[1] * 2, lamp[2] * 2)
    canvas.face(band(0, 1, 0, 0.25), TYRE)
    canvas.face(band(0.02, 0.2, 0.6, 0.85), lamp)
    canvas.face(band(0.8, 0.98, 0.6, 0.85), lamp)
    canvas.face(band(0.36, 0.64, 0.4, 0.58), (0.85, 0.85, 0.8 - 0.4 * rng.random()))
