"""`python -m genius`: search a collection, index one, train a model.

Torch takes seconds to import, so every handler imports what it needs: `--help` and mistakes answer at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from genius.images import open_image
from genius.report import result_to_json
from genius.schema import Hit, Modality, Query, SearchOptions, SearchResult, UserError, bounded_text
from genius.sources import ALL, COLLECTIONS, open_collection

if TYPE_CHECKING:
    from types import ModuleType

    from genius.engine import Progress

BUNDLE = Path(__file__).resolve().parent.parent / "checkpoints" / "genius-mini"
MODALITIES = {"auto": None, "image": Modality.IMAGE, "text": Modality.TEXT, "pair": Modality.PAIR}
STAGES = ("encoder", "quantizer", "decoder")

Settings = TypeVar("Settings")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 for a mistake one can mend, 130 when interrupted."""
    args = build_parser().parse_args(arguments)
    try:
        args.handle(args)
        sys.stdout.flush()
    except UserError as error:
        print(f"genius: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("genius: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, `head` for instance, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m genius", description="Search pictures and words by writing addresses."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_search(commands)
    _add_index(commands)
    _add_train(commands)
    return parser


def _add_search(commands: Any) -> None:
    usual = SearchOptions()
    parser = commands.add_parser("search", help="find pictures and texts")
    parser.add_argument("text", nargs="?", default="", metavar="TEXT", help="what you look for, in words")
    parser.add_argument("--image", type=Path, metavar="FILE", help="a picture to search with")
    parser.add_argument(
        "--instruction", default="", metavar="TEXT", help='what to do with them: "Find a similar picture."'
    )
    parser.add_argument(
        "--modality", choices=MODALITIES, default="auto", help="what to find; auto: the model decides"
    )
    parser.add_argument(
        "--collection",
        default=ALL,
        metavar="NAME|FOLDER",
        help=f"{', '.join((*COLLECTIONS, ALL))}, a folder of images, or one that `index` wrote (all)",
    )
    parser.add_argument(
        "--top-k", type=int, default=usual.top_k, metavar="N", help=f"how many results ({usual.top_k})"
    )
    parser.add_argument(
        "--beams", type=int, default=usual.beams, metavar="N", help=f"addresses to write ({usual.beams})"
    )
    parser.add_argument("--no-rerank", dest="rerank", action="store_false", help="keep the decoder's order")
    parser.add_argument("--json", action="store_true", help="print JSON")
    _add_bundle(parser)
    parser.set_defaults(handle=search)


def _add_index(commands: Any) -> None:
    parser = commands.add_parser("index", help="encode a collection once, to search it at once later")
    parser.add_argument(
        "source", metavar="SOURCE", help=f"{', '.join((*COLLECTIONS, ALL))}, or a folder of images"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the index goes")
    _add_bundle(parser)
    parser.set_defaults(handle=index)


def _add_train(commands: Any) -> None:
    parser = commands.add_parser(
        "train", help="train a model, one stage or all", description="Resumes where it stopped."
    )
    parser.add_argument("stage", choices=(*STAGES, ALL), help="one of the three stages, or all of them")
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="where everything is written")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="photographs: images/, captions.jsonl")
    parser.add_argument("--groceries", type=Path, metavar="DIR", help="groceries: images/, labels.jsonl")
    parser.add_argument("--wordnet", type=Path, metavar="DIR", help="WordNet: index.noun, data.noun")
    parser.add_argument("--epochs", type=float, metavar="N", help="epochs of each stage (each stage's own)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where `all` puts the model (RUN/bundle)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of every random choice (0)")
    parser.set_defaults(handle=train)


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, default=BUNDLE, metavar="FOLDER", help=f"the model ({BUNDLE})")


def search(args: argparse.Namespace) -> None:
    """Find, and print what was found."""
    query, options = _query(args), _options(args)
    from genius.engine import Engine

    with _progress("reading pictures") as progress:
        engine = Engine.load(args.bundle, args.collection, progress=progress)
    _print_notes(engine.notes)
    result = engine.search([query], options)[0]
    if args.json:
        print(json.dumps(result_to_json(result), ensure_ascii=False, indent=1))
    else:
        print(as_table(result))


def index(args: argparse.Namespace) -> None:
    """Encode a collection and save its index."""
    _check_free(args.out)
    with _progress("looking at files") as progress:
        found = open_collection(args.source, progress)
    _print_notes(found.notes)
    from genius.checkpoint import load_bundle
    from genius.engine import Engine
    from genius.index import CandidateIndex

    bundle = load_bundle(args.bundle)
    empty = CandidateIndex.empty(bundle.quantizer.config.levels, bundle.encoder.dim)
    engine = Engine(bundle, empty, found.notes)
    with _progress("reading pictures and texts") as progress:
        engine.add(found.candidates, progress)
    named = args.source in (*COLLECTIONS, ALL)
    source = args.source if named else str(Path(args.source).expanduser().resolve())
    engine.index.save(args.out, bundle.fingerprint, source)
    unique = engine.index.trie.unique_ids
    print(f"{len(engine.index):,} candidates with {unique:,} addresses are in {args.out}")


def train(args: argparse.Namespace) -> None:
    """Run one stage, or all of them and then write the bundle."""
    for folder in (args.photos, args.groceries, args.wordnet):
        if folder is not None and not folder.is_dir():
            raise UserError(f"There is no folder {folder}. Give the folder that holds the data, unpacked.")
    stages = _training()
    data = stages.TrainingData(args.run, args.photos, args.groceries, args.wordnet, seed=args.seed)
    for stage in STAGES if args.stage == ALL else (args.stage,):
        _run_stage(stages, stage, data, args)
    if args.stage == ALL:
        out = args.out or args.run / "bundle"
        stages.run_bundle(data, out)
        print(f"The model is in {out}. Search with it: python -m genius search TEXT --bundle {out}")


def _run_stage(stages: ModuleType, stage: str, data: object, args: argparse.Namespace) -> None:
    from genius.training.decoder import DecoderTraining
    from genius.training.encoder import EncoderTraining
    from genius.training.quantizer import QuantizerTraining

    if stage == "encoder":
        stages.run_encoder(data, _settings(EncoderTraining, args))
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


def _query(args: argparse.Namespace) -> Query:
    text, instruction = bounded_text(args.text, "text"), bounded_text(args.instruction, "instruction")
    query = Query(None if args.image is None else open_image(args.image), text, instruction)
    if not query.text.strip() and query.image is None:
        raise UserError("Nothing to search for: give a text, a picture with --image FILE, or both.")
    return query


def _options(args: argparse.Namespace) -> SearchOptions:
    target = MODALITIES[args.modality]
    prefix = () if target is None else (int(target),)
    return SearchOptions(args.top_k, args.beams, args.rerank, prefix)


def as_table(result: SearchResult) -> str:
    """What was found, for people: one line a candidate, then how long each stage took.

    `score` is the cosine between query and candidate, `log p` how sure the decoder was of the address.
    """
    rows = [("rank", "score", "log p", "address", "kind", "what"), *map(_row, result.hits)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(map(str.ljust, row[:5], widths)) + f"  {row[5]}" for row in rows]
    timings = result.timings
    stages = f"encode {timings.encode:.0f}, fuse {timings.fuse:.0f}, decode {timings.decode:.0f}"
    lines.append(f"{timings.total:.0f} ms: {stages}, re-rank {timings.rerank:.0f}")
    return "\n".join(lines)


def _row(hit: Hit) -> tuple[str, str, str, str, str, str]:
    candidate = hit.candidate
    log_prob = "" if hit.log_prob is None else f"{hit.log_prob:.2f}"
    address = "·".join(str(code) for code in hit.semantic_id)
    what = " — ".join(str(part) for part in (candidate.text, candidate.image) if part)
    return str(hit.rank), f"{hit.score:.3f}", log_prob, address, candidate.modality.label, what


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"genius: {note}", file=sys.stderr)


def _check_free(folder: Path) -> None:
    """The index replaces its folder as a whole: nothing else may lie there."""
    from genius.index import HEADER_FILE

    if folder.is_dir() and not (folder / HEADER_FILE).is_file() and any(folder.iterdir()):
        raise UserError(f"{folder} holds other files, which an index would replace. Name a new folder.")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file. Name a folder for the index.")


@contextmanager
def _progress(label: str) -> Iterator[Progress]:
    """A bar on stderr that appears with the first report."""
    bar: tqdm[Any] | None = None

    def report(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(total=total, desc=label, unit="", leave=False)
        bar.update(done - bar.n)

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()
