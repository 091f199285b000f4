"""One export of the tiny model for all tests, and what it must answer."""

import contextlib
import io
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import gff_keras as gff
from gff_keras.cli import main
from gff_keras.data import LabelSet, evaluation_dataset
from gff_keras.evaluation.prediction import Predictor
from gff_keras.export.precision import with_dtype
from gff_keras.export.serving_graph import ServedSegmenter

COLOURS = ((40, 60, 200), (120, 120, 120), (200, 60, 40))
LABELS = LabelSet("blocks", ("sky", "straße", "car"), COLOURS)
RECORD_LABELS = LabelSet("blocks", ("sky", "road", "car"), COLOURS)  # of the fixture `records`
MAX_PIXELS = 200 * 200
TFLITE_SIZE = (40, 48)


@pytest.fixture(scope="session")
def network(tiny_model):
    """A tiny model whose logits are far apart, as a trained one's are."""
    keras.utils.set_random_seed(3)
    model = tiny_model()
    for weight in model.weights:
        if "kernel" in weight.path:
            weight.assign(weight * 3)
    return model


@pytest.fixture(scope="session")
def run_folder(network, tmp_path_factory):
    """What a training run leaves: model, labels, recipe."""
    folder = tmp_path_factory.mktemp("run")
    network.save(folder / "best.keras")
    LABELS.save(folder / "labels.json")
    (folder / "recipe.json").write_text('{"image_size": null}')
    return folder


@pytest.fixture(scope="session")
def command(run_folder, tmp_path_factory):
    """`(folder, status, output)` of the command, over another version: one export for all tests."""
    folder = tmp_path_factory.mktemp("served") / "blocks" / "1"
    (folder / "old").mkdir(parents=True)
    line = ["export", "saved_model", run_folder / "best.keras", "--out", folder, "--overwrite"]
    with contextlib.redirect_stdout(io.StringIO()) as output:
        status = main([str(x) for x in (*line, "--max_pixels", MAX_PIXELS)])
    return folder, status, output.getvalue()


@pytest.fixture(scope="session")
def exported(command):
    """Folder of a version that takes images of any size."""
    return command[0]


@pytest.fixture(scope="session")
def signatures(exported):
    return load(exported)


@pytest.fixture(scope="session")
def predictor(network):
    return Predictor(network)


@pytest.fixture(scope="session")
def val_images(records):
    return [image.numpy()[0] for image, _ in evaluation_dataset(records, "val")]


@pytest.fixture(scope="session")
def trained_network(trained, val_images):
    """The trained model with the statistics of many steps: far from those of a new one."""
    rng, changed = np.random.default_rng(3), with_dtype(trained[1], "float32")
    for weight in changed.weights:
        if "moving" in weight.path:
            weight.assign(np.asarray(weight) * rng.uniform(0.8, 1.25, weight.shape))
    classify = changed.get_layer("classifier")  # logits like those of a network that has learnt,
    classify.kernel.assign(classify.kernel * 40)
    logits = Predictor(changed).logits(val_images[0])
    classify.bias.assign(classify.bias - np.median(logits, (0, 1)))  # and each has its share
    return changed


@pytest.fixture(scope="session")
def trained_predictor(trained_network):
    return Predictor(trained_network)


@pytest.fixture(scope="session")
def tflite_file(trained_network, records, tmp_path_factory):
    """Function that returns the file of a kind, with logits and classes, made once."""
    folder = tmp_path_factory.mktemp("tflite")

    def make(quantize, size=TFLITE_SIZE):
        path = folder / f"{quantize}_{size[0]}.tflite"
        if not path.exists():
            with warnings.catch_warnings():
                warnings.filterwarnings("error", "Statistics for quantized inputs")
                gff.export.tflite(
                    trained_network,
                    path,
                    size,
                    quantize=quantize,
                    calibration=records if quantize == "int8" else None,
                    labels=RECORD_LABELS,
                    outputs=("logits", "classes"),
                )
        return path

    return make


def load(folder):
    """The signatures of a SavedModel."""
    model = tf.saved_model.load(str(folder))
    return Signatures(model.signatures, model)


class Signatures:
    """Calls signatures on arrays."""

    def __init__(self, functions, model=None):
        self.functions = functions
        self.model = model  # which signatures do not keep alive

    def __call__(self, name, **inputs):
        inputs = {key: tf.constant(value) for key, value in inputs.items()}
        return {key: x.numpy() for key, x in self.functions[name](**inputs).items()}


def traced(model, **options):
    """The signatures before they are saved: quicker, where saving is not the question."""
    count = model.num_classes
    names, palette = [f"class {i}" for i in range(count)], [(1, 2, 3)] * count
    options = {"max_pixels": MAX_PIXELS, **options}
    functions = ServedSegmenter(model, names, palette, **options).functions()
    return Signatures(
        {name: lambda f=f, **inputs: f(*inputs.values()) for name, f in functions.items()}
    )


def compare(answer, logits):
    """Assert that an answer (probabilities, or classes and confidence) is that of these logits."""
    if "probabilities" in answer:
        log_probabilities = np.log(answer["probabilities"])
        differences = log_probabilities - log_probabilities.mean(-1, keepdims=True)
        np.testing.assert_allclose(differences, logits - logits.mean(-1, keepdims=True), atol=1e-4)
    else:
        assert (answer["classes"] == logits.argmax(-1)).mean() >= 0.9999
        largest = np.exp(logits - logits.max(-1, keepdims=True)).sum(-1) ** -1
        np.testing.assert_allclose(answer["confidence"], largest, atol=1e-5)
