"""One request on its way through a cascade: told what nodes answered, it says which node to consult next."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import pairwise
from time import perf_counter
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import STOP
from ttamer.policy import Guarantee
from ttamer.serve.plan import Plan
from ttamer.serve.telling import number_of, score_and_label, silence, tell_again, unit_costs
from ttamer.serve.visits import AllFailed, NodeDown, Visit, plain, visit_record


class Flight:
    """A request that a `Dispatcher` let in. Does no input or output, and belongs to one task at a time.

    Attributes
    ----------
    node : int
        The node to consult now, or `ttamer.STOP`.
    cost : float
        What the request has cost so far, without shadows, in the policy's unit.
    request : str or None
        What the request is called in a log.
    is_shadowed : bool
        Whether it was drawn to be shown to all nodes for the log.
    tokens : (int, int) or None
        What chat models counted so far, without shadows: of prompts, and of answers. None once one did not count.
    tier : str
    weight : float
    reason : str or None
        Why it stopped: "policy"; "deadline"; "failure", where a node failed on the way; "override", where it was
        resumed; "cancelled". None while it is under way. What `ttamer.tune` certified is of requests that stop by the
        policy, see `guarantee`.
    """

    # What most flights never change stands in the class: entering is quicker.
    node = STOP
    cost = 0.0
    reason: str | None = None
    _errors: dict[int, BaseException] | None = None
    _numbers: dict[Hashable, int] | None = None  # of answers that are no numbers themselves
    is_shadowed = False
    tokens: tuple[int, int] | None = (0, 0)
    _shadows_since = 0.0
    _blind = False  # whether no policy decides any more
    _overridden = False
    _decided = False  # whether it was the policy that stopped

    def __init__(
        self,
        plan: Plan,
        tier: str,
        weight: float,
        deadline: float | None,
        seconds: Mapping[int, float],
        down: set[int],
        context: Mapping[str, Any] | None,
        request: str | None = None,
    ) -> None:
        self.request = request
        self.tier = tier
        self.weight = weight
        self._plan = plan
        self._batch = plan.start()
        self._score = np.empty(1, np.float32)
        self._answers: dict[int, Any] = {}
        self._visits: list[tuple[Any, ...]] = []
        self._context = context
        self._deadline = deadline
        self._seconds = seconds
        self._down = down
        self._last = plan.before_first  # consulted, without shadows
        self._began = self._since = perf_counter()
        if plan.has_front:
            self._go(plan.show_context(self._batch, context))
        elif context is not None:
            raise ValueError(plan.no_context)
        else:
            self._go(plan.first_node)

    # ---------------------------------------------------------------- what nodes say

    def consulted(
        self,
        answer: Any = None,
        signal: float | str | None = None,
        *,
        logits: npt.ArrayLike | None = None,
        label: int | None = None,
        cost: float | Mapping[str, float] | None = None,
        node: str | int | None = None,
    ) -> int:
        """Tell what the node said, and hear which one is next.

        Parameters
        ----------
        answer : object
            Kept for `answer`.
        signal : float or str, optional
            How sure the node is, of the kind that the policy's traces recorded, or the name of a category. May lack at
            a node whose signal tells nothing, and, of several models, where a model gave none.
        logits : (C,) float32, optional
            In place of a signal, where policies decide on a kind that logits give, or estimate from logits. Of several
            models the class with the largest one is then the label.
        label : int, optional
            Of several models: the number of the answer's class, -1 for none. Without it an int answer is its own
            number, and where the policy only compares answers, equal ones are the same and None is none.
        cost : float or mapping of str to float, optional
            What it cost; by default what the policy expects. In several units where the policy's is a sum of them.
        node : str or int, optional
            Who says so, by name or number: refused unless it is the one that was asked for.

        Returns
        -------
        int
            The node to consult next, or `ttamer.STOP`.

        Raises
        ------
        TypeError, ValueError
            If the flight has stopped, or the policy cannot use what is told. Nothing is changed then.
        """
        asked, plan, batch = self.node, self._plan, self._batch
        if asked == STOP:
            self._refuse("consulted")
        if node is not None and plan.number("node", node) != asked:
            raise ValueError(f"node: expected {plan.names[asked]}, which was asked for, got {node!r}")
        paid = plan.cost_of(self._last, asked) if cost is None else plan.paid(cost)
        values, code, score = None, -1, None
        if self._blind:
            following = STOP
        elif plan.takes_answers:
            score, label = score_and_label(plan, asked, signal, logits, label)
            code = self._number_of(answer, label)
            following = self._tell_answer(asked, score, code)
        elif logits is not None:
            values = plan.row_of(logits)
            following = int(batch.decide_logits(asked, values)[0])
            score = plan.signal_in(values)
        else:
            score = plan.signal_of(asked, signal)
            self._score[0] = score
            following = int(batch.decide(asked, self._score)[0])
        self._answers[asked] = answer
        self._note((asked, answer, score, code, values, paid, unit_costs(cost)))
        return self._go(following)

    def failed(self, error: BaseException | str, cost: float | Mapping[str, float] | None = 0.0) -> int:
        """Tell that the node gave nothing, and hear which one is next.

        It never answers, what it cost counts, and what was known before stays known. The next node is the best one for
        that: on a line by an optimal policy for silent nodes, where the dispatcher has a front or a model; of several
        models by what the others have shown. Elsewhere the node counts as in its worst state.

        Parameters
        ----------
        error : BaseException or str
            For `record` and `AllFailed`.
        cost : float or mapping of str to float, optional
            What the attempt cost; None for what the policy expects of an answer.

        Returns
        -------
        int
            The node to consult next, or `ttamer.STOP`.
        """
        node = self.node
        if node == STOP:
            self._refuse("failed")
        paid = self._plan.cost_of(self._last, node) if cost is None else self._plan.paid(cost)
        cause = error if isinstance(error, BaseException) else RuntimeError(checks.text("error", error))
        self._errors = {**(self._errors or {}), node: cause}
        self._note((node, None, None, -1, None, paid, unit_costs(cost)), cause)
        if self._blind:
            return self._go(STOP)
        if not self._plan.knows_silent_nodes:
            return self._go(silence(self._batch, self._plan, node))
        plan = self._plan.without(self._errors)
        if plan is None:  # nothing is left to decide
            return self._go(STOP)
        self._batch, following = tell_again(plan, self.visits, self._context)
        return self._go(following)

    def resume(self, node: str | int | None = None) -> int:
        """Go on after a stop, as when a user asks for another opinion.

        Parameters
        ----------
        node : str or int, optional
            To consult next, by name or number; by default the only one that may follow.

        Returns
        -------
        int
            That node.

        Raises
        ------
        ValueError
            If the flight is under way, or the node may not follow; those that may are named.
        """
        if self.node != STOP:
            raise ValueError(f"resume: the flight is under way, at node {self._plan.names[self.node]}")
        open_nodes = self.open
        number = open_nodes[0] if node is None and len(open_nodes) == 1 else node
        number = number if number is None else self._plan.number("node", number)
        if number in self._down:
            raise ValueError(f"resume: expected a node that is up, {self._plan.names[number]} is down")
        if number not in open_nodes:
            names = ", ".join(self._plan.names[each] for each in open_nodes) or "none"
            raise ValueError(f"resume: expected a node that may follow, {names}, got {node!r}")
        if self._decided and not self._blind:  # else nothing was stopped but the flight
            self._batch.resume(self._told()[-1])
        self._overridden, self._decided, self.reason = True, False, None
        self.node, self._since = number, perf_counter()
        return number

    def cancel(self) -> None:
        """Stop: nobody waits for the answer any more."""
        if self.node != STOP:
            self.node, self.reason = STOP, "cancelled"

    def shadowed(
        self,
        node: str | int,
        answer: Any = None,
        signal: float | str | None = None,
        *,
        logits: npt.ArrayLike | None = None,
        label: int | None = None,
        cost: float | Mapping[str, float] | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Tell what a node said that was only consulted for the record, after the stop; it changes nothing else.

        Parameters are those of `consulted`, but for the error with which it failed. The request has to be one that was
        drawn at random, and `is_shadowed` set: of all that were drawn, also where the policy had asked all nodes.
        """
        if self.node != STOP:
            raise ValueError("shadowed: the flight is under way; tell what it asks for by consulted or failed")
        if not self.is_shadowed:
            raise ValueError("is_shadowed: expected True, which says of each request that it was drawn at random")
        number, plan = self._plan.number("node", node), self._plan
        if any(visit.node == number for visit in self.visits):
            raise ValueError(f"node: expected one that was not consulted, got {plan.names[number]}")
        score, code, values = None, -1, None
        if error is None and plan.takes_answers:
            score, label = score_and_label(plan, number, signal, logits, label)
            code = self._number_of(answer, label)
        elif error is None and logits is not None:
            values = plan.row_of(logits)
            score = plan.signal_in(values)
        elif error is None and signal is not None:
            score = plan.signal_of(number, signal)
        paid = plan.cost_of(self._last, number) if cost is None else plan.paid(cost)
        now = perf_counter()
        seconds, self._shadows_since = now - max(self._since, self._shadows_since), now
        self._visits.append((number, answer, score, code, values, paid, unit_costs(cost), seconds, error, True))

    # ---------------------------------------------------------------- what is known

    @property
    def nodes(self) -> tuple[str, ...]:
        """Tuple of str : names of all nodes, their numbers where they have none."""
        return self._plan.names

    @property
    def digest(self) -> str:
        """str : the policy that it entered with, by the first digits of the SHA-256 of its file."""
        return self._plan.digest

    @property
    def name(self) -> str | None:
        """str or None : name of the node to consult now; None after the stop."""
        return None if self.node == STOP else self._plan.names[self.node]

    @property
    def open(self) -> tuple[int, ...]:
        """Tuple of int : nodes that may be consulted after the last one, whatever the policy says."""
        return tuple(node for node in self._plan.open_after(self._told()) if node not in (self._errors or ()))

    @property
    def visits(self) -> list[Visit]:
        """List of Visit : what was told so far, shadows included, in order."""
        return [Visit._make(visit) for visit in self._visits]

    @property
    def answer_node(self) -> int:
        """int : the node whose answer is the best one known, -1 while there is none."""
        node = -1 if self._blind else int(self._batch.answer_node[0])
        if not self._blind and (self._errors is None or node not in self._errors):
            return node
        # The last node that answered: along a line without recall it is the one before a silent one.
        answering = self._plan.answering
        told = [visit for visit in self.visits if visit.error is None and not visit.shadow and visit.node in answering]
        return told[-1].node if told else -1

    @property
    def answer(self) -> Any:
        """object : what that node answered; the best so far while the flight is under way.

        Raises
        ------
        AllFailed
            If it has stopped and no node answered.
        """
        node = self.answer_node
        if node < 0 and self.node == STOP:
            raise AllFailed(self.causes)
        return self._answers.get(node)

    @property
    def causes(self) -> dict[str, BaseException]:
        """Dict of str to BaseException : what each node failed with, by its name."""
        return {self._plan.names[node]: error for node, error in (self._errors or {}).items()}

    @property
    def answers(self) -> dict[str, Any]:
        """Dict of str to object : what nodes answered so far, by name."""
        return {self._plan.names[node]: answer for node, answer in self._answers.items()}

    @property
    def left(self) -> float | None:
        """float or None : seconds until the deadline, if there is one."""
        return None if self._deadline is None else self._deadline - (perf_counter() - self._began)

    @property
    def expected_loss(self) -> float:
        """float : of that answer, under the model; inf while there is none, NaN where no policy decided."""
        return float("nan") if self._blind else float(self._batch.answer_loss[0])

    @property
    def guarantee(self) -> Guarantee | None:
        """Guarantee or None : what is certified of such requests; None once the request has left it, see `reason`."""
        return self._plan.policy.guarantee if self.reason == "policy" else None

    @property
    def expected_cost(self) -> float:
        """float : of the path so far, each node at its mean cost, in the policy's unit."""
        nodes = [self._plan.before_first, *(visit.node for visit in self.visits if not visit.shadow)]
        return sum(self._plan.cost_of(before, node) for before, node in pairwise(nodes))

    @property
    def seconds(self) -> float:
        """float : since the flight began, until its last node answered."""
        return self._since - self._began

    def record(self, answers: bool = False) -> dict[str, Any]:
        """One line of a log, which `Traces.from_log` reads: who decided, why it stopped, and what each node said.

        Parameters
        ----------
        answers : bool
            Whether to say what nodes answered, under "said".
        """
        plan = self._plan
        node = self.answer_node
        shown = {} if self._context is None else {"context": {k: plain(v) for k, v in self._context.items()}}
        name = {} if self.request is None else {"request": self.request}
        certified = {} if plan.policy.guarantee is None else {"is_certified": self.guarantee is not None}
        return {
            **name,
            "policy": plan.digest,
            "tier": self.tier,
            "weight": self.weight,
            "reason": self.reason,
            "answer_node": plan.keys[node] if node >= 0 else None,
            "cost": self.cost,
            "unit": plan.policy.unit,
            **({} if plan.class_count else {"signal": plan.signal_kind}),
            **certified,
            "is_shadowed": self.is_shadowed,
            "seconds": self.seconds,
            **shown,
            "visits": [visit_record(plan, visit, answers) for visit in self.visits],
        }

    def __repr__(self) -> str:
        state = f"at node {self.name}" if self.node != STOP else f"stopped by {self.reason}"
        return f"Flight({state}, {len(self._visits)} visits, cost {self.cost:.6g})"

    # ---------------------------------------------------------------- inside

    def _told(self) -> list[int]:
        """Nodes that the batch was told of, in order; of independent models without those known to be silent."""
        told = [visit for visit in self.visits if not visit.shadow]
        skips = self._plan.independent and self._plan.knows_silent_nodes
        return [visit.node for visit in told if visit.error is None or not skips]

    def _refuse(self, what: str) -> NoReturn:
        raise ValueError(f"{what}: the flight has stopped; resume() goes on, shadowed() is for the record")

    def _number_of(self, answer: Any, label: int | None) -> int:
        self._numbers = {} if self._numbers is None else self._numbers
        return number_of(self._plan, self._numbers, answer, label)

    def _tell_answer(self, node: int, score: float, code: int) -> int:
        self._score[0] = score
        return int(self._batch.decide_answers(node, self._score, np.array([code], np.int32))[0])

    def _note(self, told: tuple[Any, ...], error: BaseException | None = None) -> None:
        """Keep what a visit was told, and the time that it took."""
        now = perf_counter()
        self._visits.append((*told, now - self._since, error, False))
        self._since, self._last = now, told[0]
        self.cost += told[5]

    def _go(self, following: int) -> int:
        self.node = following
        if following == STOP:
            return self._stop("policy")
        if self._deadline is not None and self._visits:  # there is nothing to return before
            late = self._since - self._began + self._seconds.get(following, 0.0) > self._deadline
            if late and self.answer_node >= 0:
                return self._stop("deadline")
        if following in self._down:
            return self.failed(NodeDown(f"{self._plan.names[following]} is down"))
        return following

    def _stop(self, reason: str) -> int:
        if self._errors is not None and self.answer_node < 0:
            # The policy knows no further node, and nothing has answered: any that is left is better than none.
            left = [node for node in self._plan.answering if all(visit.node != node for visit in self.visits)]
            if left and self._plan.independent:
                self._blind, self.node = True, left[0]
                return self._go(left[0])
        self.node, self._decided = STOP, reason == "policy"
        late = self._deadline is not None and self._since - self._began > self._deadline
        if reason == "policy" and self._errors is not None:
            reason = "deadline" if late else "failure"
        self.reason = "override" if self._overridden else reason
        return STOP
