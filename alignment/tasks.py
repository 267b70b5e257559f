"""What the reference VLM is taught in pretraining and instruction tuning: turns about pictures.

A `Turn` is one user message, the answer to learn (or none) and what its rows should recognise.
Safety questions about *pictures* are asked without an answer to learn: only recognition is taught
there. The yes/no judgement of pictures is left to alignment, so that the base shows the modality
gap of [S1] honestly. Judging *words* is taught, because the packaged language model's own judgement
of concept names is chance.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from alignment.data.manifest import Example
from server.concepts.probes import ProbeSet
from server.concepts.taxonomy import Taxonomy

CAPTION_REQUESTS = (
    "Describe this picture.",
    "What is in this picture?",
    "Say in a few words what this picture shows.",
    "Give this picture a caption.",
)
_PRESENCE_QUESTIONS = (
    "Is there {thing} in this picture? Answer yes or no.",
    "Does this picture show {thing}? Answer yes or no.",
)
_STYLE_QUESTION = "Is this a photo, an icon, an emoji or a screenshot? Answer with one word."


@dataclass(frozen=True, slots=True)
class _Paraphrase:
    question: str
    unsafe_answer: str


# Several phrasings of both polarities, so that judging words is learnt and not one sentence.
_TEXT_PARAPHRASES = (
    _Paraphrase("Would a moderator take down an image of {text}? Answer yes or no.", "yes"),
    _Paraphrase("Is an image of {text} harmful? Answer yes or no.", "yes"),
    _Paraphrase("Should an image that shows {text} carry a warning? Answer yes or no.", "yes"),
    _Paraphrase("Is it okay to show {text} to children? Answer yes or no.", "no"),
    _Paraphrase("Is an image of {text} harmless? Answer yes or no.", "no"),
    _Paraphrase("Could an image of {text} go on a family website? Answer yes or no.", "no"),
)
_TEXT_FORMS = ("{name}", "{name}", "a photo of {name}", "an icon of {name}", "a drawing of {name}")


@dataclass(frozen=True, slots=True)
class Turn:
    """One message and what to learn from it.

    `answer` is None where nothing is to be said; `concept` is the concept shown, or None for
    "none".
    """

    prompt: str
    answer: str | None
    concept: str | None


class TurnMaker:
    """Draws turns about pictures and about words. All randomness comes from the `rng` given."""

    def __init__(self, train: Sequence[Example], probes: ProbeSet, taxonomy: Taxonomy) -> None:
        self._probes = probes
        self._concepts = taxonomy.concept_names
        self._safe_names = sorted({example.concept for example in train if not example.unsafe})
        self._safe_captions = sorted(
            {one.caption for one in train if one.caption and not one.unsafe}
        )
        captions = {one.caption: one.concept for one in train if one.caption and one.unsafe}
        self._unsafe_captions = sorted(captions.items())
        self._styles = {example.style for example in train}

    def caption(self, example: Example, rng: random.Random) -> Turn:
        """Ask for a caption."""
        return Turn(rng.choice(CAPTION_REQUESTS), _sentence(example.caption), _shown(example))

    def about_picture(self, example: Example, count: int, rng: random.Random) -> list[Turn]:
        """One safety question without an answer to learn, then `count - 1` answered turns."""
        turns = [Turn(rng.choice(self._probes.judgements).question, None, _shown(example))]
        for _ in range(count - 1):
            make = rng.choices(
                (self.caption, self._perception, self._presence, self._style),
                weights=(0.35, 0.35, 0.25, 0.05),
            )[0]
            turns.append(make(example, rng))
        return turns

    def about_words(self, count: int, rng: random.Random) -> list[Turn]:
        """Judge words alone: unsafe and safe things in equal parts, many phrasings."""
        return [self._judged_words(rng) for _ in range(count)]

    def _perception(self, example: Example, rng: random.Random) -> Turn:
        """A lettered question: the right name among three others, letters balanced."""
        others: Sequence[str] = self._concepts
        if not example.unsafe and rng.random() < 0.7:
            others = self._safe_names
        options = rng.sample([name for name in others if name != example.concept], 3)
        right = rng.randrange(4)
        options.insert(right, example.concept)
        letters = "ABCD"
        listed = "\n".join(
            f"{letter}. {name}" for letter, name in zip(letters, options, strict=True)
        )
        prompt = self._probes.perception.question.format(options=listed)
        return Turn(prompt, letters[right], _shown(example))

    def _presence(self, example: Example, rng: random.Random) -> Turn:
        present = rng.random() < 0.5
        thing = example.concept
        if not present:
            others = self._safe_names if rng.random() < 0.5 else self._concepts
            thing = rng.choice([name for name in others if name != example.concept])
        question = rng.choice(_PRESENCE_QUESTIONS).format(thing=thing)
        return Turn(question, "Yes" if present else "No", _shown(example))

    def _style(self, example: Example, rng: random.Random) -> Turn:
        del rng
        return Turn(_STYLE_QUESTION, example.style.capitalize(), _shown(example))

    def _judged_words(self, rng: random.Random) -> Turn:
        unsafe = rng.random() < 0.5
        concept: str | None = None
        if unsafe and self._unsafe_captions and rng.random() < 0.2:
            text, concept = rng.choice(self._unsafe_captions)
        elif unsafe:
            concept = rng.choice(self._concepts)
            text = rng.choice(_TEXT_FORMS).format(name=_cased(concept, rng))
        elif self._safe_captions and rng.random() < 0.3:
            text = rng.choice(self._safe_captions)
        else:
            name = _cased(rng.choice(self._safe_names), rng)
            text = rng.choice(_TEXT_FORMS).format(name=name)
        if rng.random() < 0.5:
            probe = rng.choice(self._probes.judgements)
            judged = _Paraphrase(probe.text_question, probe.unsafe_answer)
        else:
            judged = rng.choice(_TEXT_PARAPHRASES)
        says_yes = unsafe == (judged.unsafe_answer == "yes")
        return Turn(judged.question.format(text=text), "Yes" if says_yes else "No", concept)


def _shown(example: Example) -> str | None:
    return example.concept if example.unsafe else None


def _sentence(caption: str) -> str:
    return caption[:1].upper() + caption[1:] + "."


def _cased(name: str, rng: random.Random) -> str:
    """Names come in any case from users; the paper's own capitals must not give them away."""
    return rng.choice((name, name.lower(), name.capitalize()))
