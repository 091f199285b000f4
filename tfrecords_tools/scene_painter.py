"""Draw street scenes with exact masks: the data set that needs no download.

A scene is a street in perspective: camera, light and everything on the street are drawn by lot from
(seed, index). It is painted from far to near, so that near things hide far ones, and colours and
classes are painted by the same polygons. Haze belongs to the painting; texture, blur and noise are
added to the colours afterwards, so that the mask stays exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from random import Random

import numpy as np
from PIL import Image

from .scene_buildings import draw_building, draw_fence, draw_horizon
from .scene_canvas import NEAR, SUPERSAMPLE, Camera, Canvas, Light
from .scene_cars import draw_car
from .scene_ground import Shadows, Street, draw_ground
from .scene_objects import (
    draw_bush,
    draw_lamp,
    draw_person,
    draw_sign,
    draw_traffic_light,
    draw_tree,
)
from .scene_photo import SKY, develop

LEAST_SIDE = 32  # pixels: below, most things on the street are smaller than a pixel

Job = tuple[float, Callable[[], None]]  # distance in metres, what to draw there


def paint_scene(seed: int, index: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one street scene.

    Args:
        seed: Which collection of scenes.
        index: Which scene of it; the same (seed, index, height, width) gives the same bytes.
        height: Pixels, at least 32.
        width: Pixels, at least 32.

    Returns:
        The image, uint8 (height, width, 3), and its mask, uint8 (height, width), with training
        indices of `gff_keras.data.label_tables.STREET_SCENES`. No pixel is ignored.

    Raises:
        ValueError: The picture would be too small.
    """
    if min(height, width) < LEAST_SIDE:
        raise ValueError(
            f"street scenes need at least {LEAST_SIDE} pixels a side, not {height}x{width}"
        )
    rng = Random(f"street scene {seed} {index}")
    canvas = Canvas(_draw_camera(rng, height, width), _draw_light(rng), height, width)
    street = Street.draw_lots(rng)
    _paint_sky(canvas)
    draw_horizon(canvas, rng)
    draw_ground(canvas, rng, street)
    shadows = Shadows(canvas)
    jobs = _line_street(canvas, rng, street, shadows) + _people_street(canvas, rng, street, shadows)
    shadows.lay()
    for _, draw in sorted(jobs, key=lambda job: -job[0]):
        draw()
    mask = canvas.mask()
    return develop(canvas, rng, mask), mask


def _draw_camera(rng: Random, height: int, width: int) -> Camera:
    scale = SUPERSAMPLE * math.sqrt(2 * height * width)
    return Camera(
        focal=scale * rng.uniform(0.55, 0.95),
        u0=SUPERSAMPLE * width * rng.uniform(0.3, 0.7),
        horizon=SUPERSAMPLE * height * rng.uniform(0.34, 0.56),
        eye=rng.choice((rng.uniform(1.2, 1.8), rng.uniform(1.8, 3.0))),
    )


def _draw_light(rng: Random) -> Light:
    kind = rng.choice(("day", "day", "day", "overcast", "overcast", "dusk", "fog"))
    turn, rise = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(20, 65))
    to_sun = (math.sin(turn) * math.cos(rise), math.sin(rise), math.cos(turn) * math.cos(rise))
    g, w = rng.uniform(0.9, 1.1), rng.uniform(-0.04, 0.04)  # brightness, warmth
    none = (0.0, 0.0, 0.0)
    if kind == "day":
        ambient, sun = (0.52 * g, 0.55 * g, 0.62 * g), (0.75 + w, 0.68, 0.56 - w)
        top, low = (0.30 + w, 0.50, 0.82), (0.72, 0.80, 0.88 - w)
        return Light(kind, ambient, sun, to_sun, top, low, 1 / 400, (0.55, 0.58, 0.66))
    if kind == "overcast":
        ambient = (0.80 * g, 0.81 * g, 0.84 * g)
        top, low = (0.60 + w, 0.62, 0.66 - w), (0.78, 0.79, 0.80)
        return Light(kind, ambient, none, to_sun, top, low, 1 / 200, (0.94, 0.94, 0.95))
    if kind == "dusk":
        ambient, sun = (0.42 * g, 0.40 * g, 0.50 * g), (0.45, 0.28 + w, 0.14)
        top, low = (0.22, 0.24, 0.44), (0.86 + w, 0.58 + w, 0.40)
        return Light(kind, ambient, sun, to_sun, top, low, 1 / 300, (0.72, 0.72, 0.78))
    mist = rng.uniform(0.66, 0.8)
    ambient, sky = (0.72 * g, 0.73 * g, 0.74 * g), (mist, mist, mist + 0.02)
    return Light(kind, ambient, none, to_sun, sky, sky, 1 / rng.uniform(25, 60), (0.97, 0.97, 0.97))


def _paint_sky(canvas: Canvas) -> None:
    light, horizon = canvas.light, max(1.0, canvas.camera.horizon)
    fall = np.clip(np.arange(canvas.height) / horizon, 0, 1)[:, None] ** 1.3  # (H, 1)
    rows = (1 - fall) * np.array(light.sky_top) + fall * np.array(light.sky_low)
    column = Image.fromarray(np.round(255 * rows).clip(0, 255).astype(np.uint8)[:, None])
    canvas.replace_colours(column.resize(canvas.colours.size, Image.Resampling.NEAREST))
    canvas.classes.paste(SKY, (0, 0, canvas.width, canvas.height))


def _line_street(canvas: Canvas, rng: Random, street: Street, shadows: Shadows) -> list[Job]:
    """Houses, gaps with fences and bushes, trees along both sides; their shadows are added."""
    jobs: list[Job] = []
    for side in (-1, 1):
        inner, outer = street.walk(side)
        leafy, closed, z = rng.random() < 0.6, rng.random() < 0.8, rng.uniform(-8, 2)
        while z < 120:
            length = rng.uniform(6, 18)
            near, far = (outer + street.shift(z), z), (outer + street.shift(z + length), z + length)
            if z + length < 2 * NEAR:
                pass  # behind the camera
            elif rng.random() < 0.68:
                depth = side * rng.uniform(6, 12)
                sub = Random(rng.random())
                jobs.append((z + length, partial(draw_building, canvas, sub, near, far, depth)))
                if side * canvas.light.to_sun[0] > 0:
                    shadows.wall(near, far, rng.uniform(6, 12))
            else:
                jobs += _fill_gap(canvas, Random(rng.random()), near, far, side, closed)
            z += length + (rng.uniform(1, 4) if rng.random() < 0.3 else 0.0)
        z = rng.uniform(3, 9)
        while leafy and z < 90:
            x = inner + side * 0.6 + street.shift(z)
            jobs.append((z, partial(draw_tree, canvas, Random(rng.random()), x, z)))
            shadows.crown(x, z, 5.0, 1.6)
            z += rng.uniform(6, 16)
    return jobs


def _fill_gap(
    canvas: Canvas,
    rng: Random,
    near: tuple[float, float],
    far: tuple[float, float],
    side: int,
    closed: bool,
) -> list[Job]:
    """What stands between two houses: trees and bushes behind a fence, or an open yard."""
    (x, z0), (_, z1) = near, far
    jobs: list[Job] = []
    for _ in range(rng.randrange(1, 4)):
        z, back = rng.uniform(z0, z1), x + side * rng.uniform(1.5, 6.0)
        sub, draw = Random(rng.random()), rng.choice((draw_tree, draw_bush, draw_bush))
        # Just behind the fence in the order of painting, wherever in the yard it stands.
        jobs.append((z1 + 0.01, partial(draw, canvas, sub, back, z)))
    if closed and z1 > 2:
        sub = Random(rng.random())
        jobs.append((z1, partial(draw_fence, canvas, sub, near, far)))
    return jobs


def _people_street(canvas: Canvas, rng: Random, street: Street, shadows: Shadows) -> list[Job]:
    """Cars, people, lamps, signs and traffic lights, each with its place."""
    jobs: list[Job] = []

    def place(draw: Callable[..., None], x: float, z: float, *more: float) -> None:
        sub, at = Random(rng.random()), x + street.shift(z)
        jobs.append((z, partial(draw, canvas, sub, at, z, *more)))

    def distance(nearest: float, farthest: float) -> float:
        """Even in 1/z, so that sizes in the picture are spread; far ones are still the most."""
        return 1 / rng.uniform(1 / farthest, 1 / nearest)

    lane = (street.right - street.left) / street.lanes
    for index in range(street.lanes):
        z, x = rng.uniform(7, 30), street.left + (index + 0.5) * lane
        while z < 80 and rng.random() < 0.6:
            away = 0.0 if 2 * index >= street.lanes else math.pi
            place(draw_car, x + rng.uniform(-0.4, 0.4), z, away + rng.uniform(-0.06, 0.06))
            shadows.contact(x + street.shift(z), z, 0.95, 4.2)
            z += rng.uniform(7, 30)
    if rng.random() < 0.25:  # one that crosses
        x, z = rng.uniform(street.left, street.right), rng.uniform(9, 30)
        place(draw_car, x, z, rng.choice((-1, 1)) * math.pi / 2 + rng.uniform(-0.4, 0.4))
        shadows.contact(x + street.shift(z), z, 2.1, 1.8)
    for side in (-1, 1):
        inner, outer = street.walk(side)
        if rng.random() < 0.45:  # parked ones
            for _ in range(rng.randrange(1, 5)):
                x, z = street.curb(side) - side * 1.1, distance(5, 60)
                place(draw_car, x, z, rng.choice((0.0, math.pi)))
                shadows.contact(x + street.shift(z), z, 0.95, 4.2)
        z, step = rng.uniform(4, 20), rng.uniform(14, 30)
        while z < 75 and rng.random() < 0.85:
            place(draw_lamp, inner + side * 0.4, z)
            z += step
        for _ in range(rng.choice((0, 1, 1, 2))):
            place(draw_sign, inner + side * rng.uniform(0.2, 0.7), distance(5, 45))
        if rng.random() < 0.55:
            place(draw_traffic_light, inner + side * 0.3, distance(6, 40))
        for _ in range(rng.choice((0, 1, 2, 3, 5))):
            x, z = rng.uniform(inner, outer), distance(5, 60)
            place(draw_person, x, z)
            shadows.contact(x + street.shift(z), z, 0.3, 0.5)
    if rng.random() < 0.35:  # on the road
        place(draw_person, rng.uniform(street.left, street.right), distance(7, 50))
    return jobs
