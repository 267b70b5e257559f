"""Whether a model can run here, told before anything is downloaded.

Memory needed: the weights, a tenth of them again and 1 GiB. Weights are parameters times bytes a
parameter: 2 in bfloat16; 4 in float32, transformers' default here on a CPU. The tenth and the GiB
are for activations, the key-value cache of a batch of short prompts and the runtime; vLLM on a CPU
sets its cache aside beside that. It is an estimate, meant to refuse what can't succeed.
"""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from server.engine.cpu_runtime import KV_CACHE_GIB
from server.engine.free_memory import free_memory_bytes
from server.engine.model_registry import EngineName, ModelChoice, ModelEntry
from server.engine.model_source import ModelSource
from server.vlm.references import MissingReferenceError, reference_files, reference_named

GIB = 1 << 30
_WORKING_SHARE = 0.1
_WORKING_BYTES = GIB
_BYTES_PER_PARAMETER = {"float32": 4, "bfloat16": 2, "float16": 2}
_GPU_DEVICES = ("nvidia[0-9]*", "dxg")
_HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_API_KEY = "OPENAI_API_KEY"
_ENGINE_PACKAGES: dict[EngineName, tuple[str, ...]] = {
    "vllm": ("vllm",),
    "transformers": ("transformers", "torch", "accelerate"),
    "remote": (),
}
# SmolLM2-135M, EfficientNet-Lite2 and our own parts.
_REFERENCE_PARAMETERS = 150_000_000


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine has; memory is in bytes, None where it can't be told.

    `has_package` tells whether a Python package can be imported. `has_hub_token` and `has_api_key`
    tell whether the environment holds a token of the hub, or a key of a remote endpoint.
    """

    ram_free_bytes: int | None
    gpu_name: str | None
    gpu_free_bytes: int | None
    has_package: Callable[[str], bool]
    has_hub_token: bool
    has_api_key: bool

    @property
    def memory(self) -> tuple[str, int | None]:
        """Where weights go, in words, and the bytes free there."""
        if self.gpu_name is not None:
            return f"GPU memory ({self.gpu_name})", self.gpu_free_bytes
        return "memory", self.ram_free_bytes


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line says beside the model; `url` is a remote endpoint of one's own."""

    trust_remote_code: bool = False
    revision: str | None = None
    dtype: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a model can't run here: in two words for a table, and in one line with the figures."""

    short: str
    reason: str


def measure_machine() -> Machine:
    """Look at this machine. Imports torch only where there is a GPU device to ask about."""
    gpu_name, gpu_free = _gpu()
    return Machine(
        ram_free_bytes=free_memory_bytes(),
        gpu_name=gpu_name,
        gpu_free_bytes=gpu_free,
        has_package=lambda name: importlib.util.find_spec(name) is not None,
        has_hub_token=any(os.environ.get(name) for name in _HUB_TOKENS) or _token_file().is_file(),
        has_api_key=bool(os.environ.get(_API_KEY)),
    )


def for_machine(choice: ModelChoice, machine: Machine) -> ModelChoice:
    """The choice with the engine that can run it here.

    That is transformers where vLLM is not installed, or not what vLLM imports for this model: its
    CPU build comes without torchvision, which most vision-language models in vLLM need.
    """
    if choice.engine != "vllm" or not _missing(choice, machine):
        return choice
    return replace(choice, engine="transformers")


def revision_of(choice: ModelChoice, options: RunOptions) -> str | None:
    """The revision that would be loaded: what was asked for, else what is pinned here."""
    return options.revision or (None if choice.entry is None else choice.entry.revision)


def needed_bytes(choice: ModelChoice, machine: Machine, options: RunOptions) -> int | None:
    """Memory that running it takes, by the formula above; None where its size is not known."""
    weights = _weight_bytes(choice, machine, options)
    if weights is None:
        return None
    cache = KV_CACHE_GIB * GIB if choice.engine == "vllm" and machine.gpu_name is None else 0
    return int(weights * (1 + _WORKING_SHARE)) + _WORKING_BYTES + cache


def refusal(
    choice: ModelChoice, machine: Machine, options: RunOptions | None = None
) -> Refusal | None:
    """What speaks against running the model here; None when nothing does. Downloads nothing."""
    options = options or RunOptions()
    entry = choice.entry
    if entry is not None and entry.retired is not None:
        return Refusal("retired", entry.retired)
    return (
        _no_weights(choice)
        or _no_engine(choice, machine)
        or _own_code(choice, options)
        or _no_packages(choice, machine)
        or _no_access(choice, machine, options)
        or _no_memory(choice, machine, options)
    )


def check_runs_here(
    choice: ModelChoice, machine: Machine, options: RunOptions | None = None
) -> str | None:
    """The reason of `refusal`, in one line; None when nothing speaks against it."""
    found = refusal(choice, machine, options)
    return None if found is None else found.reason


def _no_weights(choice: ModelChoice) -> Refusal | None:
    reference = reference_named(choice.spec)
    if choice.kind != "reference" or reference is None:
        return None
    try:
        reference_files(reference)
    except MissingReferenceError as error:
        return Refusal("no weights", str(error))
    return None


def _no_engine(choice: ModelChoice, machine: Machine) -> Refusal | None:
    missing = _missing(choice, machine)
    if not missing:
        return None
    if choice.engine == "vllm" and "vllm" not in missing:
        return Refusal(
            "no engine",
            f"vLLM needs {', '.join(missing)} for this model, not installed here; the engine "
            "transformers does without",
        )
    return Refusal(
        "no engine",
        f"the engine {choice.engine} is not installed (no {', '.join(missing)}); install "
        "Sightward with its cpu or gpu extra",
    )


def _missing(choice: ModelChoice, machine: Machine) -> list[str]:
    """Packages that the engine needs for this model and that are not here."""
    wanted = _ENGINE_PACKAGES[choice.engine]
    if choice.engine == "vllm":
        wanted = (*wanted, *choice.vllm_packages)
    return [name for name in wanted if not machine.has_package(name)]


def _own_code(choice: ModelChoice, options: RunOptions) -> Refusal | None:
    entry = choice.entry
    if entry is None or not entry.needs_remote_code:
        return None  # a model that is not registered is refused when its configuration is read
    revision = revision_of(choice, options)
    if revision is None:
        return Refusal(
            "own code",
            f"{entry.model} runs Python code of its own and no revision of it is pinned here; read "
            "the code and give --revision COMMIT with --trust-remote-code",
        )
    if not options.trust_remote_code:
        return Refusal(
            "own code",
            f"{entry.model} runs Python code of its own; read it at revision {revision}, then "
            "allow it with --trust-remote-code",
        )
    return None


def _no_packages(choice: ModelChoice, machine: Machine) -> Refusal | None:
    wanted = () if choice.entry is None else choice.entry.packages
    missing = [name for name in wanted if not machine.has_package(name)]
    if not missing:
        return None
    return Refusal("packages", f"{choice.model} needs packages not here: {', '.join(missing)}")


def _no_access(choice: ModelChoice, machine: Machine, options: RunOptions) -> Refusal | None:
    if choice.engine == "remote" and options.url is None and not machine.has_api_key:
        return Refusal(
            "API key",
            f"no API key: set {_API_KEY}, or give the --url of an endpoint that needs none",
        )
    if choice.entry is not None and choice.entry.is_gated and not machine.has_hub_token:
        return Refusal(
            "hub token",
            f"{choice.entry.model} is gated: accept its licence on its page of the hub and set "
            f"{_HUB_TOKENS[0]} to a token of that account",
        )
    return None


def _no_memory(choice: ModelChoice, machine: Machine, options: RunOptions) -> Refusal | None:
    needed = needed_bytes(choice, machine, options)
    where, free = machine.memory
    if needed is None or free is None or needed <= free:
        return None
    return Refusal(
        "memory",
        f"not enough {where}: {needed / GIB:.1f} GiB is needed "
        f"({_size_in_words(choice, machine, options)} and working memory), "
        f"{free / GIB:.1f} GiB is free{_smaller(choice, machine, options)}",
    )


def _smaller(choice: ModelChoice, machine: Machine, options: RunOptions) -> str:
    """What half the bytes a parameter would need, where that is a choice."""
    if dtype_of(choice, machine, options) != "float32":
        return ""
    halved = needed_bytes(choice, machine, replace(options, dtype="bfloat16"))
    return "" if halved is None else f"; --dtype bfloat16 needs {halved / GIB:.1f} GiB"


def _weight_bytes(choice: ModelChoice, machine: Machine, options: RunOptions) -> int | None:
    if choice.kind == "folder":
        return ModelSource(name=choice.spec, folder=Path(choice.model or "")).weight_bytes()
    per_parameter = _BYTES_PER_PARAMETER[dtype_of(choice, machine, options)]
    if choice.kind == "reference":
        return _REFERENCE_PARAMETERS * per_parameter
    entry = choice.entry
    if entry is None or entry.parameters_b is None:
        return None
    return int(entry.parameters_b * 1e9) * per_parameter


def dtype_of(choice: ModelChoice, machine: Machine, options: RunOptions) -> str:
    """The number format that weights would be held in."""
    if options.dtype in _BYTES_PER_PARAMETER:
        return str(options.dtype)
    on_cpu = machine.gpu_name is None
    return "float32" if on_cpu and choice.engine == "transformers" else "bfloat16"


def _size_in_words(choice: ModelChoice, machine: Machine, options: RunOptions) -> str:
    entry: ModelEntry | None = choice.entry
    if entry is None or entry.parameters_b is None:
        return "its weights"
    dtype = dtype_of(choice, machine, options)
    return f"{entry.parameters_b:g} billion parameters in {dtype}"


def _gpu() -> tuple[str | None, int | None]:
    if not any(True for pattern in _GPU_DEVICES for _ in Path("/dev").glob(pattern)):
        return None, None
    if importlib.util.find_spec("torch") is None:
        return None, None
    import torch

    if not torch.cuda.is_available():
        return None, None
    free, _ = torch.cuda.mem_get_info()
    return torch.cuda.get_device_name(), int(free)


def _token_file() -> Path:
    home = os.environ.get("HF_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "huggingface") / "token"
