"""Reports: the time of 10,000 bootstrap draws beside scipy's, how often intervals hold the truth, and how often the paired test cries wolf.

The report: 10 tasks of 1,000 rows, 5 metrics each (accuracy, exact match, F1, bits per byte, BLEU from its ten counts), 20 runs, 10,000 draws, from scored rows in memory
to the tidy table. scipy.stats.bootstrap computes the same statistics, of one run and task at a time; it is timed on a few of them and scaled to all (its column says so).
Coverage: the share of simulated test sets whose 95% interval holds the true value; 2,000 sets a line (600 with --quick), so a line is known to about half a point (one with --quick).
Areas under curves get the 500 draws that reports give them, and 600 sets a line. The calibration error's interval is wide on purpose (few rows show too much of it): its lines have a lower bar alone.
Beyond the draws: the share of equal models called different at 0.1% when 99 draws tell no p below 1%, so that the tail of t decides alone; 20,000 pairs (4,000 with --quick).
Level: the share of simulated pairs of equal models that the paired test calls different at 5%; as many pairs. Accuracies with one seed have few possible values, so
their true level is added up over every way in which the rows can differ and split, without simulation; the simulated pairs go through the report's own function."""
import time

from common import Row, finish, options, seconds

import numpy as np

from llmbench.core import rng
from llmbench.metrics import metrics
from llmbench.shares import mcnemar_p
from llmbench.statistics import RowStats, boot, paired_differences

ROWS, TASKS, RUNS, DRAWS = 1000, 10, 20, 10_000
F1, BPB, BLEU, MACRO, AUC, ECE = (metrics[m].of for m in ('f1', 'bits_per_byte', 'bleu', 'f1_macro', 'roc_auc', 'ece'))

# ---- rows of invented models: a truth is known by drawing very many rows

def right(g, shape, p=.8): return (g.random(shape)<p)[..., None].astype(float)

def hits(g, shape, prevalence=.3, recall=.75, false=.1):
    "True positives, false positives, false negatives."
    y, u = g.random(shape)<prevalence, g.random(shape)
    a = np.where(y, u<recall, u<false)
    return np.stack([y&a, ~y&a, y&~a], -1).astype(float)

def documents(g, shape, rows=None):
    "Bits and bytes: long documents weigh more. `rows` draws what belongs to the rows, whatever the run."
    size = (rows or g).lognormal(7, .9, shape)
    return np.stack([size*np.exp(g.normal(.9, .3, shape)), size], -1)

def sentences(g, shape, rows=None):
    "The ten counts of BLEU: words, words of the target, matches and sequences of order 1 to 4."
    target = (rows or g).integers(8, 40, shape)
    words = target+g.integers(-2, 4, shape)
    total = np.maximum(words[..., None]-np.arange(4), 1)
    match = g.binomial(total, g.beta(6, 4, shape)[..., None]**np.array([1, 1.7, 2.4, 3.]))
    return np.concatenate([words[..., None], target[..., None], match, total], -1).astype(float)

def classes(g, shape, shares=(.4, .3, .2, .1), recall=.7):
    "Four classes: true positives, false positives, false negatives of each; wrong answers are any class."
    draw = lambda: np.searchsorted(np.cumsum(shares)[:-1], g.random(shape))
    y, other, hit = draw(), draw(), g.random(shape)<recall
    t, a = (v[..., None]==np.arange(4) for v in (y, np.where(hit, y, other)))
    return np.concatenate([t&a, a&~t, t&~a], -1).astype(float)

def ranked(g, shape, apart=1.2, prevalence=.3):
    "Scores of two classes, and the class."
    y = (g.random(shape)<prevalence).astype(float)
    s = g.normal(0, 1, shape)+apart*y
    return np.stack([-s, s, y], -1)

def confidences(g, shape, down=0.):
    "Hit minus confidence in 15 bins, and one: a model that is right `down` less often than it says."
    sure = .5+.5*g.beta(4, 1.5, shape)
    gap = (g.random(shape)<sure-down)-sure
    return np.concatenate([np.where(np.searchsorted(np.linspace(0, 1, 16)[1:-1], sure)[..., None]==np.arange(15), gap[..., None], 0), np.ones((*shape, 1))], -1)

KINDS = dict(accuracy=(right, None), f1=(hits, F1), f1_macro=(classes, MACRO), bits_per_byte=(documents, BPB), bleu=(sentences, BLEU))

def truth(make, of):
    s = sum(make(rng('truth', i), (100_000,)).sum(0) for i in range(5))
    return float(s[0]/500_000 if of is None else of(s))

# ---- time

class Rows:
    "Scored rows, as `evaluate` gives them."
    def __init__(self, task, frame): self.frame, self.meta = frame, dict(task=task, metrics={m: dict(metric=m, columns=c) for m,c in COLUMNS.items()})

COLUMNS = dict(accuracy=[], exact_match=[], f1=['tp', 'fp', 'fn'], bits_per_byte=['bits', 'bytes'], bleu=list(metrics['bleu'].columns))

def scored(run, task):
    import pandas as pd
    g, rows = rng('scored', run, task), rng('rows', task)
    data = dict(accuracy=right(g, ROWS), exact_match=right(g, ROWS, .4), f1=hits(g, ROWS), bits_per_byte=documents(g, ROWS, rows), bleu=sentences(g, ROWS, rows))
    columns = {f'{m}.{c}' if c else m: x[:, i] for m,x in data.items() for i,c in enumerate(COLUMNS[m] or [''])}
    return Rows(f'task{task}', pd.DataFrame(dict(row=[f'r{i}' for i in range(ROWS)], source='all', answer='x')|columns))

def time_of_report(o):
    from llmbench.report import Report
    runs = {f'run{r}': [scored(r, t) for t in range(TASKS)] for r in range(RUNS)}
    make = lambda: Report(runs, draws=DRAWS).table()
    assert len(make())==RUNS*TASKS*len(COLUMNS)
    report = Report(runs, draws=DRAWS)
    ours = seconds(make, repeats=3 if o.quick else 7, warm=0)
    peer = peer_seconds(runs, o.quick)
    yield Row('report of 50 task-metric pairs and 20 runs', ours, 's', 'scipy.stats.bootstrap, scaled from a part', peer, bar=2., better='lower')
    yield Row('  the same, comparisons of 19 runs with one and paired tests too', seconds(lambda: Report(runs, draws=DRAWS).compare(), repeats=1, warm=0), 's')
    del report

def peer_seconds(runs, quick):
    "scipy's bootstrap (percentile, in batches) of each metric of one run and task, times the number of runs and tasks."
    from scipy.stats import bootstrap
    frame, total = runs['run0'][0].frame, 0.
    for m,c in COLUMNS.items():
        x = frame[[f'{m}.{k}' for k in c] or [m]].to_numpy()
        of = metrics[m].of
        if of is None: fn = lambda v, axis: v.mean(axis)
        else: fn = lambda *v, axis, of=of: of(np.stack([u.sum(axis) for u in v], -1))
        start = time.perf_counter()
        bootstrap(tuple(x.T), fn, n_resamples=DRAWS, batch=500, paired=x.shape[1]>1, vectorized=True, method='percentile', rng=np.random.default_rng(0))
        total += time.perf_counter()-start
    return total*RUNS*TASKS

# ---- coverage

def covered(make, of, n, sets, seeds=1, draws=2000, want=None, whole=False):
    "Share of test sets whose interval holds the truth."
    x = make(rng('coverage', n, seeds), (sets, seeds, n))
    want = truth(make, of) if want is None else want
    lo, hi = boot([RowStats(x, of, whole)], draws, 'coverage', n)[0].interval()
    return float(((lo<=want+1e-12)&(want-1e-12<=hi)).mean())

def seed_sets(n, sets, seeds, sd, agree=.7, p=.8):
    "Accuracy of several seeds: rows are hard or easy for all of them, and every seed has its own skill (sd in points of 100)."
    from scipy.stats import norm
    g = rng('seeds', n, seeds, sd)
    hard, own, skill = g.normal(0, agree**.5, (sets, 1, n)), g.normal(0, (1-agree)**.5, (sets, seeds, n)), g.normal(0, sd/100/norm.pdf(norm.ppf(p)), (sets, seeds, 1))
    return (hard+own+skill<norm.ppf(p)).astype(float)[..., None]

def seed_truth(sd, p=.8):
    from scipy.stats import norm
    s = sd/100/norm.pdf(norm.ppf(p))
    return float(norm.cdf(norm.ppf(p)/np.sqrt(1+s*s)))

def coverage(o):
    sets = 600 if o.quick else 2000
    for name,(make,of) in KINDS.items():
        for n in (50, 200, 1000): yield from both(f'coverage, {name}, {n:,} rows', 100*covered(make, of, n, sets), sets)
    from scipy.stats import norm
    for n in (50, 200): yield from both(f'coverage, roc_auc, {n:,} rows', 100*covered(ranked, AUC, n, 600, want=norm.cdf(1.2/2**.5), whole=True), 600)
    for down in (0., .05, .15):
        for n in (50, 200, 1000):
            held = 100*covered(lambda g, shape: confidences(g, shape, down), ECE, n, 600, want=down)
            yield Row(f'coverage, ece, right {100*down:g} points less often than it says, {n:,} rows', held, '%', bar=93., low=held-196*np.sqrt(held/100*(1-held/100)/600), high=held+196*np.sqrt(held/100*(1-held/100)/600))
    p = rng('accuracies').uniform(.5, .98, (sets, 1, 1))                    # 30 rows can only say 31 things: single accuracies lie above and below
    lo, hi = boot([RowStats(right(rng('thirty'), (sets, 1, 30), p))], 200, 'thirty')[0].interval()
    yield from both('coverage, accuracy, 30 rows, mean over true values from 50 to 98%', 100*float(((lo<=p[:, 0, 0])&(p[:, 0, 0]<=hi)).mean()), sets)
    for seeds,together in ((2, 1), (2, 3), (3, 1), (3, 3)):
        for sd in (.5, 1., 2.):
            d = in_reports(boot([RowStats(seed_sets(500, sets-sets%together, seeds, sd))], 2000, 'seeds')[0], together)
            lo, hi = d.interval()
            yield from both(f'coverage, accuracy, {seeds} seeds that differ by {sd:g} points, {together} run{"s"*(together>1)} in the report, 500 rows', 100*float(((lo<=seed_truth(sd))&(seed_truth(sd)<=hi)).mean()), sets)

def in_reports(d, together):
    "The runs as if `together` of them stood in a report each: they share the variance between seeds."
    from dataclasses import replace
    return replace(d, spread=d.spread.reshape(-1, together).mean(1).repeat(together), spread_df=d.spread_df*together)

def both(name, value, sets, lo=93., hi=97., bar=True):
    "A line whose bar is a range: above the lower end, and a line that fails if it is beyond the upper end. Without `sets` the value is exact."
    half = 196*np.sqrt(value/100*(1-value/100)/sets) if sets else 0.
    yield Row(name, value, '%', bar=lo if bar else None, low=value-half, high=value+half)
    if bar and value>hi: yield Row(name+' (too often)', value, '%', bar=hi, better='lower', low=value-half, high=value+half)

# ---- level of the paired test

def pairs(make, n, sets, same):
    "Two equal models on the same rows: a share `same` of the rows is answered alike."
    g = rng('level', n, make.__name__)
    a, b = make(g, (sets, 1, n)), make(g, (sets, 1, n))
    return a, np.where((g.random((sets, 1, n))<same)[..., None], a, b)

def exact_level(n, differ):
    "Chance that the report's test of accuracies calls equal models different, which differ on a share of the rows: summed over every outcome."
    from scipy.stats import binom
    m = np.arange(n+1)
    few = m[(binom.sf(m-1, n, differ)>1e-12)&(binom.cdf(m, n, differ)>1e-12)]
    return float(sum(binom.pmf(k, n, differ)*sum(binom.pmf(u, k, .5) for u in range(k+1) if mcnemar_p(u, k-u, n)<=.05) for k in few))

def held_differences(n, sets):
    "Share of intervals that hold the true difference of two models, of which one needs fewer bits on the same documents."
    g, out = rng('held', n), []
    for i in range(0, sets, 500):
        size = g.lognormal(7, .9, (500, 1, n))
        noise = g.normal(0, .3, (2, 500, 1, n))
        a, b = (np.stack([size*np.exp(.9-gain+e), size], -1) for gain,e in zip((.05, 0.), noise))
        lo, hi = paired_differences([RowStats(a, BPB)], [RowStats(b, BPB)], 2000, 'held', i)[0].interval()
        want = np.exp(.9+.045)*(np.exp(-.05)-1)                                     # mean of exp of a normal number; the bytes do not matter
        out.append((lo<=want)&(want<=hi))
    return float(np.concatenate(out).mean())

def equal_auc(n, sets):
    "p of two equal rankings of the same rows, which find the same rows hard."
    for i in range(sets):
        g = rng('equal auc', n, i)
        y, hard = (g.random(n)<.3).astype(float), g.normal(0, .7, n)
        a, b = (RowStats(np.stack([-(s := hard+1.2*y+g.normal(0, .7, n)), s, y], -1)[None, None], AUC, True) for _ in range(2))
        yield paired_differences([a], [b], 500, 'auc', i)[0].p[0]

def level(o):
    sets = 600 if o.quick else 4000
    for n in (50, 200): yield from both(f'false alarms at 5%, roc_auc, {n:,} rows', 100*float((np.fromiter(equal_auc(n, min(sets, 2000)), float)<=.05).mean()), min(sets, 2000), 1., 6.)       # halves without swaps: careful on few rows
    for name in ('f1', 'bits_per_byte', 'bleu'):
        (make, of), many = KINDS[name], 4000 if o.quick else 20_000
        a, b = pairs(make, 100, many, .5)
        p = np.concatenate([paired_differences([RowStats(a[i:i+500], of)], [RowStats(b[i:i+500], of)], 99, 'tail', i)[0].p for i in range(0, many, 500)])
        yield Row(f'false alarms at 0.1%, {name}, 100 rows, beyond 99 draws', 100*float((p<=.001).mean()), '%', bar=.2, better='lower')
    for name,(make,of) in KINDS.items():
        for n in (50, 200, 1000):
            a, b = pairs(make, n, sets if n<1000 else min(sets, 2000), .5)
            p = np.concatenate([paired_differences([RowStats(a[i:i+500], of)], [RowStats(b[i:i+500], of)], 2000, 'level', i)[0].p for i in range(0, len(a), 500)])
            if name=='accuracy': yield from both(f'false alarms at 5%, {name}, {n:,} rows, exact', 100*exact_level(n, .16), None, 4., 6.)
            yield from both(f'false alarms at 5%, {name}, {n:,} rows', 100*float((p<=.05).mean()), len(p), 4., 6., bar=name!='accuracy')
            if name=='bits_per_byte' and n==200: yield from both(f'coverage, difference of {name}, {n:,} rows', 100*held_differences(n, sets), sets)
    for seeds in (2, 3):
        for sd in (0., 1., 2.):
            from scipy.stats import norm
            g, s = rng('shared', seeds, sd), sd/100/norm.pdf(norm.ppf(.8))
            hard = g.normal(0, .7**.5, (sets, 1, 500))                  # the same rows are hard for both
            a, b = (((hard+g.normal(0, .3**.5, (sets, seeds, 500))+g.normal(0, s, (sets, seeds, 1)))<norm.ppf(.8)).astype(float)[..., None] for _ in range(2))
            spread = np.concatenate([a, b], 2).reshape(sets, seeds, 2, 500).mean(3).var(1, ddof=1).mean(1)          # of one seed, from both runs, as in a report
            d = [paired_differences([RowStats(a[i:i+500])], [RowStats(b[i:i+500])], 2000, 'level seeds', i)[0].pooled(2*spread[i:i+500], 2*(seeds-1.)) for i in range(0, sets, 500)]
            p = np.concatenate([x.p for x in d])
            yield from both(f'false alarms at 5%, accuracy, {seeds} seeds that differ by {sd:g} points, 500 rows', 100*float((p<=.05).mean()), sets, 4., 6.)

if __name__=='__main__':
    o = options(__doc__)
    rows = [*time_of_report(o), *coverage(o), *level(o)]
    finish(rows, o)
