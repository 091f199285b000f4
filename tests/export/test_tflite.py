"""TFLite files against the Keras model that they were made from."""

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
from gff_keras.data import LabelSet, evaluation_dataset
from gff_keras.evaluation.evaluate import evaluate
from gff_keras.evaluation.prediction import Predictor, load_predictor
from gff_keras.evaluation.tflite import TFLitePredictor
from gff_keras.export import tflite, tflite_report
from gff_keras.export.precision import with_dtype
from gff_keras.export.tflite import foldable
from gff_keras.export.tflite_report import operators

SIZE, ODD = (40, 48), (33, 47)
LABELS = LabelSet("blocks", ("sky", "road", "car"), ((40, 60, 200), (9, 120, 120), (200, 60, 40)))


@pytest.fixture(scope="module")
def images(records):
    return [image.numpy()[0] for image, _ in evaluation_dataset(records, "val")]


@pytest.fixture(scope="module")
def model(trained, images):
    """The trained model with the statistics of many steps: far from those of a new one."""
    rng, changed = np.random.default_rng(3), with_dtype(trained[1], "float32")
    for weight in changed.weights:
        if "moving" in weight.path:
            weight.assign(np.asarray(weight) * rng.uniform(0.8, 1.25, weight.shape))
    classify = changed.get_layer("classifier")  # logits like those of a network that has learnt,
    classify.kernel.assign(classify.kernel * 40)
    logits = Predictor(changed).logits(images[0])
    classify.bias.assign(classify.bias - np.median(logits, (0, 1)))  # and each has its share
    return changed


@pytest.fixture(scope="module")
def keras_model(model):
    return Predictor(model)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tflite")


@pytest.fixture(scope="module")
def made(model, records, folder):
    """Function that returns the file of a kind, with logits and classes, made once."""

    def make(quantize, size=SIZE):
        path = folder / f"{quantize}_{size[0]}.tflite"
        if not path.exists():
            tflite(
                model,
                path,
                size,
                quantize=quantize,
                calibration=records if quantize == "int8" else None,
                labels=LABELS,
                outputs=("logits", "classes"),
            )
        return path

    return make


@pytest.mark.parametrize(
    "quantize, difference, equal",
    [
        ("none", 1e-4, 1),
        ("int8", 0.5, 0.93),
        pytest.param("float16", 0.02, 0.98, marks=pytest.mark.slow),
        pytest.param("dynamic", 0.2, 0.95, marks=pytest.mark.slow),
    ],
)
def test_outputs_are_those_of_the_model(made, keras_model, images, quantize, difference, equal):
    file = TFLitePredictor(made(quantize))
    assert file.image_size == SIZE
    same, seen = [], set()
    for image in images:
        x = file.network_input(image)
        logits, classes = file.run(x)
        expected = keras_model.logits(x)
        assert (logits.dtype, classes.dtype) == (np.float32, np.uint8)
        np.testing.assert_allclose(logits, expected, atol=difference * np.abs(expected).max())
        same.append((classes == expected.argmax(-1)).mean())
        seen |= set(np.unique(classes))
    assert np.mean(same) >= equal
    assert seen == {0, 1, 2}


def test_folding_changes_no_logit(model, keras_model, images):
    folded = foldable(model)
    dfp = folded.get_layer("dfp")
    assert all(np.all(np.asarray(bn.gamma) == 1) for bn in dfp.bns)
    np.testing.assert_allclose(
        Predictor(folded).logits(images[0]), keras_model.logits(images[0]), atol=1e-4
    )


@pytest.mark.parametrize(
    "quantize, size",
    [("none", SIZE), ("int8", SIZE)]
    + [pytest.param(kind, ODD, marks=pytest.mark.slow) for kind in ("none", "int8")],
)
def test_operators(made, quantize, size):
    """Builtin ones only, no dilation by rearrangement; BN and ReLU are fused.

    The network lies between a cast of the pixels and the argmax, and is one part for XNNPACK.
    """
    found = operators(made(quantize, size))
    count = found["operators"]
    common = {
        *("CONV_2D", "ADD", "MUL", "SUB", "LOGISTIC", "RESHAPE", "CONCATENATION"),
        *("RESIZE_BILINEAR", "PAD", "STRIDED_SLICE", "CAST", "ARG_MAX"),
    }
    common |= {"SLICE"} if size == ODD else set()  # maps half a pixel too long, when sampled up
    # 3 levels: 1 normalisation, 1 sent and 2 in Eq. 5 for each; nothing is left of BN.
    assert count["MUL"] == 1 + 3 * 3
    assert found["partitions"] == 1
    if quantize == "none":
        assert set(count) == common | {"BATCH_MATMUL"}
        assert count["BATCH_MATMUL"] == 2 * (1 + 4)  # along rows, along columns for each of 4 bins
        assert found["not_delegated"] == {"CAST": 2, "ARG_MAX": 1}
    else:
        assert set(count) == common | {"FULLY_CONNECTED", "TRANSPOSE", "QUANTIZE", "DEQUANTIZE"}
        assert count["FULLY_CONNECTED"] == 2 * (1 + 4)
        assert count["TRANSPOSE"] <= 2 * count["FULLY_CONNECTED"]
        assert found["not_delegated"] == {"QUANTIZE": 1, "CAST": 1, "ARG_MAX": 1}


def test_integer_weights_have_a_scale_for_each_channel(made):
    found = schema.ModelT.InitFromPackedBuf(made("int8").read_bytes(), 0)
    graph = found.subgraphs[0]
    kinds = [found.operatorCodes[op.opcodeIndex].builtinCode for op in graph.operators]
    kernels = [
        graph.tensors[op.inputs[1]]
        for op, kind in zip(graph.operators, kinds, strict=True)
        if kind == schema.BuiltinOperator.CONV_2D
    ]
    assert len(kernels) > 10
    for kernel in kernels:
        assert kernel.type == schema.TensorType.INT8
        assert kernel.quantization.quantizedDimension == 0
        assert len(kernel.quantization.scale) == kernel.shape[0]
        if kernel.shape[0] > 1:
            assert np.ptp(kernel.quantization.scale) > 0


def test_ranges_are_those_of_the_calibration_images(made, keras_model, records):
    """Integers of the logits reach as far as the logits of the training images."""
    file = TFLitePredictor(made("int8"))
    ops = file.interpreter._get_ops_details()
    (argmax,) = [op for op in ops if op["op_name"] == "ARG_MAX"]
    details = file.interpreter._get_tensor_details(int(argmax["inputs"][0]), 0)
    train = [image.numpy()[0] for image, _ in evaluation_dataset(records, "train")]
    logits = [keras_model.logits(file.network_input(image)) for image in train]
    scale, zero_point = details["quantization"]
    np.testing.assert_allclose((-128 - zero_point) * scale, np.min(logits), rtol=0.03)
    np.testing.assert_allclose((127 - zero_point) * scale, np.max(logits), rtol=0.03)


def test_sizes_of_files(made):
    assert made("int8").stat().st_size < made("none").stat().st_size


def test_metadata_is_readable_by_the_standard(made):
    """Read with LiteRT's model schema: the buffer, its identifier, and what lies in it."""
    content = made("int8").read_bytes()
    found = schema.ModelT.InitFromPackedBuf(content, 0)
    (entry,) = [m for m in found.metadata if m.name == b"TFLITE_METADATA"]
    metadata = bytes(found.buffers[entry.buffer].data)
    assert metadata[4:8] == b"M001"
    for text in (b"labels.txt", b"labels.json", b"SEGMENTER_METADATA", b"V001", b"classes"):
        assert text in metadata
    with zipfile.ZipFile(made("int8")) as archive:
        assert archive.read("labels.txt").decode().split() == ["sky", "road", "car"]


def test_the_label_set_travels(made):
    predictor, labels = load_predictor(made("none"))
    assert labels == LABELS
    with pytest.raises(ValueError, match=r"image_size=\(8, 9\).*takes images of \(40, 48\)"):
        load_predictor(made("none"), (8, 9))


def test_evaluation(made, records, keras_model):
    file = evaluate(TFLitePredictor(made("none")), records, verbose=False)
    resizing = copy.copy(keras_model)
    resizing.image_size = SIZE
    expected = evaluate(resizing, records, verbose=False)
    assert abs(file["mean_iou"] - expected["mean_iou"]) < 0.01  # pixels rounded to integers


def test_report(made, folder, model, records, capsys):
    report = tflite_report(
        made("int8"), model, float_file=made("none"), evaluate=records, images=2, repeats=1
    )
    assert report == json.loads((folder / "int8_40.report.json").read_text())
    assert (folder / "int8_40.report.md").read_text().strip() in capsys.readouterr().out
    quality = report["quality"]
    assert quality["images"] == 2
    assert quality["equal_labels"]["float_keras"] == 1
    assert 0.9 < quality["equal_labels"]["file_float"] <= 1
    assert 0 < quality["max_logit_difference"] < 5
    assert set(report["milliseconds"]["file"]) == {"1", "2"}
    assert report["operators"]["CONV_2D"] > 10


def test_command_line(model, records, tmp_path, capsys, images):
    image = next(image for image in images if image.shape[:2] == (33, 47))
    other = next(image for image in images if image.shape[:2] != (33, 47))
    model.save(tmp_path / "m.keras")
    LABELS.save(tmp_path / "labels.json")
    out = tmp_path / "m.tflite"
    (tmp_path / "recipe.json").write_text('{"image_size": [33, 47]}')
    line = ["export", "tflite", str(tmp_path / "m.keras"), "--out", str(out)]
    assert cli.main(line) == 0
    assert "ARG_MAX" in capsys.readouterr().out
    assert cli.main(line) == 2
    assert "--overwrite" in capsys.readouterr().err
    Image.fromarray(image).save(tmp_path / "photo.png")
    predict = ["predict", str(tmp_path / "photo.png"), "--out", str(tmp_path / "p"), "--model"]
    assert cli.main([*predict, str(out)]) == 0
    mask = np.asarray(Image.open(tmp_path / "p" / "photo_mask.png"))
    assert (mask == Predictor(model).classes(image)).mean() > 0.999
    assert len(np.unique(mask)) > 1
    assert (tmp_path / "p" / "photo_overlay.png").is_file()
    file = TFLitePredictor(out)
    assert file.image_size == ODD  # the recipe's
    assert file.classes(other).shape == other.shape[:2] != file.image_size
    with pytest.raises(ValueError, match="classes alone.*--outputs logits"):
        file.logits(image)
    assert file.labels == LABELS
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
def test_bad_arguments(model, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        tflite(model, tmp_path / "x.tflite", **{"size": (33, 40), **options})
    assert not list(tmp_path.iterdir())


def test_bad_files(made, model, tmp_path):
    with pytest.raises(FileExistsError, match="none_40.tflite exists"):
        tflite(model, made("none"), SIZE)
    with pytest.raises(ValueError, match="x.bin does not end in .tflite"):
        tflite(model, tmp_path / "x.bin", SIZE)
    with pytest.raises(FileNotFoundError, match="x.tflite does not exist"):
        load_predictor(tmp_path / "x.tflite")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file cannot be made .*choose another"):
        tflite(model, tmp_path / "file" / "x.tflite", SIZE)
    (tmp_path / "cut.tflite").write_bytes((made("none")).read_bytes()[:9000])
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
def test_mediapipe_tasks(model, keras_model, images, tmp_path):
    """MediaPipe, with its own pins in an environment of its own, sees the labels and classes."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "mediapipe==1.2.2"], check=True)
    path = tflite(model, tmp_path / "m.tflite", ODD, labels=LABELS, outputs=("confidences",))
    file = TFLitePredictor(path)
    seen = np.stack([file.network_input(image) for image in [*images, *photographs()]])
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
    expected = np.stack([keras_model.classes(image) for image in seen])
    assert masks.shape == expected.shape == (len(seen), *ODD)
    assert (masks == expected).mean() >= 0.9999
    for i, mask in enumerate(masks[: len(images)]):
        assert set(np.unique(mask)) == {0, 1, 2}, i
