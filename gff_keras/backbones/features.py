"""Keras models of other origin as backbones: their feature maps as a list, finest level first."""

import keras

_PROBE = (97, 131)  # a size that no stride divides, for models that take any


def as_backbone(model):
    """Return a model from images to a list of feature maps, finest level first.

    Args:
        model: `keras.Model` from images (B, H, W, 3) to several feature maps (B, H_l, W_l, C_l): a
            list or tuple, finest first, or a dictionary, which is sorted by size and then by name.
            Or a backbone of KerasHub or keras-cv, whose `pyramid_outputs` or
            `pyramid_level_inputs` name feature maps: those from stride 4 on are taken.

    Returns:
        `model` itself if its output is such a list; otherwise a plain functional `keras.Model` of
        the same layers, weights and name.

    Raises:
        ValueError: no Keras model, only one feature map, one that is not of four dimensions and a
            known number of channels, a list that does not run from fine to coarse, or sizes that
            are not those of the image divided by powers of two and rounded up.
    """
    model = _functional(model)
    pyramid = _pyramid(model)
    outputs = pyramid or model.output
    if isinstance(outputs, dict):
        maps = {name: outputs[name] for name in sorted(outputs)}
    else:
        maps = dict(enumerate(outputs if isinstance(outputs, (list, tuple)) else [outputs]))
    strides = _strides(model, maps)
    names = sorted(maps, key=strides.__getitem__)  # of equal strides, the first stays first
    if pyramid:
        names = [name for name in names if strides[name] >= 4]
    elif not isinstance(outputs, dict) and names != list(maps):
        raise ValueError(
            f"backbone {model.name!r} has strides {[*strides.values()]}; list its outputs from "
            "fine to coarse."
        )
    if len(names) < 2:
        raise ValueError(
            f"backbone {model.name!r} gives one feature map, and a GFFNet fuses several; build "
            "keras.Model(inputs, [fine, .., coarse]) from outputs of its layers."
        )
    if isinstance(outputs, list):
        return model
    return keras.Model(model.inputs[0], [maps[name] for name in names], name=model.name)


def _functional(model):
    """The model as a graph with one input."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"backbone={model!r} is neither a name nor a keras.Model.")
    if isinstance(model, keras.Sequential) and model.built:  # which has no `output` of its own
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    if not getattr(model, "inputs", None):  # a class with a call method
        images = keras.Input((None, None, 3))
        model = keras.Model(images, model(images), name=model.name)
    if len(model.inputs) != 1:
        raise ValueError(
            f"backbone {model.name!r} has {len(model.inputs)} inputs; it must take one."
        )
    shape = tuple(model.inputs[0].shape)
    if len(shape) != 4 or shape[-1] not in (None, 3):
        raise ValueError(f"backbone {model.name!r} takes {shape}, not RGB images (B, H, W, 3).")
    return model


def strides_of(backbone):
    """Return the strides of a backbone's feature maps, a list of powers of two.

    Args:
        backbone: model from `build` or `as_backbone`.
    """
    return list(_strides(backbone, dict(enumerate(backbone.output))).values())


def _pyramid(model):
    """Feature maps that a backbone of KerasHub or keras-cv names P1, P2, ...: a dictionary.

    Not all mean stride 2^n by Pn: KerasHub's MiT begins with P1 at stride 4.
    """
    layers = getattr(model, "pyramid_level_inputs", {})
    named = {level: model.get_layer(name).output for level, name in layers.items()}
    return getattr(model, "pyramid_outputs", named)


def _strides(model, maps):
    """Strides of feature maps by their names."""
    image = [n or probe for n, probe in zip(model.inputs[0].shape[1:3], _PROBE, strict=True)]
    graph = keras.Model(model.inputs[0], maps)
    shapes = graph.compute_output_shape((None, *image, model.inputs[0].shape[-1]))
    return {
        name: _stride(shapes[name], image, f"backbone {model.name!r}: output {name}")
        for name in maps
    }


def _stride(shape, image, output):
    if len(shape) != 4 or shape[-1] is None:
        raise ValueError(f"{output} has shape {shape}; feature maps are (B, H, W, C), C known.")
    for stride in (2**k for k in range(10)):
        if list(shape[1:3]) == [-(-n // stride) for n in image]:
            return stride
    raise ValueError(
        f"{output} is {shape[1]}x{shape[2]} for an image of {image[0]}x{image[1]}, which is not "
        "its size divided by a power of two and rounded up; pad as 'same' does, or build the model "
        "for one size that its strides divide."
    )
