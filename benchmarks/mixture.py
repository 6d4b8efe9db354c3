"""Mixture stream: how exact the shares are, how fast it starts, jumps and delivers tokens, and what it holds in memory."""
import statistics, tempfile, time, tracemalloc
from pathlib import Path

from common import Row, finish, optional, options, seconds

import numpy as np

from llmbench.mixture import Mixture
from llmbench.stream import PARTS, Splits, gather, shuffled, whole_parts

WEB = np.array([.55, .2, .12, .08, .04, .01])

def worst(source, w):
    "Largest distance of any prefix's count from its share, in sequences."
    i = np.arange(1, len(source)+1)
    return max(abs(np.cumsum(source==k)-i*w[k]).max() for k in range(len(w)))

def greedy(w, n):
    "The usual rule: the source furthest behind its share comes next."
    count, out = np.zeros(len(w)), np.empty(n, int)
    for i in range(n):
        out[i] = k = int(np.argmax(w*(i+1)-count))
        count[k] += 1
    return out

def chairman(w, n):
    "Tijdeman's assignment: among the sources whose turn may have come, the one that must come soonest."
    K, slack, count, out = len(w), 1-1/(2*len(w)-2), np.zeros(len(w), int), np.empty(n, int)
    for i in range(n):
        may = [k for k in range(K) if (i+1)*w[k]-count[k]>=1/(2*K-2)-1e-9] or range(K)
        out[i] = k = min(may, key=lambda k: (count[k]+slack)/w[k])
        count[k] += 1
    return out

def shares(rows, n):
    rng = np.random.default_rng(0)
    for name, w in dict(web=WEB, seventeen=rng.dirichlet(np.ones(17)), sixty_four=rng.dirichlet(np.ones(64))).items():
        parts = whole_parts(w)
        p, splits = parts/PARTS, Splits(parts)
        ours = worst(splits.at(np.arange(n))[0], p)
        rows += [Row(f'share error, {name}: proven bound', splits.error_bound, 'sequences'),
                 Row(f'share error, {name}', ours, 'sequences', 'greedy', worst(greedy(p, n), p), splits.error_bound, 'lower'),
                 Row(f'share error, {name}', ours, 'sequences', 'chairman (needs a table)', worst(chairman(p, n), p)),
                 Row(f'share error, {name}', ours, 'sequences', 'drawn at random', worst(rng.choice(len(w), n, p=p), p))]

def start_and_jump(rows):
    sizes = {f's{k}': 10**12 for k in range(64)}
    make = lambda: Mixture(dict(zip(sizes, (np.arange(1, 65)/2080).tolist())), sizes, 10**12, 1024).stream()
    tracemalloc.start(); stream = make(); held, peak = tracemalloc.get_traced_memory(); tracemalloc.stop()
    at = np.random.default_rng(1).integers(0, len(stream), 200)
    jumps = []
    for i in at: start = time.perf_counter(); stream[int(i)]; jumps.append(time.perf_counter()-start)
    rows += [Row('start, 10^12 tokens of 64 sources', seconds(make)*1e3, 'ms', bar=300, better='lower'),
             Row('jump to any sequence', statistics.median(jumps)*1e3, 'ms', bar=1, better='lower'),
             Row('memory held, 10^12 tokens of 64 sources', held/2**20, 'MB', bar=16, better='lower'),
             Row('memory at the peak of the start', peak/2**20, 'MB', bar=16, better='lower'),
             Row('order of a block of 64', seconds(lambda: stream.block(10**6, 10**6+64), 30)*1e3, 'ms'),
             Row('order of a block of 65536', seconds(lambda: stream.block(10**6, 10**6+65536), 5)*1e3/65.536, 'us a sequence'),
             Row('one entry of a shuffle of 2*10^9', seconds(lambda: shuffled(np.arange(65536), 2*10**9+1, 5), 5)*1e6/65536, 'us')]

def delivery(rows, folder, million, quick):
    rng, tokens = np.random.default_rng(2), {}
    for k in range(8):
        rng.integers(0, 50_000, million*10**6//8, dtype=np.uint16).tofile(folder/f's{k}.bin')
        tokens[f's{k}'] = np.memmap(folder/f's{k}.bin', np.uint16, 'r')
    mix = Mixture({k: 1/8 for k in tokens}, {k: len(t) for k,t in tokens.items()}, million*10**6//2, 1024)
    stream, B = mix.stream(), 64
    def ours(n=200):
        for i in range(0, n*B, B): gather(stream, tokens, i%(len(stream)-B), i%(len(stream)-B)+B)
    places = [(k, rng.integers(0, len(tokens[k])//1024-1, B)) for k in rng.choice(list(tokens), 200)]
    def bare():
        for k, w in places: np.stack([tokens[k][i*1024:i*1024+1025] for i in w]).astype(np.int64)
    rate = lambda fn: 200*B*1024/seconds(fn, 3 if quick else 7)/1e6
    rows.append(Row('tokens delivered, windows of 1024, batches of 64', rate(ours), 'M tokens/s', 'bare copies from the memory map', rate(bare)))
    if quick or not (datasets := optional('datasets')): return
    parts = [datasets.Dataset.from_dict({'ids': np.asarray(t[:2*10**6//1024*1024]).reshape(-1, 1024).astype(np.int32)}).with_format('numpy') for t in tokens.values()]
    mixed = datasets.interleave_datasets(parts, probabilities=[1/8]*8, seed=0, stopping_strategy='first_exhausted')
    def theirs():
        for i in range(0, 100*B, B): mixed[i:i+B]['ids'].astype(np.int64)
    rows.append(Row('tokens delivered, windows of 1024, batches of 64', rows[-1].ours, 'M tokens/s', 'interleave_datasets, map style', 100*B*1024/seconds(theirs, 3)/1e6))

def main():
    o, rows = options(__doc__), []
    shares(rows, 5_000 if o.quick else 50_000)
    start_and_jump(rows)
    with tempfile.TemporaryDirectory() as folder: delivery(rows, Path(folder), 16 if o.quick else 128, o.quick)
    finish(rows, o)

if __name__=='__main__': main()
