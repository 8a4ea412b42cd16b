"""What clients send. Unknown fields are tolerated, as other servers tolerate them.

Knows names and types. Ranges of sampling parameters are the engine's to judge, messages are
`tokens.template`'s.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)

from stemfirst_server.api.output import OutputAsked, TextAsked, json_asked, text_asked
from stemfirst_server.api.refusals import refuse_unbuilt
from stemfirst_server.engine.request import SamplingParams
from stemfirst_server.errors import InvalidRequestError
from stemfirst_server.tokens.template import effort_option
from stemfirst_server.tools.calls import tool_use

MOST_CHOICES = 64
MOST_STOPS = 16
MOST_LOGPROBS = 20
COMPLETION_TOKENS = 16
"""Tokens of `/v1/completions` without `max_tokens`. Source: OpenAI's API reference."""

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A whole number is one too; a boolean or a string is none."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="ignore")


class StreamOptions(_Request):
    """Options of a stream."""

    include_usage: StrictBool | None = None


class Sampled(_Request):
    """Fields that chat and legacy completions share."""

    model: StrictStr | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: StrictInt | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: StrictInt | None = None
    min_p: Number | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    repetition_penalty: Number | None = None
    logit_bias: dict[str, Number] | None = None
    seed: StrictInt | None = None
    stop: StrictStr | list[StrictStr] | None = None
    stop_token_ids: list[StrictInt] | None = None
    ignore_eos: StrictBool | None = None
    n: StrictInt | None = None
    user: StrictStr | None = None
    cache_salt: StrictStr | None = None
    prompt_cache_key: StrictStr | None = None
    prompt_cache_options: dict[str, Any] | None = None
    priority: Any = None
    stemfirst: Any = None
    _prefix_name: dict[str, Any] | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unbuilt(cls, body: Any) -> Any:
        if isinstance(body, dict):
            refuse_unbuilt(body, cls.model_fields)
        return body

    @property
    def prefix_name(self) -> dict[str, Any] | None:
        """What the prefix of this body is kept under, as its answer acknowledges it."""
        return self._prefix_name

    def acknowledge(self, prefix_name: dict[str, Any]) -> None:
        """Note under which name the prefix of this body is kept."""
        self._prefix_name = prefix_name

    @property
    def compared_to(self) -> str | None:
        """The id of an earlier answer that this prompt shall be compared with."""
        name = (self.prompt_cache_options or {}).get("comparison_response_id")
        return name if isinstance(name, str) else None

    @property
    def is_prewarm(self) -> bool:
        """Whether the prompt is only read into the cache."""
        return (self.prompt_cache_options or {}).get("prewarm") is True

    @property
    def choices(self) -> int:
        """How many answers to each prompt are asked for.

        Raises:
            InvalidRequestError: fewer than one, or more than `MOST_CHOICES`.
        """
        count = 1 if self.n is None else self.n
        if not 1 <= count <= MOST_CHOICES:
            raise InvalidRequestError(
                f"n must be between 1 and {MOST_CHOICES}, got {count}", parameter="n"
            )
        return count

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings.

        Raises:
            InvalidRequestError: more than `MOST_STOPS`, or an empty one.
        """
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if len(stops) > MOST_STOPS or "" in stops:
            raise InvalidRequestError(
                f"stop must be at most {MOST_STOPS} strings, none of them empty", parameter="stop"
            )
        return stops

    @property
    def wants_usage(self) -> bool | None:
        """Whether a stream shall carry usage: yes and in a chunk of its own, no, or as we like."""
        return self.stream_options.include_usage if self.stream_options else None

    def _sampling(self, max_tokens: int | None, logprobs: int | None) -> SamplingParams:
        return SamplingParams(
            max_tokens=0 if self.is_prewarm else max_tokens,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            # Clients of other engines switch top_k off with -1.
            top_k=0 if self.top_k is None or self.top_k == -1 else self.top_k,
            min_p=self.min_p or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=1.0 if self.repetition_penalty is None else self.repetition_penalty,
            logit_bias=_biases(self.logit_bias),
            # Any integer is a seed; generators take 63 bits.
            seed=None if self.seed is None else self.seed % 2**63,
            stop_token_ids=tuple(self.stop_token_ids or ()),
            ignore_eos=bool(self.ignore_eos),
            logprobs=logprobs,
        )


class Formatted(Sampled):
    """Fields that say what the text must be, OpenAI's and vLLM's."""

    response_format: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    guided_json: dict[str, Any] | StrictStr | None = None
    guided_choice: list[StrictStr] | None = None
    guided_regex: StrictStr | None = None
    guided_grammar: StrictStr | None = None

    def text(self) -> TextAsked | None:
        """Return what the text must be; None: anything.

        Raises:
            InvalidRequestError: the format is of no kind that is known, or there are several.
        """
        older = {
            f"guided_{kind}": {kind: value}
            for kind, value in (
                ("json", self.guided_json),
                ("choice", self.guided_choice),
                ("regex", self.guided_regex),
                ("grammar", self.guided_grammar),
            )
            if value is not None
        }
        found = [
            json_asked(self.response_format, "response_format", "json_schema.schema"),
            text_asked(self.structured_outputs, "structured_outputs"),
            *(text_asked(value, name) for name, value in older.items()),
        ]
        asked = [each for each in found if each is not None]
        if len(asked) > 1:
            raise InvalidRequestError(
                f"{asked[0].parameter} and {asked[1].parameter} exclude each other: send one",
                parameter=asked[1].parameter,
            )
        return asked[0] if asked else None


class ChatRequest(Formatted):
    """The body of `POST /v1/chat/completions`."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    tool_choice: StrictStr | dict[str, Any] | None = None
    parallel_tool_calls: StrictBool | None = None
    max_completion_tokens: StrictInt | None = None
    logprobs: StrictBool | None = None
    top_logprobs: StrictInt | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: StrictStr | None = None
    add_generation_prompt: StrictBool = True
    continue_final_message: StrictBool = False

    @property
    def template_options(self) -> dict[str, Any]:
        """What the chat template gets beside messages and tools."""
        return {**effort_option(self.reasoning_effort), **(self.chat_template_kwargs or {})}

    def sampling(self) -> SamplingParams:
        """Return the sampling parameters.

        Raises:
            InvalidRequestError: a value is out of range, or asks for what is not built.
        """
        top = self.top_logprobs
        if top is not None and not (self.logprobs and 0 <= top <= MOST_LOGPROBS):
            raise InvalidRequestError(
                f"top_logprobs must be between 0 and {MOST_LOGPROBS} and needs logprobs: true, "
                f"got {top}",
                parameter="top_logprobs",
            )
        most = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        return self._sampling(most, (top or 0) if self.logprobs else None)

    def output(self) -> OutputAsked:
        """Return what the answer must be; the tools are known to be functions.

        Raises:
            InvalidRequestError: the choice or the format is of no kind that is known.
        """
        return OutputAsked(
            tool_use(
                self.tools or (),
                self.tool_choice,
                is_parallel=self.parallel_tool_calls is not False,
                schema_name="function.parameters",
            ),
            self.text(),
        )


class CompletionRequest(Formatted):
    """The body of `POST /v1/completions`."""

    prompt: StrictStr | list[StrictInt] | list[StrictStr] | list[list[StrictInt]]
    echo: StrictBool | None = None
    logprobs: StrictInt | None = None
    best_of: StrictInt | None = None
    suffix: StrictStr | None = None

    def sampling(self) -> SamplingParams:
        """Return the sampling parameters.

        Raises:
            InvalidRequestError: a value is out of range, or asks for what is not built.
        """
        if self.suffix:
            raise InvalidRequestError(
                "suffix is not supported: put the text into the prompt", parameter="suffix"
            )
        if self.best_of is not None and self.best_of != self.choices:
            raise InvalidRequestError(
                f"best_of must equal n: this server returns every choice, got {self.best_of}",
                parameter="best_of",
            )
        if self.logprobs is not None and not 0 <= self.logprobs <= MOST_LOGPROBS:
            raise InvalidRequestError(
                f"logprobs must be between 0 and {MOST_LOGPROBS}, got {self.logprobs}",
                parameter="logprobs",
            )
        if self.echo and self.logprobs is not None:
            raise InvalidRequestError(
                "echo with logprobs is not supported: log-probabilities are of the answer only",
                parameter="echo",
            )
        most = COMPLETION_TOKENS if self.max_tokens is None else self.max_tokens
        return self._sampling(most, self.logprobs)

    @property
    def prompts(self) -> tuple[str | list[int], ...]:
        """The prompts, each as text or token ids.

        Raises:
            InvalidRequestError: there is none.
        """
        prompt = self.prompt
        if isinstance(prompt, str):
            return (prompt,)
        if not prompt:
            raise InvalidRequestError("prompt must not be empty", parameter="prompt")
        if isinstance(prompt[0], int):
            return (prompt,)
        return tuple(prompt)


def _biases(asked: dict[str, float] | None) -> tuple[tuple[int, float], ...]:
    biases = []
    for name, bias in (asked or {}).items():
        if not name.isascii() or not name.isdigit() or len(name) > 9:
            raise InvalidRequestError(
                f"logit_bias must map token ids to numbers, got the key {name[:20]!r}",
                parameter="logit_bias",
            )
        biases.append((int(name), bias))
    return tuple(biases)
