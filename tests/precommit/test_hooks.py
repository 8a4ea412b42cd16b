"""The hooks in a real git repository, run by real pre-commit, installed without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WHEELHOUSE = ROOT / ".wheelhouse"
SHIPPED = [
    "sdk", "linter", "server", "examples", "pyproject.toml", "README.md", "LICENSE",
    ".pre-commit-hooks.yaml",
]  # fmt: skip
RULES = ("Answer only from the policy, and name the paragraph that you rely on. " * 16).strip()
PROMPT = f'"""Time: {{now}}\n\n{RULES}\n\nQuestion: {{question}}\n"""\n'
FIXED = f'"""{RULES}\n\nTime: {{now}}\n\nQuestion: {{question}}\n"""\n'
APP = """from datetime import datetime

from prompts import PROMPT


def ask(client, question):
    text = PROMPT.format(now=datetime.now(), question=question)
    return client.chat.completions.create(messages=[{"role": "user", "content": text}])
"""

pytestmark = [
    pytest.mark.needs_wheelhouse,
    pytest.mark.skipif(
        not any(WHEELHOUSE.glob("hatchling-*.whl")),
        reason="needs .wheelhouse: python tests/precommit/build_wheelhouse.py .wheelhouse",
    ),
]


class Repository:
    """A git repository with its own settings; no configuration of the user reaches it."""

    def __init__(self, path: Path, environment: dict[str, str]) -> None:
        self.path = path
        self.environment = environment
        path.mkdir(exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        made = subprocess.run(
            ["git", *arguments],
            cwd=self.path, env=self.environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return made.stdout.strip()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--no-verify", "--message", "state")
        return self.git("rev-parse", "HEAD")

    def precommit(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pre_commit", "run", "--color=never", *arguments],
            cwd=self.path, env=self.environment, capture_output=True, text=True, timeout=110,
        )  # fmt: skip


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("home")
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "PRE_COMMIT_HOME": str(home / "pre-commit"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(WHEELHOUSE),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
    }  # fmt: skip


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Repository:
    """A repository that holds this checkout as a user of the hooks would clone it."""
    path = tmp_path_factory.mktemp("hooks")
    for name in SHIPPED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, path / name)
    repository = Repository(path, environment)
    repository.commit()
    return repository


@pytest.fixture
def project(tmp_path: Path, hooks: Repository) -> Repository:
    made = Repository(tmp_path / "project", hooks.environment)
    (made.path / "app.py").write_text(APP)
    (made.path / "prompts.py").write_text(f"PROMPT = {PROMPT}")
    return made


def use(project: Repository, hooks: Repository, *names: str) -> None:
    listed = "".join(f"      - id: {name}\n" for name in names)
    (project.path / ".pre-commit-config.yaml").write_text(
        f"repos:\n  - repo: {hooks.path}\n    rev: {hooks.git('rev-parse', 'HEAD')}\n"
        f"    hooks:\n{listed}"
    )
    project.git("add", "--all")


def test_the_fix_hook_changes_a_template_in_a_file_that_was_not_passed(
    project: Repository, hooks: Repository
) -> None:
    use(project, hooks, "stemfirst-fix")
    first = project.precommit("--files", "app.py")
    assert first.returncode == 1, first.stdout + first.stderr
    assert "files were modified by this hook" in first.stdout
    assert "prompts.py:1:19: SF101 reordered" in first.stdout
    assert (project.path / "prompts.py").read_text() == f"PROMPT = {FIXED}"
    project.git("add", "--all")
    second = project.precommit("--all-files")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "Passed" in second.stdout


def test_the_check_hook_fails_until_the_prompt_is_fixed(
    project: Repository, hooks: Repository
) -> None:
    use(project, hooks, "stemfirst-check")
    found = project.precommit("--all-files")
    assert found.returncode == 1, found.stdout + found.stderr
    assert "SF101" in found.stdout
    assert "stemfirst fix" in found.stdout
    (project.path / "prompts.py").write_text(f"PROMPT = {FIXED}")
    project.git("add", "--all")
    assert project.precommit("--all-files").returncode == 0


def test_a_commit_is_stopped_by_the_installed_hook(project: Repository, hooks: Repository) -> None:
    use(project, hooks, "stemfirst-fix", "stemfirst-check")
    subprocess.run(
        [sys.executable, "-m", "pre_commit", "install"],
        cwd=project.path, env=project.environment, check=True, capture_output=True,
    )  # fmt: skip
    with pytest.raises(subprocess.CalledProcessError):
        project.git("commit", "--quiet", "--message", "a prompt")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "a prompt")
    assert project.git("log", "--format=%s") == "a prompt"


def test_hooks_leave_out_excluded_files_that_are_passed(
    project: Repository, hooks: Repository
) -> None:
    (project.path / "pyproject.toml").write_text(
        '[tool.stemfirst]\nexclude = ["app.py", "prompts.py"]\n'
    )
    use(project, hooks, "stemfirst-check", "stemfirst-fix")
    done = project.precommit("--files", "app.py", "prompts.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project.path / "prompts.py").read_text() == f"PROMPT = {PROMPT}"


def test_hooks_take_renamed_and_deleted_files(project: Repository, hooks: Repository) -> None:
    use(project, hooks, "stemfirst-check")
    project.commit()
    project.git("mv", "prompts.py", "texts.py")
    (project.path / "app.py").write_text(APP.replace("from prompts", "from texts"))
    project.git("add", "--all")
    renamed = project.precommit()
    assert renamed.returncode == 1
    assert "texts.py:1:" in renamed.stdout
    project.git("rm", "--quiet", "--force", "app.py", "texts.py")
    deleted = project.precommit()
    assert deleted.returncode == 0, deleted.stdout + deleted.stderr


def test_the_lock_hook_fails_when_a_prefix_moves_in_a_file_that_is_not_passed(
    project: Repository, hooks: Repository
) -> None:
    (project.path / "prompts.py").write_text(f"PROMPT = {FIXED}")
    use(project, hooks, "stemfirst-lock")
    missing = project.precommit("--all-files")
    assert missing.returncode == 1
    assert "no such file; write it with `stemfirst lock`" in missing.stdout
    lock = subprocess.run(
        [sys.executable, "-m", "stemfirst.cli", "lock"],
        cwd=project.path, env=project.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Locked 1 stable prefix" in lock.stdout
    project.commit()
    assert project.precommit("--all-files").returncode == 0
    moved = FIXED.replace("Answer only", "Answer solely", 1)
    (project.path / "prompts.py").write_text(f"PROMPT = {moved}")
    project.git("add", "--all")
    done = project.precommit("--files", "app.py")
    assert done.returncode == 1
    assert "SF602 the stable prefix of `PROMPT` moved: block 1" in done.stdout
    assert "byte 7" in done.stdout


def test_the_lock_and_the_check_hook_run_when_only_a_file_of_text_changed(
    project: Repository, hooks: Repository
) -> None:
    """A prompt may stand in a file that is no Python."""
    (project.path / "prompts.py").unlink()
    (project.path / "rules.md").write_text(FIXED.strip('"\n') + "\n")
    (project.path / "app.py").write_text(
        APP.replace(
            "from prompts import PROMPT\n",
            'from pathlib import Path\n\nPROMPT = Path("rules.md").read_text()\n',
        )
    )
    use(project, hooks, "stemfirst-lock", "stemfirst-check")
    subprocess.run(
        [sys.executable, "-m", "stemfirst.cli", "lock"],
        cwd=project.path, env=project.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    project.commit()
    text = (project.path / "rules.md").read_text()
    assert project.precommit("--all-files").returncode == 0
    (project.path / "rules.md").write_text("Time: {now}\n\n" + text)
    project.git("add", "--all")
    done = project.precommit()
    assert done.returncode == 1, done.stdout
    assert "SF602 the stable prefix" in done.stdout
    assert "rules.md:1:7: SF101" in done.stdout
