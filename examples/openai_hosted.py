"""OpenAI's hosted models: breakpoints, a lifetime, and what the cache cost and saved."""

from stemfirst import Client, Prompt, hole, ledger, request, static, tenant

MODEL = "gpt-5.6-sol"

POLICY = Prompt(
    static("You are the support agent of a shop for outdoor gear. " + "Be kind and brief. " * 400),
    tenant("The customer is in the club.", name="club"),
    request(hole("question")),
)


def main() -> None:
    with Client() as client, ledger("hosted") as book:
        for question in ("Where is my parcel?", "Can I send it back?"):
            # `ask` marks the ends of the static and tenant text by itself on api.openai.com. For
            # another lifetime, or a client of your own, render and send:
            shape = POLICY.render(question=question).openai(model=MODEL, ttl={"static": "12h"})
            completion = client.chat.completions.create(model=MODEL, **shape)
            print(completion.choices[0].message.content)
    print(book)


if __name__ == "__main__":
    main()
