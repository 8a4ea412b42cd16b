"""Prompts are found in code that is written as each framework wants it, and only faults are."""

from collections.abc import Callable
from pathlib import Path

import pytest
from stemfirst_lint.check import Report, check_paths
from stemfirst_lint.config import Config

Check = Callable[..., Report]

RULES = "You must answer politely. Never promise what the given policy does not grant. " * 16
NOW = "from datetime import datetime\n\n"

FAULTS = {
    "DSPy, instructions of a signature": (
        "SF101",
        NOW + "import dspy\n\n"
        "def answerer():\n"
        '    return dspy.Signature("question -> answer", f"Now: {datetime.now()}. RULES")\n',
    ),
    "DSPy, instructions by name": (
        "SF101",
        NOW + "import dspy\n\n"
        "def answerer():\n    return dspy.Signature(\n"
        '        "question -> answer", instructions=f"At {datetime.now()}. RULES")\n',
    ),
    "DSPy, instructions put in later": (
        "SF101",
        NOW + "import dspy\n\nclass QA(dspy.Signature):\n    question: str = dspy.InputField()\n\n"
        "def answerer():\n"
        '    return QA.with_instructions(f"At {datetime.now()}. RULES")\n',
    ),
    "pydantic-ai, instructions of an agent": (
        "SF101",
        NOW + "from pydantic_ai import Agent\n\n"
        "def build():\n"
        '    return Agent("openai:gpt-5", instructions=f"It is {datetime.now()}. RULES")\n',
    ),
    "pydantic-ai, a function that gives instructions": (
        "SF101",
        NOW + "from pydantic_ai import Agent, RunContext\n\n"
        'agent = Agent("openai:gpt-5", deps_type=str)\n\n'
        "@agent.instructions\n"
        "def rules(ctx: RunContext[str]) -> str:\n"
        '    return f"It is {datetime.now()}. RULES"\n',
    ),
    "pydantic-ai, a clock before the agent's tools": (
        "SF101",
        NOW + "from pydantic_ai import Agent\n\n"
        'agent = Agent("openai:gpt-5", system_prompt="Be terse.")\n\n'
        "@agent.tool_plain\n"
        "def search(text: str) -> str:\n    return text\n\n"
        "@agent.system_prompt\n"
        "def clock() -> str:\n"
        '    return f"It is {datetime.now()}."\n',
    ),
    "pydantic-ai, a clock before what another function says": (
        "SF101",
        NOW + "from pydantic_ai import Agent\n\n"
        'agent = Agent("openai:gpt-5")\n\n'
        "@agent.system_prompt\n"
        "def clock() -> str:\n"
        '    return f"It is {datetime.now()}."\n\n'
        "@agent.system_prompt\n"
        'def rules() -> str:\n    return "RULES"\n',
    ),
    "pydantic-ai, a user among its dependencies": (
        "SF104",
        "from pydantic_ai import Agent, RunContext\n\n"
        'agent = Agent("openai:gpt-5")\n\n'
        "@agent.instructions\n"
        "def rules(ctx: RunContext) -> str:\n"
        '    return f"You serve {ctx.deps.user_name}. RULES"\n',
    ),
    "CrewAI, an agent": (
        "SF101",
        NOW + "from crewai import Agent\n\n"
        "def build():\n"
        '    return Agent(role="r", goal="g", backstory=f"Born {datetime.now()}. RULES")\n',
    ),
    "CrewAI, a task": (
        "SF301",
        "from crewai import Task\n\n"
        "def build(question):\n"
        '    return Task(description=f"{question}. RULES", expected_output="a list")\n',
    ),
    "AutoGen, an assistant": (
        "SF101",
        NOW + "from autogen_agentchat.agents import AssistantAgent\n\n"
        "def build(client):\n"
        '    return AssistantAgent("a", client, system_message=f"At {datetime.now()}. RULES")\n',
    ),
    "AutoGen, a message class": (
        "SF301",
        "from autogen_core.models import UserMessage\n\n"
        "async def go(client, question):\n"
        '    await client.create([UserMessage(content=f"{question} RULES", source="user")])\n',
    ),
    "smolagents, templates written out": (
        "SF301",
        "from smolagents import CodeAgent\n\n"
        "def build(tools, model):\n"
        "    return CodeAgent(tools=tools, model=model, prompt_templates={\n"
        '        "system_prompt": "Be terse.", "planning": {\n'
        '            "initial_plan": "Task: {{task}}\\nRULES"}})\n',
    ),
    "llama_index, partial_format": (
        "SF101",
        NOW + "from llama_index.core import PromptTemplate\n\n"
        "def build():\n"
        '    qa = PromptTemplate("Now: {stamp}. RULES {query_str}")\n'
        "    return qa.partial_format(stamp=datetime.now())\n",
    ),
    "llama_index, a rich template": (
        "SF301",
        "from llama_index.core.prompts import RichPromptTemplate\n\n"
        'QA = RichPromptTemplate("{{ context_str }}\\nRULES\\n{{ query_str }}")\n',
    ),
    "LangChain, a clock as partial value": (
        "SF101",
        NOW + "from langchain_core.prompts import PromptTemplate\n\n"
        'qa = PromptTemplate(template="{stamp}. RULES {question}",\n'
        '    input_variables=["question"], partial_variables={"stamp": lambda: datetime.now()})\n',
    ),
    "LangChain, a function as partial value": (
        "SF101",
        NOW + "from langchain_core.prompts import PromptTemplate\n\n"
        'def stamp():\n    return datetime.now().strftime("%H:%M")\n\n'
        'qa = PromptTemplate.from_template("{stamp}. RULES {question}").partial(stamp=stamp)\n',
    ),
    "LangChain, a clock's own function as partial value": (
        "SF101",
        NOW + "from langchain_core.prompts import PromptTemplate\n\n"
        'qa = PromptTemplate.from_template("{stamp}. RULES").partial(stamp=datetime.now)\n',
    ),
    "LangChain, retrieved text before the conversation": (
        "SF107",
        "from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder\n\n"
        "chat = ChatPromptTemplate.from_messages([\n"
        '    ("system", "Be terse. Known: {context}"), MessagesPlaceholder("chat_history"),\n'
        '    ("human", "{question}")])\n',
    ),
}

SILENT = {
    "DSPy, a signature that stays": (
        "import dspy\n\nclass QA(dspy.Signature):\n"
        '    """RULES"""\n\n'
        '    question: str = dspy.InputField(desc="what is asked")\n'
        "    answer: str = dspy.OutputField()\n\n"
        "def go(question):\n    return dspy.Predict(QA)(question=question)\n"
    ),
    "pydantic-ai, instructions that stay": (
        "from pydantic_ai import Agent\n\n"
        'agent = Agent("openai:gpt-5", instructions="RULES", tools=[len])\n\n'
        "def go(question):\n    return agent.run_sync(question)\n"
    ),
    "pydantic-ai, the question behind a history": (
        "from pydantic_ai import Agent\n\n"
        'agent = Agent("openai:gpt-5")\n\n'
        "def go(question, message_history):\n"
        '    return agent.run_sync(f"{question} RULES", message_history=message_history)\n'
    ),
    "CrewAI, text that stays": (
        "from crewai import Agent, Task\n\n"
        'writer = Agent(role="writer", goal="write", backstory="RULES")\n'
        'task = Task(description="RULES", expected_output="text", agent=writer)\n'
    ),
    "LangChain, a partial value that stays": (
        "from langchain_core.prompts import PromptTemplate\n\n"
        'def shop():\n    return "tea"\n\n'
        'qa = PromptTemplate.from_template("{question}: RULES").partial(question=shop)\n'
    ),
    "LangChain, a prompt of the hub": (
        "from langchain import hub\n\n"
        "def go(llm, question):\n"
        '    prompt = hub.pull("rlm/rag-prompt")\n'
        "    return (prompt | llm).invoke({'question': question})\n"
    ),
    "smolagents, templates that stay in front": (
        "from smolagents import CodeAgent\n\n"
        "def build(tools, model):\n"
        "    return CodeAgent(tools=tools, model=model, prompt_templates={\n"
        '        "system_prompt": "RULES",\n'
        '        "planning": {"initial_plan": "RULES\\nTask: {{task}}"}})\n'
    ),
}


@pytest.mark.parametrize("title", FAULTS)
def test_a_fault_is_found_in_the_frameworks_own_form(check: Check, title: str) -> None:
    code, source = FAULTS[title]
    found = check(source.replace("RULES", RULES)).findings
    assert [finding.code for finding in found] == [code]


@pytest.mark.parametrize("title", SILENT)
def test_what_is_written_well_is_left_alone(check: Check, title: str) -> None:
    assert check(SILENT[title].replace("RULES", RULES)).findings == ()


CREW = (
    "from crewai import Agent, Crew, Task\nfrom crewai.project import CrewBase, agent, task\n\n"
    "@CrewBase\nclass Research:\n"
    '    """A crew."""\n\n'
    '    agents_config = "config/agents.yaml"\n    tasks_config = "config/tasks.yaml"\n\n'
    "    @agent\n    def researcher(self) -> Agent:\n"
    '        return Agent(config=self.agents_config["researcher"])\n\n'
    "def run(question, topic):\n"
    "    Research().crew().kickoff(inputs={KIND})\n"
)
AGENTS = "researcher:\n  role: >\n    {topic} researcher\n  goal: >\n    Find out.\n"
TASKS = "search:\n  description: >\n    Asked: {topic}.\n    RULES\n  agent: researcher\n"


@pytest.mark.parametrize(
    ("inputs", "codes"),
    [
        ('{"topic": question}', ["SF301"]),
        ('{"topic": "tea"}', []),
        ('{"topic": load()}', ["SF301"]),
    ],
    ids=["what was asked", "a constant", "by the field's name"],
)
def test_a_crews_files_are_judged_by_what_it_is_started_with(
    inputs: str, codes: list[str], tmp_path: Path
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "agents.yaml").write_text(AGENTS)
    (tmp_path / "config" / "tasks.yaml").write_text(TASKS.replace("RULES", RULES))
    (tmp_path / "crew.py").write_text(CREW.replace("{KIND}", inputs))
    report = check_paths((str(tmp_path),), Config(root=str(tmp_path)))
    assert [finding.code for finding in report.findings] == codes
    for finding in report.findings:
        assert finding.location.path.endswith("tasks.yaml")
        assert (finding.location.line, finding.location.column) == (3, 12)


def test_smolagents_templates_in_a_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text(
        "system_prompt: |-\n  Be terse.\nplanning:\n  initial_plan: |-\n"
        "    Task: {{task}}\n    " + RULES + "\n"
    )
    (tmp_path / "app.py").write_text(
        "import importlib.resources, yaml\nfrom smolagents import CodeAgent\n\n"
        "def build(tools, model, prompt_templates=None):\n"
        "    prompt_templates = prompt_templates or yaml.safe_load(\n"
        '        importlib.resources.files("mine").joinpath("agent.yaml").read_text())\n'
        "    return CodeAgent(tools=tools, model=model, prompt_templates=prompt_templates)\n"
    )
    report = check_paths((str(tmp_path),), Config(root=str(tmp_path)))
    assert [(f.code, f.location.line) for f in report.findings] == [("SF301", 5)]


def test_a_field_that_is_named_for_a_user_is_an_identity_as_a_parameter_is(check: Check) -> None:
    report = check(
        "from langchain_core.prompts import ChatPromptTemplate\n"
        'prompt = ChatPromptTemplate.from_messages([("system", "For {user_name}. LONG_TEXT")])\n'
    )
    assert [finding.code for finding in report.findings] == ["SF104"]


def test_what_an_agent_asks_for_first_stands_first(check: Check) -> None:
    report = check(
        "from datetime import datetime\nfrom pydantic_ai import Agent\n"
        'agent = Agent("openai:gpt-5")\n'
        '@agent.system_prompt\ndef rules() -> str:\n    return "LONG_TEXT"\n'
        '@agent.system_prompt\ndef clock() -> str:\n    return f"It is {datetime.now()}."\n'
    )
    assert report.findings == ()
