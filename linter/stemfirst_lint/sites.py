"""Finds the places where text is sent to a model: sinks first, then names, then shape.

Knows how calls, keywords and message lists of common libraries look. Knows nothing of rules or
tokens. A strong sink alone makes a site; a weak one needs the name or the shape to agree, and
without a sink name and shape must both speak.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from dataclasses import replace

from stemfirst_lint import naming
from stemfirst_lint.as_written import AsWritten
from stemfirst_lint.bodies import Bodies
from stemfirst_lint.constants import Constants, NotConstant
from stemfirst_lint.constructors import constructed
from stemfirst_lint.destinations import Destinations
from stemfirst_lint.dormant import Dormant
from stemfirst_lint.far_markers import FarMarkers
from stemfirst_lint.flow import Flow
from stemfirst_lint.frameworks import Frameworks, following_of
from stemfirst_lint.hole_names import told_together
from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.messages import (
    MESSAGE_CLASSES,
    History,
    Item,
    Message,
    is_made_before,
    items_of,
    message_of,
)
from stemfirst_lint.model import Following, Form, Location, Sink, Site, Template
from stemfirst_lint.model_calls import texts_sent
from stemfirst_lint.patterns import pattern
from stemfirst_lint.pieces import merge
from stemfirst_lint.readers import Readers
from stemfirst_lint.repeats import rounds_of
from stemfirst_lint.scopes import Bind, CallUse, Scope, Use, last_name
from stemfirst_lint.syntax import called
from stemfirst_lint.template_classes import TemplateClasses
from stemfirst_lint.templates import Reader
from stemfirst_lint.text_blocks import Contents, Placed, variants, varies_by_request
from stemfirst_lint.unfilled import unfilled_sites
from stemfirst_lint.unimported import Unimported
from stemfirst_lint.unnamed import unnamed_sites
from stemfirst_lint.unreached import Unreached
from stemfirst_lint.wording import NOT_A_PROMPT, is_named, is_worded, lead, stable_texts

STRONG_KEYWORDS = frozenset(
    {"system", "system_prompt", "system_message", "system_instruction", "instructions"}
)
_SYSTEM_KIND = pattern(r"system_(message|prompt)_(?!\w*(path|file|name|id|key|dir)$)\w+$")
"""Keywords of one system message of several."""
WEAK_KEYWORDS = frozenset(
    {
        "prompt", "backstory", "user_prompt", "prompt_template", "user_message", "task", "message",
        "msg", "instruction", "sys_prompt", "system_instructions", "human_message",
    }
)  # fmt: skip
WEAK_CALLS = frozenset(
    {
        "invoke", "ainvoke", "complete", "acomplete", "predict", "apredict", "generate",
        "agenerate", "completion", "acompletion", "chat", "achat", "ask", "llm", "call_llm",
        "query_llm", "generate_text", "generate_content", "run_llm", "generate_response",
        "get_completion", "stream", "astream", "chat_completion", "run", "arun", "run_sync",
        "run_stream", "step", "astep", "aask", "_aask", "a_generate", "agenerate_text",
        "acomplete_text", "initiate_chat", "create_completion", "generate_raw_response", "send",
        "query", "aquery", "prompt", "ask_llm", "query_model", "call_model", "llm_call", "text",
        "model", "lm", "chat_model", "gpt", "claude", "judge", "get_response", "llm_complete",
        "call_openai", "chat_complete", "execute_prompt", "generate_answer",
    }
)  # fmt: skip
_DESCRIBED = frozenset({"Task", "Agent"})
"""Classes whose description, goal and backstory are sent."""
HISTORY_KEYWORDS = frozenset(
    {"messages", "history", "chat_history", "message_history", "conversation_history",
     "previous_messages", "history_messages", "conversation"}
)  # fmt: skip
TURN_KEYWORDS = frozenset(
    {"task", "prompt", "message", "query", "input", "user_message", "user_prompt", "question",
     "msg", "content"}
)  # fmt: skip
_GROWING = frozenset({"append", "extend", "insert"})
_STRENGTH = list(Sink)


class Finder:
    """Collects the sites of modules; invariant: each text appears in one site."""

    def __init__(self, flow: Flow, *, has_constants: bool = False) -> None:
        self.flow = flow
        self.has_constants = has_constants
        self.project = flow.project
        self.reader = Reader(flow)
        self.contents = Contents(self.reader)
        self.constants = Constants(flow.project)
        self.readers = Readers(flow.project)
        self.as_written = AsWritten(self.readers)
        self.template_classes = TemplateClasses(self.reader)
        self.frameworks = Frameworks(self.reader)
        self.bodies = Bodies(self.reader)
        self.far_markers = FarMarkers(self.project, self.reader.assembler)
        self._sites: list[Site] = []
        self._seen_messages: set[int] = set()

    def sites(self, modules: Iterable[ModuleIndex]) -> list[Site]:
        """Return the sites of modules, one for each text, in order of place."""
        listed: list[ModuleIndex] = []
        for module in modules:
            listed.append(module)
            self._module(module)
        seen = frozenset(site.template.location for site in self._sites)
        for module in listed:
            self._sites.extend(unfilled_sites(self.reader, module, seen, self.far_markers))
        self._sites.extend(unnamed_sites(self.reader, listed, tuple(self._sites)))
        grouped: dict[object, list[Site]] = {}
        for site in self._sites:
            grouped.setdefault(site.template.location, []).append(site)
        found = [self._one(group) for group in grouped.values()]
        found = [site for site in found if not self.as_written.holds(site)]
        if not self.has_constants:
            unreached, unimported = Unreached(self.project), Unimported(self.project)
            found = [site for site in found if not unimported.holds(site)]
            found = [site for site in found if not unreached.holds(site)]
            found = [site for site in found if not unreached.is_never_filled(site)]
            destinations = Destinations(self.flow)
            dormant = Dormant(self.project, destinations.reads)
            found = [site for site in found if not dormant.holds(site)]
            found = [
                replace(site, follows_history=True) if destinations.is_behind(site) else site
                for site in found
            ]
        return sorted(found, key=lambda site: site.template.location)

    def _module(self, module: ModuleIndex) -> None:
        for calls in module.calls.values():
            for call in calls:
                self._request(call)
        for node, use in module.role_dicts:
            message = message_of(node, use)
            if message is not None and id(node) not in self._seen_messages:
                self._lone_message(message)
        for name in MESSAGE_CLASSES:
            for call in module.calls.get(name, ()):
                message = message_of(call.node, call.use)
                if message is not None and id(call.node) not in self._seen_messages:
                    self._lone_message(message)
        for calls in module.calls.values():
            for call in calls:
                self._keywords(call)
        for name in (*WEAK_CALLS, *(f"_{name}" for name in WEAK_CALLS)):
            for call in module.calls.get(name, ()):
                if call.node.args:
                    self._weak(call.node.args[0], call, Sink.CALL, None)
        for text, call in texts_sent(module):
            self._weak(text, call, Sink.CALL, None)
        self._behind_histories(module)
        for site in (
            *self.template_classes.sites(module),
            *self.frameworks.sites(module),
            *self.bodies.sites(module),
            *constructed(self.reader, module),
        ):
            self._add(site)
        self._names(module)

    # Requests

    def _request(self, call: CallUse) -> None:
        if not call.node.args and not call.node.keywords:
            return
        keywords = {k.arg: k.value for k in call.node.keywords if k.arg}
        listed = keywords.get("messages") or keywords.get("input")
        if listed is None and call.node.args:
            first = call.node.args[0]
            callee = last_name(call.node.func)
            is_listed = isinstance(first, ast.List) and callee not in _GROWING
            is_sent = is_listed or callee in WEAK_CALLS
            listed = first if is_sent and isinstance(first, ast.List | ast.Name) else None
        if listed is None:
            return
        items = items_of(self.project, listed, call.use)
        if not any(isinstance(item, Message) for item in items):
            return
        tools = keywords.get("tools") or keywords.get("functions")
        self._messages(items, call, tools)

    def _messages(self, items: list[Item], call: CallUse, tools: ast.expr | None) -> None:
        placed: list[list[Placed]] = [
            self.contents.of(item.content, item.use, item.call) if isinstance(item, Message) else []
            for item in items
        ]
        read = [variants(parts) for parts in placed]
        varies = [
            any(all(map(varies_by_request, templates)) for templates in blocks) for blocks in read
        ]
        tools_text = self._tools(tools, call.use)
        for index, item in enumerate(items):
            if not isinstance(item, Message):
                continue
            self._seen_messages.add(id(item.node))
            self.as_written.note(item, call, [one.template for one in placed[index]])
            before, behind = items[:index], items[index + 1 :]
            is_kept = is_made_before(self.project, item.content, item.use, call)
            following = Following(
                texts=tuple(
                    piece
                    for blocks in read[index + 1 :]
                    for templates in blocks
                    if len(templates) == 1
                    for piece in stable_texts(templates[0])
                ),
                tools=tools_text,
                has_tools=tools is not None,
                has_history=any(
                    isinstance(other, History) and not (is_kept and other.is_own)
                    for other in behind
                ),
                has_conversation=any(
                    isinstance(other, History) and other.is_conversation for other in behind
                ),
            )
            follows = any(isinstance(other, History) for other in before) or any(varies[:index])
            for one in placed[index]:
                self._add(
                    Site(
                        one.template,
                        Sink.MESSAGE,
                        one.location or item.use.scope.module.source.place(item.node),
                        role=item.role,
                        index=index,
                        follows_history=follows or one.is_behind,
                        following=replace(following, texts=(*one.texts, *following.texts)),
                        loop=_loop(call) if not is_kept else None,
                        rounds=rounds_of(call, self.constants),
                    )
                )

    def _lone_message(self, message: Message) -> None:
        self._seen_messages.add(id(message.node))
        follows = self._is_appended(message)
        placed = self.contents.of(message.content, message.use)
        self.as_written.note_unpacked(message, [one.template for one in placed])
        for one in placed:
            self._add(
                Site(
                    one.template,
                    Sink.MESSAGE,
                    one.location or message.use.scope.module.source.place(message.node),
                    role=message.role,
                    follows_history=follows or one.is_behind,
                    following=Following(texts=one.texts),
                )
            )

    def _is_appended(self, message: Message) -> bool:
        """True if the message goes to the end of a list that held earlier turns before."""
        if message.role == "system":
            return False
        for method in ("append", "extend", "add_message", "put", "add"):
            for call in message.use.scope.module.calls.get(method, ()):
                for argument in call.node.args:
                    if argument is message.node or (
                        isinstance(argument, ast.List) and message.node in argument.elts
                    ):
                        return self._grows_from_turns(call)
        return False

    def _grows_from_turns(self, call: CallUse) -> bool:
        """True unless the list that a call adds to was made by this function, of known messages."""
        function = call.node.func
        if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Name):
            return True
        return self._is_history(function.value, call.use)

    def _tools(self, node: ast.expr | None, use: Use) -> str | None:
        """The tools' JSON text if they are a constant."""
        if node is None:
            return None
        try:
            return json.dumps(self.constants.value(node, use), ensure_ascii=False)
        except (NotConstant, TypeError, ValueError, RecursionError):
            return None  # only running it would tell

    # Keywords, weak calls, names

    def _keywords(self, call: CallUse) -> None:
        for keyword in call.node.keywords:
            if keyword.arg in STRONG_KEYWORDS or _SYSTEM_KIND.match(keyword.arg or ""):
                names = {k.arg for k in call.node.keywords}
                is_kept = is_made_before(self.project, keyword.value, call.use, call)
                histories = [h for h in self._histories(call) if not (is_kept and h.is_own)]
                is_chat = (last_name(call.node.func) or "").endswith("Conversation")
                following = Following(
                    tools=self._tools(_keyword(call.node, "tools"), call.use),
                    has_tools="tools" in names,
                    are_tools_first=_is_anthropic(call),
                    has_history=is_chat or bool(histories),
                    has_conversation=is_chat
                    or any(history.is_conversation for history in histories),
                )
                for one in self.contents.of(keyword.value, call.use):
                    if NOT_A_PROMPT.match(lead(one.template)):
                        continue
                    place = one.location or call.use.scope.module.source.place(keyword.value)
                    site = Site(one.template, Sink.KEYWORD, place, "system", 0, one.is_behind_text)
                    loop = _loop(call) if not is_kept else None
                    site = replace(site, following=replace(following, texts=one.texts), loop=loop)
                    self._add(replace(site, rounds=rounds_of(call, self.constants)))
            elif keyword.arg in WEAK_KEYWORDS or (
                keyword.arg in ("description", "goal") and last_name(call.node.func) in _DESCRIBED
            ):
                self._weak(keyword.value, call, Sink.KEYWORD, "user")

    def _histories(self, call: CallUse) -> list[History]:
        """The parts of a call's messages that are earlier turns."""
        listed = _keyword(call.node, "messages")
        if listed is None:
            return []
        items = items_of(self.project, listed, call.use)
        return [item for item in items if isinstance(item, History)]

    def _weak(self, node: ast.expr, call: CallUse, sink: Sink, role: str | None) -> None:
        if isinstance(node, ast.List):
            for element in node.elts:
                self._weak(element, call, sink, role)
            return
        for template in self.reader.templates(node, call.use):
            if is_named(template) or is_worded(template):
                place = call.use.scope.module.source.place(node)
                site = Site(template, sink, place, role, follows_history=self._has_turns(call))
                rounds = rounds_of(call, self.constants)
                self._add(replace(site, loop=_loop(call), rounds=rounds))

    def _behind_histories(self, module: ModuleIndex) -> None:
        """Texts that a call sends with the turns before them: `agent.run(prompt, history=turns)`.

        Order cannot matter in them, however they are named.
        """
        for calls in module.calls.values():
            for call in calls:
                if self._has_turns(call):
                    keywords = call.node.keywords
                    texts = [k.value for k in keywords if k.arg in TURN_KEYWORDS]
                    for node in (*call.node.args[:1], *texts):
                        self._weak(node, call, Sink.CALL, "user")

    def _has_turns(self, call: CallUse) -> bool:
        """True if a call is given the conversation so far beside the new turn."""
        return any(
            keyword.arg in HISTORY_KEYWORDS and self._is_history(keyword.value, call.use)
            for keyword in call.node.keywords
        )

    def _is_history(self, node: ast.expr, use: Use) -> bool:
        if isinstance(node, ast.Constant) or (isinstance(node, ast.List) and not node.elts):
            return False
        return any(isinstance(item, History) for item in items_of(self.project, node, use))

    def _names(self, module: ModuleIndex) -> None:
        is_of_prompts = naming.PROMPT_PATH.search(module.path.removesuffix(".py")) is not None
        for call in module.format_calls:
            for template in self.reader.templates(call.node, call.use):
                if is_named(template) and is_worded(template):
                    place = call.use.scope.module.source.place(call.node)
                    self._add(Site(template, Sink.NAME, place))
        for scope in [module.scope, *module.functions]:
            for name, bindings in scope.bindings.items():
                if not is_of_prompts and not naming.PROMPT_NAME.search(name):
                    continue
                for binding in bindings:
                    if binding.how is Bind.ASSIGN and isinstance(
                        binding.value, ast.JoinedStr | ast.BinOp | ast.Call
                    ):
                        self._named(binding.value, binding.use, name)
            for items in scope.items.values():
                for key, item in items:
                    said = str(key.value) if isinstance(key, ast.Constant) else ""
                    is_made = isinstance(item.value, ast.JoinedStr | ast.BinOp)
                    if is_made and item.value and naming.PROMPT_NAME.search(said):
                        self._named(item.value, item.use, said)
            owner = scope.owner
            for name, bindings in (owner.attributes if owner is not None else {}).items():
                if naming.PROMPT_NAME.search(name):
                    for binding in bindings:
                        if binding.use.scope is scope and binding.value is not None:
                            self._named(binding.value, binding.use, name)
            if _is_system(scope):
                for node, use in scope.returns:
                    for template in self.reader.templates(node, use, name=scope.name):
                        place = use.scope.module.source.place(node)
                        site = Site(template, Sink.KEYWORD, place, "system", 0)
                        self._add(replace(site, following=following_of(scope, self.reader)))
            elif (
                is_of_prompts
                or naming.PROMPT_NAME.search(scope.name)
                or (owner is not None and naming.PROMPT_OWNER.search(owner.name))
            ):
                self._returned(scope)

    def _returned(self, function: Scope) -> None:
        for node, use in function.returns:
            if isinstance(node, ast.JoinedStr | ast.BinOp | ast.Call):
                self._named(node, use, function.name)

    def _named(self, node: ast.expr, use: Use, name: str) -> None:
        for template in self.reader.templates(node, use, name=name):
            if is_worded(template):
                self._add(Site(template, Sink.NAME, template.location))

    # Together

    def _add(self, site: Site) -> None:
        if not self.has_constants:
            filled = self.far_markers.filled(site.template)
            site = replace(site, template=filled) if filled is not None else site
        if self.has_constants or site.template.form is not Form.CONSTANT:
            self._sites.append(site)

    def _one(self, group: list[Site]) -> Site:
        """One site for one text: the strongest sink, the liveliest holes, all its calls."""
        group = sorted(group, key=lambda s: s.location)  # calls' names come in no order
        best = min(
            group,
            key=lambda s: (s.sink is Sink.NAME, s.follows_history, _STRENGTH.index(s.sink)),
        )
        filled = [site for site in group if site.template.form is Form.FORMAT]
        if best.template.form is Form.FSTRING and filled:
            best = filled[0]  # an f-string whose doubled braces `format` fills
        if best.template.form is Form.CONCAT:
            best = _with_fields(best, group)
        others = (s for s in group if s is not best and s.template.form is best.template.form)
        template = merge([site.template for site in (best, *others)])
        template = told_together(template)
        # A template class that is given the constant fills it by name, as a call would.
        classes = len({s.location for s in group if s.sink is Sink.TEMPLATE_CLASS})
        is_shared = template.form is Form.FORMAT and self._is_shared(template, classes)
        if is_shared or self.readers.is_taken_apart(template):
            template = replace(template, is_shared=True)
        return replace(best, template=template)

    def _is_shared(self, template: Template, classes: int) -> bool:
        """True unless every read of the constant's name is in a known call or template class."""
        return self.readers.reads(template) > len(template.calls) + classes


def _with_fields(best: Site, group: list[Site]) -> Site:
    """The site of a sum with its fields read, where another one read it as it is written."""
    most = max(group, key=lambda site: len(site.template.pieces) * site.template.is_shared)
    is_read = most.template.is_shared and not best.template.is_shared
    if most.sink is Sink.NAME and best.sink is not Sink.NAME:
        return best  # sent as it is written, braces and all
    return replace(best, template=most.template) if is_read else best


def _is_system(function: Scope) -> bool:
    """True for a function that an agent asks for its system prompt: `@agent.system_prompt`."""
    decorators = getattr(function.node, "decorator_list", ())
    return any(
        isinstance(called(decorator), ast.Attribute)
        and last_name(called(decorator)) in ("system_prompt", "instructions")
        for decorator in decorators
    )


def _is_anthropic(call: CallUse) -> bool:
    """True for `client.messages.create(system=...)`: no other client has that call."""
    function = call.node.func
    return (
        isinstance(function, ast.Attribute)
        and function.attr in ("create", "stream", "parse")
        and last_name(function.value) == "messages"
    )


def _loop(call: CallUse) -> Location | None:
    """The place of a call that stands in a loop, else None."""
    return call.use.scope.module.source.place(call.node) if call.use.loops else None


def _keyword(node: ast.Call, name: str) -> ast.expr | None:
    return next((k.value for k in node.keywords if k.arg == name), None)
