"""Image files in, pictures out; files that are no image are named."""

import numpy as np
import pytest
from PIL import Image

from gff_keras.evaluation.images import predict_images, read_image
from gff_keras.evaluation.prediction import load_predictor

pytestmark = pytest.mark.usefixtures("eager")

ROTATED = 6  # EXIF orientation: turn by 90 degrees clockwise to see it upright


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (19, 27, 3), "uint8")


@pytest.fixture
def model(trained):
    return trained[0].out / "last.keras"


def test_rgb_png_is_read_as_it_is(pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, pixels)


def test_grey_becomes_three_equal_channels(pixels, tmp_path):
    grey = pixels[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.repeat(grey[..., None], 3, -1))


def test_transparency_is_left_out(pixels, rng, tmp_path):
    alpha = rng.integers(0, 256, (19, 27, 1), "uint8")
    Image.fromarray(np.concatenate([pixels, alpha], -1)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)


def test_sixteen_bits_are_scaled_to_eight(rng, tmp_path):
    grey = rng.integers(0, 65536, (19, 27), "uint16")
    Image.fromarray(grey).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png").astype(float)
    assert image.shape == (19, 27, 3)
    assert np.abs(image - grey[..., None] / 257).max() < 1


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_exif_rotation_is_undone(rng, tmp_path, name):
    upright = np.kron(rng.integers(0, 256, (4, 6, 3), "uint8"), np.ones((16, 16, 1), "uint8"))
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    stored = Image.fromarray(np.rot90(upright).copy())
    stored.save(
        tmp_path / name,
        exif=exif,
        **({"quality": 100, "subsampling": 0} if name == "a.jpg" else {}),
    )
    image = read_image(tmp_path / name)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 2


@pytest.mark.parametrize("content", [b"", b"only text", b"\xff\xd8\xff\xe0 cut"], ids=repr)
def test_what_is_no_image_is_named_in_one_sentence(tmp_path, content):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path} is not a readable image") as error:
        read_image(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_image_cut_short_is_named(pixels, tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=f"^{path} is not a readable image"):
        read_image(path)


def test_masks_are_the_predictions_in_mirrored_folders(rng, model, tmp_path):
    predictor, labels = load_predictor(model)
    images = {}
    for name in ("top.png", "in/deep/er.v2.PNG", "in/photo.jpeg"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (33, 47, 3), "uint8")).save(path)
        images[name.rsplit(".", 1)[0]] = read_image(path)
    (tmp_path / "images" / "in" / "notes.txt").write_text("not an image, not looked at")
    (tmp_path / "images" / "folder.png").mkdir()
    predict_images(tmp_path / "images", model, tmp_path / "out")
    written = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.png")}
    assert written == {f"{name}_{kind}.png" for name in images for kind in ("mask", "overlay")}
    for name, image in images.items():
        with Image.open(tmp_path / "out" / f"{name}_mask.png") as mask:
            assert mask.mode == "P"
            assert tuple(mask.getpalette()[:9]) == sum(labels.palette, ())
            np.testing.assert_array_equal(np.asarray(mask), predictor.classes(image))
        with Image.open(tmp_path / "out" / f"{name}_overlay.png") as overlay:
            assert overlay.width > 2 * 480  # image and prediction, enlarged, side by side


def test_one_image_and_a_size_for_the_network(rng, model, tmp_path):
    path = tmp_path / "one.png"
    Image.fromarray(rng.integers(0, 256, (33, 47, 3), "uint8")).save(path)
    predict_images(path, model, tmp_path / "out", image_size=(16, 24))
    predictor, _ = load_predictor(model, (16, 24))
    with Image.open(tmp_path / "out" / "one_mask.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), predictor.classes(read_image(path)))


def test_a_bad_image_among_good_ones_stops_with_its_name(rng, model, tmp_path):
    """What came before stays; nothing that follows goes missing without a word."""
    (tmp_path / "images").mkdir()
    for name in "ac":
        pixels = rng.integers(0, 256, (16, 16, 3), "uint8")
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
    (tmp_path / "images" / "b.png").write_text("broken")
    with pytest.raises(ValueError, match=r"b\.png is not a readable image"):
        predict_images(tmp_path / "images", model, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a_mask.png", "a_overlay.png"]


def test_two_images_with_one_result_are_refused(rng, model, tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.png", "a.jpg"):
        pixels = rng.integers(0, 256, (16, 16, 3), "uint8")
        Image.fromarray(pixels).save(tmp_path / "images" / name)
    with pytest.raises(ValueError, match=r"a\.jpg and .*a\.png"):
        predict_images(tmp_path / "images", model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_images(model, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty holds no image"):
        predict_images(tmp_path / "empty", model, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        predict_images(tmp_path / "nowhere", model, tmp_path / "out")


def test_results_inside_the_folder_of_images_are_not_read_again(pixels, model, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for _ in range(2):
        predict_images(tmp_path, model, tmp_path / "results")
    written = sorted(path.name for path in (tmp_path / "results").rglob("*.png"))
    assert written == ["a_mask.png", "a_overlay.png"]
    with pytest.raises(ValueError, match="holds the images"):
        predict_images(tmp_path, model, tmp_path)
