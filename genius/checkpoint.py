"""The bundle: a folder that holds a whole model.

    config.json            every number that shapes the model, and a fingerprint of its weights
    encoder/               an open_clip folder (configuration, weights, tokenizer)
    fusion.safetensors, quantizer.safetensors, decoder.safetensors
    README.md              the model card

One loader, strict, tensors only.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from genius.decoder import Decoder, DecoderConfig
from genius.encoder import WEIGHTS_FILE, Encoder
from genius.fusion import Fusion, FusionConfig
from genius.hub import local_bundle
from genius.quantizer import Quantizer, QuantizerConfig
from genius.schema import UserError

CONFIG_FILE = "config.json"
FORMAT = 1
MEND = "Restore the bundle (git checkout checkpoints) or train it again."


@dataclass(frozen=True)
class Bundle:
    """A loaded model. `fingerprint` names its weights: an index belongs to one fingerprint."""

    name: str
    fingerprint: str
    encoder: Encoder
    fusion: Fusion
    quantizer: Quantizer
    decoder: Decoder


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The given device, or the best there is: cuda, mps or cpu; UserError if the given one is not there."""
    if device is not None:
        return _checked(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _checked(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split(". ")[0].splitlines()[0]
        raise UserError(
            f"The device {str(name)!r} cannot be used ({reason}). Choose cuda, mps or cpu."
        ) from error
    return device


def pick_dtype(device: torch.device) -> torch.dtype:
    """Half precision on an accelerator, single on a processor."""
    return torch.float32 if device.type == "cpu" else torch.float16


def load_bundle(folder: str | Path, device: str | torch.device | None = None) -> Bundle:
    """Open a bundle in a folder, or on the hub (`hub:owner/name[@revision]`).

    On an accelerator the encoder, where nearly all the work is, runs in half precision; codes and
    probabilities are computed in single precision everywhere, since they decide between near equals.

    Raises
    ------
    UserError
        If a file is missing, damaged or does not fit config.json, or the hub is out of reach; the message
        names it.
    """
    folder = local_bundle(folder)
    where = pick_device(device)
    config = _read_config(folder)
    try:
        fusion = Fusion(FusionConfig(**config["fusion"]))
        quantizer = Quantizer(QuantizerConfig(**_tupled(config["quantizer"])))
        decoder = Decoder(DecoderConfig(**_tupled(config["decoder"])))
        name, fingerprint = str(config["name"]), str(config["fingerprint"])
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{folder / CONFIG_FILE} lacks, misnames or misstates a setting: {error}. {MEND}"
        ) from error
    for module, part in ((fusion, "fusion"), (quantizer, "quantizer"), (decoder, "decoder")):
        _load_weights(module, folder / f"{part}.safetensors")
        module.to(where).eval()
    encoder = Encoder.load(folder / "encoder", where, pick_dtype(where))
    return Bundle(name, fingerprint, encoder, fusion, quantizer, decoder)


def save_parts(
    folder: Path, name: str, fusion: Fusion, quantizer: Quantizer, decoder: Decoder, *, half: bool = True
) -> None:
    """Complete a bundle whose `encoder/` is already there.

    Fusion and decoder are stored in half precision, unless told otherwise; codewords always in full, since
    codes depend on them exactly.
    """
    _save_weights(fusion, folder / "fusion.safetensors", half=half)
    _save_weights(quantizer, folder / "quantizer.safetensors", half=False)
    _save_weights(decoder, folder / "decoder.safetensors", half=half)
    config = {
        "format": FORMAT,
        "name": name,
        "fingerprint": _fingerprint(folder),
        "fusion": asdict(fusion.config),
        "quantizer": asdict(quantizer.config),
        "decoder": asdict(decoder.config),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise UserError(f"{folder} is not a model bundle: it has no {CONFIG_FILE}. {MEND}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        known = config["format"] == FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}. {MEND}") from error
    if not known:
        raise UserError(
            f"{path} is of format {config['format']}; this program reads format {FORMAT}. Update it."
        )
    return config


def _tupled(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _load_weights(module: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path} is missing. {MEND}")
    try:
        module.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise UserError(f"{path} is damaged or belongs to another model: {error}. {MEND}") from error


def _save_weights(module: nn.Module, path: Path, *, half: bool) -> None:
    state = {name: value.cpu().contiguous() for name, value in module.state_dict().items()}
    save_file({name: value.half() if half else value for name, value in state.items()}, path)


def _fingerprint(folder: Path) -> str:
    """Hash of the weights that decide vectors and codes."""
    digest = hashlib.sha256()
    for path in (
        folder / "encoder" / WEIGHTS_FILE,
        folder / "fusion.safetensors",
        folder / "quantizer.safetensors",
    ):
        with path.open("rb") as file:
            while part := file.read(2**24):
                digest.update(part)
    return digest.hexdigest()[:16]
