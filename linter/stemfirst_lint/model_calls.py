"""Tells which arguments of a call are texts for a model, by the names of what is called.

Knows the words that people give to models, and to the functions and objects that ask them. Follows
no text: whether an argument is a prompt is asked of its words.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.scopes import CallUse, last_name

_MODELS = re.compile(
    r"(^|_)(llm|lm|gpt_?\d*|chat_?gpt|open_?ai|oai|claude|gemini|anthropic|ollama|deepseek|qwen|mistral|"
    r"bedrock|groq|litellm|vllm|chat_model|language_model|genai|llama)\w{0,3}(_|$)",
    re.IGNORECASE,
)
_ASKS = frozenset(
    {
        "print_response", "aprint_response", "text_generation", "invoke_prompt", "run_inference",
        "inference", "infer", "run_model", "safe_generate_response", "complete_chat", "chat_fn",
        "generate_json", "generate_response", "get_model_response", "model_generate",
        "generate_reply", "query_api", "call_api", "get_answer", "get_output", "run_prompt",
        "send_prompt", "execute_prompt", "submit_prompt", "append_message", "run_agent",
        "call_agent", "ask_agent", "arun_agent", "run_streamed", "kickoff_async", "respond",
    }
)  # fmt: skip
_NO_TEXT = frozenset(
    {
        "append", "get", "getenv", "format", "join", "replace", "info", "debug", "warning", "error",
        "print", "write", "add_argument", "split", "isinstance", "len", "pop", "update",
    }
)  # fmt: skip
"""What is called on anything; a model's name before it says nothing."""
_INPUT_CALLS = frozenset({"create", "parse", "stream", "run", "run_sync", "run_streamed"})
_KEYWORDS = frozenset(
    {
        "system_content", "user_content", "state_modifier", "system_text", "user_text", "sys_msg",
        "system_msg", "user_msg", "prompt_text", "input_text", "llm_prompt", "full_prompt",
        "messages_modifier", "initial_message", "system_prompt_template", "task_prompt",
    }
)  # fmt: skip
_MAX_ARGUMENTS = 3


def texts_sent(module: ModuleIndex) -> Iterator[tuple[ast.expr, CallUse]]:
    """Yield arguments that a call may send to a model, each with the call."""
    for name, calls in module.calls.items():
        if name in _NO_TEXT:
            continue
        is_ask = name in _ASKS or _MODELS.search(name) is not None
        takes_input = name in _INPUT_CALLS
        for call in calls:
            if is_ask or takes_input or _is_model(call.node.func):
                for argument in call.node.args[:_MAX_ARGUMENTS]:
                    if _may_be_text(argument):
                        yield argument, call
            for keyword in call.node.keywords:
                if keyword.arg in _KEYWORDS or (keyword.arg == "input" and takes_input):
                    if _may_be_text(keyword.value):
                        yield keyword.value, call
                elif keyword.arg == "content" and name == "TextMessage":
                    yield keyword.value, call
            if name in ("invoke", "ainvoke") and call.node.args:
                yield from ((value, call) for value in _values(call.node.args[0]))


def _is_model(function: ast.expr) -> bool:
    """True for a method of what is called like a model."""
    if not isinstance(function, ast.Attribute):
        return False
    name = last_name(function.value)
    return name is not None and _MODELS.search(name) is not None


def _may_be_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr | ast.Name | ast.BinOp | ast.Call | ast.Attribute)


def _values(node: ast.expr) -> list[ast.expr]:
    """The texts of a dict that a chain is given."""
    if not isinstance(node, ast.Dict):
        return []
    return [value for value in node.values if isinstance(value, ast.JoinedStr | ast.Name)]
