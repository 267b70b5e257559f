"""The audit on a cluster, by Ray Data: one engine for each GPU, the results written here.

Units are read by tasks, wherever there is room, and their pictures go in small blocks to a pool of
actors, each of which holds an engine and keeps two blocks in its hands, so that the engine never
waits for the next. Rows come back to this process, which alone writes the folder: the same files,
and the same taking up again, as on one machine. An actor that dies is started anew by Ray and given
the blocks it had, some megabytes of pictures, whose rows had not come back yet. A row is in the
result once, for Ray gives out a task's rows once and the store takes a picture's row once.

The source must lie where every node finds it by the same path (or on the hub).
"""

import asyncio
import os
import pickle
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from server.audit.done import DoneDigests
from server.audit.engines import JudgeSpec
from server.audit.errors import ClusterError
from server.audit.item import Item, Source, Unit
from server.audit.judge import UNREADABLE_FILE, Judge
from server.audit.ray_cluster import quiet_data_context, said_by
from server.audit.row import Record, column_names, row_schema
from server.audit.store import AuditStore
from server.audit.tables import MISSING_FILE
from server.errors import EngineError, EngineStartError, ImageError, SightwardError
from server.ingest.limits import ImageLimits

if TYPE_CHECKING:
    from server.engine.protocol import Engine

_ITEM = "item"
_READER_CPUS = 0.1
_BLOCKS_IN_HAND = 2
_TASK_RETRIES = 4
_MOST_BLOCKS = 1000

_MAX_BYTES = ImageLimits().max_bytes


def judge_on_cluster(
    source: Source,
    spec: JudgeSpec,
    store: AuditStore,
    *,
    engines: int,
    on_rows: Callable[[int], None],
) -> None:
    """Judge what of the source has no row yet; the cluster must be connected.

    Raises `SightwardError` as on one machine, and `ClusterError` for what is Ray's own.
    """
    import ray

    with quiet_data_context():
        rows = _rows(source, spec, store, engines)
        try:
            for table in rows.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            ):
                _raise_failure(table)
                for version in table["model_version"].unique().to_pylist():
                    # An actor of another model would write rows that mean something else.
                    store.identify({"judge": version})
                for record in table.select(column_names()).to_pylist():
                    full = store.add(record)
                    if full is not None:
                        store.write_part(full)
                on_rows(table.num_rows)
        except ray.exceptions.RayError as error:
            raise ClusterError(f"the cluster gave up: {said_by(error)}") from error


def _rows(source: Source, spec: JudgeSpec, store: AuditStore, engines: int) -> Any:
    import ray
    from ray.data import ActorPoolStrategy

    gpus = int(ray.cluster_resources().get("GPU", 0))
    cpus = float(ray.cluster_resources().get("CPU", 1))
    # Readers are small, but some must fit beside the engines.
    share = max(0.1, round((cpus - max(1.0, cpus * 0.1) * 0.5) / engines * 0.9, 1))
    resources = {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_cpus": share}
    units = [{"unit": pickle.dumps(unit)} for unit in source.units()]
    threads = max(1, int(cpus / engines))
    done = ray.put(store.done)
    # Ray retries for ever where nothing is said, and one picture that kills its worker would hold
    # up all others. How it is said is deprecated, with nothing in its place before Ray 2.64.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return (
            ray.data.from_items(units, override_num_blocks=min(len(units), _MOST_BLOCKS))
            .map_batches(
                _read_units,
                fn_args=(done, spec.in_flight),
                batch_size=1,
                num_cpus=_READER_CPUS,
            )
            .map_batches(
                _JudgeActor,
                fn_constructor_args=(spec, None if gpus else threads),
                batch_format="pyarrow",
                batch_size=spec.in_flight,
                compute=ActorPoolStrategy(
                    size=engines,
                    max_tasks_in_flight_per_actor=_BLOCKS_IN_HAND,
                    max_concurrent_calls_per_actor=_BLOCKS_IN_HAND,
                    enable_true_multi_threading=True,
                ),
                max_task_retries=_TASK_RETRIES,
                **resources,
            )
        )


def _read_units(
    batch: dict[str, Any], done: DoneDigests | Any, rows_at_once: int
) -> Iterator[dict[str, Any]]:
    """A task: the pictures of the units in a batch that have no row, read and pickled."""
    import numpy as np
    import ray

    if isinstance(done, ray.ObjectRef):
        done = ray.get(done)
    read: list[bytes] = []
    for data in batch["unit"]:
        unit: Unit = pickle.loads(data)  # noqa: S301 - our own, from the driver
        for item in unit.items():
            if item.digest in done:
                continue
            read.append(pickle.dumps(_with_content(item)))
            if len(read) >= rows_at_once:
                yield {_ITEM: np.array(read, dtype=object)}
                read = []
    if read:
        yield {_ITEM: np.array(read, dtype=object)}


def _with_content(item: Item) -> Item:
    """The item with its bytes, or with why they could not be read."""
    if item.failure:
        return item
    try:
        return replace(item, content=item.read(max_bytes=_MAX_BYTES))
    except FileNotFoundError as error:
        return replace(item, content=b"", failure=MISSING_FILE, detail=error.strerror or "")
    except OSError as error:
        return replace(item, content=b"", failure=UNREADABLE_FILE, detail=error.strerror or "")
    except ImageError as error:
        return replace(item, content=b"", failure="image_too_large", detail=str(error))


class _JudgeActor:
    """An actor: one engine on an event loop of its own, which batches are handed to.

    The engine starts with the first batch, so that what keeps it from starting comes back as that
    batch's error. `threads` bounds the engine's own threads on a CPU, which Ray would set to one.
    """

    def __init__(self, spec: JudgeSpec, threads: int | None) -> None:
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(threads)
        self._spec = spec
        self._loop = asyncio.new_event_loop()
        self._starting = asyncio.Lock()
        self._engine: Engine | None = None
        self._judge: Judge | None = None
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def __call__(self, batch: Any) -> Any:
        """The rows of a batch of items, both as pyarrow tables; or one row with a failure."""
        import pyarrow as pa

        items = [pickle.loads(data) for data in batch[_ITEM].to_pylist()]  # noqa: S301 - our own
        try:
            records: list[Record] = self._run(self._judge_all(items))
        except SightwardError as error:
            # As data, since Ray would run the task again and wrap what it raises beyond telling.
            failed = {"failure": str(error), "is_engines": isinstance(error, EngineError)}
            return pa.Table.from_pylist([failed], schema=_reply_schema())
        return pa.Table.from_pylist(records, schema=_reply_schema())

    async def _judge_all(self, items: list[Item]) -> list[Record]:
        judge = await self._started()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(judge.row(item)) for item in items]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result().record() for task in tasks]

    async def _started(self) -> Judge:
        async with self._starting:
            if self._judge is None:
                engine = await asyncio.to_thread(self._spec.make_engine, self._spec.settings)
                await engine.start()
                self._engine, self._judge = engine, await self._spec.judge(engine)
            return self._judge

    def _run(self, work: Coroutine[Any, Any, list[Record]]) -> list[Record]:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _reply_schema() -> Any:
    """A row, or what kept an actor from judging anything at all."""
    import pyarrow as pa

    columns = [one.with_nullable(True) for one in row_schema()]
    return pa.schema([*columns, ("failure", pa.string()), ("is_engines", pa.bool_())])


def _raise_failure(reply: Any) -> None:
    """Raise the first failure in an actor's reply, if there is one."""
    failed = reply.filter(reply["failure"].is_valid())
    if failed.num_rows:
        said = failed["failure"][0].as_py()
        raise EngineStartError(said) if failed["is_engines"][0].as_py() else ClusterError(said)
