"""Publish a bundle or an index on the Hugging Face hub, with a card; prints the address that pins it.

python tools/publish.py bundle genius-large you/genius-large
python tools/publish.py index pictures-index you/pictures-index --bundle hub:you/genius-large@REVISION
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from genius.hub import BUNDLE_FILES, INDEX_FILES, HubAddress, Kind  # noqa: E402
from genius.index import read_header  # noqa: E402
from genius.schema import UserError  # noqa: E402

KINDS: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "bundle": ("model", BUNDLE_FILES),
    "index": ("dataset", INDEX_FILES),
}


def build_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=KINDS)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("repo", metavar="OWNER/NAME")
    parser.add_argument(
        "--bundle", default="", help="of an index: the model it was built with, as on the hub"
    )
    parser.add_argument(
        "--stage", type=Path, metavar="DIR", help="write here what would be uploaded; upload nothing"
    )
    parser.add_argument("--private", action="store_true", help="for your eyes only")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Stage or upload; returns the exit status."""
    args = build_parser().parse_args(arguments)
    try:
        HubAddress.parse(f"hub:{args.repo}")
        files, card = chosen_files(args.what, args.folder), card_of(args.what, args.folder, args.bundle)
        if args.stage is not None:
            stage(args.folder, files, card, args.stage)
            print(f"{len(files) + 1} files are in {args.stage}")
        else:
            print(upload(args.what, args.folder, args.repo, card, private=args.private))
    except UserError as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    return 0


def chosen_files(what: str, folder: Path) -> list[Path]:
    """What is published of a folder, relative to it: what a bundle or an index consists of, and no card."""
    main_file = {"bundle": "config.json", "index": "index.json"}[what]
    if not (folder / main_file).is_file():
        raise UserError(f"{folder} is no {what}: it has no {main_file}.")
    found = {path for pattern in KINDS[what][1] for path in folder.rglob(pattern) if path.is_file()}
    return sorted(path.relative_to(folder) for path in found if path != folder / "README.md")


def card_of(what: str, folder: Path, bundle: str) -> str:
    """The card: a bundle's own README, or what the index says of itself."""
    if what == "bundle":
        if not (folder / "README.md").is_file():
            raise UserError(f"{folder} has no README.md. A model without a card is not published: write one.")
        return (folder / "README.md").read_text(encoding="utf-8")
    header = read_header(folder)
    if Path(header.source).is_absolute():
        raise UserError(
            f"The index is of {header.source}, which is on this machine only. Publish the pictures as a data "
            "set and index that: python -m genius index hub:owner/name@REVISION"
        )
    return f"""---
tags: [genius, generative-retrieval, semantic-ids]
---

# An index for GENIUS

Semantic IDs and re-ranking vectors of {header.count:,} candidates, neither pictures nor captions.

| | |
| --- | --- |
| collection | `{header.source}` |
| model | `{bundle or "unknown"}`, fingerprint `{header.fingerprint}` |
| candidates | {header.count:,} |

Serve it with `GENIUS_BUNDLE={bundle or "BUNDLE"}` and `GENIUS_COLLECTION` set to this repository's address.
"""


def stage(folder: Path, files: Sequence[Path], card: str, out: Path) -> None:
    """Write what would be uploaded."""
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty. Name a new folder.")
    for file in files:
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / file, out / file)
    (out / "README.md").write_text(card, encoding="utf-8")


def upload(what: str, folder: Path, repo: str, card: str, *, private: bool) -> str:
    """Upload the files, then the card; returns the pinned address."""
    kind, patterns = KINDS[what]
    api = HfApi()
    api.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
    files = [pattern for pattern in patterns if pattern != "README.md"]
    api.upload_folder(repo_id=repo, repo_type=kind, folder_path=folder, allow_patterns=files)
    done = api.upload_file(
        path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=repo, repo_type=kind
    )
    return str(HubAddress(repo, done.oid))


if __name__ == "__main__":
    sys.exit(main())
