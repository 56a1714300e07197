"""The result of a run in lines for people: faults, load, failures and the fault beside them, what did not hold."""

from collections import Counter
from collections.abc import Iterator

from homeport.testing.chaos.run import Result

_SHOWN = 40  # violations that are told; more tell nothing new


def lines(result: Result) -> Iterator[str]:
    yield ""
    yield from _faults(result)
    yield from _loads(result)
    yield from _work(result)
    yield ""
    yield f"at rest {result.rest_s:.1f} s after the last fault"
    if not result.violations:
        yield f"everything held (seed {result.seed})"
        return
    yield f"DID NOT HOLD, {len(result.violations)} (seed {result.seed}):"
    for text in result.violations[:_SHOWN]:
        yield f"  - {text}"
    if result.kept:
        yield f"logs and database are kept in {result.kept}"
    if len(result.violations) > _SHOWN:
        yield f"  … and {len(result.violations) - _SHOWN} more"


def _faults(result: Result) -> Iterator[str]:
    counts = Counter(" ".join(word for word in (one.fault.kind, one.fault.target) if word) for one in result.happened)
    yield f"faults      {len(result.happened)} in {result.length_s:.0f} s"
    for name, count in sorted(counts.items()):
        yield f"  {name:20}{count:5}"
    for text in result.left_out:
        yield f"  left out: {text}"
    times = sorted(one.ended_s - one.began_s for one in result.absences)
    if times:
        median = times[len(times) // 2]
        yield f"no Envoy    {len(times)} times, median {median:.2f} s, longest {times[-1]:.2f} s"


def _loads(result: Result) -> Iterator[str]:
    heads = f"{'started':>9}{'ok':>9}{'failed':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'gap s':>7}"
    yield f"{'load':20}{heads}  by cause"
    for name, report in result.loads.items():
        causes = ", ".join(f"{cause} {count}" for cause, count in report.causes.items())
        ms = {key: f"{report.latency_ms.get(key, 0):.1f}" for key in ("p50", "p99", "max")}
        row = f"{report.started:9}{report.ok:9}{report.failed:8}{ms['p50']:>9}{ms['p99']:>9}{ms['max']:>9}"
        yield f"{name:20}{row}{report.longest_gap_s:7.2f}  {causes or '-'}"


def _work(result: Result) -> Iterator[str]:
    yield "work        " + ", ".join(f"{count} {what}" for what, count in sorted(result.ledger.counts.items()))
    yield "histories   " + ", ".join(f"{count} {what}" for what, count in result.verified.items())
    bad = Counter({key: count for key, count in result.answers.items() if not key[1].startswith("2")})
    words = ", ".join(f"{what} {kind} x {count}" for (what, kind), count in bad.most_common(12))
    yield f"            not answered 2xx, and repeated: {words or 'none'}"
