"""What alignment asks a VLM: a question about a picture or about words, and which answer is right.

After [S1]: every picture goes with one of the five yes/no questions, and only the label is known,
no target answer. Questions that are not yes/no have no right answer here: they earn no reward and
keep general ability by their KL alone.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class AlignmentPrompt:
    """One prompt of a rollout.

    - `id` is unique within a data set and names what is asked about what.
    - `text` is the user turn without any template.
    - `example_id` names the picture it is about, None for words alone; `view` which augmented view
      of it is shown.
    - `right` is what a right answer says of the subject; None for a question without one.
    - `unsafe_answer` is the answer that says "unsafe"; None for a question that is not yes/no.
    """

    id: str
    text: str
    example_id: str | None
    right: Literal["safe", "unsafe"] | None = None
    unsafe_answer: Literal["yes", "no"] | None = None
    view: int = 0

    def __post_init__(self) -> None:
        if (self.right is None) != (self.unsafe_answer is None):
            raise ValueError("a prompt has both a right answer and a polarity, or neither")
