"""The page in headless Chromium: silent, offline, as wide as the phone, sortable."""

import pytest

from gff_keras.report import report as module
from tests.report.browser import CHROMIUM, browser
from tests.tiny import eagerly

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
SIZES = [(1280, 900, False), (390, 844, True), (320, 640, True)]


@pytest.fixture(scope="module")
def path(trained, records, tmp_path_factory):
    """A page with every kind of section and with names of any length."""
    with eagerly():
        gathered = module.gather(trained[0].out / "best.keras", records, "val")
    long = "a name of a class that is much too long for the screen of a telephone " * 2
    rows = gathered["classes"]["rows"]
    gathered["classes"]["rows"] = [dict(rows[0], name=long), *rows[1:], dict(rows[0], iou=None)]
    gathered["confusion"]["names"][0] = long
    gathered["title"] = "x" * 80
    out = tmp_path_factory.mktemp("page") / "report.html"
    out.write_text(module.render(gathered), encoding="utf-8")
    return out


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width, height, mobile", SIZES)
def test_silent_offline_and_within_the_screen(page, path, width, height, mobile, dark):
    page.open(path, width, height, dark, mobile)
    assert page.run("innerWidth") == width
    assert page.run("document.documentElement.scrollWidth") <= width
    page.run("document.querySelectorAll('.scroll').forEach((x) => x.scrollTo(1e4, 1e4))")
    events = dict(page.events)
    for method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
        assert method not in events, events[method]
    asked = [e["request"]["url"] for m, e in page.events if m == "Network.requestWillBeSent"]
    assert {url for url in asked if not url.startswith("data:")} == {path.absolute().as_uri()}
    light = page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0] > 128")
    assert light is not dark


COLUMN = (
    "[...document.querySelectorAll('table.classes tbody tr')].map((r) => r.cells[{}].innerText)"
)
HEAD = "document.querySelectorAll('table.classes thead th')[{}]"


def numbers(texts):
    return [float(text) for text in texts if text != "–"]


def test_sorting(page, path):
    page.open(path, 1280, 900)
    before = page.run(COLUMN.format(1))
    page.run(HEAD.format(1) + ".querySelector('button').click()")
    first = page.run(COLUMN.format(1))
    assert numbers(first) == sorted(numbers(before), reverse=True) != numbers(before)
    assert page.run(HEAD.format(1) + ".ariaSort") == "descending"
    page.run(HEAD.format(1) + ".querySelector('button').focus()")
    page.press("Enter", 13)
    second = page.run(COLUMN.format(1))
    assert numbers(second) == sorted(numbers(before))
    assert first[-1] == second[-1] == "–"  # what has no value stays at the end
    page.run(HEAD.format(0) + ".querySelector('button').click()")
    names = page.run(COLUMN.format(0))
    assert names == sorted(names) and sorted(names) != names[::-1]
    assert page.run(HEAD.format(1) + ".ariaSort") is None


def test_pictures_grow_and_shrink(page, path):
    page.open(path, 390, 844, mobile=True)
    page.run("document.querySelector('img.zoom').focus()")
    page.press("Enter", 13)
    assert page.run("document.querySelector('dialog').open") is True
    assert page.run("document.querySelector('dialog img').src.slice(0, 15)") == "data:image/webp"
    page.press("Escape", 27)
    assert page.run("document.querySelector('dialog').open") is False


def test_all_is_there_without_scripts(page, path):
    page.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(path, 1280, 900)
        assert page.run("document.querySelectorAll('th button').length") == 0
        assert page.run("document.querySelectorAll('table.classes tbody tr').length") == 4
    finally:
        page.send("Emulation.setScriptExecutionDisabled", value=False)
