"""What a GFFNet is put together from: contexts, fusions and the auxiliary head.

Every function takes `layer`, which makes a layer of a class, arguments and a name (`maker`), and
symbolic tensors. Feature lists run from the finest level to the coarsest.
"""

import keras

from gff_keras import layers
from gff_keras.layers.atrous_pooling import ASPP_RATES, DENSE_ASPP_RATES

CONTEXTS = ("ppm", "aspp", "dense_aspp", None)
FUSIONS = ("gff", "concat", "add", "fpn", "gated_fpn", None)


def maker(policy, network=None):
    """Return a function that makes a layer, or takes that of the name from a `GFFNet` given."""
    made = {} if network is None else {layer.name: layer for layer in network.layers}

    def layer(kind, *arguments, name, dtype=policy, **options):
        return made.get(name) or kind(*arguments, **options, dtype=dtype, name=name)

    return layer


def add_context(layer, context, x, stride, dropout):
    """Return the context map y_0 of the coarsest features x, (B, H_L, W_L, C) of `stride`."""
    if context is None:
        return x
    least = {"ppm": 4, "aspp": 1, "dense_aspp": 2}[context]
    if x.shape[-1] < least:
        raise ValueError(
            f"context={context!r} needs at least {least} channels in the backbone's coarsest "
            f"features, which have {x.shape[-1]}; give another context, or a wider backbone."
        )
    if context == "ppm":
        return layer(layers.PyramidPooling, dropout=dropout, name="context")(x)
    kind, published = {
        "aspp": (layers.ASPP, ASPP_RATES),
        "dense_aspp": (layers.DenseASPP, DENSE_ASPP_RATES),
    }[context]
    rates = [max(1, rate * 8 // stride) for rate in published]  # as many pixels at any stride
    return layer(kind, rates, dropout=dropout, name="context")(x)


def plain_decoder(layer, context, x, y_0):
    """Return what a network without fusion classifies: y_0, or that of DeepLabV3+'s decoder."""
    if context == "aspp":
        return layer(layers.DeepLabDecoder, name="decoder")([x[0], y_0])
    return y_0


def fuse(layer, fusion, x, y_0, strides, filters, dfp, zero_gates=()):
    """Return the maps to classify, the finest last, which sets the size.

    Args:
        layer: see `maker`.
        fusion: one of FUSIONS but None.
        x: features [X_1 .. X_L].
        y_0: context map.
        strides: of the features.
        filters: channels of the fused maps.
        dfp: pass them through the dense feature pyramid.
        zero_gates: levels of "gff" whose gates are 0.
    """
    if fusion in ("fpn", "gated_fpn"):  # the context map is their fifth level
        kind = layers.FeaturePyramid if fusion == "fpn" else layers.GatedFeaturePyramid
        *fused, y_0 = layer(kind, filters, name=fusion)([*x, y_0])
        if not dfp:
            factors = [stride // strides[0] for stride in (*strides, strides[-1])]
            return [layer(layers.SemanticBranch, factors, name="semantic")([*fused, y_0])]
    else:
        if fusion == "gff":
            fused = _gated_fully(layer, x, filters, zero_gates)
        else:
            kind = layers.ConcatFusion if fusion == "concat" else layers.AdditionFusion
            fused = [layer(kind, filters, name=fusion)(x)]
        y_0 = layer(layers.ConvBNReLU, filters, name="reduce_context")(y_0)
    if dfp:
        fused = layer(layers.DenseFeaturePyramid, filters, name="dfp")([*fused, y_0])
    return [y_0, *reversed(fused)]


def _gated_fully(layer, x, filters, zero_gates):
    gff = layer(layers.GatedFullyFusion, filters, name="gff")
    fused = gff(x, zero=zero_gates) if zero_gates else gff(x)  # (B, H_l, W_l, filters)
    for i in (1, 2):
        fused = [
            layer(layers.ConvBNReLU, filters, 3, name=f"refine_{level}_{i}")(x_l)
            for level, x_l in enumerate(fused, start=1)
        ]
    return fused


def auxiliary_head(layer, x, images, num_classes, dropout):
    """Second prediction, from stage 3 of the backbone, to help training (Lee et al., 2015)."""
    x = layer(layers.ConvBNReLU, 256, 3, name="aux_conv")(x)
    x = layer(keras.layers.Dropout, dropout, name="aux_dropout")(x)
    classify = layer(
        layers.MultiLevelConv, num_classes, use_bias=True, dtype="float32", name="aux_classifier"
    )
    return layer(layers.ResampleLike, dtype="float32", name="aux_logits")([classify([x]), images])
