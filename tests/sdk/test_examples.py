"""The examples, run as they are: against the bundled server, or a server of recorded shapes."""

import asyncio
import importlib.util
import inspect
import runpy
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from stemfirst import calls

EXAMPLES = Path(__file__).parents[2] / "examples"
LOCAL = ("quickstart", "agent_loop", "rag", "many_tenants", "map_documents", "existing_code")
HOSTED = ("openai_hosted", "anthropic_hosted", "langchain_app")


def run(name: str, *arguments: str) -> None:
    main = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]
    done = main(*arguments)
    if inspect.iscoroutine(done):
        asyncio.run(done)


def test_every_example_is_run_here() -> None:
    found = {path.stem for path in EXAMPLES.glob("*.py")}
    assert found == {*LOCAL, *HOSTED, "test_prompts"}
    readme = (EXAMPLES / "README.md").read_text("utf-8")
    assert all(f"`{name}.py`" in readme for name in found)


@pytest.mark.needs_server
@pytest.mark.parametrize("name", LOCAL)
def test_an_example_runs_and_saves(name, server, monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    run(name, *([str(tmp_path / "calls.jsonl")] if name == "existing_code" else []))
    output = capsys.readouterr().out
    assert "cached tokens" in output
    line = next(line for line in output.splitlines() if line.strip().startswith("cached tokens"))
    assert int(line.split()[2].replace(",", "")) > 0, output
    # They are written as they should be: nothing in them can be mended.
    assert "read again" not in output
    assert "stemfirst fix" not in output


@pytest.mark.needs_server
def test_examples_say_nothing_false_where_others_have_been_before(
    server, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", f"sk-{uuid.uuid4()}")
    for name in ("quickstart", "agent_loop", "many_tenants"):  # they begin alike
        calls._sent_before.clear()  # as a new process has it
        run(name)
    assert "read again" not in capsys.readouterr().out


def test_openais_hosted_shape_is_sent_with_breakpoints(peer, monkeypatch, capsys) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", peer.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    run("openai_hosted")
    first, second = peer.posts[0].body["messages"][0]["content"]
    assert first["prompt_cache_breakpoint"] == {"mode": "explicit", "ttl": "12h"}
    assert second["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert "3,072" in capsys.readouterr().out


def test_anthropics_hosted_shape_is_sent_with_breakpoints(peer, monkeypatch, capsys) -> None:
    pytest.importorskip("anthropic", reason="pip install anthropic")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", peer.url.removesuffix("/v1"))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    run("anthropic_hosted")
    first, second = peer.posts[0].body["system"]
    assert first["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert second["cache_control"] == {"type": "ephemeral"}
    assert "3,072" in capsys.readouterr().out


def test_langchain_sends_the_prompt_and_its_calls_are_counted(peer, monkeypatch, capsys) -> None:
    pytest.importorskip("langchain_openai", reason="pip install langchain-openai")
    monkeypatch.setenv("OPENAI_BASE_URL", peer.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    run("langchain_app")
    sent = peer.posts[0].body["messages"]
    assert [message["role"] for message in sent] == ["system", "user"]
    assert "3,072" in capsys.readouterr().out


@pytest.mark.needs_server
def test_the_example_of_tests_passes(pytestconfig) -> None:
    arguments = ["-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, str(EXAMPLES / "test_prompts.py")],
        capture_output=True,
        text=True,
        cwd=pytestconfig.rootpath,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_the_examples_are_typed_as_a_user_would_type_them(pytestconfig) -> None:
    pytest.importorskip("mypy", reason="pip install mypy")
    has_langchain = importlib.util.find_spec("langchain_openai") is not None
    files = [
        str(path)
        for path in sorted([*EXAMPLES.glob("*.py"), *EXAMPLES.glob("support_agent/*.py")])
        if has_langchain or path.stem != "langchain_app"
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *files],
        capture_output=True,
        text=True,
        cwd=pytestconfig.rootpath,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
