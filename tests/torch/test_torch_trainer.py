"""Hugging Face's Trainer trains and evaluates networks with exits, saves them and loads them again."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")

from torch import nn  # noqa: E402
from torch_models import CLASSES, WIDTH, inputs, network, recorded, some_policy  # noqa: E402

from ttamer.torch import EarlyExit, ForTrainer, distillation_loss, joint_loss  # noqa: E402

ROWS = 24
Y = torch.arange(ROWS) % CLASSES


def tied() -> EarlyExit:
    """An exit that two nodes share, an embedding whose weights an exit takes too, and a norm with buffers."""
    torch.manual_seed(0)
    leave = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, CLASSES))
    stages = [nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)]
    last = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES))
    last[0].weight = stages[0].weight
    return EarlyExit(stages, [leave, leave, last])


class TestAlone:
    """What needs no Trainer."""

    def test_training(self) -> None:
        model = network().train()
        output = ForTrainer(model)(input_ids=inputs(ROWS), labels=Y)
        expected = model(inputs(ROWS))
        assert list(output) == ["loss", "logits"]
        assert all(torch.equal(one, other) for one, other in zip(output["logits"], expected, strict=True))
        assert torch.equal(output["loss"], joint_loss(expected, Y))
        assert output["loss"].requires_grad

    def test_evaluation(self) -> None:
        model = network()
        wrapper = ForTrainer(model, distillation_loss).eval()
        loss = distillation_loss(model.all_logits(inputs(ROWS)), Y)
        output = wrapper(pixel_values=inputs(ROWS), labels=Y)
        assert torch.equal(output["logits"], model(inputs(ROWS)).logits)
        assert torch.equal(output["loss"], loss)
        assert list(wrapper(input_ids=inputs(ROWS))) == ["logits"]

    def test_evaluation_with_a_policy(self) -> None:
        model = network()
        wrapper = ForTrainer(model).eval()
        before = wrapper(input_ids=inputs(ROWS), labels=Y)
        model.attach(some_policy(recorded(model, inputs()), "observed", 2))
        output = wrapper(input_ids=inputs(ROWS), labels=Y)
        assert torch.equal(output["loss"], before["loss"])
        assert torch.equal(output["logits"], model(inputs(ROWS)).logits)
        assert not torch.equal(output["logits"], before["logits"])

    def test_tensors_with_several_names_are_saved_once(self) -> None:
        safetensors = pytest.importorskip("safetensors.torch")
        wrapper = ForTrainer(tied())
        whole, saved = tied().state_dict(), wrapper.state_dict()
        repeated = {f"exits.1.{name.removeprefix('exits.0.')}" for name in whole if name.startswith("exits.0.")}
        assert set(saved) == {f"model.{name}" for name in set(whole) - repeated - {"exits.2.0.weight"}}
        loaded = safetensors.load(safetensors.save(saved))
        other = ForTrainer(tied())
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        result = other.load_state_dict(loaded)
        assert result.missing_keys == result.unexpected_keys == []
        for name, value in wrapper.model.state_dict().items():
            assert torch.equal(other.model.state_dict()[name], value)
        assert other.model.exits[2][0].weight is other.model.stages[0].weight
        copied = copy.deepcopy(wrapper)
        assert list(copied.state_dict()) == list(saved)
        assert copied.load_state_dict(saved).missing_keys == []

    def test_a_state_that_lacks_something(self) -> None:
        wrapper = ForTrainer(tied())
        state = wrapper.state_dict()
        del state["model.stages.0.weight"]
        missing = wrapper.load_state_dict(state, strict=False).missing_keys
        assert missing == ["model.stages.0.weight", "model.exits.2.0.weight"]

    def test_errors(self) -> None:
        with pytest.raises(TypeError, match="model: expected an EarlyExit, got Linear"):
            ForTrainer(nn.Linear(2, 2))
        with pytest.raises(TypeError, match="loss: expected a callable, got str"):
            ForTrainer(network(), "joint")
        with pytest.raises(TypeError, match="x: expected the input, or one of input_ids and pixel_values .* got none"):
            ForTrainer(network())(labels=Y)
        with pytest.raises(TypeError, match="idx: no stage and no exit takes a keyword of this name"):
            ForTrainer(network())(input_ids=inputs(ROWS), idx=Y, labels=Y)


def rows(count: int = ROWS) -> list[dict[str, Any]]:
    """A data set, as one of `datasets` gives it."""
    return [{"input_ids": x, "label": int(y)} for x, y in zip(inputs(count), Y[:count], strict=True)]


class TestTrainer:
    @pytest.fixture(autouse=True)
    def transformers(self) -> Any:
        pytest.importorskip("accelerate", reason="Trainer needs accelerate")
        return pytest.importorskip("transformers", reason="needs the encoders extra")

    @pytest.fixture
    def trainer(self, transformers: Any, tmp_path: Path) -> Any:
        def make(model: EarlyExit, **options: Any) -> Any:
            settings = {"learning_rate": 0.01, "num_train_epochs": 1, "per_device_train_batch_size": 8} | options
            arguments = transformers.TrainingArguments(
                output_dir=str(tmp_path / "out"),
                remove_unused_columns=False,
                use_cpu=True,
                report_to=[],
                disable_tqdm=True,
                seed=1,
                **settings,
            )
            return transformers.Trainer(
                model=ForTrainer(model),
                args=arguments,
                train_dataset=rows(),
                eval_dataset=rows(),
                compute_metrics=error,
            )

        def error(prediction: Any) -> dict[str, float]:
            return {"error": float(np.mean(prediction.predictions.argmax(axis=1) != prediction.label_ids))}

        return make

    def test_trains_and_evaluates(self, trainer: Any) -> None:
        model = network()
        run = trainer(model, num_train_epochs=8)
        before = run.evaluate()
        run.train()
        after = run.evaluate()
        assert after["eval_loss"] < 0.9 * before["eval_loss"]
        model.eval()
        with torch.no_grad():
            logits = model.all_logits(inputs(ROWS))
        assert after["eval_loss"] == pytest.approx(joint_loss(logits, Y).item(), rel=1e-5)
        assert after["eval_error"] == pytest.approx((logits[-1].argmax(dim=1) != Y).float().mean().item())
        # What is answered, once there is a policy.
        model.attach(some_policy(recorded(model, inputs()), "observed", 2))
        served = run.predict(rows())
        np.testing.assert_allclose(served.predictions, model(inputs(ROWS)).logits.numpy(), rtol=1e-5, atol=1e-6)
        assert served.metrics["test_loss"] == pytest.approx(after["eval_loss"])

    def test_gradients_of_several_batches_are_one_step(self, trainer: Any) -> None:
        """Batches of 4 with two a step make the steps of batches of 8."""
        models = [network().train() for _ in range(2)]
        trainer(models[0], optim="sgd").train()
        trainer(models[1], optim="sgd", per_device_train_batch_size=4, gradient_accumulation_steps=2).train()
        for name, value in models[0].state_dict().items():
            torch.testing.assert_close(models[1].state_dict()[name], value, rtol=1e-4, atol=1e-6)
            assert not torch.equal(value, network().state_dict()[name])

    def test_checkpoints(self, trainer: Any, tmp_path: Path) -> None:
        model = tied()
        run = trainer(model, save_strategy="epoch", eval_strategy="epoch", load_best_model_at_end=True)
        run.train()
        expected = {name: value.clone() for name, value in model.state_dict().items()}
        other = tied()
        again = trainer(other, num_train_epochs=1)
        result = again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-3"))
        assert result.global_step == 3  # nothing was left to do
        for name, value in expected.items():
            assert torch.equal(other.state_dict()[name], value)

    def test_requests_without_labels(self, trainer: Any) -> None:
        run = trainer(network())
        unlabelled = [{**row, "label": -100} for row in rows()]
        assert run.evaluate(unlabelled)["eval_loss"] == 0.0
        found = run.predict([{"input_ids": row["input_ids"]} for row in rows()])
        assert found.predictions.shape == (ROWS, CLASSES)
        assert math.isfinite(run.evaluate([*rows(8), *unlabelled])["eval_loss"])

    def test_encoders(self, trainer: Any, transformers: Any) -> None:
        from ttamer.torch import PooledExit

        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
        )
        model = EarlyExit.from_encoder(transformers.BertModel(config), [PooledExit(16, CLASSES) for _ in range(2)])
        run = trainer(model.freeze_backbone(), save_strategy="epoch")
        ids, mask = torch.randint(0, 30, (ROWS, 5)), torch.ones(ROWS, 5, dtype=torch.long)
        run.train_dataset = run.eval_dataset = [
            {"input_ids": one, "attention_mask": other, "labels": int(y)}
            for one, other, y in zip(ids, mask, Y, strict=True)
        ]
        before = copy.deepcopy(model.state_dict())
        run.train()
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == {name for name in before if name.startswith("exits")}
        traces = model.eval().record(run.get_eval_dataloader(), costs=[1, 1], unit="s", progress=False)
        assert len(traces) == ROWS
