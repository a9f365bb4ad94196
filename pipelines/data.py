"""Report what is in a dataset before training on it: ``python -m pipelines.data FOLDER``.

It says what was found, what of it is used and why the rest is not, where the splits come from, which classes and captions there
are, and what the pictures are like. Nothing is trained. The exit code is 2 if no picture can be used.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, UseCounterAction, arg

from .common.command_line import DONE, run_command
from .common.images import montage, png_bytes
from .common.settings import MAY_BE_PATH, SomeOf
from .storage.config import ConditionConfig, DataConfig
from .storage.disk import refuse_unwritable
from .storage.files import atomic, write_text
from .storage.presets import PRESETS


@dataclass(frozen=True)
class Data(DataConfig):
    """Report what is in a dataset, what of it is used for training, and why the rest is not."""

    data: Annotated[Positional[str], MAY_BE_PATH, SomeOf(PRESETS)] = field()
    """A short name, a hub id, or a local folder, archive or table."""
    condition: OmitArgPrefixes[ConditionConfig] = field(default_factory=ConditionConfig)
    out: Path | None = None
    """A folder to write: data.json, the whole report with every file that is not used, and examples.png, 16 pictures as the
    network will see them."""
    json: Annotated[UseCounterAction[int], arg(help_behavior_hint="")] = 0
    """Print the whole report as JSON."""

    @property
    def config(self) -> DataConfig:
        """The settings of the data alone."""
        return DataConfig(**{each.name: getattr(self, each.name) for each in fields(DataConfig)})


def main(arguments: Data) -> int:
    """Print the report; return the exit code."""
    from .datasets.image_sets import preview_images
    from .datasets.report_text import as_text
    from .datasets.sources import open_source, resolve
    from .datasets.survey import full_survey

    if arguments.out is not None:
        refuse_unwritable(arguments.out, "choose another folder with --out")
    config = resolve(arguments.config)
    opened = open_source(config.data, config.only_classes)
    report = full_survey(config, opened, arguments.condition)
    print(report.to_json() if arguments.json else as_text(report))
    if arguments.out is not None:
        write_text(arguments.out / "data.json", report.to_json())
        if report.trained:
            with atomic(arguments.out / "examples.png") as temporary:
                temporary.write_bytes(png_bytes(montage(preview_images(config, opened=opened), 8)))
    if not report.trained + report.held_out:
        raise ValueError(report.problem)
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(Data, main, "pipelines.data"))
