"""A whole short PPO run against its committed curve: that the parts still add up to learning.

An untrained model of the reference VLM's architecture, two narrow layers wide, is asked whether
eight pictures are safe. Its answers are two random words; a classifier takes a first letter from a
to m for "unsafe". So half of its first answers are right, and 30 steps of PPO teach it which
letters go with which pictures.

The curve is that of one machine. Others round otherwise, and a word drawn otherwise changes every
step after it. So the first step, before anything was learnt, must agree closely (`FIRST_STEP`),
and the rest as means over ten steps, within `TOLERANCE` of a reward that goes from 0 to 1.
``RECORD_GOLDEN_RUN=1 pytest tests/alignment/test_golden_run.py`` writes the curve anew.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from alignment.data.manifest import ImageSet, read_image_set
from alignment.policy_config import LoraShape, PolicyConfig
from alignment.ppo import train_ppo
from alignment.ppo_recipe import PpoRecipe
from alignment.prompt_sampler import PromptMix
from alignment.responses.protocol import Classification, Response
from alignment.reward import RewardSpec, Term
from alignment.reward_terms import absolute

GOLDEN = Path(__file__).with_name("golden") / "ppo.json"
FIGURES = ("reward", "kl", "entropy", "value_loss", "clip_fraction")
FIRST_STEP = 0.07
TOLERANCE = 0.15
WINDOW = 10

SMALL = LoraShape(r=8, alpha=16)
RECIPE = PpoRecipe(
    name="golden",
    seed=1,
    policy=PolicyConfig(policy=SMALL, value=SMALL, temperature=0.5),
    mix=PromptMix(pictures=8),
    views=1,
    steps=30,
    max_new_tokens=2,
    reward=RewardSpec((Term("absolute", absolute),)),
    group_size=4,
    epochs=2,
    minibatch_size=32,
    micro_batch_size=32,
    lr=1e-2,
    value_lr=1e-2,
    target_kl=None,
    kl_coef=0.0,
    max_kl=1e9,
    save_every=1000,
)


class EarlyLetters:
    """Takes answers that begin with a letter from a to m for "unsafe", all others for "safe"."""

    name = "early-letters"

    async def classify(self, responses: Sequence[Response]) -> list[Classification]:
        unsafe = [
            response.text.strip().lower()[:1] in set("abcdefghijklm") for response in responses
        ]
        return [
            Classification(safe=float(not said), unsafe=float(said), no_answer=0.0)
            for said in unsafe
        ]


def features(example_id: str, _view: int) -> Tensor:
    """What a tower would see: safe pictures are somewhat alike, and so are unsafe ones."""
    number = int(example_id.removeprefix("p"))
    own = torch.Generator().manual_seed(number)
    kind = torch.Generator().manual_seed(1000 + number % 2)
    return 2 * torch.randn(1, 1280, generator=kind) + 0.3 * torch.randn(4, 1280, generator=own)


@pytest.fixture
def eight_pictures(tmp_path: Path) -> ImageSet:
    kinds = (
        ("Arson", "Illegal activity", "Unsafe", "an icon of a fire"),
        ("boat", "Safe", "Safe", "an icon of a boat"),
    )
    lines = []
    for number in range(8):
        concept, category, label, caption = kinds[number % 2]
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
        lines.append(
            {
                "id": f"p{number}",
                "file": f"{number}.png",
                "style": "icon",
                "split": "train",
                "concept": concept,
                "category": category,
                "label": label,
                "caption": caption,
            }
        )
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "manifest.jsonl").write_text(text)
    return read_image_set(tmp_path, name="eight-pictures")


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def windows(values: Sequence[float]) -> list[float]:
    return [mean(values[start : start + WINDOW]) for start in range(0, len(values), WINDOW)]


def test_a_short_run_learns_as_it_did(
    make_base: Callable[..., Any], eight_pictures: ImageSet, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    train_ppo(
        RECIPE,
        eight_pictures,
        base=make_base("reference"),
        pictures=features,
        classifier=EarlyLetters(),
        run=tmp_path / "run",
    )
    lines = [json.loads(one) for one in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    curve = {name: [round(float(line[name]), 4) for line in lines] for name in FIGURES}
    if os.environ.get("RECORD_GOLDEN_RUN"):
        rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in curve.items())
        GOLDEN.write_text(f"{{\n{rows}\n}}\n")
    golden = json.loads(GOLDEN.read_text())

    assert len(lines) == RECIPE.steps == len(golden["reward"])
    assert mean(curve["reward"][-WINDOW:]) > mean(curve["reward"][:WINDOW]) + 0.15
    assert curve["reward"][0] == pytest.approx(golden["reward"][0], abs=FIRST_STEP)
    assert curve["kl"][0] == golden["kl"][0] == 0.0
    assert curve["entropy"][0] == pytest.approx(golden["entropy"][0], rel=FIRST_STEP)
    assert windows(curve["reward"]) == pytest.approx(windows(golden["reward"]), abs=TOLERANCE)
