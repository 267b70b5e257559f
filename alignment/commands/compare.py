"""`python -m alignment compare`: every method from one base, in one table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

if TYPE_CHECKING:
    from alignment.compare.plan import Contestant
    from alignment.responses.protocol import ResponseClassifier


def compare(
    data: Annotated[Path, Parameter(help="A folder with a manifest.jsonl, split.")],
    *,
    recipe: Annotated[str, Parameter(help="A name from `recipes`.")] = "reference",
    model: Annotated[str | None, Parameter(help="Start from this instead of its model.")] = None,
    methods: Annotated[
        str,
        Parameter(
            help="Of sft, dpo, ppo, sft-ppo (PPO that begins where SFT ended), rloo, grpo, stage1, "
            "stage2, stages-ppo (PPO that begins where stage 2 ended)."
        ),
    ] = "sft,dpo,ppo,sft-ppo,rloo",
    seeds: Annotated[int, Parameter(validator=Number(gte=1), help="Runs of each method.")] = 3,
    first_seed: int = 2024,
    steps: Annotated[int | None, Parameter(help="Steps of every method.")] = None,
    split: Annotated[str, Parameter(help="What is measured.")] = "test",
    written: Annotated[int, Parameter(help="Subjects of written answers.")] = 160,
    max_tokens: Annotated[int, Parameter(help="Of a written answer.")] = 96,
    outside: Annotated[str, Parameter(help="Another domain, or `none`.")] = "open-set",
    engine: Annotated[str | None, Parameter(help="What runs the models measured.")] = None,
    judge: Annotated[str | None, Parameter(help="Second judge: a model at --judge-url.")] = None,
    judge_url: Annotated[str | None, Parameter(help="OpenAI-compatible endpoint.")] = None,
    judge_api_key: Annotated[str | None, Parameter(env_var="JUDGE_API_KEY")] = None,
    regression: Annotated[bool, Parameter(help="Add the tower's logistic regression.")] = True,
    keep_checkpoints: Annotated[bool, Parameter(help="Keep merged checkpoints.")] = False,
    out: Annotated[Path, Parameter(help="One that is begun is gone on with.")] = Path(
        "runs/compare"
    ),
    dry_run: Annotated[bool, Parameter(help="Say what is left to do, and stop.")] = False,
) -> None:
    """Train every method from one base with several seeds and measure all in one table.

    Interrupted, the same command goes on: what is finished is not made again.
    """
    from rich.console import Console

    from alignment.compare.comparison import Comparison, find_domain
    from alignment.compare.errands import Processes
    from alignment.compare.plan import ComparisonConfig, MeasureConfig, methods_named, seeds_from
    from alignment.compare.report import FILES, write_comparison
    from alignment.compare.start import start_of
    from alignment.data.manifest import read_image_set
    from server.vlm.cache import cache_root

    config = ComparisonConfig(
        data=data,
        out=out,
        recipe=recipe,
        model=model,
        methods=methods_named(methods),
        seeds=seeds_from(seeds, first_seed),
        steps=steps,
        measure=MeasureConfig(
            split=split,
            written=written,
            max_tokens=max_tokens,
            outside=None if outside == "none" else outside,
            engine=engine,
        ),
        has_regression=regression,
        keeps_checkpoints=keep_checkpoints,
    )
    console = Console()
    images = read_image_set(data)
    comparison = Comparison(
        config,
        images,
        base=start_of(config),
        domain=find_domain(config, images),
        judge=_second_judge(judge, judge_url, judge_api_key),
    )
    if dry_run:
        for todo in comparison.todo():
            state = "left to do" if todo.commands else "finished"
            console.print(f"{todo.contestant.name}: {todo.work}, {state}", style="bold")
            for command in todo.commands:
                console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)
        return

    def on_done(contestant: "Contestant") -> None:
        write_comparison(comparison, cache=cache_root())
        console.print(f"{contestant.name} is measured", highlight=False)

    comparison.run(Processes(), on_done=on_done)
    console.print((out / FILES[0]).read_text(encoding="utf-8"), markup=False, highlight=False)
    for name in FILES:
        console.print(f"wrote {out / name}", markup=False, highlight=False)


def _second_judge(model: str | None, url: str | None, api_key: str | None) -> "ResponseClassifier":
    from alignment.compare.second_judge import EndpointJudge, SecondJudgeError
    from alignment.responses.factory import classifier

    if model is None and url is None:
        return classifier("learned")
    if model is None or url is None:
        raise SecondJudgeError
    return EndpointJudge(url, model, api_key=api_key)
