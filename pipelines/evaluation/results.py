"""What has been measured of a run: evaluation.json, and the tables that pages and reports show."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray

from ..storage.files import write_text
from ..storage.runs import MODEL, Run
from .distances import Estimate

EVALUATION = "evaluation.json"
NEIGHBOURS_PICTURE = "evaluation-neighbours.png"  # samples above their nearest training images
LOSS_BINS = 20  # equal ranges of the timesteps, in which the loss is averaged
FIGURES = {  # of samples
    "frechet_distance": "Fréchet distance",
    "kernel_distance": "Kernel distance",
    "precision": "Precision",
    "recall": "Recall",
    "agreement": "Agreement with what was asked",
    "closer_than_held_out": "Closer to training images than 95 % of held-out ones",
}


@dataclass(frozen=True)
class Result:
    """One measurement.

    Attributes:
        kind: "loss", "likelihood", "samples", or "reconstruction" (held-out images after a latent model's autoencoder).
        asked: what determines it, besides the weights; JSON values.
        found: what came out; JSON values.
    """

    kind: str
    asked: dict[str, Any]
    found: dict[str, Any]


def file_beside(run: Run, name: str) -> Path:
    """A file beside a run's weights; where these are not a run folder's it bears their name, too."""
    weights = run.model_path
    return weights.with_name(name if weights.name == MODEL else f"{weights.stem}-{name}")


class Evaluation:
    """The results of one run's weights, kept in its folder; a result is there as soon as it has been measured.

    Args:
        run: whose. Results of weights that have been replaced since are not read, and go with the next one written.
        fingerprint: of the weights that are measured; by default of those that the run has now.
        name: what people call it; the run's name by default.
    """

    def __init__(self, run: Run, fingerprint: str | None = None, name: str | None = None) -> None:
        self.run, self.name, self._fingerprint = run, name or run.name, fingerprint
        self.results = self._read()

    def _read(self) -> list[Result]:
        try:
            stored = json.loads(self.path.read_bytes())
            own = stored["fingerprint"] == self.fingerprint
            return [Result(**result) for result in stored["results"]] if own else []
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.path} is damaged ({error}): delete it, and evaluate again") from error

    @property
    def fingerprint(self) -> str:
        """Of the weights that are measured."""
        return self._fingerprint or self.run.fingerprint

    @property
    def path(self) -> Path:
        """The file."""
        return file_beside(self.run, EVALUATION)

    def find(self, kind: str, asked: Mapping[str, Any]) -> Result | None:
        """The result of the same measurement, if it has been made."""
        wanted = json.loads(json.dumps(asked))
        return next((result for result in self.results if result.kind == kind and result.asked == wanted), None)

    def add(self, kind: str, asked: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        """Keep a result, and write the file; what another process has written there meanwhile stays.

        Raises:
            ValueError: the run has other weights by now.
        """
        result = Result(kind, *(json.loads(json.dumps(part)) for part in (asked, found)))
        lock = hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:16]
        with FileLock(Path(tempfile.gettempdir()) / f"noisescope-evaluation-{lock}", mode=0o666):
            if self.run.fingerprint != self.fingerprint:
                raise ValueError(f"the weights of {self.name} have changed while they were measured: measure them again")
            self.results = [*self._read(), result]
            stored = {"fingerprint": self.fingerprint, "results": [vars(result) for result in self.results]}
            write_text(self.path, json.dumps(stored, indent=1) + "\n")

    def of_kind(self, kind: str) -> list[Result]:
        """All results of that kind, oldest first."""
        return [result for result in self.results if result.kind == kind]


def loss_draws(images: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How noisy which held-out image is made for each of the errors that make the loss: all ranges get as many.

    Returns:
        Noise levels as shares of the schedule's length, in (0, 1), and the numbers of the images, (N,) each.
    """
    count = max(images, 20 * LOSS_BINS)
    return (np.random.default_rng(seed).permutation(count) + 0.5) / count, np.arange(count) % images


def noise_bins(levels: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N,) the range of the loss that each of these noise levels is in."""
    return (levels * LOSS_BINS).astype(np.int64)


def samples_table(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """What samples were found to be, a row a request; each figure with its interval and its real-against-real floor.

    Columns: run, data, sampler, steps, guidance, network_calls, seconds (an image), machine (that took them), memory (MiB for
    one image, NaN where it was not measured), images, seed, features, judge (whose these are, at whatever size it sees the
    images); for each figure F of FIGURES F, F_low, F_high, F_floor (of real images) and F_decoded (of these after the
    autoencoder of a model of latents); NaN where it does not apply.
    """
    rows = []
    for evaluation in evaluations:
        for result in evaluation.of_kind("samples"):
            request, found = result.asked["request"], result.found
            row: dict[str, Any] = {"run": evaluation.name, "data": Path(evaluation.run.config.data.data).name}
            row |= {name: request[name] for name in ("sampler", "steps", "guidance", "seed")}
            features = result.asked["features"]
            row |= {"images": request["num_images"], "features": features, "judge": features.split(",")[0]}
            row |= {name: found[name] for name in ("network_calls", "seconds")}
            row["machine"] = found.get("machine", "not recorded")
            row["memory"] = found.get("memory", math.nan) / 2**20
            compared = {key: result.asked[key] for key in ("features", "reference_images")}
            decoded = evaluation.find("reconstruction", compared | {"images": found["floor"]["images"]})
            for name in FIGURES:
                estimate = found["figures"].get(name, {})
                row |= {name: estimate.get("value"), f"{name}_low": estimate.get("low"), f"{name}_high": estimate.get("high")}
                row[f"{name}_floor"] = found["floor"].get(name, {}).get("value")
                row[f"{name}_decoded"] = decoded.found["figures"].get(name, {}).get("value") if decoded else None
            rows.append(row)
    return pd.DataFrame(rows)


def paired_losses(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """How much the losses of runs differ on the same held-out images with as much of the same noise.

    The images differ far more than the models do, which widens the interval of each loss but not that of a difference.

    Returns:
        A row for each run whose errors can be paired with those of the first one of its kind: columns Run, Beside, Loss, and
        Difference with the half of its 95 % interval; empty where nothing can be paired.
    """
    firsts: dict[object, tuple[str, NDArray[np.float64]]] = {}
    rows = []
    for evaluation in evaluations:
        results = [result for result in evaluation.of_kind("loss") if "errors" in result.found]
        if not results:
            continue
        config, errors = evaluation.run.config, np.array(results[-1].found["errors"])
        images = replace(config.data, flip=None, augment=0.0, held_out_images=1)
        same = (images, config.seed, config.state_shape, config.latent.latent_fingerprint, len(errors))
        first, others = firsts.setdefault((same, json.dumps(results[-1].asked)), (evaluation.name, errors))
        if first != evaluation.name:
            levels, drawn = loss_draws(results[-1].asked["images"], results[-1].asked["seed"])
            difference = Estimate.of_strata(errors - others, noise_bins(levels), drawn)
            told = f"{difference.value:+.5f} ± {difference.high - difference.value:.5f}"
            rows.append({"Run": evaluation.name, "Beside": first, "Loss": f"{errors.mean():.4f}", "Difference": told})
    return pd.DataFrame(rows)


def pareto_front(table: pd.DataFrame, cost: str, figure: str) -> pd.DataFrame:
    """The rows that no other row beats in both columns, where smaller is better; by rising cost."""
    ordered = table.dropna(subset=[cost, figure]).sort_values([cost, figure])
    best = ordered[figure].cummin()
    return ordered[(ordered[figure] == best) & (best != best.shift())]


def readable_table(table: pd.DataFrame) -> pd.DataFrame:
    """The samples' table for people: one column a figure, with its interval, and its floor where there is one."""
    columns: dict[str, Any] = {
        "Run": table["run"],
        "Sampler": table["sampler"],
        "Steps": table["steps"],
        "Guidance": table["guidance"],
        "Network calls": table["network_calls"],
        "Seconds": table["seconds"].map("{:.3g}".format),
    }
    for name, title in (("seed", "Seed"), ("images", "Samples"), ("features", "Features"), ("machine", "Seconds of")):
        if table[name].nunique() > 1:
            columns[title] = table[name]
    if table["memory"].notna().any():
        columns["Memory (MiB)"] = ["" if pd.isna(memory) else f"{memory:.0f}" for memory in table["memory"]]
    for name, title in FIGURES.items():
        if table[name].notna().any():
            columns[title] = [_told(row, name) for row in table.to_dict("records")]
    return pd.DataFrame(columns)


def _told(row: Mapping[Any, Any], name: str) -> str:
    """A figure of a row of the samples' table, with what real images score."""
    if pd.isna(row[name]):
        return ""
    measured = f"{row[name]:.3g} ({row[f'{name}_low']:.3g} – {row[f'{name}_high']:.3g})"
    beside = {"real": row[f"{name}_floor"], "decoded": row[f"{name}_decoded"]}
    return ", ".join([measured, *(f"{who} {value:.2g}" for who, value in beside.items() if not pd.isna(value))])
