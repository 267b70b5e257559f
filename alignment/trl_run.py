"""A run of a TRL trainer in a folder: what it is given, what it writes, how it goes on.

A run folder holds ``run.json`` (what is trained on what), ``metrics.jsonl`` (a line a step), the
trainer's own ``checkpoint-<step>`` folders and at last ``adapter``, an ordinary PEFT adapter. A run
that was stopped goes on from its newest whole checkpoint and ends with the same weights.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alignment.policy_base import PolicyBase
from alignment.recipes_alignment import BaselineRecipe
from alignment.run_identity import claim_run
from alignment.training_guards import naming_the_knobs
from alignment.trl_scores import score_with_own_logits

ADAPTER_NAME = "adapter"
_STATE_NAME = "trainer_state.json"


def training_arguments(recipe: BaselineRecipe, base: PolicyBase, run: Path, steps: int) -> Any:
    """What SFTConfig and DPOConfig have in common, as keyword arguments."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return {
        "output_dir": str(run),
        "seed": recipe.seed,
        "max_steps": steps,
        "per_device_train_batch_size": recipe.micro_batch_size,
        "gradient_accumulation_steps": max(
            1, recipe.batch_size // (recipe.micro_batch_size * processes)
        ),
        "learning_rate": recipe.lr,
        "lr_scheduler_type": "cosine",
        "warmup_steps": recipe.warmup_steps,
        "optim": "adamw_torch",
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        # The base is loaded in the precision it is to run in, the adapter is float32.
        "bf16": False,
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "use_cpu": base.model.device.type == "cpu",
        "max_length": None,
        # The sampler's order is PPO's: every method sees the same prompts at the same step.
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        # Rows are encoded on the model's device, which can't be pinned.
        "dataloader_pin_memory": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": recipe.save_every,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
    }


def run_trainer(
    make_trainer: Callable[[], Any],
    recipe: BaselineRecipe,
    base: PolicyBase,
    run: Path,
    *,
    quiet: bool,
) -> Path:
    """Train from the newest whole checkpoint on and return the adapter's folder.

    `make_trainer` wraps the base's model in an adapter; it is taken off again at the end. Raises
    TrainingCollapsedError when the loss is no number, OutOfMemoryError.
    """
    from transformers import PrinterCallback

    from alignment.trl_metrics import METRICS_NAME, metrics_callback

    with no_telemetry(), _errors_only():
        trainer = make_trainer()
    try:
        score_with_own_logits(base)
        trainer.remove_callback(PrinterCallback)
        resumed = newest_checkpoint(run)
        first_step = 0 if resumed is None else checkpoint_step(resumed)
        trainer.add_callback(
            metrics_callback(run / METRICS_NAME, recipe.name, first_step, quiet=quiet)
        )
        with naming_the_knobs(), _errors_only():
            trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
        if trainer.is_world_process_zero():
            _save_adapter(trainer.accelerator.unwrap_model(trainer.model), base, run)
    finally:
        vars(base.model).pop("forward", None)
        trainer.model.unload()
        base.model.requires_grad_(False)
        base.model.eval()
    return run / ADAPTER_NAME


def is_finished(run: Path) -> bool:
    """Whether a run has its adapter."""
    return (run / ADAPTER_NAME / "adapter_config.json").is_file()


def claim(
    run: Path, recipe: BaselineRecipe, base: PolicyBase, data_sha256: str, table: Any
) -> None:
    """Make the folder this run's. Raises OtherRunError when it holds a run of something else."""
    rows = hashlib.sha256()
    for row in table:
        rows.update(json.dumps(row, sort_keys=True).encode())
    claim_run(
        run,
        {
            "recipe": dataclasses.asdict(recipe),
            "base": base.name,
            "data": data_sha256,
            "rows": rows.hexdigest(),
        },
    )


def newest_checkpoint(run: Path) -> Path | None:
    """The newest checkpoint folder that is whole: the trainer writes its state file last."""
    for folder in sorted(run.glob("checkpoint-*"), key=checkpoint_step, reverse=True):
        with suppress(OSError, ValueError):
            json.loads((folder / _STATE_NAME).read_text(encoding="utf-8"))
            return folder
    return None


def checkpoint_step(folder: Path) -> int:
    """After how many steps a checkpoint was written."""
    return int(folder.name.removeprefix("checkpoint-"))


@contextmanager
def no_telemetry() -> Iterator[None]:
    """TRL reports every trainer that is made to its makers; nothing of ours is to leave unasked."""
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = before


@contextmanager
def _errors_only() -> Iterator[None]:
    """Keep transformers' remarks on its own settings out of the progress bar."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _save_adapter(model: Any, base: PolicyBase, run: Path) -> None:
    # A path of this machine means nothing on another.
    name = Path(base.name).name if Path(base.name).is_dir() else base.name
    for config in model.peft_config.values():
        config.base_model_name_or_path = name
    partial = run / f"{ADAPTER_NAME}.{os.getpid()}.partial"
    model.save_pretrained(str(partial), save_embedding_layers=False)
    # PEFT's form of a model card, all of it still to be filled in.
    (partial / "README.md").unlink(missing_ok=True)
    partial.replace(run / ADAPTER_NAME)
