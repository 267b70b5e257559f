"""Batches laid out by hand: prompts to the left, answers behind, positions that skip padding."""

import torch

from alignment.policy_inputs import Encoded, EncodedPrompt, pad


def one(*ids: int, picture: bool = False) -> EncodedPrompt:
    tokens = torch.tensor(ids)
    seen = {"pixels": torch.full((1, 2), float(ids[0]))} if picture else {}
    return EncodedPrompt(tokens, {"kind": torch.ones_like(tokens)}, seen)


def test_prompts_end_where_answers_begin() -> None:
    batch = pad(
        Encoded((one(5, 6, 7), one(8))),
        pad_id=0,
        multiple=4,
        answer_ids_BA=torch.tensor([[21, 22, 23], [31, 99, 99]]),
        mask_BA=torch.tensor([[True, True, True], [True, False, False]]),
    )
    # No row's last answer token is fed; 3 + 2 positions are made a multiple of 4 on the left.
    assert batch.answer_start == 6
    assert batch.input_ids_BT.tolist() == [[0, 0, 0, 5, 6, 7, 21, 22], [0, 0, 0, 0, 0, 8, 0, 0]]
    assert batch.attention_mask_BT.tolist() == [
        [0, 0, 0, 1, 1, 1, 1, 1],
        [0, 0, 0, 0, 0, 1, 0, 0],
    ]
    assert batch.position_ids_BT[0].tolist() == [0, 0, 0, 0, 1, 2, 3, 4]
    assert batch.position_ids_BT[1, 5] == 0
    assert batch.per_token["kind"].tolist() == [[0, 0, 0, 1, 1, 1, 0, 0], [0] * 5 + [1, 0, 0]]


def test_prompts_alone_end_in_the_last_column() -> None:
    batch = pad(Encoded((one(5, 6), one(8))), pad_id=9)
    assert batch.input_ids_BT.tolist() == [[5, 6], [9, 8]]
    assert batch.answer_start == 2


def test_pictures_stay_with_their_prompts() -> None:
    encoded = Encoded((one(1, picture=True), one(2), one(3, picture=True), one(4)))
    assert encoded.by_kind() == [[0, 2], [1, 3]]
    shown = pad(encoded.take([2, 0]), pad_id=0).per_picture()
    assert shown["pixels"].tolist() == [[3.0, 3.0], [1.0, 1.0]]
    assert encoded.take([1, 3]).by_kind() == [[0, 1]]
