"""Input normalisation, the first layer of every model."""

import keras
from keras import ops

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@keras.saving.register_keras_serializable(package="gff_keras")
class ImageNormalization(keras.layers.Layer):
    """Map RGB values 0..255 (B, H, W, 3), any dtype, to zero mean and unit variance.

    Mean and standard deviation are weights, at first ImageNet's, that no training changes and every
    saved model holds. Pretrained backbones bring the mean that they were trained with: they pad
    with zeros, which stand for it.

    Computes in float32 whatever the dtype policy: bfloat16 cannot hold 0..255 with fractions.

    Attributes:
        mean: (3,), float32.
        std: (3,), float32.

    Raises:
        ValueError: in a call: the images do not have three channels.
    """

    def __init__(self, **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)

    def build(self, input_shape):
        self.mean = self._constants("mean", IMAGENET_MEAN)
        self.std = self._constants("std", IMAGENET_STD)

    def assign(self, mean=IMAGENET_MEAN, std=IMAGENET_STD):
        """Normalise as the network did whose weights the backbone gets: (3,) each, RGB, 0..255."""
        self.mean.assign(mean)
        self.std.assign(std)

    def load_own_variables(self, store):
        if store.keys():  # files written before mean and std were weights hold neither
            super().load_own_variables(store)

    def call(self, images):
        if images.shape[-1] not in (3, None):  # one channel would be broadcast without a word
            raise ValueError(
                f"images have {images.shape[-1]} channels; give RGB images (B, H, W, 3), of gray "
                "ones three equal channels."
            )
        return (ops.cast(images, "float32") - self.mean) * (1.0 / self.std)

    def compute_output_shape(self, input_shape):
        return input_shape

    def _constants(self, name, values):
        def initializer(shape, dtype):
            return ops.array(values, dtype)

        return self.add_weight(
            name=name, shape=(3,), initializer=initializer, dtype="float32", trainable=False
        )
