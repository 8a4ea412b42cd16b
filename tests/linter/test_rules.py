"""Every rule does what its page says, and every page is the one that the rule prints."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from stemfirst_lint import rules
from stemfirst_lint.check import check_paths
from stemfirst_lint.cli.rule import rule as rule_command
from stemfirst_lint.config import CODES, OPT_IN, Config
from stemfirst_lint.manual import pages
from stemfirst_lint.rules import RULES, Case, Rule

ROOT = Path(__file__).parents[2]
CASES = [
    pytest.param(rule, case, id=f"{rule.code}-{case.title}")
    for rule in RULES
    for case in rule.cases
]


@pytest.mark.parametrize(("rule", "case"), CASES)
def test_each_case_of_a_rule_finds_what_it_says(
    rule: type[Rule], case: Case, tmp_path: Path
) -> None:
    path = tmp_path / "app.py"
    path.write_text(case.source)
    model = None
    if case.chat_template is not None:
        pytest.importorskip("jinja2")
        pytest.importorskip("tokenizers")
        model = str(a_model(tmp_path / "model", case.chat_template))
    elif rule.code.startswith("SF70"):
        pytest.importorskip("jinja2")
    config = Config(root=str(tmp_path), extend_select=(rule.code,), model=model)
    report = check_paths((str(path),), config)
    assert report.failures == ()
    assert [f.code for f in report.findings].count(rule.code) == case.finds


def a_model(folder: Path, chat_template: str) -> Path:
    """Write the folder of a model: a tokenizer of single words and a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir()
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(chat_template)
    return folder


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_shows_a_fault_and_something_like_it_that_is_none(rule: type[Rule]) -> None:
    assert any(case.finds for case in rule.cases)
    assert any(not case.finds for case in rule.cases)
    assert "Why:" in (rule.__doc__ or "")
    assert "Fix:" in (rule.__doc__ or "")


def test_every_rule_file_is_in_the_tuple() -> None:
    folder = Path(rules.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "rule"}
    assert {rule.name.replace("-", "_") for rule in RULES} == files
    assert (*(rule.code for rule in RULES), "SF901", "SF902") == CODES


def test_rules_that_must_be_named_are_silent_unless_they_are() -> None:
    assert {rule.code for rule in RULES if rule.is_opt_in} == OPT_IN
    for code in OPT_IN:
        assert not Config().wants(code)
        assert not Config(select=(code[:3],)).wants(code)
        assert Config(select=(code,)).wants(code)
        assert Config(extend_select=(code,)).wants(code)
        assert not Config(extend_select=(code,), ignore=(code,)).wants(code)
        assert "named" in pages()[code] or "names the code in full" in pages()[code]


def test_names_name_the_fault() -> None:
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)+", rule.name) for rule in RULES)


@pytest.mark.parametrize("code", CODES)
def test_the_manual_holds_the_page_that_the_command_prints(code: str, request) -> None:
    path = ROOT / "docs" / "rules" / f"{code}.md"
    text = pages()[code]
    if request.config.getoption("--update-golden", default=False):
        path.write_text(text)
    assert path.read_text() == text, "run pytest tests/linter/test_rules.py --update-golden"
    printed = CliRunner().invoke(rule_command, [code.lower()])
    assert printed.exit_code == 0
    assert printed.output.strip() == text.strip()


def test_no_page_is_left_of_a_rule_that_is_gone() -> None:
    assert {path.stem for path in (ROOT / "docs" / "rules").glob("*.md")} == set(CODES)


def test_an_unknown_rule_is_an_error_that_lists_the_known_ones() -> None:
    result = CliRunner().invoke(rule_command, ["SF999"])
    assert result.exit_code == 2
    assert "SF301" in result.stderr
