"""What is checked and what is reported: files, rules, comments, settings."""

import os
import subprocess
import tomllib

import pytest
from stemfirst_lint.config import Config
from stemfirst_lint.errors import ConfigError

SELECTIONS = {
    "all by default": ({}, True),
    "a prefix": ({"select": ("SF3",)}, True),
    "another": ({"select": ("SF1",)}, False),
    "ignored": ({"ignore": ("SF3",)}, False),
    "ignored and selected alike": ({"select": ("SF3",), "ignore": ("SF3",)}, False),
    "selected more closely": ({"select": ("SF301",), "ignore": ("SF3",)}, True),
    "ignored more closely": ({"select": ("SF3",), "ignore": ("SF301",)}, False),
    "added": ({"select": ("SF1",), "extend_select": ("SF301",)}, True),
    "added against an ignored prefix": ({"ignore": ("SF",), "extend_select": ("SF301",)}, True),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_the_longest_prefix_decides(name: str) -> None:
    settings, wanted = SELECTIONS[name]
    assert Config(**settings).wants("SF301") is wanted


@pytest.mark.parametrize("pattern", ["app.py", "src/*.py", "src", "src/", "*.py"])
def test_codes_are_ignored_per_file(pattern: str, stemfirst, sources, tmp_path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.stemfirst.per-file-ignores]\n"{pattern}" = ["SF3"]\n'
    )
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "app.py").write_text(sources.bad)
    assert stemfirst("check", "src").returncode == 0
    assert stemfirst("check", "src", "--per-file-ignores", "x.py:SF3").returncode == 0


def test_per_file_ignores_on_the_command_line(stemfirst, sources, tmp_path) -> None:
    (tmp_path / "app.py").write_text(sources.bad)
    assert stemfirst("check", "--per-file-ignores", "app.py:SF1,SF3").returncode == 0
    assert stemfirst("check", "--per-file-ignores", "app.py:SF1").returncode == 1
    wrong = stemfirst("check", "--per-file-ignores", "app.py")
    assert wrong.stderr == "error: --per-file-ignores takes PATTERN:CODES, got 'app.py'\n"


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="no rule 'X1'"):
        Config().with_options(extend_select=("X1",))
    with pytest.raises(ConfigError, match="no rule 'SF999'"):
        Config(plugins=("acme",)).with_options(select=("SF999",))
    assert Config(plugins=("acme",)).with_options(select=("ACME1",)).wants("ACME1")


def files(stemfirst, *arguments: str) -> list[str]:
    return stemfirst("check", "--show-files", *arguments).stdout.split()


@pytest.fixture
def tree(tmp_path):
    for name in ("kept.py", "made.py", "sub/made.py", "sub/kept.py", "out/a.py", "vendor/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    return tmp_path


def test_git_ignores_are_respected_below_folders(stemfirst, tree) -> None:
    (tree / ".git" / "info").mkdir(parents=True)
    (tree / ".git" / "info" / "exclude").write_text("vendor/\n")
    (tree / ".gitignore").write_text("# made\nmade.py\n/out\n")
    (tree / "sub" / ".gitignore").write_text("!made.py\nkept.py\n")
    assert files(stemfirst) == ["./kept.py", "./sub/made.py"]
    assert files(stemfirst, "sub") == ["sub/made.py"], "the repository's file holds below, too"
    assert files(stemfirst, "out", "made.py") == ["out/a.py", "made.py"], "named is named"
    everything = files(stemfirst, "--no-respect-gitignore")
    assert len(everything) == 6


def test_git_agrees_about_what_is_ignored(stemfirst, tree) -> None:
    (tree / ".gitignore").write_text("*.py\n!kept.py\n!/sub/\nvendor/**\n")
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    listed = subprocess.run(
        ["git", "-C", str(tree), "ls-files", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert files(stemfirst) == [f"./{name}" for name in sorted(listed) if name.endswith(".py")]


OWN_PATTERNS = {
    "the place where git looks": ("", ".config/git/ignore"),
    "a named file": ("[user]\n\tname = a\n[core]\n\texcludesFile = ~/mine # all\n", "mine"),
    "a quoted one": ('[core]\n  autocrlf = input\n  excludesfile = "~/my own"\n', "my own"),
    "a key of another section": ("[core]\n[other]\nexcludesfile = ~/mine\n", ".config/git/ignore"),
}


@pytest.mark.parametrize(("settings", "name"), OWN_PATTERNS.values(), ids=OWN_PATTERNS)
def test_the_users_own_patterns_hold_in_every_repository(
    stemfirst, tree, tmp_path_factory, settings: str, name: str
) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).write_text("sub/\n")
    (home / ".gitconfig").write_text(settings)
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": ""}
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    git = subprocess.run(
        ["git", "-C", str(tree), "check-ignore", "sub/kept.py"],
        capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    listed = stemfirst("check", "--show-files", **environment).stdout.split()
    assert git.stdout == "sub/kept.py\n"
    assert "./kept.py" in listed
    assert "./sub/kept.py" not in listed


def test_a_test_that_is_named_is_checked_unless_forced(stemfirst, sources, tree) -> None:
    (tree / "app_test.py").write_text(sources.bad)
    assert stemfirst("check").returncode == 0
    assert stemfirst("check", "app_test.py").returncode == 1
    assert stemfirst("check", "--force-exclude", "app_test.py").returncode == 0


def test_an_excluded_file_that_is_named_is_checked_unless_forced(stemfirst, sources, tree) -> None:
    (tree / "pyproject.toml").write_text('[tool.stemfirst]\nexclude = ["vendor"]\n')
    (tree / "vendor" / "b.py").write_text(sources.bad)
    (tree / "build").mkdir()
    (tree / "build" / "c.py").write_text(sources.bad)
    assert stemfirst("check").returncode == 0
    assert stemfirst("check", "vendor/b.py").returncode == 1
    assert stemfirst("check", "--force-exclude", "vendor/b.py", "build/c.py").returncode == 0
    (tree / "pyproject.toml").write_text(
        '[tool.stemfirst]\nexclude = ["vendor"]\nforce-exclude = true\n'
    )
    assert stemfirst("check", "vendor/b.py").returncode == 0
    assert stemfirst("check", "--no-force-exclude", "vendor/b.py").returncode == 1


def test_settings_are_shown_as_toml_with_where_they_come_from(stemfirst, tmp_path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.stemfirst]\nmin-gain = 7\n[tool.stemfirst.tiers]\nregion = "tenant"\n'
        '[tool.stemfirst.per-file-ignores]\n"a.py" = ["SF1"]\n'
    )
    shown = stemfirst("check", "--show-settings", "--extend-select", "SF3").stdout
    assert shown.startswith(f"# settings from {tmp_path / 'pyproject.toml'}\n")
    settings = tomllib.loads(shown)["tool"]["stemfirst"]
    assert settings["min-gain"] == 7
    assert settings["extend-select"] == ["SF3"]
    assert "# off unless select or extend-select names them in full: SF204, SF303, SF405\n" in shown
    assert settings["tiers"] == {"region": "tenant"}
    assert settings["per-file-ignores"] == {"a.py": ["SF1"]}
    (tmp_path / "pyproject.toml").write_text(shown)
    again = stemfirst("check", "--show-settings").stdout
    assert again.partition("\n")[2] == shown.partition("\n")[2], "what is shown can be set"


def test_a_comment_that_silences_nothing_is_reported(stemfirst, sources, tmp_path) -> None:
    first, second, third = sources.bad.splitlines()
    (tmp_path / "app.py").write_text(
        f"{first}\n{second}  # stemfirst: ignore[SF301, SF101] x\n{third}  # stemfirst: ignore\n"
    )
    (tmp_path / "other.py").write_text("x = 1  # stemfirst: ignore[SF2]\n")
    done = stemfirst("check", "--output-format", "concise")
    assert done.returncode == 1
    assert [line.split(" SF901 ")[1] for line in done.stdout.splitlines()[:-1]] == [
        "`SF101` silences nothing here; remove it from the comment",
        "this comment silences nothing; remove it",
        "`SF2` silences nothing here; remove it from the comment",
    ]
    assert stemfirst("check", "app.py", "other.py").returncode == 0, "not judged file by file"
    assert "SF901" not in stemfirst("check", "--select", "SF3").stdout
    assert stemfirst("check", "--ignore", "SF901").returncode == 0


def test_a_comment_in_the_file_of_a_template_silences_what_another_file_makes_of_it(
    stemfirst, sources, tmp_path
) -> None:
    (tmp_path / "prompts.py").write_text(
        f'PROMPT = "{{question}}\\n\\n{sources.long}"  # stemfirst: ignore[SF301] known\n'
    )
    (tmp_path / "app.py").write_text(
        "from prompts import PROMPT\n\ndef ask(client, question):\n"
        "    text = PROMPT.format(question=question)\n"
        '    client.create(messages=[{"role": "user", "content": text}])\n'
    )
    assert stemfirst("check").returncode == 0
    assert stemfirst("check", "app.py").returncode == 0
