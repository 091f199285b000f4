"""Model cards: every figure is that of the files, and the words of others stay words."""

import json
import math
import os
import re
import shutil

import numpy as np
import pytest
from markdown_it import MarkdownIt
from yaml import safe_load

import gff_keras as gff
from gff_keras.data import LabelSet
from gff_keras.evaluation.complexity import complexity
from gff_keras.report.card import model_card, plain_text
from gff_keras.sharing import load_model

pytestmark = pytest.mark.usefixtures("eager")

NASTY = LabelSet("<b>set</b>", ("a|b", "*_c_*", "<script>"), ((1, 2, 3), (255, 0, 16), (7, 8, 9)))


@pytest.fixture(scope="module")
def evaluated(trained, records, tmp_path_factory):
    """A run's folder with results of `gff-keras evaluate` in it, not to be changed."""
    from gff_keras.cli import main
    from tests.tiny import eagerly

    folder = tmp_path_factory.mktemp("card") / "run"
    shutil.copytree(trained[0].out, folder)
    with eagerly():
        assert main(["evaluate", str(folder), "--data", str(records)]) == 0
    return folder


@pytest.fixture
def run_folder(evaluated, tmp_path):
    """A copy of it, to change."""
    shutil.copytree(evaluated, tmp_path / "run")
    return tmp_path / "run"


def parts(card):
    """The front matter as a dictionary, and the tables by heading as lists of rows of text."""
    front, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL).groups()
    tables, heading, tag = {}, "", ""
    for token in MarkdownIt("commonmark").enable("table").parse(body):
        tag = token.tag if token.nesting == 1 else tag
        if token.type == "inline" and tag in ("h1", "h2"):
            heading = token.content
        elif token.type == "tr_open":
            tables.setdefault(heading, []).append([])
        elif token.type == "inline" and tag in ("td", "th"):
            text = "".join(x.content for x in token.children if x.type != "html_inline")
            tables[heading][-1].append(text.strip())
    return safe_load(front), {name: rows[1:] for name, rows in tables.items()}


def test_figures_are_those_of_the_files(evaluated, trained):
    results = json.loads((evaluated / "best_val.json").read_text())
    front, tables = parts(model_card(evaluated))
    (entry,) = front["model-index"]
    (result,) = entry["results"]
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert values == {name: results[name] for name in ("mean_iou", "pixel_accuracy")}
    assert result["dataset"] == {"type": "blocks", "name": "blocks", "split": "val"}
    scores = dict(tables["Results"])
    assert scores["Mean IoU"] == f"{100 * results['mean_iou']:.1f} %"
    assert scores["Pixel accuracy"] == f"{100 * results['pixel_accuracy']:.1f} %"
    assert scores["Boundary F1, 3 px"] == f"{100 * results['boundary_f1']['3']:.1f} %"
    assert len(set(results["iou"].values())) == 3
    assert tables["Classes"] == [
        [str(i), name, color, f"{100 * iou:.1f}"]
        for i, ((name, iou), color) in enumerate(
            zip(results["iou"].items(), ("#283cc8", "#787878", "#c83c28"), strict=True)
        )
    ]


def test_network_and_recipe_are_those_of_the_file(evaluated, trained):
    recipe, model, _ = trained
    front, tables = parts(model_card(evaluated, repository="me/net"))
    assert front["library_name"] == "keras" and front["pipeline_tag"] == "image-segmentation"
    assert "license" not in front
    blocks = complexity(model, (33, 47))
    auxiliary = sum(x.parameters for x in blocks if x.name == "auxiliary head")
    network, training = dict(tables["Network"]), dict(tables["Training"])
    total = sum(math.prod(v.shape) for v in model.trainable_variables)
    assert network["parameters"] == f"{total - auxiliary:,}"
    assert network["more of the auxiliary head, for training only"] == f"{auxiliary:,}"
    assert (network["fusion"], network["filters"]) == ("gff", "8")
    assert training["crop_size"] == "33 × 41" and training["batch_size"] == "2"
    assert training["learning_rate"] == f"{recipe.learning_rate:g}"
    assert training["data"] == recipe.data.name
    assert not {"out", "weights", "keep", "report"} & training.keys()
    assert str(recipe.data.parent) not in model_card(evaluated)


def test_the_python_on_it_runs(evaluated, rng, monkeypatch):
    """With the path of the file in place of the repository, as it says."""
    code = re.search(r"```python\n(.*?)```", model_card(evaluated), re.DOTALL)[1]
    images = rng.integers(0, 256, (1, 33, 47, 3), "uint8")
    scope = {"images": images}
    exec(code.replace("hf://USER/NAME", str(evaluated / "best.keras")), scope)
    expected = load_model(evaluated / "best.keras")(images)["logits"]
    np.testing.assert_array_equal(scope["logits"], expected)
    assert scope["model"].labels.names == ("sky", "road", "car")


def test_low_and_absent_classes_are_limits(run_folder):
    path = run_folder / "best_val.json"
    results = json.loads(path.read_text())
    results["iou"] = {"sky": 0.299, "road": None, "car": 0.301}
    path.write_text(json.dumps(results))
    card = model_card(run_folder)
    assert "IoU below 30 %: sky.\n" in card
    assert "masks nor predictions hold them: road.\n" in card


def test_a_file_alone_and_names_of_anybody(tiny_model, tmp_path):
    tiny_model(aux_head=False, metadata={"labels": NASTY.to_dict()}).save(tmp_path / "m.keras")
    card = model_card(tmp_path / "m.keras")
    front, tables = parts(card)
    assert "model-index" not in front and "Results" not in tables and "Training" not in tables
    assert [row[1] for row in tables["Classes"]] == list(NASTY.names)
    assert [row[2] for row in tables["Classes"]] == ["#010203", "#ff0010", "#070809"]
    assert "<script>" not in card and "<b>" not in card
    assert "carries no recipe" in card and "was not measured" in card
    assert "`model.labels.names` are the classes." in card and "model.recipe" not in card
    assert "Images may have any size." in card
    tiny_model().save(tmp_path / "m.keras")
    card = model_card(tmp_path / "m.keras")
    assert "carries no label table" in card and "model.labels" not in card
    assert [row[1] for row in parts(card)[1]["Classes"]] == ["class 0", "class 1", "class 2"]
    tiny_model(input_shape=(24, 40, 3)).save(tmp_path / "m.keras")
    card = model_card(tmp_path / "m.keras")
    assert "any size" not in card and "takes images of 24×40 (height × width) alone" in card
    assert "--out predictions --image_size 24 40\n" in card


@pytest.mark.parametrize("words", ["a\nb", "_x_", "a_b", "`c`", "[l](http://x)", "# h", "a\\|b"])
def test_words_stay_words(words):
    (block,) = [x for x in MarkdownIt().parse(plain_text(words)) if x.type == "inline"]
    assert {x.type for x in block.children} <= {"text", "text_special"}
    assert "".join(x.content for x in block.children) == words.replace("\n", " ")


def test_results_older_than_the_model_are_left_out(run, run_folder):
    os.utime(run_folder / "best_val.json", (1, 1))
    status, printed, _ = run("card", run_folder)
    assert status == 0 and "best_val.json is older than best.keras" in printed
    assert "## Results" not in (run_folder / "README.md").read_text()
    line = ("card", run_folder, "--results", run_folder / "best_val.json", "--overwrite")
    assert run(*line)[0] == 0
    assert "## Results" in (run_folder / "README.md").read_text()


def test_the_command(run, refused, run_folder, tmp_path):
    out = tmp_path / "cards" / "card.md"
    line = ("card", run_folder / "best.keras", "--repository", "me/net", "--out", out)
    status, printed, _ = run(*line)
    assert status == 0 and f"written to {out}" in printed
    assert out.read_text() == model_card(run_folder, repository="me/net")
    assert 'gff.load("hf://me/net")' in out.read_text()
    assert f"{out} exists; choose another --out, or add --overwrite" in refused(*line)
    assert run(*line, "--overwrite")[0] == 0
    error = refused("card", run_folder, "--out", tmp_path)
    assert f"{tmp_path} is a folder" in error


def test_bad_inputs(refused, run_folder, tiny_model, tmp_path):
    assert "does not exist" in refused("card", tmp_path / "none.keras")
    assert "exported already" in refused("card", tmp_path / "x.tflite")
    line = ("card", run_folder, "--results")
    assert "none.json cannot be read" in refused(*line, tmp_path / "none.json")
    bad = tmp_path / "bad.json"
    results = json.loads((run_folder / "best_val.json").read_text())
    for text in ("{", "[]", '{"iou": 3}', json.dumps({**results, "mean_iou": "high"})):
        bad.write_text(text)
        assert "bad.json is no result of `gff-keras evaluate`" in refused(*line, bad)
    renamed = dict(zip("xyz", results["iou"].values(), strict=True))
    bad.write_text(json.dumps({**results, "iou": renamed}))
    assert "bad.json is of other classes than" in refused(*line, bad)
    tiny_model(4).save(tmp_path / "four.keras")
    line = ("card", tmp_path / "four.keras", "--results", run_folder / "best_val.json")
    assert "best_val.json has 3 classes, but" in refused(*line)
    for name in ("not a repo", "me", "me/net/x", "hf://me/net"):
        error = refused("card", run_folder, "--repository", name)
        assert f"{name!r} is no name of a repository; give USER/NAME" in error
    assert "/proc cannot be written: " in refused("card", run_folder, "--out", "/proc/card.md")
    assert not (run_folder / "README.md").exists()


def test_a_repository_gets_its_card_in_the_current_folder(run, evaluated, monkeypatch, tmp_path):
    from gff_keras.sharing import source

    monkeypatch.setattr(source, "_download", lambda *arguments: evaluated)
    monkeypatch.chdir(tmp_path)
    assert run("card", "hf://me/net")[0] == 0
    assert 'gff.load("hf://USER/NAME")' in (tmp_path / "README.md").read_text()
    assert not (evaluated / "README.md").exists()
    assert gff.load("hf://me/net").labels.names == ("sky", "road", "car")
