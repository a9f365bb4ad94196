"""What a result in evaluation.json must contain, by its kind; further keys are left to newer versions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, NotRequired, Required

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from ..common.settings import first_mistake

Count = Annotated[int, Field(ge=0, le=10**9)]
Number = Annotated[float, Field(ge=-1e100, le=1e100)]  # whose square is finite
Name = Annotated[str, Field(max_length=300)]


class _Estimate(TypedDict):
    value: Number
    low: Number
    high: Number


class _Halved(_Estimate):
    halves: NotRequired[list[Annotated[list[Number], Field(min_length=2, max_length=2)]]]


class _Share(_Estimate):
    cases: NotRequired[Annotated[str, Field(pattern="^[01]+$", max_length=10**7)]]


class _OfSubsets(_Estimate):
    subsets: NotRequired[list[Number]]


class _OfValues(_Estimate):
    values: NotRequired[list[Number]]
    alone: NotRequired[list[Number]]


class _OfBlocks(_Estimate):
    blocks: NotRequired[list[Annotated[list[Number], Field(min_length=2)]]]


class _Figures(TypedDict, total=False):
    frechet_distance: _Halved
    kernel_distance: _Halved
    precision: _Share
    recall: _OfSubsets
    agreement: _Share
    closer_than_held_out: _Share
    frechet_at_infinity: _Estimate
    density: _OfValues
    coverage: _OfValues
    vendi_score: _OfBlocks


class _Floor(_Figures):  # as older versions keep it with the samples
    images: Required[Count]


class _Request(TypedDict):
    sampler: Name
    steps: Count
    guidance: Number
    seed: int
    num_images: Count


class _SamplesAsked(TypedDict):
    request: _Request
    features: Name
    reference_images: Count
    held_out_digest: NotRequired[Name]


class _Classes(TypedDict):
    names: Annotated[list[Name], Field(min_length=1)]
    seen: list[Count]


def _known(classes: _Classes) -> _Classes:
    if max(classes["seen"], default=0) >= len(classes["names"]):
        raise ValueError("there are no names for some of the classes")
    return classes


class _SamplesFound(TypedDict):
    network_calls: Count
    seconds: Number
    machine: NotRequired[Name]
    memory: NotRequired[Number]
    figures: _Figures
    floor: NotRequired[_Floor]
    classes: NotRequired[Annotated[_Classes, AfterValidator(_known)] | None]


class _LossAsked(TypedDict):
    held_out_digest: NotRequired[Name]
    images: Annotated[int, Field(gt=0, le=10**6)]
    seed: Annotated[int, Field(ge=0)]


class _LossFound(TypedDict):
    timesteps: list[Number]
    mean: list[Number]
    low: list[Number]
    high: list[Number]
    whole: _Estimate
    errors: NotRequired[list[Number]]


class _BoundFound(TypedDict):
    total: _Estimate
    images: NotRequired[list[Number]]
    prior: Number
    denoising: list[Number]
    decoder: Number


class _Tested(TypedDict, total=False):
    p: Number | None


class _VerdictFound(TypedDict):
    figures: dict[str, _Tested]


class _OfImages(TypedDict):
    figures: _Figures


KINDS: dict[str, tuple[Any, Any]] = {  # of results: the settings asked for, and what was found
    "samples": (_SamplesAsked, _SamplesFound),
    "loss": (_LossAsked, _LossFound),
    "bound": (dict[str, Any], _BoundFound),
    "verdict": (dict[str, Any], _VerdictFound),
    "floor": (dict[str, Any], _OfImages),
    "reconstruction": (dict[str, Any], _OfImages),
}


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    """Return what checks values; building all of them takes a tenth of a second, and pages that list models need one."""
    return TypeAdapter(shape)


def refuse_damaged(kind: str, asked: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise ValueError if a result lacks what its kind needs, or has something else there; other kinds are not checked."""
    for shape, part, values in zip(KINDS.get(kind, ()), ("asked", "found"), (asked, found), strict=False):
        try:
            _adapter(shape).validate_python(values, strict=True)
        except ValidationError as error:
            where, said = first_mistake(error)
            raise ValueError(f"{'.'.join(filter(None, (part, where)))} of a result of kind {kind}: {said}") from error
