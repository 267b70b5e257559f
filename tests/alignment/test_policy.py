"""One base in three roles, whatever its architecture; padding, roles, gradients, checkpointing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from alignment.policy import Policy
from alignment.policy_base import PolicyBase, base_of
from alignment.policy_config import LoraShape, PolicyConfig
from alignment.policy_errors import PictureKindError, PolicyModelError
from alignment.policy_inputs import Encoded
from alignment.prompts import AlignmentPrompt
from server.errors import OptionWithoutTokenError
from server.vlm.tower import CHANNELS

ROUNDING = 2e-4
LENGTHS = (5, 1, 3, 7)


def prompt(number: int, *, picture: bool = True) -> AlignmentPrompt:
    text = " ".join(["Is this fine?", *["Look closely."] * number, "Answer yes or no."])
    return AlignmentPrompt(f"q{number}", text, f"p{number}" if picture else None)


PROMPTS = (prompt(0), prompt(3, picture=False), prompt(2), prompt(1))


@pytest.fixture(scope="module", params=["llava", "qwen2_vl", "idefics3", "reference"])
def policy(request: pytest.FixtureRequest, make_base: Callable[..., PolicyBase]) -> Policy:
    return Policy(make_base(request.param), PolicyConfig(length_multiple=8))


@pytest.fixture
def encoded(policy: Policy, block_pictures: Any) -> Encoded:
    return policy.encode(PROMPTS, block_pictures)


def answers(seed: int = 0, lengths: tuple[int, ...] = LENGTHS) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(100, 400, (len(lengths), max(lengths)), generator=generator)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return ids, mask


def moved(policy: Policy, seed: int = 1) -> None:
    """Give every adapter and the head weights that do something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)


def test_it_begins_as_the_reference_and_values_nothing(make_base: Any, block_pictures: Any) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        fresh = Policy(make_base("reference", dtype=dtype), PolicyConfig())
        encoded, (ids, mask) = fresh.encode(PROMPTS, block_pictures), answers()
        ours, reference = (
            fresh.logprobs_of(encoded, ids, mask, r) for r in ("policy", "reference")
        )
        assert torch.equal(ours.logprobs_BA, reference.logprobs_BA)
        assert torch.equal(ours.entropy_BA, reference.entropy_BA)
        assert torch.equal(fresh.values_of(encoded, ids, mask), torch.zeros(mask.shape))
        assert ours.logprobs_BA.dtype == torch.float32


def test_scores_are_those_of_the_model_fed_one_unpadded_row_at_a_time(
    policy: Policy, encoded: Encoded, block_pictures: Any
) -> None:
    """Against the model's own forward pass on its own processor's inputs, pixels and all."""
    ids, mask = answers()
    with torch.no_grad():
        scored = policy.logprobs_of(encoded, ids, mask, role="reference")
    for row, (asked, length) in enumerate(zip(PROMPTS, LENGTHS, strict=True)):
        logits = plain_logits(policy, asked, block_pictures, ids[row, :length])
        logprobs = logits.log_softmax(-1)
        expected = logprobs.gather(-1, ids[row, :length, None])[:, 0]
        assert length == 1 or expected.std() > 0.1, "the model has no opinion"
        torch.testing.assert_close(
            scored.logprobs_BA[row, :length], expected, atol=ROUNDING, rtol=ROUNDING
        )
        entropy = torch.distributions.Categorical(logits=logits).entropy()
        torch.testing.assert_close(
            scored.entropy_BA[row, :length], entropy, atol=ROUNDING, rtol=ROUNDING
        )
    assert torch.equal(scored.logprobs_BA[~mask], torch.zeros(int((~mask).sum())))


@torch.no_grad()
def plain_logits(
    policy: Policy, asked: AlignmentPrompt, block_pictures: Any, answer: Tensor
) -> Tensor:
    """Logits (A, V) for an answer, by transformers alone."""
    base = policy.base
    image = None if asked.example_id is None else block_pictures(asked.example_id, asked.view)
    text = base.renderer.prompt(asked.text, with_image=image is not None)
    inputs = base.processor(
        text=[text], images=None if image is None else [[image]], return_tensors="pt"
    )
    inputs["input_ids"] = torch.cat([inputs["input_ids"], answer[None, :-1]], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if "mm_token_type_ids" in inputs:
        types = inputs["mm_token_type_ids"]
        none = types.new_zeros(1, len(answer) - 1)
        inputs["mm_token_type_ids"] = torch.cat([types, none], dim=1)
    with policy.taking("reference"):
        logits: Tensor = base.model(**inputs).logits[0, -len(answer) :].float()
    return logits


def test_a_row_scores_alone_as_in_company(policy: Policy, encoded: Encoded) -> None:
    moved(policy)
    ids, mask = answers()
    with torch.no_grad():
        together, values = (
            policy.logprobs_of(encoded, ids, mask),
            policy.values_of(encoded, ids, mask),
        )
        for row, length in enumerate(LENGTHS):
            one = encoded.take([row])
            alone = policy.logprobs_of(
                one, ids[row : row + 1, :length], mask[row : row + 1, :length]
            )
            value = policy.values_of(one, ids[row : row + 1, :length], mask[row : row + 1, :length])
            close = {"atol": ROUNDING, "rtol": ROUNDING}
            torch.testing.assert_close(together.logprobs_BA[row, :length], alone[0][0], **close)
            torch.testing.assert_close(together.entropy_BA[row, :length], alone[1][0], **close)
            torch.testing.assert_close(values[row, :length], value[0], **close)
    assert values[mask].std() > 0.01


def test_a_value_does_not_see_its_own_token(policy: Policy, encoded: Encoded) -> None:
    moved(policy)
    ids, mask = answers()
    other = ids.clone()
    other[0, 2] += 1
    with torch.no_grad():
        before, after = (policy.values_of(encoded, one, mask) for one in (ids, other))
    assert torch.equal(before[0, :3], after[0, :3])
    assert not torch.equal(before[0, 3:5], after[0, 3:5])


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "idefics3"])
def test_kept_features_stand_for_pixels(make_base: Any, block_pictures: Any, family: str) -> None:
    ids, mask = answers()
    scores = []
    for keeps in (True, False):
        policy = Policy(make_base(family), PolicyConfig(keep_features=keeps))
        encoded = policy.encode(PROMPTS, block_pictures)
        has_pixels = [any("pixel" in k for k in one.per_picture) for one in encoded.prompts]
        assert has_pixels == [not keeps and one.example_id is not None for one in PROMPTS]
        with torch.no_grad():
            scores.append(policy.logprobs_of(encoded, ids, mask).logprobs_BA)
    torch.testing.assert_close(*scores, atol=ROUNDING, rtol=ROUNDING)


def test_the_tower_sees_a_picture_once(make_base: Any, block_pictures: Any) -> None:
    policy = Policy(make_base("llava"), PolicyConfig())
    seen = 0

    def count(*_: object) -> None:
        nonlocal seen
        seen += 1

    policy.base.model.model.vision_tower.register_forward_hook(count)
    first, again = (
        policy.encode(PROMPTS, block_pictures),
        policy.encode(PROMPTS[::-1], block_pictures),
    )
    assert seen == 3
    ids, mask = answers()
    policy(first, ids, mask)
    assert seen == 3
    flipped = policy.logprobs_of(again, ids.flip(0), mask.flip(0)).logprobs_BA.flip(0)
    torch.testing.assert_close(flipped, policy.logprobs_of(first, ids, mask).logprobs_BA)
    # A view is another picture.
    policy.encode([AlignmentPrompt("q", "Fine?", "p0", view=1)], block_pictures)
    assert seen == 4


def test_what_is_kept_has_a_limit(make_base: Any, block_pictures: Any) -> None:
    policy = Policy(make_base("llava"), PolicyConfig(kept_features_bytes=2 * 16 * 32 * 4))
    for asked in (PROMPTS[0], PROMPTS[2], PROMPTS[3]):
        policy.encode([asked], block_pictures)
    kept = policy._vision._kept  # type: ignore[attr-defined]
    assert list(kept._seen) == [("p2", 0), ("p1", 0)]
    assert kept._bytes == 2 * 16 * 32 * 4


def test_cached_tower_features_stand_for_the_picture(make_base: Any, block_pictures: Any) -> None:
    from server.vlm.pixels import to_pixels

    policy = Policy(make_base("reference"), PolicyConfig())
    tower = policy.base.model.embedder.tower

    @torch.no_grad()
    def features(example_id: str, view: int) -> Tensor:
        cached: Tensor = tower(to_pixels(block_pictures(example_id, view))[None])[0]
        return cached

    ids, mask = answers()
    by_picture = policy.logprobs_of(policy.encode(PROMPTS, block_pictures), ids, mask)
    by_features = policy.logprobs_of(policy.encode(PROMPTS, features), ids, mask)
    assert torch.equal(by_picture.logprobs_BA, by_features.logprobs_BA)


def test_tower_features_are_refused_by_another_model(make_base: Any) -> None:
    policy = Policy(make_base("llava"), PolicyConfig())
    with pytest.raises(PictureKindError, match="llava takes pictures"):
        policy.encode(PROMPTS, lambda *_: torch.zeros(4, CHANNELS))


def test_switching_roles_leaves_gradients_on_both_adapters(
    policy: Policy, encoded: Encoded
) -> None:
    moved(policy)
    for parameter in policy.parameters():
        parameter.grad = None
    ids, mask = answers()
    out = policy(encoded, ids, mask)
    with torch.no_grad():
        policy.logprobs_of(encoded, ids, mask, role="reference")
    (out.scored.logprobs_BA.sum() + out.values_BA.sum()).backward()
    with_gradient = {n for n, p in policy.named_parameters() if p.grad is not None}
    trainable = policy.trainable()
    assert all(parameter.requires_grad for parameter in trainable.values())
    assert len(with_gradient) == len(trainable)
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in trainable.values())


def test_each_part_learns_from_its_own_scores_alone(policy: Policy, encoded: Encoded) -> None:
    moved(policy)
    ids, mask = answers()
    for part, score in (
        ("policy", lambda: policy.logprobs_of(encoded, ids, mask).logprobs_BA.sum()),
        ("value", lambda: policy.values_of(encoded, ids, mask).sum()),
    ):
        for parameter in policy.parameters():
            parameter.grad = None
        score().backward()
        touched = {id(p) for p in policy.parameters() if p.grad is not None}
        assert touched == {id(p) for p in policy.trainable(part).values()}  # type: ignore[arg-type]


def test_adapters_are_on_the_language_model_alone(policy: Policy) -> None:
    names = [name for name in policy.trainable() if not name.startswith("value_head")]
    assert names
    assert all(f".{policy.base.decoder_name}." in name for name in names)
    other = [n for n, p in policy.named_parameters() if p.requires_grad]
    assert len(other) == len(policy.trainable())


def test_checkpointed_layers_are_computed_again_in_their_own_role(
    make_base: Any, block_pictures: Any
) -> None:
    """Backward comes after the role has changed: gradients must not know."""
    ids, mask = answers()
    gradients = []
    for checkpointing in (False, True):
        policy = Policy(make_base("llava"), PolicyConfig(gradient_checkpointing=checkpointing))
        moved(policy)
        policy.train()
        out = policy(policy.encode(PROMPTS, block_pictures), ids, mask)
        with policy.taking("reference"):
            (out.scored.logprobs_BA.sum() + out.values_BA.sum()).backward()
        gradients.append({n: p.grad for n, p in policy.trainable().items()})
    plain, checkpointed = gradients
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, msg=name)


def test_checkpointing_saves_what_it_should(make_base: Any, block_pictures: Any) -> None:
    ids, mask = answers()
    saved = []
    for checkpointing in (False, True):
        policy = Policy(make_base("llava"), PolicyConfig(gradient_checkpointing=checkpointing))
        policy.train()
        encoded = policy.encode(PROMPTS, block_pictures)
        numbers = 0

        def keep(tensor: Tensor) -> Tensor:
            nonlocal numbers
            numbers += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            policy.logprobs_of(encoded, ids, mask)
        saved.append(numbers)
    assert saved[1] < saved[0] / 2


def test_dropout_is_on_in_training_alone(make_base: Any, block_pictures: Any) -> None:
    config = PolicyConfig(policy=LoraShape(r=4, alpha=8, dropout=0.5))
    policy = Policy(make_base("llava"), config)
    moved(policy)
    ids, mask = answers()
    encoded = policy.encode(PROMPTS, block_pictures)

    def score() -> Tensor:
        with torch.no_grad():
            scored: Tensor = policy.logprobs_of(encoded, ids, mask).logprobs_BA
        return scored

    assert torch.equal(score(), score())
    policy.train()
    assert not torch.equal(score(), score())
    with policy.at_rest():
        assert torch.equal(score(), score())
        assert not torch.is_grad_enabled()
    assert policy.base.decoder.training
    assert not policy.base.model.model.vision_tower.training
    policy.eval()
    assert torch.equal(score(), score())


def test_temperature_divides_the_logits(make_base: Any, block_pictures: Any) -> None:
    base = make_base("reference")
    ids, mask = answers()
    warm = Policy(base, PolicyConfig(temperature=2.0))
    with torch.no_grad():
        scored = warm.logprobs_of(warm.encode(PROMPTS, block_pictures), ids, mask)
    logits = plain_logits(warm, PROMPTS[0], block_pictures, ids[0, :5])
    expected = (logits / 2.0).log_softmax(-1).gather(-1, ids[0, :5, None])[:, 0]
    torch.testing.assert_close(scored.logprobs_BA[0, :5], expected, atol=ROUNDING, rtol=ROUNDING)


def test_the_same_seed_makes_the_same_adapters(make_base: Any) -> None:
    torch.manual_seed(5)
    one = Policy(make_base("reference"), PolicyConfig(seed=3)).trainable()
    torch.manual_seed(6)
    other = Policy(make_base("reference"), PolicyConfig(seed=3)).trainable()
    third = Policy(make_base("reference"), PolicyConfig(seed=4)).trainable()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not all(torch.equal(one[name], third[name]) for name in one)


def test_adapters_may_be_finer_than_the_base(make_base: Any, block_pictures: Any) -> None:
    base = make_base("reference", dtype=torch.bfloat16)
    policy = Policy(base, PolicyConfig(adapter_dtype="float32"))
    ids, mask = answers()
    assert {parameter.dtype for parameter in policy.trainable().values()} == {torch.float32}
    out = policy(policy.encode(PROMPTS, block_pictures), ids, mask)
    assert out.values_BA.dtype == out.scored.logprobs_BA.dtype == torch.float32


def test_answers_without_any_token_are_no_batch(policy: Policy, encoded: Encoded) -> None:
    ids, mask = answers()
    with pytest.raises(ValueError, match="no answer has a token"):
        policy.logprobs_of(encoded, ids, torch.zeros_like(mask))


def test_targets_that_name_no_layer_are_refused(make_base: Any) -> None:
    config = PolicyConfig(policy=LoraShape(r=2, alpha=4, targets=("query",)))
    with pytest.raises(PolicyModelError, match=r"reference can't be aligned: .*not found"):
        Policy(make_base("reference"), config)


def test_a_tokenizer_without_yes_is_refused(
    make_base: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_base("llava")
    vocabulary = {t: i for t, i in base.tokenizer.get_vocab().items() if "yes" not in t.lower()}
    monkeypatch.setattr(type(base.tokenizer), "get_vocab", lambda self: vocabulary)
    with pytest.raises(OptionWithoutTokenError, match="no single token for the option 'yes'"):
        base_of(base.model, base.processor)


def test_logits_scaled_in_a_way_nobody_reads_are_refused(make_base: Any) -> None:
    base = make_base("llava")
    base.model.config.text_config.logit_scale = 0.0625
    with pytest.raises(PolicyModelError, match="its logits are scaled by logit_scale"):
        base_of(base.model, base.processor, name="some model")


class Drawn:
    """Counts how often a layer of the language model runs."""

    def __init__(self, policy: Policy) -> None:
        self.runs = 0
        [layer] = [m for n, m in policy.base.decoder.named_modules() if n.endswith("0.self_attn")]
        layer.register_forward_hook(lambda *_: setattr(self, "runs", self.runs + 1))


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "idefics3", "reference"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_layers_below_the_adapters_run_once_and_change_nothing(
    make_base: Any, block_pictures: Any, family: str, checkpointing: bool
) -> None:
    lora = LoraShape(r=4, alpha=8, from_layer=1)
    config = PolicyConfig(
        policy=lora, value=lora, length_multiple=8, gradient_checkpointing=checkpointing
    )
    policy = Policy(make_base(family), config)
    moved(policy)
    assert all(".layers.0." not in name for name in policy.trainable())
    assert any(".layers.1." in name for name in policy.trainable())
    encoded, (ids, mask) = policy.encode(PROMPTS, block_pictures), answers()
    plain = policy(encoded, ids, mask)
    gradients = gradients_of(policy, encoded, ids, mask)
    read = policy.read(encoded, ids, mask)
    reference = policy.logprobs_of(encoded, ids, mask, role="reference")
    assert torch.equal(read.reference.logprobs_BA, reference.logprobs_BA)

    drawn = Drawn(policy)
    rows = [2, 0, 1]  # another order, another company, another padding
    ours = policy(read.encoded.take(rows), ids[rows], mask[rows])
    torch.testing.assert_close(
        ours.scored.logprobs_BA, plain.scored.logprobs_BA[rows], atol=ROUNDING, rtol=ROUNDING
    )
    torch.testing.assert_close(ours.values_BA, plain.values_BA[rows], atol=ROUNDING, rtol=ROUNDING)
    for name, gradient in gradients_of(policy, read.encoded, ids, mask).items():
        torch.testing.assert_close(gradient, gradients[name], atol=ROUNDING, rtol=1e-3)
    assert drawn.runs == 0
    policy.logprobs_of(encoded, ids, mask)
    assert drawn.runs == 2  # pictures and words: nothing stays switched off


def gradients_of(policy: Policy, encoded: Encoded, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
    policy.train()
    scored, values = policy(encoded, ids, mask)
    (scored.logprobs_BA.sum() + values.sum()).backward()
    policy.train(False)
    gradients = {}
    for name, parameter in policy.trainable().items():
        assert parameter.grad is not None
        gradients[name] = parameter.grad
        parameter.grad = None
    return gradients


def test_adapters_that_would_begin_above_the_last_layer_are_refused(make_base: Any) -> None:
    with pytest.raises(PolicyModelError, match="layers: no adapter can begin at 40"):
        Policy(make_base("reference"), PolicyConfig(policy=LoraShape(r=2, alpha=4, from_layer=40)))
