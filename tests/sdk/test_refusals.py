"""What would differ from process to process, or break later, is refused where it is written."""

from __future__ import annotations

import copy
import functools
import json
import pickle

import jinja2
import pytest
from openai.types.chat import ChatCompletionMessage
from stemfirst import (
    Client,
    ClientError,
    Conversation,
    HistoryChangedError,
    InversionError,
    JinjaPrompt,
    MissingValueError,
    Prompt,
    PromptError,
    Tier,
    hole,
    request,
    session,
    static,
    system,
    tenant,
    tool,
)


def search(query: str) -> str:
    """Search."""
    return query


def order(number: int) -> int:
    """Find an order."""
    return number


def hidden(_query: str) -> str:
    """Take a name that no model is shown."""
    return _query


class Shop:
    """Has a method that is offered as a tool."""

    def find(self, item: str) -> str:
        """Find an item."""
        return item


@pytest.mark.parametrize(
    "build",
    [
        lambda: Prompt(static("x"), tools=[tool(search, tier=Tier.REQUEST)]),
        lambda: Prompt(tools=[tool(search, tier=Tier.TENANT), tool(order)]),
        lambda: Prompt(static("x"), tools=[tool(search, tier=Tier.TENANT)]),
    ],
    ids=["before text", "before a tool", "a tenant's before static"],
)
def test_a_tool_that_varies_is_an_inversion_before_what_stays(build):
    with pytest.raises(InversionError, match=r"stands behind tool search \["):
        build()
    Prompt(tenant("x"), tools=[tool(order), tool(search, tier=Tier.TENANT)])


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ({tool(search), tool(order)}, "a set, whose order differs by process"),
        (search, r"takes a list of tools, got function"),
        ({"name": "f"}, r"takes a list of tools, got dict"),
        ([functools.partial(search, "a")], "a named function"),
        ([lambda query: query], "a named function"),
        ([hidden], r"takes _query"),
        ([Shop.find], r"Shop\.find takes self: give a bound method"),
    ],
    ids=["set", "function", "definition", "partial", "lambda", "underscore", "unbound"],
)
def test_tools_without_an_order_or_a_name_are_refused(tools, message):
    with pytest.raises(PromptError, match=message):
        Prompt(static("a"), tools=tools)


def test_a_bound_method_is_a_tool():
    assert "self" not in tool(Shop().find).json


def test_a_prompt_goes_to_a_worker_and_into_copies():
    made = Prompt(static("a"), request(hole("q")), tools=[search])
    for again in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert again == made
        assert again.render(q="b") == made.render(q="b")
    assert copy.deepcopy(Conversation(made)).prompt == made
    with pytest.raises(AttributeError, match="immutable"):
        del made.messages


def test_then_gives_what_the_constructor_gives():
    for first in (system(static("a")), static("a")):
        whole = Prompt(first, tenant("b"))
        assert Prompt(first).then(tenant("b")).render().messages == whole.render().messages


def test_holes_may_have_any_name_but_none():
    asked = Prompt(request(hole("values")), request(hole("self")))
    assert asked.render(values="a", self="b").messages[0]["content"] == "a\n\nb"
    for name in ("", 5):
        with pytest.raises(PromptError, match="a hole needs a name"):
            hole(name)  # type: ignore[arg-type]


def test_messages_of_the_openai_package_are_messages():
    reply = ChatCompletionMessage(role="assistant", content="hi")
    asked = [{"role": "user", "content": "a"}, reply]
    assert Prompt.from_messages(asked).render().messages[1] == {  # type: ignore[list-item]
        "role": "assistant",
        "content": "hi",
    }
    talk = Conversation(Prompt(static("s")))
    talk.add(talk.turn(request("q")), reply)
    assert talk.messages[-1] == {"role": "assistant", "content": "hi"}


@pytest.mark.parametrize(
    "build",
    [
        lambda: Prompt.from_messages("hello"),
        lambda: session(["x"]),
        lambda: Conversation(Prompt(static("s"))).compact(["x"]),
        lambda: Conversation.from_json(Prompt(static("s")), {"v": 1, "messages": [1]}),
        lambda: Conversation.from_json(Prompt(static("s")), [1]),
    ],
    ids=["text", "a list of texts", "compacted", "stored", "no state"],
)
def test_what_is_no_message_is_named(build):
    with pytest.raises(PromptError, match=r"no message of the chat API|no stored conversation"):
        build()


def test_a_front_that_changed_is_noticed_after_a_store_too():
    base = Prompt(static("s"), tenant(hole("plan")))
    talk = Conversation(base)
    answer = {"role": "assistant", "content": "a"}
    talk.add(talk.turn(request("q")).render(plan="gold"), answer)
    again = Conversation.from_json(base, json.loads(json.dumps(talk.to_json())))
    with pytest.raises(HistoryChangedError, match="in front of the history"):
        again.add(again.turn(request("r")).render(plan="free"), answer)
    again.add(again.turn(request("r")).render(plan="gold"), answer)


def environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.DictLoader({"part": "Customer {{ name }}"}), autoescape=False
    )
    made.globals["now"] = lambda: "12:00"
    made.globals["shop"] = "Fell & Co"
    return made


@pytest.mark.parametrize(
    ("source", "tiers", "message"),
    [
        ("A\n\n{% include 'part' %}", {"name": "tenant"}, "what include brings in has no tier"),
        ("It is {{ now() }}.", {}, "'now' has no tier"),
        ("{{ lipsum() }}", {}, "'lipsum' has no tier"),
        ("{{ plan }}", {"plan": "tennant"}, "no tier is called 'tennant'"),
        ("{{ plan|nothing }}", {"plan": "tenant"}, "No filter named 'nothing'"),
    ],
    ids=["include", "a clock", "random text", "a tier's name", "a filter's name"],
)
def test_what_a_template_brings_in_needs_a_tier(source, tiers, message):
    with pytest.raises(PromptError, match=message):
        JinjaPrompt(source, tiers=tiers, environment=environment())


def test_functions_of_a_template_have_the_tier_that_they_are_given():
    made = JinjaPrompt(
        "{{ shop }}\n\n{{ q }}\n\n{{ now() }}",
        tiers={"q": "request", "now": "volatile"},
        environment=environment(),
    ).prompt(q="a")
    assert [item.tier for message in made.messages for item in message.segments][-1] is (
        Tier.VOLATILE
    )
    drawn = JinjaPrompt("A\n\n{{ ['a', 'b']|random }}", tiers={}).prompt()
    assert drawn.messages[-1].segments[-1].tier is Tier.VOLATILE


def test_values_of_a_template_are_looked_at_where_they_are_shown():
    asked = JinjaPrompt("A{% if plan %} {{ plan }}{% endif %}", tiers={"plan": "tenant"})
    assert asked.prompt(plan=None).render().messages[0]["content"] == "A"
    shown = JinjaPrompt("A {{ plan }}", tiers={"plan": "tenant"})
    with pytest.raises(MissingValueError, match="got None"):
        shown.prompt(plan=None)
    with pytest.raises(PromptError, match="a set, whose order"):
        shown.prompt(plan={"a"})
    with pytest.raises(PromptError, match="no variable is called 'pln'; this template's: plan"):
        shown.prompt(plan="x", pln="y")


def test_only_prompts_are_asked():
    with Client(base_url="http://127.0.0.1:1/v1", api_key="x") as client:
        for given in ("hello", [{"role": "user", "content": "hello"}]):
            with pytest.raises(ClientError, match=r"a Prompt is asked, got (str|list)"):
                client.ask(given)  # type: ignore[arg-type]


def test_an_assistants_parts_are_output_in_the_responses_api():
    parts = [{"type": "text", "text": "b"}, {"type": "refusal", "refusal": "no"}]
    past = [{"role": "user", "content": "a"}, {"role": "assistant", "content": parts}]
    sent = Prompt(session(past), request("q")).render().responses()["input"]
    assert [item["type"] for item in sent[1]["content"]] == ["output_text", "refusal"]
