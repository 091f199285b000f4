"""Feature extractors: Keras models from images to a list of features, finest level first."""

from gff_keras.backbones.resnet import OUTPUT_STRIDES, RESNETS, resnet

__all__ = ["OUTPUT_STRIDES", "RESNETS", "resnet"]
