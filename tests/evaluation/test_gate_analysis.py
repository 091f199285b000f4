"""Ablation and statistics of gates over a split, against loops in NumPy."""

import json

import numpy as np
import pytest

from gff_keras.data import evaluation_dataset
from gff_keras.evaluation import gate_tables as tables
from gff_keras.evaluation.gate_analysis import ablation, statistics
from gff_keras.evaluation.gate_maps import gate_maps
from gff_keras.evaluation.prediction import Predictor
from gff_keras.evaluation.resizing import network_input
from tests.tiny import eagerly

NAMES = ["sky", "road", "car"]
SEEN = (24, 40)


@pytest.fixture(scope="module")
def predictor(trained):
    """The trained network with gates that differ widely, from nearly closed to nearly open."""
    from gff_keras import GFFNet

    model = GFFNet.from_config(trained[1].get_config())
    model.set_weights(trained[1].get_weights())
    for conv, bias in zip(model.get_layer("gff").gate_convs, (-1.5, 0.0, 1.5), strict=True):
        conv.bias.assign([bias])
        conv.kernel.assign(60 * conv.kernel)
    return Predictor(model, SEEN)


@pytest.fixture(scope="module")
def described(predictor, records):
    with eagerly():
        return statistics(predictor, records, "train", verbose=False)


@pytest.fixture(scope="module")
def ablated(predictor, records):
    with eagerly():
        return ablation(predictor, records, max_images=1, verbose=False)


def pairs(records, split="train"):
    for image, label in evaluation_dataset(records, split):
        yield image.numpy()[0], label.numpy()[0]


def test_statistics_pixel_by_pixel(predictor, records, described, eager):
    values = {name: [[], [], []] for name in (*NAMES, "all")}
    for image, label in pairs(records):
        for level, gate in enumerate(gate_maps(predictor, image)):
            values["all"][level].extend(gate.ravel())
            for index, name in enumerate(NAMES):
                values[name][level].extend(gate[label == index])
    for level, found in enumerate(described["gates"].values()):
        for name, lists in values.items():
            gate = np.array(lists[level])
            measured = found if name == "all" else found["classes"][name]
            assert measured["mean"] == pytest.approx(gate.mean(), abs=1e-6)
            assert measured["above_0.9"] == pytest.approx((gate > 0.9).mean(), abs=1e-12)
            assert measured["below_0.1"] == pytest.approx((gate < 0.1).mean(), abs=1e-12)
    shares = [
        gate[key] for gate in described["gates"].values() for key in ("above_0.9", "below_0.1")
    ]
    assert 0.05 < max(shares) and len(set(shares)) > 3  # the thresholds are met
    assert described["pixels"] == {name: len(values[name][0]) for name in NAMES}
    assert (described["images"], described["split"]) == (5, "train")
    assert json.loads(json.dumps(described)) == described


def test_shares_of_equation_5(predictor, records, described, eager):
    """All images have one size for the network: the mean over pixels is that over images."""
    model, gff = predictor.model, predictor.model.get_layer("gff")
    magnitude = np.zeros((3, 3))
    for image, _ in pairs(records):
        features = model.features(network_input(image, SEEN))
        whole = np.array([np.abs(x).mean() for x in gff(features)])
        brought = gff.contributions(features).numpy()[0]
        np.testing.assert_allclose(brought.sum(1) / 8, whole, rtol=1e-5)  # of 8 channels
        magnitude += brought / 5
    np.testing.assert_allclose(described["contribution"], magnitude, rtol=1e-5)
    for level, i in np.ndindex(3, 3):
        assert described["receive"][level][i] == pytest.approx(
            magnitude[level, i] / magnitude[level].sum()
        )
        assert described["send"][i][level] == pytest.approx(
            magnitude[level, i] / magnitude[:, i].sum()
        )


def test_images_of_other_sizes_count_by_their_pixels(trained, records, eager):
    model, gff = trained[1], trained[1].get_layer("gff")
    sums, area = np.zeros((3, 3)), np.zeros((3, 1))
    for image, _ in pairs(records, "val"):
        features = model.features(network_input(image))
        pixels = np.array([[x.shape[1] * x.shape[2]] for x in features])
        sums += pixels * gff.contributions(features).numpy()[0]
        area += pixels
    found = statistics(Predictor(model), records, verbose=False)
    np.testing.assert_allclose(found["contribution"], sums / area, rtol=1e-5)


def test_ablation_is_the_evaluation_of_networks_without_a_gate(predictor, records, ablated, eager):
    image, label = next(pairs(records, "val"))
    networks = {"all": predictor}
    for level in (1, 2, 3):
        networks[f"G{level}"] = Predictor(predictor.model.with_gates(zero=[level]), SEEN)
    for name, network in networks.items():
        prediction, found = network.classes(image), ablated
        if name != "all":
            found = ablated["without"][name]
        hit = [np.sum((prediction == c) & (label == c)) for c in range(3)]
        either = [np.sum(((prediction == c) | (label == c)) & (label != 255)) for c in range(3)]
        ious = [i / n if n else None for i, n in zip(hit, either, strict=True)]
        assert list(found["iou"].values()) == pytest.approx(ious)
        assert found["mean_iou"] == pytest.approx(np.mean([i for i in ious if i is not None]))
    assert len({ablated["mean_iou"], *(x["mean_iou"] for x in ablated["without"].values())}) > 2
    assert (ablated["images"], ablated["split"]) == (1, "val")
    assert json.loads(json.dumps(ablated)) == ablated


def test_the_first_images_only(predictor, records, eager):
    two = statistics(predictor, records, "train", max_images=2, verbose=False)
    labels = [label for _, label in pairs(records)][:2]
    assert two["pixels"] == {
        n: sum(int((y == i).sum()) for y in labels) for i, n in enumerate(NAMES)
    }
    assert two["images"] == 2
    with pytest.raises(ValueError, match="max_images=0"):
        statistics(predictor, records, "train", max_images=0)


def test_a_class_that_never_occurs(predictor, records, monkeypatch, eager):
    def without_cars(*_, **__):
        for image, label in pairs(records):
            yield "name", image, np.where(label == 2, 255, label).astype("uint8")

    monkeypatch.setattr("gff_keras.evaluation.gate_analysis.examples", without_cars)
    found = statistics(predictor, records)
    assert set(found["gates"]["G1"]["classes"]["car"].values()) == {None}
    assert found["pixels"]["car"] == 0
    row = next(x for x in tables.statistics_table(found).splitlines() if x.startswith("car"))
    assert row.split() == ["car"] + 9 * ["absent"]


def test_tables_hold_the_numbers(described, ablated):
    rows = tables.gate_rows(described)
    assert [row[0] for row in rows] == ["class", "all pixels", *NAMES]
    assert rows[0][1:4] == ["G1 mean", "G1 above_0.9", "G1 below_0.1"]
    assert rows[3][4:7] == list(described["gates"]["G2"]["classes"]["road"].values())
    assert tables.share_rows(described)[4] == ["send", 1, *described["send"][0]]
    lines = tables.statistics_table(described).splitlines()
    values = next(line for line in lines if line.startswith("road")).split()[1:]
    assert values == [f"{x:.2f}" for x in rows[3][1:]]
    road = tables.ablation_rows(ablated)[2]
    others = [x["iou"]["road"] for x in ablated["without"].values()]
    assert road[:2] == ["road", ablated["iou"]["road"]]
    np.testing.assert_array_equal(road[2:5], others)
    np.testing.assert_allclose(road[5:], np.array(others) - ablated["iou"]["road"])
    lines = tables.ablation_table(ablated).splitlines()
    values = next(line for line in lines if line.startswith("road")).split()[1:]
    assert values == [f"{100 * road[1]:.2f}"] + [f"{100 * x:+.2f}" for x in road[5:]]
    assert lines[-1].split()[:3] == ["mean", "IoU", f"{100 * ablated['mean_iou']:.2f}"]


def test_a_change_too_small_to_show_has_no_minus_sign():
    found = {"mean_iou": 0.6, "iou": {"car": 0.6}}
    found["without"] = {"G1": {"mean_iou": 0.59, "iou": {"car": 0.599996}}}
    _, car, _, mean = tables.ablation_table(found).splitlines()
    assert (car.split(), mean.split()[2:]) == (["car", "60.00", "+0.00"], ["60.00", "-1.00"])


def test_what_has_no_gates_is_refused(tiny_model, records):
    pspnet = Predictor(tiny_model(3, fusion=None, dfp=False))
    for function in (ablation, statistics):
        with pytest.raises(ValueError, match="fusion=None has no gates"):
            function(pspnet, records)
        with pytest.raises(ValueError, match="TFLite files hold no gate maps"):
            function(object(), records)
        with pytest.raises(ValueError, match="3 classes, but the model predicts 4"):
            function(Predictor(tiny_model(4)), records)
