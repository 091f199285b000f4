"""The exported file runs where neither this project nor Keras is."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.export import c_api
from tests.export.conftest import compare

SIZES = ((33, 47), (8, 131))
RAW_LOADER = """
import sys
from importlib.machinery import PathFinder

HIDDEN = {"keras", "gff_keras", "keras_cv", "tf_keras"}

class Finder(PathFinder):
    # What a machine has where Keras was never installed; TensorFlow loads it if it is there.

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.split(".")[0] in HIDDEN
        return None if hidden else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
import numpy as np
import tensorflow as tf

folder, inputs, outputs = sys.argv[1:]
served = tf.saved_model.load(folder)
answers = {}
for name, images in np.load(inputs).items():
    answer = served.signatures["serving_default"](images=tf.constant(images))
    for key, value in answer.items():
        answers[f"{name}/{key}"] = value.numpy()
assert not HIDDEN & set(sys.modules)
np.savez(outputs, **answers)
"""


@pytest.fixture
def cases(rng, network):
    """Pairs of images and their logits, of sizes that no stride divides."""
    images = [rng.integers(0, 256, (1, *size, 3), "uint8") for size in SIZES]
    return [(x, network(x, training=False)["logits"].numpy()) for x in images]


def test_tensorflow_alone(exported, cases, tmp_path):
    inputs, outputs = tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(inputs, **{str(i): images for i, (images, _) in enumerate(cases)})
    line = [sys.executable, "-c", RAW_LOADER, str(exported), str(inputs), str(outputs)]
    subprocess.run(line, check=True, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"})
    answers = np.load(outputs)
    for i, (_, logits) in enumerate(cases):
        compare({key: answers[f"{i}/{key}"] for key in ("classes", "confidence")}, logits)


@pytest.mark.slow
def test_saved_model_cli(exported, cases, tmp_path):
    images, logits = cases[0]
    np.save(tmp_path / "images.npy", images)
    line = [str(Path(sys.executable).with_name("saved_model_cli")), "run", "--dir", str(exported)]
    line += ["--tag_set", "serve", "--signature_def", "probabilities", "--outdir", str(tmp_path)]
    line += ["--inputs", f"images={tmp_path / 'images.npy'}"]
    subprocess.run(line, check=True, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"})
    compare({"probabilities": np.load(tmp_path / "probabilities.npy")}, logits)


@pytest.mark.slow
def test_the_c_api(exported, cases):
    for images, logits in cases:
        compare(c_api.run(exported, "serving_default", images), logits)


def test_openvino(exported, cases):
    openvino = pytest.importorskip("openvino")
    model = openvino.Core().read_model(exported)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}  # bfloat16 where the processor has it
    compiled = openvino.compile_model(model, "CPU", settings)
    for images, logits in cases:
        answer = compiled({"images": images})
        compare({key: answer[key] for key in ("classes", "confidence")}, logits)
    many = np.concatenate([cases[0][0]] * 9)  # no limit holds there, as docs/serving.md says
    assert len(compiled({"images": many})["classes"]) == 9
