"""The transforms of `gff_keras.data.Augmentation` in PyTorch's DataLoader, Pillow and NumPy.

`input_pipeline.py` runs this in a process of its own, with any Python that has the three.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from torch import from_numpy
from torch.utils.data import DataLoader, Dataset

SCALE, JITTER, IGNORE_LABEL = (0.75, 2.0), 10, 255


class Pairs(Dataset):
    """Image and mask files, augmented: scale, crop, flip, colour jitter, padding."""

    def __init__(self, files, crop, image_size, crop_first):
        self.files, self.crop, self.image_size = files, crop, image_size
        self.crop_first = crop_first

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        rng = np.random.default_rng()
        image, mask = (Image.open(path) for path in self.files[index])
        image = image.convert("RGB")
        if self.image_size:
            size = self.image_size[::-1]
            image = image.resize(size, Image.Resampling.BILINEAR)
            mask = mask.resize(size, Image.Resampling.NEAREST)
        cut = self.window if self.crop_first else self.whole
        image, mask = cut(image, mask, rng.uniform(*SCALE), rng)
        image, mask = np.asarray(image), np.asarray(mask)  # (h, w, 3), (h, w)
        if rng.random() < 0.5:
            image, mask = image[:, ::-1], mask[:, ::-1]
        shifts = np.rint(rng.uniform(-JITTER, JITTER, 3)).astype(np.int16)
        image = np.clip(image + shifts, 0, 255).astype(np.uint8)
        return self.padded(image, mask, rng)

    def whole(self, image, mask, factor, rng):
        """Resize everything, as most training scripts do, then crop."""
        width, height = size = [round(n * factor) for n in image.size]
        image = image.resize(size, Image.Resampling.BILINEAR)
        mask = mask.resize(size, Image.Resampling.NEAREST)
        top = rng.integers(max(height - self.crop[0], 0) + 1)
        left = rng.integers(max(width - self.crop[1], 0) + 1)
        box = left, top, min(left + self.crop[1], width), min(top + self.crop[0], height)
        return image.crop(box), mask.crop(box)

    def window(self, image, mask, factor, rng):
        """Resize the crop's window alone."""
        box, size = [], []
        for total, crop in zip(image.size, self.crop[::-1], strict=True):
            length = min(round(crop / factor), total)
            start = rng.integers(total - length + 1)
            box.append((start, start + length))
            size.append(min(round(length * factor), crop))
        (left, right), (top, bottom) = box
        image = image.crop((left, top, right, bottom))
        mask = mask.crop((left, top, right, bottom))
        image = image.resize(size, Image.Resampling.BILINEAR)
        return image, mask.resize(size, Image.Resampling.NEAREST)

    def padded(self, image, mask, rng):
        """Put what is smaller than the crop anywhere into it."""
        height, width = mask.shape
        top = rng.integers(self.crop[0] - height + 1)
        left = rng.integers(self.crop[1] - width + 1)
        full = np.zeros((*self.crop, 3), np.uint8)
        full_mask = np.full(self.crop, IGNORE_LABEL, np.uint8)
        full[top : top + height, left : left + width] = image
        full_mask[top : top + height, left : left + width] = mask
        return from_numpy(full), from_numpy(full_mask)


def cpu_seconds(worker):
    """User and system time of a process."""
    fields = Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def peak_memory(worker):
    """Largest resident size of a process, MiB."""
    status = Path(f"/proc/{worker}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


def main():
    job = json.loads(sys.argv[1])
    pairs = Pairs(
        json.loads(Path(job["files"]).read_text()),
        tuple(job["crop"]),
        job["image_size"],
        job["kind"].endswith("crop, then resize"),
    )
    loader = DataLoader(pairs, job["batch"], shuffle=True, drop_last=True,
                        num_workers=job["workers"], persistent_workers=True)  # fmt: skip

    def endless():
        while True:
            yield from loader

    batches = endless()
    for _ in range(5):
        next(batches)
    processes = ["self", *(worker.pid for worker in loader._iterator._workers)]
    steps, start = 0, time.perf_counter()
    before = sum(map(cpu_seconds, processes))
    while time.perf_counter() - start < job["seconds"]:
        next(batches)
        steps += 1
    wall = time.perf_counter() - start
    cpu, count = sum(map(cpu_seconds, processes)) - before, steps * job["batch"]
    memory = sum(map(peak_memory, processes))
    print(json.dumps(dict(rate=count / wall, cpu=1000 * cpu / count, memory=memory)))


if __name__ == "__main__":
    main()
