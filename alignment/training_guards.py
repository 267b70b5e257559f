"""What ends a run before it wastes hours or keeps a broken policy, and says which knob to turn."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from server.errors import SightwardError


class RunCollapsedError(SightwardError):
    """The policy is no use any more; the last checkpoint still is. `reason` says what was seen."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(
            f"stopped at step {step}: {reason}. The last checkpoint is kept; a smaller lr, fewer "
            "epochs or a larger kl_coef holds the policy closer to its reference"
        )
        self.step = step
        self.reason = reason


class OutOfMemoryError(SightwardError):
    """The device ran out of memory; says what takes less."""

    def __init__(self, seen: str) -> None:
        super().__init__(
            f"out of memory ({seen}): a smaller micro_batch_size costs only time; then "
            "gradient_checkpointing, a smaller max_new_tokens, a smaller LoRA rank"
        )
        self.seen = seen


class Guard:
    """Watches a run's figures.

    `max_kl` is in nats an answer; `patience_steps` is how many steps in a row may pass in which no
    yes/no question gets an answer.
    """

    def __init__(self, *, max_kl: float, patience_steps: int) -> None:
        self._max_kl = max_kl
        self._patience_steps = patience_steps
        self._silent_steps = 0

    def check(
        self, step: int, *, losses: tuple[float, ...], kl: float, no_answer_rate: float | None
    ) -> None:
        """Raises `RunCollapsedError` for numbers that aren't any, a run-away KL, or silence."""
        if not all(math.isfinite(loss) for loss in losses):
            raise RunCollapsedError(step, f"a loss or gradient is no number: {losses}")
        if not math.isfinite(kl) or kl > self._max_kl:
            raise RunCollapsedError(step, f"the KL is {kl:.1f} nats an answer")
        if no_answer_rate is None:
            return
        self._silent_steps = self._silent_steps + 1 if no_answer_rate >= 1.0 else 0
        if self._silent_steps >= self._patience_steps:
            raise RunCollapsedError(
                step, f"no yes/no question got an answer in {self._silent_steps} steps"
            )


@contextmanager
def naming_the_knobs() -> Iterator[None]:
    """Turn running out of memory into `OutOfMemoryError`."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(str(error).partition(".")[0]) from error
    except MemoryError as error:
        raise OutOfMemoryError("host memory") from error
    except RuntimeError as error:
        # How torch's CPU allocator says it.
        if "can't allocate memory" not in str(error):
            raise
        raise OutOfMemoryError("host memory") from error
