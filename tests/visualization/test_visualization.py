"""Colours, overlays, gate sheets and learning curves, checked by numbers."""

import os
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from PIL import Image

from gff_keras.visualization import (
    colorize,
    default_palette,
    gate_sheet,
    label_sheet,
    legend_entries,
    overlay,
    overlay_figure,
    panels,
    prediction_sheet,
    save_palette_png,
)
from gff_keras.visualization.gates import gate_colors

H, W = 97, 131


def label_set(count=19):
    return SimpleNamespace(
        classes=tuple(f"class {i}" for i in range(count)), palette=default_palette(count)
    )


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (H, W, 3), dtype=np.uint8)


@pytest.fixture
def label(rng):
    label = rng.integers(0, 19, (H, W), dtype=np.uint8)
    label[rng.random((H, W)) < 0.2] = 255
    return label


def test_default_palette_is_distinct_and_a_prefix_of_longer_ones():
    colors = np.array(default_palette(150), int)
    assert default_palette(19) == default_palette(150)[:19]
    distance = np.abs(colors[:, None] - colors[None]).sum(-1) + 1000 * np.eye(150, dtype=int)
    assert distance.min() >= 19  # one step of the grid: no colour twice
    first = np.array(default_palette(19), int)
    assert (np.abs(first[:, None] - first[None]).sum(-1) + 1000 * np.eye(19, dtype=int)).min() > 60
    with pytest.raises(ValueError, match="256"):
        default_palette(256)


def test_colorize_looks_up_each_pixel(label):
    palette = default_palette(19)
    colors = colorize(label, palette)
    assert colors.shape == (H, W, 3) and colors.dtype == np.uint8
    for y, x in [(0, 0), (96, 130), (40, 77), *np.argwhere(label == 255)[:3]]:
        expected = (0, 0, 0) if label[y, x] == 255 else palette[label[y, x]]
        assert tuple(colors[y, x]) == expected


@pytest.mark.parametrize("count", [2, 11, 150])
def test_palette_png_keeps_indices_and_colors(tmp_path, rng, count):
    label = rng.integers(0, count, (H, W), dtype=np.uint8)
    label[3:9] = 255
    palette = default_palette(count)
    save_palette_png(tmp_path / "label.png", label, palette)
    with Image.open(tmp_path / "label.png") as png:
        assert png.mode == "P"
        np.testing.assert_array_equal(np.asarray(png), label)
        stored = np.array(png.getpalette("RGB")).reshape(256, 3)
        shown = np.asarray(png.convert("RGB"))
    np.testing.assert_array_equal(stored[:count], palette)
    assert stored[255].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(shown, colorize(label, palette))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.55, 1.0])
def test_overlay_blends(image, label, rng, alpha):
    palette = default_palette(19)
    result = overlay(image, label, palette, alpha=alpha)
    for y, x in rng.integers(0, (H, W), (200, 2)):
        expected = image[y, x].astype(float)
        if label[y, x] != 255:
            expected = (1 - alpha) * expected + alpha * np.array(palette[label[y, x]])
        assert np.abs(result[y, x] - expected).max() <= 0.5 + 1e-4


def test_boundaries_show_the_full_class_color(image):
    label = np.zeros((H, W), np.uint8)
    label[:, 60] = 1  # one pixel wide
    label[90:] = 255
    palette = default_palette(2)
    lines = overlay(image, label, palette, boundaries=True)
    plain = overlay(image, label, palette)
    assert (lines[:90, 60] == palette[1]).all()
    assert (lines[:90, [59, 61]] == palette[0]).all()
    assert (lines[89] == np.where(np.arange(W)[:, None] == 60, palette[1], palette[0])).all()
    np.testing.assert_array_equal(lines[90:], image[90:])
    np.testing.assert_array_equal(lines[:89, :59], plain[:89, :59])


def test_legend_entries_are_the_present_classes():
    labels = label_set()
    a, b = np.full((3, 4), 7, np.uint8), np.full((3, 4), 255, np.uint8)
    b[0, 0] = 2
    expected = [("class 2", labels.palette[2]), ("class 7", labels.palette[7])]
    assert legend_entries([a, b], labels) == expected
    assert legend_entries([b[1:]], labels) == []


def test_figure_shows_the_overlays_at_whole_pixels(image, label):
    labels = label_set()
    prediction = np.where(label == 255, 3, label)
    figure = np.asarray(overlay_figure(image, prediction, labels, truth=label))
    factor, size = 4, panels.text_size(4 * W)  # 131 -> 524, the first multiple past 480
    top, left = size + size * 3 // 2, size
    wanted = [image] + [
        overlay(image, x, labels.palette, boundaries=True) for x in (label, prediction)
    ]
    for panel in wanted:
        shown = figure[top : top + factor * H, left : left + factor * W]
        np.testing.assert_array_equal(shown, panel.repeat(factor, 0).repeat(factor, 1))
        left += factor * W + size // 2
    swatches = figure[top + factor * H + size :].reshape(-1, 3)
    for color in labels.palette:  # all 19 are present
        assert (swatches == color).all(-1).sum() > size * size


def test_label_sheet_shows_images_beside_their_labels(image, label):
    labels = label_set()
    sheet = np.asarray(label_sheet([image, image[::-1]], [label, label[::-1]], labels, ["a", "b"]))
    factor, size = 4, panels.text_size(4 * W)
    top = size + size * 3 // 2
    for x, y in ((image, label), (image[::-1], label[::-1])):
        left = size
        for panel in (x, overlay(x, y, labels.palette, boundaries=True)):
            shown = sheet[top : top + factor * H, left : left + factor * W]
            np.testing.assert_array_equal(shown, panel.repeat(factor, 0).repeat(factor, 1))
            left += factor * W + size // 2
        top += factor * H + size // 2 + size * 3 // 2
    with pytest.raises(ValueError):
        label_sheet([image], [label, label], labels, ["a"])


def test_legend_text_stays_in_its_column():
    entries = [(f"{i} " + "long name " * (i % 9), (i, 255 - i, 0)) for i in range(150)]
    legend = np.asarray(panels.legend(entries, 1500, 17)).astype(int)
    assert legend.shape[1] == 1500
    # No ink (dark grey) left of any swatch, where the previous column's text would run into it.
    for i in (1, 2, 77):
        y, x = np.argwhere((legend == entries[i][1]).all(-1))[0]
        assert (legend[y : y + 15, x - 10 : x - 1] == 255).all()
    assert panels.fit_text("abc", 100, 16) == "abc"
    short = panels.fit_text("a very long class name indeed", 100, 16)
    assert short.endswith("…") and panels.font(16).getlength(short) <= 100


def test_sheet_has_a_row_per_prediction(image, label):
    labels, prediction = label_set(), np.full((H, W), 4, np.uint8)
    one = overlay_figure(image, prediction, labels)
    three = prediction_sheet([(image, prediction, None)] * 3, labels)
    size = panels.text_size(4 * W)
    assert three.width == one.width == 2 * 4 * W + size // 2 + 2 * size
    assert three.height - one.height == 2 * (4 * H + size // 2)
    with pytest.raises(ValueError, match="1 of 2 rows"):
        prediction_sheet([(image, prediction, label), (image, prediction, None)], labels)
    with pytest.raises(ValueError, match="at least one row"):
        prediction_sheet([], labels)


def test_gate_panels_follow_the_gates(image):
    means = [0.1, 0.35, 0.6, 0.95]
    gates = [np.full((25 // k, 33 // k), m) for k, m in zip((1, 2, 2, 2), means, strict=True)]
    sheet = np.asarray(gate_sheet(image, gates, np.zeros((H, W), np.uint8), label_set()))
    size = panels.text_size(4 * W)
    step_y, step_x = 4 * H + size * 3 // 2 + size // 2, 4 * W + size // 2
    y, x = size + size * 3 // 2 + 2 * H, size + 2 * W  # centre of the image panel
    centres = [sheet[y + dy * step_y, x + dx * step_x] for dy in (0, 1) for dx in (1, 2)]
    for mean, color in zip(means, centres, strict=True):
        np.testing.assert_array_equal(color, matplotlib.colormaps["viridis"](mean, bytes=True)[:3])
    luminance = [c @ np.array([0.2126, 0.7152, 0.0722]) for c in centres]
    assert luminance == sorted(luminance)
    np.testing.assert_array_equal(sheet[y, x], image[H // 2, W // 2])


def test_gate_resizing_is_bilinear_with_half_pixel_centres():
    colors = gate_colors(np.array([[0.0, 1.0]]), (1, 8))
    # centres of 8 pixels in the coordinates of 2: (i + 0.5) / 4 - 0.5, clamped to [0, 1]
    expected = np.clip((np.arange(8) + 0.5) / 4 - 0.5, 0, 1)
    wanted = matplotlib.colormaps["viridis"](expected, bytes=True)[:, :3]
    assert np.abs(colors[0].astype(int) - wanted).max() <= 2  # one step of the colour map


def test_bad_arrays_are_named(image, label, tmp_path):
    palette, labels = default_palette(19), label_set()
    wrong = label.copy()
    wrong[5, 5] = 42
    for call in (
        lambda: colorize(wrong, palette),
        lambda: overlay(image, wrong, palette),
        lambda: save_palette_png(tmp_path / "x.png", wrong, palette),
        lambda: legend_entries([wrong], labels),
        lambda: overlay_figure(image, label, labels, truth=wrong),
    ):
        with pytest.raises(ValueError, match="label value 42"):
            call()
    with pytest.raises(ValueError, match="-1"):
        colorize(np.full((2, 2), -1), palette)
    with pytest.raises(ValueError, match=r"\(97, 131\).*\(97, 130\)"):
        overlay(image, label[:, 1:], palette)
    with pytest.raises(ValueError, match="float64"):
        overlay(image / 255.0, label, palette)
    with pytest.raises(ValueError, match="float32"):
        colorize(label.astype(np.float32), palette)
    with pytest.raises(ValueError, match="alpha.*1.5"):
        overlay(image, label, palette, alpha=1.5)
    for gate, message in (([[0.5, 1.5]], "G2 holds 1.5"), ([[np.nan]], "G2 holds nan")):
        with pytest.raises(ValueError, match=message):
            gate_sheet(image, [np.ones((2, 2, 1)), np.array(gate)], label, labels)
    with pytest.raises(ValueError, match=r"G1 has shape \(2, 2, 3\)"):
        gate_sheet(image, [np.ones((2, 2, 3))], label, labels)


@pytest.mark.skipif("GFF_DATA" not in os.environ, reason="needs real images: set GFF_DATA")
def test_real_pair(tmp_path):
    folder = Path(os.environ["GFF_DATA"]) / "data" / "camvid"
    name = next(iter(sorted((folder / "val").glob("*.jpg"))), None)
    if name is None:
        pytest.skip("GFF_DATA has no data/camvid")
    image = np.asarray(Image.open(name).convert("RGB"))
    raw = np.asarray(Image.open(folder / "valannot" / f"{name.stem}.png"))
    truth = np.where(raw == 11, 255, raw).astype(np.uint8)
    labels = label_set(11)
    figure = overlay_figure(image, np.where(truth == 255, 0, truth), labels, truth=truth)
    size = panels.text_size(image.shape[1])
    assert figure.width == 3 * image.shape[1] + 2 * (size // 2) + 2 * size  # native pixels
    left = size + image.shape[1] + size // 2
    shown = np.asarray(figure)[size + size * 3 // 2 :, left:][: truth.shape[0], : truth.shape[1]]
    np.testing.assert_array_equal(shown[truth == 255], image[truth == 255])
