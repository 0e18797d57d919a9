"""Deciding on an accelerator: two Triton kernels, from logits to who goes on.

`consult` computes signal, state, answer and next node of each row and only writes them down; `commit`, launched after
it, makes them the rows' own unless any row was refused. So a call does all of its work or changes nothing, as
in the core, and no number crosses to the host.

Rules that the core's results depend on are kept to the letter: signals and edges are compared as integers (`_key`), so
that denormals and signed zeros are what they are on the CPU, and everything after the state is integer ranks.

Imported where a flight on an accelerator is started: Triton is not needed before.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ttamer.torch.decide import tables as packed
from ttamer.torch.decide.tables import FIELDS

MAX_PROB: tl.constexpr = tl.constexpr(0)
MARGIN: tl.constexpr = tl.constexpr(1)
ENTROPY: tl.constexpr = tl.constexpr(2)
LOGIT_MARGIN: tl.constexpr = tl.constexpr(3)
GIVEN: tl.constexpr = tl.constexpr(4)

# What `consult` writes in place of a next node; -1 is STOP.
IS_NAN: tl.constexpr = tl.constexpr(-2)
NOT_OPEN: tl.constexpr = tl.constexpr(-3)
HAS_STOPPED: tl.constexpr = tl.constexpr(-4)
OUT_OF_RANGE: tl.constexpr = tl.constexpr(-5)
IS_NAN_GIVEN: tl.constexpr = tl.constexpr(-6)

# The largest int32: no rank, no position, and the rank of what is not open.
NONE: tl.constexpr = tl.constexpr(0x7FFFFFFF)
INFINITE: tl.constexpr = tl.constexpr(0x7F800000)
SEVERAL: tl.constexpr = tl.constexpr(packed.SEVERAL)
PROVISIONAL: tl.constexpr = tl.constexpr(packed.PROVISIONAL)

# Entries of a node's record.
RECORD: tl.constexpr = tl.constexpr(packed.RECORD)
EDGES_AT: tl.constexpr = tl.constexpr(FIELDS.index("edges_at"))
EDGES: tl.constexpr = tl.constexpr(FIELDS.index("edges"))
RANKS_AT: tl.constexpr = tl.constexpr(FIELDS.index("ranks_at"))
STOPS_AT: tl.constexpr = tl.constexpr(FIELDS.index("stops_at"))
ONLY_NEXT: tl.constexpr = tl.constexpr(FIELDS.index("only_next"))
WORST_STATE: tl.constexpr = tl.constexpr(FIELDS.index("worst_state"))
ONLY_PREVIOUS: tl.constexpr = tl.constexpr(FIELDS.index("only_previous"))
FOLLOWS_AT: tl.constexpr = tl.constexpr(FIELDS.index("follows_at"))
INTERVALS_AT: tl.constexpr = tl.constexpr(FIELDS.index("intervals_at"))
UPPERS_AT: tl.constexpr = tl.constexpr(FIELDS.index("uppers_at"))
NEXTS_AT: tl.constexpr = tl.constexpr(FIELDS.index("nexts_at"))
CHILDREN_AT: tl.constexpr = tl.constexpr(FIELDS.index("children_at"))
CHILDREN: tl.constexpr = tl.constexpr(FIELDS.index("children"))

# Rows of a flight's state, each of `capacity` numbers; a plan has the first three and the state.
RANK: tl.constexpr = tl.constexpr(0)
ANSWER: tl.constexpr = tl.constexpr(1)
KEY: tl.constexpr = tl.constexpr(2)
LAST: tl.constexpr = tl.constexpr(3)
AHEAD: tl.constexpr = tl.constexpr(4)
PLANNED_STATE: tl.constexpr = tl.constexpr(3)


@triton.jit
def _distance(largest, value):
    # largest - value where value <= largest. Beyond 126 e^-d is 0 in float32, and 126 times that is too; equal
    # infinities are no distance apart; NaN stays.
    d = tl.where(value == largest, 0.0, largest - value)
    return tl.where(d > 126.0, 126.0, d)


@triton.jit
def _log1p(x):
    series = x * (1 - x * (0.5 - x * (1.0 / 3 - x * (0.25 - x * (0.2 - x * (1.0 / 6))))))
    return tl.where(x < 0.0625, series, tl.log(1 + x))


@triton.jit
def _one_less_exp(d):
    # 1 - e^-d for d >= 0
    series = d * (1 - d * (0.5 - d * (1.0 / 6 - d * (1.0 / 24 - d * (1.0 / 120)))))
    return tl.where(d < 0.0625, series, 1 - tl.exp(-d))


@triton.jit
def _take(value, most, rest, weighted, second, SIGNAL: tl.constexpr):
    # One more value joins its lane: the largest so far, the sum of e^-d over the others (d the distance to the
    # largest), of -d e^-d, and the second largest. One e^-d each, whichever of the two is the larger.
    larger = value > most
    if SIGNAL == MARGIN or SIGNAL == LOGIT_MARGIN:  # noqa: SIM109 - Triton compares no constants with a tuple
        second = tl.where(larger, most, tl.where(value > second, value, second))
    if SIGNAL == LOGIT_MARGIN:
        rest = tl.where(value == value, rest, value)  # there is nothing to sum, but a NaN is kept
    else:
        d = tl.where(value == most, 0.0, tl.abs(value - most))
        if SIGNAL == ENTROPY:
            d = tl.where(d > 126.0, 126.0, d)
        power = tl.exp(-d)
        if SIGNAL == ENTROPY:
            weighted = tl.where(larger, power * (weighted - d * (rest + 1)), weighted - d * power)
        rest = tl.where(larger, (rest + 1) * power, rest + power)
    most = tl.where(larger, value, most)
    return most, rest, weighted, second


@triton.jit
def _runner_up(most, second, largest, top, ties):
    # The second largest of a row, equal to the largest where that stands twice.
    found = tl.maximum(tl.max(second, axis=1), tl.max(tl.where(top, float("-inf"), most), axis=1))
    return tl.where(ties > 0, largest, found)


@triton.jit
def _signal_of(most, rest, weighted, second, SIGNAL: tl.constexpr):
    # (R, lanes) of _take to (R,) signals: NaN where the largest is not finite or there is a NaN, which no comparison
    # lets become the largest and every sum keeps.
    largest = tl.max(most, axis=1)
    top = most == largest[:, None]
    ties = tl.sum(top.to(tl.float32), axis=1) - 1
    if SIGNAL == LOGIT_MARGIN:
        total = tl.sum(tl.where(most == most, rest, most), axis=1)
        signal = largest - _runner_up(most, second, largest, top, ties)
    else:
        d = _distance(largest[:, None], most)
        power = tl.exp(-d)
        others = tl.sum(tl.where(top, rest, (rest + 1) * power), axis=1) + ties
        total = 1 + others
        if SIGNAL == MAX_PROB:
            # Near 1, where all confident rows crowd, what is missing from 1 has more digits than the quotient.
            signal = tl.where(others < 1, 1 - tl.math.div_rn(others, total), tl.math.div_rn(others * 0 + 1, total))
        elif SIGNAL == MARGIN:
            gap = _distance(largest, _runner_up(most, second, largest, top, ties))
            missing = others + tl.exp(-gap)
            less = tl.math.div_rn(_one_less_exp(gap), total)
            signal = tl.where(missing < 0.5, 1 - tl.math.div_rn(missing, total), less)
        else:
            sums = tl.sum(tl.where(top, weighted, power * (weighted - d * (rest + 1))), axis=1)
            signal = tl.math.div_rn(sums, total) - _log1p(others)
    finite = (largest > float("-inf")) & (largest < float("inf"))
    return tl.where(finite & (total == total), signal, float("nan"))


@triton.jit
def _signals(
    logits, k, live, units, stride,
    SIGNAL: tl.constexpr, ALIGN: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr, ONE_TILE: tl.constexpr,
):  # fmt: skip
    # Multiplying by ALIGN tells the compiler what classes and rows are multiples of: loads of 16 bytes follow from it.
    classes = units * ALIGN
    lane = tl.arange(0, LANES)
    at = logits + ((k.to(tl.int64) * stride) * ALIGN)[:, None] + lane[None, :]
    inside = live[:, None] & (lane < classes)[None, :]
    most = tl.load(at, mask=inside, other=float("-inf")).to(tl.float32)
    rest = tl.zeros([ROWS, LANES], tl.float32)
    weighted = rest
    second = rest + float("-inf")
    if not ONE_TILE:
        inside = live[:, None] & (lane < classes - LANES)[None, :]
        value = tl.load(at + LANES, mask=inside, other=float("-inf"))
        for begin in range(LANES, classes, LANES):
            # The next values are on their way while these are worked on.
            inside = live[:, None] & (lane < classes - LANES - begin)[None, :]
            following = tl.load(at + (LANES + begin), mask=inside, other=float("-inf"))
            most, rest, weighted, second = _take(value.to(tl.float32), most, rest, weighted, second, SIGNAL)
            value = following
    return _signal_of(most, rest, weighted, second, SIGNAL)


@triton.jit
def _key(bits):
    # Integers in the order of the floats, -0 equal to 0.
    key = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return tl.where(key == -1, 0, key)


@triton.jit
def _state_of(tables, record, key, BLOCK: tl.constexpr, STEPS: tl.constexpr):
    # How many edges are <= the signal.
    edges = tables + tl.load(record + EDGES_AT)
    count = tl.load(record + EDGES)
    if BLOCK > 0:
        each = tl.arange(0, BLOCK)
        edge = tl.load(edges + each, mask=each < count, other=NONE)
        return tl.sum((edge[None, :] <= key[:, None]).to(tl.int32), axis=1)
    state = key * 0
    for step in tl.static_range(STEPS):
        probe = state + (1 << (STEPS - 1 - step))
        inside = probe <= count
        edge = tl.load(edges + probe - 1, mask=inside, other=NONE)
        state = tl.where(inside & (edge <= key), probe, state)
    return state


@triton.jit
def _look_up(tables, record, state, best, ok, STEPS: tl.constexpr):
    # The first interval of the state with best <= upper; the last one reaches up to every rank.
    intervals = tables + tl.load(record + INTERVALS_AT) + state
    at = tl.load(intervals, mask=ok, other=0)
    end = tl.load(intervals + 1, mask=ok, other=1) - 1
    uppers = tables + tl.load(record + UPPERS_AT)
    for step in tl.static_range(STEPS):
        probe = at + (1 << (STEPS - 1 - step))
        inside = ok & (probe <= end)
        upper = tl.load(uppers + probe - 1, mask=inside, other=NONE)
        at = tl.where(inside & (upper < best), probe, at)
    return tl.load(tables + tl.load(record + NEXTS_AT) + at, mask=ok, other=-1)


@triton.jit
def _next_open(tables, record, open_ranks, row, state, best, ok, node, nodes, BLOCK: tl.constexpr):
    # The open node of the smallest index, the lowest among equals, with `node` closed and its children open.
    each = tl.arange(0, BLOCK)
    inside = ok[:, None] & ((each < nodes) & (each != node))[None, :]
    indices = tl.load(open_ranks + (row.to(tl.int64) * nodes)[:, None] + each[None, :], mask=inside, other=NONE)
    lowest = tl.min(indices, axis=1)
    chosen = tl.min(tl.where(indices == lowest[:, None], each[None, :], NONE), axis=1)
    child = tables + tl.load(record + CHILDREN_AT)
    for _ in range(0, tl.load(record + CHILDREN)):
        name = tl.load(child)
        index = tl.load(tables + tl.load(child + 1) + state * tl.load(child + 2), mask=ok, other=NONE)
        better = (index < lowest) | ((index == lowest) & (name < chosen))
        chosen = tl.where(better, name, chosen)
        lowest = tl.where(better, index, lowest)
        child += 3
    return tl.where(best <= lowest, -1, chosen)


@triton.jit(do_not_specialize=["size", "node"])
def consult(
    logits, rows, tables, state, open_ranks, plan, next_node, size, units, stride, capacity, node, nodes,
    SIGNAL: tl.constexpr, WORST: tl.constexpr, HAS_ROWS: tl.constexpr, FOREST: tl.constexpr, RECALL: tl.constexpr,
    OBSERVED: tl.constexpr, ALIGN: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr, ONE_TILE: tl.constexpr,
    EDGE_BLOCK: tl.constexpr, EDGE_STEPS: tl.constexpr, STEPS: tl.constexpr, NODE_BLOCK: tl.constexpr,
):  # fmt: skip
    """What each row of a call would do: next_node (or why it is refused), and in `plan` its new state."""
    k = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = k < size
    if HAS_ROWS:
        wide = tl.load(rows + k, mask=live, other=-1)
        outside = wide >= capacity
        live = live & (wide >= 0)
        row = tl.where(live & (wide < capacity), wide, 0).to(tl.int32)
        valid = live & (wide < capacity)
    else:
        outside = k < 0
        row = k
        valid = live
    # A record holds where everything of the node stands; nothing here waits for the logits.
    record = tables + node * RECORD
    before = tl.load(state + RANK * capacity + row, mask=valid, other=0)
    answer = tl.load(state + ANSWER * capacity + row, mask=valid, other=0)
    stopped = tl.load(state + AHEAD * capacity + row, mask=valid, other=0) == -1
    if FOREST:
        closed = tl.load(open_ranks + row.to(tl.int64) * nodes + node, mask=valid, other=0) == NONE
    else:
        last = tl.load(state + LAST * capacity + row, mask=valid, other=0)
        previous = last * 0 + tl.load(record + ONLY_PREVIOUS)
        follows = tables + tl.load(record + FOLLOWS_AT) + last + 1
        closed = tl.load(follows, mask=valid & (previous == SEVERAL), other=0) == 0
        closed = tl.where(previous == SEVERAL, closed, last != previous)
    if SIGNAL == GIVEN:
        signal = tl.load(logits + k, mask=live, other=0.0)
    else:
        signal = _signals(logits, k, live, units, stride, SIGNAL, ALIGN, ROWS, LANES, ONE_TILE)
    bits = signal.to(tl.int32, bitcast=True)
    is_nan = (bits & 0x7FFFFFFF) > INFINITE
    key = tl.where(is_nan, INFINITE, _key(bits))
    found = _state_of(tables, record, key, EDGE_BLOCK, EDGE_STEPS)
    found = tl.where(is_nan, tl.load(record + WORST_STATE), found)
    rank = tl.load(tables + tl.load(record + RANKS_AT) + found, mask=valid, other=0)
    is_probe = rank == NONE
    best = tl.where(is_probe, before, rank)
    answer_now = tl.where(is_probe, answer, node)
    deciding = rank
    best_key = tl.load(state + KEY * capacity + row, mask=valid, other=0)
    if RECALL:
        take = rank < before
        if OBSERVED:
            take = take | ((rank == before) & (key < best_key))
        if WORST:
            take = take & ~is_nan
        best = tl.where(take, rank, before)
        answer_now = tl.where(take, node, answer)
        deciding = best
    if WORST:  # a node that showed nothing answers while no other does, and never for good
        answered = (before < PROVISIONAL) | is_probe
        if RECALL:
            deciding = tl.where(is_nan & (before >= PROVISIONAL), rank, deciding)
        best = tl.where(is_nan, tl.where(answered, before, rank + PROVISIONAL), best)
        answer_now = tl.where(is_nan, tl.where(answered, answer, node), answer_now)
    if FOREST:
        ahead = _next_open(tables, record, open_ranks, row, found, deciding, valid, node, nodes, NODE_BLOCK)
        tl.store(plan + PLANNED_STATE * capacity + k, found, mask=valid)
    else:
        stop_upper = tl.load(tables + tl.load(record + STOPS_AT) + found, mask=valid, other=0)
        if STEPS > 0:
            onward = _look_up(tables, record, found, deciding, valid, STEPS)
        else:
            onward = best * 0 + tl.load(record + ONLY_NEXT)
        ahead = tl.where(deciding <= stop_upper, -1, onward)
    tl.store(plan + RANK * capacity + k, best, mask=valid)
    tl.store(plan + ANSWER * capacity + k, answer_now, mask=valid)
    tl.store(plan + KEY * capacity + k, tl.where(answer_now == node, key, best_key), mask=valid)
    if not WORST:
        ahead = tl.where(is_nan, IS_NAN_GIVEN if SIGNAL == GIVEN else IS_NAN, ahead)
    ahead = tl.where(closed, NOT_OPEN, ahead)
    ahead = tl.where(stopped, HAS_STOPPED, ahead)
    ahead = tl.where(outside, OUT_OF_RANGE, ahead)
    tl.store(next_node + k, tl.where(live, ahead, -1), mask=k < size)


@triton.jit(do_not_specialize=["size", "node"])
def commit(
    rows, tables, state, open_ranks, plan, next_node, kept, count, faults, size, capacity, node, nodes,
    HAS_ROWS: tl.constexpr, FOREST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Positions of the rows that go on and their count; the plan becomes the rows' state unless one was refused.

    Each program looks at all of next_node: for who goes on before its own rows, and for who was refused anywhere.
    """
    lane = tl.arange(0, BLOCK)
    mine = tl.program_id(0) * BLOCK
    earlier = tl.zeros([BLOCK], tl.int32)
    refused = tl.zeros([BLOCK], tl.int32) + NONE
    for begin in range(0, size, BLOCK):
        k = begin + lane
        ahead = tl.load(next_node + k, mask=k < size, other=-1)
        earlier += ((ahead >= 0) & (k < mine)).to(tl.int32)
        refused = tl.minimum(refused, tl.where(ahead < -1, k, NONE))
    first_refused = tl.min(refused, axis=0)
    fine = lane * 0 + first_refused == NONE
    offset = tl.sum(earlier, axis=0)

    k = mine + lane
    live = k < size
    ahead = tl.load(next_node + k, mask=live, other=-1)
    goes_on = (ahead >= 0).to(tl.int32)
    place = offset + tl.cumsum(goes_on, axis=0) - 1
    tl.store(kept + place, k.to(tl.int64), mask=(goes_on > 0) & fine)
    total = offset + tl.sum(goes_on, axis=0)
    tl.store(count, tl.where(first_refused == NONE, total, -1 - first_refused), mask=mine + BLOCK >= size)

    if HAS_ROWS:
        wide = tl.load(rows + k, mask=live, other=-1)
        live = live & (wide >= 0)
        slot = tl.where(live & (wide < capacity), wide, capacity).to(tl.int32)
    else:
        slot = k
    tl.store(faults + slot, node * 8 - ahead, mask=live & (ahead < -1))
    write = live & fine
    best = tl.load(plan + RANK * capacity + k, mask=write, other=0)
    answer = tl.load(plan + ANSWER * capacity + k, mask=write, other=0)
    tl.store(state + RANK * capacity + slot, best, mask=write)
    tl.store(state + ANSWER * capacity + slot, answer, mask=write)
    tl.store(state + LAST * capacity + slot, slot * 0 + node, mask=write)
    tl.store(state + AHEAD * capacity + slot, ahead, mask=write)
    key = tl.load(plan + KEY * capacity + k, mask=write, other=0)
    tl.store(state + KEY * capacity + slot, key, mask=write)
    if FOREST:
        found = tl.load(plan + PLANNED_STATE * capacity + k, mask=write, other=0)
        own = open_ranks + slot.to(tl.int64) * nodes
        tl.store(own + node, slot * 0 + NONE, mask=write)
        record = tables + node * RECORD
        child = tables + tl.load(record + CHILDREN_AT)
        for _ in range(0, tl.load(record + CHILDREN)):
            index = tl.load(tables + tl.load(child + 1) + found * tl.load(child + 2), mask=write, other=0)
            tl.store(own + tl.load(child), index, mask=write)
            child += 3


@triton.jit(do_not_specialize=["size"])
def reset(
    rows, state, open_ranks, fresh, faults, size, capacity, nodes,
    HAS_ROWS: tl.constexpr, FOREST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Rows as new requests find them; `fresh` holds the five numbers of a row's state, then what is open."""
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = k < size
    row = k
    if HAS_ROWS:
        wide = tl.load(rows + k, mask=live, other=-1)
        tl.store(faults + k * 0 + capacity, k * 0 - OUT_OF_RANGE, mask=live & (wide >= capacity))
        live = live & (wide >= 0) & (wide < capacity)
        row = tl.where(live, wide, 0).to(tl.int32)
    else:
        tl.store(faults + capacity, 0)
    tl.store(faults + row, k * 0, mask=live)
    for part in tl.static_range(5):
        tl.store(state + part * capacity + row, k * 0 + tl.load(fresh + part), mask=live)
    if FOREST:
        for node in range(0, nodes):
            tl.store(open_ranks + row.to(tl.int64) * nodes + node, k * 0 + tl.load(fresh + 5 + node), mask=live)


INTERPRETED = not isinstance(consult, triton.runtime.JITFunction)
"""Whether Triton was imported to interpret kernels, as it does on tensors of the CPU."""
