"""Results of a run's evaluation, as evaluation.json keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ..common.json_files import parse_json, read_json
from ..common.reports import report_progress
from ..storage.config import RunConfig
from ..storage.disk import refuse_unwritable
from ..storage.files import write_text
from ..storage.run import Run
from .brief import EVALUATION, file_beside
from .stored import refuse_damaged

NEIGHBOURS_PICTURE = "evaluation-neighbours.png"  # samples above their nearest training images
COMPARED = ("features", "judge", "reference_images", "reference_digest", "held_out_digest")  # what determines a comparison
LOSS_BINS = 20  # equal ranges of timesteps over which the loss is averaged
FIGURES = {  # of samples
    "frechet_distance": "Fréchet distance",
    "kernel_distance": "Kernel distance",
    "precision": "Precision",
    "recall": "Recall",
    "agreement": "Agreement with the condition",
    "closer_than_held_out": "Share of samples near training images",
    "frechet_at_infinity": "Fréchet distance at infinitely many samples",
    "density": "Density",
    "coverage": "Coverage",
    "vendi_score": "Vendi score",
}
NEAR = (
    "Near training images: nearer to one than 95 % of held-out images are. Without copies, about 5 % of samples are that near."
)
UNBIASED = "The kernel distance is an unbiased estimate, so it may be below 0; copies of training images make it small, too."
MAIN_FIGURES = tuple(FIGURES)[:6]  # which are shown first
# Which way is better. Of the last two neither: best is what real images score, since samples that crowd together have a larger
# density, and samples more diverse than the data are no better.
LARGER_IS_BETTER = ("precision", "recall", "agreement", "coverage")
SMALLER_IS_BETTER = ("frechet_distance", "frechet_at_infinity", "kernel_distance", "closer_than_held_out")
NEAREST_IS_BEST = ("density", "vendi_score")


@dataclass(frozen=True)
class Result:
    """One measurement.

    Attributes:
        kind: "loss", "bound" (on the likelihood), "samples", "floor" (held-out images instead of samples), "reconstruction"
            (held-out images after a latent model's autoencoder), or "verdict".
        asked: the settings that determine it together with the weights, as JSON values.
        found: the outcome, as JSON values.
    """

    kind: str
    asked: dict[str, Any]
    found: dict[str, Any]

    @property
    def judge(self) -> str:
        """Name of the network whose features were compared, without the size of its input."""
        return str(self.asked["features"]).split(",")[0]

    @property
    def held_out_digest(self) -> str | None:
        """Digest of the held-out images it was measured with, in order, as networks see them; None from older versions."""
        return self.asked.get("held_out_digest")

    def supersedes(self, other: Result) -> bool:
        """Return whether ``other`` is the same measurement, perhaps by an older version, which recorded fewer settings."""
        return self.kind == other.kind and all(self.asked.get(name) == value for name, value in other.asked.items())


@lru_cache(maxsize=32)  # of some 200 kB, which a page would parse whenever it is drawn
def _stored(path: Path, fingerprint: str, file: int, modified: int, size: int) -> tuple[Result, ...]:
    """Return the results in an evaluation.json, none if they are of other weights, while the file stays the same.

    Raises:
        OSError: it cannot be read.
        ValueError, KeyError, TypeError: it is damaged.
    """
    stored = read_json(path)
    results = tuple(Result(**result) for result in stored["results"]) if stored["fingerprint"] == fingerprint else ()
    for result in results:
        refuse_damaged(result.kind, result.asked, result.found)
    return results


def _as_json(fingerprint: str, results: Sequence[Result]) -> str:
    """Return the content of evaluation.json, with a line for each result, so that a new one changes no other line."""
    lines = ",\n".join(json.dumps(vars(result), separators=(",", ":")) for result in results)
    return f'{{"fingerprint": {json.dumps(fingerprint)}, "results": [\n{lines}\n]}}\n'


class Evaluation:
    """The results of one run's weights, stored in its folder as soon as each has been measured.

    Args:
        run: the run. Results of weights replaced since are ignored, and removed when the next result is written.
        fingerprint: of the weights to evaluate; by default of the run's current weights.
        name: display name; the run's name by default.
        config: the run's configuration, if it has been read already.
    """

    def __init__(
        self, run: Run, fingerprint: str | None = None, name: str | None = None, config: RunConfig | None = None
    ) -> None:
        self.run, self.name, self._fingerprint, self._config = run, name or run.name, fingerprint, config
        self.results = self._read()

    @cached_property
    def config(self) -> RunConfig:
        """Configuration of the run."""
        return self._config or self.run.config

    def _read(self) -> list[Result]:
        try:
            status = self.path.stat()
            return list(_stored(self.path, self.fingerprint, status.st_ino, status.st_mtime_ns, status.st_size))
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:  # an OSError says itself why the file cannot be read
            raise ValueError(f"{self.path} is damaged ({error}): delete it and evaluate again") from error

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the evaluated weights."""
        return self._fingerprint or self.run.fingerprint

    @property
    def path(self) -> Path:
        """Path of evaluation.json."""
        return file_beside(self.run, EVALUATION)

    def find(self, kind: str, asked: Mapping[str, Any]) -> Result | None:
        """Return the result of a measurement with these settings, or None."""
        wanted = parse_json(json.dumps(asked))
        return next((result for result in self.results if result.kind == kind and result.asked == wanted), None)

    def add(self, kind: str, asked: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        """Add a result and write the file, keeping results that other processes have written meanwhile.

        Raises:
            ValueError: the run's weights have been replaced since.
        """
        result = Result(kind, *(parse_json(json.dumps(part)) for part in (asked, found)))
        with self.alone():
            if self.run.fingerprint != self.fingerprint:
                raise ValueError(f"the weights of {self.name} changed during the evaluation: evaluate them again")
            self.results = [*(other for other in self.results if not result.supersedes(other)), result]
            write_text(self.path, _as_json(self.fingerprint, self.results))

    @cached_property
    def _lock(self) -> FileLock:
        return FileLock(self.path.with_name(f".{self.path.name}.lock"), mode=0o666)  # for everybody who may write the folder

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from evaluating these weights, and read what they have measured before; may be nested.

        Raises:
            ValueError: the folder of the results cannot be written.
        """
        self.refuse_unwritable()
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            report_progress(f"{self.name}: waiting for another process that evaluates it")
            self._lock.acquire()
        try:
            self.results = self._read()
            yield
        finally:
            self._lock.release()

    def refuse_unwritable(self) -> None:
        """Raise ValueError if results cannot be kept."""
        remedy = f"the results of {self.name} are kept there, so copy the run to a folder of your own, and evaluate the copy"
        refuse_unwritable(self.path.parent, remedy)

    def beside(self, samples: Result, kind: str) -> Result | None:
        """Return the newest floor or reconstruction with which samples can be compared, or None."""
        compared = {key: samples.asked.get(key) for key in COMPARED}
        images = samples.found.get("floor", {}).get("images")  # older versions kept the floor with the samples
        others = [other for other in self.of_kind(kind) if {key: other.asked.get(key) for key in COMPARED} == compared]
        return next((other for other in reversed(others) if images in (None, other.asked.get("images"))), None)

    def real_figures(self, samples: Result) -> dict[str, Any]:
        """Return the figures of real images with which those of samples can be compared."""
        floor = self.beside(samples, "floor")
        figures: dict[str, Any] = floor.found["figures"] if floor else samples.found.get("floor", {})
        return figures

    def of_kind(self, kind: str) -> list[Result]:
        """Return all results of that kind, oldest first."""
        return [result for result in self.results if result.kind == kind]


def loss_draws(images: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw the noise level and the image number of each loss sample, with equally many in every range of timesteps.

    Args:
        images: number of held-out images.
        seed: of the order of the noise levels.

    Returns:
        Noise levels as shares of the schedule's length, in (0, 1), and image numbers, (N,) each.
    """
    count = max(images, 20 * LOSS_BINS)
    return (np.random.default_rng(seed).permutation(count) + 0.5) / count, np.arange(count) % images


def noise_bins(levels: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of the loss, 0 … LOSS_BINS − 1, that each of (N,) noise levels belongs to."""
    return (levels * LOSS_BINS).astype(np.int64)
