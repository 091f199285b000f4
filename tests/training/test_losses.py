"""Cross-entropy against NumPy, and the sum of main and auxiliary loss."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from gff_keras.training.losses import SegmentationCrossEntropy


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def reference(labels, logits, ignore_label=255, weight=1.0):
    valid = labels != ignore_label
    index = np.where(valid, labels, 0)[..., None]
    losses = -np.take_along_axis(log_softmax(logits), index, -1)[..., 0]
    weight = np.broadcast_to(weight, labels.shape) * valid
    return (losses * weight).sum() / weight.sum()


def draw(rng, classes=5, ignore_label=255, shape=(3, 9, 11)):
    labels = rng.integers(0, classes, shape)
    labels[rng.random(shape) < 0.3] = ignore_label
    return labels, (4 * rng.standard_normal((*shape, classes))).astype("float32")


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("channel", [False, True])
def test_mean_over_labelled_pixels(rng, dtype, channel):
    labels, logits = draw(rng)
    given = labels.astype(dtype)[..., None] if channel else labels.astype(dtype)
    loss = float(SegmentationCrossEntropy()(given, logits))
    assert loss == pytest.approx(reference(labels, logits), rel=1e-6)


@pytest.mark.parametrize("ignore_label", [11, -1, 2])
def test_another_ignore_label(rng, ignore_label):
    labels, logits = draw(rng, ignore_label=ignore_label)
    loss = float(SegmentationCrossEntropy(ignore_label)(labels, logits))
    assert loss == pytest.approx(reference(labels, logits, ignore_label), rel=1e-6)


def test_sample_weight(rng):
    labels, logits = draw(rng)
    for shape in (labels.shape, (3, 1, 1), (3,)):
        weight = rng.random(shape).astype("float32")
        loss = float(SegmentationCrossEntropy()(labels, logits, weight))
        per_pixel = weight[:, None, None] if weight.ndim == 1 else weight
        assert loss == pytest.approx(reference(labels, logits, weight=per_pixel), rel=1e-6)


def test_class_weights(rng):
    labels, logits = draw(rng)
    weights = rng.uniform(0.5, 5, 5)
    expected = reference(labels, logits, weight=np.append(weights, [0] * 251)[labels])
    loss = SegmentationCrossEntropy(class_weights=weights)
    assert float(loss(labels, logits)) == pytest.approx(expected, rel=1e-6)
    again = SegmentationCrossEntropy.from_config(loss.get_config())
    assert float(again(labels, logits)) == float(loss(labels, logits))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_logits_are_summed_in_float32(rng, dtype):
    labels, logits = draw(rng, shape=(2, 150, 150))  # beyond float16's 65504
    rounded = tf.cast(logits, dtype)
    loss = SegmentationCrossEntropy()(labels, rounded)
    assert loss.dtype == tf.float32
    expected = reference(labels, tf.cast(rounded, "float64").numpy())
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [1.0, 1e30])
def test_without_a_labelled_pixel_loss_and_gradient_are_zero(rng, size):
    logits = tf.Variable(size * draw(rng)[1])
    with tf.GradientTape() as tape:
        loss = SegmentationCrossEntropy()(np.full((3, 9, 11), 255, "uint8"), logits)
    assert float(loss) == 0
    np.testing.assert_array_equal(tape.gradient(loss, logits), np.zeros(logits.shape))


def test_gradient_is_softmax_minus_truth_at_labelled_pixels(rng):
    labels, logits = draw(rng)
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = SegmentationCrossEntropy()(labels, variable)
    valid = labels != 255
    truth = np.eye(5)[np.where(valid, labels, 0)]
    expected = (np.exp(log_softmax(logits)) - truth) * valid[..., None] / valid.sum()
    np.testing.assert_allclose(tape.gradient(loss, variable), expected, atol=1e-8)


@pytest.mark.parametrize("label", [5, 254, -1])
def test_a_label_that_is_no_class_stops_eagerly_and_in_graphs(rng, label):
    labels, logits = draw(rng)
    labels[1, 2, 3] = label
    loss = SegmentationCrossEntropy()
    for call in (loss, tf.function(lambda y, x: loss(y, x))):
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            call(tf.constant(labels), logits)
        assert f" {label} is outside the 5 classes 0..4" in words(error.value)


def words(error):
    """The parts of an assertion's message, which TensorFlow writes in brackets or on lines."""
    return re.sub(r"\s+", " ", re.sub(r"\] \[|b?'|\n", " ", str(error)))


def test_under_xla_such_a_label_makes_the_loss_nan_and_the_gradient_zero(rng):
    labels, logits = draw(rng)

    @tf.function(jit_compile=True)
    def loss_and_gradient(labels, logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = SegmentationCrossEntropy()(labels, logits)
        return loss, tape.gradient(loss, logits)

    loss, gradient = loss_and_gradient(tf.constant(labels), tf.constant(logits))
    assert float(loss) == pytest.approx(reference(labels, logits), rel=1e-6)
    assert np.abs(gradient).max() > 1e-4
    labels[1, 2, 3] = 5
    loss, gradient = loss_and_gradient(tf.constant(labels), tf.constant(logits))
    assert np.isnan(loss)
    np.testing.assert_array_equal(gradient, np.zeros(logits.shape))


def test_serialisation(rng):
    loss = SegmentationCrossEntropy(ignore_label=3, name="ce")
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert (type(copy), copy.ignore_label, copy.name) == (SegmentationCrossEntropy, 3, "ce")
    labels, logits = draw(rng, ignore_label=3)
    assert float(copy(labels, logits)) == float(loss(labels, logits))


def test_auxiliary_loss_counts_in_training_only(rng, tiny_model):
    model = tiny_model(5, aux_loss_weight=0.4)
    model.compile(loss=SegmentationCrossEntropy())
    labels, logits = draw(rng)
    outputs = {"logits": logits, "aux_logits": rng.standard_normal(logits.shape).astype("float32")}
    main, auxiliary = (reference(labels, outputs[name]) for name in outputs)
    y = tf.constant(labels)
    in_training = float(model.compute_loss(None, y, outputs, training=True))
    in_validation = float(model.compute_loss(None, y, outputs, training=False))
    assert in_training == pytest.approx(main + 0.4 * auxiliary, rel=1e-6)
    assert in_validation == pytest.approx(main, rel=1e-6)


@pytest.mark.parametrize(
    "arguments", [{}, {"aux_head": False}, {"fusion": None, "dfp": False}], ids=str
)
def test_fit_on_pairs(rng, tiny_model, eager, arguments):
    model = tiny_model(dropout=0.0, **arguments)
    model.compile(keras.optimizers.SGD(0.1), loss=SegmentationCrossEntropy(), metrics=["accuracy"])
    images = rng.integers(0, 256, (2, 21, 30, 3), "uint8")
    labels = rng.integers(0, 3, (2, 21, 30), "uint8")
    before = model(images, training=False)["logits"]
    outputs = model(images, training=True)  # no update of what training=True reads
    expected = reference(labels, outputs["logits"])
    if model.aux_head:
        expected += 0.4 * reference(labels, outputs["aux_logits"])
    assert "aux_logits" in outputs or not model.aux_head
    history = model.fit(images, labels, batch_size=2, verbose=0).history
    assert history["loss"][0] == pytest.approx(expected, rel=1e-4)
    after = model(images, training=False)["logits"]
    assert np.abs(after - before).max() > 1e-3
    validation = model.evaluate(images, labels, return_dict=True, verbose=0)["loss"]
    assert validation == pytest.approx(reference(labels, after), rel=1e-4)
