import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from alignment.responses.errors import ClassifierFileError
from alignment.responses.protocol import LetteredResponse, Response, ResponseOutcome
from alignment.responses.roberta import RobertaClassifier, RobertaLetters

pytestmark = pytest.mark.anyio

State = Callable[[int], dict[str, Any]]
TEXTS = ("No.", "Yes, suitable for all.", "It depends")


def saved(state: Any, folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / "epoch_10.pt")
    return str(folder)


def responses(*texts: str) -> list[Response]:
    return [Response("?", "no", text=text) for text in texts]


def expected(base: Path, state: dict[str, Any], text: str) -> list[float]:
    """The three probabilities by hand, from the first token's last hidden state on."""
    from transformers import AutoTokenizer, RobertaConfig, RobertaModel

    body = RobertaModel(RobertaConfig.from_pretrained(base)).eval()
    body.load_state_dict(
        {name.removeprefix("roberta."): t for name, t in state.items() if "roberta." in name}
    )
    ids = AutoTokenizer.from_pretrained(base)(text)["input_ids"]
    with torch.no_grad():
        hidden = body(torch.tensor([ids])).last_hidden_state[0, 0].tolist()
    scores = [
        sum(weight * value for weight, value in zip(row, hidden, strict=True)) + bias
        for row, bias in zip(
            state["classifier.weight"].tolist(), state["classifier.bias"].tolist(), strict=True
        )
    ]
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


async def test_probabilities_are_those_of_the_published_layout(
    roberta_base: Path, published_state: State, tmp_path: Path
) -> None:
    state = published_state(3)
    model = RobertaClassifier.load(saved(state, tmp_path), base=str(roberta_base), batch_size=2)

    for text, found in zip(TEXTS, await model.classify(responses(*TEXTS)), strict=True):
        by_hand = expected(roberta_base, state, text)
        assert [found.safe, found.unsafe, found.no_answer] == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize(
    ("bias", "outcome"),
    [
        ([9.0, 0.0, 0.0], ResponseOutcome.SAFE),
        ([0.0, 9.0, 0.0], ResponseOutcome.UNSAFE),
        ([0.0, 0.0, 9.0], ResponseOutcome.NO_ANSWER),
    ],
)
async def test_the_classes_are_safe_unsafe_and_no_answer_in_this_order(
    roberta_base: Path,
    published_state: State,
    tmp_path: Path,
    bias: list[float],
    outcome: ResponseOutcome,
) -> None:
    state = published_state(3)
    state["classifier.weight"].zero_()
    state["classifier.bias"] = torch.tensor(bias)
    model = RobertaClassifier.load(saved(state, tmp_path), base=str(roberta_base))

    (found,) = await model.classify(responses("anything"))
    assert found.outcome is outcome


async def test_a_batch_mate_changes_nothing(
    roberta_base: Path, published_state: State, tmp_path: Path
) -> None:
    model = RobertaClassifier.load(saved(published_state(3), tmp_path), base=str(roberta_base))
    together = await model.classify(responses(*TEXTS))
    alone = [(await model.classify(responses(text)))[0] for text in TEXTS]

    assert [one.unsafe for one in together] == pytest.approx(
        [one.unsafe for one in alone], abs=1e-5
    )


async def test_a_long_answer_is_cut_at_the_models_positions(
    roberta_base: Path, published_state: State, tmp_path: Path
) -> None:
    model = RobertaClassifier.load(saved(published_state(3), tmp_path), base=str(roberta_base))
    # 34 positions, two of them below the first word's; a start and an end token.
    kept = "No, it is not suitable at all."
    assert len(kept) == 30

    long, short = await model.classify(responses(kept + " And so on." * 99, kept))
    assert long == short


async def test_an_empty_answer_is_none_without_asking_the_model(
    roberta_base: Path, published_state: State, tmp_path: Path
) -> None:
    model = RobertaClassifier.load(saved(published_state(3), tmp_path), base=str(roberta_base))
    empty, written = await model.classify(responses(" \n", "No."))

    assert empty.no_answer == 1.0
    assert written.no_answer < 1.0


async def test_old_files_with_a_table_of_positions_and_files_without_a_pooler_load(
    roberta_base: Path, published_state: State, tmp_path: Path
) -> None:
    state = published_state(3)
    old = state | {"roberta.embeddings.position_ids": torch.arange(34)[None]}
    bare = {name: tensor for name, tensor in state.items() if "pooler" not in name}
    found = [
        await RobertaClassifier.load(saved(kind, tmp_path), base=str(roberta_base)).classify(
            responses("No.")
        )
        for kind in (state, old, bare)
    ]

    assert found[0] == found[1] == found[2]


def without_head(state: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor for name, tensor in state.items() if name != "classifier.bias"}


def prefixed(state: dict[str, Any]) -> dict[str, Any]:
    return {f"module.{name}": tensor for name, tensor in state.items()}


def misshapen(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"classifier.weight": torch.zeros(5, 16)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_head, "missing: classifier.bias"),
        (prefixed, "unknown: module.classifier.bias"),
        (misshapen, r"misshapen: classifier.weight is \(5, 16\) instead of \(3, 16\)"),
        (lambda state: {"model": state}, "no flat table of tensors"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(
    roberta_base: Path,
    published_state: State,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    told: str,
) -> None:
    folder = saved(change(published_state(3)), tmp_path)

    with pytest.raises(ClassifierFileError, match=told):
        RobertaClassifier.load(folder, base=str(roberta_base))


def test_a_file_with_more_than_tensors_is_never_run(roberta_base: Path, tmp_path: Path) -> None:
    folder = saved({"classifier.bias": pytest.raises}, tmp_path)

    with pytest.raises(ClassifierFileError, match="more than tensors"):
        RobertaClassifier.load(folder, base=str(roberta_base))


def test_a_damaged_file_is_refused(roberta_base: Path, tmp_path: Path) -> None:
    (tmp_path / "epoch_10.pt").write_bytes(b"no archive at all")

    with pytest.raises(ClassifierFileError, match="damaged"):
        RobertaClassifier.load(str(tmp_path), base=str(roberta_base))


def test_a_folder_without_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClassifierFileError, match=r"no epoch_10\.pt"):
        RobertaClassifier.load(str(tmp_path))


@pytest.mark.parametrize("model", ["./nowhere", "nowhere", "a/b/c"])
def test_what_is_neither_folder_nor_hub_id_is_refused(model: str) -> None:
    with pytest.raises(ClassifierFileError, match="neither a folder nor a hub id"):
        RobertaClassifier.load(model)


def test_a_missing_base_is_told(published_state: State, tmp_path: Path) -> None:
    folder = saved(published_state(3), tmp_path / "model")

    with pytest.raises(ClassifierFileError, match="configuration and tokenizer"):
        RobertaClassifier.load(folder, base=str(tmp_path / "nowhere"))


def test_the_folder_may_be_its_own_base_and_names_the_model(
    roberta_base: Path, published_state: State, tmp_path: Path
) -> None:
    for file in roberta_base.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    model = RobertaClassifier.load(saved(published_state(3), tmp_path))
    other = RobertaClassifier.load(
        saved(published_state(3) | {"classifier.bias": torch.zeros(3)}, tmp_path)
    )

    assert tmp_path.name in model.name
    assert model.name != other.name


@pytest.mark.parametrize(("likeliest", "letter"), [*enumerate("ABCD"), (4, None)])
async def test_the_perception_classifier_names_a_letter_or_none(
    roberta_base: Path,
    published_state: State,
    tmp_path: Path,
    likeliest: int,
    letter: str | None,
) -> None:
    state = published_state(5)
    state["classifier.weight"].zero_()
    state["classifier.bias"] = torch.nn.functional.one_hot(torch.tensor(likeliest), 5).float()
    model = RobertaLetters.load(saved(state, tmp_path), base=str(roberta_base))
    four = LetteredResponse("?", ("a", "b", "c", "d"), text="It is that one.")
    three = LetteredResponse("?", ("a", "b", "c"), text="It is that one.")

    assert await model.choose([four, three]) == [letter, None if letter == "D" else letter]


async def test_five_options_are_more_than_the_perception_classifier_knows(
    roberta_base: Path, published_state: State, tmp_path: Path
) -> None:
    model = RobertaLetters.load(saved(published_state(5), tmp_path), base=str(roberta_base))

    with pytest.raises(ValueError, match="4 letters"):
        await model.choose([LetteredResponse("?", ("a", "b", "c", "d", "e"), text="E")])


async def test_a_response_without_a_text_is_refused(
    roberta_base: Path, published_state: State, tmp_path: Path
) -> None:
    model = RobertaClassifier.load(saved(published_state(3), tmp_path), base=str(roberta_base))

    with pytest.raises(ValueError, match="text"):
        await model.classify([Response("?", "no", option_mass={"yes": 1.0, "no": 0.0})])
