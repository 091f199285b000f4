"""Frozen stages and frozen batch normalisation: what stays, what moves, what a file keeps."""

import keras
import numpy as np
import pytest

import gff_keras as gff
from gff_keras import backbones
from gff_keras.training.freezing import freeze_batch_norm, freeze_stages

BLOCKS = {"resnet18": 8, "resnet50": 16}


@pytest.fixture
def batch(rng):
    labels = rng.integers(0, 3, (2, 33, 41))
    return rng.integers(0, 256, (2, 33, 41, 3), "uint8"), labels.astype("uint8")


@pytest.fixture(scope="module")
def resnet_model():
    """A GFFNet on ResNet-18 whose normalisation has statistics other than 0 and 1."""
    keras.utils.set_random_seed(0)
    model = gff.GFFNet("resnet18", 3, filters=8, dropout=0.0, output_stride=32)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name == "moving_mean":
            weight.assign(rng.normal(0, 0.1, weight.shape))
        if weight.name == "moving_variance":
            weight.assign(rng.uniform(0.5, 2, weight.shape))
    return model


@pytest.fixture
def model(resnet_model):
    """The same numbers and nothing frozen, for every test."""
    weights = resnet_model.get_weights()
    yield resnet_model
    resnet_model.trainable = False  # Keras does nothing where the value is the same
    resnet_model.trainable = True
    resnet_model.set_weights(weights)


def train_on(model, batch, steps=1, **options):
    model.compile(gff.optimizers.SGD(0.05, **options), gff.losses.SegmentationCrossEntropy())
    for _ in range(steps):
        model.train_on_batch(*batch)


def changed(model, before):
    """Paths of the weights that are not what they were."""
    pairs = zip(model.weights, before, strict=True)
    return {w.path for w, old in pairs if not np.array_equal(w.numpy(), old)}


def learns(weight):
    """Whether training moves it: all but mean and deviation of the images."""
    return not weight.path.startswith("normalize/")


def stage_of(path):
    """1..5 for weights of the backbone's stages, 6 for the rest of the network."""
    if path.startswith("conv1_"):
        return 1
    return int(path.split("_")[2]) + 2 if path.startswith("v2_stack_") else 6


@pytest.mark.parametrize("stages", [0, 1, 3, 5])
def test_frozen_stages_stay_and_the_others_move(model, batch, eager, stages):
    freeze_stages(model.backbone, stages)
    before = model.get_weights()
    train_on(model, batch)
    moved = changed(model, before)
    assert {stage_of(path) for path in moved} == set(range(stages + 1, 7))
    assert moved == {w.path for w in model.weights if learns(w) and stage_of(w.path) > stages}


@pytest.mark.parametrize("part", ["backbone", "all"])
def test_frozen_batch_norm_uses_running_statistics(model, batch, eager, part):
    frozen = model if part == "all" else model.backbone
    images = batch[0]
    batch_statistics = model.backbone(images / 255.0, training=True)
    expected = [x.numpy() for x in model.backbone(images / 255.0, training=False)]
    assert np.abs(batch_statistics[-1] - expected[-1]).max() > 1e-2
    freeze_batch_norm(frozen)
    for x, y in zip(model.backbone(images / 255.0, training=True), expected, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)
    norms = {"gamma", "beta", "moving_mean", "moving_variance"}
    inside = {w.path for w in frozen.weights}
    before = model.get_weights()
    train_on(model, batch)
    assert changed(model, before) == {
        w.path for w in model.weights if learns(w) and not (w.name in norms and w.path in inside)
    }


def test_two_batches_of_two_are_one_of_four(model, rng, eager):
    """Where normalisation does not see the batch, and both have as many labelled pixels."""
    freeze_batch_norm(model)
    start = model.get_weights()
    images = rng.integers(0, 256, (4, 33, 41, 3), "uint8")
    labels = rng.integers(0, 3, (4, 33, 41), "uint8")
    labels[:, :7] = 255
    train_on(model, (images, labels), steps=1, global_clipnorm=0.5)
    whole = model.get_weights()
    model.set_weights(start)
    options = dict(gradient_accumulation_steps=2, global_clipnorm=0.5)
    model.compile(gff.optimizers.SGD(0.05, **options), gff.losses.SegmentationCrossEntropy())
    for half in (slice(0, 2), slice(2, 4)):
        model.train_on_batch(images[half], labels[half])
    for a, b in zip(model.get_weights(), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert max(np.abs(a - b).max() for a, b in zip(whole, start, strict=True)) > 1e-4


def test_a_saved_model_stays_frozen_and_goes_on_alike(tiny_model, batch, tmp_path, eager):
    model = tiny_model(dropout=0.0)
    freeze_batch_norm(model)
    model.backbone.layers[1].trainable = False
    model.get_layer("gff").trainable = False
    train_on(model, batch, steps=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    trained = [w.shape for w in model.trainable_weights]
    assert [w.shape for w in loaded.trainable_weights] == trained
    assert len(trained) < sum(w.name in ("kernel", "bias") for w in model.weights)
    for a, b in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    for m in (model, loaded):
        m.train_on_batch(*batch)
    for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [*BLOCKS, "densenet121", pytest.param("wider_resnet38", marks=pytest.mark.slow)],
)
def test_every_layer_has_its_stage(name):
    backbone = backbones.build(name, 8)
    counts = []
    for stages in range(6):
        freeze_stages(backbone, stages)
        counts.append(sum(1 for layer in backbone.layers if layer.weights and not layer.trainable))
    assert counts[0] == 0 and (np.diff(counts) > 0).all()
    assert backbone.trainable_weights == []


def test_what_cannot_be_frozen_is_told(tiny_model):
    with pytest.raises(ValueError, match="frozen_stages=6 is not one of 0 to 5"):
        freeze_stages(backbones.resnet("resnet18", 8), 6)
    model = tiny_model()
    with pytest.raises(ValueError, match="frozen_stages=2 needs a backbone of this project"):
        freeze_stages(model.backbone, 2)
    assert model.backbone.trainable_weights
