"""What every network promises, whatever it is put together from."""

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
PARAMETERS = {  # of the tiny network with this context and fusion; without and with the pyramid
    ("ppm", "gff"): (50_621, 51_245),
    ("ppm", "concat"): (49_290, 49_434),
    ("ppm", "add"): (48_138, 48_282),
    ("ppm", "fpn"): (87_658, 50_010),
    ("ppm", "gated_fpn"): (87_715, 50_067),
    ("ppm", None): (46_422,),
    ("aspp", "gff"): (529_611, 530_235),
    ("aspp", "concat"): (528_280, 528_424),
    ("aspp", "add"): (527_128, 527_272),
    ("aspp", "fpn"): (566_648, 529_000),
    ("aspp", "gated_fpn"): (566_956, 529_308),
    ("aspp", None): (1_816_344,),
    ("dense_aspp", "gff"): (3_692_231, 3_692_855),
    ("dense_aspp", "concat"): (3_690_900, 3_691_044),
    ("dense_aspp", "add"): (3_689_748, 3_689_892),
    ("dense_aspp", "fpn"): (3_729_268, 3_691_620),
    ("dense_aspp", "gated_fpn"): (3_729_970, 3_692_322),
    ("dense_aspp", None): (3_685_452,),
    (None, "gff"): (48_491, 49_115),
    (None, "concat"): (47_160, 47_304),
    (None, "add"): (46_008, 46_152),
    (None, "fpn"): (85_528, 47_880),
    (None, "gated_fpn"): (85_600, 47_952),
    (None, None): (44_232,),
}
COMBINATIONS = [
    (*parts, dfp) for parts, counts in PARAMETERS.items() for dfp in (False, True)[: len(counts)]
]


def some(*quick):
    """All combinations; those that are not quick are slow."""
    return [
        c if c in quick else pytest.param(c, marks=pytest.mark.slow, id=str(c))
        for c in COMBINATIONS
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


NETWORKS = {  # of the paper's Tables 4 and 8: trainable parameters of 19 classes
    ("densenet121", "dense_aspp"): (12_428_691, 18_174_999, 19_094_551),
    ("wider_resnet38", "aspp"): (137_118_899, 142_138_711, 143_058_263),
}


@pytest.fixture(scope="module")
def made():
    """Function that makes the network of a combination, once."""
    networks = {}

    def make(combination):
        if combination not in networks:
            context, fusion, dfp = combination
            networks[combination] = randomized(
                tiny_model(CLASSES, context=context, fusion=fusion, dfp=dfp)
            )
        return networks[combination]

    return make


def randomized(model):
    """The model, with no normalisation the identity and no bias zero."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(rng.uniform(0.7, 1.3, weight.shape))
        elif weight.path.endswith(("beta", "moving_mean", "bias")):
            weight.assign(rng.normal(0, 0.1, weight.shape))
    return model


def images(rng, *shape):
    return rng.integers(0, 256, (*shape, 3)).astype("uint8")


def test_all_are_here():
    assert set(PARAMETERS) == {(context, fusion) for context in CONTEXTS for fusion in FUSIONS}
    assert set(EACH_PART) <= set(COMBINATIONS)


@pytest.mark.parametrize("combination", some(*EACH_PART), ids=str)
def test_parameters(made, combination):
    *parts, dfp = combination
    weights = made(combination).trainable_variables
    assert sum(int(np.prod(w.shape)) for w in weights) == PARAMETERS[tuple(parts)][dfp]


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
    assert 0 < np.abs(logits - full).mean() < 0.02 * np.ptp(full)
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
@pytest.mark.parametrize("parts", NETWORKS, ids=str)
def test_networks_of_the_paper(rng, parts):
    """At full size: counts, and logits of an image of odd size, which every part moves."""
    backbone, context = parts
    x, seen = images(rng, 1, 65, 97), []
    fusions = ((None, False), ("gff", False), ("gff", True))
    for count, (fusion, dfp) in zip(NETWORKS[parts], fusions, strict=True):
        model = gff.GFFNet(backbone, context=context, fusion=fusion, dfp=dfp, aux_head=False)
        assert sum(int(np.prod(w.shape)) for w in model.trainable_variables) == count
        backbone = model.backbone
        logits = model(x)["logits"].numpy()
        assert logits.shape == (1, 65, 97, 19) and np.isfinite(logits).all()
        for other in seen:
            assert np.abs(logits - other).max() > 1e-3 * np.abs(other).max()
        seen.append(logits)
