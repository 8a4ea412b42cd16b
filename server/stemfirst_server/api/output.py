"""What an answer must look like, and how its tool calls are read.

Turns what a request asks, `tool_choice` and formats of text, into a constraint on tokens and a
reader of text. Knows no field names of any API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stemfirst_server.errors import InvalidRequestError
from stemfirst_server.tokens.grammar_text import json_rule
from stemfirst_server.tools.calls import NO_TOOLS, Mode, ToolUse
from stemfirst_server.tools.families import format_of

if TYPE_CHECKING:
    from stemfirst_server.engine.constraint import Constraint
    from stemfirst_server.tokens.grammar import Grammars
    from stemfirst_server.tools.formats import Format
    from stemfirst_server.tools.reading import Reader


@dataclass(frozen=True, slots=True)
class JsonAsked:
    """JSON that an answer must be.

    Attributes:
        schema: that it must fit; None: any object.
        parameter: where it stands in the request.
    """

    schema: Mapping[str, Any] | None
    parameter: str


def json_asked(asked: object, parameter: str, schema_path: str) -> JsonAsked | None:
    """Return the JSON that a format asks for, or None for text.

    Args:
        asked: `{"type": "text"}`, `json_object` or `json_schema`; None is text.
        parameter: the field that it stands in.
        schema_path: where in it the schema stands, such as `json_schema.schema`.

    Raises:
        InvalidRequestError: it is none of these; names the part.
    """
    match asked:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return JsonAsked(None, parameter)
        case {"type": "json_schema"}:
            place = f"{parameter}.{schema_path}"
            schema: object = asked
            for step in schema_path.split("."):
                schema = schema.get(step) if isinstance(schema, Mapping) else None
            if not isinstance(schema, Mapping):
                raise InvalidRequestError(
                    f"{place} must be a JSON schema, an object", parameter=place
                )
            return JsonAsked(schema, place)
    raise InvalidRequestError(
        f"{parameter}.type must be text, json_object or json_schema", parameter=f"{parameter}.type"
    )


@dataclass(frozen=True, slots=True)
class OutputAsked:
    """What a request asks of its answer."""

    tools: ToolUse = NO_TOOLS
    json: JsonAsked | None = None


TEXT = OutputAsked()
"""Nothing in particular."""


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """How one request's answers are made and read.

    Attributes:
        constraint: for the engine; None: anything may be written.
        form: of tool calls; None: none are looked for.
        tools: that may be called.
        shown: control tokens that are text to the reader.
    """

    constraint: Constraint | None = None
    form: Format | None = None
    tools: ToolUse = NO_TOOLS
    shown: frozenset[int] = field(default=frozenset())

    def reader(self) -> Reader | None:
        """Return a reader for one answer, or None where its text is shown as it is."""
        if self.form is None:
            return None
        return self.form.reader(self.tools)


ANYTHING = OutputPlan()


class Outputs:
    """Plans answers of one model.

    Args:
        grammars: of the model's tokenizer.
        template: its chat template's source.
        token_ids: control tokens by text.
        form: of tool calls; None: the one that the template teaches.
    """

    def __init__(
        self,
        grammars: Grammars,
        template: str,
        token_ids: Mapping[str, int],
        form: Format | None = None,
    ) -> None:
        self._grammars = grammars
        self.form = form or format_of(template)
        tokens = self.form.tokens if self.form else ()
        self._shown = frozenset(token_ids[token] for token in tokens if token in token_ids)

    async def plan(self, asked: OutputAsked) -> OutputPlan:
        """Return how the answers are made.

        Raises:
            InvalidRequestError: what is asked cannot be enforced; names the part.
        """
        tools, form = asked.tools, self.form
        if tools.mode is Mode.REQUIRED and form is None:
            raise InvalidRequestError(
                "tool_choice cannot force a call: this model's chat template spells none that is "
                "known here; --tool-call-parser names one",
                parameter="tool_choice",
            )
        is_read = form is not None and (tools.is_read or form.is_always_read)
        constraint = None
        if asked.json is not None or tools.mode is Mode.REQUIRED:
            # Compiling may take a second, which nobody else should wait for.
            constraint = await asyncio.to_thread(self._constraint, asked)
        return OutputPlan(
            constraint,
            form if is_read else None,
            tools,
            self._shown if is_read else frozenset(),
        )

    def _constraint(self, asked: OutputAsked) -> Constraint:
        tools, form, json = asked.tools, self.form, asked.json
        calls = None
        if tools.is_read and form is not None:
            calls = form.grammar(tools, self._grammars.text)
        if tools.mode is Mode.REQUIRED:
            assert calls is not None
            for tool in tools.tools:
                # Named one by one: a fault in the whole would say nothing about whose it is.
                self._grammars.of_schema(tool.parameters, tool.path)
            return self._grammars.of_lark(calls, "tools")
        assert json is not None
        schema = {"type": "object"} if json.schema is None else json.schema
        whole = self._grammars.of_schema(schema, json.parameter)
        prefix = form.answer(self._grammars.text) if form is not None else ""
        if calls is None and not prefix:
            return whole
        answer = f"{prefix} {json_rule(schema)}"
        if calls is None:
            return self._grammars.of_lark(f"start: {answer}", json.parameter)
        both = calls.replace("start:", "calls:", 1)
        return self._grammars.of_lark(
            f"start: calls | answer\n{both}\nanswer: {answer}", json.parameter
        )
