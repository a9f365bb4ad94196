"""The influence of a condition on an estimate: by how much it changes each pixel, and which words each pixel attends to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from diffusion_core.condition import Condition
from unets.conditional import attention_maps

from ..common.images import Pixels, to_uint8
from ..common.picture_metrics import difference_map
from ..datasets.conditions import trained_encoder

if TYPE_CHECKING:
    from ..datasets.encoded_text import Word
    from ..models.loading import LoadedModel
    from ..storage.config import ConditionConfig


def words_of(config: ConditionConfig, prompt: str) -> list[Word]:
    """Return the words of a prompt as the model's text encoder splits it; none for a blank prompt."""
    return trained_encoder(config).words(prompt) if prompt.strip() else []


def influence(
    model: LoadedModel, condition: Condition, x_t: Tensor, t: float, words: Sequence[Word] = ()
) -> tuple[Pixels, NDArray[np.float16]]:
    """Estimate x0 with and without the condition, and record cross-attention, in one network call on twice the batch.

    Args:
        condition: of the B images.
        x_t: (B, *model.state_shape), the state at timestep ``t``.
        words: of the prompt that the images share.

    Returns:
        (B, H, W, 1) uint8, the absolute difference of the estimates, averaged over channels: 255 is black against white.
        (B, len(words), H, W), the share of each pixel's attention on each word: the mean over heads and layers, with maps
        enlarged to the image size; shares sum to 1 over all words.
    """
    batch = len(x_t)
    with attention_maps(model.denoiser.network) as maps, torch.no_grad():
        estimates = model.denoiser(torch.cat([x_t, x_t]), t, condition.beside(condition.null()))
    given, withheld = (to_uint8(model.decode(part)) for part in estimates.chunk(2))
    size = model.image_shape[1:]
    attention = [_by_word(layer[:batch], words, size) for layer in maps] if words else []
    mean = torch.stack(attention).mean(0) if attention else torch.zeros(batch, 0, *size)
    return difference_map(given, withheld), mean.cpu().numpy().astype(np.float16)


def _by_word(layer: Tensor, words: Sequence[Word], size: tuple[int, int]) -> Tensor:
    """Sum a layer's attention over each word's tokens, without the null token: (B, h, w, 1 + tokens) -> (B, words, H, W)."""
    tokens = layer[..., 1:].permute(0, 3, 1, 2)
    shares = torch.stack([tokens[:, list(word.tokens)].sum(1) for word in words], dim=1)
    return F.interpolate(shares, size=size, mode="bilinear")
