"""What is exported answers as the Keras model does, at every size and in every option."""

import numpy as np
import pytest
import tensorflow as tf

import gff_keras as gff
from gff_keras.evaluation.prediction import Predictor
from gff_keras.export.precision import with_dtype
from gff_keras.export.saved_model import _label_table
from tests.export.conftest import LABELS, MAX_PIXELS, compare, traced

SIZES = [(33, 47), (64, 64), (8, 131), (1, 5), (97, 50)]


def images_of(rng, size, count=1):
    return rng.integers(0, 256, (count, *size, 3), "uint8")


@pytest.mark.parametrize("size", SIZES)
def test_answers_are_those_of_the_keras_model(rng, signatures, network, size):
    images = images_of(rng, size, 2)
    logits = network(images, training=False)["logits"].numpy()
    answer = signatures("serving_default", images=images)
    assert answer["classes"].dtype == np.uint8
    assert answer["confidence"].dtype == np.float32
    compare(answer, logits)
    compare(signatures("probabilities", images=images), logits)
    gates = signatures("gates", images=images)
    for i, gate in enumerate(network.gates(images), start=1):
        np.testing.assert_allclose(gates[f"gate_{i}"], gate[..., 0], atol=1e-5)


def test_the_size_of_the_network_is_that_of_predict(rng, network):
    predictor, served = Predictor(network, (24, 36)), traced(network, image_size=(24, 36))
    for size in ((33, 47), (97, 50), (8, 131)):
        image = images_of(rng, size)[0]
        compare(served("probabilities", images=image[None]), predictor.logits(image)[None])
    gates = served("gates", images=image[None])
    for i, gate in enumerate(predictor.gates(image), start=1):
        np.testing.assert_allclose(gates[f"gate_{i}"][0], gate, atol=1e-5)


def test_a_fixed_size(rng, network):
    served, images = traced(network, image_size=(33, 47), fixed=True), images_of(rng, (33, 47), 2)
    compare(served("serving_default", images=images), network(images)["logits"].numpy())
    with pytest.raises((ValueError, TypeError)):
        served("serving_default", images=images[:, :32])


@pytest.mark.slow
def test_files_have_any_size_where_pixels_have_one(rng, network):
    served, image = traced(network, image_size=(33, 47), fixed=True), images_of(rng, (50, 61))[0]
    png = tf.io.encode_png(image).numpy()
    logits = Predictor(network, (33, 47)).logits(image)
    compare(served("serving_bytes", images=[png]), logits[None])


@pytest.mark.usefixtures("eager")
def test_mirrored_images_are_averaged(rng, network):
    images = images_of(rng, (33, 47))

    def probabilities(x):
        return tf.nn.softmax(network(x, training=False)["logits"]).numpy()

    expected = (probabilities(images) + probabilities(images[:, :, ::-1])[:, :, ::-1]) / 2
    assert np.abs(expected - probabilities(images)).max() > 0.01
    served = traced(network, flip=True)
    given = served("probabilities", images=images)["probabilities"]
    np.testing.assert_allclose(given, expected, atol=1e-5)
    png = tf.io.encode_png(images[0]).numpy()
    answer = served("serving_bytes", images=[png])
    np.testing.assert_array_equal(answer["classes"], expected.argmax(-1))
    np.testing.assert_allclose(answer["confidence"], expected.max(-1), atol=1e-5)


@pytest.mark.usefixtures("eager")
def test_half_width(rng, network):
    """The network of float32 weights in bfloat16, and back."""
    images = images_of(rng, (33, 47))
    exact = network(images)["logits"].numpy()
    half = with_dtype(network, "mixed_bfloat16")
    assert (half.dtype_policy.name, network.dtype_policy.name) == ("mixed_bfloat16", "float32")
    assert half.backbone.layers[1].compute_dtype == "bfloat16"
    given = traced(half)("probabilities", images=images)["probabilities"]
    error = np.abs(given - tf.nn.softmax(exact))
    assert 1e-5 < error.max() < 0.5
    assert error.mean() < 0.01
    compare(traced(half)("serving_default", images=images), half(images)["logits"].numpy())
    again = with_dtype(half, "float32")
    np.testing.assert_array_equal(again(images)["logits"], exact)


@pytest.mark.usefixtures("eager")
def test_three_hundred_classes(rng, tiny_model):
    model = tiny_model(num_classes=300)
    bias = model.get_layer("classifier").bias
    bias.assign(np.where(np.arange(300) > 255, 5, 0))
    served = traced(model)
    images = images_of(rng, (20, 31))
    logits = model(images)["logits"].numpy()
    answer = served("serving_default", images=images)
    assert answer["classes"].dtype == np.uint16
    assert answer["classes"].max() > 255
    compare(answer, logits)
    encoded = [tf.io.encode_png(x).numpy() for x in (images[0], images[0, :9])]
    answer = served("serving_bytes", images=encoded)
    np.testing.assert_array_equal(answer["classes"][0], logits[0].argmax(-1))
    assert (answer["classes"][1, 9:] == 65535).all()
    assert served("labels", request=[0])["names"].shape == (1, 300)
    table = _label_table(model, None)
    assert (len(set(table["classes"])), len(table["palette"])) == (300, 300)


def test_no_gates_without_a_fusion(tiny_model):
    names = {"serving_default", "serving_bytes", "probabilities", "labels"}
    assert set(traced(tiny_model(fusion=None, dfp=False)).functions) == names


def test_names_and_colours_travel_along(exported, signatures):
    assert gff.data.LabelSet.load(exported / "assets" / "labels.json") == LABELS
    labels = signatures("labels", request=[0, 5])
    assert [name.decode() for name in labels["names"][1]] == list(LABELS.classes)
    assert labels["palette"][1].tolist() == [list(colour) for colour in LABELS.palette]
    assert labels["max_pixels"].tolist() == [MAX_PIXELS, MAX_PIXELS]


def test_only_what_is_served_is_saved(exported, network):
    """No auxiliary head, no Keras objects, no state of dropout or optimiser."""
    saved = tf.train.list_variables(str(exported / "variables" / "variables"))
    numbers = sum(np.prod(shape, dtype=int) for name, shape in saved if "VARIABLE_VALUE" in name)
    assert numbers == sum(np.prod(w.shape, dtype=int) for w in network.segmenter().weights)
    assert numbers < network.count_params()
    assert not (exported / "keras_metadata.pb").exists()
    graph = (exported / "saved_model.pb").read_bytes()
    assert b"_tf_keras" not in graph
    assert b"aux_" not in graph


def test_larger_images_are_refused(signatures):
    side = int(MAX_PIXELS**0.5)
    signatures("serving_default", images=np.zeros((1, side, side, 3), "uint8"))
    for height, width in ((side, side + 1), (1, 16385), (0, 5)):
        limit = f"the limit is {MAX_PIXELS}, and 16384 for a side"
        sentence = rf"failed: \[the images have {height} x {width} pixels; {limit}\]"
        with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
            signatures("serving_default", images=np.zeros((1, height, width, 3), "uint8"))


def test_batches_are_neither_empty_nor_large(signatures):
    """Images of one pixel too: each may be enlarged to the size of the network."""
    for count in (0, 9):
        for name in ("serving_default", "probabilities", "gates"):
            sentence = rf"failed: \[the batch has {count} images; give 1 to 8\]"
            with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
                signatures(name, images=np.zeros((count, 8, 8, 3), "uint8"))
        with pytest.raises(tf.errors.InvalidArgumentError, match="images; give 1 to 8"):
            signatures("serving_bytes", images=np.full(count, "no image", "S"))
        with pytest.raises(tf.errors.InvalidArgumentError, match="images; give 1 to 8"):
            signatures("labels", request=np.zeros(count, "int32"))
    assert len(signatures("labels", request=np.zeros(8, "int32"))["names"]) == 8


def test_batches_of_several_clients_are_one_batch(rng, signatures):
    """TF Serving joins requests along the first axis and splits the answers there."""
    first, second = images_of(rng, (33, 47), 1), images_of(rng, (33, 47), 3)
    for name in ("serving_default", "probabilities", "gates"):
        together = signatures(name, images=np.concatenate([first, second]))
        apart = [signatures(name, images=images) for images in (first, second)]
        for key, value in together.items():
            joined = np.concatenate([answer[key] for answer in apart])
            np.testing.assert_allclose(value, joined, atol=1e-5)
