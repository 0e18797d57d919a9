"""Encoders in the wrapper of the real PEFT: what is in their layers and heads comes along; random weights."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")
transformers = pytest.importorskip("transformers", reason="needs the encoders extra")
peft = pytest.importorskip("peft", reason="needs PEFT")

from ttamer.torch import EarlyExit, PooledExit, joint_loss  # noqa: E402

# PEFT asks transformers by a name that has become another.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

LAYERS, WIDTH, TOKENS, CLASSES = 3, 24, 9, 4
CONFIG = {
    "vocab_size": 50,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": TOKENS + 2,
    "num_labels": CLASSES,
}


def adapted(name: str, task: str, config: Any) -> Any:
    """A model in PEFT's wrapper, with random weights in its adapters too."""
    torch.manual_seed(1)
    model = getattr(transformers, f"{name}{task}")(getattr(transformers, f"{name}Config")(**CONFIG))
    wrapped = peft.get_peft_model(model, config)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return wrapped.eval()


def tokens() -> tuple[Any, Any]:
    torch.manual_seed(3)
    kept = torch.arange(TOKENS) < torch.tensor([[9], [4], [1], [7]])
    return torch.where(kept, torch.randint(2, 50, (4, TOKENS)), 1), kept.long()


def pooled(count: int) -> list[Any]:
    torch.manual_seed(2)
    return [PooledExit(WIDTH, CLASSES) for _ in range(count)]


@pytest.mark.parametrize("adapter", ["LoraConfig", "IA3Config"])
@pytest.mark.parametrize("name", ["Bert", "Roberta", "Electra"])
def test_adapters_and_the_head_trained_with_them_come_along(name: str, adapter: str) -> None:
    options = {"feedforward_modules": []} if adapter == "IA3Config" else {}
    config = getattr(peft, adapter)(task_type="SEQ_CLS", target_modules=["query", "value"], **options)
    whole = adapted(name, "ForSequenceClassification", config)
    ids, mask = tokens()
    model = EarlyExit.from_encoder(whole, pooled(LAYERS - 1)).eval()
    with torch.no_grad():
        expected = whole(input_ids=ids, attention_mask=mask).logits
        with whole.disable_adapter():
            without = whole(input_ids=ids, attention_mask=mask).logits
        torch.testing.assert_close(model(ids, attention_mask=mask).logits, expected, rtol=0, atol=1e-6)
    assert not torch.allclose(expected, without, atol=1e-3)
    joint_loss(model.train()(ids, attention_mask=mask), torch.arange(4)).backward()
    trained = {name for name, parameter in whole.named_parameters() if parameter.requires_grad}
    assert trained
    assert trained == {name for name, parameter in whole.named_parameters() if parameter.grad is not None}
    with pytest.raises(TypeError, match="labels: no stage and no exit takes a keyword of this name"):
        model(ids, labels=mask)


def test_an_encoder_alone() -> None:
    whole = adapted("Bert", "Model", peft.LoraConfig(task_type="FEATURE_EXTRACTION"))
    ids, mask = tokens()
    model = EarlyExit.from_encoder(whole, pooled(LAYERS)).eval()
    with torch.no_grad():
        x = ids
        for stage in model.stages:
            x = stage(x, attention_mask=mask)
        expected = whole(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(x[mask.bool()], expected[mask.bool()], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["Prompt", "Prefix"])
def test_prompts_and_prefixes_are_refused(kind: str) -> None:
    config = getattr(peft, f"{kind}TuningConfig")(task_type="SEQ_CLS", num_virtual_tokens=2)
    whole = adapted("Bert", "ForSequenceClassification", config)
    message = f"model: expected adapters that are in its layers, such as LoRA's, got {kind.upper()}_TUNING"
    with pytest.raises(ValueError, match=message):
        EarlyExit.from_encoder(whole, pooled(LAYERS))
