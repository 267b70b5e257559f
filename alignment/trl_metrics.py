"""What a TRL trainer logs, in the fields that every training here writes, a line a step."""

import json
import math
import resource
import time
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from alignment.supervised import METRICS_NAME, TrainingCollapsedError, keep_metrics_before

__all__ = ["METRICS_NAME", "MetricsCallback", "metrics_callback"]

# TRL's names and ours.
_FIELDS = {
    "loss": "loss",
    "learning_rate": "lr",
    "grad_norm": "grad_norm",
    "mean_token_accuracy": "token_accuracy",
    "entropy": "entropy",
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
    "rewards/margins": "reward_margin",
    "rewards/accuracies": "reward_accuracy",
    "logps/chosen": "logprob_chosen",
    "logps/rejected": "logprob_rejected",
}


def metrics_callback(path: Path, name: str, first_step: int, *, quiet: bool) -> "MetricsCallback":
    """Keep the lines before `first_step`, which a run goes on from, and write on after them."""
    keep_metrics_before(path, first_step)
    return MetricsCallback(path, name, first_step, quiet=quiet)


class MetricsCallback(TrainerCallback):
    """Writes ``metrics.jsonl`` and moves a progress bar.

    ``seconds`` are wall-clock time since the step before, checkpoints left out; ``tokens`` those
    that attention sees; ``memory_gib`` the most memory so far, of the GPU or else of the process.
    Raises TrainingCollapsedError before a checkpoint of broken weights could be written.
    """

    def __init__(self, path: Path, name: str, first_step: int, *, quiet: bool) -> None:
        self._path = path
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            TimeRemainingColumn(),
            disable=quiet,
        )
        self._task = self._progress.add_task(name, completed=first_step, total=None, loss=math.nan)
        self._began = 0.0
        self._tokens = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        del args, control, kwargs
        self._progress.update(self._task, total=state.max_steps)
        self._progress.start()
        self._began = time.perf_counter()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write a step's line; the trainer's summary at the end is none."""
        del args, control, kwargs
        if logs is None or "loss" not in logs or not state.is_world_process_zero:
            return
        now, step, tokens = time.perf_counter(), state.global_step - 1, int(logs["num_tokens"])
        line: dict[str, float] = {"step": step}
        line |= {ours: logs[theirs] for theirs, ours in _FIELDS.items() if theirs in logs}
        line |= {
            "tokens": tokens - self._tokens,
            "seconds": round(now - self._began, 3),
            "memory_gib": _memory_gib(),
        }
        self._began, self._tokens = now, tokens
        for name in ("loss", "grad_norm"):
            if not math.isfinite(line.get(name, 0.0)):
                self._progress.stop()
                raise TrainingCollapsedError(f"{name} is {line[name]} at step {step}")
        with self._path.open("a", encoding="utf-8") as metrics:
            metrics.write(json.dumps(line) + "\n")
        self._progress.update(self._task, completed=step + 1, loss=line["loss"])

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the next step's clock anew."""
        del args, state, control, kwargs
        self._began = time.perf_counter()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave the bar as it is."""
        del args, state, control, kwargs
        self._progress.stop()


def _memory_gib() -> float:
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / (1 << 30), 2)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20), 2)
