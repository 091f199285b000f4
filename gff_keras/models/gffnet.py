"""GFFNet: the network of "GFF: Gated Fully Fusion for Semantic Segmentation" (AAAI 2020), Fig. 3.

images -> normalise -> dilated backbone -> X_1 .. X_4                strides 4, 8, 8, 8
X_4 -> pyramid pooling, or another context -> y_0                    context
X_1 .. X_4 -> gated fully fusion (Eq. 5) -> refine -> X~_1 .. X~_4   details
y_0, X~_l -> dense feature pyramid (Eq. 6) -> y_1 .. y_4
[y_0, y_1 .. y_4] at stride 4 -> 1x1 convolution -> logits at image size
"""

import keras

from gff_keras import backbones, layers
from gff_keras.data import LabelSet
from gff_keras.layers.replicas import apart
from gff_keras.models import checks, parts
from gff_keras.models.metadata import as_json, checked_metadata
from gff_keras.pretrained.imagenet import load_imagenet

# Of the constructor, what a network keeps as it is.
_ARGUMENTS = (
    "num_classes context fusion dfp aux_head output_stride filters dropout aux_loss_weight name"
).split()


@keras.saving.register_keras_serializable(package="gff_keras")
class GFFNet(keras.Model):
    """Semantic segmentation with Gated Fully Fusion.

    ```python
    model = GFFNet(backbone="resnet18", num_classes=11)
    logits = model(images)["logits"]  # (B, H, W, 3), RGB 0..255 -> (B, H, W, 11) float32
    model.compile(optimizer, loss=SegmentationCrossEntropy(), metrics=[SegmentationMetrics(11)])
    model.fit(dataset)  # pairs (images, labels), labels (B, H, W) with 255 = ignore
    ```

    Args:
        backbone: a name in `gff_keras.backbones.BACKBONES`, such as "resnet18", or a `keras.Model`
            from normalised images to features, finest level first (context and auxiliary head
            take the last and the last but one).
        num_classes: classes to predict.
        context: "ppm" (pyramid pooling), "aspp", "dense_aspp", or None for the features as they
            are.
        fusion: "gff", or of the paper's Table 1 "concat", "add", "fpn", "gated_fpn"; None for the
            plain network of a context: PSPNet, DeepLabV3+ (with its decoder), DenseASPP.
        dfp: add the dense feature pyramid (needs a fusion).
        aux_head: add `aux_logits`, a second prediction from the last feature but one; used by the
            training loss only.
        output_stride: stride of the backbone's last features, 8 (the paper), 16 or 32. A backbone
            given as a model has its own.
        filters: channels of the fused features.
        input_shape: `(height, width, 3)`; None where unknown.
        dropout: rate before the classifier of the auxiliary head and in the context.
        aux_loss_weight: weight of the auxiliary loss in `fit`.
        zero_gates: levels, 1 for the finest, whose gates are 0 (see `with_gates`).
        weights: "imagenet" to fetch those of the backbone (docs/pretrained.md); random if None.
        metadata: what a saved file tells about itself, a dictionary that JSON can hold: `labels`,
            a label table, and `recipe` (docs/sharing.md).
        dtype: dtype policy, for example "mixed_bfloat16"; logits are float32 under any.
        trainable: whether `fit` changes the weights.

    Returns a dictionary: `logits` (B, H, W, num_classes) and, with `aux_head`, `aux_logits`
    likewise.
    """

    def __init__(
        self,
        backbone="resnet101",
        num_classes=19,
        *,
        context="ppm",
        fusion="gff",
        dfp=True,
        aux_head=True,
        output_stride=8,
        filters=256,
        input_shape=(None, None, 3),
        dropout=0.1,
        aux_loss_weight=0.4,
        zero_gates=(),
        weights=None,
        metadata=None,
        dtype=None,
        name="gffnet",
        trainable=True,
        _layers_of=None,
    ):
        checks.check_arguments(num_classes, context, fusion, dfp, filters, input_shape, weights)
        checks.check_settings(dropout, aux_loss_weight, dfp=dfp, aux_head=aux_head)
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy()).name

        # === Layers ===
        if isinstance(backbone, str):
            # Of any size, so that its strides can be read off, even where an image is smaller.
            backbone = backbones.build(backbone, output_stride, dtype=policy)
        else:
            backbone = backbones.as_backbone(backbone)
            input_shape = checks.joint_shape(input_shape, backbone)
        layer = parts.maker(policy, _layers_of)
        normalize = layer(layers.ImageNormalization, name="normalize")
        classify = layer(
            layers.MultiLevelConv, num_classes, use_bias=True, dtype="float32", name="classifier"
        )
        to_image_size = layer(layers.ResampleLike, dtype="float32", name="logits")

        # === Functional graph ===
        images = keras.Input(tuple(input_shape), name="images")
        x = backbone(normalize(images))  # [X_1 .. X_L], (B, H_l, W_l, C_l)
        strides = backbones.strides_of(backbone)
        checks.check_output_stride(output_stride, backbone.name, strides[-1])
        zero_gates = checks.checked_gates(zero_gates, fusion, len(x))
        y_0 = parts.add_context(layer, context, x[-1], strides[-1], dropout)  # (B, H_L, W_L, C)
        if fusion is None:
            y = [parts.plain_decoder(layer, context, x, y_0)]
        else:  # [y_0, .., y_L], the finest last: it sets the size
            y = parts.fuse(layer, fusion, x, y_0, strides, filters, dfp, zero_gates)
        scores = classify(y)  # (B, H_1, W_1, num_classes)
        outputs = {"logits": to_image_size([scores, images])}
        if aux_head:
            outputs["aux_logits"] = parts.auxiliary_head(layer, x[-2], images, num_classes, dropout)
        super().__init__(inputs=images, outputs=outputs, name=name, trainable=trainable)
        if weights:
            load_imagenet(backbone, normalize)

        # === Config ===
        self.backbone = backbone
        self.num_classes = num_classes
        self.context = context
        self.fusion = fusion
        self.dfp = dfp
        self.aux_head = aux_head
        self.output_stride = strides[-1]
        self.filters = filters
        self.dropout = dropout
        self.aux_loss_weight = aux_loss_weight
        self.zero_gates = zero_gates
        self.metadata = {} if metadata is None else metadata
        self._scores = scores
        self.dtype_policy = keras.dtype_policies.get(policy)
        self.autocast = False  # images reach the normalisation layer as they are

    @property
    def metadata(self):
        """What a saved file tells about itself, a dictionary; see the constructor."""
        return self._metadata

    @metadata.setter
    def metadata(self, metadata):
        self._metadata = checked_metadata(metadata, self.num_classes)

    @property
    def labels(self):
        """The `LabelSet` that the network was trained with; None if it carries none."""
        table = self.metadata.get("labels")
        return LabelSet.from_dict(table) if table else None

    @property
    def recipe(self):
        """The recipe that it was trained with, as a dictionary; empty if it carries none."""
        return as_json(self.metadata.get("recipe") or {}, "recipe")

    def segmenter(self, full_size=True):
        """Return a `keras.Model` from images to logits alone, sharing all weights.

        Args:
            full_size: logits at the size of the images; False: at that of the finest level.
        """
        logits = self.output["logits"] if full_size else self._scores
        return keras.Model(self.input, logits, name=f"{self.name}_segmenter")

    def gates(self, images):
        """Return the gate maps of `images` (B, H, W, 3): a list of (B, H_l, W_l, 1), finest first.

        A gated FPN has one more, of the context map.

        Raises:
            ValueError: the network has no gates.
        """
        if self.fusion == "gated_fpn":
            x = self.features(images)
            y_0 = self.get_layer("context")(x[-1], training=False) if self.context else x[-1]
            return self.get_layer("gated_fpn").gates([*x, y_0])
        checks.check_gated(self.fusion)
        return self.get_layer("gff").gates(self.features(images), self.zero_gates)

    def features(self, images):
        """Return the backbone's features X_1 .. X_L, (B, H_l, W_l, C_l), finest level first."""
        return self.backbone(self.get_layer("normalize")(images), training=False)

    def with_gates(self, zero):
        """Return this network with some gates at zero in Eq. 5; all layers and weights are shared.

        Such a level sends nothing, does not amplify itself and receives all that others send (the
        paper's Fig. 7b). This network stays as it is; the other can be saved and exported too.

        Args:
            zero: numbers of gates, 1 for the finest level; `[]` for none.

        Raises:
            ValueError: the network has no gates, or not that one.
        """
        checks.check_gated(self.fusion)
        arguments = {**self._arguments(), "zero_gates": zero}
        network = GFFNet(self.backbone, **arguments, _layers_of=self)
        network._metadata = as_json(self.metadata, "metadata")
        return network

    def save(self, filepath, *arguments, **options):
        checked_metadata(self.metadata, self.num_classes)  # before Keras empties the file
        super().save(filepath, *arguments, **options)

    def fit(self, *arguments, class_weight=None, **options):
        if class_weight is not None:  # Keras would weight images, by an argmax along their width
            raise ValueError(
                "class_weight weights whole images, not pixels; give the weights of the classes "
                "to the loss: SegmentationCrossEntropy(class_weights=[...])."
            )
        return super().fit(*arguments, **options)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The compiled loss on `logits`, plus `aux_loss_weight` times the same on `aux_logits`."""
        if not isinstance(y_pred, dict):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        checks.check_loss(self.loss, training and self.aux_head)
        if not training:
            with apart():
                return super().compute_loss(x, y, y_pred["logits"], sample_weight, training)
        loss = super().compute_loss(x, y, y_pred["logits"], sample_weight, training)
        if self.aux_head:
            auxiliary = self.loss(y, y_pred["aux_logits"], sample_weight)
            loss = loss + self.aux_loss_weight * auxiliary
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, y, y_pred["logits"], sample_weight)

    def get_metrics_result(self):
        """All metrics in one flat dictionary, scalars only: Keras's loggers take nothing else."""
        results = {}
        for name, value in super().get_metrics_result().items():
            results.update(value if isinstance(value, dict) else {name: value})
        return {name: value for name, value in results.items() if len(value.shape) == 0}

    def get_config(self):
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            **self._arguments(),
            **({"metadata": as_json(self.metadata, "metadata")} if self.metadata else {}),
            "trainable": self.trainable,
            "frozen": [path for path, x in self._own_layers().items() if not x.trainable],
        }

    def _arguments(self):
        """The constructor's arguments but for the backbone, as JSON can hold them."""
        return {
            **{name: getattr(self, name) for name in _ARGUMENTS},
            "input_shape": list(self.input_shape[1:]),
            "dtype": self.dtype_policy.name,
            **({"zero_gates": list(self.zero_gates)} if self.zero_gates else {}),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        backbone = keras.saving.deserialize_keras_object(config["backbone"], custom_objects)
        frozen = config.get("frozen", ())
        metadata = config.get("metadata") or {}
        config = {name: x for name, x in config.items() if name not in ("frozen", "metadata")}
        model = cls(**{**config, "backbone": backbone})
        model._metadata = as_json(metadata, "metadata")  # also a damaged label table: see gff.load
        for path in frozen:
            model._own_layers()[path].trainable = False
        return model

    def _own_layers(self):
        """Layers with weights outside the backbone (which keeps what is frozen itself), by path."""
        backbone = set(self.backbone._flatten_layers())
        layers = [x for x in self._flatten_layers(include_self=False) if x not in backbone]
        return {layer.path: layer for layer in layers if layer.weights}
