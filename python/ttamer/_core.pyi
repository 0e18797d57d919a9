from collections.abc import Sequence
from typing import Any, Literal, Protocol, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

__version__: str

class _Tensor(Protocol):
    @property
    def __dlpack_c_exchange_api__(self) -> object: ...

_Node: TypeAlias = SupportsIndex | npt.NDArray[np.int32] | _Tensor
_Rows: TypeAlias = npt.NDArray[np.int32] | npt.NDArray[np.int64] | _Tensor | None

class Topology:
    @staticmethod
    def line(nodes: SupportsIndex) -> Topology: ...
    @staticmethod
    def skip(nodes: SupportsIndex) -> Topology: ...
    @staticmethod
    def forest(parents: Sequence[int]) -> Topology: ...
    @staticmethod
    def dag(nodes: SupportsIndex, edges: Sequence[tuple[int, int]]) -> Topology: ...
    @staticmethod
    def skip_costs(segment: Sequence[float], ramp: Sequence[float]) -> npt.NDArray[np.float64]: ...
    @staticmethod
    def from_parts(kind: str, nodes: SupportsIndex, edges: Sequence[tuple[int, int]]) -> Topology: ...
    @property
    def kind(self) -> Literal["line", "skip", "forest", "dag"]: ...
    @property
    def nodes(self) -> int: ...
    @property
    def edges(self) -> npt.NDArray[np.int32]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

class Counts:
    def __init__(
        self,
        columns: SupportsIndex,
        offsets: npt.NDArray[np.int64],
        indices: npt.NDArray[np.int32],
        values: npt.NDArray[np.float64],
    ) -> None: ...
    @staticmethod
    def count(
        from_states: npt.NDArray[np.int32],
        to_states: npt.NDArray[np.int32],
        rows: SupportsIndex,
        columns: SupportsIndex,
        weights: npt.NDArray[np.float64] | None = None,
    ) -> Counts: ...
    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def offsets(self) -> npt.NDArray[np.int64]: ...
    @property
    def indices(self) -> npt.NDArray[np.int32]: ...
    @property
    def values(self) -> npt.NDArray[np.float64]: ...
    def __add__(self, other: Counts) -> Counts: ...
    def __sub__(self, other: Counts) -> Counts: ...

class Transition:
    @staticmethod
    def dense(values: npt.NDArray[np.float64]) -> Transition: ...
    @staticmethod
    def counted(counts: Counts, marginal: npt.NDArray[np.float64], strength: float) -> Transition: ...
    def to_dense(self) -> npt.NDArray[np.float64]: ...

class Model:
    def __init__(
        self,
        topology: Topology,
        losses: Sequence[npt.NDArray[np.float64]],
        transitions: Sequence[Transition],
        costs: npt.NDArray[np.float64],
        cost_scale: float,
        bin_edges: Sequence[npt.NDArray[np.float32]],
        observed: bool,
        signal_nodes: npt.NDArray[np.int32] | None = None,
        state_costs: Sequence[npt.NDArray[np.float64]] | None = None,
    ) -> None: ...

class Policy:
    def __init__(
        self,
        topology: Topology,
        recall: bool,
        observed: bool,
        tradeoff: float,
        value: float,
        cost_scale: float,
        first_node: SupportsIndex,
        arrays: dict[str, npt.NDArray[Any]],
    ) -> None: ...
    def arrays(self) -> dict[str, npt.NDArray[Any]]: ...
    def derived(self) -> dict[str, npt.NDArray[np.int32]]: ...
    @property
    def topology(self) -> Topology: ...
    @property
    def recall(self) -> bool: ...
    @property
    def observed(self) -> bool: ...
    @property
    def tradeoff(self) -> float: ...
    @property
    def value(self) -> float: ...
    @property
    def cost_scale(self) -> float: ...
    @property
    def first_node(self) -> int: ...
    @property
    def signal_nodes(self) -> npt.NDArray[np.int32]: ...
    def replay(
        self,
        signals: npt.NDArray[np.float32],
        costs: npt.NDArray[np.float64],
        losses: npt.NDArray[np.float32] | None = None,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...

class Estimator:
    def __init__(
        self,
        nodes: SupportsIndex,
        class_count: SupportsIndex,
        top: SupportsIndex,
        kind: str,
        last: npt.NDArray[np.int32],
        set_offsets: npt.NDArray[np.int32],
        sets: npt.NDArray[np.int32],
        candidate_offsets: npt.NDArray[np.int32],
        candidates: npt.NDArray[np.int32],
        coefficients: npt.NDArray[np.float64],
    ) -> None: ...
    def estimate(
        self, log_probs: npt.NDArray[np.float32], classes: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]: ...

class SetEstimator:
    def __init__(self, nodes: SupportsIndex, tables: dict[str, npt.NDArray[Any]]) -> None: ...
    @property
    def leaves(self) -> npt.NDArray[np.int32]: ...
    def estimate(
        self, scores: npt.NDArray[np.float32], answers: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]: ...

_Policies: TypeAlias = Policy | tuple[Policy, ...]

class Batch:
    def decide(
        self,
        node: _Node,
        signals: npt.NDArray[np.float32] | _Tensor,
        rows: _Rows = None,
    ) -> npt.NDArray[np.int32]: ...
    def decide_logits(
        self,
        node: _Node,
        logits: npt.NDArray[Any] | _Tensor,
        rows: _Rows = None,
    ) -> npt.NDArray[np.int32]: ...
    def decide_answers(
        self,
        node: _Node,
        scores: npt.NDArray[np.float32] | _Tensor | None,
        answers: npt.NDArray[np.int32] | _Tensor | None = None,
        rows: _Rows = None,
    ) -> npt.NDArray[np.int32]: ...
    def _logit_signals(self, logits: npt.NDArray[Any] | _Tensor, rows: _Rows = None) -> npt.NDArray[np.float32]: ...
    def _estimated_signals(
        self, node: SupportsIndex, logits: npt.NDArray[Any] | _Tensor, rows: _Rows = None
    ) -> npt.NDArray[np.float32]: ...
    def _nothing(
        self,
        node: _Node,
        signals: npt.NDArray[np.float32] | _Tensor,
        rows: _Rows = None,
    ) -> None: ...
    def enter(
        self, places: npt.NDArray[np.int32] | npt.NDArray[np.int64] | _Tensor, rows: _Rows = None
    ) -> npt.NDArray[np.int32]: ...
    def reset(self, rows: _Rows = None) -> None: ...
    def resume(self, node: SupportsIndex, rows: _Rows = None) -> None: ...
    @property
    def answer_node(self) -> npt.NDArray[np.int32]: ...
    @property
    def answer_loss(self) -> npt.NDArray[np.float64]: ...
    @property
    def _answer_signal(self) -> npt.NDArray[np.float32]: ...
    @property
    def _answer_step(self) -> npt.NDArray[np.int32]: ...
    @property
    def capacity(self) -> int: ...
    def __len__(self) -> int: ...

def start(
    policy: _Policies, capacity: SupportsIndex, nan: str, signal: str, handed: str, classes: SupportsIndex = 0
) -> Batch: ...
def start_estimated(estimator: Estimator, policy: _Policies, capacity: SupportsIndex, nan: str) -> Batch: ...
def start_sets(
    estimator: SetEstimator,
    policy: _Policies,
    capacity: SupportsIndex,
    nan: str,
    signal: str,
    classes: SupportsIndex = 0,
) -> Batch: ...
def solve(model: Model, tradeoff: float, recall: bool, aggregate: SupportsIndex = 0) -> Policy: ...
def surrogates(
    model: Model, tradeoff: float, outside: float, aggregate: SupportsIndex = 0
) -> tuple[list[npt.NDArray[np.float64]], float]: ...
def expect(model: Model, policy: Policy) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float, float]: ...
def logit_signals(logits: npt.NDArray[Any] | _Tensor, kind: str, taken: bool = False) -> npt.NDArray[np.float32]: ...
def states(
    edges: npt.NDArray[np.float32], signals: npt.NDArray[np.float32], node: SupportsIndex
) -> npt.NDArray[np.int32]: ...
