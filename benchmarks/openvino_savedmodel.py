"""How fast is an exported SavedModel in OpenVINO, and how equal are its answers?

    python benchmarks/openvino_savedmodel.py served/camvid/1 [served/camvid_fixed/1 ...]
        [--size 360x480] [--threads 2]

Times serving_default of float32 exports on one image, the median of 20 calls after 3, on as many
threads.
"""

import argparse
import time

import numpy as np
import openvino
import tensorflow as tf


def median_ms(call, repeats=20):
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def smooth_images(size):
    """One image of noise as coarse as a photograph."""
    small = np.random.default_rng(0).integers(0, 256, (1, *size, 3)).astype("float32")
    smooth = tf.nn.avg_pool2d(small, 15, 1, "SAME").numpy()
    return np.clip((smooth - 127.5) * 8 + 127.5, 0, 255).astype("uint8")


def measure(version, images, threads):
    """Print a row of the table for TensorFlow and for each width of OpenVINO."""
    served = tf.saved_model.load(version)
    signature, tensor = served.signatures["serving_default"], tf.constant(images)
    expected = signature(images=tensor)["classes"].numpy()
    reference = median_ms(lambda: signature(images=tensor)["classes"].numpy())
    print(f"| {version} | TensorFlow {tf.__version__} | {reference:.0f} | 1 | |")
    model = openvino.Core().read_model(version)
    for precision in ("f32", "bf16"):
        settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
        compiled = openvino.compile_model(model, "CPU", settings)
        equal = (compiled({"images": images})["classes"] == expected).mean()
        took = median_ms(lambda compiled=compiled: compiled({"images": images}))
        name = f"OpenVINO {openvino.__version__.split('-')[0]}, {precision}"
        print(f"| {version} | {name} | {took:.0f} | {reference / took:.2f} | {equal:.4%} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("versions", nargs="+")
    parser.add_argument("--size", default="360x480")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    images = smooth_images([int(n) for n in options.size.split("x")])
    print("| version | runtime | ms | times as fast | equal labels |\n|---|---|---|---|---|")
    for version in options.versions:
        measure(version, images, options.threads)


if __name__ == "__main__":
    main()
