"""The registry of networks. Importing this module does not load torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .baseline import BaselineUNet


@dataclass(frozen=True, eq=False)
class NetworkChoice:
    """One entry of the registry, as shown to users. Calling the choice builds the network.

    Attributes:
        title: the network's name.
        about: one sentence that helps users choose.
        target: the network's class, or its import path "module:name", resolved on first use.
        takes: the condition that the network takes, if any. A network that takes a class has the option ``num_classes``, one
            that takes text ``text_dim``.
        attention: whether the network has the option ``attention_levels``.
    """

    title: str
    about: str
    target: str | Callable[..., BaselineUNet]
    takes: Literal["class", "text"] | None = None
    attention: bool = False

    def load(self) -> Any:
        """Return the class."""
        return resolve_name(self.target) if isinstance(self.target, str) else self.target

    def __call__(self, **options: Any) -> BaselineUNet:
        network: BaselineUNet = self.load()(**options)
        return network


NETWORKS: dict[str, NetworkChoice] = {
    "baseline": NetworkChoice("Baseline U-Net", "Convolutions only.", "unets.baseline:BaselineUNet"),
    "attention": NetworkChoice(
        "Attention U-Net", "With self-attention at the coarse levels.", "unets.attention:AttentionUNet", attention=True
    ),
    "class": NetworkChoice(
        "Class U-Net",
        "With self-attention, conditional on a class.",
        "unets.conditional:ConditionalUNet",
        "class",
        attention=True,
    ),
    "text": NetworkChoice(
        "Text U-Net",
        "With self-attention and cross-attention to the words of a prompt.",
        "unets.conditional:ConditionalUNet",
        "text",
        attention=True,
    ),
}
