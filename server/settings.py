"""What an operator can set: the ``SIGHTWARD_`` environment variables, read once at start-up."""

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from server.api.keys import KeyEntry, key_from_environment
from server.api.rate_limit_terms import checked_limits
from server.errors import SettingsError
from server.ingest.fetch_rules import FetchRules, host_entry
from server.ingest.limits import ImageLimits
from server.record.opening import DEFAULT_MAX_FILE_BYTES
from server.vlm.references import Reference

PREFIX = "SIGHTWARD_"

_DEFAULT_IMAGE_LIMITS = ImageLimits()


class Settings(BaseSettings):
    """Everything the server is told. Read it with `read_settings`, which refuses unknown keys."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        # What stands below a setting is its line in the table of settings (`settings_table`).
        use_attribute_docstrings=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes any free one."""
    model: str | None = None
    """A checkpoint folder or hub id of any VLM that vLLM serves; unset: the reference model."""
    reference: Reference | None = None
    """Which variant of the reference model, where no model is named; unset: the default one."""
    model_url: str | None = None
    """Where a model named remote:NAME is asked: an OpenAI-compatible chat endpoint's base URL."""
    model_url_key: SecretStr | None = None
    """The bearer key of that endpoint."""
    adapter: Path | None = None
    """A PEFT adapter for the model, served live (GPU only)."""
    live_adapters: int = Field(default=0, ge=0, le=64)
    """PEFT adapters that may be loaded beside that one, on the same weights (GPU only)."""
    live_adapter_rank: int = Field(default=64, ge=1, le=512)
    """The highest rank that they may have; room for it is kept from the start."""
    probes: Path | None = None
    """A file of questions in the format of the shipped one; unset: the shipped one."""
    calibration: Path | Literal["own", "none"] = "own"
    """A calibration file; "own": the one beside the model, if it has one; "none": raw scores."""

    canary_model: str | None = None
    """A second model, loaded after the first, that answers in its place for some contents."""
    canary_percent: float = Field(default=5.0, ge=0, le=100)
    """How many contents the canary answers; always the same ones, and more as this grows."""
    canary_compare_percent: float = Field(default=100.0, ge=0, le=100)
    """About how many of those the first model is asked too, to see where they disagree."""
    canary_timeout_s: float = Field(default=10.0, gt=0)
    """A canary that takes longer is not waited for: the first model answers."""
    shadow_model: str | None = None
    """A second model that is asked what the first one answers, and never answered with."""
    shadow_percent: float = Field(default=100.0, ge=0, le=100)
    """How many contents the shadow is asked about."""
    compare_at_once: int = Field(default=2, ge=1, le=64)
    """Comparisons of two models at the same time; any more are left out, and all under load."""
    models_dir: Path | None = None
    """A folder of checkpoints and adapters that an administrator may load; unset: of neither."""
    loadable_models: Annotated[tuple[str, ...], NoDecode] = ()
    """What else they may: hub ids, known names or folders. The reference variants always."""
    max_models: int = Field(default=4, ge=1, le=64)
    """Loaded at once, the default among them."""
    keep_previous: bool = True
    """Whether a default that was replaced stays loaded, so that a roll back takes no time."""

    policy: Path | None = None
    """A policy file, YAML or JSON; unset: the shipped one. Read again whenever it changes."""
    policy_poll_s: float = Field(default=2.0, gt=0)
    """How often the policy file and its lists are looked at."""
    known_material: str | None = None
    """What matches known illegal material, as package.module:function (`server.known_material`)."""

    audit_log: SecretStr | None = None
    """Where verdicts are put on record: a folder, or a database's URL (SQLite, Postgres)."""
    audit_max_file_bytes: int = Field(default=DEFAULT_MAX_FILE_BYTES, ge=4096)
    """After so much a folder's audit log begins another file; it does every day anyway."""
    audit_retention_days: int | None = Field(default=None, ge=1)
    """After so many days entries are forgotten; unset: never."""
    keep_images: Path | None = None
    """A folder for copies of pictures that people are asked to review; unset: no copies."""
    keep_images_days: int = Field(default=30, ge=1)
    """After so many days such a copy is deleted."""

    playground: bool = True
    """Whether `/` is a page to try the endpoint out with."""

    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Accepted bearer keys, separated by commas: in clear, or as sha256:HEX[:SCOPE+SCOPE[:TENANT]].

    With neither these nor a file, every caller is let in, but not to what an administrator does.
    """
    api_keys_file: Path | None = None
    """A file of hashed keys (see ``sightward keys new``); read again whenever it changes."""
    metrics_need_key: bool = False
    """Whether `/metrics` is shown only for a key with the scope metrics."""

    max_body_bytes: int = Field(default=48 * 1024 * 1024, ge=1024)
    """Of one request."""
    body_timeout_s: float = Field(default=60.0, gt=0)
    """How long a request's body may take to arrive."""
    max_running_calls: int = Field(default=32, ge=1)
    """Calls for the model that are worked on at once, their bodies in memory; a GPU wants more."""
    max_waiting_calls: int = Field(default=256, ge=0)
    """Calls that wait for their turn, unread; any more are refused with a time to come back."""
    max_wait_s: float = Field(default=10.0, gt=0)
    """Nor does a call wait that would have to for longer, going by how long others have taken."""
    rate_limit: Annotated[str | None, AfterValidator(checked_limits)] = None
    """What each key may call, e.g. 600/minute, or 10/second; 5000/day. Without keys: each address.

    Counted in Redis if one is configured, so that replicas share it; else in each process.
    """
    request_timeout_s: float | None = Field(default=None, gt=0)
    """From a request to its answer's first byte; a caller's x-request-timeout may be shorter."""
    max_inputs: int = Field(default=64, ge=1)
    """Texts and pictures together, per call."""
    max_images: int = Field(default=16, ge=1)
    """Pictures per call."""
    max_text_chars: int = Field(default=100_000, ge=1)
    """Of one text."""
    max_chat_images: int = Field(default=1, ge=1)
    """Pictures of a conversation; what the model is loaded for."""
    max_answer_tokens: int = Field(default=1024, ge=1)
    """Tokens of a written answer; also how many there may be where a call names no number."""
    explain_max_tokens: int = Field(default=60, ge=1, le=1024)
    """Tokens of an explanation, which a call may ask for."""
    explain_timeout_s: float = Field(default=10.0, gt=0)
    """Within which an explanation has to be written; without one the verdict is answered alone."""
    explain_at_once: int = Field(default=4, ge=1)
    """Explanations that are written at the same time."""
    max_image_bytes: int = Field(default=_DEFAULT_IMAGE_LIMITS.max_bytes, ge=1)
    """Of an encoded picture."""
    max_image_pixels: int = Field(default=_DEFAULT_IMAGE_LIMITS.max_pixels, ge=1)
    """Of a picture, checked before it is decoded."""
    max_image_side_px: int = Field(default=_DEFAULT_IMAGE_LIMITS.max_side_px, ge=1)
    """Of a picture's longer side."""
    decode_side_px: int = Field(default=_DEFAULT_IMAGE_LIMITS.draft_side_px, ge=64)
    """A large JPEG is decoded at a half, quarter or eighth while its longer side keeps this much.
    2000 for models that look that closely; fingerprints of large photos change with it."""
    fetch_urls: bool = False
    """Whether pictures are fetched that are named by a web address; what follows says how."""
    fetch_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Fetch from these alone: images.example.com, or *.example.com for all below it."""
    fetch_ports: Annotated[tuple[int, ...], NoDecode] = (80, 443)
    """Fetch from these ports alone."""
    fetch_open_networks: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = ()
    """Fetch from these too though they are not public, e.g. 10.20.0.0/16."""
    fetch_closed_networks: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = ()
    """Never fetch from these though they are public: one's own, or a NAT64 gateway's prefix."""
    fetch_timeout_s: float = Field(default=10.0, gt=0, le=120)
    """For one picture, all redirects together."""
    fetch_at_once: int = Field(default=16, ge=1, le=256)
    """Pictures being fetched at the same time."""
    decode_threads: int = Field(default=2, ge=1, le=64)
    """Threads that decode pictures."""
    readiness_timeout_s: float = Field(default=10.0, gt=0)
    """Within which `/readyz` must be answered by the model."""

    engine_max_failures: int = Field(default=5, ge=0)
    """After so many deaths of the engine in a row the process ends, for its supervisor to act."""
    engine_hang_s: float | None = Field(default=120.0, gt=0)
    """An engine that answers nothing for so long though it is asked is started again; unset: never.
    """
    drain_notice_s: float = Field(default=0.0, ge=0)
    """How long a server told to stop goes on listening, so that load balancers see it leave."""
    drain_grace_s: float = Field(default=30.0, ge=0)
    """How long after that what runs may take; then it is cut off."""

    batches_dir: Path | None = None
    """A folder for batches, pictures and results included; unset: the server takes none."""
    batches_max_lines: int = Field(default=50_000, ge=1)
    """Of one batch."""
    batches_max_bytes: int = Field(default=1024**3, ge=1024)
    """Of one batch as it is sent."""
    batches_upload_timeout_s: float = Field(default=3600.0, gt=0)
    """How long a batch may take to arrive; no pause in it may be longer than body_timeout_s."""
    batches_max_open: int = Field(default=10, ge=1)
    """Unfinished batches of one tenant."""
    batches_max_spool_bytes: int = Field(default=20 * 1024**3, ge=1024)
    """Of the folder, all tenants and results together."""
    batches_lines_at_once: int = Field(default=8, ge=1)
    """Lines judged at once while nobody else asks; one while calls run, none while calls wait."""
    batches_window_h: float = Field(default=168.0, gt=0)
    """After so many hours a batch expires, whatever of it was not judged."""
    batches_retention_days: int = Field(default=30, ge=1)
    """After so many days the results of a batch that has ended are deleted."""

    drift_reference: Path | None = None
    """A file for the scores that later ones are held against; unset: each start begins anew."""
    traces_endpoint: str | None = None
    """Where spans go by OTLP over HTTP, e.g. http://collector:4318/v1/traces; unset: nowhere."""
    traces_share: float = Field(default=1.0, ge=0.0, le=1.0)
    """How many requests are traced, of those that don't continue a caller's trace."""

    redis_url: SecretStr | None = None
    """The Redis or Valkey that replicas share, e.g. rediss://user:password@host:6379/0."""
    cache: Literal["off", "memory", "redis"] = "memory"
    """Where the scores of pictures and texts judged before are kept; "off": nowhere."""
    cache_max_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    """Of this process's memory; about 10,000 bytes a picture."""
    cache_ttl_s: float = Field(default=24 * 3600.0, gt=0)
    """How long scores are kept."""
    cache_pixels_bytes: int = Field(default=32 * 1024 * 1024, ge=0)
    """Of decoded pictures, so that a file that comes again is not decoded again; 0: always is."""
    cache_timeout_s: float = Field(default=0.1, gt=0)
    """For one operation of a shared cache; past that the input is judged without it."""
    cache_look_alikes: Literal["off", "unsafe", "all"] = "off"
    """Whether a picture gets the scores of one that looks alike: never, where that one was found
    unsafe, or always, which lets what was added to a safe picture pass unseen."""
    cache_look_alike_bits: int = Field(default=16, ge=0, le=64)
    """Pictures look alike up to this distance of their PDQ hashes, of 256 bits."""
    cache_look_alike_pictures: int = Field(default=20_000, ge=1, le=1_000_000)
    """The latest so many are compared with, in each process by itself."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Nothing below it is logged."""
    log_format: Literal["json", "console"] = "json"
    """One JSON object a line, or for people."""

    @field_validator(
        "api_keys",
        "loadable_models",
        "fetch_hosts",
        "fetch_ports",
        "fetch_open_networks",
        "fetch_closed_networks",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(entry.strip() for entry in value.split(",") if entry.strip())
        return value

    @field_validator("fetch_hosts", mode="after")
    @classmethod
    def _sound_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(host_entry(host) for host in hosts)

    @field_validator("api_keys", mode="after")
    @classmethod
    def _sound_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        _entries(keys)
        return keys

    @model_validator(mode="after")
    def _keys_for_metrics(self) -> Self:
        if self.metrics_need_key and not self.api_keys and self.api_keys_file is None:
            raise ValueError(f"{PREFIX}METRICS_NEED_KEY is set and there are no keys")
        return self

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if self.model is not None and self.reference is not None:
            raise ValueError(
                f"{PREFIX}MODEL and {PREFIX}REFERENCE (or --model and --reference) name two "
                "models; give one of them"
            )
        return self

    @model_validator(mode="after")
    def _model_at_its_address(self) -> Self:
        if self.model_url is None and self.model_url_key is not None:
            raise ValueError(f"{PREFIX}MODEL_URL_KEY is the key of {PREFIX}MODEL_URL: set both")
        if self.model_url is not None and (self.model is None or self.adapter is not None):
            raise ValueError(
                f"{PREFIX}MODEL_URL is where {PREFIX}MODEL=remote:NAME is asked: name that model "
                "there, an adapter by its own name"
            )
        return self

    def key_entries(self) -> tuple[KeyEntry, ...]:
        """The keys of the environment, hashed."""
        return _entries(self.api_keys)

    def fetch_rules(self) -> FetchRules | None:
        """What may be fetched; None: nothing."""
        if not self.fetch_urls:
            return None
        return FetchRules(
            max_bytes=self.max_image_bytes,
            timeout_s=self.fetch_timeout_s,
            hosts=self.fetch_hosts,
            ports=frozenset(self.fetch_ports),
            opened=self.fetch_open_networks,
            closed=self.fetch_closed_networks,
            at_once=self.fetch_at_once,
        )

    def image_limits(self) -> ImageLimits:
        """The part of the settings that the decoder needs."""
        return ImageLimits(
            max_bytes=self.max_image_bytes,
            max_pixels=self.max_image_pixels,
            max_side_px=self.max_image_side_px,
            draft_side_px=self.decode_side_px,
        )


def _entries(keys: tuple[SecretStr, ...]) -> tuple[KeyEntry, ...]:
    return tuple(
        key_from_environment(key.get_secret_value(), number)
        for number, key in enumerate(keys, start=1)
    )


def read_settings(**overrides: Any) -> Settings:
    """The settings from the environment, with `overrides` (not None) from the command line on top.

    Raises `SettingsError` that names every bad or unknown key: a misspelt limit that is silently
    ignored would be no limit.
    """
    given_names = sorted(name for name in os.environ if name.upper().startswith(PREFIX))
    problems = [
        _unknown_key(name)
        for name in given_names
        if name[len(PREFIX) :].lower() not in Settings.model_fields
    ]
    if problems:
        raise SettingsError(tuple(problems))
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError(tuple(_bad_value(dict(found)) for found in error.errors())) from error


def _unknown_key(name: str) -> str:
    close = difflib.get_close_matches(name[len(PREFIX) :].lower(), Settings.model_fields, n=1)
    hint = f" (did you mean {PREFIX}{close[0].upper()}?)" if close else ""
    return f"unknown setting {name}{hint}"


def _bad_value(found: dict[str, Any]) -> str:
    # The value itself is left out: it may be a key.
    path = ".".join(str(step) for step in found["loc"]).upper()
    if not path:  # what is wrong between several settings
        return str(found["msg"]).removeprefix("Value error, ")
    return f"{PREFIX}{path}: {found['msg']}"
