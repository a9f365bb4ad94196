"""Foreign text in Markdown, in code and in Plotly's labels stays what it is."""

import re
from html import unescape

import pytest

from pipelines.common.text import JOINER, code_block, code_span, in_short, literal, one_line, plotly_text

HOSTILE = (
    "lr=$1e-3$ vs $2e-3$",
    "*best* __x__ `c` ~~s~~",
    ":red[x] :smile: :material/close: :streamlit:",
    "<b>x</b> <img src=http://evil.example/a.png>",
    "![i](http://evil.example/i.png) [a](http://evil.example/x)",
    "https://evil.example www.evil.example a@evil.example",
    "a -> b <- c -- d >= e",
    "1. one",
    "- item",
    "+ item",
    "# head",
    "> quote",
    "| a | b |",
    "&lt;b&gt; &#36;",
    "\\*x\\* \\(y\\)",
    "``` mermaid",
    "%{x} <extra>y</extra>",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_kept_and_has_no_markup_left(text):
    """What a browser makes of it is seen in tests/browser/test_hostile_names.py."""
    assert unescape(literal(text)).replace(JOINER, "") == text
    markup = r"[*`$\[\]<>~\\]|:\S|\b_|_\b|https?://|www\.|^[-+=#]+ |^\d+[.)] |&(?!#\d+;)"
    assert not re.search(markup, re.sub(r"&#\d+;", "", literal(text)).replace("\n", " "))
    assert unescape(plotly_text(text)) == text
    assert not re.search(r"[<>%{}$]", plotly_text(text))


def test_plain_names_are_not_changed():
    for name in ("flowers-attention-64", "v1.2 (best), 3×3", "-0.5", "0.5", "Pokémon ポケモン"):
        assert literal(name) == plotly_text(name) == one_line(name) == name


def test_long_names_in_figures_keep_their_ends():
    assert plotly_text("a" * 300 + "<1>") == "a" * 30 + "…" + "a" * 27 + "&lt;1&gt;"


def test_text_is_one_line_of_limited_length_without_controls():
    assert one_line("a\n\n# b\t c") == "a # b c"
    assert one_line("\x1b[31ma\x00\u202eb\ud800") == "\ufffd[31ma\ufffd\ufffdb\ufffd"
    assert len(one_line("x" * 10_000)) == 500


def test_numbers_in_short_keep_three_digits_and_are_never_zero():
    for number in (1, 9, 99, 868, 999, 1000, 999_499, 999_501, 12_345, 2_710_000, 10**9, 10**12):
        shown, _, unit = in_short(number).partition(" ")
        meant = float(shown.replace(",", "")) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[unit]
        assert meant == pytest.approx(number, rel=0.005), number
    assert [in_short(number) for number in (2.5, 868, 12_410, 999_600)] == ["2.5", "868", "12.4 k", "1.00 M"]
    assert in_short(5_300_000) == "5.30 M", "as many digits as 4.57 M beside it"


@pytest.mark.parametrize("text", ["x", "```\n# out\n```", "a ````` b", "`", "~~~\nx"])
def test_code_cannot_be_left(text):
    fence, *inside, last = code_block(text).split("\n")
    assert fence == last == "`" * len(fence)
    assert "\n".join(inside) == text
    assert fence not in text
    span = code_span(text)
    assert max(map(len, re.findall("`+", span))) == len(re.match("`+", span)[0])
