"""Metrics against loops over pixels, and counts that stay exact."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from gff_keras.evaluation.metrics import SegmentationMetrics

CLASSES = 6


def reference(batches, classes=CLASSES, ignore_label=255):
    """The definitions, literally: one pixel at a time, one class at a time."""
    confusion = [[0] * classes for _ in range(classes)]
    for labels, predictions in batches:
        for t, p in zip(labels.ravel(), predictions.ravel(), strict=True):
            if t != ignore_label:
                confusion[t][p] += 1
    iou, accuracy = [], []
    for c in range(classes):
        truth = sum(confusion[c])
        predicted = sum(row[c] for row in confusion)
        union = truth + predicted - confusion[c][c]
        iou.append(confusion[c][c] / union if union else float("nan"))
        if truth:
            accuracy.append(confusion[c][c] / truth)
    return {
        "mean_iou": np.nanmean(iou),
        "pixel_accuracy": sum(confusion[c][c] for c in range(classes)) / np.sum(confusion),
        "mean_accuracy": np.mean(accuracy),
        "iou": iou,
    }


def draw(rng, batches=3, absent=()):
    """Labels with ignored pixels and right predictions in two of three; not the absent classes."""
    present = [c for c in range(CLASSES) if c not in absent]
    result = []
    for _ in range(batches):
        labels = rng.choice(present, (2, 13, 17))
        predictions = np.where(rng.random(labels.shape) < 2 / 3, labels, rng.choice(present))
        labels[rng.random(labels.shape) < 0.2] = 255
        result.append((labels, predictions))
    return result


def check(metrics, batches):
    result, expected = metrics.result(), reference(batches)
    assert set(result) == {"mean_iou", "pixel_accuracy", "mean_accuracy", "iou"}
    for name, value in expected.items():
        np.testing.assert_allclose(result[name], value, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("absent", [(), (2,), (0, 5)])
def test_definitions(rng, absent):
    batches = draw(rng, absent=absent)
    metrics = SegmentationMetrics(CLASSES)
    for labels, predictions in batches:
        metrics.update_state(labels, predictions)
    check(metrics, batches)
    assert set(np.flatnonzero(np.isnan(metrics.result()["iou"]))) == set(absent)


def test_a_class_that_is_only_predicted_has_iou_zero_and_no_accuracy():
    metrics = SegmentationMetrics(3)
    metrics.update_state(np.array([[[0, 0, 0, 0]]]), np.array([[[0, 0, 0, 1]]]))
    result = metrics.result()
    np.testing.assert_array_equal(result["iou"], [0.75, 0, np.nan])
    assert (result["mean_iou"], result["mean_accuracy"]) == (0.375, 0.75)


def test_rows_are_truth():
    metrics = SegmentationMetrics(3)
    metrics.update_state(np.array([[[0, 0, 2, 255]]]), np.array([[[1, 1, 0, 2]]]))
    np.testing.assert_array_equal(metrics.confusion_matrix(), [[0, 2, 0], [0, 0, 0], [1, 0, 0]])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_logits_and_classes_agree(rng, dtype):
    [(labels, _)] = draw(rng, batches=1)
    logits = tf.cast(rng.standard_normal((*labels.shape, CLASSES)), dtype)
    metrics = SegmentationMetrics(CLASSES)
    metrics.update_state(labels, logits)
    check(metrics, [(labels, tf.cast(logits, "float64").numpy().argmax(-1))])


@pytest.mark.parametrize("label_dtype", ["uint8", "int64"])
@pytest.mark.parametrize("channel", [False, True])
def test_label_forms(rng, label_dtype, channel):
    [(labels, predictions)] = batches = draw(rng, batches=1)
    given = labels.astype(label_dtype)
    metrics = SegmentationMetrics(CLASSES)
    metrics.update_state(given[..., None] if channel else given, predictions.astype("uint8"))
    check(metrics, batches)


def test_another_ignore_label(rng):
    batches = draw(rng)
    metrics = SegmentationMetrics(CLASSES, ignore_label=4)
    kept = []
    for labels, predictions in batches:
        labels = np.where(labels == 255, 0, labels)
        metrics.update_state(labels, predictions)
        kept.append((np.where(labels == 4, 255, labels), predictions))
    check(metrics, kept)


def test_counts_are_exact_where_float32_is_not():
    start = 2**24  # float32 cannot add one to it
    metrics = SegmentationMetrics(2)
    metrics.confusion.assign([[start, 0], [0, 2**33]])
    for _ in range(5):
        metrics.update_state(np.array([[[0, 0, 1]]]), np.array([[[0, 1, 1]]]))
    np.testing.assert_array_equal(metrics.confusion_matrix(), [[start + 5, 5], [0, 2**33 + 5]])
    result = metrics.result()
    assert float(result["iou"][0]) == (start + 5) / (start + 10)
    assert float(result["pixel_accuracy"]) == (start + 2**33 + 10) / (start + 2**33 + 15)


def test_without_a_pixel_everything_is_zero():
    metrics = SegmentationMetrics(CLASSES)
    metrics.update_state(np.full((1, 4, 4), 255, "uint8"), np.zeros((1, 4, 4), "int32"))
    result = metrics.result()
    assert [float(result[name]) for name in ("mean_iou", "pixel_accuracy", "mean_accuracy")] == [
        0
    ] * 3
    assert np.isnan(result["iou"]).all()


def test_reset(rng):
    first, second = draw(rng, batches=2)
    metrics = SegmentationMetrics(CLASSES)
    metrics.update_state(*first)
    metrics.reset_state()
    assert not metrics.confusion_matrix().any()
    metrics.update_state(*second)
    check(metrics, [second])


def test_inside_a_graph_of_unknown_sizes(rng):
    metrics, batches = SegmentationMetrics(CLASSES), draw(rng)
    signature = [tf.TensorSpec((None, None, None), "int64")] * 2
    update = tf.function(metrics.update_state, input_signature=signature)
    for labels, predictions in batches:
        update(labels, predictions)
    batches.append((batches[0][0][:1, :5, :4], batches[0][1][:1, :5, :4]))
    update(*batches[-1])
    check(metrics, batches)
    result = tf.function(metrics.result)()
    assert float(result["mean_iou"]) == float(metrics.result()["mean_iou"])


@pytest.mark.parametrize("label", [CLASSES, 254, -1])
def test_a_label_that_is_no_class_stops_eagerly_and_in_graphs(rng, label):
    [(labels, predictions)] = draw(rng, batches=1)
    labels[0, 1, 2] = label
    metrics = SegmentationMetrics(CLASSES)
    for update in (metrics.update_state, tf.function(metrics.update_state)):
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            update(tf.constant(labels), tf.constant(predictions))
        assert str(label) in str(error.value)
        assert f"is outside the {CLASSES} classes 0..{CLASSES - 1} and is not 255" in str(
            error.value
        )


def test_a_prediction_that_is_no_class_stops(rng):
    [(labels, predictions)] = draw(rng, batches=1)
    predictions[labels == 255] = 99  # where nobody looks
    metrics = SegmentationMetrics(CLASSES)
    metrics.update_state(labels, predictions)
    check(metrics, [(labels, predictions)])
    labels[0, 1, 2], predictions[0, 1, 2] = 0, CLASSES
    with pytest.raises(tf.errors.InvalidArgumentError, match="prediction"):
        metrics.update_state(labels, predictions)


def test_under_xla_a_label_that_is_no_class_makes_all_results_nan(rng):
    (first, second) = draw(rng, batches=2)
    metrics = SegmentationMetrics(CLASSES)
    update = tf.function(metrics.update_state, jit_compile=True)
    update(*map(tf.constant, first))
    check(metrics, [first])
    second[0][0, 1, 2] = CLASSES
    update(*map(tf.constant, second))
    assert all(np.isnan(value).all() for value in metrics.result().values())
    metrics.reset_state()
    update(*map(tf.constant, first))
    check(metrics, [first])


def test_logits_of_another_number_of_classes_are_refused(rng):
    [(labels, _)] = draw(rng, batches=1)
    with pytest.raises(ValueError, match=r"SegmentationMetrics\(6\) .* logits of 4 classes"):
        SegmentationMetrics(CLASSES).update_state(labels, np.zeros((*labels.shape, 4), "float32"))


def test_sample_weight_is_refused(rng):
    [(labels, predictions)] = draw(rng, batches=1)
    with pytest.raises(ValueError, match="sample_weight"):
        SegmentationMetrics(CLASSES).update_state(labels, predictions, np.ones(labels.shape))


def test_serialisation():
    metrics = SegmentationMetrics(7, ignore_label=9, name="m")
    copy = keras.metrics.deserialize(keras.metrics.serialize(metrics))
    assert (copy.num_classes, copy.ignore_label, copy.name) == (7, 9, "m")
