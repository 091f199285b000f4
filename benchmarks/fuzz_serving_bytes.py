"""Does `serving_bytes` survive what a stranger may send? Counts errors, right and wrong answers.

    python benchmarks/fuzz_serving_bytes.py [--count 10000] [--seed 0] [--passes 1]

Every string goes through an exported SavedModel (a tiny network of random weights: its decoding is
that of any other). The exit status is 0 if

- every string is refused with InvalidArgument or has a right answer, a valid image the latter: that
  of the Keras model on the pixels that Pillow reads (`gff_keras.evaluation.images.read_image`);
- where Pillow refuses a file that is answered, the answer is right for the file before it was
  damaged, or with its checksums set right, or without the chunks that have wrong ones: Pillow also
  checks what does not concern pixels;
- another answer has a JPEG that is no complete image alone (`lacks_scans`), and is then that of the
  Keras model on the pixels that TensorFlow's decoder reads;
- after the strings a fixed set of valid images gets the answers that it got before, to the bit.

More passes send the same strings again: memory that grows in the first alone is no leak.
"""

import argparse
import collections
import resource
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from hostile_images import lacks_scans, repaired, strings, valid_images
from PIL import Image, ImageOps

import gff_keras as gff
from gff_keras.evaluation.images import read_image
from gff_keras.evaluation.prediction import Predictor

MAX_PIXELS = 256 * 256


def fuzz(signature, predictor, count, seed, report=lambda *_: None):
    """Send strings to `serving_bytes`.

    Returns:
        (counts, wrong): a counter of (kind, outcome), and the strings with wrong answers.
    """
    counts: collections.Counter = collections.Counter()
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        for i, (kind, data, origin) in enumerate(strings(count, seed)):
            outcome = judge(signature, predictor, data, origin, path)
            counts[kind, outcome] += 1
            if outcome == "wrong":
                wrong.append(data)
            report(i + 1)
    return counts, wrong


def judge(signature, predictor, data, origin, path):
    """Send one string; return what came of it."""
    try:
        answer = signature(images=tf.constant([data]))
    except tf.errors.InvalidArgumentError:
        return "refused" if data != origin else "wrong"
    image = pillow(data, path)
    if image is None:  # Pillow also checks what does not concern pixels
        others = [pillow(file, path) for file in (origin, *repaired(data)) if file]
        same = any(agrees(answer, predictor, other) for other in others if other is not None)
        return "right, Pillow refuses" if same else "wrong"
    if agrees(answer, predictor, image):
        return "right"
    if data[:2] == b"\xff\xd8":
        decoded = tensorflow(path)
        if decoded.shape == image.shape and agrees(answer, predictor, decoded):
            if np.abs(decoded.astype(int) - image).max() == 1:
                return "right within a grey level"  # CMYK, rounded otherwise on its way to RGB
            if lacks_scans(data):
                return "lacks scans, smoothed otherwise"
    return "wrong"


class Timed:
    """A function that remembers the longest time that it took."""

    def __init__(self, function):
        self.function, self.seconds = function, 0.0

    def __call__(self, **inputs):
        start = time.perf_counter()
        try:
            return self.function(**inputs)
        finally:
            self.seconds = max(self.seconds, time.perf_counter() - start)


def pillow(data, path):
    """Pixels that Pillow reads, None if it refuses."""
    path.write_bytes(data)
    try:
        return read_image(path)
    except ValueError:
        return None


def tensorflow(path):
    """Pixels of a JPEG that TensorFlow's own decoder reads, turned upright by Pillow."""
    image = Image.fromarray(
        tf.io.decode_jpeg(path.read_bytes(), 3, dct_method="INTEGER_ACCURATE").numpy()
    )
    with Image.open(path) as file:
        image.info["exif"] = file.info.get("exif", b"")
    return np.asarray(ImageOps.exif_transpose(image))


def agrees(answer, predictor, image):
    if tuple(answer["sizes"].numpy()[0]) != image.shape[:2]:
        return False
    logits = predictor.logits(image)
    different = (answer["classes"].numpy()[0] != logits.argmax(-1)).sum()
    confidence = 1 / np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)
    error = np.abs(answer["confidence"].numpy()[0] - confidence).max()
    return different <= max(1, 1e-4 * image.shape[0] * image.shape[1]) and error < 1e-4


def answers(signature, files):
    """Bytes of the answer to each file."""
    found = (signature(images=tf.constant([data])) for data in files)
    return [{name: x.numpy().tobytes() for name, x in answer.items()} for answer in found]


def tiny_network():
    """A network of four convolutions, small enough for ten thousand images."""
    keras.utils.set_random_seed(3)
    images = x = keras.Input((None, None, 3))
    features = []
    for filters, strides in ((8, 2), (12, 2), (16, 2), (20, 1)):
        x = keras.layers.ReLU()(gff.layers.Conv2D(filters, 3, strides=strides)(x))
        features.append(x)
    return gff.GFFNet(keras.Model(images, features[1:]), 3, filters=8, aux_head=False)


def megabytes():
    """The most memory that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident():
    """The memory that this process has, in megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--passes", type=int, default=1)
    options = parser.parse_args()
    network = tiny_network()
    with tempfile.TemporaryDirectory() as folder:
        version = gff.export.saved_model(network, Path(folder) / "1", max_pixels=MAX_PIXELS)
        served = tf.saved_model.load(str(version))
    signature, predictor = served.signatures["serving_bytes"], Predictor(network)
    probe = list(valid_images(np.random.default_rng(99)).values())
    before = answers(signature, probe)
    memory = [f"{resident():.0f} MB before, peak {megabytes():.0f} MB"]
    timed = Timed(signature)
    for i in range(options.passes):
        bar = keras.utils.Progbar(options.count, unit_name="string", interval=10)
        counts, wrong = fuzz(timed, predictor, options.count, options.seed, bar.update)
        memory.append(f"{resident():.0f} MB after pass {i + 1}, peak {megabytes():.0f} MB")
    outcomes = sorted({outcome for _, outcome in counts})
    print("\n| kind | " + " | ".join(outcomes) + " |\n|" + "---|" * (len(outcomes) + 1))
    for kind in sorted({kind for kind, _ in counts}):
        print(f"| {kind} | " + " | ".join(str(counts[kind, x]) for x in outcomes) + " |")
    totals = [str(sum(n for (_, x), n in counts.items() if x == outcome)) for outcome in outcomes]
    print("| all | " + " | ".join(totals) + " |")
    same = answers(signature, probe) == before
    print(f"\nvalid images afterwards: {'the same answers' if same else 'OTHER ANSWERS'}")
    print("\n".join(["memory:", *memory]))
    print(f"longest answer: {timed.seconds:.1f} s")
    for i, data in enumerate(wrong[:20]):
        Path(f"wrong_{i}.bin").write_bytes(data)
    return int(bool(wrong) or not same)


if __name__ == "__main__":
    raise SystemExit(main())
