"""Which networks there are. Importing this module does not load torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .baseline import BaselineUNet


@dataclass(frozen=True, eq=False)
class NetworkChoice:
    """A network, as people choose it. Calling the choice makes the network.

    Attributes:
        title: what it is called.
        about: one sentence that helps to choose.
        target: its class, or where to import it from when it is first needed, as "module:name".
        takes: what it can be told about an image, if anything. A network that takes a class has the option ``num_classes``,
            one that takes text ``text_dim``.
        attention: whether it has the option ``attention_levels``.
    """

    title: str
    about: str
    target: str | Callable[..., BaselineUNet]
    takes: Literal["class", "text"] | None = None
    attention: bool = False

    def load(self) -> Any:
        """Return the class itself."""
        return resolve_name(self.target) if isinstance(self.target, str) else self.target

    def __call__(self, **options: Any) -> BaselineUNet:
        network: BaselineUNet = self.load()(**options)
        return network


NETWORKS: dict[str, NetworkChoice] = {
    "baseline": NetworkChoice("Baseline U-Net", "Convolutions only.", "unets.baseline:BaselineUNet"),
    "attention": NetworkChoice(
        "Attention U-Net", "Self-attention at the coarse levels too.", "unets.attention:AttentionUNet", attention=True
    ),
    "class": NetworkChoice(
        "Class U-Net", "With attention, and told the class.", "unets.conditional:ConditionalUNet", "class", attention=True
    ),
    "text": NetworkChoice(
        "Text U-Net", "With attention to the words of a prompt.", "unets.conditional:ConditionalUNet", "text", attention=True
    ),
}
