"""Forfeited tokens are counted with the target's tokenizer, in the target's order, offline."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from stemfirst_lint import chat_templates
from stemfirst_lint.check import Report, check_paths
from stemfirst_lint.config import Config
from stemfirst_lint.errors import TokenizerError
from stemfirst_lint.gain import Count, Counter

APP = (
    'TOOLS = [{"type": "function", "function": {"name": "search"}}]\n\n'
    "def ask(client, history, user_name):\n"
    "    client.chat.completions.create(tools=TOOLS, messages=[\n"
    '        {"role": "system", "content": f"{user_name} one two three"},\n'
    '        {"role": "user", "content": f"four five {user_name}"}, *history])\n'
)
TOOLS_LAST = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% if m.role == 'system' and tools %}{{ tools | tojson }}{% endif %}{% endfor %}"
)
TOOLS_FIRST = (
    "{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder whose tokenizer makes one token of each word."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    folder = tmp_path / "model"
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def no_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No rank file anywhere, and no way to fetch one."""
    import sys

    folder = tmp_path / "empty"
    folder.mkdir()
    for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(folder))
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr("socket.socket.connect", _refuse)
    return folder


def _refuse(*_: object) -> None:
    raise AssertionError("a check opened a connection")


def test_a_model_counts_with_its_own_tokenizer(model: Path) -> None:
    assert Counter(str(model)).count("one two", "three") == Count(3, is_estimate=False)
    assert Counter(str(model / "tokenizer.json")).count("one") == Count(1, is_estimate=False)


@pytest.mark.parametrize(
    ("template", "where", "tokens"),
    [
        (TOOLS_LAST, "chat_template.jinja", 3 + 2 + 5),
        (TOOLS_FIRST, "chat_template.jinja", 3 + 2),
        (TOOLS_FIRST, "tokenizer_config.json", 3 + 2),
        (None, "", 3 + 2 + 5),
    ],
    ids=["tools behind", "tools before", "in the old place", "no template"],
)
def test_tools_count_where_the_chat_template_puts_them_behind_the_system_message(
    template: str | None, where: str, tokens: int, model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("jinja2")
    if template is not None:
        text = template if where.endswith("jinja") else json.dumps({"chat_template": template})
        (model / where).write_text(text)
    path = tmp_path / "app.py"
    path.write_text(APP)
    config = Config(min_gain=1, model=str(model), root=str(tmp_path))
    first = check_paths((str(path),), config).findings[0]
    assert first.forfeited_tokens == tokens
    assert not first.forfeited_is_estimate


@pytest.mark.parametrize("template", [TOOLS_FIRST, TOOLS_LAST], ids=["tools before", "behind"])
def test_transformers_and_our_own_jinja_tell_the_same_order(
    template: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("transformers")
    (model / "chat_template.jinja").write_text(template)
    (model / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"})
    )
    rendered = chat_templates.through_transformers(str(model))
    assert rendered is not None
    assert rendered.index("probe_user") > 0
    by_transformers = chat_templates.renders_tools_first(str(model))
    chat_templates.renders_tools_first.cache_clear()
    monkeypatch.setattr(chat_templates, "through_transformers", lambda folder: None)
    assert chat_templates.renders_tools_first(str(model)) == by_transformers
    assert by_transformers == (template == TOOLS_FIRST)


def test_a_chat_template_that_runs_wild_is_left_alone(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    for wild in (
        "{% for i in range(10 ** 9) %}x{% endfor %}",
        "{% for i in range(900000000) %}x{% endfor %}",
        "{{ 'x' * 1000000000 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ messages[99].content }}",
        "{% if %}",
    ):
        (tmp_path / "chat_template.jinja").write_text(wild)
        found = chat_templates.of_model(str(tmp_path))
        assert found is None or not (found.clock or found.rewrites_turns)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"no tokenizer\.json in .*--model takes"):
        Counter(str(tmp_path))


def test_a_broken_tokenizer_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError, match="is no tokenizer"):
        Counter(str(tmp_path)).count("text")


def test_without_the_rank_file_tokens_are_estimated_and_nothing_is_fetched(no_ranks: Path) -> None:
    text = "Answer politely and never promise what the policy does not grant. " * 100
    count = Counter().count(text)
    assert count.is_estimate
    assert str(count).startswith("~")
    assert 0.75 * 1201 < count.tokens < 1.3 * 1201  # o200k_base: 1,201


def test_a_rank_file_with_another_digest_is_neither_used_nor_deleted(no_ranks: Path) -> None:
    path = no_ranks / "fb374d419588a4632f3f557e76b4b70aebbca790"
    path.write_bytes(b"IQ== 0\n")
    assert Counter().count("text").is_estimate
    assert path.read_bytes() == b"IQ== 0\n"


def test_short_texts_are_known_to_be_small_without_a_tokenizer() -> None:
    counter = Counter()
    assert counter.is_surely_below(("a" * 100,), 128)
    assert not counter.is_surely_below(("a" * 100, "b" * 28), 128)


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder of the true rank file of o200k_base, and no way to fetch it."""
    from stemfirst_lint.gain import _rank_folder

    folder = _rank_folder()
    if folder is None:
        pytest.skip("no rank file of o200k_base on this machine")
    monkeypatch.setattr("socket.socket.connect", _refuse)
    return folder


def test_the_default_target_counts_with_the_true_ranks(ranks: str) -> None:
    text = "Answer politely and never promise what the policy does not grant. " * 100
    assert Counter().count(text) == Count(1201, is_estimate=False)
    assert Counter("gpt-4o").count(text) == Count(1201, is_estimate=False)


def test_other_vendors_models_are_counted_by_estimate(ranks: str) -> None:
    count = Counter("claude-sonnet-4-5").count("text")
    assert count.is_estimate


RULES = "Answer politely and never promise what the policy does not grant. " * 150
PRICED = (
    'TOOLS = [{"type": "function", "function": {"name": "search"}}]\n\n'
    "def ask(client, user_name, question):\n"
    "    client.messages.create(tools=TOOLS, messages=[\n"
    f'        {{"role": "system", "content": f"{{user_name}} {RULES}"}},\n'
    '        {"role": "user", "content": question}])\n'
)


def _priced(tmp_path: Path, model: str, source: str = PRICED) -> list[dict[str, object]]:
    from stemfirst_lint.output.as_json import json_findings

    path = tmp_path / "app.py"
    path.write_text(source)
    return json_findings(check_paths((str(path),), Config(model=model, root=str(tmp_path))))


def test_money_is_the_difference_to_the_price_of_cached_tokens(tmp_path: Path) -> None:
    from stemfirst.prices import Price, price

    (found,) = _priced(tmp_path, "gpt-4o")
    charged = price("gpt-4o")
    assert isinstance(charged, Price)
    assert charged.cached is not None
    tokens = found["forfeited_tokens"]
    assert isinstance(tokens, int)
    assert tokens > 1024
    expected = tokens * 1000 * (charged.input - charged.cached) / 1e6
    assert found["usd_per_1000_calls"] == pytest.approx(expected, abs=1e-6)
    assert found["price_as_of"] == charged.as_of


def test_what_is_below_the_providers_minimum_costs_nothing(tmp_path: Path) -> None:
    (found,) = _priced(tmp_path, "gpt-4o", PRICED.replace(RULES, RULES[: len(RULES) // 3]))
    assert found["forfeited_tokens"]
    assert found["usd_per_1000_calls"] == 0


def test_anthropic_reads_tools_before_the_system_message(tmp_path: Path) -> None:
    (openai,) = _priced(tmp_path, "gpt-4o")
    (anthropic,) = _priced(tmp_path, "claude-sonnet-4-5")
    assert int(str(openai["forfeited_tokens"])) > int(str(anthropic["forfeited_tokens"]))


def test_people_read_the_cost_and_its_date(tmp_path: Path) -> None:
    from stemfirst_lint.output.full import full_lines

    path = tmp_path / "app.py"
    path.write_text(PRICED)
    config = Config(model="claude-sonnet-4-5", root=str(tmp_path))
    text = " ".join(" ".join(full_lines(check_paths((str(path),), config))).split())
    assert "the tokens counted here cost $" in text
    assert "in 1,000 calls with claude-sonnet-4-5, prices of 20" in text


def test_a_name_without_a_price_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="no price of a model by that name"):
        Counter("nobodys-model")


def test_repeated_text_counts_as_often_as_it_is_repeated(model: Path, tmp_path: Path) -> None:
    app = APP.replace('f"{user_name} one two three"', 'f"{user_name} {RULES}"')
    path = tmp_path / "app.py"
    path.write_text('RULES = "be kind " * 30\n' + app)
    config = Config(min_gain=1, model=str(model), root=str(tmp_path))
    (finding,) = (each for each in check_paths((str(path),), config).findings)
    assert 60 <= finding.forfeited_tokens < 80


def test_indentation_that_dedent_takes_away_is_not_counted(check: Callable[..., Report]) -> None:
    lines = "".join(f"    Rule {number}: keep to what the policy grants.\n" for number in range(40))
    source = (
        "from textwrap import dedent\n"
        "def ask(client, document):\n"
        f'    text = dedent(f"""\\\n    Document: {{document}}\n{lines}""")\n'
        '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
    )
    (indented,) = check(source.replace("= dedent(f", "= (f")).findings
    (dedented,) = check(source).findings
    flush = source.replace("\n    Document", "\nDocument").replace("\n    Rule", "\nRule")
    (plain,) = check(flush).findings
    assert dedented.forfeited_tokens == plain.forfeited_tokens < indented.forfeited_tokens
