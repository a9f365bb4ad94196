"""Preparation of training from a configuration: read images and conditions, encode latents, set up the task and the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unets.autoencoder import LatentSpace

from ..common.devices import process_state
from ..common.reports import report_progress
from ..datasets.conditions import Conditions, load_conditions, refuse_other_classes, refuse_without_conditions
from ..datasets.copies import count_copies
from ..datasets.files.inventory import Source
from ..datasets.image_sets import ImageSet, load_split, refuse_other_images
from ..datasets.report import read_report
from ..datasets.report_text import not_used, sum_of_files
from ..datasets.sources import open_source
from ..datasets.splits import data_of, digest_of, refuse_missing
from ..datasets.survey import survey
from ..models.finetune import add_low_rank, adopt, load_initial, sources_of
from ..models.footprint import training_footprint
from ..models.latents import PREFIX, encode_cached, prepare_autoencoder, read_autoencoder
from ..models.networks import make_network
from ..models.teachers import load_teacher
from ..storage.claim import RunClaim
from ..storage.config import LatentConfig, RunConfig
from ..storage.layout import CONFIG, DATA, STATE
from ..storage.locations import with_settled_paths
from ..storage.run import Run
from ..storage.runs import find_run
from ..storage.state import refuse_damaged
from .accelerator import make_accelerator
from .autoencoder import AutoencoderTask
from .comparison import Comparison, comparison_with, with_samples, without_comparison
from .consistency import ConsistencyTask
from .critics import find_feature_classifier
from .diffusion import DiffusionTask
from .distillation import DistillationTask
from .loop import TrainingLoop
from .task import Task, TrainingData, fill_recorded, library_versions


def open_training(run: Run | RunClaim, config: RunConfig, trackers: Sequence[str] = ()) -> TrainingLoop:
    """Read the configured data and return a training loop that is ready to train (see :meth:`TrainingLoop.prepare`).

    Args:
        run: the folder to write, or a claim to it made earlier; training resumes from its saved state, if there is one.
        config: what to train. Settings left open are filled in, and the result is written to the folder.
        trackers: names of trackers (see :mod:`pipelines.training.trackers`).

    Raises:
        ValueError: the configuration cannot be trained; the message says why.
    """
    claim = run if isinstance(run, RunClaim) else RunClaim(run)  # before the data are read, which takes a while
    claim.run.refuse_without_state()
    if (claim.run.path / STATE).is_file():
        refuse_damaged(claim.run.path / STATE, claim.run.instead_of_resuming)
    accelerator = make_accelerator(config, trackers)
    loop = TrainingLoop(claim, read_task(claim.run, config), trackers, accelerator)
    loop.prepare()
    return loop


def read_task(run: Run, config: RunConfig) -> Task[Any]:
    """Read the configured data and set up the training task.

    Args:
        run: the run to train. When it is resumed, the autoencoder of a latent diffusion model is read from its own weights, and
            its saved state replaces the weights of the run that it started from.
        config: what to train.

    Raises:
        ValueError: the data, the text encoder, the autoencoder or the run to start from is missing or does not fit.
    """
    config = with_settled_paths(config if config.is_student else adopt(config))
    begun = config.image_shape is not None
    sources = () if begun else tuple(sources_of(config))  # what a run has begun with is recorded
    config = replace(config, data=data_of(config))
    new_student = config.is_student and not config.versions
    without_data = not config.sees_images and config.network.takes != "text"  # classes have numbers
    if (run.path / CONFIG).is_file() and not without_data:
        refuse_missing(config, f"say where they are now with --resume {run.path} --data FOLDER")
    state = process_state()
    footprint = training_footprint(config, state.device, state.num_processes)
    footprint.refuse_beyond_memory()
    if state.is_main_process:
        for note in filter(None, (footprint.warning, footprint.refuse_full_disk(run), config.optimizer.about_warmup)):
            print(f"note: {note}")
    if without_data:
        return _read_student(config)
    if config.model == "autoencoder" and config.autoencoder.feature_weight:
        find_feature_classifier(config.autoencoder.feature_classifier)  # it must exist
    report_progress("reading the images")
    with state.main_process_first():  # it may have to download the data or a text encoder
        opened = open_source(config.data.data, config.data.only_classes)
        if config.network.conditional:
            refuse_without_conditions(config, opened)
        train, held_out, data_config = load_split(config.data, opened, sources)
    refuse_other_images(config, train)
    if data_config.held_out.copies is None:
        report_progress("looking for copies of training images among the held-out ones")
        exact, near = count_copies(train, held_out)
        data_config = replace(data_config, held_out=replace(data_config.held_out, copies=exact, near_copies=near))
    config = replace(config, data=data_config)
    report = _report(run, config, opened, (train, held_out)) if state.is_main_process else ""
    config = fill_recorded(config, train.images.shape[1:], len(train), digest_of(train.keys))
    data = TrainingData(train.images, held_out.images, report=report)
    if config.model == "autoencoder":
        return AutoencoderTask(config, data)
    if config.network.conditional:
        config, known = _read_conditions(config, opened, train, held_out)
        data = replace(data, conditions=known[0], held_out_conditions=known[1])
    if not config.sees_images:
        return _read_student(config, data)
    config, comparison = _compare(config, begun and not new_student, train, held_out)
    autoencoder, autoencoder_weights = None, None
    if config.latent.latent is not None:
        config, data, autoencoder, autoencoder_weights = _encode(run, config, data)
    if config.is_student:
        return ConsistencyTask(config, data, load_teacher(config, process_state().device), comparison)
    network = make_network(config, config.seed)
    if config.init.init_from is not None and not (run.path / STATE).is_file():  # a saved state holds all weights
        load_initial(network, config)
    if config.init.lora_rank:
        add_low_rank(network, config.init.lora_rank, config.seed)
    return DiffusionTask(config, data, network, autoencoder, autoencoder_weights, comparison)


def _read_student(config: RunConfig, captioned: TrainingData | None = None) -> DistillationTask:
    """Read the teacher of a student and set up its training.

    Args:
        captioned: the data of a text-conditional teacher, whose captions the student learns.
    """
    config = replace(config, versions=config.versions or library_versions())
    assert config.image_shape is not None
    none = torch.empty((0, *config.image_shape))
    data = TrainingData(none, none) if captioned is None else replace(captioned, images=none, held_out=none)
    if config.network.takes == "class":
        classes = Conditions(labels=torch.arange(len(config.condition.classes)))
        data = replace(data, conditions=classes, held_out_conditions=classes)
    teacher = load_teacher(config, process_state().device)
    if config.image_shape != teacher.config.image_shape:  # whose captions are not those that it learnt
        sizes = ["×".join(map(str, shape or ())) for shape in (config.image_shape, teacher.config.image_shape)]
        raise ValueError(
            f"the images of {config.data.data} are {sizes[0]}, and {teacher.name} makes images of {sizes[1]} (C×H×W): a "
            "student learns the captions that its teacher has learnt, so put its data back where they were"
        )
    return DistillationTask(config, data, teacher)


def _report(run: Run, config: RunConfig, opened: Source, images: tuple[ImageSet, ImageSet]) -> str:
    """Print what was found in the dataset, and return it as JSON: the report that the run has begun with, or a new one."""
    path = run.path / DATA
    try:
        report = read_report(path)
    except (OSError, ValueError):
        condition = config.condition if config.network.conditional and config.model == "diffusion" else None
        report = survey(config.data, opened, condition, images)
    print(sum_of_files(report))
    for sentence in not_used(report):
        print(f"  {sentence}")
    for note in report.notes:
        print(f"note: {note}")
    if told := config.about_copies:
        print(f"note: {told}")
    return report.to_json()


def _read_conditions(
    config: RunConfig, opened: Source, train: ImageSet, held_out: ImageSet
) -> tuple[RunConfig, list[Conditions]]:
    """Return the configuration with classes or text encoder filled in, and the conditions of each set of images."""
    state = process_state()
    with state.main_process_first():
        condition, known = load_conditions(config, opened, (train, held_out))
    refuse_other_classes(config, condition)
    what = "class" if condition.classes else "caption"
    for kind, part, images in zip(("training", "held-out"), known, (train, held_out), strict=True):
        if state.is_main_process and part.unknown:
            print(f"{part.unknown} of {len(images)} {kind} images have no {what}: they are used without a condition")
    return replace(config, condition=condition), known


def _compare(config: RunConfig, begun: bool, train: ImageSet, held_out: ImageSet) -> tuple[RunConfig, Comparison | None]:
    """Return the configuration with the number of samples to compare, and what compares them, if they can be compared.

    Args:
        begun: whether the run has begun: then it goes on as it has begun, and one that is of an older version compares none.
    """
    asked = config.log.compared_samples
    config = config if begun else with_samples(config)
    if not config.log.compared_samples:
        return config, None
    try:
        return config, comparison_with(config, train, held_out)
    except ValueError as error:
        reason = str(error).partition(":")[0]
        if asked and not begun:
            raise ValueError(f"compared_samples={asked}: {reason}: leave it out, or choose other images") from error
        if process_state().is_main_process:
            print(f"note: samples are not compared with training images on the way: {reason}")
        return config if begun else without_comparison(config), None


def _encode(run: Run, config: RunConfig, data: TrainingData) -> tuple[RunConfig, TrainingData, LatentSpace, dict[str, Tensor]]:
    """Encode the images and return the configuration with the latent settings to record, the latents and the autoencoder.

    The autoencoder is ready to decode; its weights are also returned, named as in the run's file.
    """
    assert config.latent.latent is not None
    begun = config.latent.latent_shape is not None and run.has_weights  # then they include the autoencoder
    if (student := config.distillation) is not None:  # as those of its teacher do
        begun, source = True, find_run(student.teacher)
    else:
        source = run if begun else find_run(config.latent.latent)
    fingerprint = source.fingerprint  # taken before reading the weights, since that run may be in training
    autoencoder, network = read_autoencoder(source)
    channels, given = (source.config.image_shape or (0,))[0], data.images.shape[1]
    if channels != given:
        raise ValueError(
            f"the autoencoder of {source.name} takes images with {channels} channel{'' if channels == 1 else 's'}, and those "
            f"of {config.data.data} have {given}: choose data with as many channels"
        )
    weights = {PREFIX + name: tensor.clone() for name, tensor in autoencoder.state_dict().items()}
    autoencoder = prepare_autoencoder(autoencoder, network, process_state().device)
    with process_state().main_process_first():
        images = encode_cached(autoencoder, data.images, "encoding training images")
        held_out = encode_cached(autoencoder, data.held_out, "encoding held-out images")
        mirrored = encode_cached(autoencoder, data.images, "encoding mirrored images", True) if config.data.flip else None
    shape = autoencoder.latent_shape(*data.images.shape[2:])
    recorded = config.latent if begun else LatentConfig(config.latent.latent, shape, network, fingerprint)
    data = replace(data, images=images, held_out=held_out, mirrored=mirrored)
    return replace(config, latent=recorded), data, autoencoder, weights
