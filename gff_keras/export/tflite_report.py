"""What a TFLite file is made of, what quantisation cost, and how fast it is, written beside it."""

import collections
import itertools
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from gff_keras.data import LabelSet, evaluation_dataset, num_examples
from gff_keras.evaluation.metrics import SegmentationMetrics
from gff_keras.evaluation.prediction import Predictor
from gff_keras.evaluation.tflite import TFLitePredictor, nearest
from gff_keras.export.tflite import tflite

THREADS = (1, 2)


def tflite_report(
    path, model, *, float_file=None, evaluate=None, images=None, repeats=10, verbose=True
):
    """Compare a TFLite file with its model and with a float file of the same size.

    Writes `x.report.json` and `x.report.md` beside `x.tflite`.

    Args:
        path: .tflite file of `model`.
        model: `GFFNet` in float32.
        float_file: unquantised file of the same size; one is made, and removed, if None.
        evaluate: folder of records whose validation split is predicted; without it only operators
            and times are told.
        images: number of images to take of them, spread over the split; all if None.
        repeats: runs of which the fastest is the latency.
        verbose: print the table.

    Returns:
        Dictionary, as in the JSON file.
    """
    path = Path(path)
    if evaluate is not None:
        check_records(evaluate, model.num_classes, images)
    size = TFLitePredictor(path).image_size
    predictor = Predictor(model)
    with tempfile.TemporaryDirectory() as folder:
        float_path = Path(float_file or tflite(model, Path(folder) / "float.tflite", size))
        report = {
            "file": path.name,
            "size": list(size),
            "megabytes": round(path.stat().st_size / 1e6, 2),
            "float_megabytes": round(float_path.stat().st_size / 1e6, 2),
            **operators(path),
            "milliseconds": _latencies(
                {"file": path, "float": float_path}, predictor, size, repeats
            ),
        }
        if evaluate is not None:
            report["quality"] = _quality(path, float_path, predictor, evaluate, images)
    path.with_suffix(".report.json").write_text(json.dumps(report, indent=1) + "\n")
    text = markdown(report)
    path.with_suffix(".report.md").write_text(text + "\n")
    if verbose:
        print(text)
    return report


def check_records(records, num_classes, images=None):
    """Raise unless `records` have a validation split of as many classes, and `images` is positive.

    Raises:
        FileNotFoundError, ValueError: what is wrong, and the remedy.
    """
    num_examples(records, "val")
    classes = LabelSet.from_records(records).num_classes
    if classes != num_classes:
        raise ValueError(
            f"{records} has {classes} classes, but the model predicts {num_classes}; evaluate it "
            "on the data set it was trained for."
        )
    if images is not None and images < 1:
        raise ValueError(f"evaluate_images={images} must be positive; leave it out for all.")


def operators(path):
    """Count the operators of a TFLite file, and those that XNNPACK does not take.

    Returns:
        Dictionary of `operators` and `not_delegated`, name -> count, and `partitions`, the parts
        into which the others fall.
    """
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    ops = interpreter._get_ops_details()
    delegates = [op for op in ops if op["op_name"] == "DELEGATE"]
    ops = [op for op in ops if op["op_name"] != "DELEGATE"]
    source = {tensor: op for op in ops for tensor in op["outputs"]}
    taken = set()
    for delegate in delegates:  # all that lies between the outputs of a delegate and its inputs
        todo = list(delegate["outputs"])
        while todo:
            tensor = todo.pop()
            op = source.get(tensor)
            if op and tensor not in delegate["inputs"] and op["index"] not in taken:
                taken.add(op["index"])
                todo.extend(op["inputs"])
    left = [op for op in ops if op["index"] not in taken]
    return {
        "operators": _histogram(ops),
        "not_delegated": _histogram(left),
        "partitions": len(delegates),
    }


def _histogram(ops):
    return dict(collections.Counter(op["op_name"] for op in ops).most_common())


def _latencies(paths, predictor, size, repeats):
    """Milliseconds of the fastest run: of files by threads, of Keras with the threads it has."""
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), "uint8")
    of_file: dict[Path, dict[str, float]] = {}
    for path in set(paths.values()):  # one, where the file is the float file
        of_file[path] = {}
        for threads in THREADS:
            run = TFLitePredictor(path, threads).run
            of_file[path][str(threads)] = _fastest(lambda run=run: run(image), repeats)
    times = {name: of_file[path] for name, path in paths.items()}
    return times | {"keras": {"all": _fastest(lambda: predictor.logits(image), repeats)}}


def _fastest(function, repeats):
    function()
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        durations.append(time.perf_counter() - start)
    return round(1000 * min(durations), 1)


def _quality(path, float_path, keras_model, records, images):
    """Compare logits, labels and mean IoU of the file, the float file and the Keras model."""
    files = {each: _Scores(each) for each in (path, float_path)}  # may be one
    metrics = {
        who: SegmentationMetrics(keras_model.num_classes) for who in ("keras", "float", "file")
    }
    equal: collections.Counter = collections.Counter()
    difference, taken = 0.0, 0
    count = num_examples(records, "val")
    step = max(1, count // images) if images else 1
    examples = itertools.islice(evaluation_dataset(records, "val"), 0, None, step)
    for image, label in itertools.islice(examples, images):
        x = files[path].predictor.network_input(image.numpy()[0])
        reference = keras_model.logits(x)
        classes = {"keras": reference.argmax(-1).astype("uint8")}
        found = {each: scores(x) for each, scores in files.items()}
        classes["float"], _ = found[float_path]
        classes["file"], logits = found[path]
        if logits is not None:
            difference = max(difference, float(np.abs(logits - reference).max()))
        for a, b in (("file", "keras"), ("file", "float"), ("float", "keras")):
            equal[f"{a}_{b}"] += int((classes[a] == classes[b]).sum())
        taken += 1
        for who, labels in classes.items():
            metrics[who].update_state(label, nearest(labels, label.shape[1:])[None])
    return {
        "records": Path(records).name,
        "images": taken,
        "max_logit_difference": round(difference, 5) if logits is not None else None,
        "equal_labels": {pair: n / (taken * reference[..., 0].size) for pair, n in equal.items()},
        "mean_iou": {who: float(m.result()["mean_iou"]) for who, m in metrics.items()},
    }


class _Scores:
    """Classes of an image and the logits behind them, wherever a file keeps them."""

    def __init__(self, path):
        self.predictor = TFLitePredictor(path, 2, preserve_all_tensors=True)
        ops = self.predictor.interpreter._get_ops_details()
        self._argmax = next((op for op in ops if op["op_name"] == "ARG_MAX"), None)

    def __call__(self, image):
        outputs = self.predictor.run(image)
        if self._argmax is None:  # confidences are no logits, but have their maximum there
            scores = outputs[0]
            return scores.argmax(-1).astype("uint8"), None if _sums_to_one(scores) else scores
        interpreter = self.predictor.interpreter
        details = interpreter._get_tensor_details(int(self._argmax["inputs"][0]), 0)
        logits = interpreter.get_tensor(details["index"])[0].astype("float32")
        scale, zero_point = details["quantization"]
        logits = (logits - zero_point) * scale if scale else logits
        return logits.argmax(-1).astype("uint8"), logits


def _sums_to_one(scores):
    return bool(np.allclose(scores.sum(-1), 1, atol=0.05) and scores.min() >= 0)


def markdown(report):
    """Format a report as tables."""
    left = ", ".join(f"{n} {name}" for name, n in report["not_delegated"].items()) or "nothing"
    times = report["milliseconds"]
    lines = [
        f"# {report['file']}",
        "",
        f"{report['size'][0]}x{report['size'][1]}, {report['megabytes']} MB "
        f"(float {report['float_megabytes']} MB)",
        "",
        "| operator | count |",
        "|---|---|",
        *(f"| {name} | {n} |" for name, n in report["operators"].items()),
        "",
        f"XNNPACK takes all but {left}, in {report['partitions']} part(s).",
        "",
        "| milliseconds | 1 thread | 2 threads |",
        "|---|---|---|",
        *(f"| {who} | {times[who]['1']} | {times[who]['2']} |" for who in ("file", "float")),
        f"| Keras, all threads | | {times['keras']['all']} |",
    ]
    if quality := report.get("quality"):
        equal, iou = quality["equal_labels"], quality["mean_iou"]
        lines += [
            "",
            f"| {quality['images']} images of {quality['records']} | |",
            "|---|---|",
            f"| largest difference of a logit to Keras | {quality['max_logit_difference']} |",
            f"| labels equal to the float file's, % | {100 * equal['file_float']:.3f} |",
            f"| labels equal to Keras's, % | {100 * equal['file_keras']:.3f} |",
            f"| the float file's labels equal to Keras's, % | {100 * equal['float_keras']:.4f} |",
            *(f"| mean IoU, {who} | {100 * value:.2f} |" for who, value in iou.items()),
        ]
    return "\n".join(lines)
