"""Settings: dataclass fields that declare their allowed values, so that --help, forms and validation agree.

A field is annotated with :class:`Between` or :class:`OneOf`, or is a ``Literal``; its docstring is its help text. For example
``steps: Annotated[int, Between(1, 1000)]`` and ``sampler: Annotated[str, OneOf(SAMPLERS)]``.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Any, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from .paths import expanded
from .text import shorten

Made = TypeVar("Made")
LONGEST = 200  # characters of a wrong value in a message


class SettingsError(ValueError):
    """Raised when a setting has an invalid value; the message is one sentence."""


def require(condition: bool, sentence: str) -> None:
    """Raise :class:`SettingsError` unless ``condition`` holds."""
    if not condition:
        raise SettingsError(sentence)


def seconds_in(duration: str) -> float:
    """Return the seconds of a duration such as "90s", "8m" or "1.5h".

    Raises:
        SettingsError: it is no positive duration.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?([smh])", duration)
    seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    require(
        seconds > 0, f"{shorten(repr(duration), LONGEST)} is not a duration: give a number with s, m or h, such as 90s or 8m"
    )
    return seconds


class Described(Protocol):
    """Registry entry with a title and a description of one sentence."""

    @property
    def title(self) -> str: ...

    @property
    def about(self) -> str: ...


@dataclass(frozen=True)
class Between:
    """Range of a number, or of each number of a tuple. Only whole numbers are allowed if ``low`` is an int.

    Attributes:
        low, high: the bounds; ``high`` may be infinite, but the number must be finite.
        above, below: exclude ``low``, or ``high``.
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are allowed."""
        return isinstance(self.low, int)

    def takes(self, value: Any) -> bool:
        """Return whether ``value`` is a number in the range."""
        if not isinstance(value, Integral if self.whole else Real):
            return False
        number: Any = value  # compared without conversion: an int may be too large for a float
        high_enough = self.low < number if self.above else self.low <= number
        return high_enough and (number < self.high if self.below or self.high == math.inf else number <= self.high)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a finite number" if self.high == math.inf else "a number"
        if self.high == math.inf:
            return f"{kind} above {self.low:g}" if self.above else f"{kind} of {self.low:g} or more"
        lowest, highest = (f"{end:,}" if self.whole else f"{end:g}" for end in (self.low, self.high))
        if self.above:
            return f"{kind} above {lowest} and {'below' if self.below else 'at most'} {highest}"
        return f"{kind} from {lowest} to {'less than ' * self.below}{highest}"


@dataclass(frozen=True, eq=False)
class OneOf:
    """Names allowed for a setting, or for each item of a tuple: the keys of a registry, or the values of a ``Literal``.

    The registry is read when it is needed, so that entries added to it later count, too.
    """

    names: Collection[str]

    def takes(self, value: Any) -> bool:
        """Return whether ``value`` is one of the names."""
        return isinstance(value, str) and value in self.names

    def __str__(self) -> str:
        return f"one of {', '.join(self.names)}"


@dataclass(frozen=True, eq=False)
class SomeOf:
    """Names that --help offers for a text that may be something else too."""

    names: Mapping[str, Described]


@dataclass(frozen=True)
class Recorded:
    """Mark of a field that training or an import records, and no flag sets."""


@dataclass(frozen=True)
class Repeated:
    """Mark of a tuple whose flag is given once for each value."""


RECORDED, REPEATED = Recorded(), Repeated()


@dataclass(frozen=True)
class MayBePath:
    """Mark of a text that may be the path of a file or a folder: ~ at its start means the home folder."""


MAY_BE_PATH = MayBePath()


@cache
def path_fields(settings: type) -> tuple[str, ...]:
    """Return the names of the fields of ``settings`` that are marked with :data:`MAY_BE_PATH`."""
    hints = get_type_hints(settings, include_extras=True)
    return tuple(name for name, hint in hints.items() if MAY_BE_PATH in getattr(hint, "__metadata__", ()))


@cache
def rules(settings: type) -> dict[str, Between | OneOf]:
    """Return the allowed values of the fields of ``settings``, by name; fields that declare none are left out."""
    found = {name: _rule(hint) for name, hint in get_type_hints(settings, include_extras=True).items()}
    return {name: rule for name, rule in found.items() if rule is not None}


def _rule(hint: Any) -> Between | OneOf | None:
    if get_origin(hint) is Literal:
        return OneOf(get_args(hint))
    rule = next((mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Between | OneOf)), None)
    return rule or next((rule for part in get_args(hint) if (rule := _rule(part))), None)


class Settings:
    """Base of settings dataclasses: fields are checked on construction, and JSON must not have other keys.

    A field that is None is left open and not checked.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        """Check every field, and replace ~ in paths.

        Raises:
            SettingsError: a field has an invalid value; the message is about the first one.
        """
        kind: Any = type(self)
        for name in path_fields(kind):
            if isinstance(path := getattr(self, name), str):
                object.__setattr__(self, name, expanded(path))
        for name, rule in rules(kind).items():
            value = getattr(self, name)
            parts = value if isinstance(value, tuple) else (value,)
            wrong = [part for part in parts if not rule.takes(part)]
            if value is None or not wrong:
                continue
            if isinstance(rule, OneOf):
                kind_of_name = name.removesuffix("s") if isinstance(value, tuple) else name
                raise SettingsError(f"unknown {kind_of_name} {shorten(repr(wrong[0]), LONGEST)}: choose {rule}")
            told = shorten(repr(value), LONGEST)
            raise SettingsError(f"{name}={told}: choose {rule}" + " for each" * isinstance(value, tuple))


@cache
def help_of(settings: type) -> dict[str, str]:
    """Return the docstrings of the fields of ``settings``, by name."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(settings))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for statement, following in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
            found[ast.unparse(statement.target)] = inspect.cleandoc(ast.literal_eval(following.value)).replace("\n", " ")
    return found


@cache
def _adapter(settings: type) -> TypeAdapter[Any]:
    return TypeAdapter(settings)


def settings_from(settings: type[Made], values: object, source: str) -> Made:
    """Create a dataclass from values parsed from JSON.

    Args:
        source: where the values come from, for the error message.

    Raises:
        ValueError: an unknown key, a wrong type or an impossible value.
    """
    kind: Any = settings
    try:
        made: Made = _adapter(kind).validate_python(values)
        return made
    except ValidationError as error:
        where, said = first_mistake(error)
        raise ValueError(f"{source}: {where or 'the file'}: {said}") from error


WANTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "a text",
    "tuple": "a list",
    "list": "a list",
    "dict": "an object",
    "dataclass": "an object of settings",
}
"""What to give for the first part of the type of an error of pydantic, such as int_parsing."""


def first_mistake(error: ValidationError) -> tuple[str, str]:
    """Return where values that do not fit are first wrong, such as "optimizer.steps", and what to give there."""
    first = error.errors()[0]
    kind, context = first["type"], first.get("ctx", {})
    where = ".".join(shorten(str(part), 60) for part in first["loc"])
    given = shorten(repr(first["input"]), LONGEST)
    if kind == "value_error":
        return where, shorten(str(context["error"]), 400)
    if kind == "missing":
        return where, "is missing: add it"
    if kind == "unexpected_keyword_argument":
        return where, "is unknown: remove it, or correct its name"
    if kind == "literal_error":
        return where, f"{given} is not allowed: give {context['expected']}"
    if kind == "too_long":
        return where, f"{given} is too long: give {context['max_length']} values"
    wanted = WANTED.get(kind.split("_")[0]) if kind.endswith(("_type", "_parsing", "_from_float", "_number")) else None
    return where, f"{given} is not allowed: give {wanted or 'a value such as Noisescope writes'}"
