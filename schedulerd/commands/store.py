"""`schedulerd store`: look at a block store, check it, clean it, and carry models from one to another."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schedulerd.commands.tables import RESTART_NOTE, count_text, table
from schedulerd.sizes import size_text

if TYPE_CHECKING:
    from blockstore.block import Artifact, Model
    from blockstore.store import Store


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sub-command found: `document` for programs (`--json`), `lines` for people."""

    document: dict[str, Any]
    lines: list[str]
    exit_code: int = 0


Action = Callable[["Store", argparse.Namespace], Answer]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `store` and its sub-commands."""
    parser = subparsers.add_parser("store", help="look at, check, clean and carry block stores")
    parser.set_defaults(run=run)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--store", type=Path, metavar="DIR", help="block store, instead of the default one")
    common.add_argument("--json", action="store_true", help="print JSON")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    def add(name: str, action: Action, help_: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=help_, description=help_, parents=[common])
        added.set_defaults(action=action, create=False)
        return added

    add("ls", _ls, "list the models")
    add("show", _show, "show the blocks, variants and exits of a model").add_argument("model", metavar="MODEL")
    add("verify", _verify, "read and hash every blob; exit code 1 when something is damaged")
    collect = add("gc", _gc, "remove blobs that no model uses, and what crashes left")
    collect.add_argument(
        "--grace", type=_seconds, metavar="SECONDS", help="spare younger blobs, for a builder at work (default 1 h)"
    )
    add("rm", _rm, "remove a model; `gc` then removes its blobs").add_argument("model", metavar="MODEL")
    add("rebuild-index", _rebuild_index, "make the index again from the blobs")
    export = add("export", _export, "write models to one portable file")
    export.add_argument("archive", type=Path, metavar="ARCHIVE")
    export.add_argument("models", nargs="*", metavar="MODEL", help="default: all")
    export.add_argument("--engine", action="append", metavar="NAME", help="only what this engine runs; repeatable")
    bring = add("import", _import, "add the models of such a file, making the store if there is none")
    bring.add_argument("archive", type=Path, metavar="ARCHIVE")
    bring.set_defaults(create=True)


def run(args: argparse.Namespace) -> int:
    """Open the store, do what was asked, print the answer."""
    from blockstore.store import Store
    from schedulerd import logs
    from schedulerd.config import default_store_directory

    logs.configure("warning", "auto")
    root: Path = args.store or default_store_directory()
    with Store.open(root.absolute(), create=args.create) as store:
        answer: Answer = args.action(store, args)
    print(json.dumps(answer.document, indent=1) if args.json else "\n".join(answer.lines))
    return answer.exit_code


def _seconds(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text} s is no age; give 0 or more")
    return value


def _ls(store: Store, _args: argparse.Namespace) -> Answer:
    from blockstore.errors import BlockStoreError

    described, sizes = [], dict[str, int]()
    for name in store.models():
        try:
            model = store.model(name)
        except BlockStoreError as error:
            described.append({"name": name, "state": f"damaged: {error}"})
            continue
        described.append(_described(store, model))
        sizes |= _sizes(model)
    document = {
        "store": str(store.root),
        "models": described,
        "blobs": len(sizes),
        "bytes": sum(sizes.values()),
        "quarantined": [path.name for path in store.quarantined()],
    }
    return Answer(document, _ls_lines(document))


def _described(store: Store, model: Model) -> dict[str, Any]:
    missing = sorted(store.missing(model))
    return {
        "name": model.name,
        "input": str(model.input),
        "blocks": len(model.blocks),
        "variants": sum(len(block.variants) for block in model.blocks),
        "exits": len(model.exits),
        "accuracy": model.accuracy,
        "evaluated_images": model.evaluated_images,
        "bytes": sum(_sizes(model).values()),
        "missing": missing,
        "state": f"{count_text(len(missing), 'blob')} missing" if missing else "whole",
    }


def _sizes(model: Model) -> dict[str, int]:
    return {a.digest: a.size_bytes for a in model.artifacts()}


def _ls_lines(document: dict[str, Any]) -> list[str]:
    header = ("MODEL", "INPUT", "BLOCKS", "VARIANTS", "EXITS", "ACCURACY", "SIZE", "STATE")
    rows = [
        (
            model["name"],
            model.get("input", "-"),
            str(model.get("blocks", "-")),
            str(model.get("variants", "-")),
            str(model.get("exits", "-")),
            f"{model['accuracy']:.4f}" if "accuracy" in model else "-",
            size_text(model["bytes"]) if "bytes" in model else "-",
            model["state"],
        )
        for model in document["models"]
    ]
    total = (
        f"{count_text(len(rows), 'model')}, {count_text(document['blobs'], 'blob')}, {size_text(document['bytes'])}"
        " (equal blobs counted once)"
    )
    lines = [*table(header, rows, numbers=header[2:7]), "", total] if rows else ["no models"]
    if document["quarantined"]:
        lines.append(f"{count_text(len(document['quarantined']), 'damaged blob')} in quarantine")
    return lines


def _show(store: Store, args: argparse.Namespace) -> Answer:
    model = store.model(args.model)
    missing = store.missing(model)
    document = {**json.loads(model.to_json()), "missing": sorted(missing)}
    return Answer(document, _show_lines(model, missing))


def _show_lines(model: Model, missing: frozenset[str]) -> list[str]:
    header = ("BLOCK", "OUTPUT", "VARIANT", "KIND", "DROP", "PARAMETERS", "MULTIPLY-ADDS", "ARTIFACTS")
    rows = [
        (
            f"{block.index} {block.name}",
            str(block.output),
            variant.name,
            variant.kind,
            f"{variant.accuracy_drop:+.4f}",
            str(variant.parameters),
            str(variant.multiply_adds),
            _artifacts(variant.artifacts, missing),
        )
        for block in model.blocks
        for variant in block.variants
    ]
    return [
        f"{model.name}: {model.input} -> {model.output},"
        f" accuracy {model.accuracy:.4f} on {count_text(model.evaluated_images, 'image')}",
        *(f"  {key}: {value}" for key, value in sorted(model.provenance.items())),
        "",
        *table(header, rows, numbers=header[4:7]),
        *(["", *_exit_lines(model, missing)] if model.exits else []),
        *(["", *_policy_lines(model)] if model.policies else []),
    ]


def _artifacts(artifacts: Sequence[Artifact], missing: frozenset[str]) -> str:
    return ", ".join(
        f"{a.engine} {size_text(a.size_bytes)}{' (missing)' if a.digest in missing else ''}" for a in artifacts
    )


def _exit_lines(model: Model, missing: frozenset[str]) -> list[str]:
    header = (
        "EXIT",
        "BLOCK",
        "TAKES",
        "METHOD",
        "CONFIDENCE",
        "TEMPERATURE",
        "PARAMETERS",
        "MULTIPLY-ADDS",
        "ARTIFACTS",
    )
    rows = [
        (
            e.name,
            str(e.block),
            ", ".join(map(str, e.inputs)),
            e.method,
            e.measure,
            f"{e.temperature:.3f}",
            str(e.parameters),
            str(e.multiply_adds),
            _artifacts(e.artifacts, missing),
        )
        for e in model.exits
    ]
    return table(header, rows, numbers=("BLOCK", *header[5:8]))


def _policy_lines(model: Model) -> list[str]:
    header = ("POLICY", "DROP", "LEAVE", "STEPS")
    rows = [
        (
            offered.policy.name,
            f"{offered.forecast.accuracy_drop:+.4f}",
            " ".join(f"{share:.0%}" for share in offered.forecast.shares),
            str(offered.policy),
        )
        for offered in model.policies
    ]
    return table(header, rows, numbers=("DROP",))


def _verify(store: Store, _args: argparse.Namespace) -> Answer:
    found = store.verify()
    lines = [f"checked {count_text(found.checked_blobs, 'blob')}, {size_text(found.checked_bytes)}"]
    lines += [f"missing  {digest}" for digest in found.missing]
    lines += [f"corrupt  {digest}" for digest in found.corrupt]
    lines += [f"{damage.model} has lost {damage.part} ({damage.digest[:12]})" for damage in found.damages]
    if found.sound:
        lines.append("everything is sound")
    elif found.damages:
        lines.append("import an archive that holds what is lost, or build these models again; the rest can be used")
    else:
        lines.append("no model needs what is damaged")
    return Answer({**asdict(found), "sound": found.sound}, lines, exit_code=0 if found.sound else 1)


def _gc(store: Store, args: argparse.Namespace) -> Answer:
    found = store.gc() if args.grace is None else store.gc(args.grace)
    lines = [
        f"removed {count_text(found.removed_blobs, 'blob')} ({size_text(found.removed_bytes)})"
        f" and {count_text(found.removed_partials, 'unfinished file')}"
    ]
    if found.spared_blobs:
        lines.append(f"spared {count_text(found.spared_blobs, 'young blob')}; --grace 0 removes them too")
    return Answer(asdict(found), lines)


def _rm(store: Store, args: argparse.Namespace) -> Answer:
    store.remove_model(args.model)
    return Answer({"removed": args.model}, [f"removed: {args.model}", RESTART_NOTE])


def _rebuild_index(store: Store, _args: argparse.Namespace) -> Answer:
    # Opening may have done it already; then that one tells what was found and why.
    found = store.rebuilt or store.rebuild_index()
    models = f": {', '.join(found.models)}" if found.models else ""
    lines = [f"{count_text(len(found.models), 'model')} among {count_text(found.blobs, 'blob')}{models}"]
    lines += [f"quarantined a damaged manifest: {digest}" for digest in found.quarantined]
    return Answer(asdict(found), lines)


def _export(store: Store, args: argparse.Namespace) -> Answer:
    from blockstore.errors import MissingModel

    names = sorted(set(args.models)) or list(store.models())
    if not names:
        raise MissingModel(f"{store.root} has no models to export")
    store.export_archive(names, args.archive, engines=args.engine)
    size_bytes = args.archive.stat().st_size
    line = f"wrote {', '.join(names)} to {args.archive}, {size_text(size_bytes)}"
    return Answer({"archive": str(args.archive), "models": names, "bytes": size_bytes}, [line])


def _import(store: Store, args: argparse.Namespace) -> Answer:
    done = store.import_archive(args.archive)
    lines = [
        f"{what}: {', '.join(names)}"
        for what, names in (("added", done.added), ("replaced", done.replaced), ("unchanged", done.unchanged))
        if names
    ]
    lines.append(f"{count_text(done.new_blobs, 'new blob')}, {size_text(done.new_bytes)}")
    if done.added or done.replaced:
        lines.append(RESTART_NOTE)
    return Answer(asdict(done), lines)
