"""The straightforward PPO step, as most would write it: what `alignment.ppo` is measured against.

Three models with weights of their own: the policy (the base with LoRA), the reference (a frozen
copy) and the value model (another copy, with LoRA and a head). Pictures go through the tower at
every forward pass, every position is projected to the whole vocabulary, and a batch is padded to
its longest row, whatever is in it. Otherwise it is written with care: batched, without gradients
where none are needed, the value model without the projection it has no use for, and with the
losses, the optimiser and the minibatches of `alignment`, so that both learn the same from the same
answers. A test holds losses and gradients against each other.

Legend in `alignment.experience`; V vocabulary.
"""
# Tensor names carry their shapes.
# ruff: noqa: N803, N806, N815

import copy
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from peft import get_peft_model
from torch import Tensor, nn

from alignment.advantages import Advantages
from alignment.experience import Experience, Sampled
from alignment.losses import kl_loss, policy_loss, value_loss
from alignment.masked import masked_mean
from alignment.optimizer import MasterAdamW
from alignment.policy_base import PolicyBase
from alignment.policy_config import LoraShape, PolicyConfig
from alignment.policy_inputs import Encoded, EncodedPrompt, PaddedBatch, pad
from alignment.policy_roles import lora_config
from alignment.policy_value import ValueHead
from alignment.policy_vision import PictureReader
from alignment.ppo_recipe import PpoRecipe
from alignment.prompts import AlignmentPrompt
from alignment.supervised import schedule

_ADAPTER = "default"


class TokenScores(NamedTuple):
    """Of every answer token, (B, A): its log-probability and the entropy of where it came from."""

    logprobs_BA: Tensor
    entropy_BA: Tensor


class Learned(NamedTuple):
    """Means over a step's minibatches; gradient norms are before clipping."""

    policy_loss: float
    value_loss: float
    policy_grad_norm: float
    value_grad_norm: float


class ThreeModels:
    """Policy, reference and value model, each a copy of `base`, which must carry no adapter yet."""

    def __init__(self, base: PolicyBase, config: PolicyConfig) -> None:
        self.base = base
        self.config = config
        self.policy = _with_lora(base, config.policy)
        self.reference = copy.deepcopy(base.model)
        self.value = _with_lora(base, config.value)
        hidden_size = base.model.config.get_text_config().hidden_size
        self.value_head = ValueHead(hidden_size).to(base.model.device)

    def trainable(self, part: str) -> dict[str, nn.Parameter]:
        """The parameters to train of "policy", or of "value" with its head, by name."""
        if part == "policy":
            return _lora_of(self.policy)
        head = {f"value_head.{name}": p for name, p in self.value_head.named_parameters()}
        return _lora_of(self.value) | head

    def take(self, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Copy adapters and head from `alignment.policy.Policy.trainable`, by part."""
        for part, tensors in weights.items():
            own = self.trainable(part)
            with torch.no_grad():
                for name, tensor in tensors.items():
                    key = name.removeprefix("base_model.model.")
                    own[key.replace(f".{part}.", f".{_ADAPTER}.")].copy_(tensor)

    def modules(self) -> tuple[nn.Module, ...]:
        """Everything that holds weights."""
        return (self.policy, self.reference, self.value, self.value_head)

    def encode(self, prompts: Sequence[AlignmentPrompt], pictures: PictureReader) -> Encoded:
        """Tokens and pixels; no tower."""
        return Encoded(tuple(self._encode(prompt, pictures) for prompt in prompts))

    @torch.no_grad()
    def sample(self, encoded: Encoded, *, max_new_tokens: int) -> int:
        """Draw an answer to every prompt, all in one batch; returns how many tokens were drawn."""
        batch = self._pad(encoded)
        self.policy.eval()
        written = self.policy.generate(
            **_inputs(batch),
            do_sample=True,
            temperature=self.config.temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=max_new_tokens,
        )
        answers = written[:, batch.input_ids_BT.shape[1] :]
        ends = torch.tensor(self.base.end_ids, device=answers.device)
        ended = torch.isin(answers, ends).int().cumsum(dim=1)
        # A row's own end token counts, padding behind it doesn't.
        return int((ended == 0).sum()) + int((ended.amax(dim=1) > 0).sum())

    @torch.no_grad()
    def score(self, encoded: Encoded, sampled: Sampled, *, rows_at_once: int) -> Experience:
        """Score answers as all three models."""
        for model in (self.policy, self.value):
            model.eval()
        parts = []
        for rows in torch.split(torch.arange(len(encoded)), rows_at_once):
            taken = encoded.take(rows.tolist())
            answers, mask = sampled.answer_ids_BA[rows], sampled.mask_BA[rows]
            parts.append(
                (
                    self.logprobs_of(self.policy, taken, answers, mask).logprobs_BA,
                    self.logprobs_of(self.reference, taken, answers, mask).logprobs_BA,
                    self.values_of(taken, answers, mask),
                )
            )
        logprobs, ref_logprobs, values = (torch.cat(column) for column in zip(*parts, strict=True))
        return Experience(sampled, logprobs, ref_logprobs, values)

    def logprobs_of(
        self, model: Any, encoded: Encoded, answer_ids_BA: Tensor, mask_BA: Tensor
    ) -> TokenScores:
        """One pass of a whole model, with the logits of every position; 0 on padding."""
        batch = self._pad(encoded, answer_ids_BA, mask_BA)
        logits_BTV = model(**self._forward_inputs(batch), use_cache=False).logits
        first = batch.answer_start - 1
        logits_BAV = logits_BTV[:, first : first + mask_BA.shape[1]].float()
        logprobs_BAV = (logits_BAV / self.config.temperature).log_softmax(dim=-1)
        chosen_BA = logprobs_BAV.gather(-1, answer_ids_BA[..., None])[..., 0]
        entropy_BA = -(logprobs_BAV.exp() * logprobs_BAV.clamp(min=-1e4)).sum(dim=-1)
        return TokenScores(chosen_BA * mask_BA, entropy_BA * mask_BA)

    def values_of(self, encoded: Encoded, answer_ids_BA: Tensor, mask_BA: Tensor) -> Tensor:
        """Values (B, A), 0 on padding."""
        batch = self._pad(encoded, answer_ids_BA, mask_BA)
        inputs = self._forward_inputs(batch)
        if self.base.is_reference_vlm:
            ids, pixels = inputs.pop("input_ids"), inputs.pop("pixel_values", None)
            inputs["inputs_embeds"] = self.value.embed_inputs(ids, pixel_values=pixels)
            body = self.value.language_model.model
        else:
            body = self.value.base_model
        hidden_BTH = body(**inputs, use_cache=False).last_hidden_state
        first = batch.answer_start - 1
        values_BA: Tensor = self.value_head(hidden_BTH[:, first : first + mask_BA.shape[1]])
        return values_BA * mask_BA

    def _encode(self, prompt: AlignmentPrompt, pictures: PictureReader) -> EncodedPrompt:
        has_picture = prompt.example_id is not None
        text = self.base.renderer.prompt(prompt.text, with_image=has_picture)
        images = None if prompt.example_id is None else [[pictures(prompt.example_id, prompt.view)]]
        device = self.base.model.device
        inputs = self.base.processor(
            text=[text],
            images=images,
            return_tensors="pt",
            add_special_tokens=not self.base.renderer.starts_with_bos(text),
        ).to(device)
        ids = inputs.pop("input_ids")
        inputs.pop("attention_mask", None)
        per_token = {
            name: inputs.pop(name)[0] for name in [*inputs] if inputs[name].shape == ids.shape
        }
        dtype = self.base.model.dtype
        per_picture = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for name, tensor in inputs.items()
        }
        return EncodedPrompt(ids[0], per_token, per_picture)

    def _pad(
        self,
        encoded: Encoded,
        answer_ids_BA: Tensor | None = None,
        mask_BA: Tensor | None = None,
    ) -> PaddedBatch:
        return pad(encoded, pad_id=self.base.pad_id, answer_ids_BA=answer_ids_BA, mask_BA=mask_BA)

    def _forward_inputs(self, batch: PaddedBatch) -> dict[str, Any]:
        inputs = _inputs(batch)
        if self.base.is_reference_vlm or not hasattr(self.base.model.base_model, "get_rope_index"):
            inputs["position_ids"] = batch.position_ids_BT
        return inputs


class ThreeModelLearner:
    """Epochs of minibatches over a rollout, as `alignment.ppo_learner` makes them."""

    def __init__(self, models: ThreeModels, recipe: PpoRecipe) -> None:
        self._models = models
        self._recipe = recipe
        self._optimizers = {
            part: MasterAdamW(models.trainable(part), recipe.weight_decay)
            for part in ("policy", "value")
        }

    def learn(
        self, encoded: Encoded, experience: Experience, advantages: Advantages, step: int
    ) -> Learned:
        """Pass over the answers `recipe.epochs` times."""
        recipe = self._recipe
        rate = schedule(step, recipe.steps, recipe.warmup_steps)
        for model in (self._models.policy, self._models.value):
            _train_decoder(self._models.base, model)
        made: list[Learned] = []
        for epoch in range(recipe.epochs):
            rows = list(range(len(encoded)))
            random.Random(f"{recipe.seed}:{step}:{epoch}").shuffle(rows)  # noqa: S311 - order
            for first in range(0, len(rows), recipe.minibatch_size):
                minibatch = rows[first : first + recipe.minibatch_size]
                losses = self._accumulate(encoded, experience, advantages, minibatch)
                norms = {
                    part: self._optimizers[part].step(
                        lr=lr * rate, max_grad_norm=recipe.max_grad_norm
                    )
                    for part, lr in (("policy", recipe.lr), ("value", recipe.value_lr))
                }
                made.append(Learned(*losses, norms["policy"], norms["value"]))
        return Learned(*(sum(column) / len(made) for column in zip(*made, strict=True)))

    def _accumulate(
        self,
        encoded: Encoded,
        experience: Experience,
        advantages: Advantages,
        minibatch: Sequence[int],
    ) -> tuple[float, float]:
        """Add up the gradients of a minibatch; returns its policy and value loss."""
        recipe, models, sampled = self._recipe, self._models, experience.sampled
        tokens = int(sampled.mask_BA[list(minibatch)].sum())
        total_policy, total_value = 0.0, 0.0
        for first in range(0, len(minibatch), recipe.micro_batch_size):
            part = list(minibatch[first : first + recipe.micro_batch_size])
            rows = torch.tensor(part)
            mask_BA, answers_BA = sampled.mask_BA[rows], sampled.answer_ids_BA[rows]
            taken = encoded.take(part)
            share = float(mask_BA.sum()) / tokens
            scores = models.logprobs_of(models.policy, taken, answers_BA, mask_BA)
            policy = policy_loss(
                scores.logprobs_BA,
                experience.logprobs_BA[rows],
                advantages.advantages_BA[rows],
                mask_BA,
                clip=recipe.clip,
            )
            value = value_loss(
                models.values_of(taken, answers_BA, mask_BA),
                experience.values_BA[rows],
                advantages.returns_BA[rows],
                mask_BA,
                clip=recipe.value_clip,
            )
            loss = policy.loss + recipe.value_coef * value.loss
            if recipe.kl_in == "loss":
                loss = loss + recipe.kl_coef * kl_loss(
                    scores.logprobs_BA,
                    experience.ref_logprobs_BA[rows],
                    mask_BA,
                    estimator=recipe.kl_estimator,
                )
            if recipe.entropy_coef:
                loss = loss - recipe.entropy_coef * masked_mean(scores.entropy_BA, mask_BA)
            (loss * share).backward()  # type: ignore[no-untyped-call]
            total_policy += share * float(policy.loss.detach())
            total_value += share * float(value.loss.detach())
        return total_policy, total_value


def _with_lora(base: PolicyBase, shape: LoraShape) -> Any:
    """A copy of the base's model with one adapter on its language model."""
    model = copy.deepcopy(base.model)
    get_peft_model(
        model, lora_config(base, shape), adapter_name=_ADAPTER, autocast_adapter_dtype=False
    )
    dtype = next(base.model.parameters()).dtype
    for parameter in _lora_of(model).values():
        parameter.data = parameter.data.to(dtype)
    return model


def _lora_of(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if ".lora_" in name}


def _train_decoder(base: PolicyBase, model: nn.Module) -> None:
    """Dropout, where a recipe has any, acts on the language model alone."""
    model.eval()
    model.get_submodule(base.decoder_name).train()


def _inputs(batch: PaddedBatch) -> dict[str, Any]:
    """Ids, mask and the pixels of those rows that have a picture."""
    with_picture = [prompt.per_picture for prompt in batch.prompts if prompt.per_picture]
    names = with_picture[0] if with_picture else {}
    return {
        "input_ids": batch.input_ids_BT,
        "attention_mask": batch.attention_mask_BT,
        **batch.per_token,
        **{name: torch.cat([one[name] for one in with_picture]) for name in names},
    }
