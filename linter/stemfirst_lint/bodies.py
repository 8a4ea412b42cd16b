"""Finds the texts that requests carry without a message: bodies of raw calls, parts, local models.

Knows dicts that are the body of a request by their keys, Gemini's contents and parts, and what
local models are given: tokenizers, pipelines, lists of prompts. Knows nothing of rules. A text
must have a prompt's name, or read like instructions.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from stemfirst_lint import naming
from stemfirst_lint.growth import Grown, grown_list
from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.model import Form, Sink, Site
from stemfirst_lint.project import External
from stemfirst_lint.scopes import Bind, CallUse, Use, last_name
from stemfirst_lint.templates import Reader
from stemfirst_lint.wording import NOT_A_PROMPT, is_named, is_worded, lead

_TEXT_KEYS: dict[str, str | None] = {
    "prompt": "user", "inputs": "user", "input": "user", "system": "system",
    "system_prompt": "system", "user_prompt": "user", "instructions": "system", "query": "user",
}  # fmt: skip
_SETTINGS = frozenset(
    {
        "model", "modelId", "model_id", "max_tokens", "max_new_tokens", "max_tokens_to_sample",
        "max_gen_len", "maxTokens", "n_predict", "temperature", "top_p", "top_k", "stop",
        "stop_sequences", "stream", "parameters", "options", "anthropic_version", "num_predict",
        "generation_config", "generationConfig", "textGenerationConfig", "sampling_params",
    }
)  # fmt: skip
"""Keys beside a text that say how a model is to answer."""
_PART_CLASSES = frozenset({"from_text", "Part", "TextPart", "TextContent", "TextBlockParam"})
_LISTED = frozenset(
    {"generate", "batch", "abatch", "batch_generate", "generate_batch", "agenerate", "chat_batch"}
)
"""Calls that take a list of prompts."""
_ADK = ("Agent", "LlmAgent")


class Bodies:
    """Finds such texts in modules of one project."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.project = reader.project

    def sites(self, module: ModuleIndex) -> Iterator[Site]:
        """Yield the sites of a module."""
        for node, use in module.text_dicts:
            yield from self._body(node, use)
        for name, calls in module.calls.items():
            for call in calls:
                for keyword in call.node.keywords:
                    if keyword.arg in ("contents", "parts"):
                        yield from self._parts(keyword.value, call)
            if "tokenizer" in name.lower():
                for call in calls:
                    if any(k.arg == "return_tensors" for k in call.node.keywords):
                        yield from self._first(call)
        for call in module.calls.get("encode", ()):
            function = call.node.func
            if isinstance(function, ast.Attribute) and "tokenizer" in (
                last_name(function.value) or ""
            ):
                yield from self._first(call)
        for name in _pipelines(module):
            for call in module.calls.get(name, ()):
                yield from self._first(call)
        for name in _LISTED:
            for call in module.calls.get(name, ()):
                if call.node.args:
                    yield from self._listed(call.node.args[0], call)
        for name in _ADK:
            for call in module.calls.get(name, ()):
                yield from self._state_filled(call)

    def _body(self, node: ast.Dict, use: Use) -> Iterator[Site]:
        """A dict with a prompt, and the settings of a model beside it or not."""
        keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
        is_request = bool(keys & _SETTINGS)
        for key, value in zip(node.keys, node.values, strict=True):
            if not isinstance(key, ast.Constant) or key.value not in _TEXT_KEYS:
                continue
            if is_request:
                yield from self._text(value, use, Sink.KEYWORD, _TEXT_KEYS[str(key.value)])
            elif naming.PROMPT_NAME.search(str(key.value)):
                for template in self.reader.templates(value, use):
                    if is_worded(template):
                        yield Site(template, Sink.NAME, template.location)

    def _text(
        self, node: ast.expr, use: Use, sink: Sink, role: str | None, *, is_behind: bool = False
    ) -> Iterator[Site]:
        if isinstance(node, ast.Constant):
            return
        for template in self.reader.templates(node, use):
            if NOT_A_PROMPT.match(lead(template)):
                continue
            if is_named(template) or is_worded(template):
                place = use.scope.module.source.place(node)
                yield Site(template, sink, place, role, follows_history=is_behind)

    def _first(self, call: CallUse) -> Iterator[Site]:
        texts = [*call.node.args[:1], *(k.value for k in call.node.keywords if k.arg == "text")]
        for node in texts:
            if isinstance(node, ast.List) and len(node.elts) == 1:
                node = node.elts[0]
            yield from self._text(node, call.use, Sink.CALL, "user")

    def _listed(self, node: ast.expr, call: CallUse) -> Iterator[Site]:
        parts = [Grown(node, call.use)] if isinstance(node, ast.ListComp) else []
        if isinstance(node, ast.Name | ast.List):
            parts = grown_list(self.project, node, call.use) or []
        for part in parts:
            node = part.node.elt if isinstance(part.node, ast.ListComp) else part.node
            yield from self._text(node, part.use, Sink.CALL, "user")

    def _parts(self, node: ast.expr, call: CallUse) -> Iterator[Site]:
        """Gemini's contents: texts, parts, or a list of both; what stands behind an image waits."""
        elements = node.elts if isinstance(node, ast.List) else [node]
        is_behind = False
        for element in elements:
            found = [
                site
                for text in _part_texts(element)
                for site in self._text(text, call.use, Sink.CALL, "user", is_behind=is_behind)
            ]
            yield from found
            is_text = isinstance(element, ast.Constant | ast.JoinedStr)
            is_behind = is_behind or not (found or is_text)

    def _state_filled(self, call: CallUse) -> Iterator[Site]:
        """`Agent(instruction="... {topic} ...")` of Google's ADK: the session's state fills it."""
        for keyword in call.node.keywords:
            if keyword.arg in ("instruction", "global_instruction"):
                meaning = self.project.meaning(call.node.func, call.use)
                if isinstance(meaning, External) and meaning.dotted.startswith("google.adk"):
                    for template in self.reader.unfilled(keyword.value, call.use, form=Form.FORMAT):
                        place = call.use.scope.module.source.place(keyword.value)
                        yield Site(template, Sink.TEMPLATE_CLASS, place, "system", 0)


def _part_texts(node: ast.expr) -> list[ast.expr]:
    """The texts of an element of contents; empty for an image or what cannot be read."""
    match node:
        case ast.JoinedStr() | ast.BinOp() | ast.Name():
            return [node]
        case ast.Call(func=func) if last_name(func) in _PART_CLASSES:
            named = [k.value for k in node.keywords if k.arg == "text"]
            return named or (node.args[:1] if last_name(func) == "from_text" else [])
        case ast.Call(func=ast.Attribute(attr="format" | "replace" | "join" | "render")):
            return [node]
        case ast.Dict():
            return [
                value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant) and key.value == "text"
            ]
    return []


def _pipelines(module: ModuleIndex) -> Iterator[str]:
    """Yield the names that a module gives to `pipeline(...)` of transformers."""
    if "pipeline" not in module.calls:
        return
    for scope in (module.scope, *module.classes, *module.functions):
        for bound in (scope.bindings, scope.attributes):
            for name, bindings in bound.items():
                for binding in bindings:
                    if (
                        binding.how is Bind.ASSIGN
                        and isinstance(binding.value, ast.Call)
                        and last_name(binding.value.func) == "pipeline"
                    ):
                        yield name
