"""Compares the figures in README.md and docs with bench/results; with --write the pages take those of the results.

Each passage of a page that quotes results stands here, with {} in place of every figure, beside where the figures are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from quoting import Quote, compare, digits, result, row, rows, span

README, BENCHMARKS, QUALITY = "README.md", "docs/benchmarks.md", "docs/quality.md"
WORKLOADS = ("fashion-vgg", "agnews-minilm", "sst2-minilm", "chargpt", "fashion-cascade", "agnews-cascade")


def quotes() -> Iterator[Quote]:
    """All of them."""
    for part in (_demo, _calls, _logits, _answers, _solves, _replays, _threads, _serving, _drift, _on_gpu, _networks):
        yield from part()
    for part in (_workloads, _sets, _few_rows, _service_levels, _guarantees, _random_cascades, _trees, _paper):
        yield from part()


def _quote(page: str, passage: str, *figures: str) -> Quote:
    assert passage.count("{}") == len(figures), (passage, figures)
    return Quote(page, passage, figures)


def _table(page: str, head: str, lines: Iterable[Sequence[str | None]], *figures: str) -> Quote:
    """A whole table under its head: of each line what it begins with, and figures for its other cells, None for none.

    `figures` are those of places in the head and in what lines begin with.
    """
    passage, cells = f"{head}\n|{'-|' * (head.count('|') - 1)}", list(figures)
    for first, *others in lines:
        passage += f"\n| {first} |".replace("|  |", "| |")
        passage += "".join(" |" if cell is None else " {} |" for cell in others)
        cells += [cell for cell in others if cell is not None]
    return _quote(page, passage, *cells)


def _percent(value: float, places: int = 2) -> str:
    return f"{100 * value:.{places}f}%"


def _time(value: float, units: tuple[str, str], count: int = 3) -> str:
    """In the second unit, of a thousand of the first, from a thousand on; fewer digits of what is small."""
    unit, larger = units
    if value >= 999.5:
        value, unit = value / 1000, larger
    return f"{digits(value, count)} {unit}"


def _nanoseconds(value: float) -> str:
    return f"{digits(value, 3 if value >= 99.5 else 2)} ns"


# ---------------------------------------------------------------- the demo


def _demo() -> Iterator[Quote]:
    demo = result("demo")
    levels = demo["levels"]
    first, last = levels[0]["costs"], levels[-1]["costs"]
    models = [level for level in demo["models"]["levels"] if level["margin"] != 0.005]
    best = models[0]
    yield _quote(
        README,
        "At the full model's test error ({}) a request costs {} ms with the full model, {} ms with one threshold and "
        "{} ms with ttamer. At {} it costs {} ms with one threshold, {} ms with ttamer and {} ms with thresholds "
        "tuned per node.",
        _percent(levels[0]["error"]),
        *(f"{first[name]:.3f}" for name in ("full model", "one threshold", "ttamer")),
        _percent(levels[-1]["error"]),
        *(f"{last[name]:.3f}" for name in ("one threshold", "ttamer", "tuned thresholds")),
    )
    yield _quote(
        README,
        "the error of the best one, {}, costs {} USD a request with that model alone, {} USD with one threshold and "
        "{} USD with ttamer.",
        _percent(best["error"]),
        digits(best["costs"]["best model"], 1),
        *(f"{best['costs'][name]:.6f}" for name in ("one threshold", "ttamer")),
    )
    yield _table(
        QUALITY,
        "| | {} (full model's) | {} | {} | {} |",
        [
            (
                "thresholds tuned per node" if name == "tuned thresholds" else name,
                *(
                    "not reached" if level["costs"][name] is None else f"{level['costs'][name]:.3f} ms"
                    for level in levels
                ),
            )
            for name in first
        ],
        *(_percent(level["error"]) for level in levels),
    )
    orders = {name: f"{name}, best order" for name in ("one threshold", "patience", "tuned thresholds")}
    yield _table(
        QUALITY,
        "| | {} (best model's) | {} | {} |",
        [(orders.get(name, name), *(f"{level['costs'][name]:.6f} USD" for level in models)) for name in best["costs"]],
        *(_percent(level["error"]) for level in models),
    )
    yield _quote(
        QUALITY,
        "ttamer is cheaper than the cheapest baseline, by {}, {} and {} USD,",
        *(digits(-level["difference"], 2) for level in models),
    )


# ---------------------------------------------------------------- times


def _calls() -> Iterator[Quote]:
    calls, tiers = rows("call"), rows("call", "tiers")
    small, large = calls[:-1], calls[-1]
    by_size = {call["B"]: call for call in calls}
    yield _quote(
        README,
        "`decide` takes {} ns for one request and {} ns for a batch of 64,",
        *(digits(by_size[size]["decide ns"], 3) for size in (1, 64)),
    )
    yield _table(
        BENCHMARKS,
        "| B | `decide` | a request | NumPy reference / `decide` | `decide` / empty bound method "
        "| `decide` / NumPy `conf >= t` |",
        [
            (
                str(call["B"]),
                _time(call["decide ns"], ("ns", "us")),
                _nanoseconds(call["ns/request"]),
                *(digits(call[ratio], 2) for ratio in ("ref/decide", "vs empty", "decide/thr")),
            )
            for call in calls
        ],
    )
    yield _table(
        BENCHMARKS,
        "| argument | time of a call |",
        [
            ("a node for each row, all the same node | up to {} times",),
            ("a node for each row, drawn at random | {} to {} times",),
            (
                "`rows`, half of a batch's in ascending order, as the serving loop passes them | {} to {} times, {} "
                "times at B = 65536",
            ),
            ("`rows`, all of a batch's in random order | {} to {} times up to B = 4096, {} times at B = 65536",),
            ("a PyTorch tensor in place of an array | {} to {} ns more, at B = 65536 within the noise",),
        ],
        digits(max(call["node per row"] for call in calls), 3),
        *span((call["mixed nodes"] for call in calls), 2),
        *span((call["rows ascending"] for call in small), 2),
        digits(large["rows ascending"], 2),
        *span((call["rows shuffled"] for call in small), 2),
        digits(large["rows shuffled"], 2),
        *span((call["tensor adds ns"] for call in small), 3),
    )
    yield _quote(
        BENCHMARKS,
        "a call takes {} to {} times as long as with one policy for all, and entering {} requests {} ns each.",
        *span((tier["ratio"] for tier in tiers), 3),
        f"{tiers[-2]['B']:,}",
        digits(tiers[-2]["enter ns"] / tiers[-2]["B"], 1),
    )


def _logits() -> Iterator[Quote]:
    kinds = rows("logits")
    lines = []
    for kind in kinds:
        low, high = span((1 / kind[f"ours/read ({way})"] for way in ("max", "sum")), 2)
        lines.append(
            (
                f"{kind['C']}{', from memory' if kind['C'] == 32000 else ''} | {kind['B']}",
                _time(kind["max_prob us"], ("us", "ms"), 3 if kind["max_prob us"] < 999.5 else 2),
                *(f"{digits(kind[ratio], 2)}x" for ratio in ("numpy/ours", "lean numpy/ours", "torch/ours")),
                f"{low} to {high}x",
            )
        )
    yield _table(
        BENCHMARKS,
        "| classes | B | a call | NumPy softmax and max | the least NumPy can do | torch eager | a read of the same "
        "bytes |",
        lines,
    )
    yield _quote(
        BENCHMARKS,
        "the signal that needs no softmax, takes {} us, {} us and {} ms for the three rows.",
        *(f"{kind['logit_margin us']:.0f}" for kind in kinds[:2]),
        f"{kinds[2]['logit_margin us'] / 1000:.1f}",
    )
    yield _quote(
        BENCHMARKS,
        "next to float64 is at most {}, measured",
        f"{max(kind['relative error'] for kind in kinds):.1e}".replace("e-0", "e-"),
    )


def _answers() -> Iterator[Quote]:
    yield _table(
        BENCHMARKS,
        "| B | a call | a request | `decide`, a request |",
        [
            (
                str(call["B"]),
                _time(call["answers ns"], ("ns", "us"), 2 if 999.5 <= call["answers ns"] < 1e5 else 3),
                _nanoseconds(call["answers ns/request"]),
                _nanoseconds(call["decide ns/request"]),
            )
            for call in rows("answers")
            if call["B"] != 512
        ],
    )


def _solves() -> Iterator[Quote]:
    solves: dict[int, list[dict[str, Any]]] = {}
    for solve in rows("solve"):  # of each size: own grids, one grid, counted
        solves.setdefault(solve["K"], []).append(solve)
    yield _quote(
        README, "with 64 states each takes {} to {} ms.", *span((solve["recall ms"] for solve in solves[64]), 2)
    )
    yield _table(
        BENCHMARKS,
        "| K | dense, a loss grid a node | dense, one grid | counted from 10,000 requests |",
        [
            (
                str(size),
                *(
                    f"{digits(ms, 3 if ms >= 99.5 else 2)} ms, {digits(solve['numpy/ttamer'], 2)}x"
                    for solve in solves[size]
                    for ms in [solve["recall ms"]]
                ),
            )
            for size in (32, 64, 128, 512, 1024)
        ],
    )
    yield _quote(
        BENCHMARKS,
        "It takes {} ms at K = 32 and {} to {} ms at K = 512. That is {} to {} times as fast as NumPy up to K = 64.",
        digits(max(solve["no recall ms"] for solve in solves[32]), 1),
        *span((solve["no recall ms"] for solve in solves[512]), 2),
        *span((solve["no recall numpy/ttamer"] for size in (32, 64) for solve in solves[size]), 2),
    )
    yield _quote(
        BENCHMARKS,
        "on counted transitions ttamer is {} times as fast at K = 1024.",
        digits(solves[1024][2]["no recall numpy/ttamer"], 2),
    )
    by_state = rows("solve_costs")
    ratios = [solve[f"{recall} by state/one"] for solve in by_state for recall in ("recall", "no recall")]
    yield _quote(
        BENCHMARKS,
        "a solve takes {} to {} times as long as with one cost an edge (`bench/solve_costs.py`, K = {} to {}).",
        f"{min(ratios):.2f}",
        f"{max(ratios):.2f}",
        str(by_state[0]["K"]),
        str(by_state[-1]["K"]),
    )


def _replays() -> Iterator[Quote]:
    def cells(replays: Sequence[dict[str, Any]]) -> Iterator[str]:
        for column in ("nodes/request", "replay ns/request", "core ns/request", "numpy/replay"):
            low, high = span((replay[column] for replay in replays), 2)
            yield (low if low == high else f"{low} to {high}") + (" ns" if "ns" in column else "")

    yield _table(
        BENCHMARKS,
        "| shape | nodes consulted a request | a request, with losses | a request, without losses | NumPy / ttamer |",
        [
            *(
                ("" if k else "line of 8 nodes", *cells(rows("replay", shape="line", tradeoff=tradeoff)))
                for k, tradeoff in enumerate((0.6, 0.85, 0.95))
            ),
            ("skip of 8 nodes", *cells(rows("replay", shape="skip"))),
        ],
    )


def _threads() -> Iterator[Quote]:
    yield _table(
        BENCHMARKS,
        "| call | requests | two threads | two processes | two threads, no GIL | two processes, no GIL |",
        [
            (
                f"`{work['work']}` | {work['B']:,}",
                *(f"{run[kind]:.2f}" for run in (work, free) for kind in ("threads", "processes")),
            )
            for work, free in zip(rows("threads"), rows("threads_free"), strict=True)
        ],
    )


# ---------------------------------------------------------------- serving


def _serving() -> Iterator[Quote]:
    flights = {flight["arm"]: flight for flight in rows("serve", "flight")}
    arms = {"a loop over if and else, three nodes": "if and else", "a flight, three nodes": "flight"}
    yield _table(
        BENCHMARKS,
        "| | microseconds |",
        [(name, digits(flights[arm]["us"], 2)) for name, arm in {**arms, "of it, `enter`": "of it, enter"}.items()],
    )
    yield _quote(BENCHMARKS, "A flight holds {} KB.", digits(flights["flight"]["bytes"] / 1000, 2))
    yield _quote(
        BENCHMARKS,
        "`Cascade` takes {} to {} us a request more",
        *span((cascade["more"] for cascade in rows("serve", "cascade")), 2),
    )
    cheap, middle, dear = (row("serve", "failure", **{"trade-off": weight}) for weight in (0.6, 0.8, 0.9))
    yield _quote(
        BENCHMARKS,
        "no failure costs an error of {} at {} ms or {} at {} ms: the best answer so far has an error of {}; the "
        "policy for silent nodes {} at {} ms or {} at {} ms. Where errors are cheap (trade-off 0.6) it prefers {} at "
        "{} ms.",
        *(f for each in (middle, dear) for f in (f"{each['no failure']:.4f}", f"{each['no failure, cost']:.2f}")),
        f"{middle['best so far']:.4f}",
        *(f for each in (middle, dear) for f in (f"{each['silent']:.4f}", f"{each['silent, cost']:.2f}")),
        f"{cheap['silent']:.3f}",
        f"{cheap['silent, cost']:.2f}",
    )
    workloads = ["sst2-minilm", "agnews-minilm", "agnews-cascade", "chargpt", "fashion-vgg", "fashion-cascade"]
    yield _table(
        BENCHMARKS,
        "| workload | saved | | |",
        [
            (
                "ferplus, models" if workload == "ferplus" else workload,
                *(
                    f"{saved['saved']:.2f} [{saved['low']:.2f}, {saved['high']:.2f}]"
                    for saved in rows("serve", "weights", workload=workload)
                ),
            )
            for workload in ["ferplus", *workloads]
        ],
    )
    soaks = rows("soak", "soak")
    yield _quote(
        BENCHMARKS,
        "In ten minutes each, {} and {} million requests ({} and {} million of them with failures) on the two bundled "
        "workloads: none decided otherwise than by the policy it entered with, `consulted` {} and {} us in 99%, "
        "memory up by {} and {}%.",
        *(digits(soak["requests"] / 1e6, 3) for soak in soaks),
        *(digits(soak["with failures"] / 1e6, 3) for soak in soaks),
        *(digits(soak["p99"], 2) for soak in soaks),
        *(f"{100 * soak['growth']:.1f}" for soak in soaks),
    )


def _drift() -> Iterator[Quote]:
    lines, figures = [], []
    for workload in ("fashion-vgg", "ferplus"):
        none, hard, noise = (
            row("drift", "drift", workload=workload, change=change) for change in ("none", "hard", "noise")
        )
        late = noise["95% of delays"]
        lines += [
            (f"{workload}, error {{}} | none, {{}} requests | {{}} of 1,000 streams (the rate allows {{}}) | – | –",),
            (" | half of the requests are hard | all | {} requests | {}",),
            (f" | 24 points more errors, 2% labelled | {{}}{'' if late else ' within 3,000 requests'} | {{}} | {{}}",),
        ]
        figures += [
            f"{none['error']:.3f}",
            f"{none['allowed'] * 10:,.0f}",  # with one false alarm in 10,000 requests
            str(none["alarms"]),
            f"{none['allowed']:.0f}",
            f"{hard['median delay']:.0f}",
            f"{hard['95% of delays']:.0f}",
            str(noise["alarms"]),
            f"{noise['median delay']:,.0f}",
            f"{late:,.0f}" if late else "not in all",
        ]
    yield _table(BENCHMARKS, "| workload | change | alarms | delay, median | 95% |", lines, *figures)


# ---------------------------------------------------------------- PyTorch


def _on_gpu() -> Iterator[Quote]:
    decisions = rows("torch_decide_cuda")
    graphs = [each for each in decisions if each["B"] <= 512 and each["C"] <= 1000]
    times = span((each["graph us"] for each in graphs), 1)
    factors = span((each["eager/graph (aim 5)"] for each in graphs), 2)
    network = row("torch_serve_cuda", B=64)
    yield _quote(
        BENCHMARKS,
        "takes {} to {} us up to 512 rows of 1,000 classes: {} to {} times less than thresholds in eager PyTorch.",
        *times,
        *factors,
    )
    yield _quote(
        BENCHMARKS,
        "serves {} times the requests of the full network and {} times those of eager thresholds, at 64 rows a batch.",
        f"{network['x full']:.2f}",
        f"{network['x eager']:.1f}",
    )
    page = "docs/torch.md"
    yield _quote(
        page,
        "up to 512 rows of 10 or 1,000 classes take {} to {} µs, {} to {} times less than PyTorch in eager mode.",
        *times,
        *factors,
    )
    most = [row("torch_decide_cuda", C=32000, B=4096, dtype=dtype) for dtype in ("float32", "bfloat16")]
    yield _quote(
        page,
        "4,096 rows of 32,000 classes take {} µs in float32 and {} µs in bfloat16. That is {} times less than eager "
        "PyTorch, and {} and {} of the time that copying as many bytes takes.",
        *(f"{each['graph us']:.0f}" for each in most),
        digits(min(each["eager/graph (aim 5)"] for each in most), 1),
        *(f"{each['graph/read (aim 1.5)']:.2f}" for each in most),
    )
    yield _quote(
        page,
        "small batches are {} to {} times as fast as eager PyTorch",
        *span((each["eager/decider"] for each in decisions if each["B"] <= 512), 2),
    )
    yield _table(
        page,
        "| requests a second | |",
        [
            ("no early exit", f"{network['full req/s']:,.0f}"),
            ("thresholds in eager PyTorch", f"{network['eager req/s']:,.0f}"),
            ("a policy", f"{network['policy req/s']:,.0f}"),
            ("a policy, captured", f"{network['captured req/s']:,.0f}"),
        ],
    )
    yield _quote(page, "The captured policy reaches {} of what the costs promise;", f"{network['of promised']:.2f}")


def _networks() -> Iterator[Quote]:
    page = "docs/torch.md"
    served = row("torch_serve", B=64)
    yield _quote(page, "64 rows a batch, reaches {} of the throughput", f"{served['of promised']:.2f}")
    arrivals = rows("torch_arrivals")
    yield _quote(
        page,
        "answers half of the requests in {} to {} times as long then, and 99% in {} to {} times",
        *(
            f"{ratio(each[column] for each in arrivals):.2f}"
            for column in ("p50 ratio", "p99 ratio")
            for ratio in (min, max)
        ),
    )


# ---------------------------------------------------------------- errors and costs


def _sign(interval: Sequence[float] | None) -> str:
    """Which side of 0 a paired interval of ttamer's error minus the other's lies on: + is better than the other."""
    if interval is None:
        return ""
    _, low, high = interval
    return " +" if high < 0 else " −" if low > 0 else ""


def _workloads() -> Iterator[Quote]:
    ours = ("ttamer", "ttamer, signal", "ttamer, posterior", "ttamer, sets", "no recall", "recall, proxy")
    ours = (*ours, "recall, calibrated")
    cells: dict[str, list[str]] = {}
    losses: Counter[str] = Counter()
    for workload in WORKLOADS:
        for each in rows("quality", "mean error", workload=workload):
            name, star = each["method"].removesuffix(" *"), "*" if each["method"].endswith("*") else ""
            sign = _sign(each["ttamer minus it"])
            error = f"{each['test']:.0f}"
            cell = f"**{error}**" if name == "ttamer" else f"{error}{star}{sign}"
            cells.setdefault(name, ["–"] * len(WORKLOADS))[WORKLOADS.index(workload)] = cell
            losses[workload] += name not in ours and sign == " +"
    order = [name for name in cells if name not in ours]
    order.remove("cascade routing")
    yield _table(
        QUALITY,
        "| method | fashion-vgg | agnews-minilm | sst2-minilm | chargpt | fashion-cascade | agnews-cascade |",
        [(name, *cells[name]) for name in ("ttamer", *order, "cascade routing", *ours[1:])],
    )
    yield _quote(
        QUALITY,
        "Of the baselines {} lose to it on fashion-vgg and on fashion-cascade, {} on agnews-minilm, {} on "
        "sst2-minilm, and {} on chargpt and on agnews-cascade.",
        *(str(losses[workload]) for workload in WORKLOADS[:4]),
    )
    signals = [
        f"{row('quality', 'mean error', workload=workload, method=f'one threshold{signal}')['test']:.0f}"
        for workload in WORKLOADS[:2]
        for signal in (", logit margin", "")
    ]
    yield _quote(
        QUALITY,
        "worse than the probability on fashion-vgg ({} against {}) and better on agnews-minilm ({} against {}).",
        *signals,
    )
    gains = [row("quality", "mean error", workload=workload, method="ttamer") for workload in WORKLOADS]
    yield _quote(
        QUALITY,
        ", ".join(f"{workload} {{}} [{{}}, {{}}]" for workload in WORKLOADS) + ".",
        *(f"{value:.0f}".replace("-0", "0") for gain in gains for value in gain["minus one threshold"]),
    )


SHOWN = {
    "bfcl": "context",
    "frugalmct_mir": "scores",
    "frugalmct_pascal": "scores",
    **dict.fromkeys([f"frugalml_{name}" for name in ("digit", "expw", "ferplus", "waimai", "yelp")], "scores, classes"),
    "imagenet_zoo": "scores, classes",
    "llmdrift_prime": "–",
    "mmlupro": "classes, context",
    "rational_mmlu": "scores, answers, context",
    "rational_truthfulqa": "scores, answers, context",
    "routellm_mmlu": "context",
    "routerbench_mini": "scores, context",
    "wildbench": "–",
}
"""What each set of models shows of a request."""


def _sets() -> Iterator[Quote]:
    others = ("fixed", "thresholds", "two calls", "routing", "cascade routing")
    lines, ways = [], {(way["set"], way["way"]): way for way in rows("models", "ways")}
    for each in rows("models", "sets"):
        name = each["set"]
        ours, cells = ways[name, "ttamer"], []
        for other in others:
            way = ways.get((name, other))
            cells.append("–" if way is None else f"{10000 * way['loss']:.0f}{_sign(way['ttamer minus it'])}")
        ours_cell = f"{10000 * ours['loss']:.0f} ({ours['choice']})"
        counts = str(each["models"]), str(each["calibration"])
        lines.append((f"{name} | {{}} | {{}} | {SHOWN[name]}", ours_cell, *cells, counts))
    yield _quote(
        QUALITY,
        "| set | models | rows | shown | ttamer (its choice) | fixed mixing | thresholds | two calls | routing | "
        "cascade "
        "routing |\n|-|-|-|-|-|-|-|-|-|-|" + "".join(f"\n| {line[0]} |" + " {} |" * 6 for line in lines),
        *(figure for line in lines for figure in (*line[-1], *line[1:-1])),
    )
    against = {each["way"]: each for each in rows("models", "summary")}
    fixed, thresholds, two_calls, routing, cascade, half = (against[way] for way in (*others, "half the rows"))
    yield _quote(
        QUALITY,
        "**Against fixed mixing** ttamer is better on {} of {} sets and a tie on {}. **Against thresholds**, in the "
        "best of all orders, it is better on {} of {} and a tie on {}. **Against two calls** it is better on {} of {} "
        "and a tie on {}. **Against routing** it is better on {} of {}, and worse on bfcl, by {}. **Against cascade "
        "routing** it is better on {} of {}.",
        *(str(each[key]) for each in (fixed, thresholds, two_calls) for key in ("better", "sets", "neither")),
        *(str(routing[key]) for key in ("better", "sets")),
        f"{ways['bfcl', 'routing']['ttamer minus it'][0]:.4f}",
        *(str(cascade[key]) for key in ("better", "sets")),
    )
    mixed = [name for name in SHOWN if name.startswith("frugalml")]
    gaps = [-ways[name, "fixed"]["ttamer minus it"][0] for name in mixed]
    shares = {way: [ways[name, way]["same loss"] for name in mixed] for way in ("ttamer", "thresholds")}
    yield _quote(
        QUALITY,
        "its loss is {} to {} below that of fixed mixing; at the loss of the most accurate model ttamer costs {} to "
        "{}% of it, and thresholds {} to {}%.",
        *(f"{end(gaps):.3f}" for end in (min, max)),
        *(f"{100 * end(shares[way]):.0f}" for way in shares for end in (min, max)),
    )
    close = ("expw", "ferplus", "waimai")
    yield _quote(
        QUALITY,
        "they cost less there on expw ({}% against {}%), ferplus ({}% against {}%) and waimai ({}% against {}%).",
        *(
            f"{100 * ways[f'frugalml_{name}', way]['same loss']:.0f}"
            for name in close
            for way in ("two calls", "ttamer")
        ),
    )
    yield _quote(
        QUALITY,
        "Fitted on every other row ttamer loses more on {} of {} sets, and {} more on average over all:",
        str(half["better"]),
        str(half["sets"]),
        f"{-half['mean difference'] / 10000:.4f}",
    )
    yield _quote(
        README,
        "it is better than fixed mixing on {} and than thresholds on {} of {}; the others are ties.",
        *(str(figure) for figure in (fixed["better"], thresholds["better"], thresholds["sets"])),
    )


def _few_rows() -> Iterator[Quote]:
    lines = []
    for size in (250, 500, 1000, 2500, None):
        cells = []
        for workload in WORKLOADS:
            learned = [each for each in rows("learning", "learning", workload=workload)]
            each = learned[-1] if size is None else next(each for each in learned if each["rows"] == size)
            cells.append(" ± ".join(f"{value:.0f}" for value in each["ttamer"]))
        lines.append((str(size or "all"), *cells))
    yield _table(
        QUALITY,
        "| rows | fashion-vgg | agnews-minilm | sst2-minilm | chargpt | fashion-cascade | agnews-cascade |",
        lines,
    )


def _service_levels() -> Iterator[Quote]:
    page = "docs/service-levels.md"
    broken = {(each["limit"], each["drawn"], each["set"]): str(each["violations"]) for each in rows("request_costs")}
    sets = ("rational_mmlu", "bfcl")
    yield _quote(
        page,
        "a limit that 90% of requests keep was broken {} and {} times, with replacement {} and {} times of 300;",
        *(broken["quantile", drawn, name] for drawn in ("split", "bootstrap") for name in sets),
    )
    yield _quote(page, "was broken {} and {} times of 300.", *(broken["mean costs", "split", name] for name in sets))


def _guarantees() -> Iterator[Quote]:
    page = "docs/service-levels.md"
    workloads = ("fashion-vgg", "agnews-minilm", "sst2-minilm", "fashion-cascade")
    broken = []
    for workload in workloads:
        cells = []
        for column, drawn in (("violations", "split"), ("violations", "bootstrap"), ("naive violations", "bootstrap")):
            levels = rows("guarantee", workload=workload, drawn=drawn)
            shares = [100 * level[column] / level["draws"] for level in levels if level[column] is not None]
            cells.append(f"{min(shares):.1f} to {max(shares):.1f}%")
        broken.append((workload, *cells))
    yield _table(
        page,
        "| | tuned, drawn without replacement | tuned, drawn with replacement | naive, with replacement |",
        broken,
    )
    lines = []
    for workload in workloads:
        levels = rows("guarantee", workload=workload, drawn="split")
        first = 1 if workload == "fashion-vgg" else 2  # where most draws certify something
        for level in (levels[first], levels[first + 1], levels[5]):
            lines.append(
                (
                    workload if level is levels[first] else "",
                    level["limits"].removeprefix("error ").replace("to last", "to the last node"),
                    _percent(level["infeasible"] / level["draws"], 1),
                    *(digits(level[method], 3) for method in ("tuned", "oracle", "naive")),
                    _percent(level["naive violations"] / level["draws"], 1),
                )
            )
    yield _table(
        page, "| | limit on the error | nothing certified | tuned | oracle | naive | naive breaks the limit |", lines
    )

    hardest = rows("guarantee", workload="sst2-minilm", drawn="bootstrap")[0]
    yield _quote(
        page,
        "error, {} of 1,000 bootstrap draws found a policy, and {} of these broke the limit.",
        str(hardest["draws"] - hardest["infeasible"]),
        str(hardest["violations"]),
    )


# ---------------------------------------------------------------- studies

STUDY = "docs/study.md"


def _random_cascades() -> Iterator[Quote]:
    shapes = ("line", "skip", "tree")
    columns = ("recall", "no recall", "threshold, recall", "threshold", "best node")
    yield _table(
        STUDY,
        "| shape | n | recall | no recall | threshold with recall | threshold | best fixed node |",
        [
            (
                f"{shape} | {nodes}",
                *(None if pair is None else "{:.3f} ± {:.3f}".format(*pair) for pair in map(ratios.get, columns)),
            )
            for shape in shapes
            for nodes in (4, 8, 12)
            for ratios in [row("synthetic", "ratios", shape=shape, n=nodes, K=100)]
        ],
    )
    most = [row("synthetic", "ratios", shape=shape, n=8, K=1000)["recall"][0] for shape in shapes]
    yield _quote(
        STUDY,
        "at n = 8 and K = 1000 recall is at {} on lines, {} on skips and {} on trees.",
        *(f"{ratio:.3f}" for ratio in most),
    )
    lines = []
    for shape in shapes:
        steps = rows("synthetic", "aggregation", shape=shape)
        errors = [f"{step['largest |error|']:.1e}".replace("e-0", "e-") for step in steps]
        faster = [f"{digits(step['exact/aggregate'], 2)}x" for step in steps]
        faster[0] += " faster" if shape == "line" else ""
        lines.append((shape, f"{steps[0]['exact ms']:.0f} ms", *map(", ".join, zip(errors, faster, strict=True))))
    yield _table(STUDY, "| shape | exact | q = 50 | q = 100 | q = 200 | q = 400 | q = 800 |", lines)
    columns = ("in n", "in transitions", "in K", "in K, a column")
    yield _table(
        STUDY,
        "| shape | answer | in n | in transitions between nodes | in K | in K, a column |",
        [
            (
                f"{each['shape']} | {'last node' if each['answer'] == 'no recall' else each['answer']}",
                *(None if each[column] is None else f"{each[column]:.2f}" for column in columns),
            )
            for each in rows("synthetic", "exponents")
        ],
    )


def _trees() -> Iterator[Quote]:
    def cells(workload: str, method: str, path: str = "") -> tuple[str, str | None]:
        each = row("tree", "mean error", workload=workload, method=method)
        error = f"{each['mean error 1e-4']:.0f}{path}"
        if each["low"] is None:
            return error, None
        minus = f"{each['forest minus it']:+.0f} ({each['low']:+.0f} to {each['high']:+.0f})"
        return error, f"{minus}: a tie" if each["better"] == "tie" else minus

    def both(first: str, second: str, shown: bool = False) -> Iterator[str | None]:
        for workload, method in (("fashion-cascade", first), ("agnews-cascade", second)):
            path = method.removeprefix("line ").replace("-", ", ")
            yield from cells(workload, method, f" ({path})" if shown else "")

    yield _table(
        STUDY,
        "| | fashion-cascade | forest minus this | agnews-cascade | forest minus this |",
        [
            ("forest", *both("forest", "forest")),
            ("one path as a line, no recall", *both("line 0-1-2", "line 0-2-4", shown=True)),
            ("the other path", *both("line 0-3-4", "line 0-1-3", shown=True)),
            ("fixed nodes, mixed", *both("fixed nodes", "fixed nodes")),
        ],
    )


def _paper() -> Iterator[Quote]:
    networks = ("fashion-vgg", "sst2-minilm", "agnews-minilm")
    lines = []
    for network, level in zip(networks, (95, 75, 75), strict=True):
        saving = row("paper", "saving", workload=network)
        count = 2 if level == 95 else 3
        recall = f"{saving['ours']:.{count}f}"
        if level == 95:
            recall += f" ({saving['low']:.2f} to {saving['high']:.2f})"
        others = (f"{saving[name]:.{count}f}" for name in ("threshold", "ttamer"))
        claim = f"about {saving['paper']:.2f}"
        lines.append((f"{network}, at {level}%", claim, recall, *others, f"{saving['first exit alone']:.2f}"))
    yield _table(
        STUDY,
        "| | the paper, recall | recall | one threshold | ttamer's default | the first exit alone agrees |",
        lines,
    )
    others = ("threshold", "the same walk, last exit", "patience 1", "patience 2", "ttamer")
    yield _table(
        STUDY,
        "| | one threshold | the same path, last exit | patience 1 | patience 2 | ttamer's default |",
        [
            (
                network,
                *(
                    f"{each['difference']:+.0f} ({each['low']:+.0f} to {each['high']:+.0f})"
                    for other in others
                    for each in [row("paper", "better", workload=network, other=other)]
                ),
            )
            for network in networks
        ],
    )


if __name__ == "__main__":
    raise SystemExit(compare(__doc__ or "", list(quotes())))
