"""The browser of documents on 1,000,000 of them: opening, pages, filters, histograms, a search that streams, beside pandas and datasets on the same Parquet.

The text is paragraphs of what the Python installation carries, each with its number; half a GB compressed (a tenth with --quick).
Times are medians of calls of which none was made before (other pages, other orders); beside each stands the processor time, which a busy machine stretches less."""
import shutil, statistics, tempfile, time
from pathlib import Path

from common import Row, finish, options

import numpy as np

def made(folder, n):
    "A corpus folder of n documents in groups of 2,048 rows, as `Corpus.save` writes it."
    import pyarrow as pa, pyarrow.parquet as pq
    from llmbench.readers import python_text
    held = python_text(megabytes=2.).pandas('text', 'source')
    parts = [(s, t[i:i+1500]) for s,t in zip(held.source, held.text) for i in range(0, len(t), 1500)]
    g, writer, k, size = np.random.default_rng(0), None, 0, 0
    for a in range(0, n, 2048):
        pick = [parts[i] for i in g.integers(len(parts), size=min(2048, n-a))]
        texts = [f'{a+i} {t}' for i,(_,t) in enumerate(pick)]
        t = pa.table(dict(text=pa.array(texts, pa.large_string()), id=[f'{a+i:020x}' for i in range(len(pick))], source=[s for s,_ in pick],
                          chars=np.array([len(x) for x in texts], float), words=np.array([x.count(' ') for x in texts], float), quality=g.random(len(pick))))
        writer = writer or pq.ParquetWriter(folder/f'part-{k:05d}.parquet', t.schema, compression='zstd')
        writer.write_table(t, row_group_size=2048); size += t.nbytes
        if size>2**28: writer.close(); writer, k, size = None, k+1, 0
    if writer: writer.close()

def timed(calls, pause=.25):
    "Median wall and processor seconds of calls with a pause before each, as a person makes (what is read ahead is read then), and the last value."
    wall, cpu = [], []
    for f in calls:
        time.sleep(pause)
        a, b = time.perf_counter(), time.process_time()
        out = f()
        wall.append(time.perf_counter()-a); cpu.append(time.process_time()-b)
    return statistics.median(wall), statistics.median(cpu), out

def ours(folder, n, k):
    "Rows of the browser, and how many documents its search found."
    from llmbench.look import answer, browse
    q = lambda **kw: dict(find='', regex=False, case=False, where={}, sort=None)|kw
    docs = []
    def open_(): docs.append(browse(folder)); assert docs[-1].widget.spec['n']==n; return answer(docs[-1], 'page', query=q())
    g = np.random.default_rng(1)
    opened = timed([open_]*3)
    d = docs[-1]
    first = timed([lambda: [answer(d, 'histogram', name=x, query=q()) for x in d.numbers]])
    def go(**kw):
        last = answer(d, 'page', query=q(**kw))['total']//12 # filters and orders are made here: they are measured as a whole by the histograms
        return [lambda i=i: answer(d, 'page', query=q(**kw), n=i) for i in g.integers(last, size=k).tolist()]
    rows = [('open and show the first page', opened, 2000., 'ms'), ('all histograms, the first time', first, None, 'ms'), ('a page anywhere', timed(go()), 100., 'ms')]
    rows += [('a page in the order of a signal, anywhere', timed(go(sort='-quality')), 100., 'ms'), ('the next page in the order of a signal', timed([lambda i=i: answer(d, 'page', query=q(sort='-quality'), n=i) for i in range(1, k)]), None, 'ms'),
             ('a page of one source within two ranges', timed(go(where={'source': ['docstrings'], 'words': [50, 300], 'quality': [.2, None]})), 100., 'ms'),
             ('one linked histogram after a brush', timed([lambda x=x: answer(d, 'histogram', name='words', query=q(where={'quality': [x, None]})) for x in g.random(k)]), 100., 'ms'), ('a document with its marks', timed([lambda r=r: answer(d, 'document', row=r, query=q()) for r in g.integers(n, size=k).tolist()]), 100., 'ms')]
    s = d.search(d.check(find='zebra|quagga', regex=True))
    steps = []
    began = time.perf_counter()
    while not s.run(seconds=.12): steps.append(time.perf_counter()-began-sum(steps))
    whole = time.perf_counter()-began
    return rows, whole, max(steps, default=whole), int(s.hits.sum()), d.store.bytes

def with_pandas(folder):
    "(seconds to open and show a page, of a sorted page, of a search, hits, bytes held)"
    import pandas as pd
    a = time.perf_counter(); t = pd.read_parquet(folder); t.head(12).to_html(); opened = time.perf_counter()-a
    a = time.perf_counter(); t.sort_values('quality', ascending=False).iloc[240:252].to_html(); page = time.perf_counter()-a
    a = time.perf_counter(); hits = int(t.text.str.contains('zebra|quagga', case=False, regex=True).sum()); search = time.perf_counter()-a
    return opened, page, search, hits

def with_datasets(folder, cache):
    "(seconds to open and show a page, of a page anywhere)"
    import datasets
    datasets.disable_progress_bars()
    a = time.perf_counter(); d = datasets.load_dataset('parquet', data_files=[str(p) for p in sorted(folder.glob('*.parquet'))], split='train', cache_dir=str(cache)); _ = d[:12]; opened = time.perf_counter()-a
    pages = []
    for i in np.random.default_rng(2).integers(len(d)-12, size=5).tolist(): a = time.perf_counter(); _ = d[i:i+12]; pages.append(time.perf_counter()-a)
    a = time.perf_counter(); order = np.argsort(-np.array(d['quality'])); _ = d[order[240:252].tolist()]
    return opened, statistics.median(pages), time.perf_counter()-a

if __name__=='__main__':
    o, rows = options(__doc__), []
    n, k = (100_000, 5) if o.quick else (1_000_000, 15)
    scratch = Path(tempfile.mkdtemp(prefix='llmbench-look-'))
    try:
        (scratch/'docs').mkdir()
        made(scratch/'docs', n)
        mine, whole, step, hits, size = ours(scratch/'docs', n, k)
        peers = {'open and show the first page': {}, 'a page in the order of a signal, anywhere': {}, 'a page anywhere': {}}
        opened, page, search, same = with_pandas(scratch/'docs')
        assert same==hits, (same, hits)
        peers['open and show the first page']['pandas, all in memory'], peers['a page in the order of a signal, anywhere']['pandas, all in memory'] = opened, page
        if not o.quick:
            opened, page, by = with_datasets(scratch/'docs', scratch/'cache')
            peers['open and show the first page']['datasets, with its cache to build'], peers['a page anywhere']['datasets'], peers['a page in the order of a signal, anywhere']['datasets'] = opened, page, by
        for name,(wall,cpu,_),bar,unit in mine:
            for peer,value in peers.get(name, {}).items() or [('', None)]: rows.append(Row(f'{n:,}: {name}', 1000*wall, unit, peer, None if value is None else 1000*value, bar=bar, better='lower'))
            rows.append(Row(f'{n:,}: {name}, processor time', 1000*cpu, unit, better='lower'))
        rows += [Row(f'{n:,}: search a pattern in all texts', size/whole/1e6, 'MB/s', 'pandas, all in memory', size/search/1e6), Row(f'{n:,}: longest wait between two steps of a search', 1000*step, 'ms', better='lower')]
    finally: shutil.rmtree(scratch, ignore_errors=True)
    finish(rows, o)
