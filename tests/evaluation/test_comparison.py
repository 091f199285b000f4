"""Two models on a split: what the second mends and breaks, counted pixel by pixel."""

import json

import numpy as np
import pytest

from gff_keras.data import LabelSet, evaluation_dataset
from gff_keras.evaluation import gate_tables as tables
from gff_keras.evaluation.comparison import common_labels, compare, most_changed
from gff_keras.evaluation.prediction import generic_labels


class Guesses:
    """Stands for a predictor: classes by chance, the same each time it sees an image."""

    num_classes = 3

    def __init__(self, seed):
        self.seed = seed

    def classes(self, image):
        rng = np.random.default_rng([self.seed, int(image.sum())])
        return rng.integers(0, 3, image.shape[:2]).astype("uint8")


def test_counts_and_scores(records):
    two = Guesses(1), Guesses(2)
    results = compare(*two, records, "train", verbose=False)
    mended, broken, pixels = (np.zeros((5, 3), int) for _ in range(3))
    confusions = np.zeros((2, 3, 3), int)
    for n, (image, label) in enumerate(evaluation_dataset(records, "train")):
        truth = label.numpy()[0]
        a, b = (x.classes(image.numpy()[0]) for x in two)
        for t, x, y in zip(truth.ravel(), a.ravel(), b.ravel(), strict=True):
            if t != 255:
                pixels[n, t] += 1
                mended[n, t] += x != t and y == t
                broken[n, t] += x == t and y != t
                confusions[0, t, x] += 1
                confusions[1, t, y] += 1
    for i, name in enumerate(("sky", "road", "car")):
        counts = {"pixels": pixels[:, i], "mended": mended[:, i], "broken": broken[:, i]}
        assert results["classes"][name] == {key: x.sum() for key, x in counts.items()}
    assert [x["mended"] for x in results["per_image"]] == mended.sum(1).tolist()
    assert [x["broken"] for x in results["per_image"]] == broken.sum(1).tolist()
    assert (results["mended"], results["broken"]) == (mended.sum(), broken.sum())
    assert (results["pixels"], results["images"]) == (pixels.sum(), 5)
    for key, confusion in zip("AB", confusions, strict=True):
        right = np.diag(confusion)
        iou = right / (confusion.sum(0) + confusion.sum(1) - right)
        assert list(results[key]["iou"].values()) == pytest.approx(iou)
        assert results[key]["mean_iou"] == pytest.approx(iou.mean())
        assert results[key]["pixel_accuracy"] == pytest.approx(right.sum() / confusion.sum())
    assert json.loads(json.dumps(results)) == results
    totals = (mended + broken).sum(1)
    chosen = most_changed(results, 2)
    worst = [
        x["id"] for x in np.array(results["per_image"])[np.argsort(-totals, kind="stable")[:2]]
    ]
    assert chosen == set(worst)

    row = tables.comparison_rows(results)[2]
    assert row[:3] == ["road", results["A"]["iou"]["road"], results["B"]["iou"]["road"]]
    assert row[3:] == [row[2] - row[1], *results["classes"]["road"].values()]
    line = tables.comparison_table(results).splitlines()[-1].split()
    assert line[2:4] == [f"{100 * results[x]['mean_iou']:.2f}" for x in "AB"]
    assert line[5:] == [f"{results['mended']:,}", f"{results['broken']:,}"]


def test_a_model_beside_itself(records):
    results = compare(Guesses(1), Guesses(1), records, max_images=1, verbose=False)
    assert (results["mended"], results["broken"], results["images"]) == (0, 0, 1)
    assert results["A"] == results["B"]


def test_labels_of_two_models(records):
    labels = LabelSet.from_records(records)
    assert common_labels(labels, labels) is labels
    assert common_labels(generic_labels(3), labels) is common_labels(labels, generic_labels(3))
    with pytest.raises(ValueError, match="a predicts 3 classes, but b 4"):
        common_labels(labels, generic_labels(4), ("a", "b"))
    other = LabelSet("other", ("sky", "river", "car"), labels.palette)
    with pytest.raises(ValueError, match="number 1 is 'road' for one and 'river' for the other"):
        common_labels(labels, other)


def test_other_classes_are_refused(records):
    other = Guesses(2)
    other.num_classes = 4
    with pytest.raises(ValueError, match="3 classes, but the model predicts 4"):
        compare(Guesses(1), other, records)
