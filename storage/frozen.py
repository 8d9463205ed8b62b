"""Frozen dataclasses that are made quickly: a call makes ten of them, and Python takes four times as long for a frozen one.

What the rules decide on is never changed. For whoever reads and type-checks (`mypy --strict`, in the test suite), these
classes are frozen, and that is what holds; at run time they are plain dataclasses with slots, and with a hash all the same.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass."""
    return dataclass(slots=True, unsafe_hash=True)(cls)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def frozen_by_name(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass whose fields are given by name."""
    return dataclass(slots=True, unsafe_hash=True, kw_only=True)(cls)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def part_by_name(cls: type[T]) -> type[T]:
    """Make a class a part of such ones: without slots, for of those a class can inherit from one line of classes only."""
    return dataclass(unsafe_hash=True, kw_only=True)(cls)
