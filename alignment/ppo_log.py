"""A PPO run's folder: what is run (`run.json`) and one line a step (`metrics.jsonl`).

A run is only gone on with by the same recipe on the same data; lines past the checkpoint that it
goes on from are dropped and written again.
"""

import json
import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alignment.advantages import Advantages
from alignment.data.manifest import ImageSet
from alignment.ppo_learner import Learnt
from alignment.ppo_recipe import PpoRecipe
from alignment.responses.protocol import Classification, ResponseOutcome
from alignment.reward import Scored
from alignment.rollout import Rollout
from alignment.run_identity import claim_run
from alignment.supervised import METRICS_NAME, keep_metrics_before
from alignment.training_stats import explained_variance, length_stats, outcome_rates

_SAMPLES = 2


class PpoLog:
    """Writes a run's record; a context manager that shows its progress. Raises `OtherRunError`."""

    def __init__(
        self, run: Path, recipe: PpoRecipe, images: ImageSet, base: str, *, first_step: int
    ) -> None:
        data = {"name": images.name, "sha256": images.sha256}
        claim_run(run, {"recipe": recipe.describe(), "data": data, "base": base})
        keep_metrics_before(run / METRICS_NAME, first_step)
        self._file = (run / METRICS_NAME).open("a", encoding="utf-8")
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("right {task.fields[right]:.2f}, reward {task.fields[reward]:+.2f}"),
            TimeRemainingColumn(),
        )
        self._task = self._progress.add_task(
            recipe.name, total=recipe.steps, completed=first_step, right=0.0, reward=0.0
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
        self._file.close()

    def write(self, line: Mapping[str, Any]) -> None:
        """Keep a step's figures."""
        self._file.write(json.dumps(line, allow_nan=True) + "\n")
        self._file.flush()
        self._progress.update(
            self._task, advance=1, right=line["right_rate"] or 0.0, reward=line["reward"]
        )


def figures_of(
    step: int,
    rollout: Rollout,
    judged: Sequence[Classification | None],
    scored: Scored,
    advantages: Advantages,
    learnt: Learnt,
    *,
    kl_per_answer: float,
    kl_coef: float,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """One line of `metrics.jsonl`; rates and lengths are of the step's sampled answers.

    `right_rate` is over answers to yes/no questions, no answer counting as wrong. `memory_gib` is
    the most that the process (or the GPU) held so far.
    """
    sampled = rollout.experience.sampled
    lengths = length_stats(sampled.mask_BA, sampled.has_end_B)
    outcomes = outcome_rates(judged)
    tokens = int(sampled.mask_BA.sum())
    total = sum(seconds.values())
    return {
        "step": step,
        "reward": float(scored.scores_B.mean()),
        "reward_std": float(scored.scores_B.std(correction=0)),
        **{f"reward_{name}": float(part.mean()) for name, part in scored.parts.items()},
        "right_rate": _right_rate(rollout, judged),
        "no_answer_rate": None if outcomes is None else outcomes.no_answer,
        "kl": kl_per_answer,
        "kl_coef": kl_coef,
        **asdict(learnt),
        "explained_variance": explained_variance(
            rollout.experience.values_BA, advantages.returns_BA, sampled.mask_BA
        ),
        "length_mean": lengths.mean,
        "length_max": lengths.longest,
        "no_end_rate": lengths.no_end_rate,
        "mismatch_mean": rollout.mismatch.mean_abs,
        "mismatch_max": rollout.mismatch.max_abs,
        "mismatch_kl": rollout.mismatch.kl,
        "tokens": tokens,
        "tokens_per_s": round(tokens / total, 2),
        "seconds": {name: round(spent, 3) for name, spent in seconds.items()},
        "memory_gib": _memory_gib(),
        "samples": [
            {"prompt": prompt.text, "right": prompt.right, "answer": text}
            for prompt, text in zip(
                sampled.prompts[:_SAMPLES], sampled.texts[:_SAMPLES], strict=True
            )
        ],
    }


def _right_rate(rollout: Rollout, judged: Sequence[Classification | None]) -> float | None:
    hits = [
        classified.outcome is ResponseOutcome(prompt.right)
        for prompt, classified in zip(rollout.experience.sampled.prompts, judged, strict=True)
        if classified is not None and prompt.right is not None
    ]
    return sum(hits) / len(hits) if hits else None


def _memory_gib() -> float:
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / (1 << 30), 2)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20), 2)
