"""What every network promises, whatever it is put together from."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import gff_keras as gff
from gff_keras import export
from gff_keras.evaluation.tflite import TFLitePredictor
from gff_keras.models.parts import CONTEXTS, FUSIONS
from tests.tiny import tiny_model

CLASSES = 4
COMBINATIONS = [
    (context, fusion, dfp)
    for context in CONTEXTS
    for fusion in FUSIONS
    for dfp in ((False, True) if fusion else (False,))
]
# Channels of a backbone's levels, and its trainable parameters: torchvision's ResNet-18's and
# keras.applications' DenseNet-121's without classifier, the others as their tests count them.
BACKBONES = {
    "tiny": ((12, 16, 20), sum(9 * a * b + b for a, b in itertools.pairwise((3, 8, 12, 16, 20)))),
    "resnet18": ((64, 128, 256, 512), 11_176_512),
    "densenet121": ((256, 512, 1024, 1024), 6_953_856),
    "wider_resnet38": ((256, 512, 1024, 4096), 105_070_912),
}
OF_THE_PAPER = [  # Tables 3, 4 and 8, at full size
    ("ppm", "gff", True, "resnet18"),
    ("dense_aspp", "gff", True, "densenet121"),
    ("aspp", "gff", True, "wider_resnet38"),
]


def conv(size, channels, filters):
    """Parameters of a convolution without bias, and of its normalisation."""
    return size**2 * channels * filters + 2 * filters


def head_parameters(channels, filters, classes, context, fusion, dfp):
    """Parameters behind the backbone, without auxiliary head, by the papers' descriptions."""
    c, f, deepest = channels, filters, channels[-1]
    if context == "ppm":
        y_0 = deepest // 4
        total = 4 * conv(1, deepest, y_0) + conv(3, deepest + 4 * y_0, y_0)
    elif context == "aspp":
        y_0 = 256
        branches = 2 * conv(1, deepest, 256) + 3 * conv(3, deepest, 256)
        total = branches + conv(1, 5 * 256, 256)
    elif context == "dense_aspp":
        seen = [deepest // 2 + 64 * i for i in range(6)]
        y_0 = seen[-1]
        total = conv(1, deepest, seen[0]) + sum(2 * n for n in seen[1:-1])
        total += sum(conv(1, n, 128) + 9 * 128 * 64 + 64 for n in seen[:-1])
    else:
        y_0, total = deepest, 0
    if fusion is None:
        if context == "aspp":  # DeepLabV3+'s decoder
            total += conv(1, c[0], 48) + conv(3, 256 + 48, 256) + conv(3, 256, 256)
        return total + (y_0 + 1) * classes
    total += sum(conv(1, n, f) for n in (*c, y_0))  # every map is reduced
    levels = 1 if fusion in ("concat", "add") else len(c)
    total += {
        "gff": sum(n + 1 for n in c) + 2 * levels * conv(3, f, f),
        "concat": conv(3, len(c) * f, f) + conv(3, f, f),
        "add": 2 * conv(3, f, f),
        "fpn": (levels + 1) * conv(3, f, f),
        "gated_fpn": sum(n + 1 for n in (*c, y_0)) + (levels + 1) * conv(3, f, f),
    }[fusion]
    if dfp:
        total += sum(conv(1, (i + 1) * f, f) for i in range(1, levels + 1))
    elif "fpn" in fusion:  # the semantic branch: one convolution where it is upsampled once at most
        return total + (levels + 1) * conv(3, f, 128) + (128 + 1) * classes
    return total + ((levels + 1) * f + 1) * classes


def some(*quick):
    """All combinations, and networks of the paper; those that are not quick are slow."""
    return [
        c if c in quick else pytest.param(c, marks=pytest.mark.slow, id=str(c))
        for c in [*COMBINATIONS, *OF_THE_PAPER]
    ]


# Each part once; other tests are about gated fully fusion with pyramid pooling.
EACH_PART = (
    ("ppm", "concat", True),
    ("ppm", "add", False),
    ("ppm", "fpn", False),
    ("ppm", "gated_fpn", True),
    ("aspp", None, False),
    ("dense_aspp", "gff", False),
    (None, "gated_fpn", False),
)
A_FEW = EACH_PART[3:6]
EXPORTED = ("aspp", None, False)


@pytest.fixture(scope="module")
def made():
    """Function that makes the network of a combination, once."""
    networks = {}

    def make(combination):
        if combination not in networks:
            context, fusion, dfp, *backbone = combination
            arguments = dict(context=context, fusion=fusion, dfp=dfp)
            keras.utils.set_random_seed(0)
            model = gff.GFFNet if backbone else tiny_model
            networks[combination] = randomized(model(*backbone, num_classes=CLASSES, **arguments))
        return networks[combination]

    return make


def randomized(model):
    """The model, with no normalisation the identity, no bias zero and few ReLUs dead."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(rng.uniform(0.7, 1.3, weight.shape))
        elif weight.path.endswith("beta"):
            weight.assign(rng.normal(0.3, 0.1, weight.shape))
        elif weight.path.endswith(("moving_mean", "bias")):
            weight.assign(rng.normal(0, 0.1, weight.shape))
    return model


def images(rng, *shape):
    return rng.integers(0, 256, (*shape, 3)).astype("uint8")


def test_all_are_here():
    assert len(COMBINATIONS) == 44 and set(EACH_PART) <= set(COMBINATIONS)
    for i, parts in enumerate((CONTEXTS, FUSIONS)):
        assert {combination[i] for combination in EACH_PART} == set(parts)


@pytest.mark.parametrize("combination", some(*EACH_PART), ids=str)
def test_parameters(made, combination):
    model = made(combination)
    parts, backbone = combination[:3], (*combination, "tiny")[3]
    channels, count = BACKBONES[backbone]
    count += conv(3, channels[-2], 256) + (256 + 1) * CLASSES  # auxiliary head
    count += head_parameters(channels, model.filters, CLASSES, *parts)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_variables) == count


def test_the_sums_by_hand_are_those_of_the_design():
    """What GFF and its pyramid add to PSPNet on ResNet-101 and -18, as test_gffnet.py counts."""
    for channels, (plain, gff_alone, whole) in (
        ((256, 512, 1024, 2048), (65_583_699, 71_441_495, 72_361_047)),
        ((64, 128, 256, 512), (12_622_035, 17_648_663, 18_568_215)),
    ):
        networks = (("ppm", None, False), ("ppm", "gff", False), ("ppm", "gff", True))
        head = [head_parameters(channels, 256, 19, *network) for network in networks]
        assert [n - head[0] for n in head] == [0, gff_alone - plain, whole - plain]


@pytest.mark.parametrize("combination", some(*A_FEW), ids=str)
def test_any_size_in_a_graph_that_knows_none(made, rng, combination):
    model = made(combination)
    spec = tf.TensorSpec((None, None, None, 3), "uint8")
    forward = tf.function(lambda x: model(x, training=False), input_signature=[spec])
    for size in ((33, 47), (8, 8), (1, 3)):
        x = images(rng, 2, *size)
        logits = forward(x)["logits"]
        assert logits.shape == (2, *size, CLASSES) and logits.dtype == "float32"
        np.testing.assert_allclose(logits, model(x)["logits"], atol=1e-4)
        assert np.ptp(logits) > 1e-3


@pytest.mark.parametrize("combination", some(*EACH_PART), ids=str)
def test_loaded_is_saved(made, rng, tmp_path, combination):
    model = made(combination)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    configs = [{**network.get_config(), "backbone": None} for network in (model, loaded)]
    assert configs[0] == configs[1]
    x = images(rng, 1, 33, 47)
    for name, y in model(x).items():
        np.testing.assert_array_equal(loaded(x)[name], y)


@pytest.mark.parametrize("combination", some(*EACH_PART), ids=str)
def test_gradient_reaches_every_weight(made, rng, combination):
    model = made(combination)
    x, y = images(rng, 2, 41, 33), rng.integers(0, CLASSES, (2, 41, 33))
    loss = gff.losses.SegmentationCrossEntropy()
    with tf.GradientTape() as tape:
        outputs = model(x, training=False)
        total = loss(y, outputs["logits"]) + 0.4 * loss(y, outputs["aux_logits"])
    weights = model.trainable_variables
    gradients = tape.gradient(total, [w.value for w in weights])
    unreached = [
        w.path
        for w, g in zip(weights, gradients, strict=True)
        if g is None or not np.abs(tf.convert_to_tensor(g)).max() > 0
    ]
    assert not unreached


@pytest.mark.parametrize("combination", some(*A_FEW), ids=str)
def test_half_the_width(made, rng, combination):
    """As far from float32 as eight bits of mantissa are; loss and logits stay float32."""
    model = made(combination)
    half = gff.GFFNet.from_config({**model.get_config(), "dtype": "mixed_bfloat16"})
    half.set_weights(model.get_weights())
    x, y = images(rng, 2, 33, 47), rng.integers(0, CLASSES, (2, 33, 47))
    full, logits = model(x)["logits"], half(x)["logits"]
    assert logits.dtype == "float32"
    error = np.abs(logits - full).mean()
    assert error < 0.02 * np.ptp(full)
    # The classifier is of full width, and with neither context nor fusion all that there is.
    assert (error > 0) == (combination[:2] != (None, None))
    loss = gff.losses.SegmentationCrossEntropy()
    half.compile(gff.optimizers.SGD(0.01), loss, run_eagerly=True)
    assert np.isfinite(half.train_on_batch(x, y))
    assert all(weight.dtype == "float32" for weight in half.weights)


@pytest.mark.parametrize("combination", some(EXPORTED), ids=str)
def test_exported_is_eager(made, rng, tmp_path, combination):
    """The SavedModel gives the model's confidence and classes, the TFLite file its classes."""
    model = made(combination)
    x = images(rng, 1, 48, 64)
    logits = model(x)["logits"].numpy()
    folder = export.saved_model(model, tmp_path / "m" / "1")
    answer = tf.saved_model.load(str(folder)).signatures["serving_default"](images=tf.constant(x))
    confidence = keras.ops.max(keras.ops.softmax(logits), -1)
    np.testing.assert_allclose(np.squeeze(answer["confidence"]), confidence[0], atol=1e-4)
    assert (np.squeeze(answer["classes"]) == logits[0].argmax(-1)).mean() > 0.999
    path = export.tflite(model, tmp_path / "m.tflite", size=(48, 64))
    predictor = TFLitePredictor(path)
    classes = predictor.classes(x[0])
    assert (classes == logits[0].argmax(-1)).mean() > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("combination", OF_THE_PAPER, ids=str)
def test_rows_of_the_papers_tables(rng, combination):
    """Plain, with GFF and with GFF and DFP; every part moves the logits of an image of odd size."""
    context, _, _, name = combination
    channels, count = BACKBONES[name]
    x, seen, backbone = images(rng, 1, 65, 97), [], name
    for parts in ((context, None, False), (context, "gff", False), (context, "gff", True)):
        _, fusion, dfp = parts
        model = gff.GFFNet(backbone, context=context, fusion=fusion, dfp=dfp, aux_head=False)
        backbone = model.backbone
        expected = count + head_parameters(channels, 256, 19, *parts)
        assert sum(int(np.prod(w.shape)) for w in model.trainable_variables) == expected
        logits = model(x)["logits"].numpy()
        assert logits.shape == (1, 65, 97, 19) and np.isfinite(logits).all()
        for other in seen:
            assert np.abs(logits - other).max() > 1e-3 * np.abs(other).max()
        seen.append(logits)
