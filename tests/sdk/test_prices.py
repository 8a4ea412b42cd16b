"""The price table: right prices by date, and a reason where there is none."""

import json
from datetime import UTC, date, datetime
from importlib.resources import files

import pytest
from stemfirst.errors import UnknownPriceError
from stemfirst.prices import Price, Unpriced, cost, price, price_of
from stemfirst.wire import Cost

AUTUMN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def found(model: str, **options) -> Price:
    result = price(model, **{"at": AUTUMN, **options})
    assert isinstance(result, Price), result
    return result


def test_the_table_names_its_source_its_licence_and_its_date():
    table = json.loads(files("stemfirst").joinpath("prices.json").read_text())
    assert "genai-prices" in table["source"]
    assert "MIT License" in table["licence"]
    assert date.fromisoformat(table["as_of"]) <= date.fromisoformat(table["compiled"])


def test_a_hosted_model_has_prices_for_plain_cached_written_and_output_tokens():
    sol = found("gpt-5.6-sol")
    assert (sol.input, sol.cached, sol.write, sol.output) == (4.0, 0.4, 5.0, 20.0)
    assert sol.provider == "openai"


def test_a_price_change_takes_effect_on_its_day():
    before = found("gpt-5.6-sol", at=date(2026, 8, 20))
    after = found("gpt-5.6-sol", at=date(2026, 8, 21))
    assert (before.input, after.input) == (5.0, 4.0)


def test_a_scheduled_change_is_known_before_it_comes():
    assert (
        found("gemini-3.8-flash").input * 2 == found("gemini-3.8-flash", at=date(2027, 1, 2)).input
    )


def test_peak_hours_cost_more():
    night = found("deepseek-v4-pro", at=datetime(2026, 11, 23, 2, 0, tzinfo=UTC))
    noon = found("deepseek-v4-pro", at=datetime(2026, 11, 23, 12, 0, tzinfo=UTC))
    assert night.input == 2 * noon.input
    assert found("deepseek-v4-pro", at=date(2026, 11, 23)) == noon


def test_a_long_prompt_costs_more_per_token():
    assert found("gpt-6-astra", prompt_tokens=272_001).input == 20.0
    assert found("gpt-6-astra", prompt_tokens=272_000).input == 10.0


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("claude-sonnet-4-5", "anthropic"),
        ("anthropic/claude-sonnet-4-5", "anthropic"),
        ("gemini-2.5-pro", "google"),
        ("gpt-4o-2024-08-06", "openai"),
        ("grok-4.5", "x-ai"),
    ],
)
def test_the_vendor_follows_from_the_models_name(model, provider):
    assert found(model).provider == provider


def test_the_provider_follows_from_the_address_of_its_api():
    assert found("gpt-4o", provider="https://api.openai.com/v1").provider == "openai"


@pytest.mark.parametrize("model", ["stemfirst-demo", "gpt-99", "", "./models/llama"])
def test_an_unknown_model_gets_a_reason_and_no_guess(model):
    result = price(model)
    assert isinstance(result, Unpriced)
    assert not result
    assert repr(model) in result.reason
    with pytest.raises(UnknownPriceError):
        price_of(model)


def test_an_unknown_provider_gets_a_reason():
    result = price("gpt-4o", provider="https://llm.example/v1")
    assert isinstance(result, Unpriced)
    assert "llm.example" in result.reason


def test_each_prompt_token_is_billed_once():
    charged = found("gpt-5.6-sol")
    paid = cost(
        charged, prompt_tokens=10_000, cached_tokens=6_000, write_tokens=3_000, output_tokens=100
    )
    assert isinstance(paid, Cost)
    assert paid.actual == pytest.approx((1_000 * 4 + 6_000 * 0.4 + 3_000 * 5 + 100 * 20) / 1e6)
    assert paid.without_cache == pytest.approx((10_000 * 4 + 100 * 20) / 1e6)
    assert paid.saved == pytest.approx(paid.without_cache - paid.actual)
    assert charged.as_of in paid.basis


def test_writing_without_reading_loses_money():
    paid = cost(found("gpt-5.6-sol"), prompt_tokens=1_000, cached_tokens=0, write_tokens=1_000)
    assert isinstance(paid, Cost)
    assert paid.saved < 0


def test_counts_that_contradict_one_another_are_not_priced():
    result = cost(found("gpt-4o"), prompt_tokens=10, cached_tokens=20)
    assert isinstance(result, Unpriced)
    assert "20" in result.reason


def test_cached_tokens_without_a_price_are_not_priced():
    model = found("gpt-3.5-turbo")
    assert model.cached is None
    assert isinstance(cost(model, prompt_tokens=10, cached_tokens=5), Unpriced)


def test_the_table_agrees_with_the_package_that_it_comes_from():
    data = pytest.importorskip("genai_prices.data", reason="pip install genai-prices")
    compared = 0
    for provider in data.providers:
        if provider.id not in ("openai", "anthropic", "google", "deepseek", "mistral", "x-ai"):
            continue
        for model in provider.models:
            ours = price(model.id, at=AUTUMN, provider=provider.id)
            matched = provider.find_model(model.id)
            if matched is None or not isinstance(ours, Price):
                continue
            theirs = matched.get_prices(AUTUMN)
            value = theirs.input_mtok
            assert ours.input == float(getattr(value, "base", value)), model.id
            compared += 1
    assert compared > 150
