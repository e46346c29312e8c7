"""The page: one file, nothing fetched, no text that becomes markup; seen in a browser."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

import isogloss
from isogloss.reporting.making import Report
from isogloss.reporting.predictions import script_json
from isogloss.runs import digests
from report_runs import write_grid, write_run

EVIL = "</script><img src=x onerror=alert(1)><!-- & \u2028 "
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
VOID = {"meta", "img", "input", "br", "hr", "link", "path", "use", "circle", "rect"}


def write_task(folder: Path) -> Path:
    """Data for the runs' task: 120 items in two languages, one of them with evil text."""
    folder.mkdir()
    (folder / "task.yaml").write_text(
        "name: parity\nkind: label\ndominant: en\nlanguages: [en, tr, es]\nfields: [text]\n"
        "answer: label\nid: id\noptions: ['yes', 'no']\n"
        'wording: {input: "{text}", answer: " {answer}"}\nmetric: accuracy\n'
        'files: "{language}/{split}.jsonl"\n'
    )
    for language in ("tr", "es"):
        (folder / language).mkdir()
        lines = [
            {"id": f"i{n}", "text": EVIL if n == 3 else f"{language} text {n}", "label": "yes"}
            for n in range(120)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / language / "test.jsonl").write_text(text)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Report:
    """Two systems, two seeds, two languages, a failed cell with an evil reason, an evil name."""
    root = tmp_path_factory.mktemp("report")
    task = write_task(root / "task")
    cells = []
    for row, method in (("MTL", "mtl"), (f"CL-ICP {EVIL}", "cl-icp")):
        for language in ("tr", "es"):
            for seed in (1, 2):
                right = [(n + seed) % (3 if method == "mtl" else 9) > 0 for n in range(120)]
                run = write_run(root / "runs", method, seed=seed, target=language, right=right)
                _place(run, task, language)
                cell = {"row": row, "language": language, "seed": seed}
                cells.append((cell, {"state": "done", "run": f"../runs/{run.name}"}))
    cells.append(({"row": "TL", "seed": 1}, {"state": "failed", "error": EVIL}))
    return isogloss.report(write_grid(root / "grid", cells), out=root / "out")


def _place(run: Path, task: Path, language: str) -> None:
    """Say in the run's record where its data is."""
    record = json.loads((run / "run.json").read_text())
    record["source"]["task"] = str(task)
    record["data"] = digests([task / "task.yaml", task / language / "test.jsonl"])
    (run / "run.json").write_text(json.dumps(record))


class Reader(HTMLParser):
    """Elements by name, and whether all that are opened are closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


@pytest.fixture(scope="module")
def read(made) -> Reader:
    return Reader(made.page.read_text(encoding="utf-8"))


def test_the_page_is_whole_and_fetches_nothing(read):
    assert read.open == []
    for tag, attributes in read.found:
        assert tag not in ("link", "iframe", "img", "object"), attributes
        assert "src" not in attributes
        for name in ("href", "xlink:href", "action"):
            assert not re.match(r"\w+:|//", attributes.get(name) or ""), attributes
    style = made_style(read)
    assert "url(" not in style.replace("url(#", "")
    assert "@import" not in style
    ids = [attributes["id"] for _, attributes in read.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    inside = {attributes.get("href") for _, attributes in read.found}
    assert {href[1:] for href in inside if href and href.startswith("#")} <= set(ids)


def made_style(read: Reader) -> str:
    return " ".join(attributes.get("style") or "" for _, attributes in read.found)


def test_texts_that_look_like_markup_are_text(made, read):
    html = made.page.read_text(encoding="utf-8")
    assert "<img" not in html
    assert "onerror=alert(1)&gt;" in html  # the row's name and the reason
    data, code = read.scripts
    found = json.loads(data)
    assert EVIL in found["texts"]
    assert f"CL-ICP {EVIL}" in {system["row"] for system in found["systems"]}
    assert "innerHTML" not in code


def test_script_json_is_the_same_value():
    for value in (EVIL, {"a": ["<!--", "]]>", "é", "\u2029"]}, [1.5, None, True]):
        text = script_json(value)
        assert json.loads(text) == value
        assert not set(text) & set("<>&\u2028\u2029")


def test_predictions_are_those_of_the_runs(read):
    data = json.loads(read.scripts[0])
    texts = data["texts"]
    assert [block["language"] for block in data["blocks"]] == ["tr", "es"]
    assert [len(block["items"]) for block in data["blocks"]] == [120, 120]
    name, fields, right = data["blocks"][0]["items"][5]
    assert (texts[name], texts[right]) == ("i5", "yes")
    assert [[texts[a], texts[b]] for a, b in fields] == [["text", "tr text 5"]]
    assert len(data["systems"]) == 8
    system = data["systems"][0]
    assert (system["row"], system["seed"], system["at"]) == ("MTL", 1, None)
    assert system["value"] == [100 if (n + 1) % 3 else 0 for n in range(120)]
    assert [texts[number] for number in system["got"][:3]] == ["yes", "yes", "no"]


def test_the_page_says_what_failed_and_how_things_were_computed(made):
    html = made.page.read_text(encoding="utf-8")
    for text in (
        "Table 2",
        "failed",
        "Holm",
        "two thirds of their variance",
        "Versions",
        "torch 2.13",
    ):
        assert text in html
    assert "as given" in html


# ---- in a browser ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def playwright():
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    return pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def browser(playwright):
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_a_browser_shows_it_without_errors_requests_or_overflow(
    browser, made, scheme, width, height
):
    context = browser.new_context(
        viewport={"width": width, "height": height}, is_mobile=width < 500, color_scheme=scheme
    )
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append("dialog"), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(made.page.as_uri())
    assert said == []
    assert asked == [made.page.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for each in page.locator("details").all():
        each.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(251, 250, 247)" if scheme == "light" else "rgb(20, 22, 26)")
    context.close()


def test_the_filter_works(playwright, browser, made):
    page = browser.new_page()
    page.goto(made.page.as_uri())
    count, items = page.locator("#count"), page.locator("#items > li")
    assert (count.inner_text(), items.count()) == ("240 items", 50)
    page.get_by_role("button", name="Next").click()
    assert "tr · i50" in items.first.inner_text()
    page.get_by_label("Language").select_option("es")
    assert (count.inner_text(), items.count()) == ("120 items", 50)
    assert "es · i0" in items.first.inner_text()
    page.locator("select[name=system]").select_option("MTL")
    page.get_by_label("Answers").select_option("wrong")
    # MTL's seeds are wrong at n = 2 and n = 1 (mod 3): never both, so none is all wrong.
    assert count.inner_text() == "0 items"
    page.get_by_label("Answers").select_option("both")
    assert count.inner_text() == "80 items"
    page.get_by_label("Answers").select_option("right")
    assert count.inner_text() == "40 items"
    page.get_by_label("Text or id").fill("TEXT 66")
    playwright.expect(count).to_have_text("1 item")
    assert "es text 66" in items.first.inner_text()
    page.get_by_role("button", name="Clear").click()
    playwright.expect(count).to_have_text("240 items")
    page.get_by_label("Text or id").fill("onerror")
    playwright.expect(count).to_have_text("2 items")
    assert "</script><img src=x" in items.first.inner_text()
    page.close()


def test_keys_alone_reach_everything(browser, made):
    page = browser.new_page()
    page.goto(made.page.as_uri())
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "(document.activeElement.name || document.activeElement.id"
                " || document.activeElement.className || document.activeElement.tagName)"
            )
        )
    assert {"skip", "scroll", "task", "system", "result", "text", "after"} <= reached
    page.close()
