"""Input normalisation, the first layer of every model."""

import keras
from keras import ops

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@keras.saving.register_keras_serializable(package="gff_keras")
class ImageNormalization(keras.layers.Layer):
    """Map RGB values 0..255 (B, H, W, 3), any dtype, to ImageNet's zero mean and unit variance.

    Computes in float32 whatever the dtype policy: bfloat16 cannot hold 0..255 with fractions.

    Raises:
        ValueError: in a call: the images do not have three channels.
    """

    def __init__(self, **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)

    def call(self, images):
        if images.shape[-1] not in (3, None):  # one channel would be broadcast without a word
            raise ValueError(
                f"images have {images.shape[-1]} channels; give RGB images (B, H, W, 3), of gray "
                "ones three equal channels."
            )
        images = ops.cast(images, "float32")
        scale = 1.0 / ops.array(IMAGENET_STD, "float32")
        return (images - ops.array(IMAGENET_MEAN, "float32")) * scale

    def compute_output_shape(self, input_shape):
        return input_shape
