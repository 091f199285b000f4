"""Scores of this project and of the official Cityscapes scripts are the same numbers."""

import copy
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from gff_keras.data import LabelSet
from gff_keras.data.label_tables.street import CITYSCAPES
from gff_keras.evaluation.cityscapes import label_ids
from gff_keras.evaluation.evaluate import summarize
from gff_keras.evaluation.metrics import SegmentationMetrics, count_pixels, scores
from tfrecords_tools import build

KINDS = ("random", "perfect", "wrong", "one class", "a class that is not there")


@pytest.fixture(scope="module")
def official():
    return pytest.importorskip(
        "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling",
        reason="cityscapesscripts is not installed; it is part of the extra 'test'",
    )


def official_scores(official, predictions, truths):
    """What csEvalPixelLevelSemanticLabeling computes from files of label ids."""
    args = copy.copy(official.args)
    args.quiet, args.JSONOutput, args.evalInstLevelScore = True, False, False
    results = official.evaluateImgLists([*map(str, predictions)], [*map(str, truths)], args)
    iou = [results["classScores"][name] for name in CITYSCAPES.classes]
    return iou, results["averageScoreClasses"]


def predict(kind, train, rng):
    """Training indices predicted for a mask of training indices and 255."""
    anything = rng.integers(0, 19, train.shape)
    known = np.where(train == 255, anything, train)  # and anything where nobody knows
    return {
        "random": anything,
        "perfect": known,
        "wrong": (known + rng.integers(1, 19, train.shape)) % 19,
        "one class": np.full_like(train, 13),
        "a class that is not there": np.where(train == 0, 16, known),
    }[kind].astype("uint8")


def check(official, kind, truth_files, out, rng):
    ids, total = label_ids(CITYSCAPES), 0
    metrics, predictions = SegmentationMetrics(19), []
    for path in truth_files:
        train = CITYSCAPES.to_train(np.asarray(Image.open(path)))
        predicted = predict(kind, train, rng)
        total = total + count_pixels(train, predicted, 19)
        metrics.update_state(train[None], predicted[None])
        predictions.append(out / path.name)
        Image.fromarray(ids[predicted]).save(predictions[-1])
    iou, mean_iou = official_scores(official, predictions, truth_files)
    ours = scores(total)
    np.testing.assert_array_equal(ours["iou"], iou)
    assert ours["mean_iou"] == mean_iou
    np.testing.assert_array_equal(metrics.result()["iou"], iou)
    assert float(metrics.result()["mean_iou"]) == pytest.approx(mean_iou, rel=1e-15, abs=0)
    assert summarize(metrics, CITYSCAPES.classes)["mean_iou"] == mean_iou
    return mean_iou


def mean_iou_bounds(kind):
    return {"perfect": (1, 1), "wrong": (0, 0)}.get(kind, (0, 0.99))


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_label_ids(official, rng, tmp_path, kind):
    """All label ids, ignored ones too; class 16 (train) is not there, class 5 in one image only."""
    truths = []
    for i in range(3):
        raw = np.kron(rng.integers(0, 34, (9, 13)), np.ones((7, 6), int)).astype("uint8")
        raw[raw == 31] = 0
        raw[(raw == 17) & (i > 0)] = 4
        truths.append(tmp_path / f"city_{i:06d}_000019_gtFine_labelIds.png")
        Image.fromarray(raw).save(truths[-1])
    (tmp_path / "out").mkdir()
    low, high = mean_iou_bounds(kind)
    assert low <= check(official, kind, truths, tmp_path / "out", rng) <= high


@pytest.mark.parametrize("kind", KINDS)
def test_cityscapes_samples(official, gff_data, rng, tmp_path, kind):
    truths = sorted((gff_data / "data/cityscapes/gtFine").rglob("*_gtFine_labelIds.png"))
    assert len(truths) > 1
    low, high = mean_iou_bounds(kind)
    assert low <= check(official, kind, truths, tmp_path, rng) <= high


@pytest.fixture(scope="module")
def model_19(tiny_model, tmp_path_factory):
    """A model of random weights with the labels of Cityscapes beside it."""
    folder = tmp_path_factory.mktemp("model")
    tiny_model(19).save(folder / "model.keras")
    CITYSCAPES.save(folder / "labels.json")
    return folder / "model.keras"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Three images of two cities with label ids, as Cityscapes lays them out."""
    folder, rng = tmp_path_factory.mktemp("cityscapes"), np.random.default_rng(1)
    for city, number in (("ulm", 0), ("ulm", 7), ("bonn", 0)):
        for split in ("train", "val"):
            key = f"{city}_{number:06d}_000019"
            image = folder / f"leftImg8bit/{split}/{city}/{key}_leftImg8bit.png"
            mask = folder / f"gtFine/{split}/{city}/{key}_gtFine_labelIds.png"
            for path, array in (
                (image, rng.integers(0, 256, (40, 56, 3), "uint8")),
                (mask, rng.integers(0, 34, (40, 56), "uint8")),
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
    return folder


@pytest.mark.usefixtures("eager")
def test_a_submission_scores_what_evaluate_says(official, run, model_19, tree, tmp_path):
    """Images to zip on one way, records to scores on the other; windows, scales and flip."""
    views = ("--mode", "sliding", "--crop_size", "40", "44", "--scales", "0.75,1", "--flip")
    line = ("predict", tree / "leftImg8bit/val", "--model", model_19, "--out", tmp_path)
    assert run(*line, "--cityscapes-submission", *views)[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["cityscapes_submission.zip"]
    with zipfile.ZipFile(tmp_path / "cityscapes_submission.zip") as archive:
        names = sorted(archive.namelist())
        archive.extractall(tmp_path / "unzipped")
    keys = ["bonn_000000_000019", "ulm_000000_000019", "ulm_000007_000019"]
    assert names == [f"{key}_gtFine_labelIds.png" for key in keys]
    truths = sorted((tree / "gtFine/val").rglob("*.png"), key=lambda path: path.name)
    args = copy.copy(official.args)
    args.predictionPath = str(tmp_path / "unzipped")
    found = [official.getPrediction(args, str(path)) for path in truths]
    for path in found:
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("L", (56, 40))
    iou, mean_iou = official_scores(official, found, truths)

    records = build("cityscapes", source=tree, out=tmp_path / "records")
    assert (
        run("evaluate", model_19, "--data", records, "--out", tmp_path / "a.json", *views)[0] == 0
    )
    results = json.loads((tmp_path / "a.json").read_text())
    assert results["mean_iou"] == mean_iou
    assert list(results["iou"].values()) == [None if v != v else v for v in iou]


@pytest.mark.usefixtures("eager")
def test_what_is_no_submission(refused, model_19, tree, photo, tiny_model, tmp_path):
    line = ("--out", tmp_path / "out", "--cityscapes_submission")
    error = refused("predict", photo, "--model", model_19, *line)
    assert f"{photo} is not named CITY_SEQUENCE_FRAME_leftImg8bit.png" in error
    tiny_model(3).save(tmp_path / "three.keras")
    error = refused("predict", tree / "leftImg8bit/val", "--model", tmp_path / "three.keras", *line)
    assert "needs a model of its 19 classes" in error and "class 0" in error
    error = refused("predict", tree / "leftImg8bit", "--model", model_19, *line)
    assert "would have one result" in error  # train and val have images of one name
    assert not (tmp_path / "out").exists()


def test_label_ids_follow_the_order_of_the_model():
    turned = LabelSet("turned", CITYSCAPES.classes[::-1], CITYSCAPES.palette)
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    np.testing.assert_array_equal(label_ids(CITYSCAPES), ids)
    np.testing.assert_array_equal(label_ids(turned), ids[::-1])


def ade20k(pairs, classes):
    """The scene parsing benchmark's numbers: masks hold 0 = unlabeled and classes from 1 on."""
    right = labelled = 0
    intersection, union = np.zeros(classes), np.zeros(classes)
    for truth, prediction in pairs:
        labelled += (truth > 0).sum()
        right += ((truth > 0) & (truth == prediction)).sum()
        prediction = prediction * (truth > 0)
        for c in range(1, classes + 1):
            both = ((truth == c) & (prediction == c)).sum()
            intersection[c - 1] += both
            union[c - 1] += (truth == c).sum() + (prediction == c).sum() - both
    return right / labelled, np.mean(intersection / union)


def test_ade20k_convention(rng):
    pairs, total, metrics = [], 0, SegmentationMetrics(150)
    for _ in range(2):
        raw = rng.integers(0, 151, (60, 70))
        predicted = np.where(rng.random(raw.shape) < 0.4, np.maximum(raw, 1), 1 + raw % 150)
        pairs.append((raw, predicted))
        train = np.where(raw == 0, 255, raw - 1)
        total = total + count_pixels(train, predicted - 1, 150)
        metrics.update_state(train[None], predicted[None] - 1)
    accuracy, mean_iou = ade20k(pairs, 150)
    ours = scores(total)
    assert ours["pixel_accuracy"] == accuracy
    assert ours["mean_iou"] == pytest.approx(mean_iou, rel=1e-14)
    assert float(metrics.result()["pixel_accuracy"]) == pytest.approx(accuracy, rel=1e-15)
    assert float(metrics.result()["mean_iou"]) == pytest.approx(mean_iou, rel=1e-14)
    assert 0.2 < mean_iou < accuracy < 0.6
