"""A small CLIP with random weights, for tests that need a text encoder and not MiniLM."""

from __future__ import annotations

from pathlib import Path

import torch

WORDS = ("red", "wild", "blue", "cat", "dog", "photo", "of", "a")


def save_clip(folder: Path, whole: bool = False, length: int = 12) -> Path:
    """A small CLIP with random weights: its text half, or both halves, and a tokenizer of bytes and a few words."""
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    merges, merged = [], []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts[:2] = ["".join(parts[:2])]
            merged.append(parts[0])
    pieces = dict.fromkeys([*letters, *(f"{letter}</w>" for letter in letters), *merged, "<|startoftext|>", "<|endoftext|>"])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=list(dict.fromkeys(merges)), model_max_length=length)
    text = {
        "vocab_size": len(vocabulary),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": length,
        "bos_token_id": vocabulary["<|startoftext|>"],
        "eos_token_id": vocabulary["<|endoftext|>"],
        "pad_token_id": vocabulary["<|endoftext|>"],
    }
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        if whole:
            model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision | {"image_size": 8, "patch_size": 4}))
        else:
            model = CLIPTextModel(CLIPTextConfig(**text))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
