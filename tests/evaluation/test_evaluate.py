"""Evaluation of a split against a confusion matrix counted in NumPy."""

import dataclasses
import json

import numpy as np
import pytest

from gff_keras.data import LabelSet, evaluation_dataset
from gff_keras.evaluation import partial_results
from gff_keras.evaluation.boundary import boundary_f1
from gff_keras.evaluation.evaluate import evaluate
from gff_keras.evaluation.partial_results import PartialResults
from gff_keras.evaluation.prediction import Predictor
from gff_keras.evaluation.results import markdown, table
from gff_keras.evaluation.views import Views

pytestmark = pytest.mark.usefixtures("eager")


@pytest.mark.parametrize("split, images, image_size", [("val", 3, None), ("train", 5, (24, 40))])
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
    weighted = (truth * right / union).sum() / truth.sum()
    assert results["frequency_weighted_iou"] == pytest.approx(weighted)
    assert results["thin_mean_iou"] is None  # these labels mark no class
    assert json.loads(json.dumps(results)) == results


def test_absent_class_is_none_and_said_so(records, trained, monkeypatch):
    """A predictor and masks that never hold class 2: 'car' has no IoU and does not count."""
    predictor = Predictor(trained[1])
    monkeypatch.setattr(predictor, "classes", lambda image: (image[..., 0] > 99).astype("uint8"))
    examples = evaluation_dataset(records, "val", with_ids=True)
    examples = [(x, np.where(y == 2, 255, y), name) for x, y, name in examples]
    module = "gff_keras.evaluation.evaluate"
    monkeypatch.setattr(f"{module}.evaluation_dataset", lambda *_, **__: examples)
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


class Colours:
    """A predictor without a network."""

    num_classes, settings = 3, {"mode": "whole"}

    def classes(self, image):
        return (image[..., 0] // 86).astype("uint8")


def mark_thin(monkeypatch, *names):
    """Let the label table of all records mark these classes."""
    read = LabelSet.from_records
    marked = lambda data: dataclasses.replace(read(data), thin=names)  # noqa: E731
    monkeypatch.setattr("gff_keras.evaluation.evaluate.LabelSet.from_records", marked)


def test_thin_classes_have_a_mean_of_their_own(records, monkeypatch):
    mark_thin(monkeypatch, "car", "sky")
    results = evaluate(Colours(), records, verbose=False)
    expected = (results["iou"]["car"] + results["iou"]["sky"]) / 2
    assert results["thin_mean_iou"] == pytest.approx(expected)
    assert f"{100 * expected:.2f}" in table(results, ("car", "sky"))
    assert f"| mIoU of thin and small classes | {100 * expected:.1f} |" in markdown(results)


def test_every_image_has_its_scores(trained, records):
    predictor = Predictor(trained[1], views=Views("sliding", (33, 41), flip=True))
    results = evaluate(predictor, records, verbose=False)
    assert results["settings"] == {
        "mode": "sliding",
        "crop_size": [33, 41],
        "stride": 2 / 3,
        "scales": [1.0],
        "flip": True,
        "image_size": None,
    }
    told = "mode sliding, crop_size 33 41, stride 0.6667, scales 1, flip True."
    assert told in markdown(results)
    f1 = []
    for image, label, name in evaluation_dataset(records, with_ids=True):
        label, prediction = label.numpy()[0], predictor.classes(image.numpy()[0])
        found = results["per_image"][len(f1)]
        valid = label != 255
        iou = [
            ((label == c) & (prediction == c)).sum()
            / (((label == c) | (prediction == c)) & valid).sum()
            for c in np.union1d(label[valid], prediction[valid])
        ]
        assert found["id"] == name.numpy()[0].decode()
        assert found["mean_iou"] == pytest.approx(np.mean(iou))
        assert found["pixel_accuracy"] == pytest.approx((label == prediction)[valid].mean())
        f1.append(boundary_f1(label, prediction, 3))
        assert list(found["boundary_f1"].values()) == f1[-1]
    assert list(results["boundary_f1"]) == ["1", "3", "5"]
    np.testing.assert_allclose(list(results["boundary_f1"].values()), np.mean(f1, 0))
    assert results["seconds"] > 0


def test_an_image_of_ignored_pixels_has_no_scores(records, monkeypatch):
    examples = evaluation_dataset(records, "val", with_ids=True)
    examples = [
        (x, np.full_like(y, 255) if i == 1 else y, name)
        for i, (x, y, name) in enumerate(examples.as_numpy_iterator())
    ]
    module = "gff_keras.evaluation.evaluate"
    monkeypatch.setattr(f"{module}.evaluation_dataset", lambda *_, **__: examples)
    results = evaluate(Colours(), records, verbose=False)
    one = results["per_image"][1]
    assert (one["mean_iou"], one["pixel_accuracy"], one["boundary_f1"]["3"]) == (None,) * 3
    others = [results["per_image"][i]["boundary_f1"]["3"] for i in (0, 2)]
    assert results["boundary_f1"]["3"] == pytest.approx(np.mean(others))


def without_seconds(results):
    return {name: value for name, value in results.items() if name != "seconds"}


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_an_interrupted_evaluation_goes_on(records, tmp_path, monkeypatch, capsys, stop):
    monkeypatch.setattr(partial_results, "SECONDS", 1000)  # it is saved when it is stopped
    predictor = Colours()
    whole = evaluate(predictor, records, "train", verbose=False)
    partial = PartialResults(tmp_path / "partial.json", {"model": "m", "flip": False})
    classes, seen = predictor.classes, []

    def interrupted(image):
        if len(seen) == 2:
            raise stop
        seen.append(image)
        return classes(image)

    monkeypatch.setattr(predictor, "classes", interrupted)
    with pytest.raises(stop):
        evaluate(predictor, records, "train", verbose=False, partial=partial)
    monkeypatch.setattr(predictor, "classes", lambda image: seen.append(image) or classes(image))
    again = PartialResults(tmp_path / "partial.json", {"model": "m", "flip": False})
    resumed = evaluate(predictor, records, "train", verbose=False, partial=again)
    assert len(seen) == 5  # of 5 images, none twice
    assert without_seconds(resumed) == without_seconds(whole)
    assert (
        f"going on after 2 images that {tmp_path / 'partial.json'} holds" in capsys.readouterr().out
    )


def test_it_is_saved_on_the_way(records, tmp_path, monkeypatch):
    """What a killed process leaves."""
    monkeypatch.setattr(partial_results, "SECONDS", 0)
    partial = PartialResults(tmp_path / "partial.json", {"model": "m"})
    monkeypatch.setattr(partial, "save", lambda *state: saved.append(len(state[0])))
    saved: list = []
    evaluate(Colours(), records, verbose=False, partial=partial)
    assert saved == [1, 2, 3, 3]


def test_other_settings_start_over(tmp_path, capsys):
    path = tmp_path / "partial.json"
    PartialResults(path, {"model": "m", "scales": (1, 2)}).save([{"id": "a"}], [[3]], 1.5)
    assert PartialResults(path, {"model": "m", "scales": [1, 2]}).load() == {
        "per_image": [{"id": "a"}],
        "confusion": [[3]],
        "seconds": 1.5,
    }
    assert "going on after 1 images" in capsys.readouterr().out
    assert PartialResults(path, {"model": "n", "scales": [1]}).load() is None
    assert f"{path} was made with another model, scales; evaluating" in capsys.readouterr().out
    for text in ("{", "[]", '{"key": {}}', '{"key": [], "per_image": []}'):
        path.write_text(text)
        assert PartialResults(path, {"model": "m"}).load() is None
        assert "evaluating from the first image" in capsys.readouterr().out


def test_the_key_changes_with_model_records_and_settings(tmp_path):
    model, data = tmp_path / "m.keras", tmp_path / "data"
    data.mkdir()
    (data / "a.tfrecord").write_text("records")
    model.write_text("weights")
    first = partial_results.key(model, data, "val", {"flip": False})
    assert partial_results.key(model, data, "val", {"flip": False}) == first
    assert partial_results.key(model, data, "val", {"flip": True})["flip"] != first["flip"]
    (data / "a.tfrecord").write_text("other records")
    model.write_text("weight5")
    second = partial_results.key(model, data, "val", {"flip": False})
    assert second["model"] != first["model"] and second["data"] != first["data"]
