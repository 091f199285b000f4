"""Gate maps on the pixels of the image, and their files."""

import numpy as np
import pytest
from PIL import Image

from gff_keras.evaluation.gate_maps import draw_gates, gate_maps, on_image, without_gates
from gff_keras.evaluation.prediction import Predictor
from gff_keras.visualization import ablation_sheet, gate_sheet
from tests.layers.test_resizing import bilinear, resampled

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture
def predictor(trained):
    return Predictor(trained[1])


@pytest.fixture
def labels(records):
    from gff_keras.data import LabelSet

    return LabelSet.from_records(records)


@pytest.mark.parametrize("image_size", [None, (24, 40), (65, 94)])
def test_gates_lie_where_the_network_samples(trained, rng, image_size):
    predictor = Predictor(trained[1], image_size)
    image = rng.integers(0, 256, (33, 47, 3), "uint8")
    maps = gate_maps(predictor, image)
    assert maps.shape == (3, 33, 47) and maps.dtype == np.float32
    for found, gate in zip(maps, predictor.gates(image), strict=True):
        seen = resampled(gate[None, ..., None], image_size or (33, 47))
        expected = seen if image_size is None else bilinear(seen, (33, 47))
        np.testing.assert_allclose(found, expected[0, ..., 0], atol=1e-6)


def test_an_edge_stays_where_it_is():
    """A step between the samples at pixels 16 and 24; half-pixel centres would shift it."""
    step = np.repeat([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]], 3, axis=0).astype("float32")
    (found,) = on_image([step], None, (17, 41))
    np.testing.assert_allclose(found[5], np.clip((np.arange(41) - 16) / 8, 0, 1), atol=1e-6)


def test_networks_without_a_gate(predictor, rng):
    image = rng.integers(0, 256, (33, 47, 3), "uint8")
    others = without_gates(predictor)
    assert list(others) == ["G1", "G2", "G3"]
    for level, other in enumerate(others.values()):
        for i, gate in enumerate(other.gates(image)):
            assert (gate == 0).all() == (i == level)
    once = Predictor(predictor.model.with_gates([2]))
    assert without_gates(once)["G1"].model.zero_gates == (1, 2)


def test_files_of_an_image(predictor, labels, rng, tmp_path):
    image = rng.integers(0, 256, (33, 47, 3), "uint8")
    (tmp_path / "images" / "in").mkdir(parents=True)
    Image.fromarray(image).save(tmp_path / "images" / "in" / "a.png")
    out = tmp_path / "out"
    draw_gates(predictor, labels, tmp_path / "images", out, ablate=True, native=True)
    maps = gate_maps(predictor, image)
    np.testing.assert_array_equal(np.load(out / "in" / "a_gates.npy"), maps)
    with np.load(out / "in" / "a_gates.npz") as native:
        assert list(native) == ["G1", "G2", "G3"]
        for stored, gate in zip(native.values(), predictor.gates(image), strict=True):
            np.testing.assert_array_equal(stored, gate)
    classes = predictor.classes(image)
    without = {name: other.classes(image) for name, other in without_gates(predictor).items()}
    for name, sheet in (
        ("gates", gate_sheet(image, maps, classes, labels)),
        ("ablation", ablation_sheet(image, None, classes, without, labels)),
    ):
        with Image.open(out / "in" / f"a_{name}.png") as written:
            np.testing.assert_array_equal(np.asarray(written), np.asarray(sheet))
    assert len(list(out.rglob("*.*"))) == 4


def test_a_stretched_sheet_shows_the_pattern_of_a_weak_gate(labels, rng):
    image = rng.integers(0, 256, (48, 480, 3), "uint8")
    weak = np.linspace(0.02, 0.06, 480, dtype="float32")[None].repeat(48, 0)
    same = np.full((48, 480), 0.3, "float32")
    stretched, plain = (
        np.asarray(gate_sheet(image, [weak, same], image[..., 0] * 0, labels, stretch))
        for stretch in (True, False)
    )
    left, y = 17 + 480 + 8, 17 + 25 + 20  # of the first gate: margin, image, gap; title
    row = stretched[y, left : left + 480].astype(int)
    full = plain[:, -4 * 17 + 3]  # the colour bar
    assert np.ptp(row, axis=0).min() > 0.9 * np.ptp(full[50:100].astype(int), axis=0).min()
    assert np.abs(row[0] - (68, 1, 84)).max() <= 1 and np.abs(row[-1] - (253, 231, 36)).max() <= 1
    assert np.ptp(plain[y, left : left + 480].astype(int), axis=0).max() < 20
    y += 48 + 25 + 8  # a map that is the same everywhere has no pattern
    np.testing.assert_array_equal(stretched[y, left : left + 480], plain[y, left : left + 480])
