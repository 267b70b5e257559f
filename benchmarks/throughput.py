"""The benchmark `throughput`: raw vLLM and the endpoint in turn, on the same fresh JPEG bytes.

Both processes are alive all the time and only one has work at any moment. Each round has its own
pictures (`fresh_images`), so the caches that both keep on, as in production, never help; the order
alternates from round to round, so that a machine that slows down is fair to both. Decoding counts
in both; encoding the JPEG files and writing the request bodies count in neither. Ratios and
differences are taken within a round, and the first round is thrown away.

Raw vLLM is slower with very many pictures in one call than with a few (on two cores by a third at
96 against 16), and the endpoint never has more in hand than it has clients. So raw is timed both
ways in every round, all at once and as many a call as there are clients, and the endpoint is
compared with the faster: a ceiling that was made low would flatter it.
"""

import asyncio
import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alignment.data.manifest import read_image_set
from benchmarks.clients import work_through
from benchmarks.endpoint import Endpoint, EndpointError, Judged, image_body
from benchmarks.fresh_images import FreshImages
from benchmarks.processes.http import ServerProcess
from benchmarks.processes.judging import FolderRun
from benchmarks.raw_vllm import RawVllm
from benchmarks.records import DataOrigin, build_record
from benchmarks.stats import Spread, spread


@dataclass(frozen=True, slots=True)
class ThroughputConfig:
    """`images` are judged by all clients in a round, `singles` one at a time."""

    split: str = "test"
    clients: int = 16
    rounds: int = 5
    images: int = 96
    singles: int = 24
    longest_side_px: int | None = None
    seed: int = 2024


@dataclass(frozen=True, slots=True)
class Round:
    """The measurements of one round."""

    raw_at_once_images_per_s: float
    raw_by_clients_images_per_s: float
    endpoint_images_per_s: float
    endpoint_loaded_p50_ms: float
    endpoint_loaded_p95_ms: float
    raw_single_p50_ms: float
    endpoint_single_p50_ms: float

    @property
    def raw_images_per_s(self) -> float:
        """Raw vLLM the faster way."""
        return max(self.raw_at_once_images_per_s, self.raw_by_clients_images_per_s)

    @property
    def throughput_ratio(self) -> float:
        """The endpoint's share of raw vLLM's throughput."""
        return self.endpoint_images_per_s / self.raw_images_per_s

    @property
    def added_p50_ms(self) -> float:
        """What the endpoint adds to one picture alone."""
        return self.endpoint_single_p50_ms - self.raw_single_p50_ms


@dataclass(frozen=True, slots=True)
class ThroughputFigures:
    """Medians over the rounds, with the lowest and the highest."""

    raw_at_once_images_per_s: Spread
    raw_by_clients_images_per_s: Spread
    raw_images_per_s: Spread
    endpoint_images_per_s: Spread
    throughput_ratio: Spread
    endpoint_loaded_p50_ms: Spread
    endpoint_loaded_p95_ms: Spread
    raw_single_p50_ms: Spread
    endpoint_single_p50_ms: Spread
    added_p50_ms: Spread


def summarise(rounds: Sequence[Round]) -> ThroughputFigures:
    """Each figure's spread over the rounds; raises `ValueError` without rounds."""
    return ThroughputFigures(
        **{
            field.name: spread([getattr(one, field.name) for one in rounds])
            for field in dataclasses.fields(ThroughputFigures)
        }
    )


def run_throughput(
    config: ThroughputConfig, data: Path, checkpoint: Path, *, on_round: Callable[[], None]
) -> dict[str, Any]:
    """Start both, measure, and give the record; `on_round` is called after each round.

    Raises `EndpointError`, `ProcessError`, `ManifestError` and
    `MeasurementError`.
    """
    image_set = read_image_set(data)
    examples = image_set.split(config.split)
    pictures = FreshImages(
        [image_set.path_of(example) for example in examples[: config.images]],
        seed=config.seed,
        longest_side_px=config.longest_side_px,
    )
    with tempfile.TemporaryDirectory(prefix="sightward-throughput-") as scratch_name:
        scratch = Path(scratch_name)
        with (
            RawVllm(checkpoint, scratch / "raw.log") as raw,
            ServerProcess(scratch / "server.log", model=str(checkpoint)) as server,
        ):
            raw.wait_until_ready()
            server.wait_until_ready()
            bench = _Bench(config, pictures, raw, server.url, scratch)
            model_version = asyncio.run(_model_version(server.url))
            rounds = []
            for number in range(config.rounds + 1):
                rounds.append(bench.round(number))
                on_round()
    measured = rounds[1:]
    return build_record(
        "throughput",
        config=dataclasses.asdict(config),
        data=DataOrigin(
            name=image_set.folder.name,
            sha256=image_set.sha256,
            split=config.split,
            examples=len(examples),
        ),
        model_version=model_version,
        figures=dataclasses.asdict(summarise(measured)),
        measurements=[dataclasses.asdict(one) for one in measured],
    )


@dataclass(frozen=True, slots=True)
class _EndpointRun:
    seconds: float
    latencies_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Contest:
    """Both contenders' runs over the same pictures."""

    raw: FolderRun
    endpoint: _EndpointRun


class _Bench:
    """Both contenders and their pictures."""

    def __init__(
        self,
        config: ThroughputConfig,
        pictures: FreshImages,
        raw: RawVllm,
        url: str,
        scratch: Path,
    ) -> None:
        self._config = config
        self._pictures = pictures
        self._raw = raw
        self._url = url
        self._scratch = scratch

    def round(self, number: int) -> Round:
        """One round: many pictures, then one at a time, raw and endpoint in turn."""
        count, alone, clients = self._config.images, self._config.singles, self._config.clients
        raw_first = number % 2 == 0
        # Each way of asking raw has its own pictures, or its caches would know the second ones.
        at_once = self._contend(3 * number, count, count, clients, raw_first=raw_first)
        by_clients = self._contend(3 * number + 1, count, clients, clients, raw_first=raw_first)
        single = self._contend(3 * number + 2, alone, 1, 1, raw_first=raw_first)
        loaded_ms = at_once.endpoint.latencies_ms + by_clients.endpoint.latencies_ms
        return Round(
            raw_at_once_images_per_s=count / at_once.raw.seconds,
            raw_by_clients_images_per_s=count / by_clients.raw.seconds,
            endpoint_images_per_s=2
            * count
            / (at_once.endpoint.seconds + by_clients.endpoint.seconds),
            endpoint_loaded_p50_ms=float(np.percentile(loaded_ms, 50)),
            endpoint_loaded_p95_ms=float(np.percentile(loaded_ms, 95)),
            raw_single_p50_ms=float(np.percentile(single.raw.call_ms, 50)),
            endpoint_single_p50_ms=float(np.percentile(single.endpoint.latencies_ms, 50)),
        )

    def _contend(
        self, pass_number: int, count: int, per_call: int, clients: int, *, raw_first: bool
    ) -> _Contest:
        """Both on the same `count` fresh pictures, one after the other."""
        files = self._pictures.encode(pass_number=pass_number, count=count)
        folder = self._write(files, f"pass-{pass_number}")
        if raw_first:
            raw = self._raw.judge(folder, per_call=per_call)
            endpoint = self._ask(files, clients=clients)
        else:
            endpoint = self._ask(files, clients=clients)
            raw = self._raw.judge(folder, per_call=per_call)
        return _Contest(raw, endpoint)

    def _write(self, files: Sequence[bytes], name: str) -> Path:
        folder = self._scratch / name
        folder.mkdir()
        for index, data in enumerate(files):
            (folder / f"{index:05d}.jpg").write_bytes(data)
        return folder

    def _ask(self, files: Sequence[bytes], *, clients: int) -> _EndpointRun:
        return asyncio.run(_ask_endpoint(self._url, files, clients=clients))


async def _model_version(url: str) -> str:
    async with Endpoint(url) as endpoint:
        return await endpoint.model_version()


async def _ask_endpoint(url: str, files: Sequence[bytes], *, clients: int) -> _EndpointRun:
    bodies = [image_body(data, media_type="image/jpeg") for data in files]
    async with Endpoint(url, max_connections=clients) as endpoint:
        # Opens the first connection, as raw vLLM's pipe is open.
        await endpoint.model_version()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        judged: list[Judged] = await work_through(bodies, endpoint.judge_body, clients=clients)
        seconds = loop.time() - began_s
    failures = {one.failure for one in judged if one.failure is not None}
    if failures:
        # A refused picture is answered fast: counted, it would flatter the endpoint.
        raise EndpointError(url, f"refused pictures: {', '.join(sorted(failures))}")
    return _EndpointRun(seconds, tuple(one.latency_ms for one in judged))
