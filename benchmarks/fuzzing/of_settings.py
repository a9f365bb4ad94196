"""What people write: recipes, configurations, prompts, and the names that a model card quotes."""

from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path
from random import Random

from pipelines.storage.files import ROOT

from .kind import RUN, Attempts, Kind, make_special, prepare_runs
from .mutations import ODD_TEXT, PICTURE, mutate_bytes, mutate_json
from .of_runs import mutate_record
from .seeds import Seeds


def _prepare_recipe(_: Seeds, folder: Path) -> None:
    shutil.copy(ROOT / "pipelines/storage/recipes/flowers-attention.json", folder / "recipe.json")


def _mutate_recipe(random: Random, folder: Path) -> None:
    file = folder / "recipe.json"
    if random.random() < 0.1:
        make_special(random, file)
    else:
        file.write_bytes(mutate_json(random, file.read_bytes()))


def _read_recipe(folder: Path) -> Attempts:
    from pipelines.storage import recipes
    from pipelines.train import defaults_for

    recipes.RECIPES["mutant"] = folder / "recipe.json"
    yield partial(defaults_for, ["--recipe", "mutant"])


def _prepare_config(seeds: Seeds, folder: Path) -> None:
    shutil.copytree(seeds.run, folder / RUN)


def _mutate_config(random: Random, folder: Path) -> None:
    """Change a few numbers of the configuration, each perhaps to one that is allowed alone but not with the others."""
    file = folder / RUN / "config.json"
    config = json.loads(file.read_text())
    for _ in range(random.choice((1, 2, 4))):
        section = config[random.choice(("network", "diffusion", "data", "optimizer", "log", "autoencoder"))]
        name = random.choice([key for key, value in section.items() if isinstance(value, int | float | list)])
        large = random.choice((0, 1, 2, 3, 8, 32, 1024, 4096, 65_536, 100_000, 10**7, 10**9, 10**12, 1e-9, 1e9))
        section[name] = [large] * random.choice((1, 2, 8, 1000)) if isinstance(section[name], list) else large
    if random.random() < 0.3:
        config["image_shape"] = [random.choice((1, 3, 4096)), *[random.choice((4, 8, 1024, 4096))] * 2]
    file.write_text(json.dumps(config))


def _use_config(folder: Path) -> Attempts:
    from pipelines.models.loading import load_model
    from pipelines.models.networks import empty_network, make_denoiser
    from pipelines.storage.run import Run

    run = Run(folder / RUN)
    yield lambda: make_denoiser(empty_network(run.config), run.config)
    yield lambda: load_model(run, device="cpu")


def _prepare_prompts(_: Seeds, folder: Path) -> None:
    (folder / "prompts.txt").write_text("a red flower\na blue flower, wild\n\nnothing\n")


def _mutate_prompts(random: Random, folder: Path) -> None:
    file = folder / "prompts.txt"
    text = file.read_text()
    choices = (
        lambda: mutate_bytes(random, file.read_bytes()),
        lambda: text.encode("utf-16"),
        lambda: "é".encode("latin-1") * 100,
        lambda: b"word " * 2_000_000,
        lambda: b"\n" * 1_000_000,
        lambda: b"\x00" * 1000,
        lambda: b"a prompt\n" * 1_000_000,
    )
    if random.random() < 0.3:
        make_special(random, file)
    else:
        file.write_bytes(random.choice(choices)())


def _read_prompts(folder: Path) -> Attempts:
    from pipelines.sample import read_prompts

    yield lambda: [*read_prompts([str(folder / "prompts.txt")])]


def _mutate_card(random: Random, folder: Path) -> None:
    """Put foreign text into the configuration, which its model card quotes."""
    file = folder / RUN / "config.json"
    config = json.loads(file.read_text())
    text = random.choice(ODD_TEXT)
    place = random.choice(("data", "versions", "classes", "templates", "name"))
    if place == "data":
        config["data"]["data"] = text
    elif place == "versions":
        config["versions"] = {text: text}
    elif place in ("classes", "templates"):
        config["condition"][place] = [text, "circles"]
    file.write_bytes(mutate_json(random, json.dumps(config).encode()) if place == "name" else json.dumps(config).encode())
    if random.random() < 0.3:
        mutate_record(random, folder / RUN)


def _publish(folder: Path) -> Attempts:
    from pipelines.storage.publishing import publish
    from pipelines.storage.run import Run

    def published() -> None:
        publish(Run(folder / RUN), folder / "published")
        card = (folder / "published/README.md").read_text()
        blocks = re.findall(r"^(`{3,})\n(.*?)\n\1$", card, flags=re.DOTALL | re.MULTILINE)
        assert [code.startswith("python -m ") for _, code in blocks] == [True, True], "text has left its code fence"
        code = r"^(`{3,})\n.*?\n\1$|(?<!`)(`+)(?!`).*?(?<!`)\2(?!`)"
        assert PICTURE not in re.sub(code, "", card, flags=re.DOTALL | re.MULTILINE), "foreign text is rendered"

    yield published


KINDS = {
    "config": Kind("numbers of a configuration", _prepare_config, _mutate_config, _use_config),
    "recipe": Kind("a recipe", _prepare_recipe, _mutate_recipe, _read_recipe),
    "prompts": Kind("a file of prompts", _prepare_prompts, _mutate_prompts, _read_prompts),
    "card": Kind("a model card with foreign text", prepare_runs, _mutate_card, _publish),
}
