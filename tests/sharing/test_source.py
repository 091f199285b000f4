"""Files, folders and repositories that a model is taken from."""

import json
import shutil
import sys
import types

import numpy as np
import pytest

import gff_keras as gff
from gff_keras.sharing import locate

pytestmark = pytest.mark.usefixtures("eager")


class Hub(types.ModuleType):
    """Stands for huggingface_hub: a snapshot is a folder, an exception is raised."""

    class errors:  # noqa: N801
        class HFValidationError(ValueError): ...

        class RepositoryNotFoundError(OSError): ...

        class RevisionNotFoundError(OSError): ...

    def __init__(self):
        super().__init__("huggingface_hub")
        self.answer, self.asked = None, []

    def snapshot_download(self, repo_id, *, revision=None, allow_patterns=None):
        self.asked.append((repo_id, revision, tuple(allow_patterns)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return str(self.answer)


@pytest.fixture
def hub(monkeypatch):
    hub = Hub()
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    return hub


@pytest.fixture
def snapshot(trained, tmp_path):
    """What a hub keeps of a network: one file."""
    folder = tmp_path / "cache" / "0123abcd"
    folder.mkdir(parents=True)
    shutil.copy(trained[0].out / "last.keras", folder / "net.keras")
    return folder


def test_a_folder_stands_for_its_best_model(tmp_path):
    for name in ("other.keras", ".unfinished-best.keras", "last.keras", "best.keras"):
        (tmp_path / name).touch()
        hidden = name.startswith(".")
        assert locate(tmp_path).name == ("other.keras" if hidden else name)
    assert locate(str(tmp_path / "last.keras")) == tmp_path / "last.keras"


def test_folders_that_leave_it_open(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no .keras file"):
        locate(tmp_path)
    for name in ("b.keras", "a.keras"):
        (tmp_path / name).touch()
    with pytest.raises(
        ValueError, match=r"holds a.keras, b.keras and no best.keras; name one: \S+a"
    ):
        locate(tmp_path)


def test_a_page_of_the_hub_is_no_repository():
    for page in ("https://huggingface.co/me/net", "http://www.huggingface.co/me/net/tree/main"):
        with pytest.raises(
            ValueError, match=f"{page} is a page; give the repository, hf://me/net."
        ):
            gff.load(page)


def test_a_repository_gives_the_trained_network(rng, trained, hub, snapshot):
    hub.answer = snapshot
    model = gff.load("hf://someone/net")
    assert hub.asked == [("someone/net", None, ("*.keras", "*.json"))]
    assert model.labels.names == ("sky", "road", "car")
    assert model.recipe["crop_size"] == [33, 41]
    x = rng.integers(0, 256, (1, 40, 36, 3), "uint8")
    expected = trained[1](x, training=False)["logits"]
    np.testing.assert_array_equal(model(x, training=False)["logits"], expected)


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("hf://someone/net@v1.0", ("someone/net", "v1.0")),
        ("hf:/someone/net/", ("someone/net", None)),  # as a Path writes it
        ("hf://someone/net/net.keras", ("someone/net", None)),
        ("hf://someone/net@main/net.keras", ("someone/net", "main")),
    ],
)
def test_names_of_repositories(hub, snapshot, source, asked):
    hub.answer = snapshot
    assert locate(source) == snapshot / "net.keras"
    assert hub.asked[0][:2] == asked


@pytest.mark.parametrize("source", ["hf://", "hf://net", "hf://a/b/c", "hf://a@b/c"])
def test_names_that_are_none(hub, source):
    with pytest.raises(ValueError, match=rf"{source} is no repository; give hf://USER/NAME"):
        locate(source)
    assert not hub.asked


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (ConnectionError("no route\nto host"), "cannot be fetched .*check the network"),
        (Hub.errors.RepositoryNotFoundError("404"), "no such repository or revision"),
        (Hub.errors.RevisionNotFoundError("404"), "no such repository or revision"),
        (Hub.errors.HFValidationError("bad"), "is no repository"),
    ],
)
def test_what_the_hub_does_not_give(refused, hub, answer, sentence):
    hub.answer = answer
    with pytest.raises((ValueError, OSError), match=f"^hf://a/b.*{sentence}") as error:
        locate("hf://a/b")
    assert refused("info", "hf://a/b").endswith(f"error: {error.value}")


def test_repositories_without_a_network(refused, hub, tmp_path):
    hub.answer = tmp_path
    assert "hf://a/b holds no .keras file" in refused("info", "hf://a/b")
    assert "the repository holds no x.keras" in refused("info", "hf://a/b/x.keras")


def test_without_the_hubs_package(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as if it were not installed
    error = refused("info", "hf://a/b")
    assert 'pip install "gff-keras[hub]"' in error


def test_commands_take_repositories_and_folders(
    run, hub, snapshot, trained, records, photo, tmp_path, monkeypatch
):
    """Results on a repository go into the current folder, not into the hub's cache."""
    hub.answer = snapshot
    monkeypatch.chdir(tmp_path)
    kept = sorted(path.name for path in snapshot.iterdir())
    assert run("evaluate", "hf://a/net", "--data", records)[0] == 0
    shutil.copytree(trained[0].out, "run")
    (tmp_path / "run" / "best.keras").unlink()
    assert run("evaluate", "run", "--data", records)[0] == 0
    ours, expected = (
        json.loads((tmp_path / name).read_text()) for name in ("net_val.json", "run/last_val.json")
    )
    assert {**ours, "seconds": 0} == {**expected, "seconds": 0}
    for source in ("hf://a/net", "run"):
        assert run("predict", photo, "--model", source, "--out", f"out_{source[:3]}")[0] == 0
    assert run("gates", photo, "--model", "hf://a/net", "--out", "gates")[0] == 0
    masks = [(tmp_path / f"out_{x}" / "photo_mask.png").read_bytes() for x in ("hf:", "run")]
    assert masks[0] == masks[1]
    assert sorted(path.name for path in snapshot.iterdir()) == kept
