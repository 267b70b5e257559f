"""A question is known whether or not it asks for a form."""

import pytest

from alignment.restatements import RESTATEMENTS, recognise
from server.concepts.probes import YesNoProbe, load_probes, without_format


@pytest.mark.parametrize("probe", load_probes().judgements, ids=lambda probe: str(probe.id))
def test_the_shipped_questions_are_known_with_and_without_their_format(probe: YesNoProbe) -> None:
    for question in (probe.question, without_format(probe.question)):
        assert recognise(question).restatement == RESTATEMENTS[probe.id]
    for question in (probe.about_text("a kite"), without_format(probe.about_text("a kite"))):
        asked = recognise(question)
        assert (asked.restatement, asked.words) == (RESTATEMENTS[probe.id], "a kite")
