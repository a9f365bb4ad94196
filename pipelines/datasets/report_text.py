"""The data report in words: a sum that a reader can check, and one fact a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..common.text import counted, one_line
from .report import CaptionReport, ClassReport, CopyReport, DataReport, Group, PictureReport, Size, SplitReport

REASONS = 10  # why files are not used, at most
NAMED = 3  # files named for each reason
CLASSES = 12  # classes named with their counts, at most
LONGEST = 100  # characters of a caption


class Fact(NamedTuple):
    """A sentence of the report and what it is about; several sentences may be about the same."""

    label: str
    text: str


def sum_of_files(report: DataReport) -> str:
    """Return what was found as a sum: "1,204 files: 1,190 pictures used (…), 2 descriptions, 12 not used"."""
    pictures = counted(report.trained + report.held_out, "picture")
    if report.problem:
        pictures += " that can be read"
    elif report.pictures:
        pictures += f" used ({report.trained:,} to train on, {report.held_out:,} held out)"
    terms = [pictures]
    if report.described:
        kind = ("container or description", "containers or descriptions") if report.inside else ("description",)
        terms.append(counted(report.described, *kind))
    return f"{_files(report)}: {', '.join(terms)}, {report.left_out:,} not used"


def _files(report: DataReport) -> str:
    return counted(report.found, "file") + " and pictures inside files" * report.inside


def not_used(report: DataReport) -> list[str]:
    """Return one sentence for each reason why files are not used, with a few of their names."""
    told, others = report.unused[:REASONS], report.unused[REASONS:]
    more = sum(group.count for group in others)
    return [_group(group) for group in told] + [f"{more:,}: {counted(len(others), 'other reason')}"] * bool(others)


def facts(report: DataReport) -> list[Fact]:
    """Return the report as facts, in order."""
    found = [Fact("files", sum_of_files(report))]
    found += _labelled("not used", not_used(report))
    found += _labelled("problem", [f"these data cannot be trained on: {one_line(report.problem)}"] if report.problem else [])
    found += _labelled("splits", [_split(split, bool(report.problem)) for split in report.splits])
    if report.classes:
        found += _labelled("classes", list(_classes(report.classes)))
    if report.captions:
        found += _captions(report.captions)
    if report.pictures:
        found += _pictures(report, report.pictures)
    if report.copies:
        found.append(Fact("copies", _copies(report.copies)))
    return found + _labelled("notes", [one_line(note) for note in report.notes])


def as_text(report: DataReport) -> str:
    """Return the report as lines of text, the labels in a column of their own."""
    return "\n".join(f"{label:<10}{text}" for label, text in with_labels_once(facts(report)))


def with_labels_once(shown: Sequence[Fact]) -> list[Fact]:
    """Return facts without the labels that repeat that of the fact before."""
    before = ["", *(fact.label for fact in shown)]
    return [fact._replace(label="" if fact.label == label else fact.label) for fact, label in zip(shown, before, strict=False)]


def about_data(report: DataReport) -> str:
    """Return one sentence on a run's data, for its model card."""
    sizes = f", of {_sizes(report.pictures)}" if report.pictures else ""
    left = f"; {report.left_out:,} of {_files(report)} were not used" if report.left_out else ""
    classes = f" in {counted(len(report.classes.counts), 'class', 'classes')}" if report.classes else ""
    return f"{report.trained:,} training and {report.held_out:,} held-out pictures{classes}{sizes}{left}"


def _labelled(label: str, sentences: list[str]) -> list[Fact]:
    return [Fact(label, sentence) for sentence in sentences]


def _group(group: Group) -> str:
    names = "; ".join(one_line(path, LONGEST) for path in group.paths[:NAMED])
    more = "; …" if group.count > NAMED else ""
    return f"{group.count:,}: {one_line(group.reason)} ({names}{more})"


def _split(split: SplitReport, problem: bool) -> str:
    if problem:
        use = f"{split.trained + split.held_out:,} can be read"
    elif split.trained and split.held_out:
        use = f"{split.trained:,} trained on, {split.held_out:,} held out"
    elif split.trained:
        use = "trained on" if split.trained == split.pictures else f"{split.trained:,} trained on"
    elif split.held_out:
        use = "held out for validation" if split.held_out == split.pictures else f"{split.held_out:,} held out for validation"
    else:
        use = "not used"
    return f"{one_line(split.name)} ({one_line(split.origin)}): {counted(split.pictures, 'picture')}, {use}"


def _classes(classes: ClassReport) -> Iterator[str]:
    ordered = sorted(classes.counts.items(), key=lambda item: -item[1])
    if len(ordered) <= CLASSES:
        named = ", ".join(f"{one_line(name, 40)} {count:,}" for name, count in ordered)
    else:
        (most, of_most), (least, of_least) = ordered[0], ordered[-1]
        named = f"from {of_least:,} ({one_line(least, 40)}) to {of_most:,} pictures ({one_line(most, 40)})"
    yield f"{len(ordered):,} in column {classes.column!r}: {named}"
    if empty := sum(count == 0 for count in classes.counts.values()):
        yield f"{counted(empty, 'class', 'classes')} without a picture"
    if classes.without:
        yield f"{counted(classes.without, 'picture')} without a class"


def _captions(captions: CaptionReport) -> Iterator[Fact]:
    without = f", {captions.without:,} without" if captions.without else ""
    examples = "".join(f", such as {_quoted(example)}" for example in captions.examples[:1])
    yield Fact("captions", f"{captions.source}: {counted(captions.pictures, 'picture')} with a caption{examples}{without}")
    if captions.too_long:
        what = counted(captions.too_long, "picture has a caption", "pictures have captions")
        yield Fact("captions", f"{what} of more than {captions.limit} tokens, the rest of which the text encoder does not read")
    if captions.longest:
        yield Fact("longest", f"{counted(len(captions.longest), 'character')}: {_quoted(captions.longest)}")
        yield Fact("examples", ", ".join(map(_quoted, captions.examples)))


def _quoted(caption: str) -> str:
    return f"“{one_line(caption, LONGEST)}”"


def _pictures(report: DataReport, pictures: PictureReport) -> Iterator[Fact]:
    yield Fact("sizes", _sizes(pictures))
    yield Fact("sizes", _fitted(report, pictures))
    yield Fact("colours", _kinds(pictures.colours))
    yield Fact("depth", _kinds(pictures.depths))
    yield Fact("formats", _kinds(pictures.formats))


def _sizes(pictures: PictureReport) -> str:
    if pictures.smallest == pictures.largest:
        return f"{_size(pictures.smallest)} pixels"
    most = f"most often {_size(pictures.commonest)} ({counted(pictures.of_commonest, 'picture')})"
    return f"{_size(pictures.smallest)} to {_size(pictures.largest)} pixels, {most}"


def _size(size: Size) -> str:
    return f"{size[0]:,}×{size[1]:,}"


def _fitted(report: DataReport, pictures: PictureReport) -> str:
    """Say what becomes of the pictures when they are made square."""
    changed = {"enlarged": pictures.enlarged, "reduced": pictures.reduced}
    resized = ", ".join(f"{number:,} {how}" for how, number in changed.items() if number)
    said = f"to fit {report.image_size}×{report.image_size}: {resized or 'none resized'}"
    how = "cropping cuts away" if report.fit == "crop" else "padding leaves black"
    if not pictures.most_lost:
        return f"{said}; {how} nothing"
    of = "a picture" if report.fit == "crop" else "the square"
    return f"{said}; {how} {pictures.lost:.0%} of {of} on average, at most {pictures.most_lost:.0%}"


def _kinds(kinds: Mapping[str, int]) -> str:
    if len(kinds) == 1:
        return f"{next(iter(kinds))} (all)"
    return ", ".join(f"{kind} ({number:,})" for kind, number in kinds.items())


def _copies(copies: CopyReport) -> str:
    parts = []
    for number, kind in ((copies.trained, "training"), (copies.held_out, "held-out")):
        if number:
            parts.append(counted(number, f"{kind} picture repeats", f"{kind} pictures repeat") + " an earlier one")
    if copies.across:
        across = counted(copies.across, "held-out picture is", "held-out pictures are")
        parts.append(f"{across} also among the training pictures")
    if copies.near:
        near = counted(copies.near, "held-out picture is", "held-out pictures are")
        parts.append(f"{near} nearly the same as a training picture")
    return "; ".join(parts) or "no picture occurs twice"
