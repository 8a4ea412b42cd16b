"""A support agent for an online shop: one loop, five tools, a policy, a memory."""

import json
from datetime import UTC, datetime
from typing import Any

from openai import OpenAI
from prompts import SYSTEM_PROMPT
from tools import TOOL_NAMES, TOOLS

MAX_STEPS = 4


class SupportAgent:
    """Answers one customer. Keeps the conversation; calls tools until there is an answer."""

    def __init__(self, client: OpenAI, model: str, shop: Any, customer: dict[str, str]) -> None:
        self.client = client
        self.model = model
        self.shop = shop
        self.customer = customer
        self.history: list[Any] = []

    def system_message(self, question: str) -> Any:
        """Tell the model the time, the customer, what the help centre knows, and the policy."""
        articles = self.shop.search_articles(question)
        content = SYSTEM_PROMPT.format(
            now=datetime.now(UTC).isoformat(),
            profile=f"{self.customer['name']}, {self.customer['club']}, {self.customer['country']}",
            tool_names=", ".join(TOOL_NAMES),
            articles="\n".join(f"- {article}" for article in articles),
        )
        return {"role": "system", "content": content}

    def answer(self, question: str) -> str:
        """Return the agent's answer to the customer's next message."""
        self.history.append({"role": "user", "content": question})
        for _ in range(MAX_STEPS):
            completion = self.client.chat.completions.create(
                model=self.model,
                messages=[self.system_message(question), *self.history],
                tools=TOOLS,
                max_tokens=24,
            )
            reply = completion.choices[0].message
            self.history.append(reply.model_dump(exclude_none=True))
            if not reply.tool_calls:
                return reply.content or ""
            for call in reply.tool_calls:
                assert call.type == "function", "only functions are offered"
                result = self.shop.run_tool(call.function.name, json.loads(call.function.arguments))
                self.history.append(
                    {"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)}
                )
        return "I am handing you over to a colleague."
