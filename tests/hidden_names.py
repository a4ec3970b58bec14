"""A library without one of its names, as this package sees it; the library itself and everybody else still have it."""

import builtins
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

OURS = "coigw_judge"


@contextmanager
def hidden(name: str) -> Iterator[list[str]]:
    """Without `module`, `module:attribute` or `module:Class.method`; gets a line each time the package asks for it."""
    module_name, _, attribute = name.partition(":")
    module = importlib.import_module(module_name)
    asked: list[str] = []
    if not attribute:
        restore = _hide_module(module_name, asked)
    elif "." in attribute:
        class_name, _, method = attribute.partition(".")
        restore = _hide_method(getattr(module, class_name), method, asked)
    else:
        restore = _hide_attribute(module, attribute, asked)
    try:
        yield asked
    finally:
        restore()


def _is_for_us(asked: list[str]) -> bool:
    """Whether the code that called the caller of this function is the package's; if so, that is noted."""
    frame = inspect.currentframe()
    for _ in range(2):
        frame = frame and frame.f_back
    caller = str(frame.f_globals.get("__name__", "")) if frame else ""
    if caller.partition(".")[0] == OURS:
        asked.append(caller)
        return True
    return False


def _hide_module(name: str, asked: list[str]) -> Callable[[], None]:
    by_statement, by_function = builtins.__import__, importlib.import_module
    package, _, last = name.rpartition(".")

    def statement(wanted: str, names: Any = None, local: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if name in {wanted, *(f"{wanted}.{each}" for each in fromlist or ())} and _is_for_us(asked):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return by_statement(wanted, names, local, fromlist, level)

    def function(wanted: str, *others: Any) -> Any:
        if wanted == name and _is_for_us(asked):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return by_function(wanted, *others)

    unhide = _hide_attribute(sys.modules[package], last, asked)
    builtins.__import__, importlib.import_module = statement, function

    def restore() -> None:
        unhide()
        builtins.__import__, importlib.import_module = by_statement, by_function

    return restore


def _hide_attribute(module: ModuleType, name: str, asked: list[str]) -> Callable[[], None]:
    before: Any = type(module)

    class Hiding(before):
        def __getattribute__(self, wanted: str) -> Any:
            if wanted == name and _is_for_us(asked):
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            return super().__getattribute__(wanted)

    module.__class__ = Hiding

    def restore() -> None:
        module.__class__ = before

    return restore


def _hide_method(owner: type, name: str, asked: list[str]) -> Callable[[], None]:
    method = owner.__dict__[name]

    class Hiding:
        def __get__(self, instance: Any, kind: type) -> Any:
            if _is_for_us(asked):
                raise AttributeError(f"{kind.__name__!r} object has no attribute {name!r}")
            return method.__get__(instance, kind)

    setattr(owner, name, Hiding())
    return lambda: setattr(owner, name, method)
