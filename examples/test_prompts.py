"""Tests of prompts, with the pytest plugin that stemfirst brings."""

from stemfirst import Client, Prompt, hole, request, static, tenant
from stemfirst.server_process import ServerProcess
from stemfirst.testing import assert_cache_hit, assert_prefix_stable

POLICY = Prompt(
    static("You are the support agent of a shop for outdoor gear. " + "Be kind and brief. " * 60),
    tenant(hole("plan")),
    request(hole("question")),
)


def test_the_policy_is_the_same_for_everybody() -> None:
    assert_prefix_stable(
        POLICY,
        vary=[{"plan": "gold", "question": "Where?"}, {"plan": "free", "question": "When?"}],
    )


def test_a_second_question_finds_the_policy(stemfirst_server: ServerProcess) -> None:
    with Client(base_url=stemfirst_server.base_url, api_key="none") as client:
        client.ask(POLICY, plan="gold", question="Where?", max_tokens=1)
        answer = client.ask(POLICY, plan="gold", question="When?", max_tokens=1)
    assert_cache_hit(answer, at_least=0.8)
