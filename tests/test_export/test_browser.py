"""The browser runtime: in Chromium where it and LiteRT.js are there, and everywhere with a script in its place."""

import http.client
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from tiny import build_tiny, randomize

from export import to_tflite
from export.flatbuffer import set_io
from export.results import BrowserFigures, Failure
from export.runtimes import Subject, browser
from export.runtimes.browser import Browser
from export.runtimes.litert import ROUNDS, RUNS, LiteRT
from keras_resnets import UsageError

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A tiny network whose outputs differ from image to image, in float32 and in int8 with two types of ends."""
    folder = tmp_path_factory.mktemp("files")
    keras.utils.set_random_seed(0)
    model = randomize(build_tiny("cifar_a", classifier_activation=None))
    images = np.random.default_rng(0).normal(size=(40, *model.input_shape[1:])).astype("float32")
    to_tflite(model, folder / "float32.tflite")
    to_tflite(model, folder / "int8_int8.tflite", mode="int8", io="int8", calibration=images)
    (folder / "int8_uint8.tflite").write_bytes(set_io((folder / "int8_int8.tflite").read_bytes(), "uint8"))
    return {path.stem: Subject(path, images, None, path.stem == "float32") for path in folder.glob("*.tflite")}


@pytest.fixture
def temporary(monkeypatch):
    """The folder of temporary files, looked at afterwards; short, since Chromium has a socket there."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield folder
        assert list(Path(folder).iterdir()) == [], "the profile is gone"


def measure(subjects):
    steps = []
    found = Browser().measure(subjects, lambda: steps.append(1))
    assert len(steps) == Browser().steps(len(subjects))
    return found


# In a real browser.


def test_files_run_in_a_browser_as_they_do_in_litert(files, temporary):
    try:
        Browser().check()
    except UsageError as missing:
        pytest.skip(str(missing))
    names = ("float32", "int8_int8", "int8_uint8")
    floats, refused, integers = measure([files[name] for name in names])
    assert refused == Failure(reason="LiteRT.js takes no int8 input; export with --io uint8 or float32")
    for found in (floats, integers):
        assert isinstance(found, BrowserFigures), found.reason
        assert re.search(r"Chrom\w+ \d+\.", found.browser)
        assert found.images == browser.IMAGES
        assert found.agreement > 0.9
        assert found.load_ms > 0
        assert found.timing.threads == 1
        assert len(found.timing.rounds_ms) == ROUNDS
        assert RUNS[0] * ROUNDS <= found.timing.runs <= RUNS[1] * ROUNDS
        assert 0 < found.timing.p50_ms <= found.timing.p90_ms <= found.timing.p99_ms
    assert floats.largest_error < 1e-4
    assert integers.largest_error < 0.1
    assert not_running(temporary)


def not_running(folder):
    """Whether no process has the folder among its words."""
    commands = Path("/proc").glob("[0-9]*/cmdline")
    return not any(os.fsencode(folder) in words for words in map(read, commands))


def read(path):
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""


# With a script in place of the browser, which gets the job and posts what it is told to.


@pytest.fixture
def package(tmp_path, monkeypatch):
    """LiteRT.js in name only, with a link that leads out of it."""
    root = tmp_path / "litert js"
    folder = root / "node_modules" / "@litertjs"
    for name in ("core/dist/index.js", "core/dist/index.js.map", "core/wasm/a.wasm", "wasm-utils/dist/index.js"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "core" / "package.json").write_text(json.dumps({"version": browser.VERSION}))
    (tmp_path / "secret.js").write_text("secret")
    (folder / "core" / "link.js").symlink_to(tmp_path / "secret.js")
    monkeypatch.setenv("KERAS_RESNETS_LITERTJS", str(root))
    return folder


CHROMIUM = """\
#!{python}
import http.client, json, os, sys, time
from pathlib import Path
from urllib.parse import urlsplit

page = urlsplit(sys.argv[-1])

def ask(kind, name, body=None):
    connection = http.client.HTTPConnection(page.netloc)
    connection.request(kind, page.path.replace("page.html", name), body)
    return connection

def post(**event):
    assert ask("POST", "report", json.dumps(event)).getresponse().status == 200

def open_file():
    post(event="opening")
    post(event="opened", load_ms=2, outputs=[[1, 0, 0, 0]] * 32)

def finish():
    for _ in range(job["rounds"]):
        post(event="round")
    times = [[[0.5, 0.25]] * job["rounds"]] * job["files"]
    post(event="done", browser="Script 1", threads=1, times_ms=times)
    time.sleep(60)

with Path({log!r}).open("a") as log:
    print(os.getpid(), *sys.argv, sep="\\t", file=log)
job = json.loads(ask("GET", "job").getresponse().read())
alive = ask("GET", "alive")
{body}
"""
WELL = "for _ in range(job['files']):\n    open_file()\nfinish()\n"


@pytest.fixture
def chromium(tmp_path, package, monkeypatch):
    """Makes a browser that ends with the lines given; returns the file that tells its calls, one a line."""
    folder, log = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    def make(body):
        script = folder / "chromium"
        script.write_text(CHROMIUM.format(python=sys.executable, log=str(log), body=body))
        script.chmod(0o755)
        return log

    return make


def posted(subject):
    """What the script says to each image, as real numbers."""
    output, stored = LiteRT(subject.path).output, np.array([1, 0, 0, 0])
    return stored if output.scale is None else (stored - output.zero_point) * output.scale


def test_what_the_page_posts_becomes_figures(files, temporary, chromium):
    log = chromium(WELL)
    subjects = [files["float32"], files["int8_uint8"]]
    for found, subject in zip(measure(subjects), subjects, strict=True):
        assert (found.browser, found.images, found.load_ms) == ("Script 1", 32, 2)
        assert (found.timing.runs, found.timing.p50_ms) == (2 * ROUNDS, pytest.approx(0.375))
        expected = np.stack(list(LiteRT(subject.path).predict(subject.images[:32])))
        assert found.agreement == (expected.argmax(1) == 0).mean()
        assert found.largest_error == pytest.approx(np.abs(expected - posted(subject)).max(), rel=1e-5)
    pid, _, *words = log.read_text().strip().split("\t")
    assert not Path(f"/proc/{pid}").exists(), "the browser has ended"
    assert ("--no-sandbox" in words) == (os.geteuid() == 0)
    assert temporary in next(word for word in words if word.startswith("--user-data-dir="))


@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        ("post(event='refused', file=1, reason='No such\\noperation: Foo')", "LiteRT.js: No such operation: Foo"),
        ("sys.exit('boom')", "the browser ended with status 1: boom"),
        ("alive.close(); time.sleep(60)", "the page crashed"),
        ("post(event='opened', load_ms=2)", "the page posts what it should not: opened.outputs: Field required"),
        ("time.sleep(60)", "nothing came from the page for 2 s"),
    ],
)
def test_a_file_that_fails_leaves_the_others(files, temporary, chromium, monkeypatch, failing, reason):
    monkeypatch.setattr(browser, "PATIENCE", 2.0 if "2 s" in reason else 30.0)
    monkeypatch.setattr(browser, "SLOWER", 0)
    log = chromium(f"if job['files'] == 2:\n    open_file(); post(event='opening'); {failing}\n{WELL}")
    good, bad = measure([files["float32"], files["int8_uint8"]])
    assert isinstance(good, BrowserFigures)
    assert bad == Failure(reason=reason)
    assert len(log.read_text().splitlines()) == 2, "two browsers"


def test_a_browser_that_does_not_start_fails_all_files(files, temporary, chromium):
    log = chromium("sys.exit('Missing X server\\nor $DISPLAY')")
    found = measure([files["float32"], files["int8_uint8"]])
    assert found == [Failure(reason="the browser ended with status 1: or $DISPLAY")] * 2
    assert len(log.read_text().splitlines()) == 1


def test_files_that_litert_js_cannot_take_start_no_browser(files, temporary, monkeypatch):
    monkeypatch.setenv("PATH", "")
    (found,) = measure([files["int8_int8"]])
    assert "export with --io uint8 or float32" in found.reason


# What the page posts.

OPENING = {"event": "opening"}
OPENED = {"event": "opened", "load_ms": 2.5, "outputs": [[1, 0, 0, 255]]}
ROUND = {"event": "round"}
DONE = {"event": "done", "browser": "B 1", "threads": 1, "times_ms": [[[0.5]] * ROUNDS]}


@pytest.fixture
def record():
    """A page that has one file of uint8 with one image and four classes."""
    output = {"dtype": np.uint8, "quantization": (0.5, 1)}
    task = browser._Task(Path("a.tflite"), b"", np.zeros((1, 4), np.float32), output, 0.001)
    return browser._Record([task], browser._Progress(lambda: None), 0)


def test_posts_in_order_become_figures(record):
    for event in (OPENING, OPENED, *[ROUND] * ROUNDS, DONE):
        record.take(json.dumps(event).encode())
    (found,) = record.figures
    assert (found.browser, found.load_ms, found.largest_error) == ("B 1", 2.5, 127.0)


@pytest.mark.parametrize(
    "events",
    [
        ["garbage"],
        [{"event": "other"}],
        [OPENED],
        [DONE],
        [OPENING, OPENED, OPENING],
        [OPENING, OPENED, OPENED],
        [OPENING, OPENED | {"load_ms": -1}],
        [OPENING, OPENED | {"load_ms": "2"}],
        [OPENING, OPENED | {"outputs": []}],
        [OPENING, OPENED | {"outputs": [[1, 2, 3]]}],
        [OPENING, OPENED | {"outputs": [[1, 2, 3, None]]}],
        [OPENING, OPENED | {"outputs": [[1, 2, 3, float("nan")]]}],
        [OPENING, OPENED | {"outputs": [[1, 2, 3, 256]]}],
        [OPENING, OPENED | {"outputs": [[1, 2, 3, 0.5]]}],
        [OPENING, OPENED | {"outputs": [[1, 2, 3, 1e300]]}],
        [OPENING, OPENED, *[ROUND] * ROUNDS, ROUND],
        [OPENING, OPENED, DONE | {"times_ms": []}],
        [OPENING, OPENED, DONE | {"times_ms": [[[0.5]]]}],
        [OPENING, OPENED, DONE | {"times_ms": [[[0.5]] * (ROUNDS - 1) + [[0.5, 0.5]]]}],
        [OPENING, OPENED, DONE | {"times_ms": [[[]] * ROUNDS]}],
        [OPENING, OPENED, DONE | {"times_ms": [[[0.0]] * ROUNDS]}],
        [OPENING, OPENED, DONE | {"threads": 0}],
        [{"event": "refused", "file": 1, "reason": "x"}],
        [{"event": "refused", "file": -1, "reason": "x"}],
    ],
)
def test_what_cannot_be_is_refused(record, events):
    *before, last = [json.dumps(event).encode() for event in events]
    for event in before:
        record.take(event)
    with pytest.raises(browser._PageError, match="the page posts what it should not: ") as caught:
        record.take(last)
    assert "\n" not in str(caught.value)
    assert record.file in (None, 0)


# What is served.


@pytest.fixture
def served(files, package):
    """Asks a server with one file: (method, path, body) -> status, headers, content."""
    task = browser._prepare(files["int8_uint8"])
    with browser._serving(browser._routes([task])) as server:

        def ask(method, path, body=None, **headers):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
            connection.request(method, path.replace("PREFIX", server.prefix), body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            return answer.status, answer.headers, content

        ask.messages = server.messages
        yield ask


def test_the_page_the_code_the_file_and_its_images_are_served_isolated(served, files):
    subject = files["int8_uint8"]
    entry = LiteRT(subject.path).input
    images = np.rint(subject.images[:32] / entry.scale + entry.zero_point).clip(0, 255).astype(np.uint8)
    contents = {
        "page.html": ("text/html", browser.PAGE.read_bytes()),
        "core/dist/index.js": ("text/javascript", b"core/dist/index.js"),
        "core/wasm/a.wasm": ("application/wasm", b"core/wasm/a.wasm"),
        "0.tflite": ("application/octet-stream", subject.path.read_bytes()),
        "0.images": ("application/octet-stream", images.tobytes()),
    }
    for name, (kind, expected) in contents.items():
        status, headers, content = served("GET", f"PREFIX{name}")
        assert (status, headers["Content-Type"], content) == (200, kind, expected), name
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"


@pytest.mark.parametrize(
    "path",
    [
        "/page.html",
        "page.html",
        "/",
        "PREFIX",
        "PREFIX/page.html",
        "PREFIXcore",
        "PREFIXcore/link.js",
        "PREFIXcore/package.json",
        "PREFIXcore/dist/index.js.map",
        "PREFIXcore/dist/../dist/index.js",
        "PREFIXcore/../../../../secret.js",
        "PREFIXcore/%2e%2e/%2e%2e/%2e%2e/%2e%2e/secret.js",
        "PREFIX/etc/passwd",
        "PREFIX1.tflite",
        "/etc/passwd",
    ],
)
def test_nothing_else_is_served(served, path):
    status, _, content = served("GET", path)
    assert status == 404
    assert b"secret" not in content


def test_posts_are_taken_from_the_page_alone(served):
    assert served("POST", "/report", b"{}")[0] == 404
    assert served("POST", "PREFIXpage.html", b"{}")[0] == 404
    assert served("POST", "PREFIXreport", b"", **{"Content-Length": str(2**40)})[0] == 413
    assert served("POST", "PREFIXreport", b"", **{"Content-Length": "-1"})[0] == 413
    assert served.messages.empty()
    assert served("POST", "PREFIXreport", b"{}")[0] == 200
    assert served.messages.get_nowait() == b"{}"


# What is missing.


def test_what_is_there_passes(package, chromium):
    chromium("")
    Browser().check()


def test_no_browser_is_one_line(package, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match=r"install chromium \(Debian: apt-get install chromium\)$"):
        Browser().check()


def test_no_litert_js_is_one_line_with_the_command_that_installs_it(chromium, tmp_path, monkeypatch):
    chromium("")
    monkeypatch.setenv("KERAS_RESNETS_LITERTJS", str(tmp_path / "to be"))
    with pytest.raises(UsageError) as caught:
        Browser().check()
    assert f"`npm install --prefix '{tmp_path}/to be' @litertjs/core@2.5.3`" in str(caught.value)
    monkeypatch.delenv("KERAS_RESNETS_LITERTJS")
    for home, cache in (("XDG_CACHE_HOME", tmp_path), ("HOME", tmp_path / ".cache")):
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv(home, str(tmp_path))
        with pytest.raises(UsageError, match=f"--prefix {cache}/keras-resnets/litertjs "):
            Browser().check()


def test_another_litert_js_is_one_line(chromium, package):
    chromium("")
    (package / "core" / "package.json").write_text(json.dumps({"version": "1.0.0"}))
    with pytest.raises(UsageError, match=r"is 1\.0\.0, not 2\.5\.3: run `npm install --prefix"):
        Browser().check()
