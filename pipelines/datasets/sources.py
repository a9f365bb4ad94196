"""Dataset sources: a short name, a hub id or a local folder, opened with Hugging Face ``datasets``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..common.extras import require_extra
from ..common.paths import folder_in
from ..common.reading import MEGABYTE, UnreadableError, read_text
from ..common.text import one_line
from ..storage.config import DataConfig
from ..storage.presets import PRESETS, Preset, dataset_name
from .classes import name_in_words, select_classes
from .columns import with_classes, with_pictures, with_single_captions
from .files.archives import SUFFIXES, is_archive
from .files.file_kinds import TABLES
from .files.inventory import Source, Unused
from .files.listing import list_files

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

HELD_OUT_SPLITS = ("test", "validation", "valid", "val")
_ROW = "number of the row"
UNKNOWN = Preset("", "", "")  # defaults for an unknown dataset


def resolve(config: DataConfig) -> DataConfig:
    """Return the configuration with the dataset's own defaults for the settings that were left open.

    The dataset is recognised by its short name, its hub id, or a folder with its short name.
    """
    ids = {preset.hub_id: preset for preset in PRESETS.values()}
    preset = ids.get(config.data) or PRESETS.get(dataset_name(config.data), UNKNOWN)
    return replace(
        config,
        image_size=config.image_size or preset.image_size,
        fit=config.fit or preset.fit,
        flip=preset.flip if config.flip is None else config.flip,
    )


def locate(name: str) -> str:
    """Return where to read a dataset: a local folder or file, or a hub id.

    Args:
        name: a short name (on the hub), a local folder, an archive, a table, or a hub id. A short name, or one that is nothing
            here, means $NOISESCOPE_DATA/<name> where that exists.

    Raises:
        ValueError: it is none of these.
    """
    root = folder_in("NOISESCOPE_DATA")
    local = None if root is None or not name or Path(name).name != name else root / name
    if local is not None and local.exists() and (name in PRESETS or not Path(name).exists()):
        return str(local)
    if name in PRESETS:
        return PRESETS[name].hub_id
    path = Path(name)
    of_pictures = is_archive(name) or path.suffix.lower() in TABLES
    if name and (path.is_dir() or (path.is_file() and of_pictures)):
        return name
    if path.is_file() and not of_pictures:
        raise ValueError(
            f"{name} is neither an archive ({', '.join(SUFFIXES)}) nor a table ({', '.join(TABLES)}) of pictures: give one of "
            "these, or the folder that the pictures lie in"
        )
    if of_pictures or not name or name.count("/") != 1:  # Path("") would be the working directory
        raise ValueError(
            f"unknown dataset {name!r}: give a short name ({', '.join(PRESETS)}), a hub id (owner/name), a local folder, an "
            f"archive ({', '.join(SUFFIXES)}) or a table ({', '.join(TABLES)})"
        )
    return name


def open_dataset(name: str, only_classes: Sequence[str] = ()) -> DatasetDict:
    """Open all splits of a dataset without decoding its images; see :func:`open_source`."""
    return open_source(name, only_classes).splits


def open_source(name: str, only_classes: Sequence[str] = ()) -> Source:
    """Open a dataset without decoding its images, and account for every file in it.

    Args:
        name: see :func:`locate`.
        only_classes: classes to keep (see :func:`pipelines.datasets.classes.select_classes`); all by default.

    Raises:
        ValueError: there is no such dataset, nothing in it can be read, or it has no such classes.
    """
    require_extra("train")
    source = locate(name)
    if not Path(source).exists():
        opened = _load(name, source)
    else:
        configs, notes = _checked(name, source)
        opened = _load(name, source) if configs and not notes else list_files(Path(source))
        opened = replace(opened, notes=(*notes, *opened.notes))
    splits, unused = {split: name_in_words(table) for split, table in opened.splits.items()}, list(opened.unused)
    for split, table in list(splits.items()):
        if only_classes:
            splits[split], others = _of_classes(table, only_classes)
            unused += [Unused(f"{split}, row {row}", "of a class that was not chosen") for row in others]
            if not len(splits[split]):  # the labels of a test split may be secret
                del splits[split]
    origins = {split: opened.origins[split] for split in splits}
    return replace(opened, splits=type(opened.splits)(splits), unused=tuple(unused), origins=origins)


def _of_classes(table: Dataset, wanted: Sequence[str]) -> tuple[Dataset, list[int]]:
    """Return the rows of some classes, and the numbers of the other rows."""
    numbered = select_classes(table.add_column(_ROW, range(len(table))), wanted)
    return numbered.remove_columns(_ROW), sorted({*range(len(table))} - {*numbered[_ROW]})


def _checked(name: str, source: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the configurations in the files that describe a dataset, and notes; see :func:`_refuse_files_elsewhere`."""
    try:
        return _refuse_files_elsewhere(source)
    except Exception as error:
        raise _not_loaded(name, source, error) from error


def _load(name: str, source: str) -> Source:
    """Open a dataset with ``datasets``: one on the hub, or one whose README says how to read it."""
    import datasets

    datasets.disable_progress_bars()
    try:
        if not Path(source).exists() and (unreadable := _refuse_files_elsewhere(source)[1]):
            raise ValueError(" ".join(unreadable))
        loaded = datasets.load_dataset(source)
    except Exception as error:  # the library raises many kinds of errors, its own and the hub's
        if not Path(source).exists():
            raise _not_loaded(name, source, error) from error
        raise ValueError(
            f"dataset {name!r} cannot be read as the configs in its README.md say: correct the files that they name, or remove "
            "them to have every file listed"
        ) from error
    rows = sum(map(len, loaded.values()))
    described, unused = _other_files(Path(source), loaded) if Path(source).is_dir() else (0, [])
    origins = {split: f"split {split!r} of {source}" for split in loaded}
    splits, captions = with_single_captions(with_pictures(loaded))
    splits, notes = with_classes(splits)
    return Source(splits, rows + described + len(unused), described, tuple(unused), origins, (*captions, *notes))


def _not_loaded(name: str, source: str, error: Exception) -> ValueError:
    unreached = isinstance(error, ConnectionError | TimeoutError)
    nowhere = (
        "it is no folder here, and the hub cannot be reached; check its spelling, or the network, or set NOISESCOPE_DATA to a "
        f"folder that contains it as {name}"
    )
    reason = nowhere if unreached else one_line(error.__cause__ or error, 300)
    return ValueError(f"dataset {name!r} could not be loaded from {source}: {reason}")


def _other_files(folder: Path, splits: DatasetDict) -> tuple[int, list[Unused]]:
    """Return how many files of a folder describe or contain the rows, and those that are not used."""
    import datasets
    import pyarrow.compute as pc

    files = {str(Path(place, file)) for place, _, names in os.walk(folder) for file in names}
    used: set[str] = set()
    for split in splits.values():
        for column in [name for name, feature in split.features.items() if isinstance(feature, datasets.Image)]:
            paths = (pc.struct_field(chunk, "path") for chunk in split.with_format("arrow").data.column(column).chunks)
            used |= files.intersection(*[chain.from_iterable(part.to_pylist() for part in paths)])
    others = [Path(file) for file in files - used]
    names = ("README.md", ".huggingface.yaml", "metadata.csv", "metadata.jsonl", "metadata.parquet")
    suffixes = (".parquet", ".arrow", ".csv", ".jsonl", ".json", ".zip", ".tar")
    describing = [file for file in others if file.name in names or (not used and file.suffix.lower() in suffixes)]
    left = sorted(set(others) - set(describing))
    return len(describing), [
        Unused(str(file.relative_to(folder)), "not among the files that its README names") for file in left
    ]


def picture_folders(name: str) -> tuple[Path, ...]:
    """Return the folders in which the picture files of a dataset may lie: its own, or those of downloads; and of archives.

    Args:
        name: see :func:`locate`.
    """
    import datasets
    from huggingface_hub.constants import HF_HUB_CACHE

    source = Path(locate(name))
    if source.is_file():  # a table names pictures beside it; in an archive, all lie in it
        source = source if is_archive(source.name) else source.absolute().parent
    own = (source,) if source.exists() else (datasets.config.DOWNLOADED_DATASETS_PATH, Path(HF_HUB_CACHE))
    folders = (*own, datasets.config.EXTRACTED_DATASETS_PATH)
    return tuple(path for folder in folders for path in (folder.resolve(), Path(os.path.abspath(folder))))  # noqa: PTH100


def _refuse_files_elsewhere(source: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the configurations in the files that describe a dataset, and a sentence on each file that cannot be read.

    Raises:
        ValueError: they name data files outside the dataset's folder, or somewhere on the network.
    """
    from datasets.data_files import sanitize_patterns

    configs, notes = _described(source)
    for config in configs:
        patterns = [each for group in sanitize_patterns(config.get("data_files") or []).values() for each in group]
        for pattern in map(str, filter(None, [*patterns, config.get("data_dir")])):
            path = Path(pattern)
            if urlsplit(pattern).scheme or "::" in pattern or path.is_absolute() or ".." in path.parts:
                raise ValueError(f"its description names files outside its folder, which are not read: {pattern[:100]!r}")
    return configs, notes


def _described(source: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the configurations in the files that describe a dataset, and a sentence on each file that cannot be read."""
    import yaml
    from datasets.config import REPOCARD_FILENAME, REPOYAML_FILENAME
    from huggingface_hub import DatasetCard, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    configs: list[Any] = []
    notes: list[str] = []
    for name in (REPOCARD_FILENAME, REPOYAML_FILENAME):
        try:
            file = Path(source, name) if Path(source).exists() else Path(hf_hub_download(source, name, repo_type="dataset"))
            text = read_text(file, MEGABYTE)
        except (FileNotFoundError, NotADirectoryError, EntryNotFoundError, RepositoryNotFoundError):
            continue  # whether the dataset can be loaded without it is for the loader to say
        except UnreadableError:
            notes.append(f"{name} is not a text that can be read: it is left out.")
            continue
        if name == REPOCARD_FILENAME and not text.lstrip().startswith("---"):
            continue  # a README for people alone
        try:
            data = DatasetCard(text).data.to_dict() if name == REPOCARD_FILENAME else yaml.safe_load(text) or {}
            configs += data.get("configs") or []
        except (AttributeError, TypeError, ValueError, yaml.YAMLError):
            notes.append(f"What {name} says of the dataset's files is not valid YAML: it is left out.")
    return [each for each in configs if isinstance(each, dict)], notes


def image_column(dataset: Dataset, name: str | None = None) -> str:
    """Return the column of images: ``name``, or the only one of that type."""
    import datasets

    columns = [key for key, feature in dataset.features.items() if isinstance(feature, datasets.Image)]
    if name in columns or (name is None and len(columns) == 1):
        return name or columns[0]
    asked = f"no image column {name!r}" if name else f"{len(columns)} image columns"
    raise ValueError(f"{asked} in this dataset: its image columns are {columns or 'none'}; choose one with --image-column")


def split_names(dataset: DatasetDict, config: DataConfig) -> tuple[str, str | None]:
    """Return the split to train on and the held-out split, None if the dataset has none."""
    if config.train_split not in dataset:
        raise ValueError(f"no split {config.train_split!r} in {config.data}: choose --train-split from {', '.join(dataset)}")
    held_out = next((name for name in HELD_OUT_SPLITS if name in dataset and name != config.train_split), None)
    return config.train_split, held_out
