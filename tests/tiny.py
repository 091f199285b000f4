"""A network and a recipe that train in seconds, also for processes that a test starts."""

import keras

from gff_keras import GFFNet, layers
from gff_keras.training import Recipe


def tiny_model(num_classes=3, **arguments):
    """A GFFNet on a backbone of four convolutions."""
    images = x = keras.Input((None, None, 3))
    features = []
    for filters, strides in ((8, 2), (12, 2), (16, 2), (20, 1)):
        conv = layers.Conv2D(filters, 3, strides=strides, name=f"conv_{filters}")
        x = keras.layers.ReLU()(conv(x))
        features.append(x)
    backbone = keras.Model(images, features[1:])  # strides 4, 8, 8
    return GFFNet(backbone, num_classes, **{"filters": 8, **arguments})


class TinyRecipe(Recipe):
    def model(self, num_classes):
        return tiny_model(num_classes, dropout=self.dropout, aux_head=self.aux_head)


def tiny_recipe(data, out, **changes):
    """Two epochs of three steps on the five images of the fixture `records`."""
    fields = dict(crop_size=(33, 41), batch_size=2, epochs=2, learning_rate=0.02)
    fields["tensorboard_images"] = 0  # drawing takes longer than such a run
    return TinyRecipe(data=data, out=out, **{**fields, **changes})
