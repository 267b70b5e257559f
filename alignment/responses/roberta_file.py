"""S1's classifier files, loaded with every name and shape checked.

The layout was read from S1's public repository (``TrustAIRLab/SaferVLM``: its scripts that
summarise a measurement, and its reward model):

- The hub ids hold a file ``epoch_10.pt``, a state dict with ``roberta.*`` (a `RobertaModel`, pooler
  included) and ``classifier.weight`` and ``.bias``. Configuration and tokenizer are those of
  RoBERTa-base and come from elsewhere.
- The linear layer reads the last hidden state at the first token; the pooler is not used.
- Texts are cut at the tokenizer's 512 tokens.
- Classes: safe, unsafe, no answer; and A, B, C, D, no answer.

S1 loads the file without checking its names, so a file that fits nowhere would leave the layer
random and still give figures. Not seen: the published files themselves, which are gated; should
their names differ from what the code implies, the error says which.
"""

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignment.responses.errors import ClassifierFileError

ROBERTA_BASE = "FacebookAI/roberta-base"
WEIGHTS_FILE = "epoch_10.pt"

_BODY = "roberta."
_HEAD = ("classifier.weight", "classifier.bias")
# In the file and without use: the pooler, and a table of positions that older versions saved.
_UNUSED = ("roberta.pooler.", "roberta.embeddings.position_ids")
_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class TextClassifier:
    """A loaded model: texts in, class probabilities out.

    `label` names it with the first digits of its file's SHA-256; `max_tokens` is where texts are
    cut.
    """

    label: str
    body: Any
    head: Any
    tokenizer: Any
    max_tokens: int
    batch_size: int

    def probabilities(self, texts: Sequence[str]) -> list[list[float]]:
        """Probabilities of the classes, one row a text, in the texts' order."""
        import torch

        encoded = [
            self.tokenizer(text, truncation=True, max_length=self.max_tokens)["input_ids"]
            for text in texts
        ]
        # Texts of one length together: padding costs as much as words do.
        order = sorted(range(len(texts)), key=lambda index: len(encoded[index]))
        rows: dict[int, list[float]] = {}
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            batch = self.tokenizer.pad(
                {"input_ids": [encoded[index] for index in chosen]}, return_tensors="pt"
            ).to(self.head.weight.device)
            with torch.inference_mode():
                hidden = self.body(
                    input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
                ).last_hidden_state
                shares = self.head(hidden[:, 0]).double().softmax(dim=-1)
            rows.update(zip(chosen, shares.tolist(), strict=True))
        return [rows[index] for index in range(len(texts))]


def load_text_classifier(
    model: str, base: str | None, *, classes: int, device: str, batch_size: int
) -> TextClassifier:
    """Load a classifier of so many classes from a local folder or a hub id.

    `base` is where RoBERTa-base's configuration and tokenizer are; by default the folder itself if
    it has them, else the hub. Raises `ClassifierFileError`.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    path = _weights_path(model)

    # After the cheap refusals: these two take seconds to import.
    import torch
    from transformers import AutoConfig, AutoTokenizer, RobertaModel

    source = base or (str(path.parent) if (path.parent / "config.json").is_file() else ROBERTA_BASE)
    try:
        config = AutoConfig.from_pretrained(source)
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        reason = f"RoBERTa-base's configuration and tokenizer are not at {source}"
        raise ClassifierFileError(model, reason) from error
    if config.model_type != "roberta":
        raise ClassifierFileError(model, f"{source} is no RoBERTa but {config.model_type}")
    body = RobertaModel(config, add_pooling_layer=False)
    head = torch.nn.Linear(config.hidden_size, classes)
    _fill(model, path, body, head)
    return TextClassifier(
        label=f"{Path(model).name if path.parent == Path(model) else model}@{_digest(path)}",
        body=body.eval().to(device),
        head=head.eval().to(device),
        tokenizer=tokenizer,
        # RoBERTa numbers positions from the padding id on, so not all of the table is for words.
        max_tokens=min(
            tokenizer.model_max_length, config.max_position_embeddings - config.pad_token_id - 1
        ),
        batch_size=batch_size,
    )


def _weights_path(model: str) -> Path:
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / WEIGHTS_FILE).is_file():
            raise ClassifierFileError(model, f"the folder has no {WEIGHTS_FILE}")
        return folder / WEIGHTS_FILE
    if folder.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise ClassifierFileError(model, "it is neither a folder nor a hub id")
    from httpx2 import HTTPError
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return Path(hf_hub_download(model, WEIGHTS_FILE))
    except (HTTPError, OSError, ValueError) as error:
        reason = f"the hub can't be reached, or does not have its {WEIGHTS_FILE}"
        if isinstance(error, GatedRepoError | RepositoryNotFoundError):
            reason = "the hub shows it to nobody without leave: ask on its page, then set HF_TOKEN"
        raise ClassifierFileError(model, reason) from error


def _fill(model: str, path: Path, body: Any, head: Any) -> None:
    """Put the file's tensors into body and head; every name and shape must fit."""
    state = _read_state(model, path)
    wanted = {f"{_BODY}{name}": tensor for name, tensor in body.state_dict().items()}
    wanted |= {f"classifier.{name}": tensor for name, tensor in head.state_dict().items()}
    used = {name: tensor for name, tensor in state.items() if not name.startswith(_UNUSED)}
    misfits = [
        f"{name} is {tuple(used[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in used and used[name].shape != tensor.shape
    ]
    problems = [
        f"{what} {_some(names)}"
        for what, names in (
            ("missing:", sorted(wanted.keys() - used.keys())),
            ("unknown:", sorted(used.keys() - wanted.keys())),
            ("misshapen:", misfits),
        )
        if names
    ]
    if problems:
        raise ClassifierFileError(model, f"{WEIGHTS_FILE} does not fit; {'; '.join(problems)}")
    body.load_state_dict(
        {name.removeprefix(_BODY): used[name] for name in wanted if name not in _HEAD}
    )
    head.load_state_dict({name.removeprefix("classifier."): used[name] for name in _HEAD})


def _read_state(model: str, path: Path) -> Mapping[str, Any]:
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = f"{WEIGHTS_FILE} is damaged, or holds more than tensors"
        raise ClassifierFileError(model, reason) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(tensor, torch.Tensor) for tensor in state.values()
    ):
        raise ClassifierFileError(model, f"{WEIGHTS_FILE} is no flat table of tensors")
    return state


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
