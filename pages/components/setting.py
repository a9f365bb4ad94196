"""Widgets for single fields of a configuration, built from the declaration of each field."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import Any, get_type_hints

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components import BOUND, about_choices
from pages.components.glossary import term
from pages.components.named_choice import choose_named
from pipelines.common.settings import Between, OneOf, help_of, rules
from pipelines.storage.config import RunConfig

USUAL = RunConfig()
AUTO = "auto"  # the option for None
SWITCH = {"on": True, "off": False}
LARGEST = 2**31 - 1  # largest whole number of a widget


@dataclass(frozen=True, eq=False)
class Setting:
    """A widget for a field of a run's configuration, with the field's own type, range, choices and help.

    Attributes:
        path: "section.field", or just the field of the run itself.
        key: key of the widget, also in links.
        label: label of the widget.
        term: the glossary's entry that explains it, if any; the field's own help then says what its values mean.
        taken: whether fine-tuning takes it from the starting run.
        more: further keyword arguments of the widget.
    """

    path: str
    key: str
    label: str
    term: str = ""
    taken: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def section(self) -> str:
        """Name of the section; empty for a field of the run itself."""
        return self.path.rpartition(".")[0]

    @cached_property
    def name(self) -> str:
        """Name of the field."""
        return self.path.rpartition(".")[2]

    @cached_property
    def kind(self) -> type:
        """Dataclass of the field."""
        return type(getattr(USUAL, self.section) if self.section else USUAL)

    @cached_property
    def rule(self) -> Between | OneOf | None:
        """Allowed values of the field."""
        return rules(self.kind).get(self.name)

    @cached_property
    def usual(self) -> Any:
        """Default of the field."""
        return attrgetter(self.path)(USUAL)

    @cached_property
    def text(self) -> bool:
        """Whether the field is free text, which may be left empty."""
        return self.rule is None and get_type_hints(self.kind)[self.name] == str | None

    def shown(self, config: RunConfig) -> Any:
        """Return the value of the widget for ``config``."""
        value = attrgetter(self.path)(config)
        if self.text:
            return value or ""
        if isinstance(value, tuple):
            return ", ".join(map(_quoted, value))
        if isinstance(self.rule, Between):
            return None if value is None else type(self.rule.low)(value)
        return {None: AUTO, True: "on", False: "off"}.get(value, value)

    def meant(self, shown: Any) -> Any:
        """Return the value of the field for a value of the widget.

        Raises:
            ValueError: a part of a list of numbers is not a whole number.
        """
        if self.text:
            return shown.strip() or None
        if isinstance(self.usual, tuple):
            parts = tuple(filter(None, (part.strip() for row in csv.reader([shown], skipinitialspace=True) for part in row)))
            return tuple(map(self._whole, parts)) if isinstance(self.rule, Between) else parts
        if isinstance(self.rule, Between):
            return None if shown is None else type(self.rule.low)(shown)
        return None if shown == AUTO and self.usual is None else SWITCH.get(shown, shown)

    def _whole(self, part: str) -> int:
        if part.isdecimal():
            return int(part)
        raise ValueError(f"{self.name} {part!r}: give whole numbers with commas between them, such as 64, 128, 128")

    def draw(self, place: DeltaGenerator, base: RunConfig, **more: Any) -> Any:
        """Draw the widget, initially with the value in ``base``, and return its value."""
        about = "\n\n".join(filter(None, [self.term and term(self.term), help_of(self.kind)[self.name]]))
        more = {"key": self.key, "help": about, **BOUND, **self.more, **more}
        if self.text or isinstance(self.usual, tuple):
            return place.text_input(self.label, self.shown(base), **more)
        if isinstance(self.rule, Between):
            highest = type(self.rule.low)(self.rule.high) if self.rule.high <= LARGEST else None
            if self.rule.whole:
                highest = highest or LARGEST
            return place.number_input(self.label, self.rule.low, highest, self.shown(base), **more)
        names = self.rule.names if self.rule else SWITCH
        if isinstance(names, Mapping) and self.rule:
            about = term(self.term) if self.term else about  # the choices explain themselves
            more |= {"help": f"{about}\n\n{about_choices(names)}", "place": place}
            del more["bind"]
            return choose_named(self.label, names, self.shown(base), **more)
        options = [AUTO] * (self.usual is None) + list(names)
        return place.selectbox(self.label, options, options.index(self.shown(base)), **more)


def _quoted(value: object) -> str:
    """Return an item of a list, in quotes if it has a comma itself, as have the names of some classes."""
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if "," in text or text.startswith('"') else text


def fill(settings: Iterable[Setting], config: RunConfig) -> None:
    """Set the widgets to the values in ``config``."""
    st.session_state.update({setting.key: setting.shown(config) for setting in settings})


def configured(base: RunConfig, shown: Mapping[Setting, Any], **changes: Any) -> RunConfig:
    """Return ``base`` with the values of the widgets.

    Args:
        shown: value of each widget.
        changes: fields of the run itself. All values are checked together, because some depend on others.

    Raises:
        ValueError: the configuration is invalid.
    """
    sections: dict[str, dict[str, Any]] = {}
    for setting, value in shown.items():
        sections.setdefault(setting.section, {})[setting.name] = setting.meant(value)
    top = sections.pop("", {})
    whole = {section: replace(changes.pop(section, getattr(base, section)), **given) for section, given in sections.items()}
    return replace(base, **whole, **top, **changes)
