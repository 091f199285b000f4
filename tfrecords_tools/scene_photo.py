"""Turn the painting of a street into a photograph: texture, clouds, exposure, blur and noise."""

from __future__ import annotations

import math
from functools import cache
from random import Random

import numpy as np
from PIL import Image, ImageFilter

from gff_keras.data.label_tables import STREET_SCENES

from .scene_canvas import SUPERSAMPLE, Canvas

SKY = STREET_SCENES.classes.index("sky")
TILE = 512  # samples a side of the noise, which repeats

# class: (fine grain, coarse blotches), as shares of the brightness
TEXTURE = {
    "road": (0.06, 0.09),
    "lane marking": (0.05, 0.15),
    "sidewalk": (0.06, 0.09),
    "building": (0.04, 0.06),
    "fence": (0.06, 0.06),
    "vegetation": (0.15, 0.10),
}
GROUND = ("road", "lane marking", "sidewalk")


@cache
def _noise() -> tuple[np.ndarray, np.ndarray]:
    """Two periodic tiles, float32 (TILE, TILE), mean 0, deviation 1: white and 1/f noise."""
    rng = np.random.default_rng(0)
    fine = rng.standard_normal((TILE, TILE))
    rows, columns = np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None]
    falloff = 1 / np.maximum(np.hypot(rows, columns), 2 / TILE) ** 1.5
    coarse = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((TILE, TILE))) * falloff)
    coarse = (coarse - coarse.mean()) / coarse.std()
    return fine.astype(np.float32), coarse.astype(np.float32)


def develop(canvas: Canvas, rng: Random, mask: np.ndarray) -> np.ndarray:
    """From painting to photograph: texture, clouds, exposure, blur, sensor noise.

    Args:
        canvas: The finished painting.
        rng: Source of all that differs between photographs.
        mask: Its classes, uint8 (H, W).

    Returns:
        uint8 (H, W, 3).
    """
    height, width = mask.shape
    image = canvas.picture() * _texture(canvas, rng, mask)  # (H, W, 3) float32
    if canvas.light.name != "fog":
        _add_clouds(canvas, rng, mask, image)
    image *= rng.uniform(0.85, 1.12)
    photo = Image.fromarray(image.clip(0, 255).astype(np.uint8))
    photo = photo.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 0.6) * height / 128))
    noise = np.random.default_rng(rng.getrandbits(64))
    grain = noise.standard_normal((height, width, 3), np.float32) * rng.uniform(1.0, 5.0)
    return np.rint(np.asarray(photo) + grain).clip(0, 255).astype(np.uint8)


def _rays(canvas: Canvas, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Slope of each pixel's line of sight: down (H, 1) and to the right (1, W)."""
    camera = canvas.camera
    down = ((np.arange(rows) + 0.5) * SUPERSAMPLE - camera.horizon) / camera.focal
    right = ((np.arange(columns) + 0.5) * SUPERSAMPLE - camera.u0) / camera.focal
    return down[:, None].astype(np.float32), right[None].astype(np.float32)


def _look_up(tile: np.ndarray, start: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return tile[(rows + start).astype(np.int32) % TILE, (columns + start).astype(np.int32) % TILE]


def _texture(canvas: Canvas, rng: Random, mask: np.ndarray) -> np.ndarray:
    """Brightness factors (H, W, 1): grain and blotches, on the ground in perspective."""
    (fine, coarse), start, classes = _noise(), rng.randrange(TILE), STREET_SCENES.classes
    down, right = _rays(canvas, *mask.shape)
    away = canvas.camera.eye / np.maximum(down, 0.005)  # (H, 1) metres along the ground
    gains = np.array([TEXTURE.get(name, (0.03, 0.02)) for name in classes], np.float32)
    gains[SKY] = 0
    gains *= math.exp(-35 * canvas.light.haze)  # haze hides it
    lying = np.isin(np.arange(len(classes)), [classes.index(name) for name in GROUND])
    upright = _look_up(coarse, start, down * 400, right * 400)
    flat = _look_up(coarse, start, away * 12, right * away * 12)
    rows, columns = np.arange(mask.shape[0])[:, None], np.arange(mask.shape[1])[None]
    grain = gains[mask, 0] * _look_up(fine, start, rows, columns)
    return (1 + grain + gains[mask, 1] * np.where(lying[mask], flat, upright))[..., None]


def _add_clouds(canvas: Canvas, rng: Random, mask: np.ndarray, image: np.ndarray) -> None:
    rows = int(((mask == SKY).any(axis=1) * np.arange(1, len(mask) + 1)).max())  # to its last row
    start, amount, bias = rng.randrange(TILE), rng.uniform(0.0, 0.8), rng.uniform(-0.5, 0.4)
    down, right = _rays(canvas, rows, mask.shape[1])
    drift = _look_up(_noise()[1], start, down * 250, right * 110)
    cover = np.clip(drift * 0.7 + bias, 0, 1) * amount * (mask[:rows] == SKY)
    bright = np.array(canvas.light.sky_low, np.float32) * (255 * rng.uniform(0.85, 1.1))
    image[:rows] += cover[..., None] * (bright - image[:rows])
