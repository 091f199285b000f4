import json
import re
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.layers import Conv2D

from gff_keras import GFFNet
from gff_keras.backbones import BACKBONES, OUTPUT_STRIDES, RESNETS, as_backbone, build


def trunk(size=(None, None), padding="same", channels=(4, 6, 8)):
    """Input and feature maps of strides 2, 4 and 8."""
    images = x = keras.Input((*size, 3))
    maps = []
    for filters in channels:
        x = Conv2D(filters, 3, strides=2, padding=padding, activation="relu", name=f"c{filters}")(x)
        maps.append(x)
    return images, maps


def test_a_list_is_taken_as_it_is():
    model = keras.Model(*trunk())
    assert as_backbone(model) is model


def test_a_tuple_and_a_dictionary_become_a_list(rng):
    images, (fine, middle, coarse) = trunk()
    same = Conv2D(5, 3, padding="same")(coarse)
    x = rng.normal(size=(1, 21, 30, 3)).astype("float32")
    expected = keras.Model(images, [fine, middle, coarse, same])(x)
    outputs = {"b": coarse, "z": fine, "a": middle, "c": same}
    for given in ((fine, middle, coarse, same), outputs):
        backbone = as_backbone(keras.Model(images, given, name="mine"))
        assert backbone.name == "mine" and isinstance(backbone.output, list)
        for ours, theirs in zip(backbone(x), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


class Trunk(keras.Model):
    """A model that is a class with a call method."""

    def __init__(self):
        super().__init__()
        self.fine = Conv2D(4, 3, strides=4, padding="same")
        self.coarse = Conv2D(5, 3, strides=2, padding="same")

    def call(self, images):
        fine = self.fine(images)
        return {"coarse": self.coarse(fine), "fine": fine}


def test_a_subclassed_model(rng):
    source = Trunk()
    backbone = as_backbone(source)
    x = rng.normal(size=(1, 21, 30, 3)).astype("float32")
    fine, coarse = backbone(x)
    np.testing.assert_array_equal(fine, source(x)["fine"])
    np.testing.assert_array_equal(coarse, source(x)["coarse"])


def test_named_levels_are_taken_from_stride_4_on():
    images, maps = trunk()
    model = keras.Model(images, maps[-1])
    model.pyramid_outputs = {"P2": maps[2], "P0": maps[0], "P1": maps[1]}  # names are names
    assert [x.shape[-1] for x in as_backbone(model).outputs] == [6, 8]


def test_keras_cv(rng):
    import keras_cv

    source = keras_cv.models.ResNetBackbone(
        stackwise_filters=[64, 6, 8],
        stackwise_blocks=[1, 1, 1],
        stackwise_strides=[1, 2, 2],
        include_rescaling=False,
        block_type="basic_block",
    )
    backbone = as_backbone(source)
    assert [x.shape[-1] for x in backbone.outputs] == [64, 6, 8]
    x = rng.normal(size=(1, 33, 47, 3)).astype("float32")
    np.testing.assert_array_equal(backbone(x)[-1], source(x))
    model = GFFNet(source, 3, filters=4)
    assert model.backbone is not source
    assert packages(model.backbone.get_config()) <= {"keras", "builtins"}


def packages(config):
    """Packages whose classes a configuration names."""
    if isinstance(config, dict):
        own = {str(config["module"]).split(".")[0]} if config.get("module") else set()
        return own.union(*map(packages, config.values()))
    return set().union(*map(packages, config)) if isinstance(config, list) else set()


def test_a_network_on_a_dictionary_is_saved_and_loaded(rng, tmp_path):
    images, (_, middle, coarse) = trunk()
    model = GFFNet(keras.Model(images, {"deep": coarse, "high": middle}), 3, filters=4)
    x = rng.integers(0, 256, (1, 21, 30, 3), "uint8")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x)["logits"], model(x)["logits"])
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        config = json.loads(file.read("config.json"))["config"]["backbone"]
    assert packages(config) <= {"keras", "builtins"}
    again = loaded.with_gates([1])
    assert again.backbone is loaded.backbone


@pytest.mark.parametrize(
    "message, outputs",
    [
        ("gives one feature map, and a GFFNet fuses several", lambda maps: maps[0]),
        ("gives one feature map", lambda maps: maps[:1]),
        (r"strides \[2, 8, 4\]; list its outputs from fine", lambda maps: [maps[0], *maps[:0:-1]]),
        ("output 1 has shape .* C known", lambda maps: [maps[0], keras.ops.mean(maps[1], (1, 2))]),
    ],
)
def test_outputs_that_are_no_features(message, outputs):
    images, maps = trunk()
    with pytest.raises(ValueError, match=message):
        as_backbone(keras.Model(images, outputs(maps), name="mine"))


def test_what_is_no_backbone():
    with pytest.raises(ValueError, match="None is neither a name nor a keras.Model"):
        GFFNet(None)
    images, maps = trunk()
    with pytest.raises(ValueError, match="gives one feature map"):
        GFFNet(keras.Sequential([images, Conv2D(4, 1)]))
    tiny = keras.Model(images, [maps[0], Conv2D(1, 1)(maps[-1])])
    for context, least in (("ppm", 4), ("dense_aspp", 2)):
        message = f"context='{context}' needs at least {least} channels .* which have 1; "
        with pytest.raises(ValueError, match=message):
            GFFNet(tiny, 3, context=context)
    for shape in ((None, None, 4), (10,), (8, 8, 8, 3)):
        x = keras.Input(shape)
        shown = re.escape(str((None, *shape)))
        with pytest.raises(ValueError, match=rf"takes {shown}, not RGB images \(B, H, W, 3\)"):
            GFFNet(keras.Model(x, [x, 2 * x]), 3)
    inputs = [keras.Input((None, None, 3), name=name) for name in ("left", "right")]
    with pytest.raises(ValueError, match="has 2 inputs"):
        as_backbone(keras.Model(inputs, [Conv2D(3, 1)(x) for x in inputs]))
    with pytest.raises(ValueError, match="output 0 is 48x65 for an image of 97x131"):
        as_backbone(keras.Model(*trunk(padding="valid")))


def test_sizes_count_that_the_model_is_built_for():
    images, maps = trunk((64, 96))
    backbone = keras.Model(images, maps)
    assert as_backbone(backbone).output_shape[-1][1:3] == (8, 12)
    for asked in ((None, None, 3), (64, None, 3)):  # what is left open is the backbone's
        model = GFFNet(backbone, 3, filters=4, input_shape=asked)
        assert model.input_shape == (None, 64, 96, 3)
    with pytest.raises(ValueError, match=r"input_shape=\(64, 64, 3\): .* images of 64x96; leave"):
        GFFNet(backbone, 3, input_shape=(64, 64, 3))
    pooled = keras.layers.AveragePooling2D(2)(maps[-1])  # rounds down
    assert as_backbone(keras.Model(images, [*maps, pooled]))
    images, maps = trunk()
    pooled = keras.layers.AveragePooling2D(2)(maps[-1])
    with pytest.raises(ValueError, match="output 3 is 6x8 .* rounded up; .* one size"):
        as_backbone(keras.Model(images, [*maps, pooled]))


def test_the_example_of_the_docs(rng):
    text = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text()
    names: dict = {}
    exec(re.search(r"```python\n(import keras\n.*?)```", text, re.DOTALL)[1], names)
    assert [x.shape[1] for x in names["backbone"].outputs] == [64, 32, 16, 8]
    x = rng.integers(0, 256, (1, 256, 512, 3), "uint8")
    assert names["model"](x)["logits"].shape == (1, 256, 512, 19)


def test_names_and_strides():
    assert BACKBONES == (*RESNETS, "densenet121", "wider_resnet38")
    assert OUTPUT_STRIDES == (8, 16, 32)
    with pytest.raises(ValueError, match="'vgg16' is unknown; choose .*resnet18.*densenet121"):
        build("vgg16")
    with pytest.raises(ValueError, match=r"output_stride=4 is not one of \(8, 16, 32\)"):
        build("wider_resnet38", 4)
    assert build("resnet18", 16, (64, 96, 3)).outputs[-1].shape == (None, 4, 6, 512)
