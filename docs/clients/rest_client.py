"""Segment image files through TF Serving's REST interface. Needs `requests` alone.

    python rest_client.py photo.jpg other.png --server http://localhost:8501 --model camvid

Writes the classes of photo.jpg to photo.jpg_classes.pgm, a grey image whose values are the classes.
"""

import argparse
import base64
import re
from pathlib import Path

import requests


def predict(server, model, signature, inputs):
    """Return the outputs of a signature: nested lists by name, or one where there is one output."""
    url = f"{server}/v1/models/{model}:predict"
    try:
        reply = requests.post(url, json={"signature_name": signature, "inputs": inputs}, timeout=60)
        answer = reply.json()
    except requests.RequestException as error:
        raise SystemExit(
            f"{url}: no answer of TF Serving ({type(error).__name__}); give --server as "
            "http://HOST:PORT of its REST interface."
        ) from None
    if "outputs" not in answer:
        raise SystemExit(f"{url}: {reply.status_code}: {sentence(answer.get('error', reply.text))}")
    return answer["outputs"]


def sentence(error):
    """Return what an error of TensorFlow says, on one line, without the names of its graph."""
    said = re.search(r"assertion failed: \[([^\]]*)\]", error)
    return said[1] if said else " ".join(error.split())


def segment(server, model, files):
    """Return (classes, confidence) of each encoded image: lists of rows."""
    images = [{"b64": base64.b64encode(data).decode()} for data in files]
    outputs = predict(server, model, "serving_bytes", {"images": images})
    results = []
    for i, (height, width) in enumerate(outputs["sizes"]):  # the rest is padding
        results.append(
            tuple(
                [row[:width] for row in outputs[name][i][:height]]
                for name in ("classes", "confidence")
            )
        )
    return results


def class_names(server, model):
    """Return the names of the classes."""
    return predict(server, model, "labels", {"request": [0]})["names"][0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--server", default="http://localhost:8501")
    parser.add_argument("--model", required=True)
    options = parser.parse_args()
    try:
        files = [path.read_bytes() for path in options.images]
    except OSError as error:
        raise SystemExit(f"{error.filename}: {error.strerror}") from None
    names = class_names(options.server, options.model)
    results = segment(options.server, options.model, files)
    for path, (classes, _) in zip(options.images, results, strict=True):
        pixels = bytes(value for row in classes for value in row)
        out = path.with_name(f"{path.name}_classes.pgm")
        out.write_bytes(f"P5 {len(classes[0])} {len(classes)} 255\n".encode() + pixels)
        print(f"{out}:")
        for index, name in enumerate(names):
            if index in pixels:
                print(f"  {name:<20}{pixels.count(index) / len(pixels):7.1%}")


if __name__ == "__main__":
    main()
