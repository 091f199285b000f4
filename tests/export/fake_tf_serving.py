"""TF Serving's two interfaces over a real SavedModel, answering as json_tensor.cc and Predict do.

Answers hold values in the fields of their types, as TF Serving writes them, not as raw bytes.
"""

import base64
import json
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def predict(signatures, request):
    """Answer a PredictRequest as the server does."""
    function = signatures.functions[request.model_spec.signature_name]
    inputs = {name: tf.constant(tf.make_ndarray(x)) for name, x in request.inputs.items()}
    specs = function.structured_input_signature[1]
    assert {name: x.dtype for name, x in inputs.items()} == {n: s.dtype for n, s in specs.items()}
    reply = predict_pb2.PredictResponse(model_spec=request.model_spec)
    for name, value in function(**inputs).items():
        if not request.output_filter or name in request.output_filter:
            reply.outputs[name].CopyFrom(as_proto_field(value.numpy()))
    return reply


def as_proto_field(array):
    """A TensorProto with typed values: what TF Serving answers with."""
    proto = tf.make_tensor_proto(np.zeros(0, array.dtype))
    proto.ClearField("tensor_content")
    proto.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    values = array.ravel().tolist()
    field = {"f": "float_val", "O": "string_val", "u": "int_val", "i": "int_val"}[array.dtype.kind]
    if array.dtype == np.int64:
        field = "int64_val"
    getattr(proto, field).extend(values)
    return proto


def serve_grpc(signatures):
    """Start a server; return (server, address)."""

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            try:
                return predict(signatures, request)
            except tf.errors.InvalidArgumentError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)

    server = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    return server, f"localhost:{port}"


def serve_rest(signatures, name):
    """Start a server; return (server, address)."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                assert self.path == f"/v1/models/{name}:predict"
                reply, status = {"outputs": self.answer(body)}, 200
            except tf.errors.InvalidArgumentError as error:
                reply, status = {"error": error.message}, 400
            text = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def answer(self, body):
            request = request_from_json(signatures, name, body)
            outputs = predict(signatures, request).outputs
            arrays = {key: tf.make_ndarray(value) for key, value in outputs.items()}
            lists = {key: decoded(value.tolist()) for key, value in arrays.items()}
            return lists if len(lists) > 1 else next(iter(lists.values()))

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("localhost", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://localhost:{server.server_address[1]}"


def request_from_json(signatures, name, body):
    """The PredictRequest that TF Serving makes of a request in columns."""
    assert set(body) == {"signature_name", "inputs"}
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = body["signature_name"]
    specs = signatures.functions[body["signature_name"]].structured_input_signature[1]
    assert set(body["inputs"]) == set(specs)
    for key, values in body["inputs"].items():
        dtype = specs[key].dtype
        if dtype == tf.string:
            values = [base64.b64decode(value["b64"], validate=True) for value in values]
        request.inputs[key].CopyFrom(tf.make_tensor_proto(values, dtype))
    return request


def decoded(values):
    if isinstance(values, list):
        return [decoded(value) for value in values]
    return values.decode() if isinstance(values, bytes) else values
