"""The glossary explains every term that the pages use, each in one sentence, and samplers are described as measured."""

from __future__ import annotations

import re

import pytest

from diffusion_core.choices import SAMPLERS
from pages.components.about import ABOUT
from pages.components.glossary import linked, term
from pipelines.common.glossary import glossary, matching
from tests.test_imports import ROOT

USED = re.compile(r'\bterm\("([^"]+)"\)')


def test_every_entry_is_one_short_sentence_under_an_anchor_of_its_own():
    entries = glossary().values()
    assert len({entry.anchor for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.sentence.endswith("."), entry.title
        assert ". " not in entry.sentence, entry.title
        assert len(entry.sentence) <= 170, entry.title
        assert entry.section


def test_the_terms_that_pages_use_are_in_it():
    files = [*(ROOT / "pages").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")]
    for name in {name for file in files for name in USED.findall(file.read_text(encoding="utf-8"))}:
        assert term(name)
    for about in ABOUT.values():
        assert "[[" not in linked(about.more)


def test_an_unknown_term_fails_and_a_known_one_is_explained():
    assert term("EMA").startswith("The exponential moving average")
    assert linked("[[log-SNR]] and [[x_t|noise]], [[seed]]") == (
        "[log-SNR](glossary?search=log-SNR) and [noise](glossary?search=x_t), [seed](glossary?search=Seed)"
    )
    for use in (term, lambda name: linked(f"[[{name}]]")):
        with pytest.raises(KeyError, match=r"'EMAA' is not in GLOSSARY\.md"):
            use("EMAA")


def test_a_search_finds_titles_first_whatever_their_case_and_accents():
    assert [entry.title for entry in matching(glossary().values(), "frechet distance")][:1] == ["Fréchet distance"]
    assert next(iter(matching(glossary().values(), "noise"))).title == "Noise"
    assert next(iter(matching(glossary().values(), "grey"))).title == "Grey or blurred samples"
    assert {"Overfitting", "Copies"} <= {entry.title for entry in matching(glossary().values(), "training image")}
    assert matching(glossary().values(), "") == list(glossary().values())
    assert matching(glossary().values(), "no such word") == []


def test_samplers_need_as_many_steps_as_they_say():
    """The sentences in the registry repeat the table "Steps saved" of benchmarks/README.md, which lists calls."""
    text = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8").split("## Steps saved")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| (\w+) \| (\d.*) \|$", text, re.MULTILINE))
    measured = (5, 8, 10, 15, 20, 30, 50)  # steps; their calls are the last column's
    said = re.compile(r"[Gg]ood in (\d+) steps(?: and hardly better (beyond)|, hardly better beyond (\d+))?")
    for name, choice in SAMPLERS.items():
        good, same, best = said.search(choice.about).groups()
        cells = rows["ddpm" if name == "euler_ancestral" else name].split(" | ")
        calls = [int(number) for number in re.findall(r"(\d+): ", cells[2])]
        as_good = [measured[calls.index(int(cell.split()[0]))] for cell in cells[:2]]
        assert int(good) == as_good[0], name
        if choice.order is not None:  # fresh noise makes the second comparison weak
            assert int(good if same else best) == as_good[1], name
