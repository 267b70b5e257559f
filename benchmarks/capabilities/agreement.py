"""Whether one token says what a written answer says: the price of serving S1's question cheaply."""

from collections.abc import Sequence

import numpy as np

from benchmarks.capabilities.schema import NO_ANSWER, Agreement, AnswerRow
from benchmarks.capabilities.tasks import Suite
from benchmarks.resampling import CountBootstrap

_Key = tuple[str, ...]


def agreement_of(
    rows: Sequence[AnswerRow], *, suite: Suite, seed: int, resamples: int
) -> Agreement | None:
    """Agreement in one suite, over questions put in both modes; None when there are none.

    Letters agree when the names behind them do. Open answers have no outcome to compare.
    """
    closed = [row for row in rows if row.suite == suite and row.kind != "open"]
    by_token = {_key(row): row for row in closed if row.mode == "token"}
    both = [
        (token, row)
        for row in closed
        if row.mode == "written" and (token := by_token.get(_key(row))) is not None
    ]
    if not both:
        return None
    bootstrap = CountBootstrap([token.group for token, _ in both], seed=seed, resamples=resamples)
    answered = np.array([NO_ANSWER not in (one.outcome, two.outcome) for one, two in both])
    same = np.array([said(one) == said(two) for one, two in both])
    return Agreement(
        suite=suite,
        questions=len(both),
        answers=int(answered.sum()),
        agree=(bootstrap.sum(same & answered) / bootstrap.sum(answered)).share(),
    )


def said(row: AnswerRow) -> str:
    """What the answer says: the name behind a letter where there is one, else the outcome."""
    return name_behind(row, row.outcome) or row.outcome


def name_behind(row: AnswerRow, letter: str) -> str | None:
    """The name that `letter` stands for in the row's question; None for anything else."""
    if row.kind != "lettered" or len(letter) != 1:
        return None
    index = ord(letter) - ord("A")
    return row.names[index] if 0 <= index < len(row.names) else None


def _key(row: AnswerRow) -> _Key:
    return (row.modality, row.benchmark, row.subtask, row.subject, row.question)
