"""The processes that train one policy together, and all that passes between them.

`accelerate launch` (or torchrun) starts them, one a GPU; without a launcher there is one, and
nothing here does anything. Every process holds the same adapters and optimisers and takes the same
steps: what differs is who samples which answers, and who learns from which. A rollout is put
together before it is judged, so rewards, advantages, the KL's price and every logged figure are of
the whole batch in each process, by the same code as in one; gradients are sums over processes of
losses that already count by the whole minibatch's tokens. Two processes therefore end where one
does, but for rounding.

That is data parallelism as DDP does it. DDP's wrapper is not used: it ties the reduction to one
forward pass, while a PPO pass has three roles and a minibatch many passes, after which the
adapters' gradients are summed once. FSDP shards the frozen base as well (`alignment.sharding`).
"""

import datetime
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from server.errors import SightwardError

P = ParamSpec("P")
T = TypeVar("T")

# A remote judge of answers may well take longer than the ten minutes that NCCL would wait.
_PATIENCE = datetime.timedelta(hours=2)


class UnevenSharesError(SightwardError):
    """A step's work does not divide among the processes; `counts` says what was to be divided."""

    def __init__(self, processes: int, counts: dict[str, int]) -> None:
        said = ", ".join(f"{count} {what}" for what, count in counts.items())
        super().__init__(f"{processes} processes can't share {said} evenly: change either")
        self.processes = processes
        self.counts = counts


class OneProcessError(SightwardError):
    """Several processes were started for what is made for one."""

    def __init__(self, what: str, processes: int) -> None:
        super().__init__(f"{what} works in one process, and {processes} were started")
        self.what = what
        self.processes = processes


class DifferentWeightsError(SightwardError):
    """The processes didn't load the same weights: they would sample from different models."""

    def __init__(self) -> None:
        super().__init__(
            "the processes have loaded different weights: the checkpoint must be the same for all, "
            "and no launcher's setting may leave loading to one of them"
        )


class SeparateRunsError(SightwardError):
    """The processes found different checkpoints: they don't see the same run folder."""

    def __init__(self, steps: tuple[int, ...]) -> None:
        super().__init__(
            f"the processes would go on from different steps {steps}: the run's folder must be on "
            "a disk that all of them see"
        )
        self.steps = steps


@dataclass(frozen=True, slots=True)
class Processes:
    """This process (`rank`) among `size`; `shards_base` says that FSDP was asked for.

    Methods that talk must be called by all processes, in the same order.
    """

    rank: int = 0
    size: int = 1
    shards_base: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this is the process that judges, writes and shows progress."""
        return self.rank == 0

    def share(self, kinds: Sequence[bool]) -> list[int]:
        """Which of ``len(kinds)`` rows are this process's.

        Each kind (with a picture, or without) is dealt out like cards, so every process has as much
        of it as the others, give or take one.
        """
        by_kind = sorted(range(len(kinds)), key=lambda row: not kinds[row])
        mine = by_kind[self.rank :: self.size]
        # Sharded, forward passes are made in step: kinds in the same order everywhere.
        return mine if self.shards_base else sorted(mine)

    def require_even(self, **counts: int) -> None:
        """Raise UnevenSharesError unless the processes divide each of the `counts`."""
        uneven = {name: count for name, count in counts.items() if count % self.size}
        if uneven:
            raise UnevenSharesError(self.size, uneven)

    def gathered(self, mine: Sequence[T]) -> list[T]:
        """Everyone's objects, in the order of processes; tensors in them must be on the CPU."""
        if self.size == 1:
            return list(mine)
        shares: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(shares, list(mine))
        return [one for share in shares for one in share]

    def once(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Let the main process alone do something; all get its result, or raise its error."""
        if self.size == 1:
            return work(*args, **kwargs)
        told: list[Any] = [None, None]
        if self.is_main:
            try:
                told[0] = work(*args, **kwargs)
            except Exception as error:
                torch.distributed.broadcast_object_list([None, error], src=0)
                raise
        torch.distributed.broadcast_object_list(told, src=0)
        result, failure = told
        if failure is not None:
            raise failure
        return result  # type: ignore[no-any-return]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the sum of all processes' gradients, added up in float32."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                total = parameter.grad.float()
                torch.distributed.all_reduce(total)
                parameter.grad.copy_(total)

    def idle_passes(self, mine: int) -> int:
        """How many passes this process must make for others' sake, beside `mine` of its own.

        Only where the base is sharded: then a pass gathers weights from all, whoever needs it. To
        be asked before the first pass.
        """
        if not self.shards_base:
            return 0
        return max(self.gathered([mine])) - mine

    def require_same(self, parameters: Iterable[Tensor]) -> None:
        """Raise DifferentWeightsError unless all have the same weights, by their sums."""
        if self.size > 1:
            sums = tuple(float(parameter.detach().double().sum()) for parameter in parameters)
            # As text, since what is no number equals nothing, not even itself.
            if len({repr(one) for one in self.gathered([sums])}) > 1:
                raise DifferentWeightsError

    def agree_on(self, step: int) -> int:
        """The step to begin with, which must be everyone's; raises SeparateRunsError."""
        steps = tuple(self.gathered([step]))
        if len(set(steps)) > 1:
            raise SeparateRunsError(steps)
        return step


ALONE = Processes()
"""One process, without a launcher."""


def join_processes() -> Processes:
    """Meet the other processes that a launcher started; without one, be alone.

    To be called before a model is loaded: it picks this process's GPU. `accelerate launch` says by
    its configuration whether the base is sharded (``distributed_type: FSDP``).
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    from accelerate import PartialState

    shards_base = os.environ.get("ACCELERATE_USE_FSDP", "false") == "true"
    # Else transformers loads weights in one process alone, for accelerate's own FSDP to send on.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)
    return Processes(state.process_index, state.num_processes, shards_base)
