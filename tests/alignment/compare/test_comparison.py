"""A comparison with its errands stubbed: what is run, in which order, and never twice."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alignment.compare import training
from alignment.compare.comparison import Comparison, Domain, find_domain
from alignment.compare.errands import ErrandError, Processes
from alignment.compare.orders import RunOrder
from alignment.compare.plan import (
    ComparisonConfig,
    Contestant,
    MeasureConfig,
    Method,
    UnknownMethodError,
    methods_named,
    seeds_from,
)
from alignment.compare.report import FILES, notes_of, write_comparison
from alignment.compare.stages import NoStagesError
from alignment.compare.training import carry_out, recipe_of
from alignment.data.manifest import ImageSet
from alignment.recipe_book.registry import recipe_named
from alignment.recipes_alignment import SftRecipe
from alignment.responses.factory import classifier
from alignment.run_identity import OtherRunError
from alignment.safety.evaluation import risk_figures, write_figures
from alignment.safety.levels import risk_of_words
from server.concepts.risk import CLEAN, Risk

NO_DOMAIN = Domain(None, None)


class Stub:
    """Errands that leave what the real ones leave; `dies_at` is the errand that is cut short."""

    def __init__(self, write_record: Callable[..., Path], dies_at: int | None = None) -> None:
        self._write_record = write_record
        self._dies_at = dies_at
        self.made: list[str] = []

    def run(self, command: Sequence[str], *, log: Path) -> None:
        if len(self.made) == self._dies_at:
            raise KeyboardInterrupt
        options = dict(zip(command[4::2], command[5::2], strict=False))
        if command[2] == "alignment.compare":
            self.made.append(f"train {command[3]} {options['--seed']}")
            Path(options["--merged"]).mkdir(parents=True)
            return
        if command[2:5] == ["alignment", "safety", "evaluate"]:
            self.made.append(f"read {Path(command[6]).parent.name}")
            assert Path(command[6]).is_dir()
            write_risks(Path(command[-1]))
            return
        out = Path(options["--out"])
        assert "merged" not in options["--model"] or Path(options["--model"]).is_dir()
        self.made.append(f"measure {out.parent.name} {out.name}")
        self._write_record(out / "record.json", rights=4 if "ppo" in str(out) else 3)


def write_risks(file: Path) -> None:
    labels = [risk_of_words(is_unsafe=False, category="", concept="")] * 2
    types = {CLEAN: 0.9, "Hate": 0.1}
    said = [Risk((1.0, 0.0, 0.0, 0.0), types), Risk((0.0, 0.0, 1.0, 0.0), types)]
    write_figures({"merged": risk_figures(labels, said)}, file)


@pytest.fixture
def config(labelled_folder: Path, tmp_path: Path) -> ComparisonConfig:
    return ComparisonConfig(
        data=labelled_folder,
        out=tmp_path / "out",
        methods=("sft", "ppo"),
        seeds=(1, 2),
        measure=MeasureConfig(outside=None),
        has_regression=False,
    )


def comparison_of(
    config: ComparisonConfig, images: ImageSet, domain: Domain = NO_DOMAIN
) -> Comparison:
    return Comparison(config, images, base="base-model", domain=domain, judge=classifier("learned"))


WHOLE = [
    "measure base inside",
    "train sft 1",
    "measure sft-1 inside",
    "train ppo 1",
    "measure ppo-1 inside",
    "train sft 2",
    "measure sft-2 inside",
    "train ppo 2",
    "measure ppo-2 inside",
]


def test_the_base_is_measured_then_every_run_trained_and_measured(
    config: ComparisonConfig, images: ImageSet, write_record: Callable[..., Path]
) -> None:
    stub = Stub(write_record)
    comparison_of(config, images).run(stub)

    assert stub.made == WHOLE
    assert not list(config.out.rglob("merged"))


@pytest.mark.parametrize("dies_at", range(len(WHOLE)))
def test_stopped_anywhere_it_goes_on_and_makes_nothing_twice(
    config: ComparisonConfig, images: ImageSet, write_record: Callable[..., Path], dies_at: int
) -> None:
    first, second = Stub(write_record, dies_at), Stub(write_record)
    with pytest.raises(KeyboardInterrupt):
        comparison_of(config, images).run(first)
    comparison_of(config, images).run(second)

    assert first.made + second.made == WHOLE


def test_seeds_can_be_added_later_but_other_steps_are_another_comparison(
    config: ComparisonConfig, images: ImageSet, write_record: Callable[..., Path]
) -> None:
    comparison_of(config, images).run(Stub(write_record))
    more = Stub(write_record)
    comparison_of(replace(config, seeds=(1, 2, 3)), images).run(more)

    assert [made for made in more.made if made.startswith("train")] == [
        "train sft 3",
        "train ppo 3",
    ]
    with pytest.raises(OtherRunError, match="steps"):
        comparison_of(replace(config, steps=7), images).run(more)


def test_a_dry_run_names_steps_answers_and_what_is_left(
    config: ComparisonConfig, images: ImageSet, write_record: Callable[..., Path]
) -> None:
    comparison = comparison_of(replace(config, seeds=(1,), steps=7), images)
    comparison.run(Stub(write_record))
    todo = {one.contestant.name: one for one in comparison.todo()}

    assert not any(one.commands for one in todo.values())
    again = comparison_of(replace(config, methods=("rloo",), steps=7), images)
    base, rloo, _ = again.todo()
    assert (base.work, base.commands) == ("nothing to train", ())
    assert rloo.work == f"7 steps of {recipe_named('reference').ppo.answers_per_step} answers"
    train, measure = rloo.commands
    assert train.startswith("python -m alignment.compare rloo --seed 1 ")
    assert "--steps 7" in train
    assert measure.startswith("python -m benchmarks capabilities ")
    assert "--questions default" in measure
    assert "--written-limit 160" in measure


def test_the_table_shows_mean_and_range_and_its_files_are_written(
    config: ComparisonConfig, images: ImageSet, write_record: Callable[..., Path], tmp_path: Path
) -> None:
    comparison = comparison_of(config, images)
    comparison.run(Stub(write_record))
    write_record(Contestant("ppo", 2, config.out / "ppo-2").record("inside"), rights=2)
    write_comparison(comparison, cache=tmp_path)

    text = (config.out / "table.md").read_text()
    (images_line,) = [line for line in text.splitlines() if line.startswith("| images |")]
    assert images_line.split("|")[2:5] == [" 0.750 ", " 0.750 ", " 0.750 (0.500 to 1.000) "]
    assert "ppo (2 seeds)" in text
    shown = json.loads((config.out / "table.json").read_text())
    assert [row["name"] for row in shown["rows"]] == ["base", "sft", "ppo"]
    ppo = shown["rows"][-1]
    # Balanced accuracy, diversity and general ability of each seed, over three.
    assert ppo["figures"]["mean"][1:] == pytest.approx([1.2 / 3, 1.7 / 3])
    assert ppo["by_seed"][0]["gap"] == 0.25
    assert all((config.out / name).stat().st_size > 0 for name in FILES)


def test_a_set_that_is_part_of_the_measured_split_is_not_asked_twice(
    config: ComparisonConfig,
    images: ImageSet,
    labelled_folder: Path,
    write_record: Callable[..., Path],
) -> None:
    measure = MeasureConfig(outside=str(labelled_folder))
    domain = find_domain(replace(config, measure=measure), images)
    comparison = comparison_of(replace(config, measure=measure), images, domain)
    stub = Stub(write_record)
    comparison.run(stub)

    assert stub.made == WHOLE
    assert domain.ids == {one.id for one in images.split("test")}
    assert any("no other domain" in note for note in notes_of(comparison))


def test_another_domain_is_measured_by_itself(
    config: ComparisonConfig, images: ImageSet, write_record: Callable[..., Path]
) -> None:
    stub = Stub(write_record)
    comparison = comparison_of(replace(config, methods=()), images, Domain(images, None))
    comparison.run(stub)

    assert stub.made == ["measure base inside", "measure base outside"]
    (figures,) = comparison.figures().values()
    assert figures["outside_balanced"] == 0.75


def test_what_safety_modules_read_is_measured_too(
    config: ComparisonConfig, images: ImageSet, write_record: Callable[..., Path], tmp_path: Path
) -> None:
    stub = Stub(write_record)
    comparison = comparison_of(replace(config, methods=("ppo", "stage1"), seeds=(1,)), images)
    comparison.run(stub)

    assert stub.made[-3:] == ["train stage1 1", "measure stage1-1 inside", "read stage1-1"]
    base, _ppo, stage1 = comparison.figures().values()
    assert stage1["level_right"] == 0.5
    assert stage1["type_right"] == 1.0
    assert stage1["head_auc"] is None
    assert "level_right" not in base
    write_comparison(comparison, cache=tmp_path)
    lines = (config.out / "table.md").read_text().splitlines()
    (level,) = [line for line in lines if line.startswith("| level |")]
    assert level.startswith("| level |  |  | 0.500 |")


def test_a_failed_errand_says_its_last_words_and_where_the_rest_is(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('a'); sys.exit('error: no such folder')"]
    with pytest.raises(ErrandError, match=r"error: no such folder.*errand\.log"):
        Processes().run(command, log=tmp_path / "deep" / "errand.log")


def test_methods_are_read_from_a_list() -> None:
    assert methods_named("ppo, sft,ppo") == ("ppo", "sft")
    with pytest.raises(UnknownMethodError, match=r"no_such.*sft, dpo, ppo, sft-ppo, rloo, grpo"):
        methods_named("sft,no_such")
    assert seeds_from(3, 5) == (5, 6, 7)


@pytest.mark.parametrize("method", ["sft", "dpo", "ppo", "sft-ppo", "rloo", "grpo"])
def test_each_method_has_the_books_recipe_with_the_runs_seed(method: Any) -> None:
    recipe = recipe_of(recipe_named("reference"), method, seed=77, steps=3)

    assert (recipe.seed, recipe.steps) == (77, 3)
    assert method in recipe.name
    assert isinstance(recipe, SftRecipe) == (method == "sft")


def order_of(method: Method, folder: Path, recipe: str = "reference") -> RunOrder:
    mine = folder / f"{method}-7"
    return RunOrder(method, 7, folder, recipe, "base", mine / "run", mine / "merged", None, 1)


@pytest.mark.parametrize("method", ["stage1", "stage2", "stages-ppo"])
def test_the_stages_have_their_recipes_and_only_on_the_reference(method: Any) -> None:
    recipe = recipe_of(recipe_named("reference"), method, seed=77, steps=3)

    assert (recipe.seed, recipe.steps) == (77, 3)
    assert recipe.name.startswith(f"reference-{method}")
    with pytest.raises(NoStagesError, match="leave stage1, stage2 and stages-ppo out"):
        recipe_of(recipe_named("smolvlm-256m"), method, seed=77, steps=3)


@pytest.mark.parametrize(
    ("method", "trained"),
    [("stage1", []), ("stage2", []), ("sft-ppo", ["sft"]), ("stages-ppo", ["stage2"])],
)
def test_a_method_begins_from_the_run_of_its_seed(
    method: Method, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is stubbed but the order in which things are trained and what they stand on."""
    did: list[tuple[str, Path]] = []
    read: list[tuple[Path, str]] = []

    def note(order: RunOrder) -> None:
        did.append((order.method, order.run))

    def guarded_model(order: RunOrder) -> str:
        return f"modules of {order.of('stage1').run}"

    def train_ppo(*given: Any) -> None:
        did.append((given[4].parent.name.removesuffix("-7"), given[4]))

    monkeypatch.setattr(training.stages, "train_stage_one", note)
    monkeypatch.setattr(training.stages, "train_stage_two", note)
    monkeypatch.setattr(training.stages, "guarded_model", guarded_model)
    monkeypatch.setattr(training, "read_start", lambda run, base: read.append((run, base)))
    monkeypatch.setattr(training, "_train", train_ppo)
    for name in ("commands.starting.read_data", "commands.starting.read_pictures"):
        monkeypatch.setattr(f"alignment.{name}", lambda *_, **__: None)
    monkeypatch.setattr("alignment.policy_base.load_base", lambda *_, **__: None)

    training.train(order_of(method, tmp_path))

    runs = [*trained, method]
    assert did == [(one, tmp_path / f"{one}-7" / "run") for one in runs]
    on_modules = f"modules of {tmp_path / 'stage1-7' / 'run'}"
    bases = {"sft-ppo": "base", "stages-ppo": on_modules}
    assert read == [(tmp_path / f"{one}-7" / "run", bases[method]) for one in trained]


def test_stage_one_is_copied_whole_since_modules_are_no_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assembled = tmp_path / "assembled"
    assembled.mkdir()
    (assembled / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(training, "train", lambda order: order.run.mkdir(parents=True))
    monkeypatch.setattr(training.stages, "guarded_model", lambda order: str(assembled))
    order = order_of("stage1", tmp_path)
    carry_out(order)
    carry_out(order)

    assert (order.merged / "model.safetensors").read_bytes() == b"weights"
    assert (assembled / "model.safetensors").is_file()


def test_a_run_that_is_merged_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(training, "train", lambda order: done.append("train"))
    monkeypatch.setattr(
        training, "merge_into", lambda run, folder, model: (done.append("merge"), folder.mkdir())
    )
    order = RunOrder(
        "ppo", 1, tmp_path, "reference", "base", tmp_path / "run", tmp_path / "merged", None, 1
    )
    carry_out(order)
    carry_out(order)

    assert done == ["train", "merge"]
