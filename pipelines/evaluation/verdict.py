"""What the results of two models say about which is better: in each figure, by how much, how surely, and at what cost."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from .intervals import Estimate, decimals
from .measured import Setting
from .paired import Difference
from .results import FIGURES, LARGER_IS_BETTER, MAIN_FIGURES, NEAREST_IS_BEST

TITLES = {
    **{name: FIGURES[name] for name in MAIN_FIGURES},
    "loss": "Held-out loss",
    "bound": "Bits per dimension (upper bound)",
    **{name: FIGURES[name] for name in FIGURES if name not in MAIN_FIGURES},
}
COUNTED = (*MAIN_FIGURES, "loss", "bound")  # in the summary; the others say much the same
MEASURED_ON = dict.fromkeys(("loss", "bound"), "held-out images")  # the others on samples
CLAIMS = {  # what it means to be better in a figure, or to have more of it where neither is better
    "frechet_distance": "Samples from {} are closer to real images",
    "kernel_distance": "Samples from {} are closer to real images by a second measure",
    "precision": "More samples from {} could pass for real images",
    "recall": "Samples from {} cover more of the variety of real images",
    "agreement": "Samples from {} show more often what was asked for",
    "closer_than_held_out": "Fewer samples from {} could be copies of training images",
    "loss": "{} removes noise from unseen images more accurately",
    "bound": "{} finds unseen images more probable",
    "frechet_at_infinity": "Samples from {} are closer to real images, whatever the number of samples",
    "density": "Samples from {} crowd more where real images are",
    "coverage": "Samples from {} come near more of the real images",
    "vendi_score": "Samples from {} differ more from each other",
}


@dataclass(frozen=True)
class Verdict:
    """What the results of two models say about which is better.

    Attributes:
        first, second: the models, or one of each group that differs in the seed of training alone.
        setting: how the samples were made; None if there are none to compare.
        differences: of each figure that can be compared, a key of TITLES.
        costs: what each of the two costs, by title.
        notes: sentences on what the intervals contain, and on what is missing.
        real: what real images score in figures that are best where samples score the same.
        absent: figures that were measured, but not for both in the same way.
    """

    first: str
    second: str
    setting: Setting | None
    differences: dict[str, Difference]
    costs: tuple[dict[str, str], dict[str, str]]
    notes: tuple[str, ...]
    real: dict[str, float] = field(default_factory=dict)
    absent: tuple[str, ...] = ()

    def better(self, name: str) -> str | None:
        """Return the model that is better in a figure, or None if they are not told apart or neither way is better."""
        found = self.differences[name]
        if not found.told or name in NEAREST_IS_BEST:
            return None
        return self.first if (found.estimate.value > 0) == (name in LARGER_IS_BETTER) else self.second

    def leaning(self, name: str) -> Estimate | None:
        """Return by how many half-widths of the interval a figure speaks for the second model, or None if neither is better.

        It is negative if the figure speaks for the first; the models are told apart where its interval, from one half-width
        less to one more, excludes 0.
        """
        found = self.differences[name].estimate
        half = (found.high - found.low) / 2
        if name in NEAREST_IS_BEST or not half:
            return None
        sign = -1 if name in LARGER_IS_BETTER else 1
        return Estimate(sign * found.value / half, sign * found.value / half - 1, sign * found.value / half + 1)

    @property
    def summary(self) -> str:
        """In how many figures which of the models is better, and whether that many could be chance."""
        main = {name: self.better(name) for name in self.differences if name in COUNTED}
        better = list(main.values())
        winners = sorted({name for name in better if name is not None}, key=better.count, reverse=True)
        kind = "" if main.keys() & MEASURED_ON.keys() else " of samples (loss and likelihood were not compared)"
        one = f"the only main figure{kind}" if len(better) == 1 else ""
        if not winners:
            any_of = one or f"any of {len(better)} main figures{kind}"
            return f"{self.first} and {self.second} are not told apart as a whole, in {any_of}."
        first, *others = winners
        second = f", {others[0]} in {better.count(others[0])}" if others else ""
        undecided = better.count(None)
        apart = f"; {undecided} {'does' if undecided == 1 else 'do'} not tell them apart" if undecided else ""
        sure = any(self.differences[name].told_among(len(main)) for name, winner in main.items() if winner)
        chance = "" if sure else " Among so many figures, this may be chance."
        where = one or f"{better.count(first)} of {len(better)} main figures{kind}"
        return f"Better: {first} in {where}{second}{apart}.{chance}"

    def sentence(self, name: str) -> str:
        """Return who is better in a figure and by how much, or how large a difference can be at most."""
        found = self.differences[name]
        low, value, high = sorted(map(abs, (found.estimate.low, found.estimate.value, found.estimate.high)))
        if found.told:
            digits = decimals(high - low)
            least = max(digits, decimals(10 * low))  # the end next to 0 is not rounded to 0
            larger = self.first if found.estimate.value > 0 else self.second
            higher = name in LARGER_IS_BETTER or name in NEAREST_IS_BEST
            best = f"; the best is that of real images, {self.real[name]:.{digits}f}" if name in self.real else ""
            return (
                f"{CLAIMS[name].format(self.better(name) or larger)}: {_inside(name)} {'higher' if higher else 'lower'} by "
                f"{value:.{digits}f} (95\u00a0%: {low:.{least}f} to {high:.{digits}f}){best}"
            )
        if found.tells is None:
            return f"{TITLES[name]}: equal"
        most = f"{TITLES[name]}: not told apart, the difference is at most {_at_most(high)} (95\u00a0%)"
        tells = f"to tell a difference of {_short(found.tells)}"
        if found.needed is None:
            return f"{most}; more training seeds would be needed {tells}"
        return f"{most}; about {_about(found.needed)} {MEASURED_ON.get(name, 'samples')} would be needed {tells}"

    def values(self, name: str) -> str:
        """Return both models' figures with as many digits as their difference deserves."""
        found = self.differences[name]
        digits = decimals(found.estimate.high - found.estimate.low)
        return f"{found.first:.{digits}f} against {found.second:.{digits}f}"

    def chance(self, name: str) -> str:
        """Return the p-value of a figure's permutation test for display, or nothing."""
        p = self.differences[name].p
        return "" if p is None else f", p = {p:.3f}"

    def to_json(self) -> dict[str, Any]:
        """Return it as evaluation.json keeps it."""
        told = {name: asdict(found) | {"verdict": self.sentence(name)} for name, found in self.differences.items()}
        return {"first": self.first, "second": self.second, "figures": told, "costs": self.costs, "notes": self.notes}


@dataclass(frozen=True)
class Sentence:
    """What a verdict says in one figure.

    Attributes:
        name: the figure, a key of TITLES.
        text: the sentence.
        better: the model that it says is better, which ``text`` names; None if it says that of neither.
        told: whether it says that the models differ.
    """

    name: str
    text: str
    better: str | None
    told: bool


def sentences(found: Verdict) -> list[Sentence]:
    """Return a sentence on each figure: first those in which one of the two is better, then other differences, then the rest.

    Swapping the two changes no sentence: each names the one that it speaks for.
    """
    told = [Sentence(name, found.sentence(name), found.better(name), one.told) for name, one in found.differences.items()]
    return sorted(told, key=lambda sentence: (sentence.better is None, not sentence.told))


def not_compared(found: Verdict) -> str:
    """Return which figures could not be compared; empty if there are none."""
    names = ", ".join(_inside(name) for name in found.absent)
    return f"Not compared, since they were not measured for both in the same way: {names}." if names else ""


def cost_sentence(found: Verdict) -> str:
    """Return what each of the two costs."""
    told = []
    machines = {costs.get("Measured on") for costs in found.costs}
    for title in dict.fromkeys(title for costs in found.costs for title in costs if title != "Measured on"):
        own, others = (costs.get(title, "not measured") for costs in found.costs)
        told.append(f"{title.lower()} {own} each" if own == others else f"{title.lower()} {own} against {others}")
        if title == "Time per image":
            told[-1] += " (on different machines, so not comparable)" if len(machines) > 1 else f" ({machines.pop()})"
    return f"Cost of {found.first} against {found.second}: {'; '.join(told)}."


def _inside(name: str) -> str:
    """Return a figure's title as it is written inside a sentence."""
    title = TITLES[name]
    return title if title.startswith(("Fréchet", "Vendi")) else title[0].lower() + title[1:]


def _short(value: float) -> str:
    """Return a positive number with one digit, such as 0.002 or 3."""
    return f"{value:.{max(0, -math.floor(math.log10(value)))}f}"


def _at_most(value: float) -> str:
    """Return a positive number with two digits, rounded up."""
    digits = decimals(value)
    return f"{math.ceil(value * 10**digits) / 10**digits:.{digits}f}"


def _about(count: int) -> str:
    """Return a number with two digits, such as 2,300."""
    return f"{int(float(f'{count:.2g}')):,}"
