"""Tasks by the text that names them in settings and on the command line."""

from __future__ import annotations

from urllib.parse import parse_qsl

from blockstore.build.tasks.base import Task
from blockstore.build.tasks.classification import Classification
from blockstore.build.tasks.custom import Custom
from blockstore.build.tasks.detection import Detection
from blockstore.build.tasks.embedding import Embedding
from blockstore.build.tasks.functions import find
from blockstore.errors import CannotBuild


def parse_task(text: str) -> Task:
    """`classification`, `embedding`, `detection?decode=package.module:function`, or a metric `package.module:function`.

    Raises `CannotBuild` where `text` names none of them, or a function that is not there.
    """
    name, _, query = text.partition("?")
    arguments = dict(parse_qsl(query, keep_blank_values=True))
    if name == "detection":
        if arguments.keys() != {"decode"}:
            raise CannotBuild(f"{text!r}: detection is told its decoder, detection?decode=package.module:function")
        return Detection(find(arguments["decode"], arguments=1))
    if query:
        raise CannotBuild(f"{text!r}: only detection takes an argument")
    if name == "classification":
        return Classification()
    if name == "embedding":
        return Embedding()
    if ":" in name:
        return Custom(find(name, arguments=3))
    raise CannotBuild(
        f"task {text!r}: known are classification, embedding, detection?decode=package.module:function, and a metric "
        f"of your own as package.module:function"
    )
