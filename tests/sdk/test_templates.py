"""Prompts from Jinja templates and t-strings: the same text, by tiers."""

from types import SimpleNamespace

import pytest
from stemfirst import InversionError, JinjaPrompt, MissingValueError, Prompt, PromptError

jinja2 = pytest.importorskip("jinja2", reason="pip install jinja2")

SOURCE = """\
You are an agent.
{% if is_club %}The customer is in the club.
{% endif %}
Plan: {{ plan | upper }}. Honour it.

Articles:
{% for article in articles %}- {{ article }}
{% endfor %}
Question: {{ question }}

Answer:"""
TIERS = {"is_club": "tenant", "plan": "tenant", "articles": "request", "question": "request"}
VALUES = {"is_club": True, "plan": "gold", "articles": ["a", "b"], "question": "Where?"}


def texts(prompt: Prompt) -> list[str]:
    return [message["content"] for message in prompt.render().messages]


def test_the_text_is_what_jinja_renders():
    source = SOURCE.replace("\nArticles:\n", "")
    whole = jinja2.Environment(keep_trailing_newline=True).from_string(source).render(VALUES)
    prompt = JinjaPrompt(source, tiers=TIERS).prompt(**VALUES)
    assert "".join(texts(prompt)) == whole


def test_a_template_may_come_with_tools():
    def search(query: str) -> str:
        """Search the shop."""

    prompt = JinjaPrompt("Kind.\n\n{{ q }}", tiers={"q": "request"}, tools=[search]).prompt(q="a")
    assert [tool["function"]["name"] for tool in prompt.render().tools] == ["search"]


def test_values_and_blocks_have_the_tiers_of_their_variables():
    prompt = JinjaPrompt(SOURCE.replace("\nArticles:\n", ""), tiers=TIERS).prompt(**VALUES)
    found = [(item.tier.label, item.text) for item in prompt.render().segments]
    assert found[0] == ("static", "You are an agent.\n")
    assert found[1] == ("tenant", "The customer is in the club.\n")
    assert ("tenant", "GOLD") in found
    assert ("tenant", ". Honour it.\n") in found
    assert found[-1] == ("request", "\n\nAnswer:")
    assert [message.role for message in prompt.messages] == ["system", "user"]


def test_fixed_text_in_a_later_paragraph_is_an_inversion():
    source = "Plan: {{ plan }}\n\n" + "You are an agent. " * 9 + "{{ question }}"
    with pytest.raises(InversionError, match="stands behind tenant"):
        JinjaPrompt(source, tiers=TIERS).prompt(plan="gold", question="Where?")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a {{ who }}", "the variable 'who' has no tier"),
        ("a {{ plan", "line 1 is no Jinja"),
        ("{% set x = 1 %}{{ x }}", "assign at a template's top"),
        ("{% extends 'base' %}", "extends at a template's top"),
    ],
)
def test_what_has_no_tier_or_place_is_refused(source, message):
    with pytest.raises(PromptError, match=message):
        JinjaPrompt(source, tiers=TIERS)


def test_a_missing_value_names_the_line_that_built_the_template():
    with pytest.raises(MissingValueError, match=r"'plan' is undefined .*test_templates\.py"):
        JinjaPrompt("a {{ plan }}", tiers=TIERS).prompt()


def value(given: object, expression: str, spec: str, conversion: str | None = None):
    return SimpleNamespace(
        value=given, expression=expression, format_spec=spec, conversion=conversion
    )


def t_string(*parts):
    """Stand in for a t-string, which needs Python 3.14: the same fields, read the same way."""
    strings, values = [""], []
    for part in parts:
        if isinstance(part, str):
            strings[-1] += part
        else:
            values.append(part)
            strings.append("")
    return SimpleNamespace(strings=tuple(strings), interpolations=tuple(values))


def test_format_specs_of_a_t_string_are_tiers():
    template = t_string(
        "You are an agent.\n\nPlan: ",
        value("gold", "plan", "tenant"),
        "\n\n",
        value("Where?", "ask()", "request", "r"),
    )
    segments = Prompt.t(template).render().segments
    assert [(item.tier.label, item.text, item.name) for item in segments] == [
        ("static", "You are an agent.\n\nPlan: ", None),
        ("tenant", "gold", "plan"),
        ("tenant", "\n\n", None),
        ("request", "'Where?'", None),
    ]


def test_a_format_spec_that_is_no_tier_is_named():
    with pytest.raises(PromptError, match=r"\{price:\.2f\}: no tier is called '\.2f'"):
        Prompt.t(t_string("a ", value(1.0, "price", ".2f")))


def test_what_is_no_t_string_is_named():
    with pytest.raises(PromptError, match=r"Prompt\.t takes a t-string of Python 3\.14, got str"):
        Prompt.t("You are kind.")  # type: ignore[arg-type]
