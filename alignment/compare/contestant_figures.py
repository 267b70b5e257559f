"""All figures of one model, from its record files."""

import json
from collections.abc import Mapping, Set
from pathlib import Path

from alignment.compare.plan import INSIDE, OUTSIDE, Contestant
from alignment.compare.records import Record, read_record
from alignment.compare.second_judge import question_of, read_again
from alignment.compare.verdicts import mean_of, prefixed, verdict_figures, verdicts_of
from alignment.informativeness import informativeness
from alignment.responses.protocol import ResponseClassifier
from server.concepts.probes import load_probes

ModelFigures = Mapping[str, float | None]

_BUILTIN = "builtin"
_KEPT_NAME = "second-judge.json"


def contestant_figures(
    contestant: Contestant, judge: ResponseClassifier, *, outside_ids: Set[str] | None
) -> ModelFigures:
    """One model's figures by name; `figure_columns` has what they mean.

    `outside_ids` are the examples of the other domain where they are all in the measured split too;
    else its own record is read, where there is one. Raises RecordFileError.
    """
    record = read_record(contestant.record(INSIDE))
    figures: dict[str, float | None] = {}
    pictures = record.part(suite="alignment", mode="token", modality="image")
    figures |= prefixed("images", verdict_figures(verdicts_of(pictures)))
    words = record.part(suite="text", mode="token", modality="words")
    figures |= prefixed("text", verdict_figures(verdicts_of(words)))
    figures["gap"] = _gap(record)
    figures["gap_balanced"] = _difference(figures["text_balanced"], figures["images_balanced"])
    figures |= _written(record, judge, contestant.folder / _KEPT_NAME)
    figures |= _general(record)
    figures["mean"] = mean_of(
        [figures["images_balanced"], figures["diversity"], figures["general"]]
    )
    figures |= _risk(contestant.risk)
    outside = None
    if outside_ids is not None:
        outside = [answer for answer in pictures if answer.subject in outside_ids]
    elif contestant.record(OUTSIDE).is_file():
        other = read_record(contestant.record(OUTSIDE))
        outside = list(other.part(suite="alignment", mode="token", modality="image"))
    if outside is not None:
        figures |= prefixed("outside", verdict_figures(verdicts_of(outside)))
    return figures


def _written(record: Record, judge: ResponseClassifier, kept: Path) -> dict[str, float | None]:
    probes = load_probes()
    answers = record.part(suite="alignment", mode="written", modality="image")
    reading = read_again(answers, judge, kept=kept, probes=probes)
    found = prefixed("written", verdict_figures(verdicts_of(answers)))
    found |= prefixed("second", verdict_figures(reading.verdicts))
    found["judges_agree"] = reading.agreement
    found["informativeness"] = mean_of(
        [informativeness(one.text or "", question_of(one, probes)) for one in answers]
    )
    varied = next((one for one in record.figures.diversity if one.suite == "alignment"), None)
    found["diversity"] = None if varied is None else varied.one_minus_self_bleu
    found["length_tokens"] = None if varied is None else varied.mean_tokens
    return found


def _risk(file: Path | None) -> dict[str, float | None]:
    """What the safety modules say of pictures; nothing for a model without them."""
    if file is None:
        return {}
    (read,) = json.loads(file.read_text(encoding="utf-8")).values()
    return {
        "level_right": read["level_accuracy"],
        "level_balanced": read["level_balanced"],
        "type_right": read["type_accuracy"],
        "type_balanced": read["type_balanced"],
        "head_auc": read["auc"],
    }


def _general(record: Record) -> dict[str, float | None]:
    scores = {
        one.mode: one.score.value
        for one in record.figures.general
        if one.benchmark == _BUILTIN and not one.subtask
    }
    return {"general": scores.get("token"), "general_written": scores.get("written")}


def _gap(record: Record) -> float | None:
    """S1's: on unsafe subjects, words beside a blank picture against pictures."""
    return next(
        (
            gap.counted_wrong.value
            for gap in record.figures.gaps
            if (gap.mode, gap.words) == ("token", "blank")
        ),
        None,
    )


def _difference(minuend: float | None, subtrahend: float | None) -> float | None:
    return None if minuend is None or subtrahend is None else minuend - subtrahend
