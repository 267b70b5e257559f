"""Chunked scores equal plain ones, in value and gradient, without keeping the vocabulary."""

import math

import pytest
import torch
from torch import Tensor, nn

from alignment.token_scores import entropy, score_tokens

INF = float("inf")


def plain(logits: Tensor, ids: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    logprobs = (logits.float() / temperature).log_softmax(-1)
    chosen = logprobs.gather(-1, ids[..., None]).squeeze(-1)
    return chosen, torch.distributions.Categorical(logits=logprobs).entropy()


def random_case(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    dice = torch.Generator().manual_seed(1)
    logits = (torch.randn(3, 5, 11, generator=dice) * 2).to(dtype)
    return logits, torch.randint(11, (3, 5), generator=dice)


def test_scores_equal_the_table() -> None:
    # Four equal words; and two equal words beside two that can't be said.
    logits = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, -INF, 0.0, -INF]])
    scores = score_tokens(logits, torch.tensor([3, 2]))
    assert scores.logprobs.tolist() == pytest.approx([-math.log(4), -math.log(2)])
    assert scores.entropy.tolist() == pytest.approx([math.log(4), math.log(2)])


def test_words_that_cant_be_said_leave_gradients_finite() -> None:
    logits = torch.tensor([[0.5, -INF, 0.1]], requires_grad=True)
    entropy(logits.log_softmax(-1)).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert float(logits.grad[0, 1]) == 0.0


@pytest.mark.parametrize("chunk_tokens", [1, 4, 15, 999])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_change_neither_values_nor_gradients(
    chunk_tokens: int, temperature: float, dtype: torch.dtype
) -> None:
    logits, ids = random_case(dtype)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    scores = score_tokens(ours, ids, temperature=temperature, chunk_tokens=chunk_tokens)
    logprobs, entropies = plain(theirs, ids, temperature)
    assert scores.logprobs.dtype == scores.entropy.dtype == torch.float32
    torch.testing.assert_close(scores.logprobs, logprobs)
    torch.testing.assert_close(scores.entropy, entropies)
    (scores.logprobs.sum() - 0.3 * scores.entropy.square().sum()).backward()
    (logprobs.sum() - 0.3 * entropies.square().sum()).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_head_turns_hidden_states_into_logits_chunk_by_chunk() -> None:
    torch.manual_seed(0)
    head, rows = nn.Linear(6, 11, bias=False), []
    head.register_forward_hook(lambda _module, _inputs, output: rows.append(output.shape[0]))
    hidden = torch.randn(3, 5, 6, requires_grad=True)
    _, ids = random_case()
    scores = score_tokens(hidden, ids, head=head, chunk_tokens=4)
    assert rows == [4, 4, 4, 3]
    ours = torch.autograd.grad(scores.logprobs.sum(), (hidden, head.weight))
    theirs = torch.autograd.grad(plain(head(hidden), ids)[0].sum(), (hidden, head.weight))
    torch.testing.assert_close(ours, theirs)


def test_nothing_as_wide_as_the_vocabulary_is_kept_beside_the_logits() -> None:
    logits, ids = random_case(torch.bfloat16)

    def kept_floats(chunked: bool) -> int:
        sizes = []

        def note(tensor: Tensor) -> Tensor:
            if tensor.dtype == torch.float32 and tensor.shape[-1:] == (11,):
                sizes.append(tensor.numel())
            return tensor

        wanted = logits.clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            score_tokens(wanted, ids, chunk_tokens=4) if chunked else plain(wanted, ids)
        return sum(sizes)

    assert kept_floats(chunked=False) >= logits.numel()
    assert kept_floats(chunked=True) == 0


def test_scores_without_gradient_need_none() -> None:
    logits, ids = random_case()
    with torch.no_grad():
        assert not score_tokens(logits, ids).logprobs.requires_grad
