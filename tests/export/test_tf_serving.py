"""What TF Serving reads and speaks: signatures, warm-up, configuration, both clients' requests.

The server itself is no Python package; its protocol is (tensorflow-serving-api).
"""

import ast
import importlib.util
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from PIL import Image
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from tests.export import fake_tf_serving
from tests.export.conftest import LABELS, compare

CLIENTS = Path(__file__).parents[2] / "docs" / "clients"
# What both interfaces can carry (tensorflow_serving/util/json_tensor.cc lists JSON's).
DTYPES = {"DT_UINT8", "DT_INT32", "DT_INT64", "DT_FLOAT", "DT_STRING"}


def client(name):
    spec = importlib.util.spec_from_file_location(name, CLIENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def images(rng):
    """Two images of different sizes, encoded, with their pixels."""
    pixels = [rng.integers(0, 256, (*size, 3), "uint8") for size in ((33, 47), (40, 21))]
    return pixels, [tf.io.encode_png(image).numpy() for image in pixels]


def test_signatures_are_legal(exported):
    saved = saved_model_pb2.SavedModel.FromString((exported / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    signatures = dict(graph.signature_def)
    assert signatures.pop("__saved_model_init_op").inputs == {}
    shapes = {}
    for name, signature in signatures.items():
        assert signature.method_name == "tensorflow/serving/predict"
        for key, info in (*signature.inputs.items(), *signature.outputs.items()):
            assert types_pb2.DataType.Name(info.dtype) in DTYPES
            assert not info.tensor_shape.unknown_rank
            shapes[name, key] = [d.size for d in info.tensor_shape.dim]
            assert shapes[name, key][0] == -1  # batches of clients are joined there
            assert not key.endswith("_bytes")  # REST would encode these
    assert shapes["serving_default", "images"] == [-1, -1, -1, 3]
    assert shapes["serving_bytes", "images"] == [-1]
    assert shapes["serving_bytes", "classes"] == [-1, -1, -1]
    assert shapes["serving_bytes", "sizes"] == [-1, 2]
    assert shapes["probabilities", "probabilities"] == [-1, -1, -1, 3]
    assert shapes["labels", "names"] == [-1, 3]
    assert shapes["gates", "gate_3"] == [-1, -1, -1]


def test_warmup_requests_run(exported, signatures):
    path = exported / "assets.extra" / "tf_serving_warmup_requests"
    seen = []
    for record in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.name == "blocks"
        seen.append(request.model_spec.signature_name)
        reply = fake_tf_serving.predict(signatures, request)
        assert reply.outputs["classes"].tensor_shape.dim[0].size >= 1
    assert seen == ["serving_default", "serving_bytes"]


def test_configuration_parses(exported):
    base = exported.parent
    config = text_format.Parse(
        (base / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
    )
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == ("blocks", "/models/blocks")
    assert model.model_platform == "tensorflow"
    batching = text_format.Parse((base / "batching.config").read_text(), batching_parameters())
    assert batching.max_batch_size.value == 8
    assert batching.batch_timeout_micros.value > 0
    assert not batching.pad_variable_length_inputs


def batching_parameters():
    """TF Serving's BatchingParameters, whose file the package leaves out."""
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", package="test_serving")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    message = file.message_type.add(name="BatchingParameters")
    numbers = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches")
    for index, name in enumerate((*numbers, "num_batch_threads"), start=1):
        message.field.add(
            name=name, number=index, type=11, label=1, type_name=".google.protobuf.Int64Value"
        )
    message.field.add(name="pad_variable_length_inputs", number=7, type=8, label=1)
    pool = descriptor_pool.Default()
    pool.Add(file)
    found = pool.FindMessageTypeByName("test_serving.BatchingParameters")
    return message_factory.GetMessageClass(found)()


def test_the_grpc_client(images, signatures, predictor, tmp_path, monkeypatch, capsys):
    pixels, files = images
    grpc_client = client("grpc_client")
    server, address = fake_tf_serving.serve_grpc(signatures)
    try:
        with grpc.insecure_channel(address) as channel:
            found = grpc_client.segment(channel, "blocks", files)
            found = {name: np.asarray(value) for name, value in found.items()}
            for i, image in enumerate(pixels):
                height, width = found["sizes"][i]
                assert (height, width) == image.shape[:2]
                part = {name: found[name][i, :height, :width] for name in found if name != "sizes"}
                compare(part, predictor.logits(image))
            assert grpc_client.class_names(channel, "blocks") == list(LABELS.classes)
            with pytest.raises(grpc.RpcError) as error:
                grpc_client.segment(channel, "blocks", [files[0], b"no image"])
            assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "neither JPEG nor PNG" in error.value.details()
        check_command(grpc_client, address, pixels, files, predictor, tmp_path, monkeypatch, capsys)
        nobody = ("localhost:1", tmp_path / "photo.png", "localhost:1: UNAVAILABLE: ")
        check_errors(grpc_client, address, nobody, tmp_path, monkeypatch)
    finally:
        server.stop(None)


def test_the_rest_client(images, signatures, predictor, tmp_path, monkeypatch, capsys):
    pixels, files = images
    rest_client = client("rest_client")
    server, address = fake_tf_serving.serve_rest(signatures, "blocks")
    try:
        found = rest_client.segment(address, "blocks", files)
        for image, (classes, confidence) in zip(pixels, found, strict=True):
            answer = {"classes": np.array(classes), "confidence": np.array(confidence)}
            compare(answer, predictor.logits(image))
        assert rest_client.class_names(address, "blocks") == list(LABELS.classes)
        with pytest.raises(SystemExit, match="400: image 1 of the batch is neither JPEG nor PNG$"):
            rest_client.segment(address, "blocks", [files[0], b"no image"])
        check_command(rest_client, address, pixels, files, predictor, tmp_path, monkeypatch, capsys)
        bare = address.removeprefix("http://")  # requests knows no way there
        for where, reason in (("http://localhost:1", "ConnectionError"), (bare, "InvalidSchema")):
            message = rf"^{where}/v1/models/blocks:predict: no answer .*\({reason}\); give --server"
            nobody = (where, tmp_path / "photo.png", message)
            check_errors(rest_client, address, nobody, tmp_path, monkeypatch)
    finally:
        server.shutdown()


def check_command(module, address, pixels, files, predictor, tmp_path, monkeypatch, capsys):
    paths = [tmp_path / "photo.png", tmp_path / "photo.jpg"]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    line = ["client", *map(str, paths), "--server", address, "--model", "blocks"]
    monkeypatch.setattr(sys, "argv", line)
    module.main()
    out = capsys.readouterr().out
    for path, image in zip(paths, pixels, strict=True):
        height, width, _ = image.shape
        header = f"P5 {width} {height} 255\n".encode()
        written = path.with_name(f"{path.name}_classes.pgm").read_bytes()
        classes = np.frombuffer(written.removeprefix(header), "uint8").reshape(height, width)
        expected = predictor.classes(image)
        np.testing.assert_array_equal(classes, expected)
        for i, name in enumerate(LABELS.classes):
            assert (f"{name:<20}{(expected == i).mean():7.1%}" in out) == (i in expected)


def check_errors(module, address, nobody, tmp_path, monkeypatch):
    """One sentence, which `SystemExit` writes to stderr, with exit status 1."""
    (tmp_path / "text").write_text("no image")
    for server, path, message in (
        nobody,
        (address, tmp_path / "none.png", "none.png: No such file or directory"),
        (address, tmp_path / "text", "(400|INVALID_ARGUMENT): image 0 of the batch is neither"),
    ):
        line = ["client", str(path), "--server", server, "--model", "blocks"]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit, match=message) as stop:
            module.main()
        assert isinstance(stop.value.code, str) and "\n" not in stop.value.code


def test_the_grpc_client_writes_classes_of_16_bits(rng, tmp_path):
    grpc_client = client("grpc_client")
    classes = rng.integers(0, 300, (2, 9, 11), "uint16")
    sizes = np.array([[9, 5], [4, 11]], "int32")
    found = {"classes": memoryview(classes), "sizes": memoryview(sizes)}
    for i, (height, width) in enumerate(sizes):
        values, size = grpc_client.classes_of(found, i)
        assert size == (height, width)
        grpc_client.write_pgm(tmp_path / "classes.pgm", values, size)
        with Image.open(tmp_path / "classes.pgm") as image:
            np.testing.assert_array_equal(image, classes[i, :height, :width])


def test_one_output_comes_without_its_name(rng, signatures, predictor):
    server, address = fake_tf_serving.serve_rest(signatures, "blocks")
    try:
        image = rng.integers(0, 256, (9, 11, 3), "uint8")
        inputs = {"images": [image.tolist()]}
        found = client("rest_client").predict(address, "blocks", "probabilities", inputs)
    finally:
        server.shutdown()
    compare({"probabilities": np.array(found)}, predictor.logits(image)[None])


def test_the_grpc_clients_bytes_are_the_protocols(images):
    """Its own encoding against the package's, both ways."""
    grpc_client = client("grpc_client")
    captured = []

    class Channel:
        def unary_unary(self, method):
            assert method == "/tensorflow.serving.PredictionService/Predict"
            return lambda request, timeout: captured.append(request) or reply.SerializeToString()

    reply = predict_pb2.PredictResponse()
    arrays = {
        "classes": np.arange(256, dtype="uint8").reshape(2, 8, 16),
        "wide": np.array([[0, 127, 128, 65535]], "uint16"),
        "confidence": np.linspace(0, 1, 12, dtype="float32").reshape(2, 2, 3),
        "limit": np.array([2**40], "int64"),
    }
    for name, array in arrays.items():
        reply.outputs[name].CopyFrom(fake_tf_serving.as_proto_field(array))
        reply.outputs[f"raw_{name}"].CopyFrom(tf.make_tensor_proto(array))
    files = images[1]
    value = grpc_client.tensor(grpc_client.STRING, files)
    found = grpc_client.predict(Channel(), "m", "s", "images", value, ["classes", "wide"])
    for name, array in arrays.items():
        np.testing.assert_array_equal(np.asarray(found[name]), array)
        np.testing.assert_array_equal(np.asarray(found[f"raw_{name}"]), array)
    request = predict_pb2.PredictRequest.FromString(captured[0])
    assert (request.model_spec.name, request.model_spec.signature_name) == ("m", "s")
    assert tf.make_ndarray(request.inputs["images"]).tolist() == files
    assert list(request.output_filter) == ["classes", "wide"]
    numbers = predict_pb2.PredictRequest()
    numbers.inputs["x"].ParseFromString(grpc_client.tensor(grpc_client.INT32, [0, -7, 9]))
    assert tf.make_ndarray(numbers.inputs["x"]).tolist() == [0, -7, 9]


@pytest.mark.parametrize(("name", "needs"), [("grpc_client", "grpc"), ("rest_client", "requests")])
def test_clients_need_one_package(name, needs):
    modules = set()
    for node in ast.walk(ast.parse((CLIENTS / f"{name}.py").read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
    assert modules - sys.stdlib_module_names == {needs}
