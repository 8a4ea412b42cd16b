"""Ask twice; the second time the policy comes from the cache."""

from stemfirst import Client, Prompt, hole, ledger, request, static, tenant

POLICY = Prompt(
    static("You are the support agent of a shop for outdoor gear. " + "Be kind and brief. " * 60),
    tenant(hole("plan")),
    request(hole("question")),
)


def main() -> None:
    client = Client()  # OPENAI_BASE_URL and OPENAI_API_KEY, as in the openai package
    with ledger("quickstart") as book:
        for question in ("Where is my parcel?", "Can I send it back?"):
            answer = client.ask(POLICY, plan="Plan: gold", question=question, max_tokens=16)
            print(answer.savings)
    print(book)


if __name__ == "__main__":
    main()
