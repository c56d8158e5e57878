"""Problems and plans as plain values that JSON has, and back: a decision of one board can be made again on another.

The form of a document follows the types of the dataclasses: an object for a dataclass or a mapping, a list for a tuple
or a set. Python writes a float as the shortest text that gives the same float again (`repr`), so nothing is lost on
the way. Nothing is taken on trust when reading: every value is of the type that its field has, and what is no such
value is named by its place. Whether the problem makes sense is for `validate.check` to say.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.validate import BadProblem
from schedulerd.plan import Plan

PROBLEM_FORMAT: Final = "schedulerd-problem/1"
PLAN_FORMAT: Final = "schedulerd-plan/1"
"""Read and written by this version. A field with a default may be added without a new number."""

_Reader = Callable[[Any, str], Any]
"""Makes a field's value of a document's, which lies at the given place; raises `BadProblem`."""


def problem_document(problem: Problem) -> dict[str, Any]:
    """As values that JSON has; `BadProblem` for a number that is not finite."""
    return {"format": PROBLEM_FORMAT, **_plain(problem, "problem")}


def plan_document(plan: Plan) -> dict[str, Any]:
    """As values that JSON has; `BadProblem` for a number that is not finite."""
    return {"format": PLAN_FORMAT, **_plain(plan, "plan")}


def problem_from(document: object, place: str = "problem") -> Problem:
    """Back from `problem_document`; `BadProblem` names what is wrong, and where below `place` it is."""
    problem: Problem = _versioned(Problem, PROBLEM_FORMAT, document, place)
    return problem


def plan_from(document: object, place: str = "plan") -> Plan:
    """Back from `plan_document`; raises as `problem_from` does."""
    plan: Plan = _versioned(Plan, PLAN_FORMAT, document, place)
    return plan


def _plain(value: Any, place: str) -> Any:
    if is_dataclass(value):
        return {name: _plain(getattr(value, name), f"{place}.{name}") for name in _names(value.__class__)}
    if isinstance(value, Mapping):
        return {key: _plain(item, f"{place}[{key!r}]") for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)  # equal problems are equal texts
    if isinstance(value, tuple | list):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise BadProblem(f"{place} is {value}, which JSON has no number for")
    return value


@cache
def _names(class_: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(class_))


def _versioned(class_: Any, format_: str, document: object, place: str) -> Any:
    """The value of a document that begins with its format."""
    values = dict(_object(document, place))
    found = values.pop("format", None)
    if found != format_:
        raise BadProblem(f"{place}.format is {found!r}, this version reads {format_!r}")
    return _reader(class_)(values, place)


@cache
def _reader(kind: Any) -> _Reader:
    """How values of a field's type are read."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _SCALARS:
        return _SCALARS[kind]
    if is_dataclass(kind):
        return partial(_read_dataclass, kind)
    if origin in (Union, types.UnionType):
        (present,) = (a for a in arguments if a is not types.NoneType)
        return partial(_read_optional, _reader(present))
    if origin is tuple and arguments[-1] is not Ellipsis:
        return partial(_read_record, tuple(map(_reader, arguments)))
    if origin in (tuple, frozenset):
        return partial(_read_list, origin, _reader(arguments[0]))
    if origin is Mapping:
        return partial(_read_mapping, _reader(arguments[1]))
    raise TypeError(f"a field of type {kind} has no form in a document; give it one here")


def _read_dataclass(class_: Any, value: Any, place: str) -> Any:
    """Fields that have a default may be missing: a document may be older than they are."""
    values = _object(value, place)
    readers = _field_readers(class_)
    if strange := sorted(values.keys() - readers.keys()):
        raise BadProblem(f"{place} has the unknown field {strange[0]!r}; a newer version may read it")
    if lacking := [name for name in _required(class_) if name not in values]:
        raise BadProblem(f"{place} lacks the field {lacking[0]!r}")
    return class_(**{name: readers[name](item, f"{place}.{name}") for name, item in values.items()})


@cache
def _field_readers(class_: Any) -> dict[str, _Reader]:
    hints = get_type_hints(class_)
    return {name: _reader(hints[name]) for name in _names(class_)}


@cache
def _required(class_: Any) -> tuple[str, ...]:
    return tuple(f.name for f in fields(class_) if f.default is MISSING and f.default_factory is MISSING)


def _read_optional(present: _Reader, value: Any, place: str) -> Any:
    return None if value is None else present(value, place)


def _read_record(readers: tuple[_Reader, ...], value: Any, place: str) -> tuple[Any, ...]:
    """A tuple of so many values, each of its own type."""
    items = _list(value, place)
    if len(items) != len(readers):
        raise BadProblem(f"{place} has {len(items)} values, it must have {len(readers)}")
    return tuple(read(item, f"{place}[{index}]") for index, (read, item) in enumerate(zip(readers, items, strict=True)))


def _read_list(make: Callable[[Any], Any], read: _Reader, value: Any, place: str) -> Any:
    return make([read(item, f"{place}[{index}]") for index, item in enumerate(_list(value, place))])


def _read_mapping(read: _Reader, value: Any, place: str) -> dict[str, Any]:
    return {key: read(item, f"{place}[{key!r}]") for key, item in _object(value, place).items()}


def _read_float(value: Any, place: str) -> float:
    """An integer counts as the float of its value, where there is one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _mismatch(value, place, "a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _mismatch(value, place, "a finite number")
    return number


def _read_int(value: Any, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _mismatch(value, place, "a whole number")
    return value


def _read_bool(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise _mismatch(value, place, "true or false")
    return value


def _read_str(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, place, "a text")
    return value


_SCALARS: Final[dict[Any, _Reader]] = {float: _read_float, int: _read_int, bool: _read_bool, str: _read_str}


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _mismatch(value, place, "an object")
    return value


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise _mismatch(value, place, "a list")
    return value


def _mismatch(value: object, place: str, wanted: str) -> BadProblem:
    shown = repr(value)
    return BadProblem(f"{place} is {shown if len(shown) <= 40 else shown[:37] + '...'}; it must be {wanted}")
