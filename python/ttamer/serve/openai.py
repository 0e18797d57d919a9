"""Models behind the API of OpenAI, or of any server that speaks it, as nodes of a cascade."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ttamer._base import checks
from ttamer._base.types import STOP
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
    without a text, and one that `answer` or `signal` cannot read are failures of the node; the last two cost what the
    tokens do. A judge is a node around a node: an asynchronous function that asks this one, and puts another signal
    into its `Outcome`, and what the judge cost.
    """
    create = client.chat.completions.create
    if type(client).__name__ in ("OpenAI", "AzureOpenAI"):
        raise TypeError(f"client: expected an asynchronous one, openai.AsyncOpenAI, got {type(client).__name__}")
    prices = None if price is None else _prices(price)
    return chat_node(create, model, lambda completion: _cost(completion, prices), signal, answer, options)


def chat_node(
    ask: Callable[..., Awaitable[Any]],
    model: str,
    cost: Callable[[Any], float | None],
    signal: Callable[[Any], float | None] | None,
    answer: Callable[[str], Any],
    options: Mapping[str, Any],
) -> Node:
    """`node` for anything that is called, and answers, as OpenAI's client does; `cost` takes the completion."""
    checks.text("model", model)
    if options.get("stream"):
        raise ValueError("stream: expected none, an answer is decided on before it is given")
    if signal is mean_log_prob:
        options = {"logprobs": True, **options}

    async def call(payload: object, flight: Flight) -> Outcome:
        completion = await ask(model=model, messages=_messages(payload), **options)
        paid = cost(completion)
        if flight.node != STOP:  # not of a shadow
            flight.tokens = _sum(flight.tokens, _tokens(completion))
        try:
            text = completion.choices[0].message.content
            if text is None:
                raise ValueError(f"{model}: expected an answer with a text, got none")
            return Outcome(answer(text), None if signal is None else signal(completion), cost=paid)
        except Exception as error:  # what cannot be read is a failure, and is paid all the same
            error.cost = paid  # type: ignore[attr-defined]
            raise

    return call


def headers(flight: Flight) -> dict[str, str]:
    """How a flight came to its answer, as headers of HTTP for those who serve it.

    Returns
    -------
    dict of str to str
        ``x-ttamer-path``, the nodes in order; of them ``x-ttamer-failed``, if any failed, and ``x-ttamer-node``, who
        answered; ``x-ttamer-reason``; ``x-ttamer-cost``, in the policy's unit; ``x-ttamer-request``, its name in the
        log, if it has one. Characters that headers do not take are percent-encoded.
    """
    path = [flight.nodes[visit.node] for visit in flight.visits if not visit.shadow]
    lines = {
        "path": ",".join(map(quote, path)),
        "failed": ",".join(map(quote, flight.causes)),
        "node": quote(flight.nodes[flight.answer_node]) if flight.answer_node >= 0 else "",
        "reason": flight.reason or "",
        "cost": repr(float(flight.cost)),
        "request": quote(flight.request or ""),
    }
    return {f"x-ttamer-{name}": line for name, line in lines.items() if line}


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


def _tokens(completion: Any) -> tuple[int, int] | None:
    """Tokens of the prompt and of the answer, as the server counted them; None if it does not count."""
    usage = getattr(completion, "usage", None)
    return None if usage is None else (usage.prompt_tokens, usage.completion_tokens)


def _sum(first: tuple[int, int] | None, second: tuple[int, int] | None) -> tuple[int, int] | None:
    return None if first is None or second is None else (first[0] + second[0], first[1] + second[1])


def _cost(completion: Any, prices: tuple[float, float] | None) -> float | None:
    tokens = _tokens(completion)
    if tokens is None or prices is None:
        return None
    return (tokens[0] * prices[0] + tokens[1] * prices[1]) / PER
