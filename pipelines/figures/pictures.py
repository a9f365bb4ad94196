"""Sheets of what was generated: grids of samples, film strips of their denoising, and trajectories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..common.images import Pixels
from ..common.indices import evenly_spaced
from ..sampling.alignment import frame_at, shared_log_snrs
from ..sampling.generation import Frame, Generation
from ..sampling.trajectory import Trajectory
from .captions import about_samples, sentences
from .sheet import Row, Sheet

ACROSS = 12  # samples in a line of a grid
STRIP_IMAGES, STRIP_FRAMES, STRIP_ROWS = 8, 6, 10  # at most: columns of a film strip, rows for each model, rows
TRAJECTORY_FRAMES = 8  # at most


def samples_grid(columns: Mapping[str, Generation]) -> Sheet:
    """Describe the samples of generations, a labelled row for each."""
    rows = tuple(Row(title, list(column.frames[-1].x)) for title, column in columns.items())
    return Sheet(rows, min(ACROSS, max(len(row.pictures) for row in rows)), caption=about_generations(columns))


def denoising_strip(columns: Mapping[str, Generation], estimates: bool = False) -> Sheet:
    """Describe film strips of generations: their first images at the same noise levels, from noise to sample.

    Args:
        columns: by title; a number before a colon is enough of it for the labels, since the caption has the whole.
        estimates: show the estimates of x0 instead of the states x_t.
    """
    levels = shared_log_snrs(columns.values())
    levels = [levels[index] for index in evenly_spaced(len(levels), min(STRIP_FRAMES, STRIP_ROWS // len(columns)))]
    rows = []
    for title, column in columns.items():
        before = f"{title.partition(':')[0]}: " if len(columns) > 1 else ""
        for frame in dict.fromkeys(frame_at(column.frames, level) for level in levels):
            pictures = list((frame.x0 if estimates else frame.x)[:STRIP_IMAGES])
            rows.append(Row(f"{before}{_name_of(frame)}", pictures))
    shown = "Estimates of x0" if estimates else "Noisy states"
    caption = f"{shown}, from noise to sample. {about_generations(columns)}"
    return Sheet(tuple(rows), max(len(row.pictures) for row in rows), caption=caption)


def trajectory_strip(way: Trajectory, image: int, captions: Sequence[str], about: str) -> Sheet:
    """Describe one image of a trajectory: a row for each quantity, a column for each of some timesteps.

    Args:
        captions: the names of the quantities.
        about: where the trajectory comes from.
    """
    frames = evenly_spaced(len(way.steps), TRAJECTORY_FRAMES).tolist()
    quantities: list[Pixels | None] = [way.x, way.x0, way.noise, way.change]
    shown = [pixels[frames, image] for pixels in quantities if pixels is not None]
    rows = tuple(Row(name, list(pictures)) for name, pictures in zip(captions, shown, strict=True))
    return Sheet(rows, len(frames), tuple(way.labels[frame] for frame in frames), sentences([about]))


def about_generations(columns: Mapping[str, Generation]) -> str:
    """Return which models made the samples, and how."""
    names = [title if column.run.name in title else f"{title}, {column.run.name}" for title, column in columns.items()]
    made = zip(names, columns.values(), strict=True)
    return sentences(about_samples(name, column.fingerprint, column.request) for name, column in made)


def _name_of(frame: Frame) -> str:
    return "sample" if frame.log_snr == float("inf") else f"t = {frame.timestep:.0f}"
