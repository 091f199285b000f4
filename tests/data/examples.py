"""Data sets whose pixels tell which example they are."""

import hashlib
import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from gff_keras.data import Augmentation

FEATURES = tfds.features.FeaturesDict(
    {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
        "id": tfds.features.Text(),
    }
)
SIZE = (97, 131)
WHOLE = Augmentation(SIZE, scale=(1.0, 1.0), flip=False, color_jitter=0.0)
RANDOM = Augmentation((48, 40))
COUNT = 11
VAL_SIZES = [(40 + 9 * i, 60 - 7 * i) for i in range(5)]


def write(folder, splits, features=FEATURES, shards=1):
    keyed = {name: enumerate(examples) for name, examples in splits.items()}
    options = dict(name="tiny", version="1.0.0", data_dir=folder, disable_shuffling=True)
    builder = tfds.dataset_builders.AdhocBuilder(features=features, split_datasets=keyed, **options)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=shards))
    return str(builder.data_dir)


def encode(array, kind="PNG"):
    file = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(file, kind, quality=98, subsampling=0)  # PNG ignores both
    return io.BytesIO(file.getvalue())


def example(index, size=SIZE):
    """Image and mask: channel 0 is the index times 10, the others and the mask are gradients."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    image = np.stack([np.full(size, index * 10 + 5), rows + 20, columns + 30], -1)
    label = np.where(rows < 2, 255, (rows // 3 + columns // 5 + index) % 12).astype(np.uint8)
    return image.astype(np.uint8), label


def record(index, size=SIZE, kind="PNG"):
    image, label = example(index, size)
    return {"image": encode(image, kind), "label": encode(label), "id": f"name {index}"}


def indices(batch):
    """Which example each image of an unjittered batch is."""
    return [int(image[..., 0].max()) // 10 for image in batch[0].numpy()]


def in_order(batches):
    return sum(map(indices, batches), [])


def digest(batches):
    state = hashlib.sha256()
    for image, label in batches:
        state.update(image.numpy().tobytes() + label.numpy().tobytes())
    return state.hexdigest()


def write_tiny(folder):
    """Records of `COUNT` train and five val examples, one of them a JPEG."""
    splits = {
        "train": [record(i) for i in range(COUNT)],
        "val": [record(i, VAL_SIZES[i], "JPEG" if i == 2 else "PNG") for i in range(5)],
    }
    return write(folder, splits, shards=3)
