"""What pages share."""

from typing import Literal, TypedDict


class Bound(TypedDict):
    """Keyword arguments of a widget whose value lives in the URL."""

    bind: Literal["query-params"]


BOUND: Bound = {"bind": "query-params"}  # for every input of a page: a link reproduces it, and leaving it loses nothing
