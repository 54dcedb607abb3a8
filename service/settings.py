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
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

SERVICE_LINK = re.compile("GIMEFIVE_(SERVICE_(HOST|PORT.*)|PORT_[0-9]+_.*)")
"""Variables that Kubernetes sets for a Service named gimefive."""

ORIGIN = re.compile(r"https?://[^/\s]+")
"""A page's origin, as browsers send it (RFC 6454)."""

Precision = Literal["auto", "fp32", "int8", "fp16"]
Fraction = Annotated[float, Field(ge=0, le=1)]


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
        description="Folder of models, NAME/VERSION/card.json; the one that came with the package.",
    )
    model_version: str | None = Field(
        None, description="Version of gimefive to serve; the highest in the store if unset."
    )
    device: Annotated[str, AfterValidator(_device)] = Field(
        "auto", description="auto, cpu, cuda or cuda:N; auto takes CUDA where there is one."
    )
    precision: Precision = Field(
        "auto",
        description="auto, fp32, int8 (CPU) or fp16 (CUDA); auto takes the fastest sound one.",
    )
    fronts: PositiveInt = Field(
        1,
        description="Front processes that feed the same model; more than one to feed a GPU.",
    )
    workers: PositiveInt | None = Field(
        None,
        description="Model processes; one per core (at most 8) on a CPU, one on a GPU if unset.",
    )
    worker_threads: PositiveInt | None = Field(
        None, description="Torch threads in each model process; the cores shared evenly if unset."
    )
    decode_threads: PositiveInt | None = Field(
        None, description="Threads that decode pictures and find faces; one per core if unset."
    )
    worker_memory_mb: PositiveInt | None = Field(
        None,
        description="Memory over which a model process is replaced, in MiB; never if unset.",
    )
    max_batch: PositiveInt | None = Field(
        None, description="Most faces in one pass of the model; found when it starts if unset."
    )
    queue_items: PositiveInt = Field(
        1024, description="Most faces that may wait; more are refused with 503 and Retry-After."
    )
    queue_seconds: PositiveFloat = Field(
        0.05,
        description="Longest wait, in seconds, that a single picture may be let in to under "
        "overload: while more than 128 wait, and until a second after the last refusal.",
    )
    max_body_bytes: PositiveInt = Field(20 * 2**20, description="Largest request body, in bytes.")
    max_frames: PositiveInt = Field(256, description="Most frames in one request's batch.")
    max_frames_bytes: PositiveInt = Field(
        128 * 2**20, description="Largest body of a request with a batch of frames, in bytes."
    )
    max_videos: PositiveInt = Field(
        4, description="Most videos taken in or worked on at once; more are refused with 503."
    )
    max_video_bytes: PositiveInt = Field(
        2 * 2**30, description="Largest video, sent or drawn on, in bytes."
    )
    max_video_seconds: PositiveFloat = Field(
        14_400, description="Longest part of a video that is worked on, in seconds."
    )
    temp_dir: DirectoryPath | None = Field(
        None, description="Folder for videos while they are worked on; the system's if unset."
    )
    max_pixels: PositiveInt = Field(
        50_000_000, description="Largest picture, width times height, told from its header."
    )
    max_faces: PositiveInt = Field(
        100, description="Most faces answered for one picture, the largest first."
    )
    detection_threshold: Fraction = Field(
        0.7, description="Least score at which the detector's finding counts as a face."
    )
    threshold: Fraction | None = Field(
        None, description="Confidence below which an answer abstains; the model card's if unset."
    )
    half_life: PositiveFloat = Field(
        0.5, description="Seconds after which a score counts half in a person's smoothed ones."
    )
    max_cameras: PositiveInt = Field(
        64, description="Most cameras on /live at a time; more are told to try again later."
    )
    max_live_bytes: PositiveInt = Field(
        4 * 2**20, description="Largest frame that a camera may send, in bytes."
    )
    ping_seconds: PositiveFloat = Field(
        20, description="Seconds between pings to a camera, and how long one may stay unanswered."
    )
    deadline_ms: PositiveFloat = Field(
        10_000, description="Longest a request may take unless it says otherwise, in milliseconds."
    )
    start_timeout: PositiveFloat = Field(
        60, description="Longest that a model process, or a front, may take to start, in seconds."
    )
    drain_delay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0,
        description="Seconds from SIGTERM, when /readyz turns, to the end of accepting.",
    )
    drain_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        30, description="Longest that accepted requests may take to end after that, in seconds."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="Port to listen on.")
    keys_file: FilePath | None = Field(
        None, description="File of API keys, a name:sha256 a line; no key is needed if unset."
    )
    rate_limit: PositiveFloat | None = Field(
        None, description="Requests a second that each key may make; no limit if unset."
    )
    rate_burst: PositiveInt = Field(
        20, description="Requests that a key may make at once when it was quiet before."
    )
    metrics_open: bool = Field(False, description="Whether /metrics needs no key.")
    ops_port: Annotated[int, Field(ge=0, le=65535)] | None = Field(
        None, description="Port where probes and /metrics are served without a key, too."
    )
    client_timeout: PositiveFloat = Field(
        20,
        description="Seconds a client may keep the service waiting, by its sending or reading.",
    )
    keep_alive: PositiveInt = Field(
        75, description="Seconds an idle connection stays open; longer than a balancer's."
    )
    cors_origins: str | None = Field(
        None, description="Origins of other sites' pages, separated by commas, that may ask; or *."
    )
    tls_cert: FilePath | None = Field(
        None, description="Certificate chain (PEM); serves HTTPS if set."
    )
    tls_key: FilePath | None = Field(
        None, description="Its private key (PEM); expected in the same file if unset."
    )
    traces: bool = Field(
        False, description="Whether requests are traced, sent as the OTEL_* variables say."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="console or json; auto takes console on a terminal."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rate_limit and not self.keys_file:
            raise ValueError("rate_limit counts by key: set keys_file, too")
        if self.tls_key and not self.tls_cert:
            raise ValueError("tls_key needs tls_cert")
        if self.ops_port and self.ops_port == self.port:
            raise ValueError("ops_port is the port of the service itself: choose another")
        for origin in self.origins:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError(f"cors_origins: {origin} is none: write https://example.org or *")
        if self.fronts > 1 and self.queue_items < self.fronts * self.max_frames:
            raise ValueError(
                "each front has its share of queue_items, which must hold max_frames: "
                f"set queue_items to {self.fronts * self.max_frames} or more"
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
