"""Every family of Hugging Face encoders that can be cut: hidden states and heads as the library's; random weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")
transformers = pytest.importorskip("transformers", reason="needs the encoders extra")

from torch_models import assert_served, recorded, replayed, some_policy  # noqa: E402

from ttamer.torch import EarlyExit, PooledExit, joint_loss  # noqa: E402
from ttamer.torch.parts import run  # noqa: E402

LAYERS, WIDTH, TOKENS, CLASSES, PIXELS = 3, 24, 9, 4, 8
BERT = {
    "vocab_size": 50,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": TOKENS + 2,
    "type_vocab_size": 2,
}
DEBERTA = {**BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 8}
VIT = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "image_size": PIXELS,
    "patch_size": 2,
}

# Name of the family's classes, and what its configuration is made of.
TEXT: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", BERT),
    "roberta": ("Roberta", BERT),
    "xlm-roberta": ("XLMRoberta", BERT),
    "camembert": ("Camembert", BERT),
    "electra": ("Electra", {**BERT, "embedding_size": 16}),
    "electra, as wide": ("Electra", {**BERT, "embedding_size": WIDTH}),
    "albert": ("Albert", {**BERT, "embedding_size": 16}),
    "albert, two groups": ("Albert", {**BERT, "embedding_size": 16, "num_hidden_groups": 2}),
    "mpnet": ("MPNet", BERT),
    "distilbert": (
        "DistilBert",
        {"vocab_size": 50, "dim": WIDTH, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 40},
    ),
    "deberta-v2": ("DebertaV2", BERT),
    "deberta-v2, relative": ("DebertaV2", {**DEBERTA, "norm_rel_ebd": "layer_norm", "position_biased_input": False}),
    "deberta-v3": ("DebertaV2", {**DEBERTA, "position_buckets": 4, "share_att_key": True, "type_vocab_size": 0}),
    "deberta-v2, convolution": ("DebertaV2", {**DEBERTA, "conv_kernel_size": 3, "conv_act": "gelu"}),
    "modernbert": (
        "ModernBert",
        {**BERT, "local_attention": 4, "global_attn_every_n_layers": 2, "pad_token_id": 0, "type_vocab_size": None},
    ),
}
IMAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViT", VIT),
    "deit": ("DeiT", VIT),
    "dinov2": ("Dinov2", {**VIT, "mlp_ratio": 2}),
    "beit": ("Beit", {**VIT, "use_absolute_position_embeddings": True}),
    "beit, relative": ("Beit", {**VIT, "use_relative_position_bias": True, "use_mean_pooling": False}),
    "beit, shared": ("Beit", {**VIT, "use_shared_relative_position_bias": True, "use_relative_position_bias": True}),
    "clip": ("CLIPVision", VIT),
    "siglip": ("SiglipVision", VIT),
}
NO_TYPES = ("mpnet", "distilbert", "modernbert")


def build(family: str, task: str = "Model", attention: str | None = None, **options: Any) -> Any:
    """A model of a family with random weights, such that biases and norms matter too."""
    name, arguments = {**TEXT, **IMAGES}[family]
    half = name in ("CLIPVision", "SiglipVision")
    whole = half and task != "Model"
    if not hasattr(transformers, f"{name.removesuffix('Vision')}Config"):
        pytest.skip(f"transformers {transformers.__version__} does not have it")
    config_class = getattr(transformers, f"{name}Config")
    arguments = {key: value for key, value in arguments.items() if value is not None}
    if whole:
        config = getattr(transformers, f"{name.removesuffix('Vision')}Config")(vision_config=arguments, **options)
        name = name.removesuffix("Vision")
    else:
        config = config_class(**arguments, **options)
    torch.manual_seed(1)
    if attention is not None:
        config._attn_implementation = attention
    try:
        model = getattr(transformers, f"{name}{task}")(config)
    except ValueError as error:
        if "does not support an attention" not in str(error):
            raise
        pytest.skip(f"transformers {transformers.__version__} has no {attention} attention for it")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model.eval()


def pooled(count: int) -> list[Any]:
    torch.manual_seed(2)
    return [PooledExit(WIDTH, CLASSES) for _ in range(count)]


def text(family: str, masked: bool, rows: int = 6) -> tuple[Any, dict[str, Any], Any]:
    """Numbers of tokens, keywords, and which tokens count; in a row none does if there is a mask."""
    torch.manual_seed(3)
    lengths = torch.tensor([9, 4, 1, 7, 9, 2])[:rows]
    kept = torch.arange(TOKENS) < lengths[:, None]
    ids = torch.randint(2, 50, (rows, TOKENS))
    if masked:  # 1 is RoBERTa's padding, from which it counts positions
        ids = torch.where(kept, ids, 1)
    keywords = {"attention_mask": kept.long()} if masked else {}
    if not family.startswith(NO_TYPES) and "Deberta" not in TEXT[family][0]:
        keywords["token_type_ids"] = torch.randint(0, 2, (rows, TOKENS))
    return ids, keywords, kept if masked else torch.ones_like(kept)


def pixels(rows: int = 5) -> Any:
    torch.manual_seed(3)
    return torch.randn(rows, 3, PIXELS, PIXELS)


def hidden_after(model: EarlyExit, x: Any, **keywords: Any) -> list[Any]:
    """What every stage gives."""
    found = []
    for stage, _ in model._parts():
        x = run(stage, x, keywords)
        found.append(x)
    return found


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("family", TEXT)
def test_hidden_states_of_texts(family: str, masked: bool, attention: str) -> None:
    whole = build(family, attention=attention)
    ids, keywords, kept = text(family, masked)
    model = EarlyExit.from_encoder(whole, pooled(LAYERS + 1)).eval()
    with torch.no_grad():
        expected = whole(input_ids=ids, output_hidden_states=True, **keywords)
        found = hidden_after(model, ids, **keywords)
    states = list(expected.hidden_states)
    assert len(found) == len(states) == LAYERS + 1
    states[-1] = expected.last_hidden_state
    for ours, theirs in zip(found, states, strict=True):
        torch.testing.assert_close(ours[kept], theirs[kept], rtol=0, atol=1e-5)
        assert not torch.allclose(theirs[kept], states[0][kept], atol=0.1) or theirs is states[0]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", IMAGES)
def test_hidden_states_of_images(family: str, attention: str) -> None:
    whole = build(family, attention=attention)
    model = EarlyExit.from_encoder(whole, pooled(LAYERS + 1)).eval()
    with torch.no_grad():
        expected = whole(pixel_values=pixels(), output_hidden_states=True)
        found = hidden_after(model, pixels())
    states = [*expected.hidden_states[:LAYERS], expected.last_hidden_state]
    for ours, theirs in zip(found, states, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "options"), [*((family, {}) for family in TEXT), ("modernbert", {"classifier_pooling": "mean"})], ids=str
)
def test_the_head_of_a_text_model_is_the_last_exit(family: str, options: dict[str, Any]) -> None:
    whole = build(family, "ForSequenceClassification", num_labels=CLASSES, **options)
    ids, keywords, _ = text(family, masked=True)
    for model in (
        EarlyExit.from_encoder(whole, pooled(LAYERS - 1)).eval(),
        EarlyExit.from_encoder(whole, pooled(2), cuts=[0, 2, LAYERS]).eval(),
    ):
        assert len(model.exits) == 3
        with torch.no_grad():
            expected = whole(input_ids=ids, **keywords).logits
            torch.testing.assert_close(model(ids, **keywords).logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", IMAGES)
def test_the_head_of_an_image_model_is_the_last_exit(family: str) -> None:
    tasks = ["ForImageClassification", *(["ForImageClassificationWithTeacher"] if family == "deit" else [])]
    for task in tasks:
        whole = build(family, task, num_labels=CLASSES)
        model = EarlyExit.from_encoder(whole, pooled(LAYERS - 1)).eval()
        with torch.no_grad():
            expected = whole(pixel_values=pixels()).logits
            torch.testing.assert_close(model(pixels()).logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", [*TEXT, *IMAGES])
def test_rows_that_go_on_are_computed_as_before_others_left(family: str) -> None:
    exits = pooled(LAYERS + 1)
    for one in exits:
        torch.nn.init.normal_(one.linear.weight, std=0.5)
    model = EarlyExit.from_encoder(build(family), exits).eval()
    x: Any = pixels(40)
    keywords: dict[str, Any] = {}
    if family in TEXT:
        mask = (torch.arange(TOKENS) < torch.randint(1, TOKENS + 1, (40, 1))).long()
        x, keywords = torch.randint(2, 50, (40, TOKENS)), {"attention_mask": mask}
    traces = recorded(model, x, **keywords)
    policy = some_policy(traces, "observed", 2)
    expected = replayed(policy, traces)
    assert len(set(expected.last_node.tolist())) > 2
    logits = [one.detach() for one in model.all_logits(x, **keywords)]
    assert_served(model.attach(policy), x, expected, logits, **keywords)


@pytest.mark.parametrize("family", [*TEXT, *IMAGES])
def test_weights_are_the_models_and_are_trained(family: str) -> None:
    text_model = family in TEXT
    whole = build(family, "ForSequenceClassification" if text_model else "ForImageClassification", num_labels=CLASSES)
    model = EarlyExit.from_encoder(whole, pooled(LAYERS - 1)).train()
    own = {id(parameter) for one in list(model.exits)[:-1] for parameter in one.parameters()}
    theirs = {id(parameter) for parameter in whole.parameters()}
    assert {id(parameter) for parameter in model.parameters()} <= own | theirs
    x, keywords, _ = text(family, masked=True) if text_model else (pixels(6), {}, None)
    joint_loss(model(x, **keywords), torch.arange(6) % CLASSES).backward()
    layers = [parameter for name, parameter in whole.named_parameters() if "layer" in name and "vision" not in name]
    assert not text_model or all(parameter.grad is not None for parameter in layers)
    head = [parameter for name, parameter in whole.named_parameters() if "classifier" in name]
    assert head
    assert all(parameter.grad is not None for parameter in head)


@pytest.mark.parametrize("family", [*TEXT, *IMAGES])
def test_in_training_the_same_is_dropped(family: str) -> None:
    is_text = family in TEXT
    whole = build(family, "ForSequenceClassification" if is_text else "ForImageClassification", num_labels=CLASSES)
    model = EarlyExit.from_encoder(whole, pooled(LAYERS - 1)).train()
    x, keywords, _ = text(family, masked=True) if is_text else (pixels(), {}, None)
    with torch.no_grad():
        torch.manual_seed(4)
        found = model(x, **keywords)[-1]
        torch.manual_seed(4)
        expected = whole(x, **keywords).logits  # in training mode too: its modules are the stages'
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", [*TEXT, *IMAGES])
def test_copies_of_other_types(family: str) -> None:
    whole = build(family)
    model = copy.deepcopy(EarlyExit.from_encoder(whole, pooled(2), cuts=[1, LAYERS]).eval()).double()
    x, keywords, _ = text(family, masked=True) if family in TEXT else (pixels(), {}, None)
    with torch.no_grad():
        single = EarlyExit.from_encoder(whole, pooled(2), cuts=[1, LAYERS]).eval()(x, **keywords).logits
        found = model(x if family in TEXT else x.double(), **keywords).logits
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, single.double(), rtol=0, atol=1e-3)
    model.load_state_dict(model.state_dict())


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_of_a_whole_model_of_images_and_texts_the_vision_half_is_cut(kind: str) -> None:
    texts = {key: value for key, value in BERT.items() if key != "type_vocab_size"}
    config = getattr(transformers, f"{kind}Config")(vision_config=VIT, text_config=texts)
    whole = getattr(transformers, f"{kind}Model")(config).eval()
    model = EarlyExit.from_encoder(whole, pooled(LAYERS)).eval()
    with torch.no_grad():
        expected = whole.vision_model(pixel_values=pixels()).last_hidden_state
        torch.testing.assert_close(hidden_after(model, pixels())[-1], expected, rtol=0, atol=1e-5)


def test_positions_are_those_that_are_given() -> None:
    for family in ("bert", "modernbert", "mpnet"):
        whole = build(family)
        ids, keywords, _ = text(family, masked=False)
        positions = torch.arange(TOKENS).flip(0).repeat(6, 1)
        model = EarlyExit.from_encoder(whole, pooled(LAYERS)).eval()
        with torch.no_grad():
            expected = whole(ids, position_ids=positions, **keywords).last_hidden_state
            found = hidden_after(model, ids, position_ids=positions, **keywords)[-1]
            other = hidden_after(model, ids, **keywords)[-1]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert not torch.allclose(found, other, atol=1e-2)


@pytest.mark.parametrize("family", ["bert", "deberta-v2, convolution", "modernbert"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_request_that_is_all_padding(family: str, attention: str) -> None:
    whole = build(family, attention=attention)
    ids, keywords, _ = text(family, masked=True)
    keywords["attention_mask"][2] = 0
    model = EarlyExit.from_encoder(whole, pooled(LAYERS)).eval()
    with torch.no_grad():
        expected = whole(ids, **keywords).last_hidden_state
        found = hidden_after(model, ids, **keywords)[-1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_attention_that_is_set_to_another_kind_later(family: str) -> None:
    whole = build(family, attention="sdpa")
    ids, keywords, kept = text(family, masked=True)
    model = EarlyExit.from_encoder(whole, pooled(LAYERS)).eval()
    with torch.no_grad():
        expected = whole(ids, **keywords).last_hidden_state
        whole.config._attn_implementation = "eager"
        found = hidden_after(model, ids, **keywords)[-1]
    torch.testing.assert_close(found[kept], expected[kept], rtol=0, atol=1e-5)
    whole.config._attn_implementation = "flex_attention"
    with pytest.raises(ValueError, match="expected attention 'eager' or 'sdpa', got 'flex_attention', which"):
        model(ids, **keywords)


def test_what_is_not_known_is_refused() -> None:
    decoder = transformers.GPT2Model(transformers.GPT2Config(vocab_size=50, n_embd=WIDTH, n_layer=1, n_head=2))
    message = (
        r"model: expected one of transformers of the kinds bert, .*, albert, .*, got GPT2Model \(gpt2\); build "
        r"EarlyExit\(stages, exits\) from its layers yourself: docs/torch.md, 'A model that is not listed'"
    )
    with pytest.raises(TypeError, match=message):
        EarlyExit.from_encoder(decoder, pooled(1))
    whole = build("beit, relative")
    whole.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="expected attention 'eager' or 'sdpa', got 'flash_attention_2', which"):
        EarlyExit.from_encoder(whole, pooled(LAYERS))


def test_inputs_that_the_encoder_does_not_take() -> None:
    for family in NO_TYPES:
        model = EarlyExit.from_encoder(build(family), pooled(LAYERS)).eval()
        ids, keywords, _ = text(family, masked=True)
        with pytest.raises(TypeError, match="token_type_ids: expected none, the model does not distinguish types"):
            model(ids, token_type_ids=torch.zeros_like(ids), **keywords)
        with pytest.raises(
            TypeError, match="x: expected a tensor, got tuple; pass its 'input_ids', and attention_mask"
        ):
            model((ids, ids))
    for family in IMAGES:
        model = EarlyExit.from_encoder(build(family), pooled(LAYERS)).eval()
        with pytest.raises(TypeError, match="x: expected a tensor, got tuple; pass its 'pixel_values', alone"):
            model((pixels(),))
    model = EarlyExit.from_encoder(build("beit, relative"), pooled(LAYERS)).eval()
    with pytest.raises(ValueError, match=r"x: expected images of 8 x 8, as in training, got \(2, 3, 8, 16\)"):
        model(torch.zeros(2, 3, 8, 16))


def test_numbers_of_exits_that_do_not_fit() -> None:
    headed = build("roberta", "ForSequenceClassification", num_labels=CLASSES)
    alone = build("roberta")

    class Doubled(transformers.RobertaForSequenceClassification):  # type: ignore[misc, name-defined]
        def forward(self, *inputs: Any, **keywords: Any) -> Any:
            return super().forward(*inputs, **keywords)

    ours = Doubled(headed.config)
    tokens = build("roberta", "ForTokenClassification", num_labels=CLASSES)
    numbers = "exits: expected 3, one a layer, or 4 with one after the embeddings"
    own = "and the model's own head as the last"
    cases: list[tuple[Any, str, int, list[int] | None]] = [
        (headed, f"{numbers}, or 2 {own}, got 1; or say in cuts after how many layers each stands", 1, None),
        (headed, f"cuts: expected 2, one an exit, or 3 {own}, got 4", 2, [0, 1, 2, 3]),
        (headed, "cuts: expected 3 as the last, where the model's own head stands, got 2; or give an exit", 1, [1, 2]),
        (headed, "cuts: expected rising numbers of layers from 0 to 3, got \\[1, 4\\]", 1, [1, 4]),
        (alone, f"{numbers}, got 2; RobertaModel has no head of its own that is known; or say in cuts", 2, None),
        (alone, "cuts: expected 1, one an exit, got 2; RobertaModel has no head of its own that is known", 1, [1, 3]),
        (tokens, "RobertaForTokenClassification has no head of its own that is known", 2, None),
        (ours, "Doubled has no head of its own that is known", 2, None),
    ]
    for model, message, count, cuts in cases:
        with pytest.raises(ValueError, match=message):
            EarlyExit.from_encoder(model, pooled(count), cuts)
