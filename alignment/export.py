"""From a finished run to what is committed: a small delta beside the packaged base weights."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from alignment.checkpoint import WEIGHTS_NAME
from server.errors import SightwardError
from server.vlm.delta import DELTA_NAME, Delta, DeltaShape, write_delta


class ExportError(SightwardError):
    """A run that can't be exported; `reason` says why."""

    def __init__(self, run: Path, reason: str) -> None:
        super().__init__(f"{run}: {reason}")
        self.run = run
        self.reason = reason


def export_delta(run: Path, out: Path) -> Path:
    """Write the weights of a finished supervised run as a bf16 delta into folder `out`.

    Raises ExportError when the run is not finished.
    """
    source = run / WEIGHTS_NAME
    try:
        with safe_open(source, framework="pt") as file:
            recipe = json.loads((file.metadata() or {})["recipe"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError) as error:
        raise ExportError(run, f"no finished weights ({error})") from error
    lora = recipe["lora"] or {"r": 0, "alpha": 0}
    shape = DeltaShape(**recipe["shape"], lora_r=lora["r"], lora_alpha=lora["alpha"])
    out.mkdir(parents=True, exist_ok=True)
    path = out / DELTA_NAME
    write_delta(path, Delta(shape, tensors))
    return path
