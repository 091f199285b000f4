"""What a network carries in its file, and how it comes back."""

import json
import shutil
import zipfile

import keras
import numpy as np
import pytest

import gff_keras as gff
from gff_keras import layers
from gff_keras.data import LabelSet
from gff_keras.sharing import load_model
from gff_keras.sharing.metadata import portable

pytestmark = pytest.mark.usefixtures("eager")

LABELS = LabelSet(
    "three", ("a", "b <c>", "ö"), ((1, 2, 3), (4, 5, 6), (7, 8, 9)), {7: 0, 8: 255}, ("ö",)
)


@pytest.fixture
def run_folder(trained, tmp_path):
    """A copy of a run's folder, to change."""
    shutil.copytree(trained[0].out, tmp_path / "run")
    return tmp_path / "run"


def save_unchecked(model, path, metadata):
    """Save a network as a file that was written or edited elsewhere may be."""
    model._metadata = metadata
    keras.saving.save_model(model, path)


def images(rng):
    return rng.integers(0, 256, (2, 33, 47, 3), "uint8")


@pytest.mark.parametrize("name", ["best.keras", "last.keras"])
def test_a_file_of_training_carries_labels_and_recipe(trained, records, tmp_path, name):
    recipe = trained[0]
    shutil.copy(recipe.out / name, tmp_path / name)
    model = gff.load(tmp_path / name)
    assert model.labels == LabelSet.from_records(records)
    assert model.labels.names == ("sky", "road", "car")
    fields = recipe.fields()
    assert model.recipe == {
        **{name: fields[name] for name in fields.keys() - {"out", "overwrite", "resume"}},
        "data": recipe.data.name,
    }


def test_no_path_of_this_machine_is_inside(tiny_recipe, trained, run_folder, tmp_path):
    """Neither in the file of a run nor in what is saved after what lies beside it was read."""
    gff.load(run_folder).save(tmp_path / "again.keras")
    for path in (trained[0].out / "last.keras", tmp_path / "again.keras"):
        with zipfile.ZipFile(path) as file:
            texts = [file.read(name) for name in file.namelist() if name.endswith(".json")]
        assert any(b'"recipe"' in text for text in texts)
        for folder in (trained[0].out, trained[0].data, tmp_path):
            assert not any(str(folder.parent).encode() in text for text in texts)


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("data", "records/camvid", "camvid"),
        ("data", "/home/me/camvid/", "camvid"),
        ("weights", "../secret/a.npz", "a.npz"),
        ("weights", "C:\\Users\\me\\a.npz", "a.npz"),
        ("weights", "imagenet", "imagenet"),
        ("weights", None, None),
        ("weights", "", ""),
        ("weights", "hf:/user/name", "hf://user/name"),
        ("mine", {"deep": {"in": "/home/me/x"}}, {"deep": {"in": "x"}}),
        ("mine", "/home/me/x", "x"),
        ("mine", ["~/x", 1, "a/b"], ["x", 1, "a/b"]),
        ("dtype", "float32", "float32"),
        ("momentum", 0.9, 0.9),
    ],
)
def test_paths_are_reduced_to_names(field, value, shown):
    assert portable({field: value, "out": "runs/x", "resume": True}) == {field: shown}


def test_metadata_survives_saving_loading_and_rebuilding(rng, tiny_model, tmp_path):
    metadata = {"labels": LABELS.to_dict(), "recipe": {"crop_size": (33, 41)}, "more": {"x": 1}}
    model, x = tiny_model(metadata=metadata), images(rng)
    expected = model(x)["logits"]
    for i in range(2):
        model.save(tmp_path / f"{i}.keras")
        model = keras.saving.load_model(tmp_path / f"{i}.keras")
        assert model.labels == LABELS
        assert model.recipe == {"crop_size": [33, 41]}
        assert model.metadata["more"] == {"x": 1}
        np.testing.assert_array_equal(model(x)["logits"], expected)
    assert model.with_gates([1]).labels == LABELS
    assert gff.GFFNet.from_config(model.get_config()).labels == LABELS
    bare = tiny_model()
    assert bare.labels is None and bare.recipe == {} and "metadata" not in bare.get_config()
    bare.metadata["labels"] = LABELS.to_dict()
    bare.save(tmp_path / "later.keras")
    assert gff.load(tmp_path / "later.keras").labels == LABELS


def test_outputs_are_those_of_the_trained_network(rng, trained):
    x = images(rng)
    expected = trained[1](x, training=False)["logits"]
    loaded = gff.load(trained[0].out / "last.keras")
    np.testing.assert_array_equal(loaded(x, training=False)["logits"], expected)


def test_what_lies_beside_counts_first(run_folder):
    LABELS.save(run_folder / "labels.json")
    recipe = {"data": "/home/me/other", "image_size": [20, 30], "out": "/home/me/run"}
    (run_folder / "recipe.json").write_text(json.dumps(recipe))
    model = gff.load(run_folder / "last.keras")
    assert model.labels == LABELS
    assert model.recipe == {"data": "other", "image_size": [20, 30]}
    assert load_model(run_folder / "last.keras").labels.names == ("sky", "road", "car")


def test_labels_of_another_number_of_classes(run_folder, tiny_model, tmp_path):
    save_unchecked(tiny_model(4), tmp_path / "four.keras", {"labels": LABELS.to_dict()})
    with pytest.raises(ValueError, match=r"label table in \S+four.keras names 3 .* predicts 4"):
        gff.load(tmp_path / "four.keras")
    LabelSet("four", tuple("abcd"), ((0, 0, 0),) * 4).save(tmp_path / "labels.json")
    assert gff.load(tmp_path / "four.keras").labels.names == ("a", "b", "c", "d")  # the remedy
    tiny_model(4).save(run_folder / "last.keras")
    with pytest.raises(ValueError, match=r"labels.json names 3 classes.*last.keras predicts 4"):
        gff.load(run_folder / "last.keras")


@pytest.mark.parametrize("table", [[1], {"classes": ["a"]}, {"classes": "abc", "palette": []}])
def test_a_damaged_label_table_inside(tiny_model, tmp_path, table):
    save_unchecked(tiny_model(), tmp_path / "m.keras", {"labels": table})
    with pytest.raises(ValueError, match=r"m.keras: (a? ?label|'classes' and)"):
        gff.load(tmp_path / "m.keras")


def test_a_damaged_label_table_stops_gff_load_alone(rng, tiny_model, tmp_path):
    save_unchecked(tiny_model(), tmp_path / "m.keras", {"labels": [1]})
    x = images(rng)
    model = keras.saving.load_model(tmp_path / "m.keras")
    assert model.with_gates([1]).metadata == {"labels": [1]}
    np.testing.assert_array_equal(model.with_gates([])(x)["logits"], model(x)["logits"])


@pytest.mark.parametrize("metadata", [["x"], {"recipe": "x"}])
def test_damaged_metadata_names_the_file(tiny_model, tmp_path, metadata):
    config = tiny_model().get_config()
    model = gff.GFFNet.from_config(config)
    model._metadata = {"more": "replaced below"}
    keras.saving.save_model(model, tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as old:
        files = {name: old.read(name) for name in old.namelist()}
    written = json.dumps({"more": "replaced below"}).encode()
    assert written in files["config.json"]
    files["config.json"] = files["config.json"].replace(written, json.dumps(metadata).encode())
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as new:
        for name, content in files.items():
            new.writestr(name, content)
    with pytest.raises(ValueError, match=r"m.keras(:| cannot be loaded)"):
        gff.load(tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (["labels"], "metadata=.* is no dictionary"),
        ({"a": object()}, "metadata cannot be kept in a file as JSON"),
        ({"recipe": {1, 2}}, "metadata cannot be kept in a file as JSON"),
        ({"recipe": "x"}, r"metadata\['recipe'\]='x' is no dictionary"),
        ({"labels": [1]}, r"metadata\['labels'\]=\[1\] is no dictionary"),
        ({"labels": {"classes": ["a"]}}, "label table lacks the key 'palette'"),
        ({"labels": LABELS.to_dict()}, "names 3 classes, but the network predicts 4"),
    ],
)
def test_metadata_that_no_file_can_hold(tiny_model, tmp_path, metadata, message):
    """Refused when it is given, also later; and a good file is not written over."""
    with pytest.raises(ValueError, match=message):
        tiny_model(4, metadata=metadata)
    model = tiny_model(4, metadata={"recipe": {"a": 1}})
    with pytest.raises(ValueError, match=message):
        model.metadata = metadata
    assert model.recipe == {"a": 1}
    if isinstance(metadata, dict):
        model.save(tmp_path / "m.keras")
        before = (tmp_path / "m.keras").read_bytes()
        model.metadata.update(metadata)
        with pytest.raises(ValueError, match=message):
            model.save(tmp_path / "m.keras")
        assert (tmp_path / "m.keras").read_bytes() == before


@keras.saving.register_keras_serializable(package="tests")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def test_a_class_that_is_not_there_is_named(tiny_model, tmp_path, monkeypatch):
    x = keras.Input((None, None, 3))
    features = [layers.Conv2D(4, 3, strides=stride)(Doubled()(x)) for stride in (4, 8)]
    gff.GFFNet(keras.Model(x, features), 3, filters=4).save(tmp_path / "m.keras")
    assert gff.load(tmp_path / "m.keras").num_classes == 3
    registry = keras.saving.get_custom_objects()
    monkeypatch.delitem(registry, "tests>Doubled")
    monkeypatch.setattr(Doubled, "__module__", "elsewhere")
    with pytest.raises(ValueError, match="holds a Doubled, which is not Keras's; import .*regist"):
        gff.load(tmp_path / "m.keras")


def test_code_in_a_file_is_refused(tiny_model, tmp_path):
    """Keras's safe mode stays on."""
    x = keras.Input((None, None, 3))
    features = [keras.layers.Lambda(lambda y: 2 * y)(x)]
    for stride in (4, 8):
        features.append(keras.layers.Conv2D(4, 3, stride, "same")(x))
    gff.GFFNet(keras.Model(x, features), 3, filters=4).save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match=r"m.keras cannot be loaded as a .keras model: .*ambda"):
        gff.load(tmp_path / "m.keras")


def test_models_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.keras does not exist"):
        load_model(tmp_path / "none.keras")
    garbage = tmp_path / "garbage.keras"
    for content in (b"", b"no model at all", b"PK\x03\x04 cut"):
        garbage.write_bytes(content)
        with pytest.raises(ValueError, match="garbage.keras is no .keras archive") as error:
            load_model(garbage)
        assert "\n" not in str(error.value)
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    other.save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="other.keras holds a Sequential, not a GFFNet"):
        load_model(tmp_path / "other.keras")


def test_a_model_cut_short_is_refused(run_folder):
    path = run_folder / "last.keras"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="last.keras is no .keras archive, or is cut short"):
        load_model(path)
