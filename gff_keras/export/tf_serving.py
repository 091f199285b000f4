"""What TF Serving reads beside a SavedModel: warm-up requests, configuration files."""

import io
import shlex

import numpy as np
import tensorflow as tf
from PIL import Image

from gff_keras.export.serving_graph import BATCH

_MODELS = """\
# tensorflow_model_server --model_config_file=/models/{name}/models.config
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"  # folders named by numbers: the highest is served
    model_platform: "tensorflow"
    # Serve two versions side by side:
    # model_version_policy {{ specific {{ versions: 1 versions: 2 }} }}
  }}
}}
"""
_BATCHING = """\
# For --enable_batching: requests of several clients run as one batch. Images given as pixels must
# have one size in all of them: export with --size, or let clients send files (serving_bytes).
# One bad image fails all requests of its batch.
max_batch_size {{ value: {batch} }}  # the model's own limit: a request with more is refused
batch_timeout_micros {{ value: 5000 }}  # how long the first request waits for others
max_enqueued_batches {{ value: 32 }}  # beyond these, clients are told to come back (UNAVAILABLE)
num_batch_threads {{ value: 2 }}  # batches at the same time; each takes the memory of a batch
pad_variable_length_inputs: false  # padding would change what the network sees of smaller images
"""
_DOCKER = """\
docker run --rm -p 8500:8500 -p 8501:8501 -v {volume} tensorflow/serving \\
  --model_config_file={folder}/models.config \\
  --enable_batching --batching_parameters_file={folder}/batching.config"""


def write_warmup(version, name, size):
    """Write the requests that TF Serving runs before it sends traffic to a version.

    Args:
        version: folder of the SavedModel.
        name: name of the model.
        size: (height, width) of the images in the requests.
    """
    # Here, not above: slow to import.
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    path = version / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), "uint8")
    inputs = {
        "serving_default": pixels[None],
        "serving_bytes": np.array([_encode(pixels, "JPEG"), _encode(pixels, "PNG")]),
    }
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, images in inputs.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())


def write_configuration(base):
    """Write models.config and batching.config into the model's folder, where they are missing."""
    for file, text in (("models.config", _MODELS), ("batching.config", _BATCHING)):
        if not (base / file).exists():  # it may have been edited since the last version
            (base / file).write_text(text.format(name=base.name, batch=BATCH), encoding="utf-8")


def docker_command(base):
    """Return the command that serves the model in `base`, gRPC on port 8500, REST on 8501."""
    volume = shlex.quote(f"{base}:/models/{base.name}:ro")
    return _DOCKER.format(volume=volume, folder=shlex.quote(f"/models/{base.name}"))


def _encode(pixels, kind):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()
