"""Mixture stream: how exact the shares are, how fast it starts, jumps and delivers tokens, and what it holds in memory."""
import itertools, statistics, subprocess, tempfile, time, tracemalloc
from pathlib import Path

import peers
from common import Row, finish, optional, options, seconds

import numpy as np
import torch

from llmbench.loader import Loader, WindowStream
from llmbench.mixture import Mixture
from llmbench.scan import compiled
from llmbench.stream import PARTS, Phase, Splits, Stream, shuffled, whole_parts
from llmbench.windows import Rows, _copy

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
    sizes, even = {f's{k}': 10**12 for k in range(64)}, np.full(64, 1/64)
    w = np.arange(1, 65)/2080
    make = lambda: (s := Mixture(dict(zip(sizes, w.tolist())), sizes, 10**12, 1024).stream(), s[0])[0]
    ramp = lambda: (s := Stream(list(sizes), [10**9]*64, [(0, w), Phase(10**8, even, 6*10**8, 'cosine'), (8*10**8, w)], 10**9), s[0])[0]
    make()                                                         # compiled functions are loaded once per process
    for name, build in {'': make, ', two phases and a ramp': ramp}.items():
        tracemalloc.start(); stream = build(); held, peak = tracemalloc.get_traced_memory(); tracemalloc.stop()
        at = np.random.default_rng(1).integers(0, len(stream), 200)
        jumps = []
        for i in at: start = time.perf_counter(); stream[int(i)]; jumps.append(time.perf_counter()-start)
        rows += [Row(f'start and first jump, 10^12 tokens of 64 sources{name}', seconds(build)*1e3, 'ms', bar=300, better='lower'),
                 Row(f'jump to any sequence{name}', statistics.median(jumps)*1e3, 'ms', bar=1, better='lower'),
                 Row(f'memory held, 10^12 tokens of 64 sources{name}', held/2**20, 'MB', bar=16, better='lower'),
                 Row(f'memory at the peak of the start{name}', peak/2**20, 'MB', bar=16, better='lower'),
                 Row(f'share error, 64 sources{name}: proven bound', stream.error_bound, 'sequences')]
    short = lambda: Mixture(dict(zip(sizes, w.tolist())), sizes, 10**7, 1024).stream()[0]
    rows += [Row('start and first jump, 10^7 tokens of 64 sources', seconds(short)*1e3, 'ms', '10^12 tokens', seconds(make)*1e3),
             Row('order of a block of 64', seconds(lambda: stream.block(10**6, 10**6+64), 30)*1e3, 'ms'),
             Row('order of a block of 65536', seconds(lambda: stream.block(10**6, 10**6+65536), 5)*1e3/65.536, 'us a sequence'),
             Row('one entry of a shuffle of 2*10^9', seconds(lambda: shuffled(np.arange(65536), 2*10**9+1, 5), 5)*1e6/65536, 'us')]

# ---- delivery: batches of 64 windows of 1024 tokens from 8 sources, int64 torch tensors out

B, T = 64, 1024

def steady(make, batches, repeats=5):
    "Median M tokens/s of an iterator of batches over `repeats` stretches, after its first ten."
    it, rates = iter(make()), []
    for _ in itertools.islice(it, 10): pass
    for _ in range(repeats):
        start, n = time.perf_counter(), sum(1 for _ in itertools.islice(it, batches))
        rates.append(n*B*T/(time.perf_counter()-start)/1e6)
    return statistics.median(rates)

PEER = '''
import itertools, json, statistics, sys, time
import numpy as np, torch
B, T = 64, 1024
folder, out, batches = sys.argv[1], sys.argv[2], int(sys.argv[3])
tokens = [np.fromfile(f'{folder}/s{k}.bin', np.uint16)[:-1].reshape(-1, T) for k in range(8)]
def steady(make, repeats=5):
    it, rates = iter(make()), []
    for _ in itertools.islice(it, 10): pass
    for _ in range(repeats):
        start, n = time.perf_counter(), 0
        for x in itertools.islice(it, batches):
            n += x.numel()                                         # the last batch of a peer may be short
            assert x.shape[1]==T and x.dtype==torch.int64
        rates.append(n/(time.perf_counter()-start)/1e6)
    return statistics.median(rates)
'''

STREAMING = PEER+'''
from streaming import MDSWriter, Stream, StreamingDataset
from streaming.base.util import clean_stale_shared_memory
from torch.utils.data import DataLoader
best = {}
for dtype in ('uint16', 'int64'):
    for k,t in enumerate(tokens):
        with MDSWriter(out=f'{out}/{dtype}/{k}', columns={'ids': f'ndarray:{dtype}:{T}'}, size_limit=2**27) as w:
            for row in t.astype(dtype): w.write({'ids': row})
    stack = lambda rows: torch.from_numpy(np.stack([r['ids'] for r in rows]).astype(np.int64, copy=False))
    for workers in (0, 2):
        clean_stale_shared_memory()
        mixed = StreamingDataset(streams=[Stream(local=f'{out}/{dtype}/{k}', proportion=1/8) for k in range(8)], batch_size=B, shuffle=True, shuffle_seed=0)
        rate = steady(lambda: DataLoader(mixed, batch_size=B, num_workers=workers, collate_fn=stack, drop_last=True))
        best[str(workers)] = max(best.get(str(workers), 0), rate)
print(json.dumps(best), flush=True)
import os; os._exit(0)
'''

LITDATA = PEER+'''
from litdata import CombinedStreamingDataset, StreamingDataLoader, StreamingDataset, TokensLoader, optimize
def rows(task):
    k, dtype = task
    yield torch.from_numpy(tokens[k].ravel().astype(dtype))
if __name__=='__main__':
    best = {}
    for dtype in ('int64',):                          # stored as asked for: nothing to convert
        for k in range(8): optimize(fn=rows, inputs=[(k, dtype)], output_dir=f'{out}/{dtype}/{k}', chunk_size=T*8192, item_loader=TokensLoader(block_size=T), num_workers=1)
        def mixed(): return CombinedStreamingDataset([StreamingDataset(f'{out}/{dtype}/{k}', item_loader=TokensLoader(block_size=T), shuffle=True, drop_last=True) for k in range(8)], weights=[1/8]*8, seed=0, iterate_over_all=False)
        for workers in (0, 2):
            rate = steady(lambda: (x.long() for x in StreamingDataLoader(mixed(), batch_size=B, num_workers=workers, drop_last=True)))
            best[str(workers)] = max(best.get(str(workers), 0), rate)
    print(json.dumps(best), flush=True)
'''

def ours(stream, tokens, batches):
    "M tokens/s with nothing beside the reader, read ahead by one and by two threads (our workers: the copy leaves Python's lock), in two worker processes, and what two processes can hand over at all."
    process = lambda data: torch.utils.data.DataLoader(data, batch_size=None, num_workers=2, prefetch_factor=4)
    return dict(alone=steady(lambda: WindowStream(stream, tokens, B), batches), thread=steady(lambda: Loader(stream, tokens, B), batches),
                two_threads=steady(lambda: Loader(stream, tokens, B, ahead=4, threads=2), batches),
                workers=steady(lambda: process(WindowStream(stream, tokens, B)), batches), empty=steady(lambda: process(Batched(empty, 10**6)), batches))

def bare(stream, tokens, batches):
    "M tokens/s of nothing but copying the same windows: a numpy loop over rows of memory maps, and our compiled copy."
    names, order = list(tokens), [stream.block(i, i+B) for i in range(0, batches*B, B)]
    rows, ids = Rows(stream, tokens), [tokens[k] for k in tokens]
    def loop():
        for source, window in order: torch.from_numpy(np.stack([ids[k][i*T:i*T+T+1] for k,i in zip(source.tolist(), window.tolist())]).astype(np.int64))
    def views():
        plain = [np.asarray(tokens[k]) for k in names]
        for source, window in order:
            out = np.empty((B, T+1), np.int64)
            for row, k, i in zip(out, source.tolist(), window.tolist()): row[:] = plain[k][i*T:i*T+T+1]
            torch.from_numpy(out)
    def ours():
        for source, window in order: compiled(_copy)(rows._memory, rows._at, rows._size, source, window, np.empty((B, T+1), np.int64))
    return [batches*B*T/seconds(fn, 5)/1e6 for fn in (loop, views, ours)]

def empty(i): return torch.zeros(B, T+1, dtype=torch.int64)

class Batched(torch.utils.data.Dataset):
    "Batch `j` of a map-style dataset, read as one slice."
    def __init__(self, read, n): self.read, self.n = read, n
    def __len__(self): return self.n
    def __getitem__(self, j): return self.read(j*B)

def interleaved(datasets, tokens, batches, quick):
    "M tokens/s of interleave_datasets, map style (the best of two stored types and three ways to read a batch) and iterable."
    from torch.utils.data import DataLoader
    best = {'map 0': 0., 'map 2': 0.}
    for dtype in ('uint16',) if quick else ('uint16', 'int64'):
        kind = datasets.Features(ids=datasets.List(datasets.Value(dtype), length=T))
        parts = [datasets.Dataset.from_dict({'ids': np.asarray(t[:-1]).reshape(-1, T).astype(dtype)}, features=kind) for t in tokens.values()]
        mixed = lambda f: datasets.interleave_datasets([p.with_format(f) for p in parts], probabilities=[1/8]*8, seed=0, stopping_strategy='first_exhausted')
        as_long = dict(numpy=lambda x: torch.from_numpy(x['ids'].astype(np.int64)), torch=lambda x: x['ids'].long(),
                       arrow=lambda x: torch.from_numpy(x['ids'].combine_chunks().flatten().to_numpy().reshape(-1, T).astype(np.int64)))
        for f, long in as_long.items():
            data = mixed(f)
            def batch(i, data=data, long=long): return long(data[i:i+B])
            assert batch(0).shape==(B, T) and batch(0).dtype==torch.int64
            best['map 0'] = max(best['map 0'], steady(lambda: map(batch, range(0, len(data)-B, B)), batches))
            slices = torch.utils.data.DataLoader(Batched(batch, len(data)//B), batch_size=None, num_workers=2, prefetch_factor=4)
            best['map 2'] = max(best['map 2'], steady(lambda: slices, batches))
    few = 5 if quick else 10
    def rows(): return datasets.interleave_datasets([p.with_format('numpy').to_iterable_dataset(num_shards=2) for p in parts], probabilities=[1/8]*8, seed=0, stopping_strategy='first_exhausted')
    stack = lambda rows: torch.from_numpy(np.stack([r['ids'] for r in rows]).astype(np.int64))
    for workers in (0, 2): best[f'iterable {workers}'] = steady(lambda: DataLoader(rows(), batch_size=B, collate_fn=stack, num_workers=workers), few, 3)
    return best

def delivery(rows, folder, million, quick):
    rng, tokens = np.random.default_rng(2), {}
    for k in range(8):
        rng.integers(0, 50_000, million*10**6//8//T*T+1, dtype=np.uint16).tofile(folder/f's{k}.bin')
        tokens[f's{k}'] = np.memmap(folder/f's{k}.bin', np.uint16, 'r')
    n = sum(len(t)//T for t in tokens.values())
    stream, batches = Mixture({k: 1/8 for k in tokens}, {k: len(t) for k,t in tokens.items()}, n*T, T).stream(), (n//B-10)//5
    got = ours(stream, tokens, batches)
    what = f'tokens delivered, {B} x {T}, 8 sources'
    names = dict(alone='one process', thread='1 worker (a thread that reads ahead)', two_threads='2 workers (threads that read ahead)', workers='2 worker processes of torch')
    row = lambda mine, peer, value, times=None: rows.append(Row(f"{what}, {names[mine]}", got[mine], 'M tokens/s', peer, value, times and times*value))
    loop, views, compiled = bare(stream, tokens, batches)
    row('alone', 'bare gather: numpy, rows of memory maps', loop, .6)
    row('alone', 'bare gather: numpy, rows of plain views', views, .6)
    row('alone', 'bare gather: compiled copy, order known', compiled)
    if datasets := optional('datasets'):
        datasets.disable_progress_bars()
        theirs = interleaved(datasets, tokens, max((n//B)*3//4//5, 1), quick)
        row('alone', 'interleave_datasets, map style', theirs['map 0'], 3)
        row('two_threads', 'interleave_datasets, map style, 2 workers', theirs['map 2'], 3)
        row('alone', 'interleave_datasets, iterable', theirs['iterable 0'], 30)
        row('two_threads', 'interleave_datasets, iterable, 2 workers', theirs['iterable 2'], 30)
        row('workers', 'interleave_datasets, map style, 2 workers', theirs['map 2'])
    row('workers', 'empty batches through 2 worker processes', got['empty'])
    row('thread', 'one process', got['alone'])
    if quick: return
    for name, code in dict(streaming=STREAMING, litdata=LITDATA).items():
        try: theirs = peers.run(name, code, folder, folder/name, n//B//8, timeout=150)
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as e: print(f'{name} is not measured: {e}'); continue
        row('alone', name, theirs['0'], 3)
        row('two_threads', f'{name}, 2 workers', theirs['2'], 3)

def main():
    o, rows = options(__doc__), []
    shares(rows, 5_000 if o.quick else 50_000)
    start_and_jump(rows)
    with tempfile.TemporaryDirectory() as folder: delivery(rows, Path(folder), 16 if o.quick else 32, o.quick)
    finish(rows, o)

if __name__=='__main__': main()
