"""A GFFNet under plain Keras: compile, fit, callbacks, evaluate, predict, as any `keras.Model`."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

import gff_keras as gff
from gff_keras.data import evaluation_dataset


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (4, 25, 33, 3), "uint8")


@pytest.fixture
def labels(images):
    """Brightness decides the class; one pixel in ten is ignored."""
    labels = np.digitize(images.mean(-1), [100, 150]).astype("uint8")
    labels[np.random.default_rng(1).random(labels.shape) < 0.1] = 255
    return labels


@pytest.fixture
def compiled(tiny_model, eager):
    def build(optimizer=None, loss=None, metrics=None, **arguments):
        keras.utils.set_random_seed(0)
        model = tiny_model(3, dropout=0.0, **arguments)
        model.compile(
            gff.optimizers.SGD(0.01) if optimizer is None else optimizer,
            gff.losses.SegmentationCrossEntropy() if loss is None else loss,
            metrics=metrics or [gff.metrics.SegmentationMetrics(3)],
        )
        return model

    return build


def cross_entropy(logits, labels):
    """Mean over the labelled pixels, in NumPy."""
    logits = np.asarray(logits, "float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    valid = labels != 255
    return -np.take_along_axis(log_p, np.where(valid, labels, 0)[..., None], -1)[valid].mean()


def mean_iou(logits, labels):
    prediction, valid = np.argmax(logits, -1), labels != 255
    ious = []
    for c in range(3):
        truth, found = (labels == c) & valid, (prediction == c) & valid
        ious.append((truth & found).sum() / max((truth | found).sum(), 1))
    return np.mean(ious)


@pytest.mark.parametrize(
    "optimizer",
    [keras.optimizers.SGD(0.02, momentum=0.9), keras.optimizers.AdamW(3e-3)],
    ids=["sgd", "adamw"],
)
def test_fit_learns_with_keras_optimizers(compiled, images, labels, optimizer):
    model = compiled(optimizer)
    learnt = [weight for weight in model.weights if not weight.path.startswith("normalize")]
    before = [weight.numpy() for weight in learnt]
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    history = model.fit(batches, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] - 0.02
    changed = [np.abs(a - b).max() for a, b in zip(before, learnt, strict=True)]
    assert all(change > 0 for change in changed)


def test_evaluate_is_metrics_and_loss_by_hand(compiled, images, labels):
    model = compiled()
    model.fit(images, labels, batch_size=3, verbose=0)
    results = model.evaluate(images, labels, batch_size=4, return_dict=True, verbose=0)
    logits = model(images, training=False)["logits"]
    assert results["loss"] == pytest.approx(cross_entropy(logits, labels), rel=1e-5)
    assert results["mean_iou"] == pytest.approx(mean_iou(logits, labels), rel=1e-6)
    by_hand = gff.metrics.SegmentationMetrics(3)
    for i in range(0, 4, 2):
        by_hand.update_state(labels[i : i + 2], logits[i : i + 2])
    assert results["mean_iou"] == float(by_hand.result()["mean_iou"])
    assert results["pixel_accuracy"] == float(by_hand.result()["pixel_accuracy"])
    listed = model.evaluate(images, labels, batch_size=4, verbose=0)
    names = ("loss", "mean_accuracy", "mean_iou", "pixel_accuracy")
    assert listed == [results[name] for name in names]


def test_evaluate_images_of_different_sizes(compiled, records):
    model, by_hand = compiled(), gff.metrics.SegmentationMetrics(3)
    validation = evaluation_dataset(records)
    for image, label in validation:
        by_hand.update_state(label, model(image, training=False)["logits"])
    results = model.evaluate(validation, return_dict=True, verbose=0)
    assert results["mean_iou"] == float(by_hand.result()["mean_iou"])


def test_predict_is_the_call(compiled, images):
    model = compiled()
    called = model(images, training=False)
    predicted = model.predict(images, batch_size=3, verbose=0)
    assert set(predicted) == {"logits", "aux_logits"}
    for name, values in predicted.items():
        assert values.shape == (4, 25, 33, 3)
        np.testing.assert_allclose(values, called[name], atol=1e-5)
    on_batch = model.predict_on_batch(images[:2])
    np.testing.assert_allclose(on_batch["logits"], called["logits"][:2], atol=1e-5)


def test_steps_on_single_batches(compiled, images, labels):
    model, fitted = compiled(), compiled()
    outputs = model(images, training=True)
    expected = cross_entropy(outputs["logits"], labels)
    expected += 0.4 * cross_entropy(outputs["aux_logits"], labels)
    model = compiled()  # the call above moved the running statistics
    logs = model.train_on_batch(images, labels, return_dict=True)
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)
    assert logs["mean_iou"] == pytest.approx(mean_iou(outputs["logits"], labels), abs=1e-3)
    fitted.fit(images, labels, batch_size=4, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), fitted.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    tested = model.test_on_batch(images, labels, return_dict=True)
    assert tested["loss"] == pytest.approx(
        cross_entropy(model(images, training=False)["logits"], labels), rel=1e-5
    )


def test_keras_loss_and_metric_agree_with_ours(compiled, images, labels):
    keras_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    keras_metric = keras.metrics.MeanIoU(3, name="theirs", sparse_y_pred=False, ignore_class=255)
    model = compiled(loss=keras_loss, metrics=[keras_metric, gff.metrics.SegmentationMetrics(3)])
    assert np.isfinite(model.fit(images, labels, verbose=0).history["loss"][0])
    results = model.evaluate(images, labels, batch_size=4, return_dict=True, verbose=0)
    assert results["theirs"] == pytest.approx(results["mean_iou"], rel=1e-5)
    ours = cross_entropy(model(images, training=False)["logits"], labels)
    assert results["loss"] == pytest.approx(ours, rel=1e-5)


def test_weights_of_images_are_refused(compiled, images, labels):
    with pytest.raises(ValueError, match=r"SegmentationCrossEntropy\(class_weights=\[...\]\)"):
        compiled().fit(images, labels, class_weight={0: 1.0, 2: 5.0})


@pytest.mark.parametrize("aux_head", [True, False])
@pytest.mark.parametrize(
    "loss, shown",
    [
        ("sparse_categorical_crossentropy", "'sparse_categorical_crossentropy'"),
        (
            keras.losses.SparseCategoricalCrossentropy(ignore_class=255),
            r"SparseCategoricalCrossentropy\(from_logits=False\)",
        ),
    ],
    ids=["name", "object"],
)
def test_losses_on_probabilities_are_refused(compiled, images, labels, loss, shown, aux_head):
    model = compiled(loss=loss, aux_head=aux_head)
    for run in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=f"loss={shown} .*SegmentationCrossEntropy"):
            run(images, labels, verbose=0)


def test_a_function_as_loss_serves_without_auxiliary_head(compiled, images, labels):
    def squared(y_true, y_pred):
        return keras.ops.mean(keras.ops.square(y_pred))

    model = compiled(loss=squared, aux_head=False)
    expected = np.square(model(images, training=False)["logits"]).mean()
    assert model.evaluate(images, labels, verbose=0)[0] == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="cannot serve the auxiliary head"):
        compiled(loss=squared).fit(images, labels, verbose=0)


def test_callbacks_of_keras(compiled, images, labels, tmp_path):
    """All at once, as in a real run, on a learning rate so high that validation gets worse."""
    model = compiled(keras.optimizers.SGD(0.5))
    callbacks = keras.callbacks
    history = model.fit(
        images,
        labels,
        epochs=8,
        validation_data=(images, labels),
        callbacks=[
            callbacks.ReduceLROnPlateau("val_loss", factor=0.1, patience=1, min_delta=10.0),
            callbacks.EarlyStopping("val_loss", patience=4, min_delta=10.0),
            callbacks.ModelCheckpoint(
                tmp_path / "best.keras", monitor="val_mean_iou", mode="max", save_best_only=True
            ),
            callbacks.CSVLogger(tmp_path / "history.csv"),
            callbacks.TensorBoard(tmp_path / "tensorboard", update_freq=1),
            callbacks.TerminateOnNaN(),
        ],
        verbose=0,
    ).history
    epochs = len(history["loss"])
    assert epochs == 5  # one that counts as better than nothing, four that do not
    np.testing.assert_allclose(history["learning_rate"], [0.5, 0.5, 5e-2, 5e-3, 5e-4], rtol=1e-5)
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    for name in ("loss", "mean_iou", "val_loss", "val_mean_iou", "val_pixel_accuracy"):
        assert [float(row[name]) for row in rows] == pytest.approx(history[name], rel=1e-6)
    assert list((tmp_path / "tensorboard" / "validation").glob("events*"))
    best = keras.saving.load_model(tmp_path / "best.keras")
    again = best.evaluate(images, labels, return_dict=True, verbose=0)
    assert again["mean_iou"] == pytest.approx(max(history["val_mean_iou"]), abs=1e-4)


def test_early_stopping_restores_the_best_weights(compiled, images, labels):
    model = compiled(keras.optimizers.SGD(0.5))
    stop = keras.callbacks.EarlyStopping(
        "val_mean_iou", mode="max", patience=2, restore_best_weights=True
    )
    history = model.fit(
        images, labels, epochs=4, validation_data=(images, labels), callbacks=[stop], verbose=0
    ).history
    results = model.evaluate(images, labels, return_dict=True, verbose=0)
    assert results["mean_iou"] == pytest.approx(max(history["val_mean_iou"]), abs=1e-4)


def test_a_loaded_model_goes_on_training(compiled, images, labels, tmp_path):
    """Compiled model, optimizer and its state are in the file: two epochs are one and one."""
    straight, first = compiled(), compiled()
    fit = dict(batch_size=4, shuffle=False, verbose=0)
    straight.fit(images, labels, epochs=2, **fit)
    first.fit(images, labels, **fit)
    first.save(tmp_path / "m.keras")
    second = keras.saving.load_model(tmp_path / "m.keras")
    second.fit(images, labels, **fit)
    for a, b in zip(second.get_weights(), straight.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
