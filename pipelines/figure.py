"""Make figures for papers and slides: ``python -m pipelines.figure curves checkpoints/NAME --out curves.pdf``.

Writes PDF, SVG or PNG, as the name says, as wide as one column of a journal or as a page of two. Below the figure and in the
file's metadata it says which weights, seeds and samplers the figure comes from; the same is printed, for the paper's caption.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional

from diffusion_core.choices import SCHEDULES

from .common.command_line import DONE, run_command
from .common.extras import require_extra
from .common.indices import evenly_spaced
from .common.settings import MAY_BE_PATH, Between, OneOf, Settings, SomeOf, require
from .evaluation.results import FIGURES
from .figures.cost import COSTS
from .figures.formats import Width, kind_of
from .sample import read_prompts
from .sampling.request import SamplingRequest
from .storage.data_config import DataConfig
from .storage.disk import refuse_unwritable
from .storage.presets import PRESETS
from .storage.run import Run
from .storage.runs import find_run

if TYPE_CHECKING:
    from .figures.chart import Chart
    from .figures.sheet import Sheet

MOST_ACROSS = 32  # pictures beside each other: more would be smaller than their pixels


@dataclass(frozen=True)
class Printed(Settings):
    """What all figures are asked for."""

    _: KW_ONLY
    out: Path
    """The file to write; its name ends in .pdf, .svg or .png."""
    width: Width = "double"
    """single: one column, 3.25 inches; double: a page of two columns, 6.75 inches."""
    caption: bool = True
    """Print below the figure where it comes from; the file's metadata say so in any case."""

    def drawn(self) -> Chart | Sheet:
        """Return what the figure shows."""
        raise NotImplementedError


@dataclass(frozen=True)
class Curves(Printed):
    """Loss and validation loss over training."""

    runs: Positional[tuple[Path, ...]]
    """Run folders, names of runs in checkpoints/ or runs/, or ids of runs on the hub (USER/NAME)."""

    def drawn(self) -> Chart:
        """Return the curves of the runs."""
        from .figures.summary import curves_of

        return curves_of(_found(self.runs))


@dataclass(frozen=True)
class Strip(Printed):
    """A film strip: samples at several timesteps, from noise to image."""

    run: Positional[Path]
    """A run: its folder, its .safetensors file, its name in checkpoints/ or runs/, or its id on the hub (USER/NAME)."""
    request: OmitArgPrefixes[SamplingRequest] = field(default_factory=lambda: SamplingRequest(num_images=8))
    frames: Annotated[int, Between(2, 100)] = 6
    """Rows of the strip: timesteps, evenly spaced in the sampler's steps, of which the last is the sample."""

    def drawn(self) -> Sheet:
        """Generate the samples and return their strip."""
        from .figures.captions import about_samples, sentences
        from .figures.sheet import Row, Sheet
        from .models.loading import load_model
        from .sampling.overview import frames_of

        across = self.request.num_images
        require(across <= MOST_ACROSS, f"num_images={across}: choose at most {MOST_ACROSS}, so that the pictures can be seen")
        request = replace(self.request, prompt=tuple(read_prompts(self.request.prompt)))
        model = load_model(find_run(self.run, download=True))
        rows = [Row(label, list(pictures)) for label, pictures in frames_of(model, request, self.frames)]
        return Sheet(tuple(rows), across, caption=sentences([about_samples(model.name, model.fingerprint, request)]))


@dataclass(frozen=True)
class Forward(Printed):
    """A picture at several timesteps of the forward process, a row for each noise schedule."""

    data: Annotated[Positional[str], MAY_BE_PATH, SomeOf(PRESETS)]
    """A short name, a hub id, or a local folder, archive or table."""
    number: Annotated[int, Between(0, 15)] = 0
    """Which of 16 pictures, evenly spaced in the training split."""
    schedules: Annotated[tuple[str, ...], OneOf(SCHEDULES)] = ("cosine", "linear")
    """The noise schedules."""
    frames: Annotated[int, Between(2, MOST_ACROSS)] = 8
    """Timesteps, evenly spaced in the schedule."""
    seed: Annotated[int, Between(0, 2**63 - 1)] = 0
    """Seed of the noise."""

    def drawn(self) -> Sheet:
        """Return the picture at every timestep."""
        import torch

        from diffusion_core.noise import SeededNoise
        from diffusion_core.process import add_noise
        from diffusion_core.schedules import make_schedule

        from .common.images import as_input, to_uint8
        from .datasets.image_sets import preview_images
        from .datasets.sources import resolve
        from .figures.captions import sentences
        from .figures.sheet import Row, Sheet

        images = preview_images(replace(resolve(DataConfig(self.data)), flip=False))
        require(
            self.number < len(images), f"number={self.number}: choose less than {len(images)}, as there are no more pictures"
        )
        x0 = as_input(torch.from_numpy(images[self.number]).permute(2, 0, 1)[None])
        noise = SeededNoise(self.seed, tuple(x0.shape[1:]), [0]).initial()
        rows = []
        for name in dict.fromkeys(self.schedules):
            schedule = make_schedule(name)
            times = torch.from_numpy(evenly_spaced(schedule.num_timesteps, self.frames))
            states = add_noise(schedule, x0.expand(len(times), -1, -1, -1), noise, times)
            rows.append(Row(SCHEDULES[name].title, list(to_uint8(states))))
        told = [f"Picture {self.number} of {len(images)} training pictures of {self.data}", f"Noise from seed {self.seed}"]
        first, *others = times.tolist()
        columns = (f"t = {first}", *map(str, others))
        return Sheet(tuple(rows), len(times), columns, sentences(told))


@dataclass(frozen=True)
class Pareto(Printed):
    """Sample quality against its cost, with 95 % intervals and the Pareto front."""

    runs: Positional[tuple[Path, ...]]
    """Evaluated runs: their folders, names of runs in checkpoints/ or runs/, or ids of runs on the hub (USER/NAME)."""
    metric: Annotated[str, OneOf(FIGURES)] = "frechet_distance"
    """What is measured of samples."""
    cost: Annotated[str, OneOf(COSTS)] = "network_calls"
    """What it costs."""

    def drawn(self) -> Chart:
        """Return the measurements of the runs."""
        from .figures.summary import pareto_of

        return pareto_of(_found(self.runs), self.metric, self.cost)


@dataclass(frozen=True)
class Xray(Printed):
    """What each step of a sampler did, and how wrong it was against a fine solution."""

    run: Positional[Path]
    """A run: its folder, its .safetensors file, its name in checkpoints/ or runs/, or its id on the hub (USER/NAME)."""
    request: OmitArgPrefixes[SamplingRequest] = field(default_factory=lambda: SamplingRequest(num_images=4))

    def drawn(self) -> Chart:
        """Sample, and return the X-ray with what it shows in words."""
        from .figures.captions import about_samples, sentences
        from .figures.xray import xray_chart
        from .models.loading import load_model
        from .sampling.diagnosis import diagnosis
        from .sampling.xray import xray

        request = replace(self.request, prompt=tuple(read_prompts(self.request.prompt)))
        model = load_model(find_run(self.run, download=True))
        found = xray(model, request)
        told = [about_samples(model.name, model.fingerprint, request), *diagnosis(found, request.sampler)]
        return replace(xray_chart(found), caption=sentences(told))


@dataclass(frozen=True)
class Samplers(Printed):
    """How far samplers and spacings stay from a fine solution at equal numbers of network calls."""

    run: Positional[Path]
    """A run: its folder, its .safetensors file, its name in checkpoints/ or runs/, or its id on the hub (USER/NAME)."""
    calls: Annotated[int, Between(1)] = 20
    """Network calls for each image, without those of guidance."""
    request: OmitArgPrefixes[SamplingRequest] = field(default_factory=lambda: SamplingRequest(num_images=4))
    """Its sampler, spacing, steps and eta do not matter."""

    def drawn(self) -> Chart:
        """Sample with each of them, and return how far each stays from the fine solution."""
        from .figures.captions import about_weights, sentences
        from .figures.xray import standings_chart
        from .models.loading import load_model
        from .sampling.diagnosis import best_and_worst
        from .sampling.equal_calls import calls_in_words, found_at

        request = replace(self.request, prompt=tuple(read_prompts(self.request.prompt)))
        model = load_model(find_run(self.run, download=True))
        found = found_at(model, request, self.calls)
        made = f"{about_weights(model.name, model.fingerprint)}: seed {request.seed}, {calls_in_words(self.calls, request)}"
        return replace(standings_chart(found), caption=sentences([made, best_and_worst(found)]))


def _found(paths: tuple[Path, ...]) -> Mapping[str, Run]:
    """Return runs by name, or by path where names are the same."""
    runs = [find_run(path, download=True) for path in paths]
    names = [run.name for run in runs]
    return {run.name if names.count(run.name) == 1 else str(run.path): run for run in runs}


COMMANDS = (Curves, Strip, Forward, Pareto, Xray, Samplers)


def main(arguments: Printed) -> int:
    """Write the figure; return the exit code."""
    require_extra("paper")
    kind_of(arguments.out)
    refuse_unwritable(arguments.out.parent, "choose another file with --out")
    shown = arguments.drawn()
    from .figures.paper import write_figure

    write_figure(shown, arguments.out, arguments.width, arguments.caption)
    print(f"{arguments.out}: {shown.caption}")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(COMMANDS, main, "pipelines.figure"))
