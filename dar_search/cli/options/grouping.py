"""Options shared by several commands, each group of them one frozen dataclass.

A command takes a group as one parameter; `grouped` shows the group's fields to Typer as options of their own. A group
may stand before the command too (`dar --json search ...`): what is given there holds unless it is given again.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar, cast, get_type_hints

_GIVEN_BEFORE: ContextVar[dict[type, Any]] = ContextVar("_GIVEN_BEFORE")
Command = TypeVar("Command", bound=Callable[..., Any])


def grouped(command: Command) -> Command:
    """`command` with each parameter that is a group of options replaced by the group's fields, for Typer."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        group_hints = get_type_hints(groups[name], include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=group_hints[field.name]
            )
            for field in dataclasses.fields(groups[name])
        ]

    @functools.wraps(command)
    def call(**values: Any) -> Any:
        for name, group in groups.items():
            own = group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
            values[name] = _merged(own)
        return command(**values)

    del call.__wrapped__  # else Typer reads the ungrouped signature
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    call.__doc__ = unwrapped(command.__doc__ or "")
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return cast(Command, call)


def unwrapped(text: str) -> str:
    """Help text whose paragraphs are one line each, to be wrapped by the terminal; indented lines stay as they are."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        paragraph if paragraph.startswith(" ") else " ".join(paragraph.split("\n")) for paragraph in paragraphs
    )


def remember(*groups: Any) -> None:
    """Keep what stood before the command."""
    _GIVEN_BEFORE.set({type(group): group for group in groups})


def before_the_command(group: type) -> Any:
    """What stood before the command, else the group's defaults."""
    return _GIVEN_BEFORE.get({}).get(group, group())


def _merged(own: Any) -> Any:
    earlier = before_the_command(type(own))
    changed = {
        field.name: getattr(earlier, field.name)
        for field in dataclasses.fields(own)
        if getattr(own, field.name) == field.default
    }
    return dataclasses.replace(own, **changed)
