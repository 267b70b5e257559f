"""What every process of `test_processes.py` runs: tiny PPO runs in folder `sys.argv[1]`.

Also imported by the test, which makes the same runs in one process.
"""

import copy
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from alignment.data.manifest import read_image_set
from alignment.policy_base import PolicyBase, base_of, load_base
from alignment.policy_config import LoraShape, PolicyConfig
from alignment.ppo import train_ppo
from alignment.ppo_recipe import PpoRecipe
from alignment.processes import Processes, UnevenSharesError, join_processes
from alignment.prompt_sampler import PromptMix, ViewReader
from alignment.responses.protocol import Classification, Response
from alignment.reward import RewardBatch, RewardSpec, Term

SHORT = LoraShape(r=4, alpha=8)


def vowels(batch: RewardBatch) -> torch.Tensor:
    return torch.tensor(
        [sum(letter in "aeiouAEIOU" for letter in text) / (len(text) or 1) for text in batch.texts]
    )


# Two minibatches a step, each shared by the processes, in passes that words and pictures share.
RECIPE = PpoRecipe(
    name="tiny",
    seed=1,
    policy=PolicyConfig(policy=SHORT, value=SHORT),
    mix=PromptMix(pictures=4, words=4),
    views=1,
    steps=2,
    max_new_tokens=3,
    reward=RewardSpec((Term("vowels", vowels),)),
    minibatch_size=4,
    micro_batch_size=2,
    lr=1e-2,
    target_kl=None,
    kl_coef=0.1,
    kl_target=0.5,
    kl_horizon=50,
    save_every=1,
)


class UnwillingError(Exception):
    pass


class SaysSafe:
    """Judges `willing` batches, then fails."""

    name = "says-safe"

    def __init__(self, willing: int = 99) -> None:
        self._willing = willing

    async def classify(self, responses: Sequence[Response]) -> list[Classification]:
        if self._willing == 0:
            raise UnwillingError
        self._willing -= 1
        return [Classification(safe=1.0, unsafe=0.0, no_answer=0.0) for _ in responses]


def make_data(folder: Path) -> None:
    """Eight pictures, half of them unsafe."""
    folder.mkdir(parents=True)
    dice = random.Random(0)
    lines = []
    for number in range(8):
        concept, category, label = (
            ("Arson", "Illegal activity", "Unsafe") if number % 2 else ("apple", "Safe", "Safe")
        )
        blocks = Image.new("RGB", (4, 4))
        blocks.putdata([tuple(dice.randrange(256) for _ in range(3)) for _ in range(16)])
        blocks.resize((64, 48), Image.Resampling.NEAREST).save(folder / f"{number}.png")
        lines.append(
            {
                "id": f"p{number}",
                "file": f"{number}.png",
                "style": "photo",
                "split": "train",
                "concept": concept,
                "category": category,
                "label": label,
                "caption": f"a photo of {concept}",
            }
        )
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def train(name: str, folder: Path, base: PolicyBase, processes: Processes, **options: Any) -> None:
    images = read_image_set(folder / "data")
    train_ppo(
        options.get("recipe", RECIPE),
        images,
        base=base_of(copy.deepcopy(base.model), base.processor, name=base.name),
        pictures=ViewReader(images, seed=1),
        classifier=options.get("classifier") or SaysSafe(),
        run=folder / name,
        processes=processes,
    )


def main(folder: Path) -> None:
    processes = join_processes()
    assert processes.size == 2
    assert processes.shards_base
    whole = replace(processes, shards_base=False)
    base = load_base(folder / "model", device="cpu", dtype="float32")
    train("straight", folder, base, whole)

    # Only the main process judges; what goes wrong there ends all of them.
    try:
        train("resumed", folder, base, whole, classifier=SaysSafe(willing=1))
    except UnwillingError:
        train("resumed", folder, base, whole)

    train("sharded", folder, base, processes)

    try:
        train("uneven", folder, base, processes, recipe=replace(RECIPE, mix=PromptMix(3, 5)))
    except UnevenSharesError as error:
        (folder / f"uneven-{processes.rank}").write_text(str(error))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
