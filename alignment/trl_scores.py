"""How TRL's trainers score answers of the reference VLM.

TRL 1.16 asks a model for log-probabilities rather than logits (``model(..., labels=...,
fused_lm_head=True)``), and gets them by running what it finds under `base_model` and multiplying
with the vocabulary matrix. The reference VLM has no body under that name, and its logits are more
than that product (recognition rows, `server.vlm.parts.write_rows`). So the question is answered
here, from the model's own parts. Only positions that predict a label are projected; TRL's own way
projects all of them on a CPU, prompts included.

Legend: N labelled tokens over a batch, H hidden size, V vocabulary, B rows, T positions.
"""

from types import MethodType
from typing import Any

import torch
from torch import Tensor

from alignment.policy_base import PolicyBase
from alignment.trl_data import IGNORED


def score_with_own_logits(base: PolicyBase) -> None:
    """Have the base's model answer TRL; called after the trainer has prepared the model.

    Models with a body of their own are left to TRL.
    """
    if not base.is_reference_vlm:
        return
    project = base.projection()

    def forward(self: Any, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return type(self).forward(self, *args, **kwargs)
        labels: Tensor = kwargs.pop("labels")
        kwargs.pop("num_items_in_batch", None)
        hidden_BTH = _hidden(self, **kwargs)  # noqa: N806
        predicts = labels[:, 1:] != IGNORED
        logits_NV = project(hidden_BTH[:, :-1][predicts]).float()  # noqa: N806
        return _scores(logits_NV, labels[:, 1:][predicts], predicts)

    base.model.forward = MethodType(forward, base.model)


def _hidden(
    model: Any,
    *,
    input_ids: Tensor,
    attention_mask: Tensor,
    tower_features: Tensor | None = None,
    use_cache: bool = False,
) -> Tensor:
    embeddings = model.embed_inputs(input_ids, tower_features=tower_features)
    hidden: Tensor = model.language_model.model(
        inputs_embeds=embeddings, attention_mask=attention_mask, use_cache=use_cache
    ).last_hidden_state
    return hidden


def _scores(logits_NV: Tensor, labels_N: Tensor, where_BT: Tensor) -> Any:  # noqa: N803
    """TRL's own output: numbers (B, T - 1), 0 where there is no label."""
    from trl.trainer.utils import FusedCausalLMOutput

    logprobs_NV = logits_NV.log_softmax(dim=-1)  # noqa: N806
    chosen_N = logprobs_NV.gather(-1, labels_N[:, None])[:, 0]  # noqa: N806

    def spread(values_N: Tensor) -> Tensor:  # noqa: N803
        return values_N.new_zeros(where_BT.shape).masked_scatter(where_BT, values_N)

    with torch.no_grad():
        entropy_N = torch.special.entr(logprobs_NV.exp()).sum(dim=-1)  # noqa: N806
        is_top1_N = logits_NV.argmax(dim=-1) == labels_N  # noqa: N806
    return FusedCausalLMOutput(
        loss=-chosen_N.mean(),
        log_probs=spread(chosen_N),
        entropy=spread(entropy_N),
        # Ids that are no words have logits next to minus infinity, so their mean says nothing.
        mean_logits=chosen_N.new_zeros(where_BT.shape),
        is_top1=spread(is_top1_N),
        label_mask=where_BT,
    )
