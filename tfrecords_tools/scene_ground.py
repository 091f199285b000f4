"""The ground plan of a drawn street: road, lane markings, sidewalks, verges and cast shadows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageChops, ImageDraw

from gff_keras.data.label_tables import STREET_SCENES

from .scene_buildings import VEGETATION, vary
from .scene_canvas import NEAR, Canvas, Colour, Light, Point

ROAD = STREET_SCENES.classes.index("road")
MARKING = STREET_SCENES.classes.index("lane marking")
SIDEWALK = STREET_SCENES.classes.index("sidewalk")
FAR = 250.0  # metres: the ground ends here, hidden by the horizon


@dataclass(frozen=True)
class Street:
    """Where the street runs: edges in metres from the camera, bend in 1/metres.

    `verges` are strips of grass between road and sidewalk (0: none).
    """

    left: float
    right: float
    lanes: int
    sidewalks: tuple[float, float]
    verges: tuple[float, float]
    bend: float

    @classmethod
    def draw_lots(cls, rng: Random) -> Street:
        """A street of two to four lanes with the camera somewhere on it."""
        lanes, lane = rng.choice((2, 2, 3, 4)), rng.uniform(2.8, 3.5)
        width = lanes * lane
        left = -width * rng.uniform(0.25, 0.75)
        bend = rng.choice((0.0, rng.uniform(-0.004, 0.004)))
        grass = [rng.uniform(0.8, 2.0) if rng.random() < 0.25 else 0.0 for _ in range(2)]
        paved = (rng.uniform(1.6, 4.0), rng.uniform(1.6, 4.0))
        return cls(left, left + width, lanes, paved, (grass[0], grass[1]), bend)

    def shift(self, z: float) -> float:
        """How far the bend has moved the street sideways at distance z, in metres."""
        return 0.5 * self.bend * z * z

    def curb(self, side: int) -> float:
        """Where (x) road's edge is (side -1 left, 1 right)."""
        return self.left if side < 0 else self.right

    def walk(self, side: int) -> tuple[float, float]:
        """Where (x) the sidewalk's edges are, the one by the road first."""
        index = (side + 1) // 2
        inner = self.curb(side) + side * self.verges[index]
        return inner, inner + side * self.sidewalks[index]


def _strip(
    canvas: Canvas, street: Street, edges: tuple[float, float], z0: float, z1: float
) -> list:
    """Outline on the canvas of the ground between two x from z0 to z1, along the bend."""
    steps = 1 if not street.bend else 2 if z1 - z0 < 12 else 14
    zs = [z0 * (z1 / z0) ** (index / steps) for index in range(steps + 1)]
    a: list[Point] = [(edges[0] + street.shift(z), 0.0, z) for z in zs]
    b: list[Point] = [(edges[1] + street.shift(z), 0.0, z) for z in reversed(zs)]
    return canvas.outline([*a, *b])


def _paint_strip(
    canvas: Canvas,
    street: Street,
    edges: tuple[float, float],
    reach: tuple[float, float],
    albedo: Colour,
    label: int,
) -> None:
    """Paint in pieces, each with the haze of its distance."""
    z0, z1 = reach
    while z0 < z1:
        z2 = z1 if z0 * 1.5 > z1 else z0 * 1.35
        ink = canvas.light.shade(albedo, (z0 + z2) / 2, (0.0, 1.0, 0.0))
        canvas.flat(_strip(canvas, street, edges, z0, z2), ink, label)
        z0 = z2


def draw_ground(canvas: Canvas, rng: Random, street: Street) -> None:
    """Paint everything flat, from the yards behind the houses to the lane markings."""
    asphalt, slab = rng.uniform(0.20, 0.42), rng.uniform(0.40, 0.62)
    road = vary(rng, (asphalt, asphalt, asphalt * 1.02), 0.03)
    walk = vary(rng, (slab, slab * 0.97, slab * 0.92), 0.05)
    grass = vary(rng, (0.30, 0.38, 0.18), 0.06)
    whole = (NEAR, FAR)
    for side in (-1, 1):
        yard, label = (grass, VEGETATION) if rng.random() < 0.5 else (walk, SIDEWALK)
        inner, outer = street.walk(side)
        _paint_strip(canvas, street, (outer, side * 200.0), whole, yard, label)
        _paint_strip(canvas, street, (inner, outer), whole, walk, SIDEWALK)
        if street.curb(side) != inner:
            _paint_strip(canvas, street, (street.curb(side), inner), whole, grass, VEGETATION)
        stone: Colour = (walk[0] * 1.2, walk[1] * 1.2, walk[2] * 1.2)
        edge = street.curb(side)
        _paint_strip(canvas, street, (edge, edge + side * 0.25), whole, stone, SIDEWALK)
    _paint_strip(canvas, street, (street.left, street.right), whole, road, ROAD)
    for _ in range(rng.randrange(5)):  # repaired asphalt
        x, z = rng.uniform(street.left, street.right - 1), rng.uniform(4, 30)
        patch = (x, min(street.right, x + rng.uniform(0.5, 3)))
        dark = vary(rng, (road[0] * 0.85, road[1] * 0.85, road[2] * 0.87), 0.03)
        _paint_strip(canvas, street, patch, (z, z + rng.uniform(1, 8)), dark, ROAD)
    _draw_markings(canvas, rng, street)


def _draw_markings(canvas: Canvas, rng: Random, street: Street) -> None:
    worn = rng.uniform(0.55, 0.92)
    paint: Colour = (worn, worn * 0.98, worn * (0.94 if rng.random() < 0.8 else 0.4))
    wide, dash, gap = rng.uniform(0.12, 0.2), rng.uniform(2.5, 4.5), rng.uniform(3.0, 7.0)
    end = canvas.pixels(wide, 1.0) / 0.35  # beyond, a line is thinner than a third of a pixel

    def stripe(x: float, z0: float, z1: float, width: float) -> None:
        edges = (x - width / 2, x + width / 2)
        _paint_strip(canvas, street, edges, (max(z0, NEAR), z1), paint, MARKING)

    lane = (street.right - street.left) / street.lanes
    for index in range(1, street.lanes):
        x = street.left + index * lane
        if 2 * index == street.lanes and rng.random() < 0.35:
            stripe(x, NEAR, end, wide)
            continue
        z = rng.uniform(-dash, gap)
        while z < end:
            if z + dash > NEAR:
                stripe(x, z, z + dash, wide)
            z += dash + gap
    if rng.random() < 0.5:
        for side in (-1, 1):
            stripe(street.curb(side) - side * 0.35, NEAR, end, wide)
    if rng.random() < 0.4:  # a crossing for people
        z, x = rng.uniform(6, 26), street.left + 0.4
        while x < street.right - 0.5:
            stripe(x + 0.25, z, z + 3.0, 0.5)
            x += 1.0
    elif rng.random() < 0.3:  # a stop line
        z = rng.uniform(6, 20)
        stripe((street.left + street.right) / 2, z, z + 0.5, street.right - street.left - 0.6)


class Shadows:
    """Shadows on the ground, collected first and then laid over the ground's colours at once."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas, light = canvas, canvas.light
        self._layer = Image.new("RGB", canvas.colours.size, (255, 255, 255))
        self._ink = ImageDraw.Draw(self._layer)
        red, green, blue = (round(255 * part) for part in light.shadow)
        self._shade = (red, green, blue)
        self._contact = (round(red * 0.55), round(green * 0.55), round(blue * 0.55))

    def _away(self) -> tuple[float, float]:
        """Shadow of a post of one metre: metres along x and z."""
        light: Light = self._canvas.light
        up = max(light.to_sun[1], 0.25)
        return -light.to_sun[0] / up, -light.to_sun[2] / up

    def wall(self, near: tuple[float, float], far: tuple[float, float], height: float) -> None:
        """Shadow of an upright wall between two (x, z)."""
        dx, dz = self._away()
        (x0, z0), (x1, z1) = near, far
        corners: list[Point] = [(x0, 0.0, z0), (x1, 0.0, z1)]
        corners += [(x1 + dx * height, 0.0, z1 + dz * height)]
        corners += [(x0 + dx * height, 0.0, z0 + dz * height)]
        self._fill(corners, self._shade)

    def crown(self, x: float, z: float, height: float, radius: float) -> None:
        """Shadow of a tree's crown."""
        dx, dz = self._away()
        x, z = x + dx * height, z + dz * height
        angles = [2 * math.pi * index / 12 for index in range(12)]
        ring: list[Point] = [
            (x + radius * math.sin(a), 0.0, z + radius * math.cos(a)) for a in angles
        ]
        self._fill(ring, self._shade)

    def contact(self, x: float, z: float, half: float, length: float) -> None:
        """The dark ground under a car or at someone's feet, in any light."""
        z0, z1 = z - length / 2, z + length / 2
        box: list[Point] = [
            (x - half, 0, z0),
            (x + half, 0, z0),
            (x + half, 0, z1),
            (x - half, 0, z1),
        ]
        self._fill(box, self._contact)

    def _fill(self, corners: list[Point], ink: tuple[int, int, int]) -> None:
        outline = self._canvas.outline(corners)
        if outline:
            self._ink.polygon(outline, fill=ink)

    def lay(self) -> None:
        """Darken what has been painted so far."""
        canvas = self._canvas
        canvas.replace_colours(ImageChops.multiply(canvas.colours, self._layer))
