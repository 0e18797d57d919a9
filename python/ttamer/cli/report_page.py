"""The page of `ttamer report`: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from string import Template

from ttamer._base.numbers import number, with_unit
from ttamer.cli.output import in_unit, share
from ttamer.plots import inline
from ttamer.serve.figures import Estimate, Report

_CHANGES = {
    "cost": "what requests cost is not what it was in the traces",
    "promise": "what answers are expected to lose is not what it was in the traces",
    "loss": "labelled answers lose more than those of the traces",
}
"""What an alarm of `Drift` says, by its test."""
_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark; --text: #1c1e21; --soft: #5b6068; --line: #d9dce1; --page: #fff; --mark: #a3301c; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e6ea; --soft: #a0a6b0; --line: #3a3f47; --page: #16181c; --mark: #ff9b85; }
}
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 46rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem; padding-top: .7rem; border-top: 1px solid var(--line); }
p { margin: .5rem 0; }
.soft, caption { color: var(--soft); font-size: .9rem; }
.lead { font-size: 1.1rem; }
.alarm { color: var(--mark); font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { padding-bottom: .2rem; white-space: nowrap; }
th, td { padding: .2rem .9rem .2rem 0; text-align: right; white-space: nowrap; }
th { font-weight: 600; vertical-align: bottom; }
thead th { border-bottom: 1px solid var(--line); }
tbody th { font-weight: 400; max-width: 14rem; white-space: normal; min-width: 5rem; }
th:first-child, caption { text-align: left; }
svg { display: block; width: 100%; max-width: 34rem; height: auto; margin: .8rem 0; }
@media (max-width: 30rem) { table { font-size: .8rem; } th, td { padding-right: .6rem; } }
@media print {
  :root { --text: #000; --soft: #444; --line: #bbb; --page: #fff; --mark: #900; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2 { break-after: avoid; }
  table, svg { break-inside: avoid; }
}
</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="soft">$source</p>
$body
</main>
</body>
</html>
""")


def page(report: Report, logs: Sequence[str]) -> str:
    """The whole page; what comes from logs is only text in it."""
    body = [
        f'<p class="lead">{escape(lead(report))}</p>',
        _alarm(report),
        *(f'<p class="soft">{escape(words)}</p>' for words in report.cut),
        *("<h2>Why requests stopped</h2>", _reasons(report)),
        *("<h2>Cost and time</h2>", _costs(report)),
        *("<h2>Saved</h2>", _savings(report)),
        *("<h2>Nodes</h2>", _nodes(report)),
        *("<h2>Losses</h2>", _losses(report)),
        *("<h2>Policies</h2>", _policies(report)),
        *("<h2>Drift</h2>", _drift(report)),
    ]
    source = f"What {', '.join(logs)} says."
    return _PAGE.substitute(title="Requests that were served", source=escape(source), body="\n".join(body))


def lead(report: Report) -> str:
    """The report in a sentence or two."""
    words = f"{report.requests:,} requests cost {with_unit(number(report.cost.mean), report.unit)} each on average"
    if report.savings:
        saving = report.savings[0]
        change = "less" if saving.share.value >= 0 else "more"
        words += f", {share(abs(saving.share.value))} {change} than always asking {saving.against}"
    stopped = sum(reasons.get("policy", 0) for reasons in report.tiers.values())
    return words + f". The policy stopped {share(stopped / report.requests)} of them."


def _reasons(report: Report) -> str:
    reasons = sorted({reason for counts in report.tiers.values() for reason in counts})
    rows = [
        [tier, *(f"{counts.get(reason, 0):,}" for reason in reasons), f"{sum(counts.values()):,}"]
        for tier, counts in report.tiers.items()
    ]
    note = "What a certificate promises holds for requests that the policy stopped." if len(reasons) > 1 else ""
    unanswered = report.requests - sum(node.answered for node in report.nodes)
    if unanswered:
        note += f" {unanswered:,} requests got no answer: their costs count, and there is no loss of them."
    return _table("Requests by tier and reason", ["tier", *reasons, "all"], rows) + _soft(note)


def _costs(report: Report) -> str:
    rows = [
        [name, *(number(value, 3) for value in (q.mean, q.p50, q.p95, q.p99, q.largest))]
        for name, q in ((in_unit("cost", report.unit), report.cost), ("time, s", report.seconds))
    ]
    edges, counts = report.costs
    table = _table("A request, without shadows", ["", "mean", "p50", "p95", "p99", "largest"], rows)
    picture = inline.histogram(edges, counts, in_unit("cost of a request", report.unit), "Histogram of the costs")
    return table + picture


def _savings(report: Report) -> str:
    if report.basis is None:
        return _soft(
            "What other nodes would have cost is not known: show a share of the requests to all nodes, "
            "Cascade(shadow=0.02), or name the policy with --policy."
        )
    rows = [
        [
            f"always {saving.against}",
            f"{saving.share.requests:,}",
            number(saving.cost),
            *_interval(saving.share, percent=True),
        ]
        for saving in report.savings
    ]
    heads = ["against", "requests", in_unit("cost", report.unit), "saved", "95% interval"]
    how = (
        "Of requests that were shown to all nodes, from what these cost them; where one failed it is not known."
        if report.basis == "shadowed"
        else "From what requests cost and what the policy expects nodes to cost: none was shown to all nodes."
    )
    best = "The first one is the node that lost least on labelled requests; without labels, the dearest one."
    if len(report.savings) == 1:
        best = "Against a single node, and what has to be asked before it, it is known with --policy."
    return _table("Cost saved", heads, rows) + _soft(how, best)


def _nodes(report: Report) -> str:
    total = report.requests
    calls = [
        (node.node, node.consulted, node.stopped, node.answered, node.failed, node.down, node.shadowed)
        for node in report.nodes
    ]
    heads = ["node", "asked", "stopped", "answered", "failed", "down", "shadows"]
    table = _table("Requests", heads, [[name, *(f"{count:,}" for count in counts)] for name, *counts in calls])
    facts = [
        [node.node, number(node.cost, 3), *(number(value, 3) for value in (time.p50, time.p95, time.p99))]
        for node in report.nodes
        for time in [node.seconds]
        if node.cost is not None and time is not None
    ]
    cost = in_unit("mean cost", report.unit)
    table += _table("Calls, shadows included", ["node", cost, "time p50, s", "p95", "p99"], facts)
    shares = {
        "asked": [node.consulted / total for node in report.nodes],
        "stopped": [node.stopped / total for node in report.nodes],
        "answered": [node.answered / total for node in report.nodes],
    }
    picture = inline.bars([node.node for node in report.nodes], shares, "Shares of requests by node, as in the table")
    return table + picture


def _losses(report: Report) -> str:
    if report.loss is None:
        return _soft("No losses are known. Log.losses adds them to requests by name, at any time.")
    parts = (("all labelled requests", report.loss), ("those shown to all nodes", report.shadowed_loss))
    rows = [[name, f"{part.requests:,}", *_interval(part)] for name, part in parts if part is not None]
    table = _table("Mean loss of the answers", ["", "requests", "loss", "95% interval"], rows)
    nodes = [
        [node.node, f"{node.loss.requests:,}", *_interval(node.loss)] for node in report.nodes if node.loss is not None
    ]
    if nodes:
        table += _table("Of each node, on the latter", ["node", "requests", "loss", "95% interval"], nodes)
    note = (
        f"{report.loss.requests:,} of {report.requests:,} requests are labelled, and {report.shadowed:,} were drawn at "
        "random to be shown to all nodes. Only these are representative, and only as far as all of them are labelled."
    )
    return table + _soft(note)


def _policies(report: Report) -> str:
    rows = [
        [
            policy.digest,
            f"{policy.requests:,}",
            *(f"{place:,}" for place in (policy.first, policy.last)),
            number(policy.cost),
            "" if policy.expected_cost is None else number(policy.expected_cost),
        ]
        for policy in report.policies
    ]
    cost = in_unit("mean cost", report.unit)
    note = "First and last are numbers of requests in the log"
    note += "; expected is the mean cost by the model of the policy." if any(row[-1] for row in rows) else "."
    return _table("By digest", ["policy", "requests", "first", "last", cost, "expected"], rows) + _soft(note)


def _drift(report: Report) -> str:
    watch = report.drift
    if watch is None:
        return _soft(report.drift_needs or "")
    words = f"Watched {watch.requests:,} requests that the policy stopped, {watch.labels:,} of them labelled."
    # Evidence multiplies: how far it is beyond an alarm says little.
    rows = [[test, number(value, 3) if value < 1000 else "over 1,000"] for test, value in watch.evidence.items()]
    psi = watch.psi
    size = "small" if psi < 0.1 else "moderate" if psi < 0.25 else "large"
    return (
        (_alarm(report) or "<p>No alarm.</p>")
        + _soft(words)
        + _table("Evidence now, 1 is an alarm", ["test", "evidence"], rows)
        + inline.evidence(watch.history, watch.requests, "Evidence of each test over the requests")
        + _soft(f"Population stability index of the nodes at which requests stop: {psi:.3f}, a {size} change.")
    )


def _alarm(report: Report) -> str:
    if report.drift is None or report.drift.alarm is None:
        return ""
    words = f"Alarm: {_CHANGES[report.drift.alarm]}. It was noticed at request {report.drift.alarm_at:,}."
    return f'<p class="alarm">{words}</p>'


def _table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Names left, numbers right; wide ones scroll by themselves."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    lines = (
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}"><table><caption>{escape(caption)}'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _soft(*sentences: str) -> str:
    return f'<p class="soft">{escape(" ".join(sentences))}</p>' if any(sentences) else ""


def _interval(estimate: Estimate, percent: bool = False) -> list[str]:
    values = (estimate.value, estimate.low, estimate.high)
    value, low, high = [share(each) if percent else number(each, 3) for each in values]
    return [value, f"{low} to {high}"]
