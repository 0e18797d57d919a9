"""Models behind the API of OpenAI, or of any server that speaks it, as nodes of a cascade."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ttamer._base import checks
from ttamer.serve.cascade import Node, Outcome
from ttamer.serve.flight import Flight

PER = 1_000_000
"""Prices are of so many tokens."""


def mean_log_prob(completion: Any) -> float:
    """Mean log-probability of the tokens of an answer: how sure the model was, at most 0.

    Raises
    ------
    ValueError
        If the server sent none.
    """
    log_probs = completion.choices[0].logprobs
    tokens = None if log_probs is None else log_probs.content
    if not tokens:
        raise ValueError("log-probabilities: expected those of the answer's tokens, the server sent none")
    return float(sum(token.logprob for token in tokens) / len(tokens))


def node(
    client: Any,
    model: str,
    *,
    price: tuple[float, float] | None = None,
    signal: Callable[[Any], float | None] | None = mean_log_prob,
    answer: Callable[[str], Any] = str.strip,
    **options: Any,
) -> Node:
    """A node that asks a chat model; the payload is a text, or a list of messages.

    Parameters
    ----------
    client : openai.AsyncOpenAI
        With `base_url` and `api_key`; its own retries and timeouts apply.
    model : str
    price : (float, float), optional
        Of a million tokens of the prompt, and of the answer. Without it a call costs what the policy expects.
    signal : callable or None
        How sure the model is, from the completion: by default `mean_log_prob`, which asks the server for
        log-probabilities. None for models that have none: a policy then goes by what they answer.
    answer : callable
        What the answer is, from its text: what policies compare, and `Flight.answer`.
    **options
        Of the call, such as `temperature` and `max_tokens`.

    Returns
    -------
    callable
        For `Cascade`.

    Raises
    ------
    TypeError, ValueError
        If the client is a synchronous one, an option asks for a stream, or the price is none.

    Notes
    -----
    Answers are decided on, so they cannot be streamed before the cascade has stopped. An error of the API, an answer
    without a text, and one that `answer` or `signal` cannot read are failures of the node.
    """
    create = client.chat.completions.create
    if type(client).__name__ in ("OpenAI", "AzureOpenAI"):
        raise TypeError(f"client: expected an asynchronous one, openai.AsyncOpenAI, got {type(client).__name__}")
    checks.text("model", model)
    if options.get("stream"):
        raise ValueError("stream: expected none, an answer is decided on before it is given")
    prices = None if price is None else _prices(price)
    if signal is mean_log_prob:
        options.setdefault("logprobs", True)

    async def call(payload: object, flight: Flight) -> Outcome:
        completion = await create(model=model, messages=_messages(payload), **options)
        text = completion.choices[0].message.content
        if text is None:
            raise ValueError(f"{model}: expected an answer with a text, got none")
        cost = None if prices is None else _cost(completion.usage, prices)
        return Outcome(answer(text), None if signal is None else signal(completion), cost=cost)

    return call


def _prices(price: object) -> tuple[float, float]:
    if not isinstance(price, Sequence) or isinstance(price, str) or len(price) != 2:
        raise ValueError(f"price: expected two, of tokens of the prompt and of the answer, got {price!r}")
    prompt, completion = (checks.real("price", each) for each in price)
    if not (0 <= prompt < math.inf and 0 <= completion < math.inf):
        raise ValueError(f"price: expected finite numbers >= 0, got {price!r}")
    return prompt, completion


def _messages(payload: object) -> Any:
    if isinstance(payload, str):
        return [{"role": "user", "content": payload}]
    if isinstance(payload, Sequence) and all(isinstance(message, Mapping) for message in payload):
        return payload
    raise TypeError(f"payload: expected a text or a list of messages, got {type(payload).__name__}")


def _cost(usage: Any, prices: tuple[float, float]) -> float | None:
    """Of the tokens that the server counted; None if it does not count."""
    if usage is None:
        return None
    return float((usage.prompt_tokens * prices[0] + usage.completion_tokens * prices[1]) / PER)
