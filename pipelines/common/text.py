"""Text from elsewhere (names, settings, prompts, messages), made fit to be shown."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

# Characters of Markdown, HTML, formulas and icons; as entities, they have no meaning. Within words, _ has none anyway.
MARKUP = re.compile(r"[\\`*\[\]<>~$&]|:(?=\S)|(?<![^\W_])_|_(?![^\W_])")
# Places where entities do not help, because renderers look at the finished text: addresses, arrows and dashes between spaces,
# Streamlit's logo, and the start of a list, heading or rule.
RECOGNISED = re.compile(
    r"(?<=:)(?=//|streamlit:)|(?<=\bwww)(?=\.)|(?<=@)(?=\w)|(?<=(?<!\S)[<>~-])(?=[-=>]{1,2}(?!\S))|^(?=[-+=#]+(?:\s|$)|\d+[.)](?:\s|$))",
    re.IGNORECASE,
)
JOINER = "\u2060"  # has no width
# Characters that are no text, or that turn the text around them.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
PLOTLY = re.compile(r"[%{}$]")  # placeholders and formulas in labels


def shorten(text: str, length: int) -> str:
    """Return ``text``, shortened with an ellipsis if it has more than ``length`` characters."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def lines_of(text: str) -> list[str]:
    """Return the lines of a text that are not blank, without spaces around them.

    Only line ends divide it: ``str.splitlines`` would also cut at a form feed or at a line separator within a sentence.
    """
    return [line for part in re.split(r"\r\n|\r|\n", text) if (line := part.strip())]


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: "1 picture", "1,204 pictures"; ``many`` is the plural if it is not formed with s."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def plain_name(name: str) -> str:
    """Return at most 64 characters of ``name``, without those that are unsafe in names of files and folders; perhaps none."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-_")[:64]


def capitalised(text: str) -> str:
    """Return a sentence with its first letter as a capital."""
    return text[:1].upper() + text[1:]


def in_short(number: float) -> str:
    """Return a number in three digits with the unit k, M or G: "868", "12.4 k", "5.30 M"."""
    for power, unit in ((9, " G"), (6, " M"), (3, " k")):
        shown = float(f"{number / 10**power:.3g}")
        if shown >= 1:
            return f"{shown:,.{max(0, 2 - math.floor(math.log10(shown)))}f}{unit}"
    return f"{number:.3g}"


def duration(seconds: float) -> str:
    """Return a duration in words: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


ROUND = (1, 2, 3, 5, 10, 15, 20, 30, 45)  # seconds or minutes of a rough duration


def rough_duration(seconds: float) -> str:
    """Return a duration in words, rounded to one that claims no more than an estimate knows: 15 s, 2 min, 5 h."""
    units = {"s": 1, "min": 60}
    exact = [(number * size, f"{number} {unit}") for unit, size in units.items() for number in ROUND]
    hours = max(1, round(seconds / 3600))
    return min([*exact, (hours * 3600, f"{hours} h")], key=lambda one: abs(math.log(max(seconds, 1) / one[0])))[1]


def some(names: Sequence[str], most: int = 3) -> str:
    """Return names as part of a sentence: the first of them, and how many more there are."""
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most:,} more"


def either(choices: Sequence[object]) -> str:
    """Return choices as part of a sentence: "4", "2 or 4", "2, 4 or 8"."""
    return _joined(choices, "or")


def every(things: Sequence[object]) -> str:
    """Return things as part of a sentence: "4", "2 and 4", "2, 4 and 8"."""
    return _joined(things, "and")


def _joined(things: Sequence[object], word: str) -> str:
    *others, last = map(str, things)
    return f"{', '.join(others)} {word} {last}" if others else last


def one_line(text: object, most: int = 500) -> str:
    """Return text as one line of at most ``most`` characters, without control characters."""
    return CONTROLS.sub("\ufffd", shorten(re.sub(r"[ \t-\r]+", " ", str(text)).strip(), most))


def literal(text: object, most: int = 2000) -> str:
    """Return Markdown that shows text as it is: not formatted, and no link, picture, formula, icon or HTML.

    Every text that comes from a file, an address or a person goes through here before it becomes part of Markdown, as in nearly
    all labels and messages of Streamlit.
    """
    return MARKUP.sub(lambda mark: f"&#{ord(mark[0])};", RECOGNISED.sub(JOINER, one_line(text, most)))


def code_span(text: object, most: int = 500) -> str:
    """Return Markdown that shows text as code within a sentence."""
    code = one_line(text, most)
    fence = "`" * (_longest_run(code) + 1)
    return f"{fence} {code} {fence}" if "`" in code else f"`{code}`"


def code_block(text: str) -> str:
    """Return Markdown that shows text as a block of code, which nothing in it can close."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}\n{text}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def plotly_text(text: object, most: int = 60) -> str:
    """Return what shows text as it is in the names, titles and labels of Plotly, which contain HTML and placeholders.

    Long text is shortened in the middle, since names of runs often differ at the end; Plotly itself would not break it.
    """
    line = one_line(text, 2000)
    if len(line) > most:
        line = f"{line[: most // 2]}…{line[-(most // 2) :]}"
    return PLOTLY.sub(lambda mark: f"&#{ord(mark[0])};", escape(line, quote=False))
