"""Networks that were pretrained on many photographs, DINOv2 and CLIP, whose features compare images of any kind.

Their weights are read from this machine, as safetensors, and never downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.devices import best_device
from ..common.extras import require_extra
from ..common.json_files import read_json
from ..common.paths import is_weights
from ..datasets.pretrained import HUB_ID, first_line, load_pretrained, refuse_endless_settings, weights_digest

NAMES = {  # both are ViT-L/14; the first is that of the Fréchet distances of Stein et al. 2023
    "dinov2": "facebook/dinov2-large",
    "clip": "openai/clip-vit-large-patch14",
}
FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
KINDS = {  # model_type in config.json: the class of transformers, and which of its outputs are the features
    "dinov2": ("Dinov2Model", "pooler_output"),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", "pooler_output"),
    "clip": ("CLIPVisionModelWithProjection", "image_embeds"),
    "clip_vision_model": ("CLIPVisionModelWithProjection", "image_embeds"),
}
AT_ONCE = 32  # batch size
MOST_PIXELS = 2048  # of a side of its input


@dataclass(frozen=True, eq=False)
class VisionModel:
    """A vision transformer.

    Attributes:
        name: display name.
        digest: first digits of the SHA-256 of its weights.
        network: on its device, in evaluation mode, without gradients.
        output: which of its outputs are the features.
        side: height and width of its input in pixels.
        mean, deviation: (3, 1, 1), by which the colours of its input, in [0, 1], are normalised.
    """

    name: str
    digest: str
    network: nn.Module
    output: str
    side: int
    mean: Tensor
    deviation: Tensor

    def features(self, images: Tensor) -> Tensor:
        """Return the features of grey or colour images: (B, C, H, W) in [−1, 1] -> (B, D) float32 on the CPU.

        Raises:
            ValueError: they are not finite.
        """
        device = next(self.network.parameters()).device
        with torch.no_grad():
            found = torch.cat([self.network(self.fitted(part).to(device))[self.output].cpu() for part in images.split(AT_ONCE)])
        if not bool(found.isfinite().all()):
            raise ValueError(f"{self.name} does not return finite numbers: its weights are damaged, so fetch them again")
        return found

    def fitted(self, images: Tensor) -> Tensor:
        """Return images as network input: (B, C, H, W) in [−1, 1] -> (B, 3, side, side)."""
        colour = (images.float().expand(-1, 3, -1, -1) + 1) / 2
        resized = F.interpolate(colour, (self.side, self.side), mode="bicubic", antialias=True).clamp(0, 1)
        return (resized - self.mean) / self.deviation


def names_vision_model(features: Path) -> bool:
    """Return whether ``--features`` names a vision model and not a classifier's file."""
    hub_id = HUB_ID.fullmatch(features.as_posix()) and not is_weights(features)
    return str(features) in NAMES or features.is_dir() or bool(hub_id and not features.exists())


def load_vision_model(features: Path, device: torch.device | str | None = None) -> VisionModel:
    """Load a vision model.

    Args:
        features: one of NAMES, a hub id whose files are in the hub's local cache, or a folder.

    Raises:
        ValueError: the files are not on this machine, or are not those of such a model.
    """
    require_extra("text")
    folder = _folder(features)
    refuse_endless_settings(folder)
    try:
        settings = read_json(folder / FILES[1])
        kind, output = KINDS[read_json(folder / FILES[0])["model_type"]]
        side = int((settings.get("crop_size") or settings["size"])["height"])
        if not 0 < side <= MOST_PIXELS:
            raise ValueError(f"images of {side}×{side} pixels")
        mean, deviation = (torch.tensor(settings[name]).view(3, 1, 1) for name in ("image_mean", "image_std"))
        model: nn.Module = load_pretrained(kind, folder)
        network = model.to(device or best_device()).eval().requires_grad_(False)
        digest = weights_digest(folder)
    except Exception as error:  # the libraries raise many kinds of errors
        raise ValueError(
            f"{folder} does not hold a vision model that can be loaded ({first_line(error)}): "
            f"give the folder of a DINOv2 or CLIP model with {', '.join(FILES)}"
        ) from error
    name = f"{folder.resolve().name} {digest[:8]}" if folder == features else NAMES.get(str(features), features.as_posix())
    return VisionModel(name, digest[:8], network, output, side, mean, deviation)


def _folder(features: Path) -> Path:
    """Return the folder of a model's files on this machine."""
    if features.is_dir():
        return features
    from huggingface_hub import snapshot_download

    hub_id = NAMES.get(str(features), features.as_posix())
    try:
        folder = Path(snapshot_download(hub_id, local_files_only=True, allow_patterns=FILES[0]))
    except Exception:  # missing, or an invalid hub id
        folder = None
    if folder is None or not all((folder / name).is_file() for name in FILES):
        raise ValueError(
            f"the weights of {hub_id} are not on this machine: fetch them with `hf download {hub_id} {' '.join(FILES)}`, "
            "or give a folder that holds them with --features"
        )
    return folder
