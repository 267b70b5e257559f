"""The seam between the pipeline and whatever runs the VLM.

A `Question` goes in (words, options, perhaps an image); an `Answer` comes out: how much
first-token probability each option got, and, from a model that carries recognition rows, what it
sees. One question costs one prefill and one token. Engines know nothing of HTTP, policy or which
option means "unsafe".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from server.concepts.recognition import Recognition

__all__ = ["Answer", "Engine", "ModelCard", "Question", "Recognition"]


@dataclass(frozen=True, slots=True)
class Question:
    """One question to the VLM.

    `text` is the user turn without any template; `options` are the answers whose first-token
    probability is wanted, e.g. ``("yes", "no")`` or ``("A", "B", "C")``; `image` is an RGB image or
    None for a question about words alone.
    """

    text: str
    options: tuple[str, ...]
    image: Image.Image | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """First-token probabilities in [0, 1], one per option (surface variants summed).

    They sum to at most 1; what is missing went to tokens that are no option at all. `recognition`
    is None when the model has no recognition rows.
    """

    option_mass: Mapping[str, float]
    recognition: Recognition | None = None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Names the origin of an answer: the model, its exact version and what it carries."""

    id: str
    version: str
    has_recognition: bool


class Engine(Protocol):
    """Runs a VLM. `start` before `ask`; `stop` releases everything and may be called twice."""

    @property
    def card(self) -> ModelCard:
        """The model that is served; valid once `start` has returned."""
        ...

    async def start(self) -> None:
        """Load the model; raises `EngineStartError` with the reason when it can't be served."""
        ...

    async def stop(self) -> None:
        """Release the model and its memory."""
        ...

    async def ready(self) -> bool:
        """Whether the engine answers a probe right now."""
        ...

    async def ask(self, question: Question) -> Answer:
        """Answer one question; concurrent calls are batched. Raises `EngineUnavailableError`."""
        ...
