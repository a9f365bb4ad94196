"""The Inception network, whose features give the FID reported in papers, for images of any size.

The architecture is that of pytorch-fid, with the weights of the original FID. They are downloaded once, verified, and loaded
as tensors only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import URLError

import torch
import torch.nn.functional as F
from pytorch_fid import inception as pytorch_fid
from torch import Tensor, nn
from torchvision.models import inception_v3

from ..common.devices import best_device

SIDE = 299  # pixels; input size of the network
AT_ONCE = 32  # batch size
DIGEST = "6726825d"  # first digits of the weights' SHA-256, also part of their file name


@dataclass(frozen=True, eq=False)
class Inception:
    """The network up to its last pooling.

    Attributes:
        network: on its device, in evaluation mode, without gradients.
    """

    network: nn.Module

    def features(self, images: Tensor) -> Tensor:
        """Return the features of grey or colour images: (B, C, H, W) in [−1, 1] -> (B, 2048) float32 on the CPU."""
        device = next(self.network.parameters()).device
        with torch.no_grad():
            return torch.cat([self.network(_fitted(part).to(device)).cpu() for part in images.split(AT_ONCE)])


def _fitted(images: Tensor) -> Tensor:
    colour = images.float().expand(-1, 3, -1, -1)
    return F.interpolate(colour, (SIDE, SIDE), mode="bilinear", align_corners=False)


def weights_path() -> Path:
    """Return the path of the weights, in torch's download folder."""
    return Path(torch.hub.get_dir()) / "checkpoints" / pytorch_fid.FID_WEIGHTS_URL.rsplit("/", 1)[-1]


def load_inception(device: torch.device | str | None = None) -> Inception:
    """Load the network; its weights are downloaded if necessary (91 MB).

    Raises:
        ValueError: the weights can neither be found nor downloaded, or the file is not the right one.
    """
    path = weights_path()
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(pytorch_fid.FID_WEIGHTS_URL, str(path), DIGEST)
        except (URLError, OSError, RuntimeError) as error:
            raise ValueError(
                f"the weights of Inception cannot be downloaded from {pytorch_fid.FID_WEIGHTS_URL} ({error}): put the file "
                f"at {path}, or use the features of a classifier (see pipelines.classifier)"
            ) from error
    network = _network()
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, UnpicklingError, OSError) as error:
        raise ValueError(f"{path} does not hold the weights of Inception: delete it to download them again") from error
    network.fc = nn.Identity()
    return Inception(network.to(device or best_device()).eval().requires_grad_(False))


def _network() -> nn.Module:
    """Build ``pytorch_fid.inception.fid_inception_v3`` without weights, because that function unpickles them."""
    network = inception_v3(num_classes=1008, aux_logits=False, init_weights=False)
    network.Mixed_5b = pytorch_fid.FIDInceptionA(192, pool_features=32)
    network.Mixed_5c = pytorch_fid.FIDInceptionA(256, pool_features=64)
    network.Mixed_5d = pytorch_fid.FIDInceptionA(288, pool_features=64)
    network.Mixed_6b = pytorch_fid.FIDInceptionC(768, channels_7x7=128)
    network.Mixed_6c = pytorch_fid.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6d = pytorch_fid.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6e = pytorch_fid.FIDInceptionC(768, channels_7x7=192)
    network.Mixed_7b = pytorch_fid.FIDInceptionE_1(1280)
    network.Mixed_7c = pytorch_fid.FIDInceptionE_2(2048)
    return network
