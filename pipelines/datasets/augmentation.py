"""Non-leaking augmentation: training images are transformed, and the network is conditioned on the transformation.

The transformations and their strengths are those of EDM (Karras et al. 2022, appendix F.2 and table 6). Samples are drawn with
the condition that nothing was transformed.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..common.devices import send

AUGMENT_DIM = 9  # numbers that describe an augmentation
SCALE, STRETCH, SHIFT = 0.2, 0.2, 0.125  # standard deviations, in powers of two, powers of two, and image sides


def draw_augmentations(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """Draw an augmentation for each image: (count, AUGMENT_DIM) float32, zeros for none.

    Columns: mirrored left-right, mirrored up-down, scale, cos − 1 and sin of the rotation, stretch along two axes, shift
    right, shift down. Each of the six kinds occurs with ``probability``; the two mirrorings are then applied to half of the
    images.
    """
    happens = (torch.rand(count, 6, generator=generator) < probability).float()
    mirrored = (torch.rand(count, 2, generator=generator) < 0.5).float() * happens[:, :2]
    scale, stretch, right, down = (torch.randn(4, count, generator=generator) * happens[:, [2, 4, 5, 5]].T).unbind()
    turn, axis = ((torch.rand(2, count, generator=generator) * 2 - 1) * math.pi).unbind()
    turn = turn * happens[:, 3]
    columns = [scale, turn.cos() - 1, turn.sin(), stretch * axis.cos(), stretch * axis.sin(), right, down]
    return torch.cat([mirrored, torch.stack(columns, 1)], 1)


def augment(images: Tensor, changes: Tensor) -> Tensor:
    """Apply ``changes`` to images; areas from outside an image are filled with its reflection.

    Args:
        images: (B, C, H, W).
        changes: (B, AUGMENT_DIM), see :func:`draw_augmentations`; rows of zeros leave their image exactly as it is.
    """
    matrices = send(sampling_matrices(changes.double())[:, :2].to(images.dtype), images.device)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return torch.where(send(changes.any(1), images.device).view(-1, 1, 1, 1), moved, images)


def sampling_matrices(changes: Tensor) -> Tensor:
    """Return the maps from augmented to original coordinates, both from −1 to 1: (B, AUGMENT_DIM) -> (B, 3, 3)."""
    left_right, up_down, scale, cos, sin, stretch_cos, stretch_sin, right, down = changes.unbind(1)
    size = torch.exp2(SCALE * scale)
    zoom = _affine(1 / size, 1 / size)
    mirror = _affine(1 - 2 * left_right, 1 - 2 * up_down)
    rotate = _rotation(cos + 1, sin)
    amount = torch.hypot(stretch_cos, stretch_sin)
    along = torch.where(amount > 0, stretch_cos / amount, 1.0), torch.where(amount > 0, stretch_sin / amount, 0.0)
    factor = torch.exp2(STRETCH * amount)
    stretch = _rotation(*along) @ _affine(1 / factor, factor) @ _rotation(along[0], -along[1])
    shift = _affine(torch.ones_like(right), torch.ones_like(right), -2 * SHIFT * right, -2 * SHIFT * down)
    return mirror @ zoom @ rotate @ stretch @ shift


def _affine(x: Tensor, y: Tensor, right: Tensor | None = None, down: Tensor | None = None) -> Tensor:
    """Return matrices that scale and then shift x and y: (B, 3, 3)."""
    none, one = torch.zeros_like(x), torch.ones_like(x)
    right, down = (none if move is None else move for move in (right, down))
    return torch.stack(
        [torch.stack([x, none, right], 1), torch.stack([none, y, down], 1), torch.stack([none, none, one], 1)], 1
    )


def _rotation(cos: Tensor, sin: Tensor) -> Tensor:
    """Return rotation matrices: (B, 3, 3)."""
    none, one = torch.zeros_like(cos), torch.ones_like(cos)
    rows = [torch.stack([cos, -sin, none], 1), torch.stack([sin, cos, none], 1), torch.stack([none, none, one], 1)]
    return torch.stack(rows, 1)
