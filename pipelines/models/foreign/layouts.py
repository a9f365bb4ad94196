"""Networks of other libraries, recognised by the names of their weights."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

UNET, AUTOENCODER, OURS, LUCIDRAINS = "UNet2DModel", "AutoencoderKL", "Noisescope", "denoising-diffusion-pytorch"


@dataclass(frozen=True)
class Layout:
    """A family of networks.

    Attributes:
        name: for messages, or one of the names above, which can be imported.
        marks: patterns, each of which some weight's name begins with.
    """

    name: str
    marks: tuple[str, ...]

    def fits(self, names: Iterable[str]) -> bool:
        """Return whether weights with these names belong to it."""
        return all(any(re.match(mark, name) for name in names) for mark in self.marks)


LAYOUTS = (  # the first that fits counts
    Layout("LoRA additions without the network that they change", (r".*(lora_[AB]|lora_(up|down)|lora\.(up|down))\b",)),
    Layout("diffusers' UNet2DConditionModel", (r"down_blocks\.\d+\.attentions\.\d+\.transformer_blocks\.",)),
    Layout("diffusers' VQModel", (r"quantize\.embedding\.", r"decoder\.conv_in\.")),
    Layout(AUTOENCODER, (r"encoder\.conv_in\.", r"decoder\.conv_in\.", r"encoder\.down_blocks\.")),
    Layout(UNET, (r"conv_in\.", r"time_embedding\.linear_1\.", r"down_blocks\.0\.")),
    Layout(LUCIDRAINS, (r"init_conv\.", r"downs\.0\.0\.block1\.proj\.", r"final_conv\.")),
    Layout(OURS, (r"stem\.", r"embedding\.hidden\.", r"merges\.0\.")),
    Layout(OURS, (r"encoder\.stem\.", r"decoder\.stem\.", r"latent_scale")),
    Layout("EDM2 (NVlabs)", (r"emb_fourier\.freqs", r"enc\.\d+x\d+_")),
    Layout("EDM (NVlabs): a SongUNet (DDPM++ or NCSN++)", (r"map_layer0\.", r"enc\.\d+x\d+_conv\.", r"dec\.\d+x\d+_aux_")),
    Layout("EDM (NVlabs): a DhariwalUNet (ADM)", (r"map_layer0\.", r"enc\.\d+x\d+_conv\.", r"out_conv\.")),
    Layout("score_sde (Song): NCSN++ or DDPM++", (r"all_modules\.0\.",)),
    Layout("k-diffusion's image_v1", (r"(u_net\.)?d_blocks\.0\.|u_net\.d_blocks\.0\.", r"(timestep_embed|mapping)\.")),
    Layout("k-diffusion's image_transformer (HDiT)", (r"patch_in\.", r"down_levels\.|mid_level\.")),
    Layout("Stable Diffusion or latent-diffusion (CompVis)", (r"(diffusion_model|first_stage_model)\.",)),
    Layout("guided-diffusion or improved-diffusion (OpenAI)", (r"input_blocks\.0\.0\.", r"time_embed\.0\.")),
    Layout("the original DDPM and DDIM in PyTorch (ermongroup)", (r"temb\.dense\.0\.", r"down\.0\.block\.0\.")),
    Layout("DiT", (r"x_embedder\.proj\.", r"t_embedder\.mlp\.0\.")),
    Layout("U-ViT", (r"patch_embed\.proj\.", r"in_blocks\.0\.")),
    Layout("diffusers' transformer", (r"transformer_blocks\.0\.",)),
)


def layout_of(names: Iterable[str]) -> str | None:
    """Return the name of the layout of weights, without prefixes; None if it is not known."""
    listed = list(names)
    return next((layout.name for layout in LAYOUTS if layout.fits(listed)), None)
