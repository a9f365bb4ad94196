"""All kinds of input, by name."""

from __future__ import annotations

from . import of_images, of_models, of_pages, of_runs, of_settings
from .kind import Kind

KINDS: dict[str, Kind] = of_images.KINDS | of_runs.KINDS | of_models.KINDS | of_settings.KINDS | of_pages.KINDS
