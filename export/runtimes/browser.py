"""LiteRT.js in headless Chromium: the same file in a real browser, by WebAssembly.

No driver stands between: a server on this machine gives the browser one page, LiteRT.js and the files, and the page
posts what it finds.
"""

import json
import os
import queue
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from pydantic import Field, TypeAdapter, ValidationError

from export.results import BrowserFigures, Failure
from export.runtimes import Runtime, Subject
from export.runtimes.litert import ROUNDS, RUNS, TURN, LiteRT, classes_of, decode, encode, summarize
from keras_resnets.errors import UsageError

VERSION = "2.5.3"
IMAGES = 32  # compared with LiteRT, at most
PATIENCE = 60.0  # seconds without a sign of life from the page, beside its work
SLOWER = 50  # times LiteRT's time is what that work may take
POLL = 0.1  # seconds between two looks at the browser and at whether to go on serving
LAST = 0.5  # seconds that a browser may outlive its page
END = 5.0  # seconds for the browser to end when told to
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGE = Path(__file__).with_name("browser.html")
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",  # these two isolate the page, which makes its clock 20 times finer
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-store",
}
TYPES = {".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm"}
LARGEST_REPORT = 2**25  # bytes
LINE = 300  # characters of what others say


class Browser(Runtime):
    """Latency and predictions of files in LiteRT.js on one thread of the processor (WebAssembly and XNNPACK).

    The page opens each file, classifies the images and warms up until the browser's compiler makes it no faster; then
    it times the files in turns, as `OnLiteRT` does. A run is `model.run` on an image that lies ready, and giving its
    output free. The browser's clock is coarse, 5 microseconds in an isolated page and 100 in another: where an image
    takes less than 100 steps of it, a timing spans as many runs as fill them and counts as one run of their mean time.

    A file that fails in the page, or takes the page down, is left out, and the others start again in a new browser.
    """

    name = "browser"

    def check(self) -> None:
        if os.name != "posix":  # process groups end the browser, whatever happens
            raise UsageError("the browser runtime needs Linux or macOS")
        _find_browser()
        _find_package()

    def steps(self, count: int) -> int:
        return count + ROUNDS

    def measure(self, subjects: Sequence[Subject], on_step: Callable[[], None]) -> list[BrowserFigures | Failure]:
        prepared = [_prepare(subject) for subject in subjects]
        found: dict[int, BrowserFigures | Failure] = {
            index: one for index, one in enumerate(prepared) if isinstance(one, Failure)
        }
        tasks = {index: one for index, one in enumerate(prepared) if isinstance(one, _Task)}
        progress = _Progress(on_step)
        while tasks:
            record = _Record(list(tasks.values()), progress, len(found))
            try:
                found.update(zip(tasks, _run(record), strict=True))
                break
            except _PageError as error:
                for index in list(tasks) if record.file is None else [list(tasks)[record.file]]:
                    found[index] = Failure(reason=str(error))
                    del tasks[index]
        progress.reach(self.steps(len(subjects)))
        return [found[index] for index in range(len(subjects))]


class _Progress:
    """Calls `on_step` once a step, though a new browser begins again."""

    def __init__(self, on_step: Callable[[], None]) -> None:
        self._on_step = on_step
        self._done = 0

    def reach(self, step: int) -> None:
        while self._done < step:
            self._done += 1
            self._on_step()


@dataclass(frozen=True)
class _Task:
    """A file that LiteRT.js takes.

    Attributes:
        path: The file.
        images: As the input holds them, one after the other.
        expected: What LiteRT says to them, shape (n, classes).
        output: The output, as an interpreter describes it.
        seconds: LiteRT's time for one image.
    """

    path: Path
    images: bytes
    expected: np.ndarray
    output: dict[str, Any]
    seconds: float


def _prepare(subject: Subject) -> _Task | Failure:
    interpreter = Interpreter(model_path=str(subject.path), num_threads=1)
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    for end, tensor in (("input", taken), ("output", given)):
        if tensor["dtype"] not in (np.float32, np.uint8):
            kind = np.dtype(tensor["dtype"]).name
            return Failure(reason=f"LiteRT.js takes no {kind} {end}; export with --io uint8 or float32")
    images = subject.images[:IMAGES]
    start = time.perf_counter()
    expected = np.stack(list(LiteRT(subject.path).predict(images)))
    seconds = (time.perf_counter() - start) / len(images)
    if not np.isfinite(expected).all():
        return Failure(reason="its outputs are not finite, in LiteRT already")
    return _Task(subject.path, encode(images, taken).tobytes(), expected, given, seconds)


class _PageError(Exception):
    """The page cannot go on, and why in one line."""


def _run(record: "_Record") -> list[BrowserFigures]:
    """Measures the files of a record in one browser.

    Raises:
        _PageError: If the browser does not start or crashes, a file fails, or nothing comes back for too long.
    """
    limit = PATIENCE + SLOWER * IMAGES * sum(task.seconds for task in record.tasks)
    with _serving(_routes(record.tasks)) as server, _browsing(server.url) as browser:
        while record.figures is None:
            record.take(_receive(server.messages, browser, limit))
    return record.figures


# What the page posts: opening and opened for each file, then a round for each round, then done; or refused at any time.

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class _Opening:
    event: Literal["opening"]


@dataclass(frozen=True)
class _Opened:
    event: Literal["opened"]
    load_ms: _Positive
    outputs: list[list[_Finite]]


@dataclass(frozen=True)
class _Round:
    event: Literal["round"]


@dataclass(frozen=True)
class _Done:
    event: Literal["done"]
    browser: str
    threads: Annotated[int, Field(gt=0)]
    times_ms: list[list[list[_Positive]]]


@dataclass(frozen=True)
class _Refused:
    event: Literal["refused"]
    file: int | None
    reason: str


_Event = _Opening | _Opened | _Round | _Done | _Refused
_EVENT: TypeAdapter[_Event] = TypeAdapter(Annotated[_Event, Field(discriminator="event")])


class _Record:
    """What the page has told, checked.

    Args:
        tasks: The files.
        progress: Is told of each file that is open and of each round.
        before: Steps of the progress before the first file.

    Attributes:
        tasks: The files.
        file: Place of the file at work, to be blamed if no more comes; None where no one file is.
        figures: Of each file, once the page is done.
    """

    def __init__(self, tasks: Sequence[_Task], progress: _Progress, before: int) -> None:
        self.tasks = tasks
        self.file: int | None = None
        self.figures: list[BrowserFigures] | None = None
        self._progress, self._steps, self._last = progress, before, before + len(tasks) + ROUNDS
        self._opened: list[_Opened] = []

    def take(self, message: bytes) -> None:
        """Takes what the page posted.

        Raises:
            _PageError: If the page gives up, or posts what cannot be.
        """
        try:
            event = _EVENT.validate_json(message, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the whole"
            raise _PageError(f"the page posts what it should not: {place}: {first['msg']}") from None
        match event:
            case _Opening():
                _require(len(self._opened) < len(self.tasks), "another file")
                self.file = len(self._opened)
            case _Opened():
                self._open(event)
            case _Round():
                self._step()
            case _Done():
                self._finish(event)
            case _Refused():
                _require(event.file is None or 0 <= event.file < len(self.tasks), "another file")
                self.file = event.file
                raise _PageError(f"LiteRT.js: {_one_line(event.reason)}")

    def _open(self, event: _Opened) -> None:
        _require(self.file == len(self._opened), "a file that it has not opened")
        task = self.tasks[len(self._opened)]
        kind = task.output["dtype"]
        for output in event.outputs:
            with np.errstate(all="ignore"):
                _require(np.array_equal(np.array(output).astype(kind), output), f"outputs that are no {kind.__name__}")
        _require([len(output) for output in event.outputs] == [task.expected.shape[1]] * len(task.expected), "outputs")
        self._opened.append(event)
        self.file = None
        self._step()

    def _step(self) -> None:
        _require(self._steps < self._last, "another round")
        self._steps += 1
        self._progress.reach(self._steps)

    def _finish(self, event: _Done) -> None:
        counts = [[len(turn) for turn in turns] for turns in event.times_ms]
        _require(len(counts) == len(self._opened) == len(self.tasks), "timings")
        for rounds in counts:
            _require(len(rounds) == ROUNDS and len(set(rounds)) == 1 and rounds[0] > 0, "timings")
        self.figures = [
            BrowserFigures(
                browser=_one_line(event.browser),
                timing=summarize(np.array(times) / 1e3, event.threads),
                load_ms=opened.load_ms,
                images=len(task.expected),
                **_compare(task, np.array(opened.outputs)),
            )
            for task, opened, times in zip(self.tasks, self._opened, event.times_ms, strict=True)
        ]


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise _PageError(f"the page posts what it should not: {what}")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:LINE]


def _compare(task: _Task, outputs: np.ndarray) -> dict[str, float]:
    """How outputs as the file stores them, shape (n, classes), differ from LiteRT's."""
    found = decode(outputs.astype(task.output["dtype"]), task.output)
    return {
        "agreement": float(np.mean(classes_of(found) == classes_of(task.expected))),
        "largest_error": float(np.abs(found - task.expected).max()),
    }


def _receive(messages: "queue.SimpleQueue[bytes | None]", browser: "_Chromium", limit: float) -> bytes:
    """The next message of the page.

    Raises:
        _PageError: If the page or the browser is gone, or is silent for `limit` seconds.
    """
    end = time.monotonic() + limit
    while browser.process.poll() is None:
        if time.monotonic() > end:
            raise _PageError(f"nothing came from the page for {limit:.0f} s")
        with suppress(queue.Empty):
            message = messages.get(timeout=POLL)
            if message is not None:
                return message
            break
    with suppress(subprocess.TimeoutExpired):  # a browser that crashes loses its page a moment before
        browser.process.wait(LAST)
        raise _PageError(f"the browser ended with status {browser.process.returncode}{browser.last_words()}")
    raise _PageError("the page crashed")


def _routes(tasks: Sequence[_Task]) -> dict[str, Path | bytes]:
    """What is served by name, and nothing else is: the page, its job, LiteRT.js's code, the files and their images."""
    job = {"files": len(tasks), "rounds": ROUNDS, "runs": RUNS, "turn_ms": TURN * 1e3}
    routes: dict[str, Path | bytes] = {"page.html": PAGE, "job": json.dumps(job).encode()}
    for index, task in enumerate(tasks):
        routes |= {f"{index}.tflite": task.path, f"{index}.images": task.images}
    folder = _find_package()
    for path in folder.rglob("*"):
        inside = path.resolve().is_relative_to(folder.resolve())  # a link may lead elsewhere
        if path.suffix in (".js", ".wasm") and path.is_file() and inside:
            routes[path.relative_to(folder).as_posix()] = path
    return routes


class _Server(ThreadingHTTPServer):
    """Serves some names to who knows a secret, and takes reports.

    Attributes:
        prefix: What every path begins with; random, so that no other page or user finds it.
        routes: What is served, by the rest of its path.
        messages: What was posted; None once the page is gone.
    """

    def __init__(self, routes: Mapping[str, Path | bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.prefix = f"/{secrets.token_urlsafe()}/"
        self.routes = routes
        self.messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    @property
    def url(self) -> str:
        """Of the page."""
        return f"http://127.0.0.1:{self.server_port}{self.prefix}page.html"

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a browser that ends hangs up
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        known, name = self.path.startswith(self.server.prefix), self.path.removeprefix(self.server.prefix)
        if known and name == "alive":  # never answered: the page holds the connection as long as it lives
            self.connection.recv(1)
            self.server.messages.put(None)
        elif known and name in self.server.routes:
            source = self.server.routes[name]
            body = source if isinstance(source, bytes) else source.read_bytes()
            self._answer(body, TYPES.get(PurePosixPath(name).suffix, "application/octet-stream"))
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != f"{self.server.prefix}report":
            self.send_error(HTTPStatus.NOT_FOUND)
        elif not length.isdecimal() or int(length) > LARGEST_REPORT:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            self.server.messages.put(self.rfile.read(int(length)))
            self._answer(b"", "text/plain")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        for name, value in (HEADERS | {"Content-Type": kind, "Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass  # the terminal is the progress bar's


@contextmanager
def _serving(routes: Mapping[str, Path | bytes]) -> Iterator[_Server]:
    with _Server(routes) as server:
        thread = threading.Thread(target=server.serve_forever, args=(POLL,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class _Chromium:
    """A browser that runs.

    Attributes:
        process: Leader of a process group of its own.
        log: What it writes.
    """

    process: "subprocess.Popen[bytes]"
    log: Path

    def last_words(self) -> str:
        """The last line that the browser wrote, to follow a reason."""
        lines = self.log.read_text(errors="replace").split("\n")
        telling = [line.strip() for line in lines if line.strip() and "dbus" not in line]  # which containers lack
        return f": {telling[-1][:LINE]}" if telling else ""


@contextmanager
def _browsing(url: str) -> Iterator[_Chromium]:
    """Opens a page in a browser with an empty profile; neither outlives the body."""
    with tempfile.TemporaryDirectory(prefix="keras-resnets-", ignore_cleanup_errors=True) as folder:
        profile, log = Path(folder) / "profile", Path(folder) / "log"
        sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()  # Chromium refuses to run as root with one
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [_find_browser(), *FLAGS, *sandbox, f"--user-data-dir={profile}", url],
                env=os.environ | dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), folder),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        try:
            yield _Chromium(process, log)
        finally:
            _end(process)
            socket = profile / "SingletonSocket"
            if socket.is_symlink():  # Chromium keeps it in a folder of its own, where paths are short
                shutil.rmtree(socket.readlink().parent, ignore_errors=True)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process group, gently first."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + END
        with suppress(ProcessLookupError):  # the whole group is gone
            os.killpg(process.pid, kind)
            while time.monotonic() < end:
                process.poll()  # takes note of the leader's end, which otherwise stays in the group
                os.killpg(process.pid, 0)
                time.sleep(0.02)


def _find_browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise UsageError("no browser to run LiteRT.js in: install chromium (Debian: apt-get install chromium)")
    return found


def _find_package() -> Path:
    """The folder of LiteRT.js's packages."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = Path(os.environ.get("KERAS_RESNETS_LITERTJS") or cache / "keras-resnets" / "litertjs")
    install = f"run `npm install --prefix {shlex.quote(str(root))} @litertjs/core@{VERSION}`"
    folder = root / "node_modules" / "@litertjs"
    needed = ("core/package.json", "core/dist/index.js", "core/wasm", "wasm-utils/dist/index.js")
    if not all((folder / name).exists() for name in needed):
        raise UsageError(f"no LiteRT.js in {root}: {install}")
    version = json.loads((folder / "core" / "package.json").read_text()).get("version")
    if version != VERSION:
        raise UsageError(f"LiteRT.js in {root} is {version}, not {VERSION}: {install}")
    return folder
