"""What changed from the first column of a finished comparison to another: its pictures, their cost, and a student's variety."""

from __future__ import annotations

import math
from functools import lru_cache

import pandas as pd
import streamlit as st

from pages.components.generation import comparable
from pipelines.common.picture_metrics import Distance, distance
from pipelines.common.text import counted, literal
from pipelines.evaluation.teaching import Teaching
from pipelines.sampling.generation import Comparison, Frame


def costs_in_words(made: Comparison) -> str:
    """Return what each column of a finished comparison has cost, all computed together."""
    images = counted(made.columns[0].request.num_images, "image")
    told = (f"{counted(column.nfe, 'network call')} in {column.seconds:.1f} s" for column in made.columns)
    return f"Here, {images}: {' against '.join(told)}."


def change_in_words(made: Comparison, number: int, taught: bool) -> str:
    """Return how far a column's samples are from the first column's, whose noise is the same; empty if they cannot be compared.

    Args:
        number: of the column, from 1.
        taught: whether one of the two is the student of the other.
    """
    first, column = made.columns[0], made.columns[number - 1]
    if not comparable(first, column, "x0"):
        return ""
    found = _distance(column.frames[-1], first.frames[-1])
    whose = "the student's images differ from its teacher's" if taught else f"the images of columns 1 and {number} differ"
    similar = "" if math.isnan(found.ssim) else f", SSIM {found.ssim:.3f}"
    apart = "" if math.isnan(found.unrelated) else f"; images from different noise, by {found.unrelated:.3f}"
    return f"From the same noise, {whose} by **L1 {found.absolute:.3f}** (MSE {found.squared:.4f}{similar}){apart}."


@lru_cache(maxsize=8)  # few, because frames keep their pictures in memory
def _distance(shown: Frame, reference: Frame) -> Distance:
    return distance(shown.x0, reference.x0)


def variety_in_words(found: Teaching) -> str:
    """Return whether a student makes all that its teacher makes, as far as that was measured."""
    known = [found.coverage and f"{found.coverage}.", "" if found.classes is None else str(found.classes)]
    unknown = ["coverage"] * (not found.coverage) + ["class shares"] * (found.classes is None)
    if unknown and found.missing:
        known.append(f"Not measured yet: {' and '.join(unknown)}.")
    return " ".join(filter(None, known))


def show_classes(found: Teaching) -> None:
    """Show the class shares of a student and its teacher as a table."""
    if found.classes is None:
        return
    st.markdown(literal(str(found.classes)))
    rows = [(one.name, f"{one.first:.1f} %", f"{one.second:.1f} %", "surely" * one.sure) for one in found.classes.shares]
    st.dataframe(pd.DataFrame(rows, columns=["Class", "Teacher", "Student", "Different"]), hide_index=True, width="stretch")
