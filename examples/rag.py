"""Retrieval: what was looked up for a question stands behind everything that is stable."""

from collections.abc import Sequence

from stemfirst import Client, Prompt, ledger, request, static

HELP_CENTRE = {
    "return": "Articles can be sent back within 30 days. The label is in the parcel.",
    "parcel": "A parcel takes two to four days. The carrier sends a message on the day before.",
    "warranty": "Tents and jackets have a warranty of five years.",
}

POLICY = Prompt(
    static("Answer from the help centre only, and name the article. " + "Be brief. " * 80)
)


def retrieve(question: str) -> Sequence[str]:
    """Return the articles that share a word with the question."""
    words = question.lower().split()
    return [text for word, text in HELP_CENTRE.items() if any(word in item for item in words)]


def ask(client: Client, question: str) -> str:
    """Return the answer to a question, from what the help centre says."""
    # Above the policy, the snippets would make every question read the policy again.
    snippets = "\n".join(f"- {text}" for text in retrieve(question))
    prompt = POLICY.then(request(f"Help centre:\n{snippets}", name="snippets"), request(question))
    return client.ask(prompt, max_tokens=16).text


def main() -> None:
    with Client() as client, ledger("rag") as book:
        for question in ("How do I return a tent?", "Where is my parcel?", "Is there a warranty?"):
            ask(client, question)
    print(book)


if __name__ == "__main__":
    main()
