"""Trees, poles, signs, traffic lights and people of a drawn street."""

from __future__ import annotations

import math
from random import Random

from gff_keras.data.label_tables import STREET_SCENES

from .scene_buildings import VEGETATION, vary
from .scene_canvas import SUPERSAMPLE, Canvas, Colour, Point

POLE = STREET_SCENES.classes.index("pole")
TRAFFIC_LIGHT = STREET_SCENES.classes.index("traffic light")
TRAFFIC_SIGN = STREET_SCENES.classes.index("traffic sign")
PERSON = STREET_SCENES.classes.index("person")

LEAVES: tuple[Colour, ...] = (
    (0.22, 0.34, 0.14),
    (0.30, 0.40, 0.16),
    (0.16, 0.28, 0.16),
    (0.42, 0.42, 0.18),
    (0.55, 0.36, 0.16),  # autumn
)
CLOTHES: tuple[Colour, ...] = (
    (0.15, 0.16, 0.22),
    (0.60, 0.16, 0.16),
    (0.22, 0.32, 0.60),
    (0.75, 0.72, 0.66),
    (0.35, 0.36, 0.36),
    (0.70, 0.56, 0.22),
    (0.24, 0.38, 0.26),
)
SKIN: tuple[Colour, ...] = ((0.85, 0.66, 0.55), (0.62, 0.44, 0.33), (0.36, 0.25, 0.19))
METAL: tuple[Colour, ...] = ((0.45, 0.46, 0.48), (0.22, 0.23, 0.24), (0.62, 0.62, 0.60))
RED, WHITE, BLUE, YELLOW, BLACK, GREEN = (
    (0.80, 0.12, 0.12),
    (0.95, 0.95, 0.93),
    (0.12, 0.28, 0.70),
    (0.92, 0.76, 0.12),
    (0.08, 0.08, 0.09),
    (0.10, 0.45, 0.28),
)


def draw_tree(canvas: Canvas, rng: Random, x: float, z: float) -> None:
    """A trunk and a crown of many leafy blobs, the lower ones darker."""
    size, leaves = rng.uniform(0.7, 1.3), vary(rng, rng.choice(LEAVES), 0.05)
    crown, spread = 4.0 * size, rng.uniform(1.3, 2.2) * size
    bark = vary(rng, (0.30, 0.25, 0.20), 0.06)
    canvas.bar((x, 0.0, z), (x, crown, z), rng.uniform(0.10, 0.2), bark, VEGETATION)
    count = 10 + int(min(40, canvas.pixels(spread, z)))
    blobs = []
    for _ in range(count):
        angle, reach = rng.uniform(0, 2 * math.pi), math.sqrt(rng.random())
        blobs.append((math.sin(angle) * reach, math.cos(angle) * reach, reach))
    blobs.sort()  # from the bottom up: upper blobs are lit and cover lower ones
    for up, side, reach in blobs:
        glow = 0.75 + 0.3 * up + rng.uniform(-0.18, 0.18)
        colour = (leaves[0] * glow, leaves[1] * glow, leaves[2] * glow)
        radius = spread * (0.5 - 0.28 * reach) * rng.uniform(0.7, 1.2)
        centre = (x + spread * side, crown + spread * (0.5 + 0.85 * up), z)
        canvas.ball(centre, (radius, radius * 0.85), colour, VEGETATION)


def draw_bush(canvas: Canvas, rng: Random, x: float, z: float) -> None:
    """A low heap of blobs on the ground."""
    leaves, size = vary(rng, rng.choice(LEAVES), 0.05), rng.uniform(0.4, 0.9)
    for _ in range(8):
        glow = rng.uniform(0.6, 1.15)
        colour = (leaves[0] * glow, leaves[1] * glow, leaves[2] * glow)
        centre = (x + rng.uniform(-0.7, 0.7) * size, rng.uniform(0.3, 0.9) * size, z)
        canvas.ball(centre, (0.5 * size, 0.45 * size), colour, VEGETATION)


def draw_lamp(canvas: Canvas, rng: Random, x: float, z: float) -> None:
    """A street lamp with an arm over the road, or a plain pole."""
    height, metal = rng.uniform(4.5, 8.0), vary(rng, rng.choice(METAL), 0.05)
    canvas.bar((x, 0.0, z), (x, height, z), rng.uniform(0.05, 0.11), metal, POLE)
    if rng.random() < 0.7:
        tip = x + math.copysign(rng.uniform(0.8, 1.8), -x)
        canvas.bar((x, height, z), (tip, height + 0.2, z), 0.05, metal, POLE)
        glass: Colour = (1.6, 1.4, 0.9) if canvas.light.name == "dusk" else metal
        canvas.ball((tip, height + 0.15, z), (0.35, 0.12), glass, POLE, least=SUPERSAMPLE / 2)


def _polygon(x: float, y: float, z: float, radius: float, sides: int, turn: float) -> list[Point]:
    angles = [turn + 2 * math.pi * index / sides for index in range(sides)]
    return [(x + radius * math.sin(a), y + radius * math.cos(a), z) for a in angles]


def draw_sign(canvas: Canvas, rng: Random, x: float, z: float) -> None:
    """One or two plates on a post: round, triangular, octagonal, square or a direction board."""
    top = rng.uniform(2.3, 3.2)
    post = vary(rng, rng.choice(METAL), 0.05)
    canvas.bar((x, 0.0, z), (x, top, z), 0.035, post, POLE)
    for plate in range(rng.choice((1, 1, 2))):
        y, radius = top - 0.85 * plate, rng.uniform(0.34, 0.5)
        if rng.random() < 0.2:
            half, back = rng.uniform(0.7, 1.2), rng.choice((BLUE, GREEN, WHITE, YELLOW))
            board = [(x - half, y - 0.3, z), (x + half, y - 0.3, z)]
            board += [(x + half, y + 0.3, z), (x - half, y + 0.3, z)]
            canvas.face(board, vary(rng, back, 0.05), TRAFFIC_SIGN)
            line = WHITE if back in (BLUE, GREEN) else BLACK
            canvas.bar((x - half * 0.7, y, z), (x + half * 0.6, y, z), 0.05, line, TRAFFIC_SIGN)
            continue
        sides, turn, rim, fill = rng.choice(
            (
                (14, 0.0, RED, WHITE),
                (14, 0.0, BLUE, BLUE),
                (3, 0.0, RED, WHITE),
                (3, math.pi, RED, WHITE),
                (8, math.pi / 8, RED, RED),
                (4, 0.0, WHITE, YELLOW),
                (4, math.pi / 4, BLUE, WHITE),
            )
        )
        rim, fill = vary(rng, rim, 0.06), vary(rng, fill, 0.06)
        canvas.face(_polygon(x, y, z, radius, sides, turn), rim, TRAFFIC_SIGN)
        canvas.face(_polygon(x, y, z, radius * 0.68, sides, turn), fill, TRAFFIC_SIGN)
        if canvas.pixels(radius, z) > 4:
            mark = rng.choice((BLACK, WHITE))
            canvas.bar((x - 0.15, y, z), (x + 0.15, y, z), 0.05, mark, TRAFFIC_SIGN)


def draw_traffic_light(canvas: Canvas, rng: Random, x: float, z: float) -> None:
    """Three lamps in a case on a pole; now and then a second case on an arm over the road."""
    top, metal = rng.uniform(3.0, 3.8), vary(rng, rng.choice(METAL), 0.05)
    case = vary(rng, rng.choice((BLACK, BLACK, GREEN, YELLOW)), 0.04)
    lit = rng.randrange(3)
    canvas.bar((x, 0.0, z), (x, top, z), 0.06, metal, POLE)
    cases = [(x, top - 0.45)]
    if rng.random() < 0.4:
        tip, high = x + math.copysign(rng.uniform(2.0, 3.5), -x), rng.uniform(4.6, 5.6)
        canvas.bar((x, 0.0, z), (x, high, z), 0.08, metal, POLE)
        canvas.bar((x, high, z), (tip, high, z), 0.05, metal, POLE)
        cases.append((tip, high - 0.4))
    for cx, cy in cases:
        canvas.bar((cx, cy - 0.55, z), (cx, cy + 0.55, z), 0.21, case, TRAFFIC_LIGHT)
        for index, bright in enumerate(((1.5, 0.2, 0.1), (1.5, 1.0, 0.1), (0.1, 1.4, 0.5))):
            dim = 1.0 if index == lit else 0.15
            colour = (bright[0] * dim, bright[1] * dim, bright[2] * dim)
            canvas.ball((cx, cy + 0.34 * (1 - index), z), (0.12, 0.12), colour, TRAFFIC_LIGHT)


def draw_person(canvas: Canvas, rng: Random, x: float, z: float, ground: float = 0.0) -> None:
    """Someone standing or walking, seen from any side."""
    tall = rng.uniform(0.85, 1.12) * (0.65 if rng.random() < 0.12 else 1.0)  # of 1.7 m
    coat, legs = vary(rng, rng.choice(CLOTHES)), vary(rng, rng.choice(CLOTHES))
    skin, hair = vary(rng, rng.choice(SKIN), 0.04), vary(rng, (0.22, 0.17, 0.13), 0.1)
    stride, wide = rng.uniform(0.02, 0.32) * tall, rng.uniform(0.16, 0.24) * tall
    hip, neck = ground + 0.85 * tall, ground + 1.42 * tall
    swing = rng.choice((-1, 1)) * stride
    for foot in (-swing, swing):
        start = (x + 0.4 * foot, hip, z)
        canvas.bar(start, (x + foot, ground, z), 0.085 * tall, legs, PERSON)
    canvas.bar((x, hip - 0.1 * tall, z), (x, neck, z), wide, coat, PERSON)
    sleeve = (coat[0] * 0.8, coat[1] * 0.8, coat[2] * 0.82)
    for side in (-1, 1):
        hand = (x + side * wide * 1.1 - side * 0.4 * swing, hip, z)
        shoulder = (x + side * wide * 0.95, neck - 0.06, z)
        canvas.bar(shoulder, hand, 0.055 * tall, sleeve, PERSON)
    if rng.random() < 0.3:  # a bag
        canvas.ball((x + wide * 1.2, hip + 0.1, z), (0.14, 0.2), vary(rng, coat, 0.3), PERSON)
    head = (x, ground + 1.57 * tall, z)
    canvas.ball(head, (0.11 * tall, 0.14 * tall), skin, PERSON, least=SUPERSAMPLE * 0.5)
    canvas.ball((x, head[1] + 0.07 * tall, z), (0.115 * tall, 0.09 * tall), hair, PERSON)
