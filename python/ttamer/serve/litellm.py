"""Cascades as models of LiteLLM, in its library and on its proxy; and its models as nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from ttamer._base import checks
from ttamer.serve.cascade import Cascade, Node
from ttamer.serve.openai import chat_node, headers, mean_log_prob
from ttamer.serve.visits import AllFailed

try:
    import litellm
    from litellm.llms.custom_llm import CustomLLM
except ImportError:
    raise ImportError('cascades behind LiteLLM need litellm: pip install "ttamer[llm]"') from None

SETTINGS = ("weight", "deadline", "context")
"""What a request may say of itself, as for `Cascade`."""


def node(
    model: str,
    *,
    signal: Callable[[Any], float | None] | None = mean_log_prob,
    answer: Callable[[str], Any] = str.strip,
    **options: Any,
) -> Node:
    """A node that asks a model of any provider that LiteLLM knows, as `ttamer.serve.openai.node` asks a client's.

    Parameters
    ----------
    model : str
        As LiteLLM calls it, for example "anthropic/claude-haiku-4-5".
    signal, answer : callable
        As there.
    **options
        Of `litellm.acompletion`, such as `api_base`, `temperature` and `num_retries`.

    Returns
    -------
    callable
        For `Cascade`. A call costs what LiteLLM says, in dollars: the unit that the policy has to be in. Where LiteLLM
        has no price of the model, nor `input_cost_per_token=` and `output_cost_per_token=`, it is what the policy
        expects.
    """
    # Not logged by itself: what it costs is part of what the cascade does, and would be spent twice.
    return chat_node(litellm.acompletion, model, _cost, signal, answer, {"no-log": True, **options})


class Provider(CustomLLM):  # type: ignore[misc]
    """A cascade as a provider of LiteLLM, whose models are the dispatcher's tiers.

    With ``litellm.custom_provider_map = [{"provider": "support", "custom_handler": Provider(cascade)}]``, or the same
    in the configuration of a proxy, the model "support/default" is the cascade, and "support/paid" its tier "paid".

    Parameters
    ----------
    cascade : Cascade
        Of nodes that take a list of messages.
    usd : float, optional
        What one of the policy's unit is in dollars; 1 where that unit is "usd".

    Raises
    ------
    TypeError, ValueError
        If this is no cascade, or the policy's costs are in something else than dollars and `usd` lacks.

    Notes
    -----
    LiteLLM's spend is `Flight.cost` in dollars, what failed nodes cost included and shadows excluded; a request that no
    node answered has none. `ttamer.serve.openai.headers` go into the response, after "llm_provider-", and the usage is
    `Flight.tokens`.

    A request may have a field ``cascade``, with `weight`, `deadline` and `context`. Parameters such as `temperature`
    are those of the nodes, for which the policy was fitted: in a request they are refused, or left out under LiteLLM's
    `drop_params`. So are streams, as an answer is decided on before it is given. LiteLLM's own `timeout` does not end a
    request; the cascade's timeouts and the deadline do.
    """

    def __init__(self, cascade: Cascade, *, usd: float | None = None) -> None:
        super().__init__()
        checks.instance("cascade", cascade, Cascade)
        unit = cascade.dispatcher.policies[0].unit
        if usd is None and unit.lower() != "usd":
            raise ValueError(f"usd: expected what 1 in the policy's unit, {unit!r}, is in dollars, got None")
        self._usd = 1.0 if usd is None else checks.real("usd", usd)
        if not 0 <= self._usd < math.inf:
            raise ValueError(f"usd: expected a finite number >= 0, got {self._usd}")
        self._cascade = cascade

    async def acompletion(self, model: str, messages: list[Any], **call: Any) -> Any:
        """What LiteLLM calls for a request."""
        provider = _provider(call)
        try:
            flight = await self._cascade(messages, tier=model, **_settings(model, call))
        except AllFailed as error:
            raise litellm.ServiceUnavailableError(str(error), model=model, llm_provider=provider) from error
        except (TypeError, ValueError) as error:  # of the tier and the settings; what nodes raise are failures of nodes
            raise litellm.BadRequestError(str(error), model=model, llm_provider=provider) from error
        response = call["model_response"]
        response.model = flight.nodes[flight.answer_node]
        response.choices[0].message.content = str(flight.answer)
        if flight.tokens is None:
            del response.usage
        else:
            prompt, answer = flight.tokens
            response.usage = litellm.Usage(prompt_tokens=prompt, completion_tokens=answer, total_tokens=prompt + answer)
        response._hidden_params.update(response_cost=flight.cost * self._usd, additional_headers=headers(flight))
        return response

    def astreaming(self, model: str, **call: Any) -> NoReturn:
        """Refuse: nothing is sent before all is known."""
        _refuse("stream: expected none, a cascade decides on answers before it gives one", model, call)

    def streaming(self, model: str, **call: Any) -> NoReturn:
        """Refuse likewise."""
        self.astreaming(model, **call)

    def completion(self, model: str, **call: Any) -> NoReturn:
        """Refuse: the clients of nodes belong to one event loop, and here is none."""
        _refuse("completion: expected litellm.acompletion, a cascade runs in an event loop", model, call)


def _settings(model: str, call: Mapping[str, Any]) -> dict[str, Any]:
    """What a request says of itself; whatever else it asks for is refused."""
    options = dict(call["optional_params"])
    options |= options.pop("extra_body", None) or {}  # not yet unpacked, outside a proxy
    options.pop("max_retries", None)  # its router's own
    settings = options.pop("cascade", None) or {}
    if not isinstance(settings, Mapping) or not set(settings) <= set(SETTINGS):
        raise ValueError(f"cascade: expected any of {', '.join(SETTINGS)}, got {checks.quoted(repr(settings))}")
    others = [name for name, value in options.items() if value is not None and value is not False]
    if others and not (litellm.drop_params or call["litellm_params"].get("drop_params")):
        message = f"{', '.join(others)}: expected none, nodes have their own; drop_params leaves out what a request has"
        raise litellm.UnsupportedParamsError(message, model=model, llm_provider=_provider(call))
    return dict(settings)


def _refuse(message: str, model: str, call: Mapping[str, Any]) -> NoReturn:
    raise litellm.BadRequestError(message, model=model, llm_provider=_provider(call))


def _provider(call: Mapping[str, Any]) -> str:
    """What the cascade is called in the map of providers."""
    return str(call["litellm_params"]["custom_llm_provider"])


def _cost(completion: Any) -> float | None:
    """LiteLLM writes it there when a call has ended; None if it has no price."""
    cost = completion._hidden_params.get("response_cost")
    return None if cost is None else float(cost)
