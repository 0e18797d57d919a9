"""A language model that reads each character with as many layers as it needs: train, tune, decode, compare.

A causal transformer of 8 layers with an exit after every second one learns the characters of a novel (examples/data),
which takes 90 seconds on two CPU cores. Then it reads passages that it has not seen, one character a step and many
passages a batch, and says of each what comes next. Where the policy is content with an exit, the character leaves
there. The layers that it skips still need keys and values of it, for later characters look back at it: they are made
of the hidden state that it left with. Prints, for the full model, for a threshold on the largest probability and for
the policy of `ttamer.tune`, how well they predict and how many characters they read a second.

    python examples/language.py

Needs PyTorch, scikit-learn and SciPy (pip install "ttamer[fit,torch]").
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

import ttamer
from ttamer.baselines import threshold_curve
from ttamer.compare import resample
from ttamer.torch import EarlyExit, ExitOutput, joint_loss

Floats = npt.NDArray[np.float64]
TEXT = Path(__file__).with_name("data") / "northanger-abbey.txt"
LAYERS, EVERY, HEADS, HEAD = 8, 2, 6, 32
WIDTH = HEADS * HEAD
WINDOW = 128  # characters of a passage
PROMPT = 32  # so many of them are read with all layers, by every method
LIMIT = 0.05  # of the share of answers other than the full model's
ROUNDS = 3  # of tuning, each on passages of its own
LIKENESS = 0.3  # weight in training of what an exit's probabilities differ by from the last exit's
THIN = 8  # of the characters after the prompt, one in so many is a calibration row


class Layer(nn.Module):
    """A transformer layer: of whole passages (B, T, WIDTH) or, with slots, of the next character of each (B, WIDTH).

    Keys and values of what was read do not travel with hidden states, whose batch shrinks: they stay in the slot of
    their passage. They are made of `source`, which is the hidden state itself unless the character left before. All
    heads share them (multi-query attention), so that there is less to copy.
    """

    cache: Tensor

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = bias
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.ask, self.tell, self.mix = (nn.Linear(WIDTH, size) for size in (WIDTH, 2 * HEAD, WIDTH))
        self.think = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor, source: Tensor, slots: Tensor | None, positions: Tensor | None) -> Tensor:
        queries = self.ask(self.before(x)).unflatten(-1, (HEADS, HEAD))
        if slots is None or positions is None:
            length = x.shape[1]
            keys, values = self.told(source).unsqueeze(1).expand(-1, HEADS, -1, -1, -1).unbind(3)
            bias = self.bias[:, :length, :length]
            found = functional.scaled_dot_product_attention(queries.transpose(1, 2), keys, values, bias).transpose(1, 2)
        else:
            self.fill(source, slots, positions)
            length = int(positions.max()) + 1
            cache = self.cache[:, :, :length]
            if len(slots) < len(cache):  # else they are all, in order: nothing to copy
                cache = cache.index_select(0, slots)
            keys, values = cache.unbind(1)
            bias = self.bias[:, positions, :length].transpose(0, 1)
            # All heads look at the same keys: one product a row, which a CPU does faster than attention by heads.
            scores = torch.baddbmm(bias, queries, keys.transpose(1, 2), alpha=HEAD**-0.5)
            found = torch.bmm(scores.softmax(dim=2), values)
        x = x + self.mix(found.flatten(-2))
        return x + self.think(self.between(x))

    def told(self, source: Tensor) -> Tensor:
        """Keys and values (..., 2, HEAD) of hidden states."""
        return self.tell(self.before(source)).unflatten(-1, (2, HEAD))

    def fill(self, source: Tensor, slots: Tensor, positions: Tensor) -> None:
        """Keep keys and values of hidden states (B, WIDTH)."""
        self.cache[slots, :, positions] = self.told(source)


@dataclass
class Memory:
    """Shared by all stages: the state that each character, or the last one of each slot, had when it left."""

    hidden: Tensor


class Stage(nn.Module):
    """Some layers; the first stage begins with the embedding.

    In training `left` (B, T) says which exit each character leaves at, as far as later characters can see.
    """

    def __init__(self, node: int, layers: Sequence[Layer], embedding: nn.Embedding | None, memory: Memory) -> None:
        super().__init__()
        self.node, self.embedding, self.layers, self.memory = node, embedding, nn.ModuleList(layers), memory

    def forward(
        self, x: Tensor, slots: Tensor | None = None, positions: Tensor | None = None, left: Tensor | None = None
    ) -> Tensor:
        if self.embedding is not None:
            x = self.embedding(x)
            if left is not None:
                self.memory.hidden = x
        gone = None if left is None else (left < self.node).unsqueeze(-1)
        for layer in self.layers:
            x = layer(x, x if gone is None else torch.where(gone, self.memory.hidden, x), slots, positions)
        if gone is not None:
            self.memory.hidden = torch.where(gone, self.memory.hidden, x)
        elif slots is not None:
            self.memory.hidden[slots] = x
        return x

    def fill(self, slots: Tensor, positions: Tensor) -> None:
        """Stand in for a stage that these slots skip: keys and values of what they left with."""
        source = self.memory.hidden[slots]
        for layer in self.layers:
            layer.fill(source, slots, positions)


def attention_bias() -> Tensor:
    """(HEADS, WINDOW, WINDOW) to add to scores: minus infinity for what comes later, less for what is far (ALiBi)."""
    places = torch.arange(WINDOW)
    distances = (places[:, None] - places).float()
    slopes = 2.0 ** (-8 * torch.arange(1, HEADS + 1) / HEADS)
    return (-slopes[:, None, None] * distances).masked_fill(distances < 0, -torch.inf)


def network(characters: int) -> EarlyExit:
    bias, memory = attention_bias(), Memory(torch.zeros(()))
    stages = [
        Stage(node, [Layer(bias) for _ in range(EVERY)], None if node else nn.Embedding(characters, WIDTH), memory)
        for node in range(LAYERS // EVERY)
    ]
    return EarlyExit(stages, [nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, characters)) for _ in stages])


def texts() -> tuple[Tensor, Tensor, int]:
    """Characters to train on, passages (N, WINDOW) of the rest in random order, and how many characters there are."""
    letters = " ".join(TEXT.read_text(encoding="utf-8").split())
    alphabet = sorted(set(letters))
    text = torch.tensor([alphabet.index(letter) for letter in letters])
    cut = len(text) * 7 // 10
    passages = text[cut:].unfold(0, WINDOW, WINDOW)
    return text[:cut], passages[torch.randperm(len(passages))], len(alphabet)


def train(model: EarlyExit, text: Tensor, seconds: float, batch: int = 8) -> int:
    """All exits together, for so long; returns the number of steps.

    Exits also learn from the last one, with which they should agree. In half of the passages characters leave at
    random, so that layers learn to look back at states that were copied.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.95))
    model.train()
    begin, steps, last = time.perf_counter(), 0, len(model.exits) - 1
    while (done := (time.perf_counter() - begin) / seconds) < 1:
        optimiser.param_groups[0]["lr"] = 3e-3 * min(1, (steps + 1) / 30) * (1 - done)
        firsts = torch.randint(len(text) - WINDOW, (batch,))
        passages = text[firsts[:, None] + torch.arange(WINDOW + 1)]
        left = torch.randint(last + 1, (batch, WINDOW))
        left[: batch // 2] = last
        logits = [one.flatten(0, 1) for one in model(passages[:, :-1], left=left)]
        target = logits[-1].detach().softmax(dim=1)
        loss = joint_loss(logits, passages[:, 1:].flatten())
        loss = loss + LIKENESS * torch.stack([functional.cross_entropy(one, target) for one in logits[:-1]]).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        steps += 1
    model.eval()
    return steps


class Decoder:
    """Passages that are read side by side, one character each a step."""

    def __init__(self, model: EarlyExit, passages: int) -> None:
        self.model, self.place, self.slots = model, 0, torch.arange(passages)
        self.memory: Memory = model.stages[0].memory
        self.memory.hidden = torch.zeros(passages, WIDTH)
        for stage in model.stages:
            for layer in stage.layers:
                layer.cache = torch.zeros(passages, 2, WINDOW, HEAD)

    def keywords(self) -> dict[str, Tensor]:
        """Of a call: where the characters of this step belong."""
        return {"slots": self.slots, "positions": torch.full_like(self.slots, self.place)}

    def step(self, characters: Tensor) -> ExitOutput:
        """Read the next character of each passage."""
        output = self.model(characters, **self.keywords())
        self.finish(output.last_node)
        return output

    def finish(self, last_node: Tensor) -> None:
        """Fill the caches of the layers that characters skipped."""
        for node, stage in enumerate(self.model.stages):
            (slots,) = (last_node < node).nonzero(as_tuple=True)
            if len(slots):
                stage.fill(slots, torch.full_like(slots, self.place))
        self.place += 1


@dataclass(frozen=True)
class Reading:
    """What a method said of B passages after their prompts, and how long it took: (B, n) of the n characters there."""

    answers: Tensor
    surprise: Tensor  # of the true next character, in nats
    last_node: Tensor
    seconds: float


@torch.no_grad()
def read(model: EarlyExit, passages: Tensor, policy: ttamer.Policy | None) -> Reading:
    """Read passages (B, WINDOW), the prompt with all layers."""
    decoder, outputs = Decoder(model.detach(), len(passages)), []
    for place in range(PROMPT):
        decoder.step(passages[:, place])
    if policy is not None:
        model.attach(policy)
    begin = time.perf_counter()
    for place in range(PROMPT, WINDOW - 1):
        outputs.append(decoder.step(passages[:, place]))
    seconds = time.perf_counter() - begin
    logits = torch.stack([output.logits for output in outputs], dim=1)
    surprise = functional.cross_entropy(logits.transpose(1, 2), passages[:, PROMPT + 1 :], reduction="none")
    return Reading(logits.argmax(dim=2), surprise, torch.stack([output.last_node for output in outputs], 1), seconds)


@torch.no_grad()
def costs_of_decoding(model: EarlyExit, batch: int) -> Floats:
    """Milliseconds a character that each edge adds, if so many are read side by side.

    A character that leaves at an exit pays for the keys and values of all later stages. To go on to the next exit is to
    run a stage in place of filling it. Of both a character adds what grows with their number; the rest is paid anyway,
    and stands on the first edge.
    """
    decoder = Decoder(model, batch)
    decoder.place = (PROMPT + WINDOW) // 2
    characters, keywords = torch.zeros_like(decoder.slots), decoder.keywords()
    costs = model.record([(characters, keywords, characters)], progress=False).costs.copy()
    fills = {}
    for count in (1, batch):
        few, laps = {name: value[:count] for name, value in keywords.items()}, []
        for _ in range(33):
            marks = [time.perf_counter()]
            for stage in model.stages[1:]:
                stage.fill(**few)
                marks.append(time.perf_counter())
            laps.append(np.diff(marks))
        fills[count] = np.median(laps[3:], axis=0) * 1e3
    costs[0] += fills[batch].sum() / batch
    costs[1:] -= (fills[batch] - fills[1]) / max(batch - 1, 1)
    return np.maximum(costs, 0.0)


@torch.no_grad()
def record(model: EarlyExit, passages: Tensor, costs: Floats, policy: ttamer.Policy | None) -> ttamer.Traces:
    """Traces of one in THIN characters of passages, read as with the policy, but asking every exit.

    Labels are the answers of the full model, which has read every character with all layers.
    """
    labels = torch.cat([model.all_logits(part)[-1].argmax(dim=2) for part in passages.split(32)])
    decoder, rows = Decoder(model, len(passages)), []
    for place in range(WINDOW - 1):
        x, states, logits = passages[:, place], [], []
        for stage, leave in zip(model.stages, model.exits, strict=True):
            states.append(x := stage(x, **decoder.keywords()))
            logits.append(leave(x))
        last_node = torch.full_like(decoder.slots, len(states) - 1)
        if place >= PROMPT:
            probs = torch.stack(logits, dim=1).softmax(dim=2).numpy()
            traces = ttamer.Traces.from_probs(probs, labels[:, place].numpy(), costs, signal="logit_margin", unit="ms")
            if policy is not None:
                last_node = torch.from_numpy(policy.replay(traces).last_node).long()
            if place % THIN == 0:
                rows.append(traces)
        decoder.memory.hidden = torch.stack(states)[last_node, decoder.slots]
        decoder.finish(last_node)
    return sum(rows[1:], rows[0])


def tuned(traces: ttamer.Traces, relative_to: str) -> ttamer.Policy:
    """The cheapest policy certified for LIMIT; where none is, for the smallest limit that one is certified for."""
    try:
        return ttamer.tune(traces, max_error=LIMIT, relative_to=relative_to, estimate="signal")
    except ttamer.InfeasibleError as error:
        print(f"  {error}")
        return ttamer.tune(traces, max_error=error.max_error, relative_to=relative_to, estimate="signal")


def threshold_policy(value: float, exits: int) -> ttamer.Policy | None:
    """Leave at the first exit whose largest probability reaches a value: as a policy, which the same code serves.

    Each exit has two states, below the value and from it on. Only answers of the second count as right. None never
    leaves.
    """
    if np.isinf(value):
        return None
    model = ttamer.CascadeModel(
        ttamer.Topology.line(exits),
        losses=[[1.0, 0.0]] * exits,
        transitions=[[[0.5, 0.5]]] * exits,
        costs=np.zeros(exits),
        bin_edges=[np.array([value], np.float32)] * exits,
        signal="max_prob",
    )
    return ttamer.solve(model, tradeoff=0.5, recall="none")


def matching_threshold(traces: ttamer.Traces, policy: ttamer.Policy) -> float:
    """The cheapest threshold that is no oftener at odds with the full model on the traces than the policy."""
    settings = threshold_curve(traces, "max_prob", points=1000)
    limit = policy.replay(traces).error
    good = [setting for setting in settings if setting.replay(traces).error <= limit]
    return float(min(good, key=lambda setting: setting.replay(traces).mean_cost).parameters["value"])


def with_interval(values: Callable[[Floats], Floats], units: int, form: str, neutral: float | None = None) -> str:
    """A value with its 90% bootstrap interval; with a neutral value also what that says.

    `values` makes R values of weights (R, units) of the test passages, or of batches of them.
    """
    low, high = np.quantile(values(resample(units, 2000)), [0.05, 0.95])
    text = f"{values(np.ones((1, units)))[0]:{form}} [{low:{form}}, {high:{form}}]"
    if neutral is None:
        return text
    return f"{text}: {'less' if high < neutral else 'more' if low > neutral else 'a tie'}"


class Method:
    """What a method did with the test passages, (N,) each, and the seconds of each batch, (K,)."""

    def __init__(self, readings: Sequence[Reading], full: Sequence[Reading]) -> None:
        same = [one.answers == other.answers for one, other in zip(readings, full, strict=True)]
        self.agreement = torch.cat(same).double().mean(dim=1).numpy()
        self.surprise = torch.cat([one.surprise for one in readings]).double().mean(dim=1).numpy()
        self.layers = EVERY * (1 + torch.cat([one.last_node for one in readings]).double().mean().item())
        self.seconds = np.array([one.seconds for one in readings])
        self.rate = len(self.agreement) * (WINDOW - 1 - PROMPT) / self.seconds.sum()

    def row(self, name: str) -> str:
        """A row of the table."""
        agreement = with_interval(lambda w: (w @ self.agreement) / w.sum(axis=1), len(self.agreement), ".1%")
        perplexity = np.exp(self.surprise.mean())
        return f"{name:<12}{perplexity:>11.3f}{agreement:>25}{self.layers:>8.2f}{self.rate:>14.0f}"

    def against(self, other: Method) -> str:
        """Paired differences: of speed over batches, of the others over passages."""
        gained, dearer = self.agreement - other.agreement, self.surprise - other.surprise
        speed = with_interval(lambda w: (w @ other.seconds) / (w @ self.seconds), len(self.seconds), ".2f", 1)
        agreement = with_interval(lambda w: 100 * (w @ gained) / w.sum(axis=1), len(gained), "+.2f", 0)
        perplexity = with_interval(lambda w: 100 * np.expm1((w @ dearer) / w.sum(axis=1)), len(dearer), "+.2f", 0)
        return f"  speed, times      {speed}\n  agreement, points {agreement}\n  perplexity, %     {perplexity}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Decoding a small language model with early exit.")
    parser.add_argument("--seconds", type=float, default=90.0, help="how long to train (default: 90)")
    parser.add_argument("--prompts", type=int, default=512, help="test passages (default: 512)")
    parser.add_argument("--batch", type=int, default=128, help="passages read side by side (default: 128)")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and passages (default: 0)")
    parser.add_argument("--quick", action="store_true", help="train for 3 seconds and use few passages, to try it")
    parser.add_argument("--save", type=Path, help="folder for weights, traces and the policy; else nothing is written")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seconds, options.prompts, options.batch = 3.0, 16, 8
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)

    text, passages, letters = texts()
    test, calibration = passages[: options.prompts], passages[options.prompts :]
    if options.prompts % options.batch or len(calibration) < len(passages) // 4:
        parser.error(
            f"--prompts: expected a multiple of the batch of {options.batch} and at most three quarters of "
            f"{len(passages)}, got {options.prompts}"
        )
    model = network(letters)
    steps = train(model, text, options.seconds)
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"{size / 1e6:.1f} million parameters, {steps} steps of training on {len(text):,} characters")

    costs = costs_of_decoding(model, options.batch)
    calibration = calibration[:96] if options.quick else calibration
    policy: ttamer.Policy | None = None
    for part in calibration.chunk(ROUNDS):
        traces = record(model, part, costs, policy)
        if policy is not None:
            print(f"  where it decides what is looked back at: {1 - policy.replay(traces).error:.1%}")
        policy = tuned(traces, "labels" if policy else "last")
        print(
            f"tuned on {len(traces):,} characters: agrees with the full model on {1 - policy.replay(traces).error:.1%}"
        )
    assert policy is not None
    value = matching_threshold(traces, policy)
    print(f"policy: {policy.guarantee}")
    print(f"threshold: leave where the largest probability is at least {value:.4f}")
    print(f"a character costs {costs.sum():.4f} ms, with the policy {policy.replay(traces).mean_cost:.4f} ms")

    policies = {"full model": None, "threshold": threshold_policy(value, len(costs)), "policy": policy}
    readings: dict[str, list[Reading]] = {name: [] for name in policies}
    for k, passages in enumerate((test[: options.batch], *test.split(options.batch))):  # the first is to warm up
        for name in sorted(policies, key=lambda name: (list(policies).index(name) + k) % len(policies)):
            reading = read(model, passages, policies[name])
            if k:
                readings[name].append(reading)
    methods = {name: Method(readings[name], readings["full model"]) for name in policies}
    print(f"\n{'':<12}{'perplexity':>11}{'agrees [90%]':>25}{'layers':>8}{'characters/s':>14}")
    for name, method in methods.items():
        print(method.row(name))
    for ours, theirs in (("policy", "full model"), ("threshold", "full model"), ("policy", "threshold")):
        print(f"\n{ours} against {theirs}, with 90% intervals:\n{methods[ours].against(methods[theirs])}")
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), options.save / "weights.pt")
        traces.save(options.save / "traces.npz")
        policy.save(options.save / "policy.safetensors")


if __name__ == "__main__":
    main()
