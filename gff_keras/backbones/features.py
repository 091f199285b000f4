"""Keras models of other origin as backbones: their feature maps as a list, finest level first."""

import keras

_PROBE = (97, 131)  # a size that no stride divides, for models that take any


def as_backbone(model):
    """Return a model from images to a list of feature maps, finest level first.

    Args:
        model: `keras.Model` from images (B, H, W, 3) to several feature maps (B, H_l, W_l, C_l): a
            list or tuple, finest first, or a dictionary, which is sorted by size and then by name.
            Or a backbone of KerasHub or keras-cv, whose `pyramid_outputs` or
            `pyramid_level_inputs` name feature maps: those from stride 4 ("P2") on are taken.

    Returns:
        `model` itself if its output is such a list; otherwise a plain functional `keras.Model` of
        the same layers, weights and name.

    Raises:
        ValueError: no Keras model, no four-dimensional feature maps of known channels or only one,
            a list that does not run from fine to coarse, or sizes that are not those of the image
            divided by powers of two and rounded up.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"backbone={model!r} is neither a name nor a keras.Model.")
    if not getattr(model, "inputs", None):  # a class with a call method
        images = keras.Input((None, None, 3))
        model = keras.Model(images, model(images), name=model.name)
    if len(model.inputs) != 1:
        raise ValueError(
            f"backbone {model.name!r} has {len(model.inputs)} inputs; it must take one."
        )
    features = _pyramid(model) or model.output
    if isinstance(features, dict):
        names = sorted(features)
        maps = [features[name] for name in names]
        heights = [height for _, height, *_ in _shapes(model, maps)]
        order = sorted(range(len(maps)), key=lambda i: -heights[i])
        features = [maps[i] for i in order]
    elif isinstance(features, tuple):
        features = list(features)
    _check(model, features if isinstance(features, list) else [features])
    if features is model.output:
        return model
    return keras.Model(model.inputs[0], features, name=model.name)


def _pyramid(model):
    """Feature maps that a backbone of KerasHub or keras-cv names P2, P3, ...; None of others."""
    levels = getattr(model, "pyramid_outputs", None)
    if not levels:
        names = getattr(model, "pyramid_level_inputs", None) or {}
        levels = {level: model.get_layer(name).output for level, name in names.items()}
    order = sorted((int(level.removeprefix("P")), level) for level in levels)
    return [levels[name] for level, name in order if level >= 2] or None


def _image_size(model):
    known = model.inputs[0].shape[1:3]
    return tuple(n or probe for n, probe in zip(known, _PROBE, strict=True))


def _shapes(model, features):
    """Shapes of feature maps for one image, of the size that the model takes or of `_PROBE`."""
    channels = model.inputs[0].shape[-1]
    probe = keras.Model(model.inputs[0], features)
    return probe.compute_output_shape((1, *_image_size(model), channels))


def _check(model, features):
    name = f"backbone {model.name!r}"
    if len(features) < 2:
        raise ValueError(
            f"{name} gives one feature map, and a GFFNet fuses several; build "
            "keras.Model(inputs, [fine, .., coarse]) from outputs of its layers."
        )
    size, strides = _image_size(model), []
    for i, shape in enumerate(_shapes(model, features)):
        if len(shape) != 4 or shape[-1] is None:
            raise ValueError(
                f"{name}: output {i} has shape {shape}; feature maps are (B, H, W, C), C known."
            )
        strides.append(_stride(shape[1:3], size, f"{name}: output {i}"))
    if strides != sorted(strides):
        raise ValueError(f"{name} has strides {strides}; list its outputs from fine to coarse.")


def _stride(size, image, what):
    for stride in (2**k for k in range(10)):
        if tuple(size) == tuple(-(-n // stride) for n in image):
            return stride
    raise ValueError(
        f"{what} is {size[0]}x{size[1]} for an image of {image[0]}x{image[1]}, which is not its "
        "size divided by a power of two and rounded up; pad as 'same' does, or build the model for "
        "one size that its strides divide."
    )
