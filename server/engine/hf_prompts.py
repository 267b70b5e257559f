"""From a question to the prompt text that a model was trained on.

A checkpoint's own chat template decides. Checkpoints older than chat templates get the format that
their family published, from the small table here; a model with neither is refused, since a question
in a format of our own making would measure the format.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.engine.control_tokens import ControlTokens
from server.errors import EngineStartError, UnusableAnswerError

_SENTINEL = "sightward asks"


@dataclass(frozen=True, slots=True)
class FamilyFormat:
    """A family's published one-turn prompt; ``{text}`` stands for the question.

    `with_image` has the picture's place as ``{image}``, or none where the processor puts the
    picture in by itself. `without_image` is None where the family can't be asked without one.
    """

    with_image: str
    without_image: str | None


FAMILY_FORMATS: Mapping[str, FamilyFormat] = {
    # LLaVA-1.5's conversation format as the model card of llava-hf states it.
    "llava": FamilyFormat("USER: {image}\n{text} ASSISTANT:", "USER: {text} ASSISTANT:"),
    # InstructBLIP takes the instruction as it is; its picture goes through the Q-Former.
    "instructblip": FamilyFormat("{text}", None),
}
"""Formats by `model_type`, for checkpoints that carry no chat template."""


class PromptRenderer:
    """Writes prompts for one checkpoint.

    `processor` is the checkpoint's own (a `ProcessorMixin`), `model_type` its configuration's.
    Raises `EngineStartError` when nothing says how the model is asked.
    """

    def __init__(self, processor: Any, model_type: str) -> None:
        tokenizer = processor.tokenizer
        self._image_token = _image_token(processor)
        self._tokenizer = tokenizer
        self._template = _chat_template(processor) or _chat_template(tokenizer)
        self._family = None if self._template else FAMILY_FORMATS.get(model_type)
        if self._template is None and self._family is None:
            raise EngineStartError(
                f"the checkpoint has no chat template, and no prompt format is known for "
                f"{model_type!r} models"
            )
        self._takes_parts = self._template is not None and self._template_reads_parts()
        self._bos = getattr(tokenizer, "bos_token", None)
        # The Q-Former reads the question too, with marks of its own.
        second = getattr(processor, "qformer_tokenizer", None)
        marks = () if second is None else tuple(second.all_special_tokens)
        self._controls = ControlTokens(
            tokenizer, *([self._image_token] if self._image_token else []), *marks
        )

    def prompt(self, text: str, *, with_image: bool) -> str:
        """The whole prompt, control tokens spelt in `text` defused.

        Raises `UnusableAnswerError` for a question without a picture to a model that needs one.
        """
        words = self._controls.defuse(text)
        if self._family is not None:
            form = self._family.with_image if with_image else self._family.without_image
            if form is None:
                raise UnusableAnswerError("this model can't be asked without a picture")
            return form.replace("{image}", self._image_token or "").replace("{text}", words)
        return self._by_template(words, with_image=with_image, in_parts=self._takes_parts)

    def starts_with_bos(self, prompt: str) -> bool:
        """Whether the template wrote the first token already, so that no second one is added."""
        return bool(self._bos) and prompt.startswith(str(self._bos))

    def _by_template(self, words: str, *, with_image: bool, in_parts: bool) -> str:
        content: list[dict[str, str]] | str
        if in_parts:
            picture = [{"type": "image"}] if with_image else []
            content = [*picture, {"type": "text", "text": words}]
        else:
            content = f"{self._image_token}\n{words}" if with_image else words
        rendered: str = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=self._template,
            add_generation_prompt=True,
            tokenize=False,
            # A model that can "think" first must not: its first token has to be the answer.
            enable_thinking=False,
        )
        return rendered

    def _template_reads_parts(self) -> bool:
        """Whether the template takes content as a list of parts, or as one string."""
        from jinja2.exceptions import TemplateError

        try:
            rendered = self._by_template(_SENTINEL, with_image=True, in_parts=True)
        except (TypeError, TemplateError):  # e.g. a list joined to a string
            return False
        # A template for strings writes the list as Python shows it.
        return _SENTINEL in rendered and f"'{_SENTINEL}'" not in rendered


def _chat_template(owner: Any) -> str | None:
    stated = getattr(owner, "chat_template", None)
    if isinstance(stated, Mapping):
        stated = stated.get("default")
    return str(stated) if stated else None


def _image_token(processor: Any) -> str | None:
    token = getattr(processor, "image_token", None)
    if token is None:
        token = getattr(processor.tokenizer, "image_token", None)
    return None if token is None else str(getattr(token, "content", token))
