"""A network with exits: trained with all of them, served so that every request leaves at its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from ttamer._base import checks
from ttamer._core import Topology
from ttamer.policy import Policy
from ttamer.policy.policy import check_batch
from ttamer.torch.decide.callables import LossFunction, SignalFunction, check_kind, signal_text
from ttamer.torch.decide.decider import Decider
from ttamer.torch.output import ExitOutput
from ttamer.torch.parts import run, set_mode, takes, unpacked
from ttamer.torch.serve import nested
from ttamer.torch.serve.answer_states import AnswerStates
from ttamer.torch.serve.attach import check_capture, check_policy, share_of, sizes_of
from ttamer.torch.serve.engine import Engine
from ttamer.torch.serve.rows import Compaction
from ttamer.torch.serve.serving import OnExit, Serving
from ttamer.torch.wrap.encoders import cut_encoder
from ttamer.torch.wrap.sequential import cut_sequential
from ttamer.torch.wrap.vision import cut_vision

if TYPE_CHECKING:
    from ttamer.traces import Traces

# PyTorch 2.6 does not say, and its export complains in its own words.
_is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", lambda: False)


class EarlyExit(nn.Module):
    """Stages in a row, an exit after each: node i of a policy is exit i.

    Stage i maps what stage i - 1 gave (the first one: the input) to what stage i + 1 gets: a tensor, or a tuple, list
    or dict of tensors, the first dimension of each being the requests. Exit i maps what stage i gave to logits (B, C).
    Where the signal is a callable, exits may give tensors of any form, (B, ...).

    Keyword tensors of a call, such as attention masks, go to every stage and exit whose `forward` names them.

    Parameters
    ----------
    stages, exits : sequence of nn.Module
        As many of one as of the other. They may share modules.
    signal : {"max_prob", "margin", "entropy", "logit_margin"} or callable
        How confident an exit is, computed from its logits: what `record` writes down. A policy that was made from
        another one is served by its own. A callable makes (B,) floats of an exit's output, row by row, larger where it
        is more confident; if it is a module it is part of this one.

    Raises
    ------
    TypeError
        If a stage or exit is not a module.
    ValueError
        If there are none, or not as many exits as stages, or the signal is unknown.

    Notes
    -----
    In training mode a call returns the logits of all exits (`joint_loss` trains them together). In evaluation mode it
    returns an `ExitOutput`: of the last exit, having run every stage, until a policy is attached.
    """

    def __init__(
        self, stages: Sequence[nn.Module], exits: Sequence[nn.Module], signal: str | SignalFunction = "max_prob"
    ) -> None:
        super().__init__()
        for name, modules in (("stages", stages), ("exits", exits)):
            for k, module in enumerate(modules):
                if not isinstance(module, nn.Module):
                    raise TypeError(f"{name}: expected nn.Modules, got {type(module).__name__} at {k}")
        if not 1 <= len(stages) == len(exits):
            raise ValueError(f"exits: expected one a stage and at least one, got {len(exits)} for {len(stages)} stages")
        check_kind(signal)
        self.stages = nn.ModuleList(stages)
        self.exits = nn.ModuleList(exits)
        self.signal = signal
        self._serving: Serving | None = None
        self._frozen: frozenset[str] | None = None  # parameters that are to take gradients again

    @classmethod
    def from_sequential(
        cls,
        model: nn.Sequential,
        cuts: Sequence[int],
        exits: Sequence[nn.Module],
        signal: str | SignalFunction = "max_prob",
    ) -> EarlyExit:
        """Cut a sequential model into stages.

        Parameters
        ----------
        model : nn.Sequential
            Its modules are used, not copied.
        cuts : sequence of int
            Rising; exit i comes after the first ``cuts[i]`` modules.
        exits : sequence of nn.Module
            One a cut. If modules are left after the last cut they are the model's own head and the exit there: then
            give one exit fewer.
        signal : str or callable
            As for the constructor.

        Raises
        ------
        TypeError
            If the model is no `nn.Sequential`, or an exit no module.
        ValueError
            If the cuts do not rise between 1 and the number of modules, or the number of exits does not fit.
        """
        return cls(*cut_sequential(model, cuts, exits), signal)

    @classmethod
    def from_encoder(
        cls,
        model: nn.Module,
        exits: Sequence[nn.Module],
        cuts: Sequence[int] | None = None,
        signal: str | SignalFunction = "max_prob",
    ) -> EarlyExit:
        """Cut a Hugging Face encoder into stages; docs/torch.md lists the kinds that are known.

        Parameters
        ----------
        model : transformers.PreTrainedModel
            The encoder, or a model with a head on top of one. Its modules are used, not copied. One in PEFT's wrapper
            is taken out of it, with the adapters in its layers. Of a whole CLIP or SigLIP the vision half is taken.
        exits : sequence of nn.Module
            Each maps hidden states (B, T, width) to logits; one whose `forward` names `attention_mask` gets it.
            `PooledExit` is one. Give one exit fewer to keep the head of a model for the classification of sequences or
            images as the last exit; otherwise it is left out.
        cuts : sequence of int, optional
            Rising; exit i comes after the embeddings and the first ``cuts[i]`` layers. Default: after each layer; with
            one exit more than layers, also after the embeddings.
        signal : str or callable
            As for the constructor.

        Returns
        -------
        EarlyExit
            Called with ``input_ids`` (text) or ``pixel_values`` (images) as its input, and for text with
            `attention_mask` (B, T) and, as far as the encoder takes them, `token_type_ids` and `position_ids`; or with
            what a tokenizer or an image processor gives.

        Raises
        ------
        TypeError
            If the model is not of a kind that is known.
        ValueError
            If the cuts do not fit the layers or the exits, attention is computed in a way that takes other masks, or
            PEFT's adapters are prompts or prefixes, which are outside of the layers.
        """
        return cls(*cut_encoder(model, exits, cuts), signal)

    @classmethod
    def from_stages(
        cls,
        model: nn.Module,
        exits: Sequence[nn.Module],
        cuts: Sequence[int] | None = None,
        signal: str | SignalFunction = "max_prob",
    ) -> EarlyExit:
        """Cut a vision network of timm (VisionTransformer, ConvNeXt) or torchvision (ResNet, ConvNeXt, Swin).

        Parameters
        ----------
        model : nn.Module
            Its modules are used, not copied.
        exits : sequence of nn.Module
            Each maps what a stage gives to logits: maps (B, C, H, W), of a Swin (B, H, W, C), or of a VisionTransformer
            tokens (B, T, width). Give one exit fewer to keep the model's own head as the last exit.
        cuts : sequence of int, optional
            Rising; exit i comes after the stem and the network's first ``cuts[i]`` stages, or blocks of a
            VisionTransformer. Default: after each; with one exit more than stages, also after the stem.
        signal : str or callable
            As for the constructor.

        Raises
        ------
        TypeError
            If the model is of another class, or of one that runs its parts in another way.
        ValueError
            If the cuts do not fit the stages or the exits.
        """
        return cls(*cut_vision(model, exits, cuts), signal)

    @property
    def policy(self) -> Policy | None:
        """Policy or None : what is attached."""
        return None if self._serving is None else self._serving.decider.policy

    def attach(
        self,
        policy: Policy,
        *,
        signal: str | SignalFunction | None = None,
        compact: str | float = "always",
        bucket: Sequence[int] | None = None,
        nan: str = "error",
        capture: bool = False,
    ) -> EarlyExit:
        """Serve with a policy: in evaluation mode, rows leave where it says so.

        Parameters
        ----------
        policy : Policy
            Over a line, a skip, or a dag whose edges lead forward; its node i is exit i. One that estimates is decided
            by the core: on an accelerator the logits of every exit then come to the host.
        signal : {"max_prob", "margin", "entropy", "logit_margin"} or callable, optional
            What is computed from logits. By default what the policy decides on. For a policy whose traces had signals
            of the user's own: the callable that made them, by default the model's, or the kind that they were. A module
            that is not the model's is moved to its device and put in evaluation mode.
        compact : {"always", "never"} or float
            When rows that stopped are dropped from what the next stage gets: whenever there are any, never, or once at
            most this share, between 0 and 1, of the rows held is left. Until then they are computed in vain; dropping
            them copies those that are left.
        bucket : sequence of int, optional
            The only numbers of rows that stages may get, for stages that are compiled or captured for fixed sizes; rows
            are padded with copies of a live one. The largest is also the largest batch. Exits get these numbers too,
            except for rows that jump over an exit beside others that do not.
        nan : {"error", "worst"}
            What NaN logits do: raise naming the rows, or count as the exit's worst state.
        capture : bool
            On CUDA, run every ramp of a line as one CUDA graph, captured for each size of `bucket` in the first call
            with inputs of a kind. Stages must then be such as can be captured. On the CPU nothing changes.

        Returns
        -------
        EarlyExit
            This model.

        Raises
        ------
        TypeError
            If the policy is none, `bucket` holds anything but ints, or `capture` is no bool.
        ValueError
            If the policy does not fit the exits or decides on another signal than named, an option is out of range, or
            there is nothing to capture for. The model then keeps what it had.
        """
        check_policy(policy, len(self.exits))
        compaction = Compaction(share_of(compact), sizes_of(bucket))
        check_capture(capture, policy, compaction)
        check_batch(0, nan)
        if signal is None and policy.signal == "" and policy.estimator is None and not isinstance(self.signal, str):
            signal = self.signal
        decider = Decider(policy, signal).to(self._device())
        if decider.signal is not self.signal:  # the model's own follows its mode
            decider.eval()
        self._serving = Serving(decider, compaction, nan, capture, AnswerStates.of(policy))
        return self

    def engine(self, slots: int = 256, batch: int = 64, max_wait: float = 1.0) -> Engine:
        """Serve requests that come one by one, at any time, in full batches; answers leave when they are known.

        Parameters
        ----------
        slots : int
            Rows under way at once; who submits more waits. Full batches before all stages take about `batch` for each
            of them.
        batch : int
            The most rows that a stage gets at once: record costs with ``batch_size=batch, full_batches=True``.
        max_wait : float
            Seconds for which rows may wait before a stage while others, which are more or further on, go first.

        Returns
        -------
        Engine
            Close it, or use it in a ``with`` statement: it has a thread. It keeps to the policy that is attached now.

        Raises
        ------
        RuntimeError
            If there is no policy, or the model is in training mode.
        TypeError, ValueError
            If an argument is out of range, the policy is not over a line, or it is attached with graphs on CUDA.
        """
        if self._serving is None:
            raise RuntimeError("engine: expected a policy; attach one first")
        if self.training:
            raise RuntimeError("engine: expected a model in evaluation mode; call eval() first")
        return Engine(self, self._serving, slots, batch, max_wait)

    def detach(self) -> EarlyExit:
        """Serve without a policy again; returns this model."""
        self._serving = None
        return self

    def freeze_backbone(self, frozen: bool = True) -> EarlyExit:
        """Train exits alone, on stages that stay as they are; or stages again too.

        Parameters
        ----------
        frozen : bool
            False gives gradients to those parameters again that had them.

        Returns
        -------
        EarlyExit
            This model.

        Raises
        ------
        TypeError
            If `frozen` is no bool.

        Notes
        -----
        Parameters of frozen stages take no gradients, and lose those that they have, so that no optimiser moves them.
        Stages are in evaluation mode, in training too: without dropout, and batch norms keep their statistics, which
        would otherwise change what every later exit gets. A module or parameter that is in a stage and in an exit
        counts as the stage's. The state of the model has the same names.
        """
        if checks.flag("frozen", frozen):
            trained = {name: parameter for name, parameter in self._backbone() if parameter.requires_grad}
            self._frozen = frozenset(trained) | (self._frozen or frozenset())
            for parameter in trained.values():
                parameter.requires_grad_(False).grad = None
            set_mode(self.stages, False)
        elif self._frozen is not None:
            for name, parameter in self._backbone():
                parameter.requires_grad_(parameter.requires_grad or name in self._frozen)
            self._frozen = None
            set_mode(self.stages, self.training)
        return self

    def train(self, mode: bool = True) -> EarlyExit:
        """Training mode, or evaluation mode, in which frozen stages stay.

        Stages and exits exported by `torch.export` stay in the mode of the export.
        """
        try:
            super().train(mode)
        except NotImplementedError:
            for part in self.children():
                set_mode(part, mode)
        if self._frozen is not None:
            set_mode(self.stages, False)
        return self

    def forward(
        self, x: Any = None, *, on_exit: OnExit | None = None, **keywords: Any
    ) -> tuple[Tensor, ...] | ExitOutput:
        """Logits of all exits in training mode, else the answers.

        Parameters
        ----------
        x : Tensor, or tuple, list or mapping of tensors
            B requests; what the first stage takes. Left out if it is the keyword `input_ids` or `pixel_values`. A
            mapping that holds what the first stage's `forward` calls its input, where that is one of these two names,
            is taken for the keywords of a call.
        on_exit : callable, optional
            In evaluation mode with a policy: called at each exit at which rows leave, with the numbers of these rows,
            (m,) int64, and their `ExitOutput`, so that they need not wait for the others. What it raises ends the call.
            Graphs are not used then.
        **keywords
            Handed to the stages and exits that name them. The first dimension of tensors is B too.

        Returns
        -------
        tuple of (B, C) Tensor
            In training mode: outputs of any form, (B, ...), if exits give such.
        ExitOutput
            In evaluation mode, in the order of the input. With a policy no gradients are recorded.

        Raises
        ------
        TypeError
            If there is no input, a keyword is taken by no stage and no exit, or graphs are to be captured and something
            is neither a tensor with rows nor a plain value.
        RuntimeError
            If a graph cannot be captured of a stage, exit or signal, a signal raised, the model is exported or
            traced with a policy, or there is `on_exit` where nobody leaves: in training mode or without a policy.
        ValueError
            If numbers of rows, classes or devices disagree, there are more rows than the largest bucket, or logits are
            NaN.
        """
        serving = self._serving  # read once: another thread may attach or detach meanwhile
        if on_exit is not None and (self.training or serving is None):
            raise RuntimeError("on_exit: expected a model in evaluation mode with a policy, where rows leave")
        if self.training:
            return self.all_logits(x, **keywords)
        x, keywords = unpacked(self.stages[0], x, keywords)
        rows, device = self._check(x, keywords)
        if serving is None:
            return self._whole(x, keywords, rows)
        if _is_exporting() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            raise RuntimeError("export: a policy decides outside of graphs; export stages and exits, or detach it")
        with torch.no_grad():
            return serving.serve(self._parts(), x, keywords, rows, device, on_exit)

    def all_logits(self, x: Any = None, **keywords: Any) -> tuple[Tensor, ...]:
        """Logits of every exit, whatever the mode and the policy.

        Parameters
        ----------
        x, **keywords
            As for a call.

        Returns
        -------
        tuple of (B, C) Tensor
            One an exit; (B, ...) if exits give outputs of another form.
        """
        x, keywords = unpacked(self.stages[0], x, keywords)
        rows, _ = self._check(x, keywords)
        logits: list[Tensor] = []
        for node, (stage, leave) in enumerate(self._parts()):
            x = run(stage, x, keywords)
            nested.check_hidden(x, rows, node)
            like = logits[0] if logits else None
            logits.append(nested.check_output(run(leave, x, keywords), rows, node, like))
        return tuple(logits)

    def record(
        self,
        loader: Iterable[Any],
        device: torch.device | str | None = None,
        *,
        loss: LossFunction | None = None,
        signal: str | SignalFunction | None = None,
        topology: Topology | None = None,
        batch_size: int | None = None,
        full_batches: bool = False,
        repeats: int = 30,
        costs: npt.ArrayLike | None = None,
        unit: str = "ms",
        top: int = 8,
        resume: str | PathLike[str] | None = None,
        save_every: int = 100,
        progress: bool = True,
    ) -> Traces:
        """Run labelled requests through every exit and measure what stages and exits cost.

        Parameters
        ----------
        loader : iterable
            Yields ``(inputs, labels)`` or ``(inputs, keywords, labels)``, keywords being a dict: what a call takes, and
            labels (B,), integers, or whatever `loss` takes. Or mappings of all that, with `input_ids` or `pixel_values`
            as the input, and `labels` or `label`. Where labels are missing, that is where it yields None for them, a
            tensor or ``(inputs,)`` alone, a mapping without, or without `loss` -100 for a request, losses are unknown,
            NaN. With `resume` it has to yield the same batches every time.
        device : torch.device or str, optional
            Where to run; the model is moved there and stays. Default: where it is.
        loss : callable, optional
            ``loss(output, labels)`` gives what each request loses if an exit answers, (B,) floats, finite and not
            negative; `output` is what the exit gave, of any form, (B, ...), `labels` what the loader yields, moved to
            the device. Default: 1 where the largest logit is not the label's, else 0.
        signal : str or callable, optional
            As for the constructor. Default: the model's.
        topology : Topology, optional
            A line (the default), a skip, or a dag whose edges lead forward. What an edge jumps over costs its stages,
            not its exits.
        batch_size : int, optional
            How many rows the served batches have. Costs are then of such batches, which get smaller as rows leave:
            parts are timed at so many rows, half of them, and so on down to one. What a part takes however many rows
            reach it is on the first edge, for it is saved only if all of them have left. Default: that of the first
            batch.
        full_batches : bool
            Batches keep their number of rows, as an `engine` under load fills them up: then all that a part takes is on
            its edge.
        repeats : int
            How many runs each time is the median of, after some that warm up.
        costs : (E,) numbers, optional
            Costs of the edges, if they are known, in `unit`; nothing is measured.
        unit : str
            Unit of `costs`. Measured costs are milliseconds a request.
        top : int
            How many of the largest log-probabilities to keep, as for `Traces.from_probs`.
        resume : path, optional
            File where what was recorded so far is kept, as ordinary traces: every `save_every` batches, when the run is
            interrupted or fails, and at the end. If it exists the run goes on from it, with the costs that it has.
        save_every : int
        progress : bool
            Show a progress bar on standard error, if rich is installed.

        Returns
        -------
        Traces
            Signals as serving on the CPU computes them, losses, costs. Where outputs have to be logits of classes, that
            is unless both `loss` and the signal are callables, also evidence, predictions, and labels if every request
            has one. Signals of a callable are the user's own, "".

        Raises
        ------
        TypeError
            If what the loader yields is neither such a tuple nor such a mapping, its labels are no integers, or a
            callable gives no floats.
        ValueError
            If the loader is empty or its labels are not one a request, logits have no softmax (NaN, +inf or only -inf),
            a callable gives other than one finite number a request, or the file of `resume` was recorded with other
            settings, other callables (by name), another loader or another model.
        RuntimeError
            If a callable raised.
        FileNotFoundError
            If the folder of `resume` does not exist.
        """
        from ttamer.torch.record.recording import Settings, record

        kind = self.signal if signal is None else signal
        settings = Settings(
            loss, kind, topology, batch_size, full_batches, repeats, costs, unit, top, resume, save_every, progress
        )
        return record(self, loader, device, settings)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> EarlyExit:
        # The policy's tables move along, but are no part of the module's state: a policy has a file of its own.
        if self._serving is not None:
            self._serving.forget_graphs()
            self._serving.decider._apply(fn)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def extra_repr(self) -> str:
        """What `repr` says beside the modules."""
        return f"signal={signal_text(self.signal)}, policy={self.policy!r}"

    def _check(self, x: Any, keywords: Mapping[str, Any]) -> tuple[int, torch.device]:
        """Check the input before anything runs; the number of its rows and its device."""
        rows, device = nested.count_rows(x, keywords)
        own = self._device()
        if own is not None and own != device:
            raise ValueError(
                f"x: expected tensors on {own}, where the model is, got one on {device}; move the input or the model"
            )
        for name in keywords:
            if not any(takes(part, name) for part in (*self.stages, *self.exits)):
                raise TypeError(f"{name}: no stage and no exit takes a keyword of this name")
        return rows, device

    def _device(self) -> torch.device | None:
        """Where the model is, if it has anything that is somewhere."""
        serving = self._serving
        if serving is not None:  # known without a search through the modules
            return serving.decider.tables.device
        own = next(self.parameters(), None)
        return None if own is None else own.device

    def _backbone(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Parameters of the stages, by names that stay if a stage is compiled."""
        return ((name.replace("_orig_mod.", ""), parameter) for name, parameter in self.stages.named_parameters())

    def _whole(self, x: Any, keywords: dict[str, Any], rows: int) -> ExitOutput:
        """Every stage, and the last exit."""
        last = len(self.stages) - 1
        for node, stage in enumerate(self.stages):
            x = run(stage, x, keywords)
            nested.check_hidden(x, rows, node)
        logits = nested.check_output(run(self.exits[last], x, keywords), rows, last, None)
        final = torch.full((rows,), last, dtype=torch.int32, device=logits.device)
        cost = torch.full((rows,), torch.nan, dtype=torch.float64, device=logits.device)
        return ExitOutput(logits, final, final.clone(), cost, cost.float(), torch.full_like(final, -1), cost.clone())

    def _parts(self) -> list[tuple[nn.Module, nn.Module]]:
        """Stage and exit of each node."""
        return list(zip(self.stages, self.exits, strict=True))
