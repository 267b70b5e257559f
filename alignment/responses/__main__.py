"""`python -m alignment.responses FILE`: how a classifier does on labelled answers."""

import asyncio
import sys
from pathlib import Path
from typing import Literal

from cyclopts import App

from alignment.responses.factory import classifier as response_classifier
from alignment.responses.factory import letter_classifier
from alignment.responses.labelled import (
    LabelledAnswer,
    LabelledLetter,
    Score,
    read_labelled,
    score_answers,
    score_letters,
)
from server.errors import SightwardError

app = App(name="responses", help="Measure response classifiers on labelled answers.")

_TEXT_CHARS = 100


@app.default
def measure(
    file: Path,
    *,
    classifier: Literal["rules", "learned", "roberta"] = "rules",
    model: str | None = None,
    base: str | None = None,
    wrong: bool = False,
) -> None:
    """Print accuracy and confusion, for each split and for all.

    Parameters
    ----------
    file
        Labelled answers, one JSON object a line; alignment.responses.labelled tells the fields.
    classifier
        What reads the answers. What is learned is cross-validated on the file.
    model
        For roberta: a folder or a hub id.
    base
        For roberta: where the configuration and the tokenizer of RoBERTa-base are.
    wrong
        Also list the answers that were taken for something else.
    """
    items = read_labelled(file)
    splits = sorted({item.split for item in items})
    for split in (*splits, "all"):
        chosen = [item for item in items if split in {item.split, "all"}]
        name, score = _score(chosen, classifier, model, base)
        _print(f"{name}, {split}", score)
        if wrong and split == "all":
            for item, said in score.wrong:
                text = " ".join(item.text.split())[:_TEXT_CHARS]
                print(f"  {item.split} {item.style}: {item.label}, taken for {said}: {text!r}")


def _score(
    items: list[LabelledAnswer | LabelledLetter], name: str, model: str | None, base: str | None
) -> tuple[str, Score]:
    answers = [item for item in items if isinstance(item, LabelledAnswer)]
    if name == "learned":
        from alignment.responses.learned import cross_validated

        return "learned, cross-validated", cross_validated(answers)
    if answers:
        reader = response_classifier(name, model=model, base=base)
        return reader.name, asyncio.run(score_answers(reader, answers))
    lettered = [item for item in items if isinstance(item, LabelledLetter)]
    chooser = letter_classifier(name, model=model, base=base)
    return chooser.name, asyncio.run(score_letters(chooser, lettered))


def _print(title: str, score: Score) -> None:
    right = sum(count for (label, said), count in score.confusion.items() if label == said)
    print(f"{title}: {right} of {score.count} right, accuracy {score.accuracy:.4f}")
    names = sorted({name for pair in score.confusion for name in pair})
    width = max(map(len, names)) + 2
    print("  label \\ said".ljust(width + 12) + "".join(name.rjust(width) for name in names))
    for label in names:
        cells = (str(score.confusion[label, said]).rjust(width) for said in names)
        print(f"  {label}".ljust(width + 12) + "".join(cells))


def main() -> None:
    """Run the command line; errors raised on purpose are one line, not a traceback."""
    try:
        app()
    except SightwardError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
