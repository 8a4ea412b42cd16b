"""What the SDK needs: the client wants the openai package, and all else does without it."""

import subprocess
import sys


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_openai_the_client_says_what_to_install():
    output = run(
        "import sys; sys.modules['openai'] = None\n"
        "import stemfirst\n"
        "try: stemfirst.Client\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    assert 'pip install "stemfirst[client]"' in output


def test_prompts_savings_and_ledgers_load_no_client():
    output = run(
        "import sys\n"
        "from stemfirst import Prompt, ledger, savings_of, static\n"
        "Prompt(static('a')).render().anthropic()\n"
        "with ledger() as book: book.add(savings_of({'usage': {'prompt_tokens': 1}}))\n"
        "str(book)\n"
        "heavy = {'openai', 'pydantic', 'httpx2', 'asyncio', 'tiktoken', 'libcst', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert output.strip() == "[]"


def test_what_needs_no_client_loads_none():
    output = run(
        "import sys\n"
        "from stemfirst import Conversation, JinjaPrompt, Prompt, instrument, record, static\n"
        "from stemfirst import order_for_sharing, process_ledger, sending\n"
        "import stemfirst.testing, stemfirst.pytest_plugin, stemfirst.explain\n"
        "Prompt(static('a')).render().openai(model='gpt-5.6-sol')\n"
        "heavy = {'openai', 'anthropic', 'pydantic', 'httpx2', 'jinja2', 'tiktoken', 'libcst'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert output.strip() == "[]"


def test_the_ledger_is_a_function_whatever_was_imported_before():
    assert "function ledger" in run(
        "import stemfirst.ledgers, stemfirst.client; from stemfirst import ledger; print(ledger)"
    )
