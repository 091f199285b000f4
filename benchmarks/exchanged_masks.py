"""How well does the checker find masks that were exchanged? On records that are known to be right.

    python benchmarks/exchanged_masks.py DIR [--seed SEED] [--only CLASS]

For each split: `clean` is the split as it is; otherwise five pairs of images exchange their masks,
100 times over: `random` pairs, or `next` to each other by their ids (in a video the hardest case).
`--only` makes masks of a single class and background, images without it left out.
"""

import io

import numpy as np
import tensorflow_datasets as tfds
import tyro
from PIL import Image

from tfrecords_tools.fit import CELLS, compare_fits, sketch

TRIALS, PAIRS = 100, 5


def read_sketches(builder, split, only):
    """Return the sketches (N, bytes) and sizes of a split, in the order of its ids."""
    skip = dict.fromkeys(("image", "label"), tfds.decode.SkipDecoding())
    found = {}
    for example in tfds.as_numpy(builder.as_dataset(split, decoders=skip)):
        image = np.asarray(Image.open(io.BytesIO(example["image"])).convert("RGB"))
        mask = np.asarray(Image.open(io.BytesIO(example["label"])))
        if only is not None:
            mask = (mask == only).astype(np.uint8)
            if not mask.any():
                continue
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
        fits = compare_fits(exchange(sketches, one, other), sizes)
        for image in fits.suspicious():
            hits += image in partner
            named += partner.get(image) == fits.rival[image]
            accused += image not in partner
    exchanged = 2 * PAIRS * TRIALS
    return hits / exchanged, named / max(1, hits), accused / (TRIALS * len(sizes) - exchanged)


def main(records: tyro.conf.Positional[str], seed: int = 0, only: int | None = None):
    builder = tfds.builder_from_directory(records)
    rng = np.random.default_rng(seed)
    for split in builder.info.splits:
        sketches, sizes = read_sketches(builder, split, only)
        count = len(sizes)
        if count < 4 * PAIRS:
            print(f"{split}: {count} images are too few")
            continue
        fits = compare_fits(sketches, sizes)
        accused = len(fits.suspicious()) / count
        print(f"{split}: {count} images, typical fit {fits.typical:.1f}, {accused:.1%} accused")
        pairs = np.arange(count // 2 * 2).reshape(-1, 2)

        def random_pairs(count=count):
            return np.split(rng.choice(count, 2 * PAIRS, replace=False), 2)

        def next_pairs(pairs=pairs):
            return rng.choice(pairs, PAIRS, replace=False).T

        for name, draw in (("random", random_pairs), ("next", next_pairs)):
            hits, named, accused = measure(sketches, sizes, draw)
            print(f"  {name}: {hits:.1%} found, {named:.1%} with their mask, {accused:.1%} accused")


if __name__ == "__main__":
    tyro.cli(main)
