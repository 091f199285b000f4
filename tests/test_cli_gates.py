"""`gff-keras gates` and `gff-keras compare` as a user types them."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from gff_keras.evaluation import gate_command
from gff_keras.evaluation.gate_analysis import ablation, statistics
from gff_keras.evaluation.prediction import load_predictor

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture
def model(trained):
    return trained[0].out / "last.keras"


@pytest.fixture
def pspnet(tiny_model, tmp_path):
    path = tmp_path / "pspnet.keras"
    tiny_model(3, fusion=None, dfp=False).save(path)
    return path


def read(path):
    return json.loads(path.read_text())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_gates_of_a_photograph(run, model, photo, tmp_path):
    out = tmp_path / "out"
    assert run("gates", photo, "--model", model, "--out", out, "--ablate", "--native")[0] == 0
    files = ["photo_ablation.png", "photo_gates.npy", "photo_gates.npz", "photo_gates.png"]
    assert names(out) == files
    assert np.load(out / "photo_gates.npy").shape == (3, 33, 47)


def test_gates_of_records(run, model, records, tmp_path, monkeypatch):
    found = {}

    def noting(function):
        def call(*arguments):
            found[function.__name__] = function(*arguments)
            return found[function.__name__]

        return call

    for function in (statistics, ablation):
        monkeypatch.setattr(gate_command, function.__name__, noting(function))
    out = tmp_path / "new" / "out"
    arguments = ("--model", model, "--data", records, "--out", out, "--sheets", "1")
    status, text, _ = run("gates", *arguments, "--split", "train", "--ablate", "--max_images", "1")
    assert status == 0
    expected = found["ablation"]
    assert read(out / "gates.json") == found["statistics"]
    assert read(out / "ablation.json") == expected
    assert {(x["images"], x["split"]) for x in found.values()} == {(1, "train")}
    with open(out / "ablation.csv", newline="") as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    change = expected["without"]["G2"]["iou"]["road"] - expected["iou"]["road"]
    assert float(rows["road"]["change without G2"]) == change
    assert f"{100 * change:+z.2f}" in text and "% of a fused level that comes from" in text
    tables = ["ablation.csv", "ablation.json", "ablation.png", "gates.csv", "gates.json"]
    sheets = ["scene_0_ablation.png", "scene_0_gates.png"]
    assert names(out) == sorted([*tables, "gates.png", "shares.csv", *sheets])
    assert f"written to {out}" in text


def test_compare_records(run, trained, model, records, tmp_path):
    shutil.copytree(trained[0].out, tmp_path / "other")
    predictor, _ = load_predictor(model)
    predictor.model.with_gates(zero=[1, 2]).save(tmp_path / "other" / "last.keras")
    arguments = ("--model", model, "--other", tmp_path / "other" / "last.keras", "--data", records)
    out = tmp_path / "out"
    status, text, _ = run("compare", *arguments, "--out", out, "--sheets", "1", "--max_images", "2")
    assert status == 0
    results = read(out / "comparison.json")
    assert results["models"] == [str(model), str(tmp_path / "other" / "last.keras")]
    assert f"B mends {results['mended']:,} of {results['pixels']:,} pixels" in text
    worst = max(results["per_image"], key=lambda x: x["mended"] + x["broken"])["id"]
    assert names(out) == sorted(["comparison.csv", "comparison.json", f"{worst}_comparison.png"])
    with Image.open(out / f"{worst}_comparison.png") as sheet:
        assert sheet.width > 3 * 480


def test_compare_photographs(run, model, photo, tmp_path):
    out = tmp_path / "out"
    assert run("compare", photo, "--model", model, "--other", model, "--out", out)[0] == 0
    assert names(out) == ["photo_comparison.png"]


def test_what_has_no_gates(refused, pspnet, photo, records, tmp_path):
    out = ("--out", tmp_path / "out")
    assert "has no gates" in refused("gates", photo, "--model", pspnet, *out)
    assert "has no gates" in refused("gates", "--data", records, "--model", pspnet, *out)
    (tmp_path / "m.tflite").write_bytes(b"nothing")
    assert "no label table" in refused("gates", photo, "--model", tmp_path / "m.tflite", *out)
    assert not (tmp_path / "out").exists()


def test_a_tflite_file_has_no_gates(refused, photo, records, tmp_path, monkeypatch):
    loaded = lambda *_: (object(), None)  # noqa: E731
    monkeypatch.setattr(gate_command, "load_predictor", loaded)
    for source in ((photo,), ("--data", records)):
        error = refused("gates", *source, "--model", "m.tflite", "--out", tmp_path / "out")
        assert "TFLite files hold no gate maps; give the .keras file" in error


def test_sources_and_places(refused, model, photo, records, tmp_path):
    out = ("--out", tmp_path / "out")
    for command in (("gates", "--model", model), ("compare", "--model", model, "--other", model)):
        error = refused(*command, *out)
        assert "Give images or --data RECORDS, one of them; neither given" in error
        assert "both given" in refused(*command, photo, "--data", records)
        assert "sheets=-1" in refused(*command, photo, "--sheets", "-1")
        assert f"{photo} is a file" in refused(*command, "--data", records, "--out", photo)
    (tmp_path / "empty").mkdir()
    gates = ("gates", "--model", model, *out)
    assert "holds no image" in refused(*gates, tmp_path / "empty")
    assert "nowhere" in refused(*gates, "--data", tmp_path / "nowhere")
    assert "no split 'test'" in refused(*command, *out, "--data", records, "--split", "test")
    error = refused(*gates, "--data", records, "--max_images", "0")
    assert "max_images=0 must be positive" in error
    assert not (tmp_path / "out").exists()


def test_compare_refuses_other_classes(refused, model, tiny_model, photo, tmp_path):
    tiny_model(4).save(tmp_path / "four.keras")
    error = refused("compare", photo, "--model", model, "--other", tmp_path / "four.keras")
    assert "last.keras predicts 3 classes, but" in error and "four.keras 4" in error


def test_a_size_is_two_numbers(refused, model, photo, records, tmp_path):
    lines = (
        ("gates", photo, "--model", model),
        ("compare", photo, "--model", model, "--other", model),
        ("report", model, "--data", records),
    )
    for line in lines:
        error = refused(*line, "--out", tmp_path / "out", "--image_size", "33")
        assert "--image_size 33: give height and width in pixels" in error
    assert not (tmp_path / "out").exists()


def test_maps_in_files_are_those_of_images(refused, model, records, tmp_path):
    line = ("gates", "--data", records, "--model", model, "--out", tmp_path / "out", "--native")
    assert "--native is for images" in refused(*line)


def test_a_folder_for_results_is_made_before_the_work(
    refused, model, photo, records, tmp_path, monkeypatch
):
    for place in (
        "gff_keras.evaluation.command.run_evaluation",
        "gff_keras.evaluation.gate_command.statistics",
        "gff_keras.evaluation.gate_command.compare",
        "gff_keras.evaluation.images.read_image",
        "gff_keras.report.command.page",
    ):
        monkeypatch.setattr(place, lambda *_, **__: pytest.fail("this work would be lost"))
    (tmp_path / "file").write_text("not a folder")
    out = tmp_path / "file" / "out"
    for line in (
        ("evaluate", model, "--data", records, "--out", out / "a.json"),
        ("predict", photo, "--model", model, "--out", out),
        ("gates", photo, "--model", model, "--out", out),
        ("gates", "--data", records, "--model", model, "--out", out),
        ("compare", "--data", records, "--model", model, "--other", model, "--out", out),
        ("report", model, "--data", records, "--out", out / "a.html"),
    ):
        error = refused(*line)
        assert f"{out} cannot be written: Not a directory; choose another --out." in error
