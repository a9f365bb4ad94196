"""A text encoder to share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def clip(clip_folder):
    """The small CLIP."""
    from pipelines.datasets.text_encoders import make_encoder

    return make_encoder(str(clip_folder))
