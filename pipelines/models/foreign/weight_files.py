"""Files of weights from other libraries: found in their folders, told apart by content, and read from safetensors alone."""

from __future__ import annotations

import re
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...common.json_files import read_json
from ...common.settings import LONGEST
from ...common.text import shorten
from ...storage.weights import described_tensors, read_tensors

Notes = list[str]
STEM = "diffusion_pytorch_model"  # of the files that diffusers writes
POINTER = "Git LFS pointer"
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle", ".tar")
WRAPPERS = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")  # put in by wrappers of modules
PREFIX = re.compile(
    r"((?:module|model|ema_model|ema|online_model|averaged_model|state_dict|unet|net|network|denoiser|denoise_fn|inner_model)\.)+"
)
WHOLE = re.compile(rf"{STEM}(?:\.((?:(?!-\d{{5}}-of-)[\w-])+))?\.safetensors", re.IGNORECASE)
INDEX = re.compile(rf"{STEM}(?:\.([\w-]+))?\.safetensors\.index(?:\.([\w-]+))?\.json", re.IGNORECASE)
SHARD = re.compile(rf"{STEM}(?:\.([\w-]+))?-(\d{{5}})-of-(\d{{5}})\.safetensors", re.IGNORECASE)


@dataclass(frozen=True)
class Weights:
    """Weights in one or several safetensors files, by name.

    Attributes:
        path: where they come from, for messages.
        described: shape and type of each, from the files' headers alone (see :func:`described_tensors`).
        sources: the file and the name in it of each.
    """

    path: Path
    described: Mapping[str, tuple[tuple[int, ...], str]]
    sources: Mapping[str, tuple[Path, str]]

    @classmethod
    def of(cls, path: Path, files: list[Path]) -> Weights:
        """Open files.

        Raises:
            ValueError: one is missing or no safetensors file, or two hold weights of the same name.
        """
        described: dict[str, tuple[tuple[int, ...], str]] = {}
        sources: dict[str, tuple[Path, str]] = {}
        for file in files:
            refuse_other_formats(file)
            for name, about in described_tensors(file).items():
                if name in described:
                    raise ValueError(f"{name} is in {sources[name][0]} and in {file}: give each weight once")
                described[name], sources[name] = about, (file, name)
        return cls(path, described, sources)

    def renamed(self, names: Mapping[str, str]) -> Weights:
        """Return those that are keys of ``names``, under their new names."""
        return Weights(
            self.path,
            {new: self.described[old] for old, new in names.items()},
            {new: self.sources[old] for old, new in names.items()},
        )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each."""
        return {name: shape for name, (shape, _) in self.described.items()}

    def read(self) -> dict[str, Tensor]:
        """Read them as float32."""
        wanted: dict[Path, dict[str, str]] = defaultdict(dict)
        for name, (file, old) in self.sources.items():
            wanted[file][old] = name
        found: dict[str, Tensor] = {}
        for file, names in wanted.items():
            tensors = read_tensors(file)[0]
            found |= {name: tensors[old].float() for old, name in names.items()}
        return found

    def groups(self) -> dict[str, Weights]:
        """Return the weights without the prefixes of wrappers, by prefix: "ema_model." and "online_model.", say."""
        names: dict[str, dict[str, str]] = defaultdict(dict)
        for name in self.described:
            plain = WRAPPERS.sub("", name)
            found = PREFIX.match(plain)
            prefix = found[0] if found else ""
            names[prefix][name] = plain.removeprefix(prefix)
        return {prefix: self.renamed(those) for prefix, those in names.items()}


def find_weights(folder: Path, variant: str | None, notes: Notes) -> Weights:
    """Find the weights in a folder written by diffusers: of full precision by default, in one file or in shards.

    Args:
        variant: the one to read, such as fp16.
        notes: gets a sentence for each decision.

    Raises:
        ValueError: there are none, only pickles, several variants to choose from, or a shard is missing.
    """
    files = [file for file in sorted(folder.iterdir()) if file.is_file()]
    found: dict[str, list[Path]] = {}
    for pattern, read in ((SHARD, None), (INDEX, _shards), (WHOLE, lambda file: [file])):  # the last found counts
        for file in files:
            if match := pattern.fullmatch(file.name):
                kind = match[1] or (match[2] if pattern is INDEX else None) or ""
                found[kind] = _numbered(files, match) if read is None else read(file)
    if not found:
        return Weights.of(folder, [_only_file(folder, files, notes)])
    if variant is None:
        variant = "" if "" in found else next(iter(found))
        if variant and len(found) > 1:
            raise ValueError(f"{folder} has the variants {', '.join(sorted(found))} of the weights: choose one with --variant")
    if variant not in found:
        known = ", ".join(sorted(kind or "full precision" for kind in found))
        raise ValueError(f"{folder} has no variant {shorten(repr(variant), LONGEST)} of the weights: there are {known}")
    others = sorted(kind or "full precision" for kind in found if kind != variant)
    if variant or others:
        notes.append(
            f"the weights are those of {f'the variant {variant}' if variant else 'full precision'}"
            + f"; also there, and not used: {', '.join(others)}" * bool(others)
        )
    if len(found[variant]) > 1:
        notes.append(f"the weights lie in {len(found[variant])} shards")
    return Weights.of(folder, found[variant])


def _shards(index: Path) -> list[Path]:
    """Return the shards that an index lists.

    Raises:
        ValueError: it cannot be read, or a shard is missing or lies elsewhere.
    """
    values = read_json(index)
    listed = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(listed, dict) or not listed or not all(isinstance(name, str) for name in listed.values()):
        raise ValueError(f"{index} lists no shards: it should have a weight_map from weights to files")
    names = sorted(set(listed.values()))
    for name in names:
        if "/" in name or "\\" in name or name in ("", ".", ".."):
            raise ValueError(f"{index} lists {shorten(repr(name), LONGEST)}: shards must lie beside their index")
    return _present([index.parent / name for name in names])


def _numbered(files: list[Path], shard: re.Match[str]) -> list[Path]:
    """Return all shards numbered like one."""
    before, after = shard.string[: shard.start(2)], shard.string[shard.end(2) :]
    return _present([files[0].parent / f"{before}{number:05}{after}" for number in range(1, int(shard[3]) + 1)])


def _present(shards: list[Path]) -> list[Path]:
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise ValueError(f"{shards[0].parent} lacks {len(missing)} of {len(shards)} shards, first {missing[0]}: restore them")
    return shards


def _only_file(folder: Path, files: list[Path], notes: Notes) -> Path:
    """Return the one file of weights in a folder that has none by diffusers' names."""
    named = [file for file in files if file.suffix.lower() == ".safetensors"]
    if len(named) == 1:
        notes.append(f"the weights are those of {named[0].name}, the only safetensors file")
        return named[0]
    for file in files:
        if file.suffix.lower() in PICKLES:
            refuse_other_formats(file)
    several = f"the files {', '.join(file.name for file in named[:3])}" if named else "no weights"
    raise ValueError(f"{folder} has {several}: give one {STEM}.safetensors, as save_pretrained writes it, or one file")


def refuse_other_formats(file: Path) -> None:
    """Raise ValueError if a file is in another format than safetensors, whatever its name; a pickle is never opened."""
    if not file.is_file():
        return
    with file.open("rb") as opened:
        start = opened.read(9)
    length = int.from_bytes(start[:8], "little")
    if len(start) == 9 and start[8:] == b"{" and length <= file.stat().st_size - 8:
        return
    format = _format(file, start)
    if format is None:
        return
    if format != "pickle":
        fetch = ", and `git lfs pull` fetches them" * (format == POINTER)
        raise ValueError(f"{file} is a {format} file: weights are read from safetensors files only{fetch}")
    target = file.with_suffix(".safetensors").name
    target = target if target != file.name else f"{file.stem}-converted.safetensors"
    raise ValueError(
        f"{file} is a pickle, which can run any program when it is opened: weights are read from safetensors only, never from "
        "pickles; convert it once, in an environment with nothing to lose, with the two lines "
        f'`weights = torch.load("{file.name}", map_location="cpu", weights_only=True)` and '
        f'`safetensors.torch.save_file(weights, "{target}")` (weights["state_dict"] or the like if the tensors lie deeper), '
        "and give that file"
    )


def _format(file: Path, start: bytes) -> str | None:
    """Return the name of another format than safetensors, by content and then by ending; None if it is not known."""
    if start.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            names = []
        if any(name.endswith(".npy") for name in names) and not any(name.endswith(".pkl") for name in names):
            return "NumPy"
        return "pickle" if any(name.endswith(".pkl") for name in names) or file.suffix.lower() in PICKLES else "ZIP"
    if start[:1] == b"\x80" and start[1:2] in b"\x00\x01\x02\x03\x04\x05":
        return "pickle"
    known = {b"\x89HDF": "HDF5 (Keras)", b"GGUF": "GGUF", b"\x93NUMPY": "NumPy", b"version ": POINTER}
    for magic, name in known.items():
        if start.startswith(magic):
            return name
    return "pickle" if file.suffix.lower() in PICKLES else None
