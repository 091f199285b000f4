"""The graph that is served: pixels or files in, classes out, in TensorFlow's operations alone.

The network is a Keras model while its operations are traced; what is saved is the traced graph and
its variables, so nothing of Keras or of this project is needed to run it.
"""

import tensorflow as tf

from gff_keras.export.encoded_images import MAX_SIDE, decode, read_headers, require
from gff_keras.layers.resizing import resize_antialiased

BATCH = 8  # images that one request, or TF Serving's batch of several, may hold


class ServedSegmenter:
    """A GFFNet with all that comes before and after it.

    Args:
        model: `GFFNet`.
        names: C class names.
        palette: C colours (red, green, blue), 0..255.
        image_size: (height, width) at which the network sees images; their own if None.
        fixed: images given as pixels have `image_size`.
        flip: average the probabilities with those of the mirrored image.
        max_pixels: most pixels that an image may have.

    Attributes:
        variables: what the network needs: no auxiliary head, no dropout, no optimiser.
    """

    def __init__(
        self, model, names, palette, *, max_pixels, image_size=None, fixed=False, flip=False
    ):
        self._names, self._palette = list(names), [list(colour) for colour in palette]
        self._image_size = image_size and tuple(image_size)
        self._flip = flip
        self._max_pixels = max_pixels
        self._dtype = tf.uint8 if len(names) <= 256 else tf.uint16
        self._frame = self._image_size if fixed else (None, None)

        segmenter = model.segmenter()
        self.variables = [weight.value for weight in segmenter.weights]
        seen = tf.TensorSpec((None, *self._frame, 3), tf.float32)
        self._network = _traced(lambda x: segmenter(x, training=False), seen)
        self._gates = _traced(model.gates, seen)
        self._has_gates = model.fusion == "gff"

    def functions(self):
        """Return the signatures by name: functions of one tensor, traced once for all sizes."""
        images = tf.TensorSpec((None, *self._frame, 3), tf.uint8, "images")
        functions = {
            "serving_default": _traced(self._segment, images),
            "serving_bytes": _traced(
                self._segment_encoded, tf.TensorSpec((None,), tf.string, "images")
            ),
            "probabilities": _traced(self._all_probabilities, images),
            "labels": _traced(self._tell_labels, tf.TensorSpec((None,), tf.int32, "request")),
        }
        if self._has_gates:
            functions["gates"] = _traced(self._gate_maps, images)
        return functions

    def _segment(self, images):
        """Most likely class of every pixel, and its probability."""
        classes, confidence = self._answer(self._checked(images))
        return {"classes": classes, "confidence": confidence}

    def _segment_encoded(self, images):
        """The same of JPEG and PNG files, one after the other, padded to the largest."""
        with tf.control_dependencies([_small_batch(tf.size(images))]):
            sizes, orientations = read_headers(tf.identity(images), self._max_pixels)
        height, width = tf.unstack(tf.reduce_max(sizes, 0))
        with tf.control_dependencies([self._small_canvas(tf.size(images), height, width)]):
            images = tf.identity(images)

        def answer(item):
            data, orientation = item
            image = decode(data, orientation)
            classes, confidence = self._answer(image[None])
            missing = [[0, height - tf.shape(image)[0]], [0, width - tf.shape(image)[1]]]
            padded = tf.pad(classes[0], missing, constant_values=self._dtype.max)
            return padded, tf.pad(confidence[0], missing)

        classes, confidence = tf.map_fn(
            answer,
            (images, orientations),
            fn_output_signature=(
                tf.TensorSpec((None, None), self._dtype),
                tf.TensorSpec((None, None), tf.float32),
            ),
            parallel_iterations=1,  # memory for one image, however many there are
        )
        return {"classes": classes, "confidence": confidence, "sizes": sizes}

    def _all_probabilities(self, images):
        return {"probabilities": self._probabilities(self._checked(images))}

    def _gate_maps(self, images):
        """Gates of the network's levels, finest first, at the levels' own sizes."""
        gates = self._gates(self._seen(self._checked(images)))
        return {
            f"gate_{level}": tf.cast(gate[..., 0], tf.float32)
            for level, gate in enumerate(gates, start=1)
        }

    def _tell_labels(self, request):
        """Names, colours and the limit, once for each number in `request`: TF Serving's way."""
        names, palette = tf.constant(self._names), tf.constant(self._palette, tf.uint8)
        count = tf.size(request)
        with tf.control_dependencies([_small_batch(count)]):
            count = tf.identity(count)
        return {
            "names": tf.tile(names[None], (count, 1)),
            "palette": tf.tile(palette[None], (count, 1, 1)),
            "max_pixels": tf.fill((count,), tf.constant(self._max_pixels, tf.int64)),
        }

    def _checked(self, images):
        """`images`, once they are known to be no larger and no more than allowed."""
        count, height, width, _ = tf.unstack(tf.shape(images, tf.int64))
        fits = (
            (tf.minimum(height, width) > 0)
            & (tf.maximum(height, width) <= MAX_SIDE)
            & (height * width <= self._max_pixels)
        )
        limit = f" pixels; the limit is {self._max_pixels}, and {MAX_SIDE} for a side"
        small = require(fits, "the images have ", height, " x ", width, limit)
        with tf.control_dependencies([small, _small_batch(count)]):
            return tf.identity(images)

    def _small_canvas(self, count, height, width):
        """Images of different shapes, padded to one size, can be much more than each of them."""
        total = tf.cast(count, tf.int64) * tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
        most = BATCH * self._max_pixels
        limit = f" pixels; the limit is {most}"
        return require(total <= most, "the padded batch has ", total, limit)

    def _answer(self, images):
        """uint8 (B, H, W, 3) to classes (B, H, W) and confidence (B, H, W)."""
        if self._flip:
            probabilities = self._probabilities(images)
            scores, confidence = probabilities, tf.reduce_max(probabilities, -1)
        else:
            scores = self._logits(images)
            # The largest of the softmax, without room for all of them.
            confidence = tf.exp(tf.reduce_max(scores, -1) - tf.reduce_logsumexp(scores, -1))
        classes = tf.argmax(scores, -1, output_type=tf.int32)
        return tf.cast(classes, self._dtype), confidence

    def _probabilities(self, images):
        probabilities = tf.nn.softmax(self._logits(images))
        if self._flip:
            mirrored = tf.nn.softmax(self._logits(images[:, :, ::-1]))[:, :, ::-1]
            probabilities = (probabilities + mirrored) / 2
        return probabilities

    def _logits(self, images):
        logits = self._network(self._seen(images))
        if self._sees(images):
            return logits
        return tf.image.resize(logits, tf.shape(images)[1:3])

    def _seen(self, images):
        """The images as the network sees them, float32."""
        x = tf.cast(images, tf.float32)
        return x if self._sees(images) else resize_antialiased(x, self._image_size)

    def _sees(self, images):
        """Whether the network sees images at the size that they have."""
        return self._image_size in (None, tuple(images.shape[1:3]))


def _small_batch(count):
    fits = (count > 0) & (count <= BATCH)
    return require(fits, "the batch has ", count, f" images; give 1 to {BATCH}")


def _traced(function, spec):
    return tf.function(function, input_signature=[spec], autograph=False)
