"""Look for source that makes `stemfirst check` or `fix` fail with anything but a clear error.

    python benchmarks/fuzz_lint.py files FOLDER ... [--limit N]
    python benchmarks/fuzz_lint.py fuzz --minutes N [--seed N] [--real FOLDER ...]

`files` judges every Python file below the folders: each by itself and whatever it holds, tests
too. `fuzz` judges programs that hypothesmith generates, with prompts put into them, and real files
that were mutated. Each round has a seed of its own that is printed with what it finds: `--seed N
--rounds 1` makes the same round again. A failure is any exception but those of
`stemfirst_lint.errors`, and any source that takes more than a minute of processor time. What fails
is written to --out. The last line sums up: files or sources, failures.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import random
import re
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

from stemfirst_lint.check import check_paths
from stemfirst_lint.config import Config
from stemfirst_lint.errors import LintError
from stemfirst_lint.fix.apply import fix_paths
from stemfirst_lint.model import Applicability
from stemfirst_lint.output.formats import FORMATS, rendered
from stemfirst_lint.source import OVERLAY

PATIENCE_S = 60
ROUND = 40
"""Sources of one kind that one seed makes."""

SNIPPETS = (
    "def ask(client, question, history):\n    return client.chat.completions.create(messages=[\n"
    '        {"role": "system", "content": f"It is {datetime.now()}. You are terse. {QUESTION}"},\n'
    '        *history, {"role": "user", "content": question}])\n',
    'PROMPT = """You are {name}. Answer politely. {context}\nRules: never promise.\n"""\n'
    "def render(name, docs):\n    return llm(PROMPT.format(name=name, context=docs))\n",
    'SYSTEM_PROMPT = "You are " + str({1, "a"}) + " and " + role + ". Respond with JSON."\n',
    "def build_prompt(parts, user):\n    prompt = ''\n    for i, part in enumerate(parts):\n"
    '        prompt += f"{i}. {part}\\n"\n    parts.append("You are")\n'
    '    prompt = prompt.replace("{user}", user)\n    return "\\n".join([prompt, *parts])\n',
    'agent = Agent(instructions=f"You must obey {USER}. " f"{A or B!r:>{w}} Always.",\n'
    "              tools=[t for t in {a, b}])\n",
    'template = PromptTemplate.from_template("Q: {question}\\nYou are {{x}} {0} {a.b[c]}")\n',
    'system = Template("You are $who, $$5 ${what}").substitute(**values)\n',
    'text = Template("{% for d in docs %}{{ d }}{% endfor %} You are {{ x|e }}").render(x=y)\n',
    'prompt = "You are %(role)s. %s 100%%" % {"role": USER, **docs}\nllm(prompt % (question, 1))\n',
    "def work(client, messages, docs):\n    while True:\n        sent = copy.deepcopy(messages)\n"
    '        sent[-1]["content"] += f"{docs}"\n'
    '        reply = client.messages.create(messages=sent, system=PROMPT, model="claude-3")\n'
    '        messages.append({"role": "assistant", "content": reply, "id": str(uuid4())})\n',
    "parts = []\nfor future in as_completed(docs):\n    parts.append(future.result())\n"
    'prompt = "You are: " + json.dumps(http.get(USER).json()) + "\\n".join(parts)\nllm(prompt)\n',
    'PROMPTS = yaml.safe_load(open("p.yaml"))\nllm(PROMPTS[USER]["a"].format(question=question))\n',
    "tokenizer.chat_template = \"{% for m in messages %}{{ strftime_now('%H') }}{% endfor %}\"\n",
    "text = f\"You are. {'Cite the documents.' if docs else ''} {USER}\"\nllm(text)\n",
)
WORDS = (
    "f'", 'f"""', "{", "}", "{{", "}}", "{}", "{0}", "{a!r:{b}}", "\\N{DASH}", "\\", "\n", "\t",
    "\x00", "\u2028", "\ud7ff", "𝒳", "\ufeff", "(", ")", "[", "]", "lambda x: ", "await ", "*",
    ".format(", ".replace(", " % ", " + ", "+= ", "prompt", "messages", "self", "role", "content",
    "yield ", "match x:\n", "case _:\n", ":=", "async ", "del ", "global x\n", "# stemfirst:",
    "# coding: utf-7\n", "# stemfirst: tier[x]=", "'''", "nonlocal x\n", "%(a)s", "$x", "{% if %}",
)  # fmt: skip


class TooLongError(Exception):
    """A source took more than PATIENCE_S seconds of processor time."""


def _stop(*_: object) -> None:
    raise TooLongError(f"took more than {PATIENCE_S} s of the processor")


class Trial:
    """Judges sources and remembers what failed; nothing is written but what failed."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.sources = 0
        self.findings = 0
        self.unreadable = 0
        self.failures: collections.Counter[str] = collections.Counter()
        signal.signal(signal.SIGPROF, _stop)

    def judge(self, data: bytes, what: str, *, fix: bool = True) -> None:
        """Check one source as a file of its own; write it down if that fails."""
        self.sources += 1
        path = str((self.out / "app.py").resolve())
        OVERLAY.clear()
        OVERLAY[path] = data
        config = Config(root=str(self.out), min_gain=0)
        signal.setitimer(signal.ITIMER_PROF, PATIENCE_S)
        try:
            report = check_paths((path,), config)
            self.findings += len(report.findings)
            self.unreadable += bool(report.failures)
            for name in FORMATS:
                rendered(report, name)
            if fix and any(found.applicability is not None for found in report.findings):
                fix_paths((path,), config, allow=Applicability.RISKY, write=False)
        except LintError:
            pass  # a clear error is an answer
        except Exception as error:  # noqa: BLE001 that is what we are looking for
            self._failed(error, data, what)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            OVERLAY.clear()

    def _failed(self, error: Exception, data: bytes, what: str) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        last = frames[-1] if frames else None
        ours = [frame for frame in frames if "stemfirst_lint" in frame.filename]
        at = ours[-1] if ours else last
        where = f"{Path(at.filename).name}:{at.lineno}" if at is not None else "?"
        kind = f"{type(error).__name__} at {where}"
        self.failures[kind] += 1
        print(f"FAILED {what}: {kind}: {str(error)[:200]}", flush=True)
        if self.failures[kind] <= 3:
            name = hashlib.sha256(data).hexdigest()[:12]
            (self.out / f"{name}.py").write_bytes(data)
            text = "".join(traceback.format_exception(error))
            (self.out / f"{name}.txt").write_text(f"{what}\n{text[-20_000:]}", errors="replace")

    def summary(self) -> dict[str, object]:
        """Return what was judged so far, and what came of it."""
        return {
            "sources": self.sources, "findings": self.findings, "unreadable": self.unreadable,
            "failures": sum(self.failures.values()), "kinds": dict(self.failures),
        }  # fmt: skip


def python_files(folders: list[Path]) -> list[Path]:
    return sorted({path for folder in folders for path in folder.rglob("*.py") if path.is_file()})


def judge_files(trial: Trial, folders: list[Path], limit: int | None) -> None:
    """Judge files as they are; a comment at the end makes each look as if it held a prompt."""
    seen: set[bytes] = set()
    for path in python_files(folders)[:limit]:
        data = path.read_bytes()
        digest = hashlib.sha256(data).digest()
        if digest in seen:
            continue
        seen.add(digest)
        trial.judge(data + b"\n# You are prompt\n", str(path))
        if trial.sources % 2000 == 0:
            print(json.dumps(trial.summary()), flush=True)


def mutated(random_: random.Random, data: bytes, other: bytes) -> bytes:
    """Return a file's bytes with one to six changes, and often a prompt somewhere in it."""
    text = data.decode("utf-8", "replace")
    lines = text.split("\n")
    if len(lines) > 400:  # a part is enough, and quicker
        start = random_.randrange(len(lines) - 400)
        lines = lines[start : start + 400]
    if random_.random() < 0.7:
        indent = "    " * random_.choice((0, 0, 1, 2))
        snippet = random_.choice(SNIPPETS)
        names = re.findall(r"[A-Za-z_]\w{2,}", text) or ["x"]
        for word in ("QUESTION", "USER", "question", "docs"):
            if random_.random() < 0.5:
                snippet = snippet.replace(word, random_.choice(names))
        at = random_.randrange(len(lines) + 1)
        lines[at:at] = [indent + line for line in snippet.split("\n")]
    for _ in range(random_.randrange(1, 7)):
        _change(random_, lines, other)
    out = "\n".join(lines).encode("utf-8", "surrogatepass")
    if random_.random() < 0.05 and out:
        at = random_.randrange(len(out))
        out = out[:at] + bytes([random_.randrange(256)]) + out[at + 1 :]
    return out.replace(b"\n", b"\r\n") if random_.random() < 0.05 else out


def _change(random_: random.Random, lines: list[str], other: bytes) -> None:
    at = random_.randrange(len(lines)) if lines else 0
    match random_.randrange(8):
        case 0 if len(lines) > 1:
            del lines[at]
        case 1 if lines:
            lines.insert(random_.randrange(len(lines)), lines[at])
        case 2 if lines:
            line = lines[at]
            cut = random_.randrange(len(line) + 1)
            lines[at] = line[:cut] + random_.choice(WORDS) + line[cut:]
        case 3 if lines:
            names = re.findall(r"\w+", lines[at])
            if names:
                word = random_.choice(("prompt", "messages", "system", "format", "join", "self"))
                lines[at] = lines[at].replace(random_.choice(names), word)
        case 4 if lines:
            lines[at] = re.sub(r'(?<![\w\'"])(["\'])', r"f\1", lines[at], count=1)
        case 5 if lines:
            lines[at] = re.sub(r"\b(\w+)\b", r"{\1}", lines[at], count=1)
        case 6:
            words = other.decode("utf-8", "replace").split("\n")
            start = random_.randrange(len(words))
            lines[at:at] = words[start : start + random_.randrange(1, 30)]
        case 7 if lines:
            depth = random_.choice((3, 30, 300))
            opening, closing = random_.choice((("(", ")"), ("[", "]"), ("f(", ")"), ("not ", "")))
            lines[at] += f"\nprompt = {opening * depth}1{closing * depth}"


def generated(seed: int, trial: Trial) -> None:
    """Judge programs that hypothesmith makes from one seed."""
    import hypothesmith
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    sources = st.one_of(
        hypothesmith.from_node(),
        hypothesmith.from_grammar(),
    )

    def judge(text: str) -> None:
        trial.judge(text.encode("utf-8", "surrogatepass"), f"seed {seed}, generated")

    @seeded(seed)
    @settings(max_examples=ROUND, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(source=sources, snippet=st.sampled_from(SNIPPETS), joint=st.sampled_from((0, 1, 2)))
    def run(source: str, snippet: str, joint: int) -> None:
        if joint == 0:
            judge(f"{snippet}\n{source}\n{snippet}")
        elif joint == 1:
            body = "\n".join("    " + line for line in source.split("\n"))
            judge(f"def ask(client, prompt, messages):\n{body}\n    return prompt\n{snippet}")
        else:
            one_line = source.strip().split("\n")[-1]
            judge(f'prompt = f"You are {{({one_line})}} and {{prompt}}. Always."\nllm(prompt)\n')

    run()


def fuzz(trial: Trial, options: argparse.Namespace) -> Iterator[int]:
    """Yield the seed of each finished round until the time is over."""
    files = python_files(options.real)
    until_s = time.monotonic() + options.minutes * 60
    for number in range(options.rounds):
        if time.monotonic() > until_s:
            return
        seed = options.seed + number
        random_ = random.Random(seed)
        for index in range(ROUND if files else 0):
            one, two = random_.choice(files).read_bytes(), random_.choice(files).read_bytes()
            trial.judge(mutated(random_, one, two), f"seed {seed}, mutated {index}")
        generated(seed, trial)
        yield seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    files = commands.add_parser("files")
    files.add_argument("folders", nargs="+", type=Path)
    files.add_argument("--limit", type=int)
    fuzzing = commands.add_parser("fuzz")
    fuzzing.add_argument("--minutes", type=float, default=1)
    fuzzing.add_argument("--seed", type=int, default=20261123)
    fuzzing.add_argument("--rounds", type=int, default=1 << 30)
    fuzzing.add_argument("--real", type=Path, nargs="*", default=[])
    for each in (files, fuzzing):
        each.add_argument("--out", type=Path, default=Path("fuzz-failures"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")  # invalid escapes in what is generated
    trial = Trial(options.out)
    started_s = time.monotonic()
    if options.command == "files":
        judge_files(trial, options.folders, options.limit)
    else:
        last = options.seed
        for last in fuzz(trial, options):
            if (last - options.seed) % 10 == 9:
                summary = {**trial.summary(), "processor_minutes": time.process_time() / 60}
                print(last, json.dumps(summary), flush=True)
        print(f"seeds {options.seed} to {last}")
    minutes = (time.monotonic() - started_s) / 60
    took = {"minutes": minutes, "processor_minutes": time.process_time() / 60}
    print(json.dumps({**trial.summary(), **took}))
    sys.exit(1 if trial.failures else 0)


if __name__ == "__main__":
    main()
