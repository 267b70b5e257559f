"""A parser for written answers: what they say, by rules alone, and the same words every time.

The order of the rules stands in `verdict` for yes/no answers and in `letters` for lettered ones.
English only: an answer in another language is no answer, as the questions are asked in English.
"""

from alignment.responses.rules.letters import RuleLetters
from alignment.responses.rules.verdict import RulesClassifier

__all__ = ["RuleLetters", "RulesClassifier"]
