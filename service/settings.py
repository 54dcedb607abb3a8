"""Every setting, its default and its meaning; the only place that reads the environment."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    DirectoryPath,
    Field,
    FilePath,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

SERVICE_LINK = re.compile("GIMEFIVE_(SERVICE_(HOST|PORT.*)|PORT_[0-9]+_.*)")
"""Variables that Kubernetes sets for a Service named gimefive."""

ORIGIN = re.compile(r"https?://[^/\s]+")
"""A page's origin, as browsers send it (RFC 6454)."""

Precision = Literal["auto", "fp32", "int8", "fp16"]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _device(value: str) -> str:
    kind, _, index = value.partition(":")
    if value in ("auto", "cpu") or (kind == "cuda" and (not index or index.isdecimal())):
        return value
    raise ValueError("use auto, cpu, cuda or cuda:N")


def _embedded_store() -> Path:
    package = Path(__file__).parent
    installed = package / "model_store"
    return installed if installed.is_dir() else package.parent / "model_store"


class Settings(BaseSettings):
    """Settings of the service, read from ``GIMEFIVE_*`` environment variables, then frozen."""

    model_config = SettingsConfigDict(env_prefix="GIMEFIVE_", frozen=True, extra="forbid")

    model_store: Path = Field(
        default_factory=_embedded_store,
        description="Folder of models, NAME/VERSION/card.json. The default is the one that came "
        "with the package.",
    )
    model_version: str | None = Field(
        None, description="Version of gimefive to serve; if unset, the highest in the store."
    )
    device: Annotated[str, AfterValidator(_device)] = Field(
        "auto", description="auto, cpu, cuda or cuda:N; auto uses CUDA where it is available."
    )
    precision: Precision = Field(
        "auto",
        description="auto, fp32, int8 (CPU) or fp16 (CUDA); auto uses the model card's default for "
        "the device, or fp32 where this CPU cannot run it.",
    )
    fronts: PositiveInt = Field(
        1,
        description="Front-end processes that feed the same model; use more than one to feed "
        "a GPU.",
    )
    workers: PositiveInt | None = Field(
        None,
        description="Model processes; if unset, one per core (at most 8) on a CPU, one on a GPU.",
    )
    worker_threads: PositiveInt | None = Field(
        None,
        description="Torch threads in each model process; if unset, the cores are shared evenly.",
    )
    decode_threads: PositiveInt | None = Field(
        None, description="Threads that decode images and detect faces; if unset, one per core."
    )
    worker_memory_mb: PositiveInt | None = Field(
        None,
        description="Memory, in MiB, above which a model process is replaced; if unset, never.",
    )
    max_batch: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None,
        description="Most faces in one pass of the model, up to 1024; if unset, determined at "
        "startup.",
    )
    queue_items: PositiveInt = Field(
        1024,
        description="Most faces that may wait, at least GIMEFIVE_MAX_FRAMES times GIMEFIVE_FRONTS; "
        "more are refused with 503 and Retry-After.",
    )
    queue_seconds: Positive = Field(
        0.05,
        description="Under overload, longest predicted wait, in seconds, at which a single image "
        "is still admitted. Overload means that more than 128 are waiting, and lasts until a "
        "second after the last refusal.",
    )
    max_body_bytes: PositiveInt = Field(20 * 2**20, description="Largest request body, in bytes.")
    max_frames: PositiveInt = Field(256, description="Most frames in one request's batch.")
    max_frames_bytes: PositiveInt = Field(
        128 * 2**20, description="Largest body of a request with a batch of frames, in bytes."
    )
    max_videos: PositiveInt = Field(
        4, description="Most videos received or processed at once; more are refused with 503."
    )
    max_video_bytes: PositiveInt = Field(
        2 * 2**30, description="Largest video, uploaded or annotated, in bytes."
    )
    max_video_seconds: Positive = Field(
        14_400, description="Longest part of a video that is processed, in seconds."
    )
    temp_dir: DirectoryPath | None = Field(
        None, description="Folder for videos while they are processed; if unset, the system's."
    )
    max_pixels: PositiveInt = Field(
        50_000_000, description="Largest image, width times height, as read from its header."
    )
    max_faces: PositiveInt = Field(
        100, description="Most faces returned for one image, largest first."
    )
    detection_threshold: Fraction = Field(
        0.7, description="Lowest detector score that counts as a face."
    )
    threshold: Fraction | None = Field(
        None, description="Confidence below which an answer abstains; if unset, the model card's."
    )
    half_life: Positive = Field(
        0.5, description="Half-life, in seconds, of a score in a person's smoothed scores."
    )
    max_cameras: PositiveInt = Field(
        64, description="Most cameras on /live at a time; more are told to try again later."
    )
    max_live_bytes: PositiveInt = Field(
        4 * 2**20, description="Largest frame that a camera may send, in bytes."
    )
    ping_seconds: Positive = Field(
        20,
        description="Seconds between pings to a camera, and how long a ping may stay unanswered.",
    )
    deadline_ms: Positive = Field(
        10_000,
        description="Longest a request may take unless it sets its own deadline, in milliseconds.",
    )
    start_timeout: Positive = Field(
        60,
        description="Longest a model process, or a front-end process, may take to start, "
        "in seconds.",
    )
    drain_delay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0,
        description="Seconds from SIGTERM, when /readyz turns to 503, until new connections are "
        "refused.",
    )
    drain_timeout: Positive = Field(
        30, description="Longest that accepted requests may take to finish after that, in seconds."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="Port to listen on.")
    keys_file: FilePath | None = Field(
        None, description="File of API keys, one name:sha256 per line; if unset, no key is needed."
    )
    rate_limit: Positive | None = Field(
        None, description="Requests per second that each key may make; if unset, no limit."
    )
    rate_burst: PositiveInt = Field(
        20, description="Requests that a key may make at once after a quiet time."
    )
    metrics_open: bool = Field(False, description="Whether /metrics needs no key.")
    ops_port: Annotated[int, Field(ge=0, le=65535)] | None = Field(
        None, description="Additional port that serves probes and /metrics without a key."
    )
    client_timeout: Positive = Field(
        20,
        description="Seconds that a client may keep the service waiting while it sends or reads.",
    )
    keep_alive: PositiveInt = Field(
        75, description="Seconds an idle connection stays open; longer than a load balancer's."
    )
    cors_origins: str | None = Field(
        None,
        description="Origins of other sites whose pages may send requests, separated by commas; "
        "or *.",
    )
    tls_cert: FilePath | None = Field(
        None, description="Certificate chain (PEM); serves HTTPS if set."
    )
    tls_key: FilePath | None = Field(
        None, description="Its private key (PEM); if unset, expected in the same file."
    )
    traces: bool = Field(
        False,
        description="Whether requests are traced; the OTEL_* variables say where traces are sent.",
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="console or json; auto uses console on a terminal."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rate_limit and not self.keys_file:
            raise ValueError("GIMEFIVE_RATE_LIMIT counts by key: set GIMEFIVE_KEYS_FILE, too")
        if self.tls_key and not self.tls_cert:
            raise ValueError("GIMEFIVE_TLS_KEY needs a certificate: set GIMEFIVE_TLS_CERT, too")
        if self.ops_port and self.ops_port == self.port:
            raise ValueError("GIMEFIVE_OPS_PORT is GIMEFIVE_PORT: choose another")
        for origin in self.origins:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"GIMEFIVE_CORS_ORIGINS: {origin} is no origin: write https://example.org or *"
                )
        if self.queue_items < self.fronts * self.max_frames:
            raise ValueError(
                "GIMEFIVE_QUEUE_ITEMS must hold GIMEFIVE_MAX_FRAMES for each of GIMEFIVE_FRONTS: "
                f"set it to {self.fronts * self.max_frames} or more, or one of the others lower"
            )
        return self

    @property
    def origins(self) -> list[str]:
        """The origins of other sites' pages that may use the API."""
        return [name.strip() for name in (self.cors_origins or "").split(",") if name.strip()]

    @property
    def decoders(self) -> int:
        """Threads that decode pictures and find faces."""
        return self.decode_threads or available_cpus()

    def of_one_front(self) -> Self:
        """The settings of one of several fronts, with its share of what each front limits."""
        return self.with_changes(
            fronts=1,
            queue_items=self.queue_items // self.fronts,
            decode_threads=max(1, self.decoders // self.fronts),
        )

    def with_changes(self, **changes: object) -> Self:
        """A validated copy with `changes`; None leaves a setting as it is."""
        given = {name: value for name, value in changes.items() if value is not None}
        return self.__class__(**{**self.model_dump(), **given})


def unknown_variables() -> list[str]:
    """Variables that look like settings but are not, except those that Kubernetes sets."""
    named = {name for name in os.environ if name.startswith("GIMEFIVE_")}
    return sorted(name for name in named - variables() if not SERVICE_LINK.fullmatch(name))


def variables() -> set[str]:
    """The environment variables that are read."""
    return {variable(name) for name in Settings.model_fields}


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"GIMEFIVE_{name.upper()}"


def first_fault(error: ValidationError) -> str:
    """What is wrong with the first of the invalid settings, in words that name its variable."""
    fault = error.errors()[0]
    words = str(fault.get("ctx", {}).get("error", fault["msg"]))
    return f"{variable(str(fault['loc'][0]))}: {words}" if fault["loc"] else words


def trace_exporters() -> list[str]:
    """The names in OpenTelemetry's OTEL_TRACES_EXPORTER, in order; OTLP if it is not set."""
    named = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    return [name.strip() for name in named.split(",") if name.strip() != "none"]


def worker_environment() -> dict[str, str]:
    """The environment of a model process: this process's own, over a few defaults.

    They silence torch's C++ warnings, since it warns on loading a quantised artefact that a later
    release will drop them, and have glibc keep freed memory for the next batch, which would
    otherwise go back to the system and be faulted in again page by page.
    """
    return {
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**40),
        **os.environ,
    }


def available_cpus() -> int:
    """CPU cores that this process may use, by its affinity and its cgroup's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return allowed or 1
    if quota == "max":
        return allowed or 1
    return max(1, min(allowed or 1, round(int(quota) / int(period))))
