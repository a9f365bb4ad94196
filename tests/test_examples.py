"""The examples in the docstrings of the library do what they say."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

from tests.test_imports import ROOT, SOURCES

PATHS = [path.relative_to(ROOT).with_suffix("") for path in SOURCES]
MODULES = [".".join(path.parts).removesuffix(".__init__") for path in PATHS if path.parts[0] in ("diffusion_core", "unets")]


@pytest.mark.parametrize("package", ["diffusion_core", "unets"])
def test_the_examples_hold(package):
    results = {name: doctest.testmod(import_module(name)) for name in MODULES if name.partition(".")[0] == package}
    assert not {name: result.failed for name, result in results.items() if result.failed}
    assert results[package].attempted, "the package itself has an example"
