"""A safety head's word on P(unsafe) [S2], by itself and beside the yes/no answer's.

Levels and types answer one question twice, clean or not, so the head's own score is the mean of
both in logits. The head and the words that the language model answers in were trained apart and err
apart: where a calibration gives the head a share, a picture's score is the mean of both in logits
(a logarithmic opinion pool), and better than either.
"""

from server.concepts.calibration import logit, sigmoid
from server.concepts.risk import CLEAN, Risk


def head_p_unsafe(risk: Risk) -> float:
    """P(unsafe) as the head has it, in [0, 1]: not clean by level and by type, mean of logits."""
    return sigmoid((logit(risk.at_least(1)) + logit(1.0 - risk.types[CLEAN])) / 2)


def pooled(said: float, head: float | None, head_share: float) -> float:
    """P(unsafe) of the words and of the head together, in [0, 1], before calibration.

    ``sigmoid((1 - share) * logit(said) + share * logit(head))``; what was said where the head has
    no share or said nothing.
    """
    if head is None or head_share == 0.0:
        return said
    return sigmoid((1.0 - head_share) * logit(said) + head_share * logit(head))
