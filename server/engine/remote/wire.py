"""What a chat endpoint sends back, as far as it is read; everything else in it is ignored."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class _Received(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


# A positive one is no log-probability (rounding aside), NaN would turn every sum into nonsense.
_Logprob = Annotated[float, Field(le=1e-3)]


class TokenLogprob(_Received):
    """A token as the endpoint writes it, with its natural-log probability."""

    token: str
    logprob: _Logprob


class ChosenToken(TokenLogprob):
    """The token that was generated, beside the likeliest ones at its position."""

    top_logprobs: tuple[TokenLogprob, ...] = ()


class Logprobs(_Received):
    """One entry a generated token."""

    content: tuple[ChosenToken, ...] | None = None


class Message(_Received):
    """The answer's words; `refusal` holds them where the model declined to answer."""

    content: str | None = None
    refusal: str | None = None


class Choice(_Received):
    """One answer; only one is ever asked for."""

    message: Message
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Usage(_Received):
    """What was billed, in tokens."""

    completion_tokens: int | None = Field(default=None, ge=0)


class Completion(_Received):
    """The answer to ``POST /chat/completions``."""

    choices: tuple[Choice, ...] = Field(min_length=1)
    model: str | None = None
    system_fingerprint: str | None = None
    usage: Usage | None = None

    @property
    def choice(self) -> Choice:
        """The one answer."""
        return self.choices[0]


class ListedModel(_Received):
    """One entry of ``GET /models``; `root` is what vLLM serves under that id."""

    id: str
    root: str | None = None


class ModelList(_Received):
    """The answer to ``GET /models``."""

    data: tuple[ListedModel, ...]
