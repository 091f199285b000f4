"""The page on a small network: what is on it, and that it needs nothing else."""

import base64
import dataclasses
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from gff_keras import report as report_package
from gff_keras.data import LabelSet, evaluation_dataset
from gff_keras.evaluation.evaluate import evaluate
from gff_keras.evaluation.prediction import load_predictor
from gff_keras.report import gates, pictures, sizes
from gff_keras.report import report as module
from gff_keras.report import run as run_module
from gff_keras.training import train
from gff_keras.visualization.comparison import BROKEN
from tests.tiny import eagerly, write_blocks

SECTIONS = ("curves", "classes", "confusion", "examples", "gates", "sizes", "configuration")
VOID = {"meta", "link", "img", "br", "input"}


class Reader(HTMLParser):
    """Reads a page: elements that are open, ids, what it loads, texts of the cells of tables."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.loads, self.tables = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.loads += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, text):
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += text.strip()

    def table(self, head):
        return next(rows[1:] for rows in self.tables if head in "".join(rows[0]))


@pytest.fixture(scope="module")
def gathered(trained, records):
    """What the page on the tiny run shows."""
    with eagerly():
        return module.gather(trained[0].out / "best.keras", records, "val")


@pytest.fixture(scope="module")
def html(gathered):
    return module.render(gathered)


def test_the_page_is_whole(html):
    reader = Reader(html)
    assert [name for name in reader.ids if name in SECTIONS] == list(SECTIONS)
    assert len(set(reader.ids)) == len(reader.ids)
    assert set(SECTIONS) == {link[1:] for link in reader.loads if link.startswith("#")}


def test_the_page_loads_nothing(html):
    outside = [x for x in Reader(html).loads if not x.startswith(("data:", "#"))]
    assert outside == []
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest", html)


def test_pictures_are_those_of_the_split(html, gathered, records):
    uris = re.findall(r'src="data:image/webp;base64,([^"]+)"', html)
    drawn = [Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGB") for uri in uris]
    images = {name[0].decode(): image[0] for image, _, name in _split(records)}
    examples = [x for group in gathered["examples"]["groups"] for x in group["examples"]]
    assert sorted(example["id"] for example in examples) == sorted(images)  # there are three
    for i, example in enumerate(examples):
        shown = [np.asarray(picture) for picture in drawn[4 * i : 4 * i + 4]]
        np.testing.assert_array_equal(shown[0], images[example["id"]])
        for picture, (_, expected) in zip(shown, example["pictures"], strict=True):
            np.testing.assert_array_equal(picture, expected)
    assert len(drawn) >= 4 * 3 + 1 + 3  # and the gates of one image


def test_large_pictures_are_shrunk_and_stay_the_same(rng):
    picture = np.kron(rng.integers(0, 256, (6, 10, 3)), np.ones((200, 200, 1))).astype("uint8")
    uri = pictures.data_uri(picture)
    shown = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert shown.size == (800, 480) and len(uri) < 60_000
    blocks = np.asarray(shown.convert("RGB"), float).reshape(6, 80, 10, 80, 3)[:, 20:60, :, 20:60]
    np.testing.assert_allclose(blocks.mean((1, 3)), picture[::200, ::200], atol=6)


def _split(records):
    return evaluation_dataset(records, "val", with_ids=True).as_numpy_iterator()


def test_numbers_are_those_of_evaluate(html, gathered, trained, records, eager):
    predictor, labels = load_predictor(trained[0].out / "best.keras")
    results = evaluate(predictor, records, labels=labels, verbose=False)
    rows = Reader(html).table("Precision")
    assert [row[0] for row in rows] == list(results["iou"])
    for row, (name, iou) in zip(rows, results["iou"].items(), strict=True):
        assert row[1] == ("–" if iou is None else f"{100 * iou:.1f}"), name
    tiles = dict(gathered["tiles"])
    assert tiles["Mean IoU"] == f"{100 * results['mean_iou']:.1f} %"
    assert tiles["Pixel accuracy"] == f"{100 * results['pixel_accuracy']:.1f} %"
    blocks = Reader(html).table("Trainable parameters")
    weights = predictor.model.trainable_variables
    assert blocks[-1][2] == f"{sum(int(np.prod(v.shape)) for v in weights):,}"


def test_pixel_accuracy_and_errors_of_an_image(gathered):
    for group in gathered["examples"]["groups"]:
        for example in group["examples"]:
            valid = example["truth"] != 255
            wrong = valid & (example["truth"] != example["prediction"])
            right = 1 - wrong.sum() / valid.sum()
            assert example["pixel_accuracy"] == pytest.approx(right)
            errors = dict(example["pictures"])["Errors"]
            np.testing.assert_array_equal((errors == BROKEN).all(-1), wrong)


def test_names_are_text(gathered):
    """Names of classes and files may hold anything; the page shows them, and runs none of them."""
    evil = '<script>alert("a & b")</script>'
    classes = gathered["classes"]
    changed = dict(gathered, data=evil, title=evil)
    changed["classes"] = {"absent": [evil], "rows": [dict(classes["rows"][0], name=evil)]}
    changed["confusion"] = dict(gathered["confusion"], names=[evil, "b", "c"])
    page = module.render(changed)
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(&#34;a &amp; b&#34;)&lt;/script&gt;") >= 5
    assert Reader(page).table("Precision")[0][0] == evil
    for name in ('<img src=x onerror="alert(1)">', "\"' onload=1", "</style><b>", "{{ 1 + 1 }}"):
        changed["confusion"]["names"][0] = changed["title"] = name
        assert name not in module.render(changed) or name == "{{ 1 + 1 }}"
        Reader(module.render(changed))


def test_150_classes(gathered, rng):
    """The matrix of a large data set stays a page of moderate size."""
    names = [f"class of things {i}" for i in range(150)]
    shares = rng.dirichlet(np.full(150, 0.05), 150)
    row = gathered["classes"]["rows"][0]
    changed = dict(gathered)
    changed["confusion"] = {"names": names, "shares": shares, "largest": [], "numbered": False}
    changed["classes"] = {"rows": [dict(row, name=name, iou=None) for name in names], "absent": []}
    page = module.render(changed)
    reader = Reader(page)
    matrix = next(table for table in reader.tables if len(table) == 151 and len(table[0]) == 151)
    assert [cells[0] for cells in matrix[1:]] == names
    assert len(page) - len(module.render(gathered)) < 3e6


def test_a_lone_pspnet_and_one_image(tiny_model, tmp_path, eager):
    """What a model without a run, without gates and on a tiny split leaves out, with reasons."""
    model = tmp_path / "lone.keras"
    tiny_model(fusion=None, dfp=False).save(model)
    sizes = {"train": [(30, 30)], "val": [(40, 52)]}
    records = write_blocks(tmp_path / "source", tmp_path / "one", 2, sizes)
    page = report_package.page(model, records, verbose=False)
    reader = Reader(page)
    assert [name for name in reader.ids if name in SECTIONS] == list(SECTIONS)
    for reason in ("no history.csv", "no recipe.json", "This network has no gates"):
        assert reason in page
    assert "PSPNet" in page and "1 image of" in page
    assert len(re.findall("data:image/webp", page)) == 4


def test_a_network_of_which_only_classes_are_known(gathered, records, rng, tmp_path):
    """A TFLite file: no blocks, no gates, no Keras model."""

    class Bare:
        num_classes, image_size = 3, None

        def classes(self, image):
            return rng.integers(0, 3, image.shape[:2])

    path = tmp_path / "net.tflite"
    path.write_bytes(bytes(2_500_000))
    labels, chosen = LabelSet.from_records(records), [("Only", [(1, 0.25)])]
    groups = pictures.examples(Bare(), records, "val", chosen, labels)
    measured = sizes.measure(Bare(), path, groups[0]["examples"][0]["image"])
    changed = dict(
        gathered,
        title=run_module.network_name(Bare()),
        configuration=run_module.configuration(Bare(), tmp_path),
        examples={"groups": groups, "scored": True},
        gates=gates.section(Bare(), labels, records, "val", groups, 1, False),
        sizes=sizes.section(measured, {}, tmp_path),
    )
    page = module.render(changed)
    for text in ("TFLite file holds no gate maps", "does not tell its blocks", "mean IoU 25.0 %"):
        assert text in page
    assert "<dd>2.5 MB" in page
    Reader(page)


def test_gate_tables(rng, gathered):
    names = ("G1", "G2")
    means = rng.random((2, 3, 3))
    keys = ("mean", "above_0.9", "below_0.1")
    found = {
        name: dict(zip(keys, rng.random(3).tolist(), strict=True))
        | {
            "classes": {
                c: dict(zip(keys, map(float, row), strict=True))
                for c, row in zip("abc", part, strict=True)
            }
        }
        for name, part in zip(names, means, strict=True)
    }
    shares = rng.dirichlet([1, 1], (2, 2))
    statistics = gates.statistics_rows(
        {"gates": found, "receive": shares[0].tolist(), "send": shares[1].tolist(), "images": 5}
    )
    whole, without = rng.random(3), rng.random((2, 3))
    ablation = gates.ablation_rows(
        {
            "mean_iou": 0.5,
            "iou": dict(zip("abc", [*whole[:2].tolist(), None], strict=True)),
            "without": {
                name: {"mean_iou": 0.4, "iou": dict(zip("abc", part.tolist(), strict=True))}
                for name, part in zip(names, without, strict=True)
            },
            "images": 5,
        }
    )
    changed = dict(gathered["gates"], statistics=statistics, ablation=ablation)
    reader = Reader(module.render(dict(gathered, gates=changed)))
    table = reader.table("without G1")
    assert table[0] == ["Mean", "50.0", "−10.0", "−10.0"]
    for i, name in enumerate("ab"):
        change = [f"{100 * (part[i] - whole[i]):+.1f}".replace("-", "−") for part in without]
        assert table[i + 1] == [name, f"{100 * whole[i]:.1f}", *change]
    assert table[3] == ["c", "–", "–", "–"]
    assert reader.table("above 0.9") == [
        [name, *(f"{100 * found[name][key]:.1f}" for key in keys)] for name in names
    ]
    for head, part in (("from 1", shares[0]), ("to 1", shares[1])):
        rows = [[str(i), *(f"{100 * x:.1f}" for x in row)] for i, row in enumerate(part, 1)]
        assert reader.table(head) == rows


@pytest.fixture
def no_gates(monkeypatch):
    """Leave out what takes longest, where another test looks at it."""
    monkeypatch.setattr(gates, "section", lambda *_: {"missing": "left out"})


def test_the_command(run, trained, records, tmp_path, eager, no_gates):
    folder = tmp_path / "run"
    shutil.copytree(trained[0].out, folder)
    status, out, _ = run("report", folder / "best.keras", "--data", records)
    assert status == 0 and f"written to {folder / 'best_val.html'}" in out
    Reader((folder / "best_val.html").read_text())
    assert "Recipe" in (folder / "best_val.html").read_text()


def test_what_is_refused(refused, trained, records, tmp_path):
    model = trained[0].out / "best.keras"
    assert "no split 'test'; choose from" in refused(
        "report", model, "--data", records, "--split", "test"
    )
    assert "does not exist" in refused("report", tmp_path / "none.keras", "--data", records)
    assert str(tmp_path / "none") in refused("report", model, "--data", tmp_path / "none")
    assert "is a folder" in refused("report", model, "--data", records, "--out", tmp_path)
    assert "gate_images=0" in refused("report", model, "--data", records, "--gate_images", "0")


def test_other_classes_are_refused(trained, records, tmp_path, refused):
    other = tmp_path / "other"
    shutil.copytree(records, other)
    metadata = json.loads((other / "metadata.json").read_text())
    metadata["label_set"]["classes"][0] = "sea"
    (other / "metadata.json").write_text(json.dumps(metadata))
    message = refused("report", trained[0].out / "best.keras", "--data", other)
    assert "other classes than the model, 'sky' for 'sea'" in message


@pytest.mark.slow
def test_training_writes_a_report(tiny_recipe, tmp_path, eager, no_gates, capsys):
    recipe = tiny_recipe(tmp_path / "run", report=True, epochs=1)
    train(recipe)
    text = (recipe.out / "report.html").read_text()
    Reader(text)
    assert "best.keras" in text and "Learning curves" in text and "no history" not in text
    assert "could not be drawn" not in capsys.readouterr().out


def test_a_failure_costs_no_run_and_is_made_good(trained, tmp_path, monkeypatch, capsys):
    """A finished run that lacks its report tries to draw it when it is resumed."""
    out = tmp_path / "run"
    shutil.copytree(trained[0].out, out)
    recipe = dataclasses.replace(trained[0], out=out, resume=True, report=True)
    path = out / "report.html"
    assert not path.exists()  # the fixture's recipe has report=False

    def fail(*_, **__):
        raise RuntimeError("out of paper")

    monkeypatch.setattr("gff_keras.report.page", fail)
    model, history = train(recipe)
    assert model.num_classes == 3 and len(history["loss"]) == 2
    said = capsys.readouterr().out
    assert f"{path} could not be drawn: out of paper. The run itself is whole" in said
    assert not list(out.glob("*report*"))

    monkeypatch.setattr("gff_keras.report.page", lambda *_, **__: "new")
    train(recipe, verbose=0)
    assert path.read_text() == "new"
    monkeypatch.setattr("gff_keras.report.page", fail)
    train(recipe)
    assert path.read_text() == "new" and "could not" not in capsys.readouterr().out
