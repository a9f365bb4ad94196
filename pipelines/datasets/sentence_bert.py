"""Sentence-BERT (Reimers and Gurevych 2019) as all-MiniLM-L6-v2 has it: BERT, the mean of its tokens, and length 1.

The libraries that read any model of sentence-transformers take four seconds to import; this takes none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..common.json_files import read_json
from ..storage.weights import read_tensors

BERT = {"model_type": "bert", "hidden_act": "gelu"}
POOLING = "pooling_mode_mean_tokens"
# Names of a layer's parts in the file, and in torch's layer. The projections to query, key and value are one there.
PARTS = {
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}
PROJECTIONS = ("query", "key", "value")


class SentenceBert(nn.Module):
    """The network: (B, L) tokens to their last hidden states (B, L, D) and their normalised mean (B, D).

    Args:
        config: BERT's, from config.json.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, eps = config["hidden_size"], config["layer_norm_eps"]
        self.words = nn.Parameter(torch.empty(config["vocab_size"], width))
        self.positions = nn.Parameter(torch.empty(config["max_position_embeddings"], width))
        self.kinds = nn.Parameter(torch.empty(config["type_vocab_size"], width))  # of sentences; a single one has kind 0
        self.norm = nn.LayerNorm(width, eps)
        layer = nn.TransformerEncoderLayer(
            width, config["num_attention_heads"], config["intermediate_size"], 0.0, "gelu", eps, batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config["num_hidden_layers"], enable_nested_tensor=False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Encode token numbers ``input_ids`` with their ``attention_mask``; named as sentence-transformers names them."""
        ids, mask = batch["input_ids"], batch["attention_mask"].bool()
        x = self.norm(self.words[ids] + self.positions[: ids.shape[1]] + self.kinds[0])  # (B, L, D)
        tokens = self.layers(x, src_key_padding_mask=~mask)
        mean = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)  # (B, D)
        return {"token_embeddings": tokens, "sentence_embedding": F.normalize(mean)}


def load_sentence_bert(folder: Path, most_tokens: int) -> tuple[SentenceBert, Tokenizer, int] | None:
    """Load such a model of sentence-transformers in float32; None if the folder holds another kind of model.

    Args:
        most_tokens: to read of a text, at most.

    Returns:
        The network, a tokenizer that cuts and pads all texts to the same number of tokens, and that number.

    Raises:
        ValueError: the weights are damaged, or are not those of the network.
    """
    if not _is_sentence_bert(folder):
        return None
    config, settings = read_json(folder / "config.json"), read_json(folder / "sentence_bert_config.json")
    length = min(most_tokens, settings["max_seq_length"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=config["pad_token_id"])
    with torch.device("meta"):
        network = SentenceBert(config)
    weights = {name: tensor.float() for name, tensor in read_tensors(folder / "model.safetensors")[0].items()}
    try:
        network.load_state_dict(_renamed(weights, config["num_hidden_layers"]), assign=True)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"its weights are not those of the network that config.json describes ({error})") from error
    return network, tokenizer, length


def _is_sentence_bert(folder: Path) -> bool:
    try:
        modules = [module["type"].rpartition(".")[2] for module in read_json(folder / "modules.json")]
        if modules != ["Transformer", "Pooling", "Normalize"]:
            return False
        config, settings = read_json(folder / "config.json"), read_json(folder / "sentence_bert_config.json")
        pooling = read_json(folder / "1_Pooling/config.json")
        modes = {name for name, chosen in pooling.items() if name.startswith("pooling_mode") and chosen}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # the library says what is wrong
    absolute = config.get("position_embedding_type", "absolute") == "absolute"
    plain = absolute and config.items() >= BERT.items() and not settings.get("do_lower_case") and "max_seq_length" in settings
    return plain and modes == {POOLING} and (folder / "tokenizer.json").is_file()


def _renamed(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Return BERT's weights under the names of :class:`SentenceBert`."""
    embeddings = {"words": "word_embeddings", "positions": "position_embeddings", "kinds": "token_type_embeddings"}
    found = {own: weights[f"embeddings.{name}.weight"] for own, name in embeddings.items()}
    for kind in ("weight", "bias"):
        found[f"norm.{kind}"] = weights[f"embeddings.LayerNorm.{kind}"]
        for number in range(layers):
            theirs, own = f"encoder.layer.{number}", f"layers.layers.{number}"
            found |= {f"{own}.{part}.{kind}": weights[f"{theirs}.{name}.{kind}"] for name, part in PARTS.items()}
            projections = [weights[f"{theirs}.attention.self.{name}.{kind}"] for name in PROJECTIONS]
            found[f"{own}.self_attn.in_proj_{kind}"] = torch.cat(projections)
    return found
