"""The examples of a split, one by one, under a progress bar."""

import itertools

import keras

from gff_keras.data import evaluation_dataset, num_examples


def examples(data, split, max_images=None, verbose=True):
    """Yield `(id, image, label)` of a split in the order of the records.

    Args:
        data: folder of records.
        split: name of the split.
        max_images: stop after so many; all if None.
        verbose: show a progress bar.

    Yields:
        Text, (H, W, 3) uint8 and (H, W) uint8 with 255 = ignore.

    Raises:
        FileNotFoundError, ValueError: no such records or split, or `max_images` is not positive.
    """
    if max_images is not None and max_images < 1:
        raise ValueError(f"max_images={max_images} must be positive.")
    count = num_examples(data, split)
    if max_images is not None:
        count = min(count, max_images)
    bar = keras.utils.Progbar(count, unit_name="image", verbose=int(verbose))
    dataset = evaluation_dataset(data, split, with_ids=True)
    for image, label, name in itertools.islice(dataset, count):
        yield name.numpy()[0].decode(), image.numpy()[0], label.numpy()[0]
        bar.add(1)
