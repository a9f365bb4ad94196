"""The end of a training whose numbers are no longer finite; what has been saved before stays as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from ..storage.config import RunConfig
from ..storage.layout import STATE
from ..storage.run import Run
from ..storage.state import read_resume_point
from ..storage.weights import first_not_finite


class Divergence:
    """Checks the numbers of a run in training.

    Args:
        run: the run, for what has been kept.
        config: its configuration, for what to change.
    """

    def __init__(self, run: Run, config: RunConfig) -> None:
        self.run, self.config = run, config

    def refuse_losses(self, losses: Sequence[float], last_step: int, of: str = "the loss") -> None:
        """Raise ValueError if one of the losses of the steps up to ``last_step`` is not finite."""
        for step, loss in enumerate(losses, start=last_step - len(losses) + 1):
            if not math.isfinite(loss):
                raise self._error(f"{of} became {loss} at step {step}")

    def refuse_tensors(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Raise ValueError if a weight is not finite: the last step may break one after its loss has been computed."""
        if first_not_finite(tensors):
            raise self._error(f"the weights were no longer finite at step {step}")

    def _error(self, what: str) -> ValueError:
        if (self.run.path / STATE).is_file():
            step = read_resume_point(self.run.path / STATE).step
            kept = f"the last good state, of step {step}, is kept in {self.run.path}"
        else:
            kept = f"nothing had been saved yet in {self.run.path}"
        return ValueError(
            f"{what}: training stopped, {kept}; "
            f"start again with a smaller --lr (it was {self.config.optimizer.lr:g}) or with --precision no"
        )
