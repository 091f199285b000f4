"""What the page says about an evaluation, against NumPy."""

import json
import os

import numpy as np
import pytest

from gff_keras.data import LabelSet
from gff_keras.report import numbers


@pytest.fixture
def labels():
    palette = tuple((10 * i, 20, 30) for i in range(5))
    return LabelSet("five", ("a", "b", "c", "d", "e"), palette, thin=("b",))


@pytest.fixture
def results(rng, labels):
    """An evaluation in which class c occurs nowhere and class d is only predicted."""
    confusion = rng.integers(0, 1000, (5, 5))
    confusion[[2, 3]] = 0
    confusion[:, 2] = 0
    right, union = confusion.diagonal(), confusion.sum(0) + confusion.sum(1)
    iou = [r / (u - r) if u else None for r, u in zip(right, union, strict=True)]
    return {
        "mean_iou": 0.5,
        "pixel_accuracy": float(right.sum() / confusion.sum()),
        "mean_accuracy": 0.25,
        "iou": dict(zip(labels.classes, iou, strict=True)),
        "confusion": confusion.tolist(),
        "images": 7,
        "split": "val",
    }


def test_classes(results, labels):
    table = numbers.classes(results, labels)
    assert table["absent"] == ["c"]
    counts = np.array(results["confusion"])
    for i, row in enumerate(table["rows"]):
        assert (row["name"], row["thin"]) == (labels.classes[i], i == 1)
        assert row["iou"] == results["iou"][row["name"]]
        assert row["color"] == f"#{10 * i:02x}141e"
        assert row["pixels"] == pytest.approx(counts[i].sum() / counts.sum())
        for key, whole in (("accuracy", counts[i].sum()), ("precision", counts[:, i].sum())):
            expected = pytest.approx(counts[i, i] / whole) if whole else None
            assert row[key] == expected


def test_tiles(results):
    more = {"thin_mean_iou": None, "frequency_weighted_iou": 0.625, "boundary_f1": {"3": 0.5}}
    names = ["Mean IoU", "Pixel accuracy", "Mean class accuracy"]
    assert [name for name, _ in numbers.tiles(results)] == names
    shown = dict(numbers.tiles(results | more))
    names += ["Frequency-weighted IoU", "Boundary F1, 3 px"]
    assert list(shown) == names
    assert [shown[name] for name in names[2:]] == ["25.0 %", "62.5 %", "50.0 %"]


def test_confusion(results):
    found = numbers.confusion(results)
    counts = np.array(results["confusion"], float)
    shares = np.array(found["shares"])
    assert shares.sum(1) == pytest.approx([1, 1, 0, 0, 1])
    np.testing.assert_allclose(shares * counts.sum(1, keepdims=True), counts)
    wrong = {
        (a, b): counts[i, j]
        for i, a in enumerate("abcde")
        for j, b in enumerate("abcde")
        if i != j and counts[i, j]
    }
    pairs = [(error["truth"], error["prediction"]) for error in found["largest"]]
    assert pairs == sorted(wrong, key=lambda pair: -wrong[pair])[: numbers.CONFUSIONS]
    total = sum(wrong.values())
    for error, pair in zip(found["largest"], pairs, strict=True):
        assert error["of_errors"] == pytest.approx(wrong[pair] / total)
        i = "abcde".index(pair[0])
        assert error["of_truth"] == pytest.approx(wrong[pair] / counts[i].sum())


def test_nothing_is_confused(results):
    perfect = np.diag(np.diag(results["confusion"])).tolist()
    assert numbers.confusion(results | {"confusion": perfect})["largest"] == []


@pytest.mark.parametrize("count", [3, 4, 5, 6, 40])
def test_best_median_and_worst_images(rng, count):
    scores = rng.random(count)
    unscored = {3, 7}  # where no pixel has a label
    images = [
        {"id": str(i), "mean_iou": None if i in unscored and count > 6 else float(score)}
        for i, score in enumerate(scores)
    ]
    groups = numbers.choose({"images": count, "per_image": images})
    assert [title for title, _ in groups] == ["Best", "Median", "Worst"]
    chosen = [i for _, members in groups for i, _ in members]
    assert len(set(chosen)) == len(chosen) == 3 * (2 if count > 5 else 1)
    assert not unscored & set(chosen) or count < 7
    for _, members in groups:
        assert all(score == images[i]["mean_iou"] for i, score in members)
    best, median, worst = ([score for _, score in members] for _, members in groups)
    scored = sorted(image["mean_iou"] for image in images if image["mean_iou"] is not None)
    assert best == scored[::-1][: len(best)] and worst == scored[: len(worst)]
    below = sum(score < min(median) for score in scored)
    above = sum(score > max(median) for score in scored)
    assert abs(below - above) <= 1


def test_few_images_and_no_scores():
    one, two = ({"id": "x", "mean_iou": score} for score in (0.3, 0.6))
    assert numbers.choose({"images": 1, "per_image": [one]}) == [("The only image", [(0, 0.3)])]
    groups = numbers.choose({"images": 2, "per_image": [one, two]})
    assert groups == [("Better", [(1, 0.6)]), ("Worse", [(0, 0.3)])]
    for count in (1, 2, 4, 11):
        ((_, members),) = numbers.choose({"images": count})
        chosen = [i for i, _ in members]
        assert chosen[0] == 0 and chosen[-1] == count - 1 and len(chosen) == min(count, 4)
        assert sorted(set(chosen)) == chosen


def test_settings_in_words(results):
    assert numbers.settings(results, "given") == "Counted at the masks’ resolution; given."
    used = {"mode": "sliding", "crop_size": [64, 96], "scales": [0.75, 1.0], "flip": True}
    text = numbers.settings(results | {"settings": used | {"image_size": None}}, "given")
    assert text.startswith("Sliding windows of 64×96 at scales 0.75, 1 and mirrored;")
    used = {"mode": "whole", "scales": [1.0], "flip": False, "image_size": [180, 240]}
    text = numbers.settings(results | {"settings": used}, "given")
    assert text.startswith("Whole images resized to 180×240;")


class Network:
    num_classes = 3
    image_size = (30, 40)


@pytest.fixture
def saved(rng, records, tmp_path):
    """A model file and, beside it, results that fit it."""
    model = tmp_path / "best.keras"
    model.write_text("weights")
    confusion = rng.integers(0, 9, (3, 3)).tolist()
    results = {
        "split": "val",
        "images": 3,
        "iou": dict.fromkeys(LabelSet.from_records(records).classes, 0.5),
        "confusion": confusion,
        "settings": {"mode": "whole", "image_size": [30, 40]},
    }
    (tmp_path / "best_val.json").write_text(json.dumps(results))
    return model, results


@pytest.fixture
def evaluations(monkeypatch):
    monkeypatch.setattr(numbers, "evaluate", lambda *_, **__: "new")


def evaluated(model, records):
    return numbers.evaluated(model, Network(), None, records, "val", False)


def test_saved_results_that_fit_are_used(saved, records, evaluations):
    model, results = saved
    assert evaluated(model, records) == (results, "read from best_val.json")


@pytest.mark.parametrize(
    "change",
    [
        {"images": 4},
        {"split": "train"},
        {"iou": {"sky": 0.5, "road": 0.5, "tree": 0.5}},
        {"confusion": [[1, 2], [3, 4]]},
        {"settings": {"mode": "whole", "image_size": None}},
        {"settings": None},
    ],
)
def test_other_results_are_not_used(saved, records, evaluations, change):
    model, results = saved
    model.with_name("best_val.json").write_text(json.dumps(results | change))
    assert evaluated(model, records)[0] == "new"


def test_old_and_damaged_results_are_not_used(saved, records, evaluations):
    model, _ = saved
    path = model.with_name("best_val.json")
    os.utime(path, (1e9, 1e9))  # before the model and the records were written
    assert evaluated(model, records)[0] == "new"
    for text in ("{", "[]", "null"):
        path.write_text(text)
        assert evaluated(model, records)[0] == "new"
    path.unlink()
    assert evaluated(model, records)[0] == "new"
