"""The flags of a command, made from the fields of its settings: what their marks mean to tyro, which parses them.

Only commands load this module, since pages read settings without flags.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import is_dataclass, replace
from functools import partial
from typing import Annotated, Any, TypeVar, Union

from tyro import cli
from tyro.conf import FlagConversionOff, OmitArgPrefixes, Suppress, UseAppendAction, arg
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructTypeInfo

from .settings import OneOf, Recorded, Repeated, SomeOf

Arguments = TypeVar("Arguments")


def parse(kinds: Sequence[type[Arguments]], words: Sequence[str], **options: Any) -> Arguments:
    """Parse the words of a command line into a dataclass, or into one of several, each of a subcommand.

    Args:
        options: passed to tyro.
    """
    kind: Any = Union[tuple(kinds)]  # noqa: UP007  (of as many as there are)
    parsed: Arguments = cli(kind, args=words, config=(OmitArgPrefixes, FlagConversionOff), registry=_registry(), **options)
    return parsed


def _registry() -> ConstructorRegistry:
    """Return the rule that a dataclass has the fields that tyro finds in it, with their marks in tyro's terms."""
    registry, asking = ConstructorRegistry(), False

    @registry.struct_rule
    def rule(info: StructTypeInfo) -> StructConstructorSpec | None:
        nonlocal asking
        if asking or not is_dataclass(info.type):
            return None
        asking = True
        try:
            found = ConstructorRegistry.get_struct_spec(info)  # by tyro's own rules
        finally:
            asking = False
        if not isinstance(found, StructConstructorSpec):
            return None
        return replace(found, fields=tuple(replace(field, type=_in_tyros_terms(field.type)) for field in found.fields))

    return registry


def _in_tyros_terms(hint: Any) -> Any:
    terms = [_term(mark) for mark in getattr(hint, "__metadata__", ())]
    for term in filter(None, terms):
        hint = Annotated[hint, term]
    return hint


def _term(mark: object) -> Any:
    """Return what a mark means to tyro, or None."""
    match mark:
        case Recorded():
            return Suppress
        case Repeated():
            return UseAppendAction
        case SomeOf(names):
            return arg(help_behavior_hint=partial(_hint, names))
        case OneOf(names):
            return arg(metavar=f"{{{','.join(names)}}}", help_behavior_hint=partial(_hint, names))
    return None


def _hint(names: Collection[str], default: str) -> str:
    """Return what --help shows below a field's help: the choices that are described, one per line, and the default."""
    entries = names.items() if isinstance(names, Mapping) else ()
    choices = [f"{name}: {entry.about}" for name, entry in entries if hasattr(entry, "about")]
    return "\n".join([*[""] * bool(choices), *choices, f"(default: {default})"])
