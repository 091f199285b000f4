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


@pytest.mark.parametrize("weights", [None, [0.5, 3, 1, 0, 2]], ids=["plain", "weighted"])
def test_label_smoothing(rng, weights):
    labels, logits = draw(rng)
    valid = labels != 255
    share = 0.9 * np.eye(5)[np.where(valid, labels, 0)] + 0.1 / 5  # of each class in the truth
    losses = -(share * log_softmax(logits)).sum(-1)
    weight = valid * np.array(weights or [1] * 5)[np.where(valid, labels, 0)]
    loss = SegmentationCrossEntropy(label_smoothing=0.1, class_weights=weights)
    expected = (losses * weight).sum() / weight.sum()
    assert float(loss(labels, logits)) == pytest.approx(expected, rel=1e-6)


def hard_pixels(labels, logits, threshold, min_kept):
    """Mask, from a full sort: up to `threshold`, or else the share `min_kept`."""
    valid = labels != 255
    truth = np.where(valid, labels, 0)[..., None]
    losses = -np.take_along_axis(log_softmax(logits), truth, -1)[..., 0]
    at_least = np.round(min_kept * valid.sum()).astype(int)
    last = np.sort(losses[valid])[-at_least] if at_least else np.inf
    limit = -np.log(threshold) if threshold else np.inf
    return valid & (losses >= min(last - 1e-6, limit))


@pytest.mark.parametrize(
    "threshold, min_kept", [(0.7, 0.0), (0.05, 0.0), (0.05, 0.5), (0.0, 0.2), (1.0, 0.1)]
)
def test_ohem_counts_the_hardest_pixels_alone(rng, threshold, min_kept):
    labels, logits = draw(rng)
    hard = hard_pixels(labels, logits, threshold, min_kept)
    assert 0 < hard.sum() <= (labels != 255).sum()
    variable = tf.Variable(logits)
    loss_function = SegmentationCrossEntropy(ohem=threshold, ohem_min_kept=min_kept)
    with tf.GradientTape() as tape:
        loss = loss_function(labels.astype("uint8"), variable)
    counted = np.abs(tape.gradient(loss, variable)).max(-1) > 0
    np.testing.assert_array_equal(counted, hard)
    assert float(loss) == pytest.approx(reference(np.where(hard, labels, 255), logits), rel=1e-5)


def test_ohem_with_class_weights_and_smoothing(rng):
    """They change what a pixel counts, not which pixels are hard."""
    labels, logits = draw(rng)
    hard = hard_pixels(labels, logits, 0.1, 0.3)
    arguments = dict(class_weights=[1, 9, 0.1, 2, 4], label_smoothing=0.2)
    mined = SegmentationCrossEntropy(ohem=0.1, ohem_min_kept=0.3, **arguments)
    plain = SegmentationCrossEntropy(**arguments)
    expected = float(plain(np.where(hard, labels, 255), logits))
    assert float(mined(labels, logits)) == pytest.approx(expected, rel=1e-6)
    assert expected != pytest.approx(float(plain(labels, logits)), rel=1e-2)


def test_ohem_keeps_pixels_that_are_equally_hard(rng):
    """So the order of pixels and images cannot matter."""
    labels, logits = draw(rng)
    logits = np.repeat(logits[:1], 3, axis=0)
    labels = np.repeat(labels[:1], 3, axis=0)
    one = SegmentationCrossEntropy(ohem=0.0, ohem_min_kept=7 / (labels[0] != 255).sum())
    assert float(one(labels, logits)) == pytest.approx(float(one(labels[:1], logits[:1])), rel=1e-6)


def test_ohem_in_a_graph_of_unknown_size_and_without_labels(rng):
    loss = SegmentationCrossEntropy(ohem=0.5, ohem_min_kept=0.25)
    sizes = (None, None, None)
    specs = [tf.TensorSpec(sizes, tf.uint8), tf.TensorSpec((*sizes, 5), tf.float32)]
    graph = tf.function(lambda labels, logits: loss(labels, logits), input_signature=specs)
    labels, logits = draw(rng)
    assert float(graph(labels.astype("uint8"), logits)) == pytest.approx(
        float(loss(labels, logits))
    )
    assert float(graph(np.full((3, 9, 11), 255, "uint8"), logits)) == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"label_smoothing": 1.5}, "label_smoothing=1.5"),
        ({"ohem": -0.1}, "ohem=-0.1"),
        ({"ohem_min_kept": 2}, "ohem_min_kept=2"),
        ({"class_weights": [1, -1]}, r"class_weights=\(1.0, -1.0\)"),
        ({"class_weights": [0, 0]}, r"class_weights=\(0.0, 0.0\)"),
        ({"class_weights": [1, float("nan")]}, "class_weights=.*nan"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SegmentationCrossEntropy(**arguments)


def test_as_many_weights_as_classes(rng):
    with pytest.raises(ValueError, match="class_weights has 4 numbers for 5 classes"):
        SegmentationCrossEntropy(class_weights=[1, 2, 3, 4])(*draw(rng))


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
    loss = SegmentationCrossEntropy(3, None, 0.1, ohem=0.4, ohem_min_kept=0.3, name="ce")
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert copy.get_config() == loss.get_config()
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
