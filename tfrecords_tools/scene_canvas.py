"""What a drawn street is drawn on: a camera, a light and a canvas of colours and classes.

World coordinates are metres: x to the right, y up from the road, z away from the camera, which
stands at x = z = 0. Colours of surfaces (albedo) and of light are triples of 0..1 or so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLE = 3  # odd, so that a pixel of the mask has one sample in its exact centre
NEAR = 0.8  # metres: nothing closer to the camera is drawn

Colour = tuple[float, float, float]
Point = tuple[float, float, float]
Ink = tuple[int, int, int]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; lengths in pixels of the supersampled canvas, `eye` in metres."""

    focal: float
    u0: float
    horizon: float
    eye: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3), all with z > 0, to canvas positions (..., 2)."""
        z = points[..., 2]
        u = self.u0 + self.focal * points[..., 0] / z
        v = self.horizon + self.focal * (self.eye - points[..., 1]) / z
        return np.stack([u, v], axis=-1)


@dataclass(frozen=True)
class Light:
    """The light of a scene: sky, sun, haze.

    `haze` is the share of light lost per metre; `to_sun` a unit vector; `shadow` what a cast
    shadow leaves of each colour.
    """

    name: str
    ambient: Colour
    sun: Colour
    to_sun: Point
    sky_top: Colour
    sky_low: Colour
    haze: float
    shadow: Colour

    def shade(self, albedo: Colour, z: float, normal: Point | None = None) -> Ink:
        """Colour 0..255 of a surface at distance z; without a normal it is half in the sun."""
        lit = 0.5
        if normal is not None:
            sx, sy, sz = self.to_sun
            lit = max(0.0, normal[0] * sx + normal[1] * sy + normal[2] * sz)
        seen = math.exp(-self.haze * z)  # written out: this runs a thousand times per scene
        ambient, sun, far = self.ambient, self.sun, self.sky_low
        return (
            _byte(seen * albedo[0] * (ambient[0] + lit * sun[0]) + (1 - seen) * far[0]),
            _byte(seen * albedo[1] * (ambient[1] + lit * sun[1]) + (1 - seen) * far[1]),
            _byte(seen * albedo[2] * (ambient[2] + lit * sun[2]) + (1 - seen) * far[2]),
        )


def _byte(value: float) -> int:
    return 255 if value > 1 else int(255 * value + 0.5) if value > 0 else 0


class Canvas:
    """A colour image and a class map, painted in the same pass by the same rasteriser.

    Both are SUPERSAMPLE times as large as the result and without antialiasing, so every sample has
    one colour and one class. `picture` averages the colours, `mask` takes the centre samples.
    """

    def __init__(self, camera: Camera, light: Light, height: int, width: int) -> None:
        size = (width * SUPERSAMPLE, height * SUPERSAMPLE)
        self.camera, self.light, self.width, self.height = camera, light, *size
        self.colours = Image.new("RGB", size)
        self.classes = Image.new("L", size)
        self._ink = ImageDraw.Draw(self.colours)
        self._label = ImageDraw.Draw(self.classes)

    def picture(self) -> np.ndarray:
        """Colours averaged over each pixel's samples: uint8 (H, W, 3)."""
        return np.asarray(self.colours.reduce(SUPERSAMPLE))

    def mask(self) -> np.ndarray:
        """Class of each pixel's centre sample: uint8 (H, W)."""
        middle = SUPERSAMPLE // 2
        return np.asarray(self.classes)[middle::SUPERSAMPLE, middle::SUPERSAMPLE].copy()

    def replace_colours(self, colours: Image.Image) -> None:
        """Go on painting on another colour image of the same size."""
        self.colours = colours
        self._ink = ImageDraw.Draw(colours)

    def flat(self, outline: Sequence[float], ink: Ink, label: int | None) -> None:
        """Fill a polygon u, v, u, v, ... on the canvas; without a label the classes stay."""
        self._ink.polygon(outline, fill=ink)
        if label is not None:
            self._label.polygon(outline, fill=label)

    def flat_ellipse(self, box: tuple[float, float, float, float], ink: Ink, label: int) -> None:
        """Fill an ellipse in the box left, top, right, bottom on the canvas."""
        self._ink.ellipse(box, fill=ink)
        self._label.ellipse(box, fill=label)

    def face(
        self,
        corners: Sequence[Point],
        albedo: Colour,
        label: int | None = None,
        normal: Point | None = None,
    ) -> None:
        """Paint a flat polygon of the world; what lies before the near plane is cut off."""
        outline = self.outline(corners)
        if outline and max(outline[::2]) >= 0 and min(outline[::2]) <= self.width:
            z = sum(corner[2] for corner in corners) / len(corners)
            self.flat(outline, self.light.shade(albedo, max(z, NEAR), normal), label)

    def outline(self, corners: Sequence[Point]) -> list[float]:
        """Canvas polygon u, v, u, v, ... of a world polygon; empty if behind the near plane."""
        if min(corner[2] for corner in corners) < NEAR:
            corners = _cut_at_near(corners)
        camera, flat = self.camera, []
        for x, y, z in corners:
            flat += [
                camera.u0 + camera.focal * x / z,
                camera.horizon + camera.focal * (camera.eye - y) / z,
            ]
        return flat

    def bar(self, start: Point, end: Point, radius: float, albedo: Colour, label: int) -> None:
        """Paint a round bar; it stays one pixel of the result wide, however far away it is."""
        if start[2] < NEAR or end[2] < NEAR:
            return
        u1, v1, u2, v2 = self.outline([start, end])
        if not -self.width < u1 + u2 < 3 * self.width:
            return  # its middle is half a picture outside
        z = (start[2] + end[2]) / 2
        half = max(self.camera.focal * radius / z, SUPERSAMPLE / 2)
        length = math.hypot(u2 - u1, v2 - v1) or 1.0
        du, dv = half * (v2 - v1) / length, half * (u1 - u2) / length
        outline = [u1 + du, v1 + dv, u2 + du, v2 + dv, u2 - du, v2 - dv, u1 - du, v1 - dv]
        self.flat(outline, self.light.shade(albedo, z), label)

    def ball(
        self,
        centre: Point,
        radii: tuple[float, float],
        albedo: Colour,
        label: int,
        least: float = 0,
    ) -> None:
        """Paint an ellipse facing the camera; `least` is its smallest radius in canvas pixels."""
        x, y, z = centre
        if z < NEAR:
            return
        u, v = self.outline([centre])
        ru, rv = (max(self.camera.focal * radius / z, least) for radius in radii)
        if u + ru >= 0 and u - ru <= self.width:
            self.flat_ellipse((u - ru, v - rv, u + ru, v + rv), self.light.shade(albedo, z), label)

    def pixels(self, metres: float, z: float) -> float:
        """How many pixels of the result a length at distance z takes."""
        return self.camera.focal * metres / z / SUPERSAMPLE


def _cut_at_near(corners: Sequence[Point]) -> list[Point]:
    kept: list[Point] = []
    for a, b in zip(corners, [*corners[1:], corners[0]], strict=True):
        if a[2] >= NEAR:
            kept.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            t = (NEAR - a[2]) / (b[2] - a[2])
            kept.append((a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]), NEAR))
    return kept if len(kept) > 2 else []
