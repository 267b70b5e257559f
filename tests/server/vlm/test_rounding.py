"""Small changes survive rounding on average, and the same merge gives the same bits."""

import pytest
import torch

from server.vlm.rounding import rounded


def test_what_bfloat16_has_is_kept_exactly() -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    assert torch.equal(rounded(values, torch.bfloat16, name="a").float(), values)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_each_value_goes_to_a_neighbour_as_often_as_it_is_near(sign: float) -> None:
    # Between 1 and 2 bfloat16 steps by 1/128: a tenth of a step is lost by rounding to the nearest.
    values = torch.full((200_000,), sign * (1.0 + 0.1 / 128))
    assert torch.equal(values.bfloat16().float(), torch.full_like(values, sign))
    found = rounded(values, torch.bfloat16, name="a").float()
    assert set(found.tolist()) == {sign, sign * (1.0 + 1 / 128)}
    assert float((found != sign).float().mean()) == pytest.approx(0.1, abs=0.005)


def test_the_name_alone_seeds_the_chance() -> None:
    values = torch.randn(64, 64, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(3)
    first = rounded(values, torch.bfloat16, name="a")
    torch.manual_seed(4)
    assert torch.equal(rounded(values, torch.bfloat16, name="a"), first)
    assert not torch.equal(rounded(values, torch.bfloat16, name="b"), first)


def test_other_types_round_as_usual() -> None:
    values = torch.randn(100, generator=torch.Generator().manual_seed(2))
    assert torch.equal(rounded(values, torch.float32, name="a"), values)
    assert torch.equal(rounded(values, torch.float16, name="a"), values.half())
