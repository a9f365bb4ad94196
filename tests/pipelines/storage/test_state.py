"""The point of a training in its saved state."""

from __future__ import annotations

import torch

from pipelines.storage.state import ResumePoint, read_resume_point, save_state


def test_a_restored_loss_scaler_goes_on(tmp_path):
    """fp16 scales the loss, and torch refuses a growth interval that is not an int."""
    path, weight = tmp_path / "state.safetensors", torch.nn.Parameter(torch.ones(1))
    saved = torch.amp.GradScaler("cpu")
    save_state(path, {"weight": weight.detach()}, ResumePoint(1, 2.0, [], [], saved.state_dict()))
    restored = torch.amp.GradScaler("cpu")
    restored.load_state_dict(read_resume_point(path).scaler)
    restored.scale(weight.sum()).backward()
    restored.step(torch.optim.SGD([weight]))
    restored.update()
    assert restored.state_dict()["_growth_tracker"] == 1
