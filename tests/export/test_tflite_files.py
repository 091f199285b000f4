"""What a TFLite file carries besides the network, who reads it, and what is refused."""

import copy
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from PIL import Image

from gff_keras import cli
from gff_keras.data import LabelSet
from gff_keras.evaluation.evaluate import evaluate
from gff_keras.evaluation.prediction import Predictor, load_predictor
from gff_keras.evaluation.tflite import TFLitePredictor
from gff_keras.export import tflite, tflite_report
from tests.export.conftest import RECORD_LABELS, TFLITE_SIZE

ODD = (33, 47)


def test_metadata_is_readable_by_the_standard(tflite_file):
    """Read with LiteRT's model schema: the buffer, its identifier, and what lies in it."""
    content = tflite_file("int8").read_bytes()
    found = schema.ModelT.InitFromPackedBuf(content, 0)
    (entry,) = [m for m in found.metadata if m.name == b"TFLITE_METADATA"]
    metadata = bytes(found.buffers[entry.buffer].data)
    assert metadata[4:8] == b"M001"
    for text in (b"labels.txt", b"labels.json", b"SEGMENTER_METADATA", b"V001", b"classes"):
        assert text in metadata
    with zipfile.ZipFile(tflite_file("int8")) as archive:
        assert archive.read("labels.txt").decode().split() == ["sky", "road", "car"]


def test_the_label_set_travels(tflite_file):
    predictor, labels = load_predictor(tflite_file("none"))
    assert labels == RECORD_LABELS
    with pytest.raises(ValueError, match=r"image_size=\(8, 9\).*takes images of \(40, 48\)"):
        load_predictor(tflite_file("none"), (8, 9))


def test_evaluation(tflite_file, records, trained_predictor):
    file = evaluate(TFLitePredictor(tflite_file("none")), records, verbose=False)
    resizing = copy.copy(trained_predictor)
    resizing.image_size = TFLITE_SIZE
    expected = evaluate(resizing, records, verbose=False)
    assert abs(file["mean_iou"] - expected["mean_iou"]) < 0.01  # pixels rounded to integers


def test_report(tflite_file, trained_network, records, capsys, recwarn):
    path = tflite_file("int8")
    report = tflite_report(
        path,
        trained_network,
        float_file=tflite_file("none"),
        evaluate=records,
        images=2,
        repeats=1,
    )
    assert report == json.loads(path.with_suffix(".report.json").read_text())
    assert path.with_suffix(".report.md").read_text().strip() in capsys.readouterr().out
    assert not any("preserve_all_tensors" in str(warning.message) for warning in recwarn)
    quality = report["quality"]
    assert quality["images"] == 2
    assert quality["equal_labels"]["float_keras"] == 1
    assert 0.9 < quality["equal_labels"]["file_float"] <= 1
    assert 0 < quality["max_logit_difference"] < 5
    assert set(report["milliseconds"]["file"]) == {"1", "2"}
    assert report["operators"]["CONV_2D"] > 10


def test_command_line(trained_network, records, tmp_path, capsys, val_images, monkeypatch):
    times = iter(range(10, 100))
    module = sys.modules["gff_keras.export.tflite_report"]
    monkeypatch.setattr(module, "_fastest", lambda *_: next(times))
    image = next(image for image in val_images if image.shape[:2] == (33, 47))
    other = next(image for image in val_images if image.shape[:2] != (33, 47))
    trained_network.save(tmp_path / "m.keras")
    RECORD_LABELS.save(tmp_path / "labels.json")
    out = tmp_path / "m.tflite"
    (tmp_path / "recipe.json").write_text('{"image_size": [33, 47]}')
    line = ["export", "tflite", str(tmp_path / "m.keras"), "--out", str(out)]
    assert cli.main(line) == 0
    assert "ARG_MAX" in capsys.readouterr().out
    measured = json.loads((tmp_path / "m.report.json").read_text())["milliseconds"]
    once = {"1": 10, "2": 11}  # it is the float file itself
    assert measured == {"file": once, "float": once, "keras": {"all": 12}}
    assert cli.main(line) == 2
    assert "--overwrite" in capsys.readouterr().err
    Image.fromarray(image).save(tmp_path / "photo.png")
    predict = ["predict", str(tmp_path / "photo.png"), "--out", str(tmp_path / "p"), "--model"]
    assert cli.main([*predict, str(out)]) == 0
    mask = np.asarray(Image.open(tmp_path / "p" / "photo_mask.png"))
    assert (mask == Predictor(trained_network).classes(image)).mean() > 0.999
    assert len(np.unique(mask)) > 1
    assert (tmp_path / "p" / "photo_overlay.png").is_file()
    file = TFLitePredictor(out)
    assert file.image_size == ODD  # the recipe's
    assert file.classes(other).shape == other.shape[:2] != file.image_size
    with pytest.raises(ValueError, match="classes alone.*--outputs logits"):
        file.logits(image)
    assert file.labels == RECORD_LABELS
    assert cli.main(["evaluate", str(out), "--data", str(records)]) == 0
    assert cli.main(["gates", str(tmp_path / "photo.png"), "--model", str(out)]) == 2
    assert "gate maps" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, message",
    [
        ({"quantize": "int4"}, "quantize='int4' is unknown"),
        ({"quantize": "int8"}, "give calibration"),
        ({"calibration": []}, "calibration is for quantize='int8'"),
        ({"quantize": "int8", "calibration": []}, "calibration gave no image"),
        ({"quantize": "int8", "calibration": [np.zeros((3, 4))]}, r"shape \(3, 4\)"),
        ({"size": (0, 5)}, "size="),
        ({"size": (100000, 90000)}, r"makes logits of 100\.6 GiB"),
        ({"outputs": ("gates",)}, "outputs="),
        ({"outputs": ()}, "outputs="),
        ({"labels": LabelSet("two", ("a", "b"), ((1, 2, 3), (4, 5, 6)))}, "labels name 2"),
    ],
)
def test_bad_arguments(trained_network, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        tflite(trained_network, tmp_path / "x.tflite", **{"size": (33, 40), **options})
    assert not list(tmp_path.iterdir())


def test_bad_files(tflite_file, trained_network, tmp_path):
    with pytest.raises(FileExistsError, match="none_40.tflite exists"):
        tflite(trained_network, tflite_file("none"), TFLITE_SIZE)
    with pytest.raises(ValueError, match="x.bin does not end in .tflite"):
        tflite(trained_network, tmp_path / "x.bin", TFLITE_SIZE)
    with pytest.raises(FileNotFoundError, match="x.tflite does not exist"):
        load_predictor(tmp_path / "x.tflite")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file cannot be made, or .*choose another"):
        tflite(trained_network, tmp_path / "file" / "x.tflite", TFLITE_SIZE)
    (tmp_path / "cut.tflite").write_bytes((tflite_file("none")).read_bytes()[:9000])
    with pytest.raises(ValueError, match="cut.tflite holds no label table, or is cut short"):
        load_predictor(tmp_path / "cut.tflite")


MEDIAPIPE = """
import sys, numpy as np, mediapipe as mp
from mediapipe.tasks.python import BaseOptions, vision
options = vision.ImageSegmenterOptions(
    base_options=BaseOptions(model_asset_path=sys.argv[1]), output_category_mask=True)
images = np.load(sys.argv[2])
with vision.ImageSegmenter.create_from_options(options) as segmenter:
    masks = [segmenter.segment(mp.Image(image_format=mp.ImageFormat.SRGB, data=image))
             .category_mask.numpy_view().squeeze().copy() for image in images]
    print(",".join(segmenter.labels))
np.save(sys.argv[3], masks)
"""


def photographs():
    """A few real ones, where there are any."""
    folder = os.environ.get("GFF_DATA")
    paths = sorted((Path(folder) / "data").rglob("*.jpg"))[:6] if folder else []
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


@pytest.mark.slow
def test_mediapipe_tasks(trained_network, trained_predictor, val_images, tmp_path):
    """MediaPipe, with its own pins in an environment of its own, sees the labels and classes."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "mediapipe==1.2.2"], check=True)
    path = tflite(
        trained_network, tmp_path / "m.tflite", ODD, labels=RECORD_LABELS, outputs=("confidences",)
    )
    file = TFLitePredictor(path)
    seen = np.stack([file.network_input(image) for image in [*val_images, *photographs()]])
    np.save(tmp_path / "images.npy", seen)
    (tmp_path / "segment.py").write_text(MEDIAPIPE)
    result = subprocess.run(
        [python, "segment.py", path, "images.npy", "masks.npy"],
        cwd=tmp_path,
        env={},
        check=True,
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip().splitlines()[-1] == "sky,road,car"
    masks = np.load(tmp_path / "masks.npy")
    np.testing.assert_array_equal(masks, [file.classes(image) for image in seen])
    expected = np.stack([trained_predictor.classes(image) for image in seen])
    assert masks.shape == expected.shape == (len(seen), *ODD)
    assert (masks == expected).mean() >= 0.9999
    for i, mask in enumerate(masks[: len(val_images)]):
        assert set(np.unique(mask)) == {0, 1, 2}, i
