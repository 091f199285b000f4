"""How well does the checker find masks that were exchanged? On records that are known to be right.

    python benchmarks/exchanged_masks.py DIR [SEED]

For each split: `clean` is the split as it is; otherwise five pairs of images exchange their masks,
100 times over: `random` pairs, or `next` to each other by their ids (in a video the hardest case).
"""

import io
import sys

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tfrecords_tools.fit import CELLS, LEAST_COMPARED, SUSPICIOUS, find_misfits, sketch

TRIALS, PAIRS = 100, 5


def read_sketches(builder, split):
    """Return the sketches (N, bytes) and sizes of a split, in the order of its ids."""
    skip = dict.fromkeys(("image", "label"), tfds.decode.SkipDecoding())
    found = {}
    for example in tfds.as_numpy(builder.as_dataset(split, decoders=skip)):
        image = np.asarray(Image.open(io.BytesIO(example["image"])).convert("RGB"))
        mask = np.asarray(Image.open(io.BytesIO(example["label"])))
        row = np.frombuffer(sketch(image, mask), np.uint8)
        found[example["id"]] = row, image.shape
    rows, sizes = zip(*(found[key] for key in sorted(found)), strict=True)
    return np.stack(rows), sizes


def exchange(sketches, one, other):
    """Give the images `one` the masks of the images `other` and back."""
    changed = sketches.copy()
    changed[one, CELLS:], changed[other, CELLS:] = sketches[other, CELLS:], sketches[one, CELLS:]
    return changed


def measure(sketches, sizes, draw):
    """Return shares of exchanged masks found, of these named rightly, and of others accused."""
    hits = named = accused = 0
    for _ in range(TRIALS):
        one, other = draw()
        partner = dict(zip([*one, *other], [*other, *one], strict=True))
        for image, rival, _ in find_misfits(exchange(sketches, one, other), sizes):
            hits += image in partner
            named += partner.get(image) == rival
            accused += image not in partner
    exchanged = 2 * PAIRS * TRIALS
    return hits / exchanged, named / max(1, hits), accused / (TRIALS * len(sizes) - exchanged)


def main():
    builder = tfds.builder_from_directory(sys.argv[1])
    rng = np.random.default_rng(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    for split in builder.info.splits:
        sketches, sizes = read_sketches(builder, split)
        count = len(sizes)
        if count < max(LEAST_COMPARED, 4 * PAIRS):
            print(f"{split}: {count} images are too few")
            continue
        excess = [excess for *_, excess in find_misfits(sketches, sizes, threshold=-np.inf)]
        accused = sum(value > SUSPICIOUS for value in excess)
        print(f"{split}: {count} images, clean: {accused} accused, largest {max(excess):.2f}")

        def random_pairs(count=count):
            return np.split(rng.choice(count, 2 * PAIRS, replace=False), 2)

        def next_pairs(count=count):
            first = 2 * rng.choice(count // 2, PAIRS, replace=False)
            return first, first + 1

        for name, draw in (("random", random_pairs), ("next", next_pairs)):
            hits, named, accused = measure(sketches, sizes, draw)
            print(f"  {name}: {hits:.1%} found, {named:.1%} with their mask, {accused:.2%} accused")


if __name__ == "__main__":
    main()
