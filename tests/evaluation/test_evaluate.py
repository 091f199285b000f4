"""Evaluation of a split against a confusion matrix counted in NumPy."""

import json

import numpy as np
import pytest

from gff_keras.data import evaluation_dataset
from gff_keras.evaluation.evaluate import evaluate, table
from gff_keras.evaluation.prediction import Predictor

pytestmark = pytest.mark.usefixtures("eager")


@pytest.mark.parametrize("split, images", [("val", 3), ("train", 5)])
@pytest.mark.parametrize("image_size", [None, (24, 40)])
def test_confusion_at_the_resolution_of_the_masks(trained, records, split, images, image_size):
    predictor = Predictor(trained[1], image_size)
    confusion = np.zeros((3, 3), int)
    for image, label in evaluation_dataset(records, split):
        label, prediction = label.numpy()[0], predictor.classes(image.numpy()[0])
        assert label.shape == prediction.shape
        valid = label != 255
        np.add.at(confusion, (label[valid], prediction[valid]), 1)
    results = evaluate(predictor, records, split, verbose=False)
    assert results["confusion"] == confusion.tolist()
    assert (results["images"], results["split"]) == (images, split)
    right, truth = np.diag(confusion), confusion.sum(1)
    union = truth + confusion.sum(0) - right
    assert list(results["iou"]) == ["sky", "road", "car"]
    np.testing.assert_allclose(list(results["iou"].values()), right / union, rtol=1e-12)
    assert results["mean_iou"] == pytest.approx(np.mean(right / union))
    assert results["pixel_accuracy"] == pytest.approx(right.sum() / confusion.sum())
    assert results["mean_accuracy"] == pytest.approx(np.mean(right / truth))
    assert json.loads(json.dumps(results)) == results


def test_absent_class_is_none_and_said_so(records, trained, monkeypatch):
    """A predictor and masks that never hold class 2: 'car' has no IoU and does not count."""
    predictor = Predictor(trained[1])
    monkeypatch.setattr(predictor, "classes", lambda image: (image[..., 0] > 99).astype("uint8"))
    pairs = [(x, np.where(y == 2, 255, y)) for x, y in evaluation_dataset(records, "val")]
    monkeypatch.setattr("gff_keras.evaluation.evaluate.evaluation_dataset", lambda *_: pairs)
    results = evaluate(predictor, records, verbose=False)
    assert results["iou"]["car"] is None
    assert results["mean_iou"] == pytest.approx(
        (results["iou"]["sky"] + results["iou"]["road"]) / 2
    )
    lines = {line.split()[0]: line.split()[-1] for line in table(results).splitlines() if line}
    assert lines["car"] == "absent"
    assert float(lines["sky"]) == pytest.approx(100 * results["iou"]["sky"], abs=0.005)
    assert float(lines["mean_iou"]) == pytest.approx(100 * results["mean_iou"], abs=0.005)


def test_other_classes_are_refused(tiny_model, records):
    with pytest.raises(ValueError, match=f"{records} has 3 classes, but the model predicts 4"):
        evaluate(Predictor(tiny_model(4)), records)


def test_a_split_that_is_not_there_is_refused(trained, records):
    with pytest.raises(ValueError, match="no split 'test'"):
        evaluate(Predictor(trained[1]), records, "test")
