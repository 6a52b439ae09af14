"""What `keras-resnets bench` found, file by file and runtime by runtime.

These classes are the schema of `results.json`: `write_results` writes what they hold, `read_results` refuses what they
do not. Times are milliseconds of one image, sizes are bytes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from export.files import replacing
from keras_resnets.errors import UsageError

SCHEMA: Literal[1] = 1

RUNTIMES = {"litert": "LiteRT", "tflm": "TFLite Micro", "vela": "Ethos-U", "browser": "LiteRT.js", "android": "Android"}

_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False)
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


@with_config(_CONFIG)
@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why something was not measured.

    Attributes:
        reason: One line: what was wrong, and where there is one, the way out.
    """

    reason: str


@with_config(_CONFIG)
@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long one image takes, over many runs after a warm-up.

    Attributes:
        threads: Threads of the interpreter.
        p50_ms: Median.
        p50_low_ms: Lower end of the median's interval, which holds the medians of 90% of the rounds.
        p50_high_ms: Upper end.
        p90_ms: Nine of ten runs are faster.
        p99_ms: 99 of 100 runs are faster.
        mean_ms: Mean.
        std_ms: Standard deviation.
        runs: Number of timed runs.
        rounds_ms: Median of each round; between two rounds of a file every other file had its turn.
    """

    threads: int
    p50_ms: Positive
    p50_low_ms: Positive
    p50_high_ms: Positive
    p90_ms: Positive
    p99_ms: Positive
    mean_ms: Positive
    std_ms: float
    runs: int
    rounds_ms: Annotated[tuple[Positive, ...], Field(min_length=1)]


@with_config(_CONFIG)
@dataclass(frozen=True, kw_only=True)
class LiteRTFigures:
    """A file on LiteRT with XNNPACK, the processor kernels of phones and computers.

    Attributes:
        timings: One for each number of threads.
        init_ms: Opening the file and allocating its tensors, in a process of its own.
        first_ms: The first image there.
        memory_bytes: Memory that opening and running the file takes at most in a process that holds it already, so
            without the interpreter's code; None where the system does not say.
        peak_share: Operations a second at one thread, as a share of what the processor reached on a large matrix
            product of the same type in the same run; None where the number of operations is unknown.
    """

    timings: tuple[Timing, ...]
    init_ms: float
    first_ms: float
    memory_bytes: int | None
    peak_share: float | None


@with_config(_CONFIG)
@dataclass(frozen=True, kw_only=True)
class TflmFigures:
    """A file on TFLite Micro, the interpreter of microcontrollers.

    Attributes:
        arena_bytes: Memory that the interpreter takes from its tensor arena.
        arena: What of it goes where, by the interpreter's own sections.
        flash_bytes: The file, which stays in flash; the interpreter's code comes on top.
        images: Images that were compared with LiteRT.
        largest_difference: Of an output, in steps of its quantization; None where the outputs are real numbers.
        largest_error: Of an output as a real number.
    """

    arena_bytes: Count
    arena: dict[str, int]
    flash_bytes: Count
    images: int
    largest_difference: int | None
    largest_error: float


@with_config(_CONFIG)
@dataclass(frozen=True, kw_only=True)
class NpuFigures:
    """A file on one Arm Ethos-U, as Vela's model of the hardware estimates it.

    Attributes:
        accelerator: Such as "ethos-u55-128": the family and its multiply-accumulates a cycle.
        clock_mhz: The clock that turns cycles into time.
        cycles: Of one image, on the NPU.
        ms: The same as time.
        sram_bytes: Peak of the working memory in SRAM.
        dram_bytes: Peak in DRAM, weights included; 0 on a system without, whose weights stay in flash.
        flash_bytes: The file that Vela writes: compressed weights, commands, constants of what falls back.
        npu_operations: Operations of the file that the NPU runs.
        cpu_operations: Operations that fall back to the processor, by kind.
    """

    accelerator: str
    clock_mhz: float
    cycles: Count
    ms: float
    sram_bytes: Count
    dram_bytes: Count = 0
    flash_bytes: Count
    npu_operations: Count
    cpu_operations: dict[str, int]


@with_config(_CONFIG)
@dataclass(frozen=True, kw_only=True)
class VelaFigures:
    """A file on the Arm Ethos-U family.

    Attributes:
        accelerators: One for each configuration.
    """

    accelerators: tuple[NpuFigures, ...]


@with_config(_CONFIG)
@dataclass(frozen=True, kw_only=True)
class BrowserFigures:
    """A file on LiteRT.js in a real browser.

    Attributes:
        browser: Name and version.
        timing: How long one image takes; threads are those of the WebAssembly module. Where that is under half a
            millisecond, a run is the mean of several: the browser's clock is coarse.
        load_ms: Fetching and compiling the file.
        images: Images that were compared with LiteRT.
        agreement: Share of them on which both name the same class.
        largest_error: Of an output as a real number.
    """

    browser: str
    timing: Timing
    load_ms: float
    images: int
    agreement: Share
    largest_error: float


@with_config(_CONFIG)
@dataclass(frozen=True, kw_only=True)
class AndroidFigures:
    """A file on a phone, by the platform's own `benchmark_model`.

    Attributes:
        device: Maker, model and Android release.
        threads: Threads of the interpreter.
        mean_ms: Mean.
        std_ms: Standard deviation.
        min_ms: Fastest run.
        max_ms: Slowest run.
        init_ms: Opening the file and allocating its tensors.
        first_ms: The first image.
        memory_bytes: Memory that the process took for it at most; None where the phone does not say.
        runs: Number of timed runs.
    """

    device: str
    threads: int
    mean_ms: Positive
    std_ms: float
    min_ms: float
    max_ms: float
    init_ms: float
    first_ms: float
    memory_bytes: int | None
    runs: int


@with_config(_CONFIG)
@dataclass(frozen=True, kw_only=True)
class End:
    """The input or the output of a file.

    Attributes:
        name: Of the tensor.
        shape: With the batch, such as (1, 32, 32, 3).
        type: Such as "float32", "uint8" or "int8".
        scale: Real numbers are (stored - zero_point) * scale; None where they are stored as they are.
        zero_point: See scale.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    scale: float | None
    zero_point: int | None


@with_config(_CONFIG)
@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file on every runtime that was asked for; None is what was not asked for or is not known.

    Attributes:
        name: By which the results are told apart, such as "resnet8 int8".
        word: What the user wrote: the path of a file or of a model, or a registered name.
        model: Name of the network.
        mode: How it is quantized, and the engine of quantization-aware training where there was any.
        file: Name of the file.
        sha256: Digest of its bytes.
        bytes: Its size.
        trained: False for a network with random weights, built to measure its cost alone.
        parameters: Trainable parameters of the network.
        macs: Multiply-accumulates of one image.
        input: What goes in.
        output: What comes out.
        operations: Number of operations of each kind.
        float_operations: Those that compute in floating point.
        labels: Names of the classes.
        mean: What the file says is to be subtracted from pixels, one for all channels or one each; None: nothing.
        std: What they are to be divided by then.
        quantization: What the recipe beside the file says: engine, clipping, calibration, plan.
        images: Test images classified.
        accuracy: Share of them that the file classifies correctly.
        agreement: Share of them on which file and Keras model name the same class.
        litert: On LiteRT.
        tflm: On TFLite Micro.
        vela: On Arm's Ethos-U.
        browser: On LiteRT.js.
        android: On an attached phone.
    """

    name: str
    word: str
    model: str
    mode: str | None
    file: str
    sha256: str
    bytes: Count
    trained: bool
    parameters: int | None
    macs: int | None
    input: End
    output: End
    operations: dict[str, int]
    float_operations: Count
    labels: tuple[str, ...] | None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    quantization: dict[str, Any] | None
    images: int | None
    accuracy: Share | None
    agreement: Share | None
    litert: LiteRTFigures | Failure | None = None
    tflm: TflmFigures | Failure | None = None
    vela: VelaFigures | Failure | None = None
    browser: BrowserFigures | Failure | None = None
    android: AndroidFigures | Failure | None = None

    @property
    def origin(self) -> str:
        """Where the file is: its path, or its name and what it was exported from."""
        return self.word if Path(self.word).name == self.file else f"{self.file}, from {self.word}"


@with_config(_CONFIG)
@dataclass(frozen=True, kw_only=True)
class Rejected:
    """Something that was named and could not be measured at all.

    Attributes:
        name: What the user wrote, with the mode where others of it are measured.
        reason: One line: what was wrong, and where there is one, the way out.
    """

    name: str
    reason: str


@with_config(_CONFIG)
@dataclass(frozen=True, kw_only=True)
class Peak:
    """What one thread of the processor reaches on a large matrix product in LiteRT, in this run.

    Attributes:
        float32_gops: Thousand millions of operations a second in float32, two a multiply-accumulate.
        int8_gops: The same in int8.
    """

    float32_gops: float
    int8_gops: float


@with_config(_CONFIG)
@dataclass(frozen=True, kw_only=True)
class Results:
    """One run of `keras-resnets bench`.

    Attributes:
        schema: Version of this form.
        environment: Processor, cores, governor, load, system and versions.
        data: Name of the data whose test images were classified.
        seed: Seed of random weights, calibration and noise.
        peak: What the processor reaches; None where LiteRT was not asked for.
        entries: The files.
        rejected: What could not be measured at all.
    """

    schema: Literal[1] = SCHEMA
    environment: dict[str, str]
    data: str | None
    seed: int
    peak: Peak | None
    entries: tuple[Entry, ...]
    rejected: tuple[Rejected, ...]


_ADAPTER = TypeAdapter(Results)


def json_schema() -> dict[str, Any]:
    """The form of `results.json`, as JSON Schema."""
    return _ADAPTER.json_schema()


def write_results(results: Results, path: Path) -> None:
    """Writes results as JSON."""
    with replacing(path) as part:
        part.write_bytes(_ADAPTER.dump_json(results, indent=2) + b"\n")


def read_results(path: Path) -> Results:
    """Reads results and checks that they have the form that this version writes.

    Raises:
        UsageError: If there is no such file, or it has another form; the message names the place.
    """
    try:
        results = _ADAPTER.validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}; `keras-resnets bench` writes results.json"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise UsageError(
            f"{path} is no results.json of this version ({place}: {first['msg']}); run `keras-resnets bench` again"
        ) from None
    names = [entry.name for entry in results.entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{path} holds {twice!r} twice; run `keras-resnets bench` again")
    return results
