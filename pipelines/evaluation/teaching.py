"""What is known of a student beside its teacher: whether it still makes all that its teacher makes."""

from __future__ import annotations

from dataclasses import dataclass

from .columns import Column, Finding, measured_alike
from .modes import ClassShares, class_shares


@dataclass(frozen=True)
class Teaching:
    """What is known of two columns that are a student and its teacher.

    Attributes:
        teacher, student: the columns.
        remark: what makes their pictures differ besides what the student has not learnt; empty if nothing does.
        coverage: a sentence on how much of the variety of real images each covers; empty if that was not measured.
        classes: the classes of their samples; None if they are not known.
        missing: columns to measure: both if the samples of one were measured without their classes.
        num_images: how many samples to measure of them, as many as before; None if none were.
    """

    teacher: Column
    student: Column
    remark: str = ""
    coverage: str = ""
    classes: ClassShares | None = None
    missing: tuple[Column, ...] = ()
    num_images: int | None = None


def teaching(one: Column, other: Column, found: Finding) -> Teaching | None:
    """Return what is known of two columns if one is the student of the other, else None.

    Args:
        found: what was measured of both.
    """
    for teacher, student in ((one, other), (other, one)):
        own = student.config.distillation
        if own is not None and (own.teacher_fingerprint == teacher.evaluation.fingerprint or _is_named(teacher, own.teacher)):
            break
    else:
        return None
    pair = teacher, student
    if own.teacher_fingerprint != teacher.evaluation.fingerprint:
        remark = f"{teacher.evaluation.name} has other weights than when {student.evaluation.name} was distilled from it."
        return Teaching(*pair, remark)
    guided = teacher.request.guidance if teacher.config.network.conditional else own.scale
    remark = ""
    if guided != own.scale:
        remark = (
            f"{student.evaluation.name} has learnt guidance {own.scale:g}, and its teacher is guided with {guided:g} here: "
            f"choose {own.scale:g} to see what it has not learnt."
        )
    known = [result for column in pair for result in column.samples[:1]]
    missing, count = found.missing, found.num_images
    if any("classes" not in result.found for result in known):
        missing, count = pair, known[0].asked["request"]["num_images"]
    samples = measured_alike(*pair)
    if found.verdict is None or not samples:
        return Teaching(*pair, remark, missing=missing, num_images=count)
    coverage = found.verdict.sentence("coverage").partition(";")[0] if "coverage" in found.verdict.differences else ""
    classes = class_shares(*(result.found for result in samples))
    return Teaching(*pair, remark, coverage, classes, missing, count)


def _is_named(column: Column, reference: str) -> bool:
    """Return whether a column's run is the one that a configuration refers to."""
    return reference in (column.evaluation.name, column.evaluation.run.name, str(column.evaluation.run.path))
