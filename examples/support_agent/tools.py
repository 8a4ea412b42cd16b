"""The tools that the agent may call, and what each returns in the recorded conversations."""

from typing import Any

STRING = {"type": "string"}


def _tool(name: str, description: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": properties,
                "required": list(properties),
            },
        },
    }


TOOLS: list[Any] = [
    _tool(
        "look_up_order",
        "Return status, items, prices, tracking scans and notes of one order.",
        order_number={**STRING, "description": "Seven digits, as in the confirmation mail."},
    ),
    _tool(
        "check_stock",
        "Return how many pieces of an item are in the warehouse, by size and colour.",
        item={**STRING, "description": "The item's number, or its name as the customer says it."},
    ),
    _tool(
        "create_return",
        "Create a return for items of an order and send the label by e-mail.",
        order_number={**STRING, "description": "Seven digits."},
        items={"type": "array", "items": STRING, "description": "Numbers of the items."},
        reason={**STRING, "enum": ["unwanted", "too small", "too large", "faulty", "wrong item"]},
    ),
    _tool(
        "create_refund",
        "Refund an amount to the way the money came. Above 80 euros it waits for review.",
        order_number={**STRING, "description": "Seven digits."},
        euros={"type": "number", "description": "Amount in euros, at most the order's total."},
        reason={**STRING, "description": "One sentence for the colleague who reviews it."},
    ),
    _tool(
        "hand_over",
        "Give the conversation to a colleague.",
        summary={**STRING, "description": "Five lines: who, what, what went wrong, tried, wanted."},
        urgent={"type": "boolean", "description": "Injury, danger, or a recalled product."},
    ),
]

TOOL_NAMES = {tool["function"]["name"] for tool in TOOLS}
