import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.concepts.probes import PROBES_FILE, ProbeSet, letters, load_probes
from server.errors import DataFileError, OptionCountError, UnknownProbeError

MAX_WORDS = 25


@pytest.fixture
def content() -> dict[str, Any]:
    """The shipped file's content, to be broken or changed."""
    content: dict[str, Any] = json.loads(PROBES_FILE.read_text(encoding="utf-8"))
    return content


def write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "probes.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_there_are_the_five_judgements_each_with_a_version() -> None:
    judgements = load_probes().judgements

    assert [probe.id for probe in judgements] == [
        "social_media",
        "ai_generation",
        "forum_guidelines",
        "general_audience",
        "harm_free",
    ]
    assert len({probe.version for probe in judgements}) == 5


def test_questions_are_short_and_say_how_to_answer() -> None:
    for probe in load_probes().judgements:
        for wording in (probe.question, probe.text_question.replace("{text}", "X")):
            assert len(wording.split()) <= MAX_WORDS
            assert wording.endswith("Answer yes or no.")


def test_text_twins_ask_about_an_image_that_is_only_described() -> None:
    probe = load_probes().judgement("general_audience")

    asked = probe.about_text("a knife")

    assert asked.startswith("If an image shows a knife, ")
    assert probe.unsafe_answer == "no"
    assert probe.safe_answer == "yes"


def test_braces_in_a_judged_text_mean_nothing() -> None:
    probes = load_probes()

    assert "{options} {0} {text}" in probes.judgements[0].about_text("{options} {0} {text}")
    asked = probes.category.ask_about_text("{options}", ("cats", "dogs"))
    assert "shows {options}," in asked
    assert asked.count("A. cats") == 1


@given(st.lists(st.text(alphabet="abc xyz", min_size=1), min_size=2, max_size=26))
def test_every_option_gets_a_line_with_its_own_letter(options: list[str]) -> None:
    asked = load_probes().perception.ask(options)

    for letter, option in zip(letters(len(options)), options, strict=True):
        assert f"\n{letter}. {option}\n" in asked


@pytest.mark.parametrize("count", [0, 1, 27])
def test_too_few_or_too_many_options_are_refused(count: int) -> None:
    with pytest.raises(OptionCountError) as caught:
        load_probes().perception.ask(["x"] * count)

    assert caught.value.got == count


def test_follow_ups_end_with_none() -> None:
    assert load_probes().category.options(("Hate", "Sexual"))[-1] == "none of these"


def test_an_unknown_judgement_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownProbeError) as caught:
        load_probes().judgement("nonsense")

    assert "social_media" in caught.value.known


def test_any_change_of_wording_changes_the_version(content: dict[str, Any]) -> None:
    shipped = ProbeSet.model_validate(content).version
    versions = {shipped}
    content["judgements"][0]["question"] += " Please."
    versions.add(ProbeSet.model_validate(content).version)
    content["concept"]["none_option"] = "something else"
    versions.add(ProbeSet.model_validate(content).version)

    assert shipped == load_probes().version
    assert len(versions) == 3


def test_which_probes_are_active_is_no_wording(content: dict[str, Any]) -> None:
    content["active"] = ["harm_free", "social_media"]

    assert ProbeSet.model_validate(content).version == load_probes().version


def test_a_users_file_takes_the_place_of_the_shipped_one(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    content["judgements"] = [
        {
            "id": "own",
            "revision": "house.1",
            "question": "Is this forbidden?",
            "text_question": "Is {text} forbidden?",
            "unsafe_answer": "yes",
        }
    ]
    content["active"] = ["own"]

    probes = load_probes(write(tmp_path, content))

    assert probes.judgement("own").safe_answer == "no"
    assert probes.version != load_probes().version


def test_a_bad_file_is_refused_with_every_field_path(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    content["judgements"][1]["text_question"] = "Without a place for the text?"
    content["judgements"][2]["unsafe_answer"] = "maybe"
    content["perception"]["question"] = "Without options?"
    content["extra"] = 1

    with pytest.raises(DataFileError) as caught:
        load_probes(write(tmp_path, content))

    fields = {problem.split(":")[0] for problem in caught.value.problems}
    assert fields == {
        "judgements.1.text_question",
        "judgements.2.unsafe_answer",
        "perception.question",
        "extra",
    }
    assert any("must contain {text} 1 times" in problem for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("active", "complaint"),
    [
        (["absent"], "active names no judgement: absent"),
        (["perception"], "active names no judgement: perception"),
        (["harm_free", "harm_free"], "twice"),
        ([], "active"),
    ],
)
def test_active_must_name_judgements_once(
    tmp_path: Path, content: dict[str, Any], active: list[str], complaint: str
) -> None:
    content["active"] = active

    with pytest.raises(DataFileError, match=complaint):
        load_probes(write(tmp_path, content))


def test_an_id_used_twice_is_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    content["concept"]["id"] = "category"

    with pytest.raises(DataFileError, match="used more than once: category"):
        load_probes(write(tmp_path, content))
