"""The review page in a browser: real keys, real files, from disk."""

import html
import json
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from curation.artifact import write_json
from curation.corpus import Corpus, write_corpus
from curation.review.command import main
from curation.review.decisions import Decision, read, reviewed_hash
from curation.review.page import render

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
EMOTIONS = ("angry", "happy")
COPY = "copy: 0.050 from training face t0, under 0.200"


def picture(number):
    cells = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(cells, (32, 32), interpolation=cv2.INTER_CUBIC)


def generated(number, **given):
    return {
        "id": f"g{number}",
        "image": picture(number),
        "emotion": EMOTIONS[number % 2],
        "split": "train",
        "origin": "gan",
        "predicted": EMOTIONS[number % 2],
        "agreement": 0.9 - number / 100,
        "confidence": 0.95,
        "nearest_id": f"t{number % 3}",
        "nearest_distance": 0.3 + number / 100,
        "keep": True,
        **given,
    }


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """A selected corpus of 40 faces, and training faces of which one is missing."""
    root = tmp_path_factory.mktemp("review")
    rows = [generated(number) for number in range(40)]
    rows[4] = generated(4, agreement=0.1, keep=False, reason="agreement: read as named, 0.10")
    rows[6] = generated(6, nearest_distance=0.05, keep=False, reason=COPY)
    rows[9] = generated(9, predicted="angry", duplicate_of="g7", agreement=None)
    selected, training = root / "select-0123456789", root / "training"
    for folder, content in (
        (selected, rows),
        (training, [generated(n, id=f"t{n}", origin="real") for n in range(2)]),
    ):
        folder.mkdir()
        write_corpus(content, folder, EMOTIONS)
    write_json(selected / "metrics.json", {"gates": {"safety": ["copy"]}})
    record = {"stage": "select", "inputs": {"scored": {"path": "x", "content": "feedfacade"}}}
    write_json(selected / "corpus.json", {**record, "content": "0000000000"})
    return selected, training


@pytest.fixture(scope="module")
def page(corpora, tmp_path_factory):
    selected, training = corpora
    path = tmp_path_factory.mktemp("page") / "review.html"
    assert main([str(selected), "--training", str(training), "--to", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    if not CHROMIUM or not DRIVER:
        pytest.skip("needs chromium and chromedriver (make browser)")
    folder = tmp_path_factory.mktemp("chromium")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    switches = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync"
    )
    for switch in (*switches.split(), f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(switch)
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(folder), "download.prompt_for_download": False}
    )
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(executable_path=DRIVER)
    )
    driver.set_window_size(1280, 800)
    yield Browser(driver, folder)
    driver.quit()


class Browser:
    """What a person does with the page, and sees."""

    def __init__(self, driver, folder):
        self.driver, self.folder = driver, folder

    def open(self, page, *, afresh=True):
        self.driver.get(page.as_uri())
        if afresh:
            self.driver.execute_script("localStorage.clear(); unsaved = 0")
            self.driver.refresh()
        return self

    def press(self, *keys):
        from selenium.webdriver.common.keys import Keys

        for key in keys:
            self.driver.switch_to.active_element.send_keys(getattr(Keys, key, key))

    def get(self, selector):
        return self.driver.find_element("css selector", selector)

    def text(self, selector):
        return self.get(selector).text

    @property
    def active(self):
        return self.driver.execute_script("return active.id")

    @property
    def focused(self):
        """The id of the face that has the keyboard."""
        return self.driver.execute_script("return rows[document.activeElement.dataset.place]?.id")

    @property
    def shown(self):
        script = "return [...document.querySelectorAll('.face')].map(c => rows[c.dataset.place].id)"
        return self.driver.execute_script(script)

    def choose(self, name, value):
        from selenium.webdriver.support.select import Select

        Select(self.get(f"#{name}")).select_by_value(value)

    def wait(self, done):
        """Wait until something that the browser does in its own time is done; return it."""
        end = time.monotonic() + 20
        while not (found := done()):
            assert time.monotonic() < end, "the browser never came to it"
            time.sleep(0.02)
        return found

    def save(self, *, by="s"):
        for old in self.folder.glob("decisions-*.json"):
            old.unlink()
        self.press(by) if len(by) == 1 else self.get(by).click()
        return self.wait(
            lambda: [path for path in self.folder.glob("decisions-*.json") if path.stat().st_size]
        )[0]

    def load(self, path):
        self.driver.execute_script("document.getElementById('said').textContent = ''")
        self.get("#load").send_keys(str(path))
        return self.wait(lambda: self.text("#said"))


def test_a_corpus_is_reviewed_as_the_scored_faces_that_it_holds(corpora, tmp_path):
    selected, training = corpora
    assert reviewed_hash(selected) == "feedfacade"
    scored = tmp_path / "scored"
    shutil.copytree(selected, scored)
    write_json(scored / "corpus.json", {"stage": "score", "inputs": {}, "content": "cafe"})
    assert reviewed_hash(scored) == "cafe"
    # without a record, what lies there speaks for itself
    bare = reviewed_hash(training)
    with (training / "more").open("w") as file:
        file.write("x")
    assert reviewed_hash(training) != bare
    (training / "more").unlink()


def test_the_page_asks_nothing_of_a_network_and_is_the_same_again(corpora, page):
    selected, training = corpora
    text = page.read_text()
    assert render(selected, training=training) == text
    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'; script-src 'sha256-" in html.unescape(text)


def test_training_faces_are_on_the_page_only_if_given(corpora, page):
    def embedded(text):
        start = text.index('id="data">') + len('id="data">')
        return json.loads(text[start : text.index("</script>", start)])

    assert embedded(render(corpora[0]))["training"] is None
    assert sorted(embedded(page.read_text())["training"]) == ["t0", "t1"]


def test_what_cannot_be_reviewed_is_told(corpora, tmp_path, capsys):
    selected, training = corpora
    assert main([str(selected), "--training", str(selected), "--to", str(tmp_path)]) == 2
    assert "holds none of the 3 nearest training faces" in capsys.readouterr().err
    unscored = tmp_path / "unscored"
    unscored.mkdir()
    write_corpus([generated(1, predicted=None)], unscored, EMOTIONS)
    assert main([str(unscored), "--to", str(tmp_path)]) == 2
    assert "1 of 1 rows" in capsys.readouterr().err
    assert main([str(selected), "--to", str(training / "page.html")]) == 2
    assert "finished folder" in capsys.readouterr().err


def test_a_name_cannot_break_out_of_the_page(tmp_path):
    write_corpus([generated(1, reason="</script><b>", keep=False)], tmp_path, EMOTIONS)
    assert "</script><b>" not in render(tmp_path)


def test_a_face_is_decided_on_by_key_and_saved(chromium, page):
    chromium.open(page)
    # 20 angry faces, the least sure first: the one that was refused, then from the last down
    assert chromium.shown[:3] == ["g4", "g38", "g36"]
    assert chromium.focused == "g4"
    chromium.press("k")
    assert chromium.focused == "g38"
    chromium.press("ARROW_RIGHT", "r")
    assert "40 faces: 38 stay, 2 go · you: 1 keep, 1 reject" in chromium.text("#counts")
    path = chromium.save()
    assert json.loads(path.read_text()) == {
        "version": 1,
        "corpus": "feedfacade",
        "decisions": {"g36": {"verdict": "reject"}, "g4": {"verdict": "keep"}},
    }
    assert read(path, "feedfacade").by_id["g4"] == Decision("keep")
    assert chromium.driver.get_log("browser") == []


def test_the_same_decisions_are_the_same_bytes(chromium, page):
    chromium.open(page).press("k", "r")
    first = chromium.save().read_bytes()
    chromium.open(page).press("ARROW_RIGHT", "r", "ARROW_LEFT", "ARROW_LEFT", "r", "u", "k")
    assert chromium.save(by="#save").read_bytes() == first


def test_undo_takes_back_one_change_after_the_other(chromium, page):
    chromium.open(page).press("k", "r", "u")
    assert chromium.focused == "g38"
    assert "1 keep, 0 reject" in chromium.text("#counts")
    chromium.press("u", "u")
    assert chromium.text("#said") == "There is nothing to undo"
    chromium.press("k", "ARROW_LEFT", "x", "u")
    assert "1 keep, 0 reject" in chromium.text("#counts")


def test_arrows_go_by_rows_of_the_grid_and_into_the_next_emotion(chromium, page):
    chromium.open(page)
    shown = chromium.shown
    columns = chromium.driver.execute_script("return columns(active)")
    assert 5 < columns < 20
    chromium.press("ARROW_RIGHT", "ARROW_DOWN")
    assert chromium.focused == shown[1 + columns]
    chromium.press("ARROW_DOWN")
    assert chromium.focused == shown[20 + 1]
    chromium.press("ARROW_UP", "ARROW_UP")
    assert chromium.focused == shown[1]
    chromium.press("END")
    assert chromium.focused == shown[-1]
    chromium.press("HOME", "]")
    assert chromium.focused == shown[20]
    chromium.press("[")
    assert chromium.focused == shown[0]


def test_a_keep_does_not_override_a_safety_gate(chromium, page):
    chromium.open(page).choose("gates", "gate copy")
    assert chromium.shown == ["g6"]
    chromium.press("ESCAPE", "k")
    assert chromium.text("#said").startswith("A keep cannot override the safety gate: copy: 0.050")
    assert "0 keep" in chromium.text("#counts")
    chromium.press("r")
    assert json.loads(chromium.save().read_text())["decisions"] == {"g6": {"verdict": "reject"}}


def test_filters_and_orders(chromium, page):
    chromium.open(page)
    chromium.choose("emotion", "happy")
    chromium.choose("sort", "")
    assert chromium.shown == [f"g{number}" for number in range(1, 40, 2)]
    chromium.choose("sort", "0+")
    # a face without a figure comes last, whichever way
    assert chromium.shown[0] == "g39"
    assert chromium.shown[-1] == "g9"
    chromium.choose("sort", "0-")
    assert (chromium.shown[0], chromium.shown[-1]) == ("g1", "g9")
    chromium.choose("gates", "misread")
    assert chromium.shown == ["g9"]
    assert chromium.text(".face .why") == "read as angry"
    chromium.choose("gates", "repeats")
    assert chromium.shown == ["g9"]
    chromium.choose("emotion", "")
    chromium.choose("gates", "refused")
    assert sorted(chromium.shown) == ["g4", "g6"]
    chromium.choose("yours", "keep")
    assert chromium.shown == []
    chromium.get("#clear").click()
    assert len(chromium.shown) == 40
    chromium.press("HOME", "r", "k")
    chromium.choose("yours", "against")
    assert chromium.shown == ["g0"]
    chromium.choose("yours", "none")
    assert len(chromium.shown) == 38


def test_the_enlarged_face_has_its_nearest_training_face_beside_it(chromium, page):
    chromium.open(page).press("ENTER")
    captions = chromium.driver.find_elements("css selector", "#pictures figcaption")
    assert [caption.text for caption in captions] == [
        "generated, named angry, read as angry",
        "nearest training face",
    ]
    drawn = "return [...document.querySelectorAll('#pictures img')].map(i => i.naturalWidth)"
    chromium.wait(lambda: chromium.driver.execute_script(drawn) == [32, 32])
    chromium.press("ARROW_RIGHT")
    # g38 is nearest to t2, which is not in the corpus given
    assert "not in the corpus given" in chromium.text("#pictures")
    chromium.press("r", "ARROW_LEFT", "n", "too dark", "ENTER", "ESCAPE")
    # a dialog says that it was closed a moment after
    chromium.wait(lambda: chromium.focused == "g38")
    said = json.loads(chromium.save().read_text())["decisions"]
    assert said == {"g38": {"verdict": "reject", "note": "too dark"}}


def test_keys_typed_into_a_field_decide_nothing(chromium, page):
    chromium.open(page).get("#reviewer").click()
    chromium.press("k", "r", "k")
    assert "0 keep, 0 reject" in chromium.text("#counts")
    chromium.press("ESCAPE", "r")
    said = json.loads(chromium.save().read_text())
    assert said["reviewer"] == "krk"
    assert said["decisions"] == {"g4": {"verdict": "reject"}}


def test_a_click_on_the_quick_marks_decides(chromium, page):
    from selenium.webdriver import ActionChains

    chromium.open(page)
    card = chromium.get(".face:nth-child(3)")
    ActionChains(chromium.driver).move_to_element(card).perform()
    chromium.get(".face:nth-child(3) .quick span[title=reject]").click()
    assert json.loads(chromium.save().read_text())["decisions"] == {"g36": {"verdict": "reject"}}
    chromium.get(".face:nth-child(2) img").click()
    assert chromium.text("#viewer-title") == "angry, 2 of 40"


def test_a_file_is_loaded_back(chromium, page, tmp_path):
    chromium.open(page).press("r", "r")
    saved = chromium.save()
    kept = tmp_path / "kept.json"
    kept.write_bytes(saved.read_bytes())
    chromium.open(page).press("END", "k")
    assert chromium.load(kept).startswith("Loaded 2 decisions from kept.json")
    assert "0 keep, 2 reject" in chromium.text("#counts")
    assert chromium.save(by="#save").read_bytes() == kept.read_bytes()
    chromium.get("#undo").click()
    assert "1 keep, 0 reject" in chromium.text("#counts")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"corpus": "deadbeef"}, "made for corpus deadbeef, the page shows feedfacade"),
        ({"version": 9}, "of version 9, the page reads version 1"),
        ({"decisions": None}, "no object `decisions`"),
        ({"decisions": {"zz": {"verdict": "keep"}}}, "decides on zz, which is no face"),
        ({"decisions": {"g1": "keep"}}, "neither keep nor reject of g1"),
    ],
)
def test_a_wrong_file_is_refused(chromium, page, tmp_path, changed, told):
    chromium.open(page).press("r")
    wrong = tmp_path / "wrong.json"
    content = {"version": 1, "corpus": "feedfacade", "decisions": {}} | changed
    wrong.write_text(json.dumps(content))
    assert told in chromium.load(wrong)
    assert "0 keep, 1 reject" in chromium.text("#counts")


def test_decisions_outlast_a_reload(chromium, page):
    chromium.open(page).press("r", "k")
    chromium.open(page, afresh=False)
    assert chromium.text("#said") == "2 decisions of an earlier visit are back"
    assert "1 keep, 1 reject" in chromium.text("#counts")
    assert chromium.text("#save") == "Save decisions (2 new)"


def test_help_opens_and_says_what_a_keep_cannot_do(chromium, page):
    chromium.open(page).press("?")
    assert "never a safety gate" in chromium.text("#helper")
    chromium.press("k", "ESCAPE")
    assert chromium.focused == "g4"
    assert "0 keep" in chromium.text("#counts")


def test_only_pictures_near_the_window_are_decoded(chromium, tmp_path):
    write_corpus([generated(number) for number in range(1200)], tmp_path, EMOTIONS)
    path = tmp_path / "review.html"
    assert main([str(tmp_path), "--to", str(path)]) == 2  # not into the corpus itself
    path = tmp_path.with_name("many.html")
    assert main([str(tmp_path), "--to", str(path)]) == 0
    chromium.open(path)
    count = "return document.querySelectorAll('.face img[src]').length"
    assert chromium.wait(lambda: chromium.driver.execute_script(count)) < 400
    chromium.press("END")
    last = "const c = active.card.firstChild; return c.complete && c.naturalWidth"
    assert chromium.wait(lambda: chromium.driver.execute_script(last)) == 32
    assert len(Corpus(Path(tmp_path)).facts) == len(chromium.shown)
