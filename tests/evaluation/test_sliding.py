"""Windows, scales and flip against full float canvases in NumPy, and what is held in memory."""

import tracemalloc

import keras
import numpy as np
import pytest
import tensorflow as tf

from gff_keras.evaluation.prediction import Predictor
from gff_keras.evaluation.resizing import resized
from gff_keras.evaluation.sliding import bands, window_origins
from gff_keras.evaluation.views import PAPER_SCALES, Views
from gff_keras.layers import resize_bilinear


@pytest.fixture(scope="module")
def network(tiny_model):
    """Random weights that tell pixels apart: logits of standard deviation 2."""
    keras.utils.set_random_seed(3)
    network = tiny_model(4, aux_head=False)
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), "uint8")
    kernel = network.get_layer("classifier").kernel
    kernel.assign(kernel * (2 / np.std(network(image, training=False)["logits"])))
    return network


@pytest.fixture(scope="module")
def segment(network):
    """The network as one function from images to logits of their size, traced once."""
    segmenter = network.segmenter()
    signature = [tf.TensorSpec((None, None, None, 3), "float32")]
    return tf.function(lambda x: segmenter(x, training=False), input_signature=signature)


@pytest.fixture(scope="module")
def forward(network):
    return Predictor(network)._forward


@pytest.fixture
def make(network, forward):
    """Function that makes a predictor without another trace of the network."""

    def make(views, image_size=None):
        predictor = Predictor(network, image_size, views)
        predictor._forward = forward
        return predictor

    return make


def canvas_logits(segment, image, size, views):
    """Logits (H, W, classes) of one scale: every window alone, added up at every pixel."""
    seen = resized(image, size)[0]
    crop = views.crop_size or size
    height, width = (max(n, c) for n, c in zip(size, crop, strict=True))
    padded = np.zeros((height, width, 3), "float32")
    padded[: size[0], : size[1]] = seen
    total, count = np.zeros((height, width, 4)), np.zeros((height, width, 1))
    for y in window_origins(height, crop[0], views.stride):
        for x in window_origins(width, crop[1], views.stride):
            window = np.s_[y : y + crop[0], x : x + crop[1]]
            total[window] += segment(padded[window][None])[0]
            count[window] += 1
    return (total / count)[: size[0], : size[1]]


def canvas_probabilities(segment, image, views, image_size=None):
    """The definition in docs/evaluation.md, literally."""
    result = []
    for scale in views.scales:
        size = tuple(max(1, round(n * scale)) for n in image_size or image.shape[:2])
        for step in (1, -1)[: 1 + views.flip]:
            logits = canvas_logits(segment, image[:, ::step], size, views)[:, ::step]
            logits = np.asarray(resize_bilinear(logits[None].astype("float32"), image.shape[:2]))[0]
            e = np.exp(logits - logits.max(-1, keepdims=True))
            result.append(e / e.sum(-1, keepdims=True))
    return np.mean(result, 0)


CASES = [
    ((50, 31), Views("sliding", (33, 24), stride=0.5, scales=(0.75, 1, 1.75), flip=True), None),
    ((45, 71), Views("sliding", (32, 40), flip=True), None),
    ((20, 61), Views("sliding", (33, 41), scales=(0.5, 1.5)), None),  # smaller than the crop
    ((9, 8), Views("sliding", (24, 24), scales=PAPER_SCALES, flip=True), None),
    ((70, 90), Views("sliding", (24, 32), stride=1.0, scales=(0.6,)), (41, 63)),
    ((33, 47), Views(scales=(0.75, 1.25), flip=True), None),
    ((33, 47), Views(flip=True), (20, 30)),
    ((130, 30), Views("sliding", (33, 33), stride=0.3), None),
]


@pytest.mark.parametrize("size, views, image_size", CASES)
def test_bands_are_the_canvas(rng, make, segment, size, views, image_size):
    image = rng.integers(0, 256, (*size, 3), "uint8")
    predictor = make(views, image_size)
    expected = canvas_probabilities(segment, image, views, image_size)
    found = predictor.probabilities(image)
    assert (found.shape, found.dtype) == ((*size, 4), np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected.std() > 0.05  # these are no uniform probabilities
    logits = predictor.logits(image)
    e = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose(e / e.sum(-1, keepdims=True), expected, atol=1e-5)
    classes = predictor.classes(image)
    assert (classes.shape, classes.dtype) == (size, np.uint8)
    first, second = np.sort(expected, -1)[..., :-3:-1].transpose(2, 0, 1)
    decided = first - second > 1e-4
    np.testing.assert_array_equal(classes[decided], expected.argmax(-1)[decided])


def test_single_view_gives_logits(rng, network, segment):
    image, views = rng.integers(0, 256, (50, 61, 3), "uint8"), Views("sliding", (32, 40))
    expected = canvas_logits(segment, image, (50, 61), views)
    found = Predictor(network, views=views).logits(image)  # traced for windows of one size
    np.testing.assert_allclose(found, expected, atol=3e-4)  # weights this large magnify rounding


def test_a_mirrored_image_has_the_mirrored_result(rng, make):
    image = rng.integers(0, 256, (40, 51, 3), "uint8")
    predictor = make(Views("sliding", (24, 32), scales=(1, 1.5), flip=True))
    mirrored = predictor.probabilities(image[:, ::-1])
    np.testing.assert_allclose(mirrored[:, ::-1], predictor.probabilities(image), atol=1e-6)


@pytest.mark.parametrize("window_batch", [1, 3, 100])
def test_batches_change_no_number(rng, make, forward, window_batch):
    image = rng.integers(0, 256, (50, 61, 3), "uint8")
    views = {"mode": "sliding", "crop_size": (24, 32), "flip": True}
    batches = []
    predictor = make(Views(**views, window_batch=window_batch))
    predictor._forward = lambda x: batches.append(len(x)) or forward(x)
    expected = make(Views(**views)).probabilities(image)
    np.testing.assert_allclose(predictor.probabilities(image), expected, atol=1e-6)
    assert max(batches) == min(window_batch, 2 * 3)
    assert sum(batches) == 3 * 2 * 3  # rows, mirrored, columns


@pytest.mark.parametrize("size, crop, stride, origins", [
    (10, 10, 2 / 3, [0]),
    (11, 10, 2 / 3, [0, 1]),
    (2048, 864, 2 / 3, [0, 576, 1152, 1184]),
    (1024, 864, 2 / 3, [0, 160]),
    (30, 10, 1, [0, 10, 20]),
    (12, 10, 0.01, [0, 1, 2]),
])  # fmt: skip
def test_window_origins(size, crop, stride, origins):
    assert window_origins(size, crop, stride) == origins


def test_memory_does_not_grow_with_the_height():
    """A canvas of 4096x64x50 floats has 52 MB; the windows of a row, 0.4 MB."""

    def forward(images):  # classifier's logits, any
        pooled = images[:, ::4, ::4, :1]
        return pooled * np.linspace(-1, 1, 50, dtype="float32")

    views = Views("sliding", (64, 64), scales=(0.75, 1.5), flip=True)
    peaks = []
    for height in (1024, 4096):
        image = np.random.default_rng(0).integers(0, 256, (height, 64, 3), "uint8")
        for start, stop, scores in bands(forward, image, views):  # compiles its maps
            assert scores.shape == (stop - start, 64, 50)
        tracemalloc.start()
        for _, stop, _ in bands(forward, image, views):
            last = stop
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert last == height
    assert peaks[1] < 10e6
    assert peaks[1] < 1.05 * peaks[0]


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"mode": "tiles"}, "mode='tiles' is unknown; choose one of whole, sliding"),
        ({"mode": "sliding", "crop_size": (33,)}, "crop_size=(33,) is not (height, width)"),
        ({"mode": "sliding", "crop_size": (0, 3)}, "crop_size=(0, 3) is not (height, width)"),
        ({"crop_size": (33, 33)}, "is for windows; set mode='sliding'"),
        ({"stride": 0}, "stride=0 must be in (0, 1]"),
        ({"stride": float("nan")}, "stride=nan must be in (0, 1]"),
        ({"scales": ()}, "scales=() must be positive numbers"),
        ({"scales": (1, -1)}, "scales=(1, -1) must be positive numbers"),
        ({"scales": (float("inf"),)}, "must be positive numbers"),
        ({"window_batch": 0}, "window_batch=0 must be at least 1"),
    ],
)
def test_values_out_of_range(arguments, words):
    with pytest.raises(ValueError) as error:
        Views(**arguments)
    assert words in str(error.value)


def test_windows_need_a_size(network):
    with pytest.raises(ValueError, match="needs the crop_size"):
        Predictor(network, views=Views("sliding"))
