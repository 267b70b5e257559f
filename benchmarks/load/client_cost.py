"""What the client itself and the machine cost: the same requests to an endpoint that does nothing.

Where client and service share cores, no figure means much without it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.clients import work_through
from benchmarks.load.no_op import NoOpEndpoint
from benchmarks.load.open_loop import open_loop
from benchmarks.load.sending import Sent, send
from benchmarks.load.wire import Wire
from benchmarks.stats import percentiles

MOST_REQUESTS = 400
_MOST_SECONDS = 10.0
_GIVE_UP_S = 30.0


@dataclass(frozen=True, slots=True)
class ClientCost:
    """Latency of requests that nobody works on, and the client's processor time for one.

    `requests_per_s` is how many a second the client got through; in an open loop what was asked.
    """

    requests: int
    p50_ms: float
    p99_ms: float
    cpu_ms_a_request: float
    requests_per_s: float

    def __str__(self) -> str:
        return (
            f"client alone: p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms, "
            f"{self.cpu_ms_a_request:.2f} ms of a core a request, {self.requests_per_s:.0f}/s "
            "on an endpoint that does nothing"
        )


async def measure_client(
    bodies: Sequence[bytes], *, clients: int, arrivals_s: Sequence[float] | None = None
) -> ClientCost:
    """Send some of the bodies as the run does: by so many clients, or at their times."""
    count = min(len(bodies), MOST_REQUESTS)
    if arrivals_s is not None:
        count = max(1, min(count, sum(one <= _MOST_SECONDS for one in arrivals_s)))
    numbers = range(count)
    with NoOpEndpoint() as endpoint:
        async with Wire(endpoint.url) as wire:

            async def ask(number: int) -> Sent:
                return await send(wire, bodies[number], give_up_s=_GIVE_UP_S)

            async def ask_when_due(number: int, due_s: float) -> Sent:
                return await send(wire, bodies[number], give_up_s=_GIVE_UP_S, due_s=due_s)

            await work_through(range(min(clients, count)), ask, clients=clients)  # connections
            began_s, cpu_began_s = time.perf_counter(), time.process_time()
            if arrivals_s is None:
                sent = await work_through(numbers, ask, clients=clients)
            else:
                sent = await open_loop(ask_when_due, numbers, list(arrivals_s)[:count])
            cpu_s = time.process_time() - cpu_began_s
            seconds = time.perf_counter() - began_s
    found = percentiles([one.latency_ms for one in sent])
    assert found is not None  # noqa: S101 - bodies are never none
    return ClientCost(count, found.p50, found.p99, cpu_s * 1000 / count, count / seconds)
