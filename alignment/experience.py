"""One batch of rollouts, as tensors: what passes from sampling to rewards, advantages and losses.

Legend for tensor names: B answers in the batch, A positions of the longest answer. Answers are
padded on the right; `mask_BA` is 1 on every generated token, the end token included, and 0 on
padding. A value or a log-probability at position t belongs to the token at t: it is computed from
the prompt and the tokens before t.
"""

from dataclasses import dataclass

from torch import Tensor

from alignment.prompts import AlignmentPrompt


@dataclass(frozen=True, slots=True)
class Sampled:
    """Answers as they were drawn.

    `answer_ids_BA` int64, `mask_BA` bool, `has_end_B` bool (False: cut at the length limit),
    `sampler_logprobs_BA` float32 as the sampler saw them (after temperature). `texts` are without
    end token.
    """

    prompts: tuple[AlignmentPrompt, ...]
    answer_ids_BA: Tensor  # noqa: N815
    mask_BA: Tensor  # noqa: N815
    has_end_B: Tensor  # noqa: N815
    sampler_logprobs_BA: Tensor  # noqa: N815
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Experience:
    """Sampled answers with everything that stays fixed while they are learnt from.

    Log-probabilities are natural and computed by the training model, not by the sampler: `logprobs`
    by the policy that drew the answers, `ref_logprobs` by the reference. `values_BA` are the value
    model's. All float32.
    """

    sampled: Sampled
    logprobs_BA: Tensor  # noqa: N815
    ref_logprobs_BA: Tensor  # noqa: N815
    values_BA: Tensor  # noqa: N815
