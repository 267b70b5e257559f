"""From a finished run to what is committed: a small delta beside the packaged base weights."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from alignment.checkpoint import WEIGHTS_NAME, UnfinishedRunError
from server.vlm.delta import Delta, DeltaShape, write_delta
from server.vlm.references import DELTA_NAME


def export_delta(run: Path, out: Path) -> Path:
    """Write the weights of a finished supervised run as a bf16 delta into folder `out`.

    Raises UnfinishedRunError.
    """
    source = run / WEIGHTS_NAME
    try:
        with safe_open(source, framework="pt") as file:
            recipe = json.loads((file.metadata() or {})["recipe"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError) as error:
        raise UnfinishedRunError(run, str(error)) from error
    lora = recipe["lora"] or {"r": 0, "alpha": 0}
    shape = DeltaShape(**recipe["shape"], lora_r=lora["r"], lora_alpha=lora["alpha"])
    out.mkdir(parents=True, exist_ok=True)
    path = out / DELTA_NAME
    write_delta(path, Delta(shape, tensors))
    return path
