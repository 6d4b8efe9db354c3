"""Swarm: many small models at once, against the same models one after another and one a process; and which way the scheduler takes.

On a processor a stack need not win: the bar there is that the way chosen is at most 5% slower than the best. On an accelerator the bar is ten
times the tokens a second of one after another."""
import statistics, tempfile
from pathlib import Path

from common import Row, finish, options

from llmbench.core import cores, plain
from llmbench.jobs import Job, rate_stacked
from llmbench.learner import train
from llmbench.models import estimate
from llmbench.pool import choose_way, measure_ways
from llmbench.readers import python_text
from llmbench.recipe import Recipe
from llmbench.swarm import train_swarm
from llmbench.tokens import train_tokenizer, write_tokens

def prepare(folder, vocab):
    "Token shards of text that Python carries; the tokenizer file."
    docs = python_text(['topics', 'licences'], megabytes=.5)
    tokenizer = train_tokenizer(docs, vocab=vocab, folder=folder/'tokenizer')
    return write_tokens(docs, tokenizer, folder/'tokens', progress=False)

def jobs(folder, n, **recipe):
    make = lambda i: Recipe(weights={'topics': .2+.6*i/n, 'licences': .8-.6*i/n}, seed=i, max_epochs=1e6, **recipe)
    return [Job(f'm{i}', plain(make(i)), str(folder/'tokens'), str(folder/'tokens'), str(folder/'runs'/f'm{i}'), str(folder/'tokenizer'/'tokenizer.json')) for i in range(n)]

def equality(tokens, folder):
    "The largest difference between the loss curves of members and of plain runs of their recipes."
    recipes = {f'm{i}': Recipe(weights={'topics': .3+.1*i, 'licences': .7-.1*i}, tokens=40*4*64, size=2, vocab=2048, window=64, seed=i, lr=(i+1)*1e-3) for i in range(4)}
    runs = train_swarm(recipes, tokens, folder/'equal', quiet=True)
    return max(abs(train(r.recipe, tokens, folder/'plain'/r.folder.name).metrics().loss-r.metrics().loss).max() for r in runs)

def ways(rows, jobs, name, repeats):
    "Tokens a second of each way, interleaved; medians."
    import torch
    on_gpu = torch.accelerator.is_available()
    found = [measure_ways(jobs) for _ in range(repeats)]
    rates = {w: statistics.median(f[w] for f in found) for w in found[0]}
    for w,v in rates.items(): rows.append(Row(f'{name}: {w}', v, 'tokens/s', 'one after another', rates['alone']))
    if on_gpu: rows.append(Row(f'{name}: stacked over one after another', rates['stacked']/rates['alone'], 'x', bar=10.))
    way = choose_way(jobs)
    rows.append(Row(f'{name}: chosen ({way}) over the best', rates[way]/max(rates.values()), 'x', bar=.95))

def main():
    o = options(__doc__)
    rows = []
    with tempfile.TemporaryDirectory() as d:
        folder = Path(d)
        tokens = prepare(folder, 2048)
        rows.append(Row('members against plain runs: largest difference of a loss', equality(tokens, folder), 'nats', bar=1e-4, better='lower'))
        for name, n, shape in [('8 members, size 2', 8, dict(size=2, window=128)), ('64 members of 1 M', 64, dict(size=4, window=128))]:
            some = jobs(folder, n, vocab=2048, tokens=10**8, **shape)
            print(f"{name}: {estimate(Recipe(**some[0].recipe))['parameters']:,} parameters each, {cores()} cores", flush=True)
            ways(rows, some, name, 1 if o.quick else 3)
            if not o.quick and n>8: rows.append(Row(f'{name}: stacked, a stack of 8 of them', rate_stacked(some[:8], cores()), 'tokens/s'))
    finish(rows, o)

if __name__=='__main__': main()
