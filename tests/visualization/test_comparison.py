"""Sheets that mark what two predictions do differently, checked pixel by pixel."""

import numpy as np
import pytest

from gff_keras.data import LabelSet
from gff_keras.visualization import (
    ablation_heatmap,
    ablation_sheet,
    comparison_sheet,
    default_palette,
    overlay,
    panels,
    statistics_heatmap,
)
from gff_keras.visualization.comparison import BROKEN, CHANGED, MENDED, changes, highlight

H, W, FACTOR = 97, 131, 4  # 524 pixels wide, the first multiple past 480
SIZE = panels.text_size(FACTOR * W)
LABELS = LabelSet("four", tuple(f"class {i}" for i in range(4)), default_palette(4))


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (H, W, 3), dtype=np.uint8)


@pytest.fixture
def maps(rng):
    """Truth with ignored pixels, and three predictions that are right on half of all pixels."""
    truth = rng.integers(0, 4, (H, W), dtype=np.uint8)
    predictions = [
        np.where(rng.random((H, W)) < 0.5, truth, rng.integers(0, 4, (H, W))).astype("uint8")
        for _ in range(3)
    ]
    truth[rng.random((H, W)) < 0.2] = 255
    return truth, *predictions


def panel(sheet, row, column):
    """A panel of a sheet at the pixels of the image; all of its enlarged pixels must agree."""
    top = SIZE + SIZE * 3 // 2 + row * (FACTOR * H + SIZE * 3 // 2 + SIZE // 2)
    left = SIZE + column * (FACTOR * W + SIZE // 2)
    large = np.asarray(sheet)[top : top + FACTOR * H, left : left + FACTOR * W]
    small = large[::FACTOR, ::FACTOR]
    np.testing.assert_array_equal(large, small.repeat(FACTOR, 0).repeat(FACTOR, 1))
    return small


def marked(picture, color):
    return (picture == color).all(-1)


def test_changes_pixel_by_pixel(rng, maps):
    truth, a, b, _ = maps
    mended, broken = changes(truth, a, b)
    for y, x in rng.integers(0, (H, W), (300, 2)):
        t, before, after = truth[y, x], a[y, x], b[y, x]
        assert mended[y, x] == (t != 255 and before != t and after == t)
        assert broken[y, x] == (t != 255 and before == t and after != t)
    assert mended.sum() > 500 and broken.sum() > 500


def test_highlight_is_grey_but_for_the_marks(image, rng):
    mask = rng.random((H, W)) < 0.1
    picture = highlight(image, [(mask, BROKEN)])
    assert marked(picture, BROKEN)[mask].all()
    rest = picture[~mask].astype(int)
    assert (rest == rest[:, :1]).all() and rest.min() >= 140  # pale: the marks stand out
    grey = image[~mask] @ np.array([0.299, 0.587, 0.114])
    assert np.corrcoef(rest[:, 0], grey)[0, 1] > 0.999


def test_comparison_marks_what_b_mends_and_breaks(image, maps):
    truth, a, b, _ = maps
    sheet = comparison_sheet(image, truth, a, b, LABELS)
    mended, broken = changes(truth, a, b)
    shown = {(0, 0): image}
    for place, label in (((1, 0), truth), ((0, 1), a), ((1, 1), b)):
        shown[place] = overlay(image, label, LABELS.palette, boundaries=True)
    for place, expected in shown.items():
        np.testing.assert_array_equal(panel(sheet, *place), expected)
    np.testing.assert_array_equal(marked(panel(sheet, 0, 2), MENDED), mended)
    np.testing.assert_array_equal(marked(panel(sheet, 1, 2), BROKEN), broken)
    assert not marked(panel(sheet, 0, 2), BROKEN).any()


def test_without_truth_what_differs_is_marked(image, maps):
    _, a, b, c = maps
    sheet = comparison_sheet(image, None, a, b, LABELS)
    np.testing.assert_array_equal(marked(panel(sheet, 1, 0), CHANGED), a != b)
    sheet = ablation_sheet(image, None, a, {"G1": b, "G2": c}, LABELS)
    np.testing.assert_array_equal(panel(sheet, 0, 0), image)
    for column, other in enumerate((b, c)):
        np.testing.assert_array_equal(marked(panel(sheet, 1, column), CHANGED), a != other)


def test_ablation_marks_what_becomes_wrong(image, maps):
    truth, prediction, b, c = maps
    sheet = ablation_sheet(image, truth, prediction, {"G1": b, "G2": c}, LABELS)
    shown = overlay(image, prediction, LABELS.palette, boundaries=True)
    np.testing.assert_array_equal(panel(sheet, 0, 2), shown)
    wrong = (prediction != truth) & (truth != 255)
    np.testing.assert_array_equal(marked(panel(sheet, 0, 3), panels.INK), wrong)
    for column, other in enumerate((b, c)):
        picture = panel(sheet, 1, column)
        became_right, became_wrong = changes(truth, prediction, other)
        np.testing.assert_array_equal(marked(picture, BROKEN), became_wrong)
        np.testing.assert_array_equal(marked(picture, MENDED), became_right)


def test_titles_count_pixels(image, maps, monkeypatch):
    titles = []
    draw = panels.grid
    monkeypatch.setattr(
        panels,
        "grid",
        lambda rows, size: titles.extend(t for r in rows for t, _ in r) or draw(rows, size),
    )
    truth, a, b, _ = maps
    mended, broken = (int(mask.sum()) for mask in changes(truth, a, b))
    comparison_sheet(image, truth, a, b, LABELS, ("one", "two"))
    assert f"two mends {mended:,} pixels ({mended / (H * W):.1%})" in titles
    assert f"two breaks {broken:,} pixels ({broken / (H * W):.1%})" in titles
    ablation_sheet(image, truth, a, {"G1": b}, LABELS)
    assert f"Without G1: {broken:,} become wrong, {mended:,} right" in titles


def test_what_does_not_fit_is_refused(image, maps):
    truth, a, b, _ = maps
    with pytest.raises(ValueError, match=r"\(97, 131\).*\(97, 130\)"):
        comparison_sheet(image, truth, a[:, 1:], b, LABELS)
    with pytest.raises(ValueError, match="label value 4"):
        ablation_sheet(image, truth, a, {"G1": b + 1}, LABELS)
    with pytest.raises(ValueError, match="no prediction without a gate"):
        ablation_sheet(image, truth, a, {}, LABELS)


def test_heatmaps_hold_the_numbers(tmp_path, rng, monkeypatch):
    written = []
    monkeypatch.setattr(
        "matplotlib.axes.Axes.text", lambda self, x, y, text, **_: written.append((x, y, text))
    )
    means = rng.random((3, 2))  # all pixels and two classes, by two gates
    gates = {
        f"G{j + 1}": {
            "mean": means[0, j],
            "classes": {"a": {"mean": means[1, j]}, "b": {"mean": None}},
        }
        for j in range(2)
    }
    shares = [[0.25, 0.75], [1.0, 0.0]]
    statistics_heatmap({"gates": gates, "receive": shares, "send": shares}, tmp_path / "s.png")
    for i, j in np.ndindex(2, 2):
        assert (j, i, f"{means[i, j]:.2f}") in written
        assert written.count((j, i, f"{100 * shares[i][j]:.0f}")) == 2
    assert len(written) == 4 + 8  # nothing for the class that never occurs
    written.clear()
    without = {"G1": {"mean_iou": 0.41, "iou": {"a": 0.6, "b": None}}}
    ablation_heatmap(
        {"mean_iou": 0.5, "iou": {"a": 0.55, "b": None}, "without": without}, tmp_path / "a.png"
    )
    assert written == [(0, 0, "-9.0"), (0, 1, "+5.0")]
    assert (
        (tmp_path / "s.png").read_bytes()[:4] == (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    )
