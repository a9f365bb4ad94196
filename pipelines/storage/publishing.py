"""Publishing a run: the files that others need, and a model card written from the run's records."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.indices import evenly_spaced
from ..common.paths import settled
from ..common.text import code_block, code_span, in_short, literal
from .config import DistillationConfig, LatentConfig, RunConfig, given_fields
from .files import ROOT, atomic, atomic_folder, write_text
from .hub_id import HubId
from .layout import AVERAGES, CARD, CURVES, METRICS
from .locations import without_folders
from .log_columns import loss_in_calls, loss_of_average
from .run import Run
from .runs import PUBLISHED
from .student_defaults import LOG, OPTIMIZER
from .weights import read_tensors

if TYPE_CHECKING:
    from torch import Tensor

REPORTED = ["images_seen", "seconds", "loss"]  # of the log's last line
KEPT_GRIDS = 8  # at most: sample grids, evenly spaced over training
KEPT_BYTES = 2**19  # at most: all grids together; the last one is always kept


def training_command(config: RunConfig, name: str) -> str:
    """Return the command that trains such a run; settings at their defaults are left out."""
    out = f"--out {shlex.quote(f'runs/{name}')}"
    if (own := config.distillation) is not None:
        parts = [(own, DistillationConfig(), ()), (config.optimizer, OPTIMIZER, ()), (config.log, LOG, ())]
        return " ".join(
            ["python -m pipelines.distill", shlex.quote(own.teacher), *(f for part in parts for f in _flags(*part)), out]
        )
    if config.init.init_from is not None:
        config = replace(config, latent=LatentConfig())  # comes with --init-from, and must not be given as well
    said = ("data", "unet") if config.model == "diffusion" else ("data",)
    return " ".join(["python -m pipelines.train", *_flags(config, RunConfig(), said), out])


def _flags(config: Any, default: Any, said: tuple[str, ...]) -> Iterator[str]:
    """Yield the flags of the settings that differ from their defaults or are in ``said``."""
    for name in given_fields(config):
        value, usual = getattr(config, name), getattr(default, name)
        if hasattr(value, "__dataclass_fields__"):
            yield from _flags(value, usual, said)
        elif value != usual or name in said:
            values = value if isinstance(value, tuple) else (value,)
            yield f"--{name.replace('_', '-')} {' '.join(shlex.quote(str(item)) for item in values)}"


def _use(config: RunConfig, place: str) -> str:
    """Return the command that uses a model that is published in this folder."""
    folder = shlex.quote(place)
    if config.model == "autoencoder":
        return f"python -m pipelines.train --data {shlex.quote(config.data.data)} --latent {folder}"
    return f"python -m pipelines.sample {folder} {_asked(config)}--num-images 60 --out samples"


def for_readers_of(hub: HubId, run: Run, card: str) -> str:
    """Return a published run's card as it stands on the hub: the command that uses the run gives its id, not a folder."""
    return card.replace(_use(run.config, f"{_shelf(run.path)}/{run.name}"), _use(run.config, str(hub)))


def _asked(config: RunConfig) -> str:
    """Return the flags for an example condition of a conditional model."""
    if config.network.takes is None:
        return ""
    asked = {"class": "--label all", "text": f"--prompt {shlex.quote((*config.condition.examples, 'something')[0])}"}
    guided = not config.network.always_conditional and not config.is_student
    return asked[config.network.takes] + " --guidance 2" * guided + " "


def _origin(config: RunConfig) -> str:
    """Say what the model has learnt from."""
    trained = f"trained on {code_span(config.data.data)}"
    student = config.distillation
    return trained if student is None else f"distilled from {code_span(student.teacher)}, which was {trained}"


def _objective(config: RunConfig) -> str:
    """Describe the training objective."""
    if config.model == "autoencoder":
        asked = config.autoencoder
        terms = [f"squared pixel error and {asked.kl_weight:g} times the KL divergence"]
        if asked.feature_weight:
            terms.append(
                f"{asked.feature_weight:g} times the feature distance of the {literal(asked.feature_classifier)} classifier"
            )
        if asked.adversarial_weight:
            terms.append(f"a patch discriminator of weight {asked.adversarial_weight:g} from step {asked.adversarial_start:,}")
        return f"{asked.latent_channels} latent channels, {', '.join(terms)}"
    diffusion, student = config.diffusion, config.distillation
    if student is not None:
        fresh = " with eta 1, fresh noise" if student.eta else ""
        guided = f", with guidance {student.scale:g} distilled in" if config.network.conditional else ""
        learnt = "easy consistency tuning (Geng et al. 2024) on the training images of its teacher"
        if not student.sees_images:
            steps = student.teacher_steps
            learnt = f"simple and fast distillation (Zhou et al. 2024) from {steps} steps of DPM-Solver++(2M) for each"
        return (
            f"a student of {literal(student.teacher)} (weights {student.teacher_fingerprint}) that samples in "
            f"{student.in_words} of DDIM{fresh}, at the timesteps {student.timesteps_in_words}{guided}, and in no other way; "
            f"{learnt}"
        )
    return (
        f"{diffusion.prediction}-prediction, {diffusion.schedule_name} schedule of {diffusion.timesteps} timesteps, "
        f"{diffusion.loss} loss with {diffusion.weighting} weights and {diffusion.timestep_density} timesteps"
    )


def model_card(
    run: Run, name: str, parameters: int, ema: int | None = None, curves: bool = False, shelf: str = PUBLISHED.name
) -> str:
    """Write a model card in Markdown from the run's records: what the model is, how it was trained and how good it is.

    Args:
        name: the name under which it is published.
        parameters: its number of parameters.
        ema: half-life of the published average, if not the usual one.
        curves: whether the published run has a picture of its training curves.
        shelf: the folder of published runs that it is in.

    Raises:
        ValueError: the run has no metrics.
    """
    config, metrics = without_folders(run.average(ema).config), run.metrics()
    loss = "val_loss" if ema is None or run.average(ema) == run else loss_of_average(ema)
    if not set(REPORTED) <= set(metrics) or (whole := metrics.dropna(subset=REPORTED)).empty:
        raise ValueError(f"run {run.name!r} has no metrics: there is nothing to report in a model card")
    last = whole.iloc[-1]
    validated = metrics.dropna(subset=[loss]) if loss in metrics else metrics[:0]
    channels, height, width = config.image_shape or (0, 0, 0)
    grids = list(run.samples().items())[-1:]
    students = [config.distillation] if config.distillation is not None else []
    seen = "seen" if config.sees_images else "sampled"
    lines = [
        f"# {literal(name)}",
        "",
        f"{literal(config.kind)} with {in_short(parameters)} parameters for {height}×{width} images with "
        f"{channels} channel{'s' if channels > 1 else ''}, {_origin(config)}.",
        "",
        *(f"![Samples after {step} steps](samples/{grid.name})\n" for step, grid in grids),
        *(f"Each sample{own.in_grids} is followed by its teacher's, from the same noise.\n" for own in students if grids),
        "## Use",
        "",
        code_block(_use(config, f"{shelf}/{name}")),
        "",
        "## Training",
        "",
        *[f"![Training curves]({CURVES})\n"] * curves,
        code_block(training_command(config, run.name)),
        "",
        f"- {int(last['step']):,} steps of {config.optimizer.batch_size} images, {int(last['images_seen']):,} images {seen}, "
        f"{last['seconds'] / 60:.0f} minutes",
        *(f"- {literal(about)}" for about in [run.about_data()] if about),
        f"- {_objective(config)}",
        *(
            f"- {each.name} was changed from {each.before:g} to {each.after:g} after step {each.step:,}"
            for each in config.changes
        ),
        f"- training loss {last['loss']:.4f} at the end",
    ]
    if len(validated):
        newest = validated.iloc[-1]
        what = "EMA weights, held-out images"
        if config.is_student:
            what = "EMA weights; mean distance of samples from the teacher's 20-step ones, from the same noise"
        each = [calls for own in students for calls in sorted(own.calls) if loss == "val_loss" and own.varies]
        if each:
            what += f"; {', '.join(f'{newest[loss_in_calls(calls)]:.4f} in {calls} steps' for calls in each)}"
        lines.append(f"- validation loss {newest[loss]:.4f} ({what})")
        if told := config.about_copies:
            lines.append(f"- {told}")
        if config.model == "autoencoder":
            similar = f" and an SSIM of {newest['ssim']:.3f}" if "ssim" in newest else ""  # not for small images
            lines.append(f"- their reconstructions have a PSNR of {newest['psnr']:.1f} dB{similar}")
    lines.append("- " + ", ".join(f"{literal(library)} {literal(version)}" for library, version in config.versions.items()))
    return "\n".join(lines) + "\n"


def _kept_grids(grids: list[Path]) -> list[Path]:
    """Return as many grids as may be kept, evenly spaced, including the last."""
    for count in range(KEPT_GRIDS, 1, -1):
        kept = [grids[i] for i in evenly_spaced(len(grids), count)]
        if sum(path.stat().st_size for path in kept) <= KEPT_BYTES:
            return kept
    return grids[-1:]


def _to_16_bits(tensor: Tensor) -> Tensor:
    """Round to bfloat16 unless the tensor has 16 bits already: rounding again would lose more."""
    return tensor if tensor.element_size() <= 2 else tensor.bfloat16()


def _shelf(out: Path) -> str:
    """Return the folder of published runs that a run is published in, as seen from the project's folder."""
    parent = Path(settled(out)).parent
    return parent.relative_to(ROOT).as_posix() if parent.is_relative_to(PUBLISHED) else PUBLISHED.name


def publish(
    run: Run,
    out: Path,
    notes: str = "",
    ema: int | None = None,
    averages: bool = False,
    draw_curves: Callable[[Run], None] | None = None,
) -> Run:
    """Copy a run without its resume state, with its weights in 16 bits, and write its model card: all of it or nothing.

    Args:
        run: a run with weights and metrics.
        out: the folder to write.
        notes: Markdown to append to the card.
        ema: half-life of the average to publish, if several were kept; by default the usual one.
        averages: whether to publish the other averages beside the usual one, for whoever wants to compare them.
        draw_curves: draws the training curves of the published run into its folder, for the card.

    Raises:
        ValueError: ``out`` exists and is not empty, or the run has no metrics or no such average.
    """
    with atomic_folder(out) as folder:
        copy = Run(folder)
        chosen = run.average(ema)
        copy.write_config(without_folders(chosen.config))
        parameters = _write_16_bits(chosen, copy)
        for average in run.averages if averages else ():
            _write_16_bits(average, Run(folder / AVERAGES / average.path.name))
        for source in [run.path / METRICS, *_kept_grids(list(run.samples().values()))]:
            with atomic(folder / source.relative_to(run.path)) as temporary:
                shutil.copyfile(source, temporary)
        if draw_curves is not None:
            draw_curves(copy)
        card = model_card(run, copy.name, parameters, ema, (folder / CURVES).is_file(), _shelf(out))
        write_text(folder / CARD, card + (f"\n{notes.strip()}\n" if notes.strip() else ""))
    return Run(out)


def _write_16_bits(run: Run, copy: Run) -> int:
    """Write the weights of a run, in 16 bits, as those of another one; return their number."""
    weights = read_tensors(run.model_path)[0]
    copy.write_model({name: _to_16_bits(tensor) for name, tensor in weights.items()}, without_folders(run.config))
    return sum(tensor.numel() for tensor in weights.values())
