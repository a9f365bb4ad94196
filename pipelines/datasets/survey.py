"""Survey a dataset: make its :class:`~pipelines.datasets.report.DataReport`, first from its listing, then from its pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..common.indices import evenly_spaced
from ..common.machine import TooLarge
from ..common.picture_facts import PictureFacts, picture_facts
from ..storage.config import ConditionConfig, DataConfig
from .columns import with_conditions
from .condition_survey import survey_conditions
from .decoding import picture_name, read_cell
from .files.inventory import Source, Unused
from .files.places import literal_place
from .image_sets import held_out_rows, load_split, pictures_in, readable_images
from .report import CopyReport, DataReport, PictureReport, SplitReport, grouped
from .report_text import about_data
from .sources import image_column, locate, picture_folders, split_names
from .splits import Rows

if TYPE_CHECKING:
    from datasets import Dataset

    from .image_sets import ImageSet

AT_ONCE = 1000  # rows named in one piece


def full_survey(config: DataConfig, opened: Source, condition: ConditionConfig | None = None) -> DataReport:
    """Decode the pictures of a dataset and report on it; ``problem`` of the report says if and why it cannot be trained on.

    Args:
        config, opened, condition: see :func:`survey`.

    Raises:
        ValueError: see :func:`survey`.
    """
    try:
        train, held_out, config = load_split(config, opened)
    except TooLarge as error:
        return survey(config, opened, condition, problem=str(error))
    except ValueError as error:
        return survey(config, opened, condition, readable_images(config, opened), str(error))
    return survey(config, opened, condition, (train, held_out))


def survey(
    config: DataConfig,
    opened: Source,
    condition: ConditionConfig | None = None,
    images: tuple[ImageSet, ...] = (),
    problem: str = "",
) -> DataReport:
    """Report what is in a dataset and what becomes of it.

    Args:
        config: a resolved configuration (see :func:`pipelines.datasets.sources.resolve`).
        opened: the dataset that it names.
        condition: the columns of classes and captions.
        images: the training images and the held-out ones, if any, once they have been decoded. Without them, the report takes
            every picture as readable, and says nothing about the pictures themselves.
        problem: why they cannot be trained on.

    Raises:
        ValueError: the dataset has no such columns.
    """
    train_name, held_out_name = split_names(opened.splits, config)
    condition = condition or ConditionConfig()
    train = with_conditions(opened.splits, condition)[train_name]
    splits, left_out = _splits(opened, config, images)
    skipped = (each for part in images for each in part.skipped)
    rows = np.arange(len(train))
    if images:
        own = images if held_out_name is None else images[:1]
        rows = np.sort(np.concatenate([part.rows for part in own]))
    classes, captions, notes = survey_conditions(train, rows, condition, config.data)
    tables = (train, opened.splits[held_out_name or train_name])
    decoded = any(map(len, images))
    report = DataReport(
        data=config.data,
        place=locate(config.data),
        image_size=config.image_size or 64,
        fit=config.fit or "crop",
        inside=_inside(train, config),
        found=opened.found,
        described=opened.described,
        unused=grouped([*opened.unused, *skipped, *left_out]),
        splits=splits,
        classes=classes,
        captions=captions,
        pictures=_pictures(config, zip(tables, images, strict=False)) if decoded else None,
        copies=_copies(config, *images) if decoded and not problem else None,
        notes=(*opened.notes, *dict.fromkeys(note for part in images for note in part.notes), *notes),
        problem=problem,
    )
    return replace(report, about=about_data(report))


def _splits(opened: Source, config: DataConfig, images: Sequence[ImageSet]) -> tuple[tuple[SplitReport, ...], list[Unused]]:
    """Return what becomes of each split, and the pictures that are left out because they are in no split that is used."""
    train_name, held_out_name = split_names(opened.splits, config)
    reports, left_out = [], []
    for name, table in opened.splits.items():
        origin = opened.origins.get(name, f"the split {name!r}")
        if name == train_name:
            surplus = _surplus(table, config, images)
            trained, held_out = len(images[0]) if images else len(table) - len(surplus), 0
            if held_out_name is None and len(images) > 1:
                held_out = len(images[1])
            reason = f"not needed: {trained:,} pictures are enough to train on (--train-images)"
            left_out += [Unused(each, reason) for each in row_names(table, config, surplus)]
        elif name == held_out_name:
            wanted = held_out_rows(table, config.held_out_images)
            trained, held_out = 0, len(images[1]) if len(images) > 1 else len(wanted)
            beyond = np.setdiff1d(np.arange(len(table)), wanted)
            reason = f"not needed: {len(wanted):,} pictures of the split {name!r} are enough to hold out (--held-out-images)"
            left_out += [Unused(each, reason) for each in row_names(table, config, beyond)]
        else:
            trained = held_out = 0
            reason = f"in the split {name!r}, which is neither trained on nor held out (--train-split)"
            left_out += [Unused(each, reason) for each in row_names(table, config, np.arange(len(table)))]
        reports.append(SplitReport(name, origin, len(table), trained, held_out))
    return tuple(reports), left_out


def _surplus(table: Dataset, config: DataConfig, images: Sequence[ImageSet]) -> Rows:
    """Return the rows of the training split that are not needed because fewer images are asked for."""
    if images:
        return np.array(images[0].surplus, np.int64)
    return np.delete(np.arange(len(table)), evenly_spaced(len(table), config.train_images or len(table)))


def row_names(table: Dataset, config: DataConfig, rows: Rows) -> Iterator[str]:
    """Yield the names of the pictures in some rows, without reading the pictures."""
    import pyarrow.compute as pc

    column = image_column(table, config.image_column)
    folders = picture_folders(config.data)
    chosen = table.select_columns([column]).with_format("arrow").select(rows)
    for start in range(0, len(rows), AT_ONCE):
        paths = pc.struct_field(chosen[start : start + AT_ONCE][column], "path").to_pylist()
        for row, path in zip(rows[start : start + AT_ONCE], paths, strict=True):
            yield picture_name({"path": path}, row, table.split, folders)


def _inside(table: Dataset, config: DataConfig) -> bool:
    """Return whether the pictures lie inside archives or tables, instead of in files of their own."""
    pictures = pictures_in(table, config)
    folder, cells = pictures.folders[0], [cell for _, cell in pictures.cells(np.arange(min(1, len(table)))) if cell]
    return any(cell["bytes"] is not None or not (folder / literal_place(cell["path"] or "")).is_file() for cell in cells)


def _pictures(config: DataConfig, sets: Iterable[tuple[Dataset, ImageSet]]) -> PictureReport:
    """Return the facts in the headers of the pictures that are used."""
    kinds = Counter(facts for table, images in sets for facts in _facts(table, images.rows, config))
    sizes: Counter[tuple[int, int]] = Counter()
    for facts, number in kinds.items():
        sizes[facts.width, facts.height] += number
    side, crop = config.image_size or 64, config.fit != "pad"
    decisive = min if crop else max
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    commonest, of_commonest = sizes.most_common(1)[0]
    lost = {size: _lost(size, side, crop) for size in sizes}
    return PictureReport(
        smallest=ordered[0],
        largest=ordered[-1],
        commonest=commonest,
        of_commonest=of_commonest,
        enlarged=sum(number for size, number in sizes.items() if crop and min(size) < side),
        reduced=sum(number for size, number in sizes.items() if decisive(size) > side),
        lost=sum(lost[size] * number for size, number in sizes.items()) / sizes.total(),
        most_lost=max(lost.values()),
        colours=_counted(kinds, "colours"),
        depths=_counted(kinds, "depth"),
        formats=_counted(kinds, "format"),
    )


def _facts(table: Dataset, rows: Rows, config: DataConfig) -> Iterator[PictureFacts]:
    pictures = pictures_in(table, config)
    for _, cell in pictures.cells(rows):
        with suppress(OSError, ValueError):  # it has changed since it was decoded
            yield picture_facts(read_cell(cell, pictures.folders))


def _lost(size: tuple[int, int], side: int, crop: bool) -> float:
    """Return the share of a picture that is cropped away, or that of the square around it that stays black."""
    if crop:
        return 1 - min(size) / max(size)
    scale = min(1.0, side / max(size))
    return 1 - size[0] * size[1] * scale**2 / side**2


def _counted(kinds: Counter[PictureFacts], name: str) -> dict[str, int]:
    """Return how many pictures have each value of one of the facts, the most frequent first."""
    found: Counter[str] = Counter()
    for facts, number in kinds.items():
        found[getattr(facts, name)] += number
    return dict(found.most_common())


def _copies(config: DataConfig, train: ImageSet, held_out: ImageSet) -> CopyReport:
    across, near = config.held_out.copies, config.held_out.near_copies
    if across is None or near is None:
        from .copies import count_copies

        across, near = count_copies(train, held_out)
    repeated, again = (len(part) - len(np.unique(part.keys)) for part in (train, held_out))
    return CopyReport(repeated, again, across, near)
