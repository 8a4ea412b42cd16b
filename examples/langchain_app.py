"""LangChain: a prompt by tiers as messages, and a callback that counts what the cache did."""

from langchain_openai import ChatOpenAI
from stemfirst import Prompt, hole, ledger, request, static
from stemfirst.langchain import SavingsHandler

POLICY = Prompt(
    static("You are the support agent of a shop for outdoor gear. " + "Be kind and brief. " * 60),
    request(hole("question")),
)


def main() -> None:
    model = ChatOpenAI(model="gpt-4o", max_retries=0)
    with ledger("langchain") as book:
        for question in ("Where is my parcel?", "Can I send it back?"):
            messages = POLICY.render(question=question).messages
            reply = model.invoke(messages, config={"callbacks": [SavingsHandler()]})
            print(reply.content)
    print(book)


if __name__ == "__main__":
    main()
