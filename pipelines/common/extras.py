"""What a small installation leaves out: packages that a feature needs beyond ``requirements/base.txt``, and how to add them.

They are imported inside functions. Whatever leads to these calls :func:`require_extra` first, so that a missing package is
told in one sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

NAMES = {"sklearn": "scikit-learn"}  # of packages that are not named after their module


@dataclass(frozen=True)
class Extra:
    """A group of optional packages, as in ``requirements/NAME.txt`` and ``pip install -e ".[NAME]"``.

    Attributes:
        purpose: what needs them, in the plural.
        modules: the modules that are imported.
    """

    purpose: str
    modules: Sequence[str]


EXTRAS = {
    "train": Extra("datasets, training and evaluation", ("accelerate", "datasets", "sklearn")),
    "text": Extra("text encoders and vision transformers", ("transformers", "sentence_transformers")),
    "lora": Extra("low-rank updates (LoRA)", ("peft",)),
    "diffusers": Extra("models of diffusers", ("diffusers",)),
    "hub": Extra("runs on the Hugging Face hub", ("huggingface_hub",)),
    "inception": Extra("Inception's features", ("torchvision", "pytorch_fid")),
    "paper": Extra("saved figures", ("matplotlib",)),
    "video": Extra("MP4 videos", ("av",)),
}


def missing_extra(name: str) -> str:
    """Return a sentence on which packages of an extra are not installed and how to install them; empty if all are."""
    extra = EXTRAS[name]
    missing = [NAMES.get(module, module.replace("_", "-")) for module in extra.modules if find_spec(module) is None]
    if not missing:
        return ""
    named = " and ".join(filter(None, [", ".join(missing[:-1]), missing[-1]]))
    are = "is" if len(missing) == 1 else "are"
    return (
        f'{extra.purpose} need {named}, which {are} not installed: run `pip install -e ".[{name}]"` in Noisescope\'s folder '
        "and start again"
    )


def require_extra(name: str) -> None:
    """Raise ValueError with the sentence of :func:`missing_extra` if there is one."""
    if sentence := missing_extra(name):
        raise ValueError(sentence)
