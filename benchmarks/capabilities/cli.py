"""``python -m benchmarks capabilities``: the options, the progress shown, and what is printed."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar, get_args

from cyclopts import Parameter
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

from benchmarks.capabilities.command import (
    OPEN_SET,
    CapabilitiesOptions,
    Classifier,
    Prepared,
    measure,
    prepare,
)
from benchmarks.capabilities.plan import MODES, SUITES, PlanConfig
from benchmarks.capabilities.run import Progress
from benchmarks.capabilities.tasks import Mode, Suite
from benchmarks.engines import EngineOptions
from benchmarks.errors import MeasurementError
from server.concepts.probes import load_probes
from server.engine.model_dry_run import dry_run as what_it_would_do
from server.engine.model_registry import EngineName
from server.engine.model_requirements import measure_machine
from server.engine.protocol import Sampling

NameT = TypeVar("NameT", bound=str)


def capabilities(
    *,
    model: Annotated[
        str, Parameter(help="`reference[:VARIANT]`, a name from `models`, a folder, a hub id.")
    ] = "reference",
    data: Annotated[
        str, Parameter(help="`open-set`, a folder, a hub id, or two joined by `+`.")
    ] = OPEN_SET,
    suite: Annotated[str, Parameter(help="Which to ask, separated by commas.")] = ",".join(SUITES),
    mode: Annotated[str, Parameter(help="`token`, `written`, or both.")] = ",".join(MODES),
    split: Annotated[str, Parameter(help="`test`, `train` or `all`.")] = "test",
    columns: Annotated[
        str | None, Parameter(help="For an unknown table: `image=img,label=nsfw,unsafe=1`.")
    ] = None,
    limit: Annotated[int | None, Parameter(help="A seeded sample of that many pictures.")] = None,
    questions: Annotated[
        str, Parameter(help="Judgements to ask: `all`, `default` (as served), or their ids.")
    ] = "all",
    written_limit: Annotated[
        int | None, Parameter(help="Written answers about that many subjects of a suite only.")
    ] = None,
    general: Annotated[
        str, Parameter(help="`builtin` and `NAME=FOLDER_OR_HUB_ID`, separated by commas.")
    ] = "builtin",
    classifier: Annotated[Classifier, Parameter(help="What reads written answers.")] = "rules",
    roberta: Annotated[
        str | None, Parameter(help="S1's two classifiers, `ALIGNMENT,PERCEPTION` (folders or ids).")
    ] = None,
    judge: Annotated[
        str | None, Parameter(help="Model that grades open answers, e.g. `gpt-4o`.")
    ] = None,
    judge_url: Annotated[
        str | None, Parameter(help="OpenAI-compatible endpoint of the judge.")
    ] = None,
    judge_api_key: Annotated[
        str | None, Parameter(env_var="JUDGE_API_KEY", help="For the judge's endpoint.")
    ] = None,
    engine: Annotated[
        EngineName | None, Parameter(help="`vllm`, `transformers` or `remote`.")
    ] = None,
    url: Annotated[str | None, Parameter(help="OpenAI-compatible endpoint of the model.")] = None,
    api_key: Annotated[
        str | None, Parameter(env_var="OPENAI_API_KEY", help="For the model's endpoint.")
    ] = None,
    adapter: Annotated[Path | None, Parameter(help="PEFT adapter folder.")] = None,
    revision: Annotated[str | None, Parameter(help="Commit of a hub model.")] = None,
    trust_remote_code: Annotated[
        bool, Parameter(help="Run code that comes with the model; needs a pinned revision.")
    ] = False,
    dtype: str | None = None,
    concurrency: Annotated[int, Parameter(help="Requests in flight to a remote model.")] = 8,
    max_tokens: Annotated[int, Parameter(help="Of a written answer.")] = 512,
    temperature: float = 1.0,
    top_p: float = 0.9,
    seed: int = 2024,
    resamples: Annotated[int, Parameter(help="Bootstrap draws for 95% intervals.")] = 1000,
    block_size: Annotated[int, Parameter(help="Questions asked, and kept, together.")] = 64,
    out: Annotated[
        Path | None, Parameter(help="The run's folder; one with answers is gone on with.")
    ] = None,
    dry_run: Annotated[
        bool, Parameter(help="Say what would be asked of which model, and stop.")
    ] = False,
) -> None:
    """Measure a VLM: perception, alignment on pictures, words and in context, general ability.

    Run again with the same options, an interrupted measurement goes on where it was.
    """
    console = Console()
    options = CapabilitiesOptions(
        engine=EngineOptions(
            model=model,
            kind=engine,
            url=url,
            api_key=api_key,
            adapter=adapter,
            revision=revision,
            trust_remote_code=trust_remote_code,
            dtype=dtype,
            concurrency=concurrency,
        ),
        data=data,
        columns=columns,
        plan=PlanConfig(
            suites=_names(suite, get_args(Suite), "--suite"),
            modes=_names(mode, get_args(Mode), "--mode"),
            split=split,
            limit=limit,
            seed=seed,
            questions=_questions(questions),
            written_limit=written_limit,
        ),
        general=tuple(part for part in general.split(",") if part),
        classifier=classifier,
        roberta=_pair(roberta),
        judge=_judge(judge, judge_url, judge_api_key, concurrency),
        sampling=Sampling(max_tokens, temperature, top_p),
        resamples=resamples,
        block_size=block_size,
        out=out,
    )
    prepared = prepare(options)
    for note in prepared.notes:
        console.print(f"Note: {note}", style="yellow", markup=False)
    if dry_run:
        machine = measure_machine()
        lines = what_it_would_do(
            options.engine.choice(machine),
            machine,
            questions=len(prepared.tasks),
            example=_one(prepared),
            options=options.engine.run_options(),
        )
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return
    with _bar(console) as on_progress:
        path = asyncio.run(measure(options, prepared, on_progress=on_progress))
    _show(path, console)


def _names(given: str, known: Iterable[NameT], option: str) -> tuple[NameT, ...]:
    """The names in a comma-separated list, in the known order; raises `MeasurementError`."""
    wanted = [name.strip() for name in given.split(",") if name.strip()]
    known = tuple(known)
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        what = f"no {', '.join(unknown)}" if unknown else "nothing in the list"
        raise MeasurementError(f"{option}: {what}; there are {', '.join(known)}")
    return tuple(name for name in known if name in wanted)


def _questions(given: str) -> tuple[str, ...] | None:
    """Ids of judgement probes; None for all of them."""
    probes = load_probes()
    if given == "all":
        return None
    if given == "default":
        return probes.active
    return _names(given, [probe.id for probe in probes.judgements], "--questions")


def _pair(given: str | None) -> tuple[str | None, str | None]:
    if given is None:
        return (None, None)
    first, _, second = given.partition(",")
    return (first or None, second or None)


def _judge(
    model: str | None, url: str | None, api_key: str | None, concurrency: int
) -> EngineOptions | None:
    if model is None:
        if url is not None:
            raise MeasurementError("--judge-url is given without --judge: which model is it?")
        return None
    kind: EngineName | None = "remote" if url is not None else None
    return EngineOptions(model=model, kind=kind, url=url, api_key=api_key, concurrency=concurrency)


def _one(prepared: Prepared) -> str:
    """An example of a question about a picture, or of any."""
    about_pictures = [task.prompt for task in prepared.tasks if task.open_image is not None]
    return about_pictures[0] if about_pictures else prepared.tasks[0].prompt


class _Rate(ProgressColumn):
    """Questions a second, of this part of the run alone."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f} questions/s")


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[Progress], None]]:
    """A bar with rate and time left; what an earlier part answered counts as done, not as fast."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, _Rate(), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("loading the model", total=None)

        def show(progress: Progress) -> None:
            if bar.tasks[0].total is None:
                if progress.resumed:
                    console.print(f"{progress.resumed} questions were answered before: going on")
                bar.reset(task, total=progress.total, completed=progress.done)
            bar.update(task, description="asking", completed=progress.done)

        yield show


def _show(path: Path, console: Console) -> None:
    from benchmarks.capabilities.schema import read_record
    from benchmarks.capabilities.tables import capabilities_tables
    from benchmarks.tables import show

    show(capabilities_tables(read_record(path)), console)
    console.print(f"record: {path}", markup=False, highlight=False)
    console.print(
        f"report: python -m benchmarks report {path.parent}", markup=False, highlight=False
    )
