"""litellm: the real package sends what a prompt rendered for it says, and its answers are read.

It wants versions of its own of packages that we use too, so it runs in an environment of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import venv
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
import litellm
from stemfirst import Prompt, ledger, request, savings_of, static, tenant

url = sys.argv[1]
prompt = Prompt(static("Be kind. " * 900, name="policy"), tenant("Plan: gold"), request("Where?"))
rendered = prompt.render()
book = ledger()
for model in ("anthropic/claude-opus-4-8", "openai/gpt-4o"):
    base = url.removesuffix("/v1") if model.startswith("anthropic") else url
    answer = litellm.completion(
        model=model, api_base=base, api_key="sk", max_tokens=8, **rendered.litellm(model=model)
    )
    book.add(savings_of(answer))
print(json.dumps([book.requests, book.cached_tokens, book.prompt_tokens]))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that has litellm; another environment's, where a variable names one."""
    given = os.environ.get("STEMFIRST_LITELLM_PYTHON")
    if given:
        return given
    folder = tmp_path_factory.mktemp("litellm")
    venv.create(folder, with_pip=True)
    made = str(folder / "bin" / "python")
    wanted = ["litellm", "xxhash", "rfc8785", "click"]
    install = [made, "-m", "pip", "install", "--quiet", *wanted]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"litellm cannot be installed here: {done.stderr.strip()[-200:]}")
    return made


@pytest.mark.long
def test_litellm_sends_the_marks_and_reports_what_was_cached(peer, python) -> None:
    sdk = Path(__file__).parents[2] / "sdk"
    environment = {**os.environ, "PYTHONPATH": str(sdk), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        [python, "-c", SCRIPT, peer.url],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    requests, cached, prompt = json.loads(done.stdout.splitlines()[-1])
    assert (requests, cached) == (2, 2 * 1_536)
    assert prompt == 2 * 2_000
    claude, openais = peer.posts
    assert claude.path == "/v1/messages"
    policy, plan = claude.body["system"]
    assert policy["cache_control"] == plan["cache_control"] == {"type": "ephemeral"}
    assert openais.path == "/v1/chat/completions"
    assert openais.body["prompt_cache_key"]
