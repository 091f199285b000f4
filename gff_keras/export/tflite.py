"""A GFFNet as a TFLite file for phones and boards, at one size of image.

Pixels go in as uint8 and the map of classes comes out as uint8: normalisation and argmax are
inside. The file carries class names and palette (`tflite_metadata`). All operators are TFLite's
own; XNNPACK, TFLite's fast path on CPUs, takes all of the network as one part, in float and int8.
"""

import itertools
import warnings
from pathlib import Path

import keras
import numpy as np

from gff_keras import layers
from gff_keras.data import evaluation_dataset, num_examples
from gff_keras.evaluation.resizing import check_size, resized
from gff_keras.export.checks import check_backend, check_model, labels_of, make_folder
from gff_keras.export.precision import with_dtype
from gff_keras.export.tflite_metadata import add_metadata

QUANTIZATIONS = ("none", "float16", "dynamic", "int8")
OUTPUTS = ("classes", "logits", "confidences")
CALIBRATION_IMAGES = 32
MAX_GIGABYTES = 2  # of logits, float32; devices have less


def tflite(
    model,
    path,
    size=(512, 512),
    *,
    quantize="none",
    calibration=None,
    labels=None,
    outputs=("classes",),
    overwrite=False,
):
    """Write a model as a TFLite file.

    Args:
        model: `GFFNet`.
        path: .tflite file to write.
        size: (height, width) of the images that the file takes, one at a time.
        quantize: "none" (float32), "float16" (weights, half the file), "dynamic" (int8 weights,
            activations quantised as they come), "int8" (all integer arithmetic, needs
            `calibration`).
        calibration: images that are like those to come, for "int8": a folder of records, whose
            training split is used, or an iterable of RGB images (H, W, 3), 0..255, of any size.
        labels: `LabelSet`; generic names and colours if None.
        outputs: "classes" (1, H, W) uint8; "logits", "confidences" (1, H, W, classes) float32. A
            file has them in the order given.
        overwrite: replace an existing file.

    Returns:
        The path.

    Raises:
        TypeError: the model is no `GFFNet`.
        ValueError: an argument is none of these, or Keras runs on another backend.
        FileExistsError: the file exists.
        OSError: its folder cannot be written to.
    """
    path = Path(path)
    _check(model, path, size, quantize, calibration, outputs, overwrite)
    labels = labels_of(model, labels)
    images = list(_calibration_images(calibration, size)) if quantize == "int8" else None
    make_folder(path.parent)  # before the long part
    model = foldable(model)
    for layer in model.layers:
        if isinstance(layer, layers.PyramidPooling):
            # XNNPACK has products with a constant on the left in float only.
            layer.transposed = quantize == "int8"
    content = _convert(model, tuple(size), quantize, images, outputs)
    _write(path, add_metadata(content, outputs, labels))
    return path


def foldable(model):
    """Return a float32 copy of `model` that the converter can make the most of.

    Batch normalisation after a sum of convolutions, which it does not fold, is folded here: its
    scale into the kernels, so that a bias is left.
    """
    copy = with_dtype(model, "float32")
    pairs = [pair for layer in copy.layers for pair in _sums_before_normalization(layer)]
    for conv, bn in pairs:
        scale = bn.gamma / keras.ops.sqrt(bn.moving_variance + bn.epsilon)
        conv.kernel.assign(conv.kernel * scale)
        bn.beta.assign(bn.beta - bn.moving_mean * scale)
        bn.moving_mean.assign(keras.ops.zeros_like(scale))
        bn.moving_variance.assign(keras.ops.full_like(scale, 1 - bn.epsilon))
        bn.gamma.assign(keras.ops.ones_like(scale))
    return copy


def _sums_before_normalization(layer):
    """Pairs (layer with a kernel, its normalisation) in a layer of the network."""
    if isinstance(layer, layers.PyramidPooling):
        return [(layer, layer.bn)]
    if isinstance(layer, layers.ASPP):
        return [(layer.join, layer.bn)]
    if isinstance(layer, layers.DeepLabDecoder):
        return [(layer.conv_1, layer.bn_1)]
    if isinstance(layer, layers.ConcatFusion):
        return [(layer.refine_1, layer.bn_1)]
    if isinstance(layer, layers.DenseFeaturePyramid):
        return list(zip(layer.convs, layer.bns, strict=True))
    return []


def _convert(model, size, quantize, images, outputs):
    import tensorflow as tf

    segmenter = model.segmenter()
    # The converter gives an integer network a uint8 input of its own, without a step to float.
    dtype = tf.float32 if quantize == "int8" else tf.uint8

    @tf.function(input_signature=[tf.TensorSpec((1, *size, 3), dtype, name="image")])
    def segment(image):
        logits = segmenter(image, training=False)
        return tuple(_output(logits, name) for name in outputs)

    function = segment.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], segment)
    if quantize != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.representative_dataset = lambda: _with_progress(images)
    with warnings.catch_warnings():  # the converter misses what an earlier one needed
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected")
        return converter.convert()


def _output(logits, name):
    import tensorflow as tf

    if name == "classes":
        return tf.cast(tf.argmax(logits, -1, output_type=tf.int32), tf.uint8)
    return tf.nn.softmax(logits) if name == "confidences" else tf.identity(logits)


def _calibration_images(calibration, size):
    """Yield uint8 images (1, *size, 3): up to `CALIBRATION_IMAGES`, spread over a split."""
    if isinstance(calibration, (str, Path)):
        step = max(1, num_examples(calibration, "train") // CALIBRATION_IMAGES)
        examples = evaluation_dataset(calibration, "train")
        calibration = (image.numpy()[0] for image, _ in itertools.islice(examples, 0, None, step))
    count = 0
    for image in itertools.islice(calibration, CALIBRATION_IMAGES):
        image = np.asarray(image)
        if image.ndim != 3 or image.shape[-1] != 3:
            raise ValueError(
                f"calibration gave an array of shape {image.shape}; give images (H, W, 3)."
            )
        image = np.round(resized(image, size)).clip(0, 255).astype("uint8")
        image[0, 0, 0], image[0, -1, -1] = 0, 255  # pixels are integers with the step 1, exactly
        yield image
        count += 1
    if not count:
        raise ValueError("calibration gave no image; give some dozens that are like those to come.")


def _with_progress(images):
    bar = keras.utils.Progbar(len(images), unit_name="calibration image")
    for image in images:
        yield [image.astype("float32")]
        bar.add(1)


def _check(model, path, size, quantize, calibration, outputs, overwrite):
    check_backend("TFLite files")
    check_model(model)
    if path.suffix != ".tflite":
        raise ValueError(f"{path} does not end in .tflite; name the file so.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name, or overwrite it (--overwrite).")
    check_size("size", size)
    if model.num_classes > 255:
        raise ValueError(
            f"the model has {model.num_classes} classes, but a TFLite file tells classes as bytes "
            "and labels have 255 colours; serve it as a SavedModel."
        )
    gigabytes = 4 * size[0] * size[1] * model.num_classes / 2**30
    if gigabytes > MAX_GIGABYTES:
        raise ValueError(
            f"size={size} makes logits of {gigabytes:.1f} GiB; choose a smaller size, images are "
            "resized to it."
        )
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"quantize={quantize!r} is unknown; choose one of {QUANTIZATIONS}.")
    if (calibration is None) == (quantize == "int8"):
        raise ValueError(
            "quantize='int8' measures activations on images: give calibration, a folder of records "
            "or images like those to come."
            if calibration is None
            else f"calibration is for quantize='int8', not {quantize!r}; leave it out."
        )
    if not outputs or len(set(outputs)) < len(outputs) or not set(outputs) <= set(OUTPUTS):
        raise ValueError(f"outputs={outputs} are not some of {OUTPUTS}, each once.")


def _write(path, content):
    """Write the file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
