"""The paper's modules as Keras layers. Feature lists run from the finest level to the coarsest."""

from gff_keras.layers.atrous_pooling import ASPP, DeepLabDecoder, DenseASPP
from gff_keras.layers.batch_normalization import BatchNormalization
from gff_keras.layers.convolution import Conv2D, ConvBNReLU, MaxPooling2D
from gff_keras.layers.dense_feature_pyramid import DenseFeaturePyramid
from gff_keras.layers.feature_pyramid import (
    FeaturePyramid,
    GatedFeaturePyramid,
    SemanticBranch,
)
from gff_keras.layers.gated_fully_fusion import GatedFullyFusion
from gff_keras.layers.multi_level_conv import MultiLevelConv
from gff_keras.layers.normalization import ImageNormalization
from gff_keras.layers.plain_fusion import AdditionFusion, ConcatFusion
from gff_keras.layers.pyramid_pooling import PyramidPooling
from gff_keras.layers.resizing import ResampleLike, resample, resize_bilinear

__all__ = [
    "ASPP",
    "AdditionFusion",
    "BatchNormalization",
    "ConcatFusion",
    "Conv2D",
    "ConvBNReLU",
    "DeepLabDecoder",
    "DenseASPP",
    "DenseFeaturePyramid",
    "FeaturePyramid",
    "GatedFeaturePyramid",
    "GatedFullyFusion",
    "ImageNormalization",
    "MaxPooling2D",
    "MultiLevelConv",
    "PyramidPooling",
    "ResampleLike",
    "SemanticBranch",
    "resample",
    "resize_bilinear",
]
