"""What training teaches a model to say, the rules read as it is meant.

Rewards and figures come from these rules, so a target they misread would be punished for being
learnt.
"""

import pytest

from alignment.responses.protocol import Response
from alignment.responses.rules import RulesClassifier
from alignment.restatements import RESTATEMENTS
from server.concepts.probes import YesNoProbe, load_probes
from server.concepts.taxonomy import load_taxonomy

PROBES = load_probes().judgements
CONCEPTS = [name for category in load_taxonomy().categories for name in category.concepts]


@pytest.mark.parametrize("verdict", ["safe", "unsafe"])
@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.id)
def test_a_restated_question_is_read_with_and_without_its_yes_or_no(
    probe: YesNoProbe, verdict: str
) -> None:
    head = (probe.unsafe_answer if verdict == "unsafe" else probe.safe_answer).capitalize()
    misread = []
    for statement in getattr(RESTATEMENTS[probe.id], verdict):
        for concept in (None, *CONCEPTS):
            it = "this picture" if concept is None else f"a picture of {concept}"
            question = probe.question if concept is None else probe.about_text(concept)
            said = statement.replace("{it}", it)
            for text in (f"{said.capitalize()}.", f"{head}, {said}.", f"{head}. It shows it."):
                response = Response(question, probe.unsafe_answer, text=text)
                if RulesClassifier().read(response).outcome != verdict:
                    misread.append(text)

    assert misread == []
