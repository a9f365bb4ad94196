"""Widgets for single fields of a configuration, made from what the field says about itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components import BOUND, about_choices
from pipelines.common.settings import Between, OneOf, help_of, rules
from pipelines.storage.config import RunConfig

USUAL = RunConfig()
AUTO = "auto"  # what a list calls None
SWITCH = {"on": True, "off": False}
LARGEST = 2**31 - 1  # whole number of a widget


@dataclass(frozen=True, eq=False)
class Setting:
    """A widget for a field of the configuration of a run. Its type, range, choices and help are the field's own.

    Attributes:
        path: "section.field", or the field alone where it lies in no section.
        key: of the widget, and in links.
        label: above the widget.
        taken: whether a run to start from decides it.
        more: further keyword arguments of the widget.
    """

    path: str
    key: str
    label: str
    taken: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def section(self) -> str:
        """The name of the section; empty for a field of the run itself."""
        return self.path.rpartition(".")[0]

    @cached_property
    def name(self) -> str:
        """The name of the field."""
        return self.path.rpartition(".")[2]

    @cached_property
    def kind(self) -> type:
        """The dataclass that the field belongs to."""
        return type(getattr(USUAL, self.section) if self.section else USUAL)

    @cached_property
    def rule(self) -> Between | OneOf | None:
        """What the field takes."""
        return rules(self.kind).get(self.name)

    @cached_property
    def usual(self) -> Any:
        """The field's default."""
        return attrgetter(self.path)(USUAL)

    def shown(self, config: RunConfig) -> Any:
        """Return what the widget shows for ``config``."""
        value = attrgetter(self.path)(config)
        if isinstance(value, tuple):
            return ", ".join(map(str, value))
        if isinstance(self.rule, Between):
            return None if value is None else type(self.rule.low)(value)
        return {None: AUTO, True: "on", False: "off"}.get(value, value)

    def meant(self, shown: Any) -> Any:
        """Return the value of the field for what the widget shows.

        Raises:
            ValueError: words for whole numbers.
        """
        if isinstance(self.usual, tuple):
            parts = tuple(filter(None, map(str.strip, shown.split(","))))
            return tuple(map(self._whole, parts)) if isinstance(self.rule, Between) else parts
        if isinstance(self.rule, Between):
            return None if shown is None else type(self.rule.low)(shown)
        return None if shown == AUTO and self.usual is None else SWITCH.get(shown, shown)

    def _whole(self, part: str) -> int:
        if part.isdecimal():
            return int(part)
        raise ValueError(f"{self.name} {part!r}: give whole numbers with commas between them, such as 64, 128, 128")

    def draw(self, place: DeltaGenerator, base: RunConfig, **more: Any) -> Any:
        """Draw the widget, which shows what ``base`` says at first; return what it shows."""
        about = help_of(self.kind)[self.name]
        more = {"key": self.key, "help": about, **BOUND, **self.more, **more}
        if isinstance(self.usual, tuple):
            return place.text_input(self.label, self.shown(base), **more)
        if isinstance(self.rule, Between):
            highest = type(self.rule.low)(self.rule.high) if self.rule.high <= LARGEST else None
            if self.rule.whole:
                highest = highest or LARGEST
            return place.number_input(self.label, self.rule.low, highest, self.shown(base), **more)
        names = self.rule.names if self.rule else SWITCH
        if isinstance(names, Mapping) and self.rule:
            more["help"] = f"{about}\n\n{about_choices(names)}"
        options = [AUTO] * (self.usual is None) + list(names)
        return place.selectbox(self.label, options, options.index(self.shown(base)), **more)


def fill(settings: Iterable[Setting], config: RunConfig) -> None:
    """Let the widgets show what ``config`` says."""
    st.session_state.update({setting.key: setting.shown(config) for setting in settings})


def configured(base: RunConfig, shown: Mapping[Setting, Any], **changes: Any) -> RunConfig:
    """Return ``base`` with what the widgets show.

    Args:
        shown: what each widget shows.
        changes: fields of the run itself. All is checked together, for some values are possible only beside others.

    Raises:
        ValueError: what cannot be.
    """
    sections: dict[str, dict[str, Any]] = {}
    for setting, value in shown.items():
        sections.setdefault(setting.section, {})[setting.name] = setting.meant(value)
    top = sections.pop("", {})
    whole = {section: replace(changes.pop(section, getattr(base, section)), **given) for section, given in sections.items()}
    return replace(base, **whole, **top, **changes)
