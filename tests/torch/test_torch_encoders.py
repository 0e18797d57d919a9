"""Hugging Face encoders cut into stages compute what the library's models do; random weights, no download."""

from __future__ import annotations

from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")
transformers = pytest.importorskip("transformers", reason="needs the encoders extra")

from samples import same  # noqa: E402
from torch_models import assert_served, recorded, replayed, some_policy  # noqa: E402

from ttamer.torch import EarlyExit, PooledExit  # noqa: E402
from ttamer.torch.parts import run  # noqa: E402

ATTENTION = ["eager", "sdpa"]
LAYERS, WIDTH, TOKENS, CLASSES = 3, 24, 9, 4


def build(made: Any, config: Any, attention: str) -> Any:
    config._attn_implementation = attention
    try:
        return made(config).eval()
    except ValueError as error:  # old versions of transformers
        if "does not support an attention" not in str(error):
            raise
        pytest.skip(f"transformers {transformers.__version__} has no {attention} attention for it")


def text_model(kind: str, attention: str = "sdpa") -> Any:
    torch.manual_seed(1)
    if kind == "distilbert":
        config = transformers.DistilBertConfig(
            vocab_size=50, dim=WIDTH, n_layers=LAYERS, n_heads=2, hidden_dim=40, max_position_embeddings=TOKENS
        )
        return build(transformers.DistilBertModel, config, attention)
    # MiniLM is a BERT that is narrow for its depth.
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=12 if kind == "minilm" else 2,
        intermediate_size=40,
        max_position_embeddings=TOKENS,
    )
    return build(transformers.BertModel, config, attention)


def image_model(attention: str = "sdpa") -> Any:
    torch.manual_seed(1)
    config = transformers.ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=40,
        image_size=8,
        patch_size=4,
    )
    return build(transformers.ViTModel, config, attention)


def pooled(count: int) -> list[Any]:
    torch.manual_seed(2)
    return [PooledExit(WIDTH, CLASSES) for _ in range(count)]


def tokens() -> tuple[Any, Any, Any]:
    torch.manual_seed(3)
    lengths = torch.tensor([9, 4, 1, 7, 9])
    mask = (torch.arange(TOKENS) < lengths[:, None]).long()
    return torch.randint(1, 50, (5, TOKENS)), mask, torch.randint(0, 2, (5, TOKENS))


def hidden_after(model: EarlyExit, x: Any, **keywords: Any) -> list[Any]:
    """What every stage gives."""
    found = []
    for stage, _ in model._parts():
        x = run(stage, x, keywords)
        found.append(x)
    return found


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("kind", ["bert", "minilm", "distilbert"])
@pytest.mark.parametrize("masked", [False, True])
def test_text_hidden_states(kind: str, attention: str, masked: bool) -> None:
    whole = text_model(kind, attention)
    ids, mask, types = tokens()
    keywords = {"attention_mask": mask} if masked else {}
    if kind != "distilbert":
        keywords["token_type_ids"] = types
    model = EarlyExit.from_encoder(whole, pooled(LAYERS + 1)).eval()
    with torch.inference_mode():
        expected = whole(input_ids=ids, output_hidden_states=True, **keywords)
        found = hidden_after(model, ids, **keywords)
    assert len(found) == len(expected.hidden_states) == LAYERS + 1
    kept = mask.bool() if masked else torch.ones_like(mask).bool()
    for ours, theirs in zip(found, expected.hidden_states, strict=True):
        torch.testing.assert_close(ours[kept], theirs[kept], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[-1][kept], expected.last_hidden_state[kept], rtol=0, atol=1e-5)


@pytest.mark.parametrize("attention", ATTENTION)
def test_image_hidden_states(attention: str) -> None:
    whole = image_model(attention)
    torch.manual_seed(3)
    pixels = torch.randn(5, 3, 8, 8)
    model = EarlyExit.from_encoder(whole, pooled(2), cuts=[1, LAYERS]).eval()
    with torch.inference_mode():
        expected = whole(pixel_values=pixels, output_hidden_states=True)
        first, last = hidden_after(model, pixels)
    torch.testing.assert_close(first, expected.hidden_states[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(last, expected.last_hidden_state, rtol=0, atol=1e-5)


def test_a_model_with_a_head_is_its_encoder() -> None:
    torch.manual_seed(1)
    whole = text_model("bert")
    headed = transformers.BertForSequenceClassification(whole.config).eval()
    model = EarlyExit.from_encoder(headed, pooled(LAYERS)).eval()
    ids, mask, _ = tokens()
    with torch.inference_mode():
        expected = headed.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        found = hidden_after(model, ids, attention_mask=mask)[-1]
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], rtol=0, atol=1e-5)
    assert not any("classifier" in name for name in model.state_dict())


def test_the_encoder_is_trained_in_place() -> None:
    whole = text_model("bert")
    model = EarlyExit.from_encoder(whole, pooled(LAYERS))
    assert whole.encoder.layer[0].output.dense.weight is model.stages[0].layers[0].output.dense.weight


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
@pytest.mark.parametrize("options", [{}, {"compact": "never"}, {"bucket": [16, 40]}], ids=str)
def test_masks_stay_with_their_rows(kind: str, options: dict[str, Any]) -> None:
    exits = pooled(LAYERS + 1)
    for one in exits:
        torch.nn.init.normal_(one.linear.weight, std=2.0)
    model = EarlyExit.from_encoder(text_model(kind), exits).eval()
    torch.manual_seed(4)
    mask = (torch.arange(TOKENS) < torch.randint(1, TOKENS + 1, (40, 1))).long()
    ids = torch.randint(1, 50, (40, TOKENS))
    traces = recorded(model, ids, attention_mask=mask)
    policy = some_policy(traces, "observed", 2)
    expected = replayed(policy, traces)
    assert len(set(expected.last_node.tolist())) > 2
    logits = [one.detach() for one in model.all_logits(ids, attention_mask=mask)]
    assert_served(model.attach(policy, **options), ids, expected, logits, attention_mask=mask)


def test_pooling_leaves_out_what_is_masked() -> None:
    exit_ = pooled(1)[0]
    hidden = torch.randn(2, 4, WIDTH)
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]])
    found = exit_(hidden, attention_mask=mask)
    torch.testing.assert_close(found[0], exit_.linear(hidden[0, :2].mean(dim=0)))
    torch.testing.assert_close(found[1], exit_.linear.bias)
    torch.testing.assert_close(exit_(hidden), exit_.linear(hidden.mean(dim=1)))
    first = PooledExit(WIDTH, CLASSES, pool="first")
    torch.testing.assert_close(first(hidden, attention_mask=mask), first.linear(hidden[:, 0]))


class Adapters:
    """What PEFT's wrapper is, as far as it is looked at: the configurations, and the model within."""

    def __init__(self, model: Any, kind: Any) -> None:
        self.peft_config = {"default": SimpleNamespace(peft_type=kind)}
        # Of prompts it is the model itself, of others a tuner around it.
        self.base_model = model if "PROMPT" in str(kind) else SimpleNamespace(model=model)
        self._model = model

    def get_base_model(self) -> Any:
        return self._model


class Kind(str, Enum):
    LORA = "LORA"
    PROMPT_TUNING = "PROMPT_TUNING"


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", Kind.PROMPT_TUNING, "XLORA", None])
def test_adapters_outside_of_the_layers_are_refused(kind: Any) -> None:
    name = getattr(kind, "value", kind)
    with pytest.raises(
        ValueError, match=f"model: expected adapters that are in its layers, such as LoRA's, got {name}, "
    ):
        EarlyExit.from_encoder(Adapters(text_model("bert"), kind), pooled(LAYERS))


@pytest.mark.parametrize("kind", ["LORA", "IA3", Kind.LORA])
def test_adapters_in_the_layers_come_along(kind: Any) -> None:
    inner = text_model("bert")
    ids, mask, _ = tokens()
    model = EarlyExit.from_encoder(Adapters(inner, kind), pooled(LAYERS)).eval()
    expected = inner(ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(hidden_after(model, ids, attention_mask=mask)[-1], expected)
    # transformers keeps the configurations of adapters that it put into the layers itself, without a wrapper.
    inner.peft_config = {"default": SimpleNamespace(peft_type=kind)}
    again = EarlyExit.from_encoder(inner, pooled(LAYERS)).eval()
    torch.testing.assert_close(hidden_after(again, ids, attention_mask=mask)[-1], expected)


def test_what_a_tokenizer_gives() -> None:
    ids, mask, _ = tokens()
    labels = torch.arange(5) % CLASSES
    model = EarlyExit.from_encoder(text_model("bert"), pooled(LAYERS)).eval()
    quiet: dict[str, Any] = {"costs": [1] * LAYERS, "unit": "s", "progress": False}
    expected, traces = model(ids, attention_mask=mask), model.record([(ids, {"attention_mask": mask}, labels)], **quiet)
    tokenized = {"input_ids": ids, "attention_mask": mask}
    for batch in (tokenized, transformers.BatchEncoding(tokenized)):
        for found in (model(batch), model(**batch), model({"input_ids": ids}, attention_mask=mask)):
            assert torch.equal(found.logits, expected.logits)
        for one, other in zip(model.all_logits(batch), model.all_logits(ids, attention_mask=mask), strict=True):
            assert torch.equal(one, other)
        same(model.record([(batch, labels)], **quiet), traces)
        same(model.record([type(batch)({**batch, "labels": labels})], **quiet), traces)
    assert "labels" not in tokenized


def test_what_an_image_processor_gives() -> None:
    torch.manual_seed(3)
    pixels = torch.randn(5, 3, 8, 8)
    model = EarlyExit.from_encoder(image_model(), pooled(LAYERS)).eval()
    batch = transformers.BatchFeature({"pixel_values": pixels})
    for found in (model(batch), model(**batch)):
        assert torch.equal(found.logits, model(pixels).logits)


def test_no_tensor() -> None:
    model = EarlyExit.from_encoder(text_model("bert"), pooled(LAYERS)).eval()
    ids, mask, _ = tokens()
    message = "x: expected a tensor, got {}; pass its 'input_ids', and attention_mask and what else there is as keyword"
    with pytest.raises(TypeError, match=message.format("dict")):
        model({"ids": ids, "attention_mask": mask})
    with pytest.raises(TypeError, match=message.format("tuple")):
        model((ids, mask))
    with pytest.raises(TypeError, match="x: expected a tensor with rows, .* got list"):
        model({"input_ids": ids.tolist()})
    images = EarlyExit.from_encoder(image_model(), pooled(LAYERS)).eval()
    with pytest.raises(TypeError, match="x: expected a tensor, got BatchFeature; pass its 'pixel_values', alone"):
        images(transformers.BatchFeature({"pixels": torch.zeros(1, 3, 8, 8)}))


def test_errors() -> None:
    with pytest.raises(ValueError, match="pool: expected 'mean' or 'first', got 'max'"):
        PooledExit(WIDTH, CLASSES, pool="max")
    with pytest.raises(TypeError, match=r"model: expected one of transformers of the kinds bert, .* got Linear; build"):
        EarlyExit.from_encoder(torch.nn.Linear(2, 2), pooled(1))
    cases: list[tuple[str, int, list[int] | None]] = [
        (
            "exits: expected 3, one a layer, or 4 with one after the embeddings, got 2; BertModel has no head of its "
            "own that is known; or say in cuts after how many layers each stands",
            2,
            None,
        ),
        ("exits: expected 3, one a layer, or 4 with one after the embeddings, got 5; or say in cuts", 5, None),
        ("cuts: expected 2, one an exit, got 1", 2, [3]),
        ("cuts: expected rising numbers of layers from 0 to 3, got \\[1, 4\\]", 2, [1, 4]),
        ("cuts: expected rising numbers of layers from 0 to 3, got \\[2, 2\\]", 2, [2, 2]),
        ("cuts: expected rising numbers of layers from 0 to 3, got \\[\\]", 0, []),
    ]
    for message, count, cuts in cases:
        with pytest.raises(ValueError, match=message):
            EarlyExit.from_encoder(text_model("bert"), pooled(count), cuts)
    with pytest.raises(TypeError, match=r"cuts: expected a sequence of int, got \(2,\) float64"):
        EarlyExit.from_encoder(text_model("bert"), pooled(2), [1.5, 3])
    whole = text_model("bert")
    whole.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="attn_implementation='sdpa'"):
        EarlyExit.from_encoder(whole, pooled(LAYERS))
    decoder = text_model("bert")
    decoder.config.is_decoder = True
    with pytest.raises(ValueError, match="expected an encoder, got a decoder"):
        EarlyExit.from_encoder(decoder, pooled(LAYERS))
    model = EarlyExit.from_encoder(image_model(), pooled(LAYERS)).eval()
    with pytest.raises(TypeError, match="token_type_ids: no stage and no exit takes"):
        model(torch.zeros(1, 3, 8, 8), token_type_ids=torch.zeros(1, 1))
