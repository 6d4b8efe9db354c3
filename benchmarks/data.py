"""Data: signals, the whole FineWeb recipe, fuzzy deduplication and tokenising on real text, beside the peers in environments of their own.

The bars of the data floor in one run: the same text, the same cores, medians of three for what has a bar. datatrove's filters run on a
sample of the English documents (it needs several seconds a megabyte), its deduplication on a quarter; see `dedup.py`, which also runs alone."""
import gzip, json, os, re, statistics, tempfile, time
from pathlib import Path

from common import Row, finish, options
from dedup import dedup_rows, token_rows
from peers import NotInstalled, Peer, run
from texts import real_text

import numpy as np

from llmbench.clean import clean, recipes
from llmbench.corpus import Corpus
from llmbench.readers import read
from llmbench.scan import COUNTS, as_arrow, count
from llmbench.signals import signals

DATATROVE = Peer(('datatrove[processing]==0.10.1', 'spacy==3.8.14'), 'datatrove', alone=True) # its pins clash with ours

FILTERS = r'''
import json, sys, time, warnings
warnings.filterwarnings('ignore')
from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
texts = [json.loads(l) for l in open(sys.argv[1], encoding='utf-8')]
filters = dict(repetition=GopherRepetitionFilter(), quality=GopherQualityFilter(), c4=C4QualityFilter(filter_no_terminal_punct=False), fineweb=FineWebQualityFilter())
for f in filters.values(): f.filter(Document(text=texts[0], id='0'))                 # loads the tokenizer
seconds, kept = {}, {}
for name, f in filters.items():
    start = time.process_time()
    kept[name] = [1 if f.filter(Document(text=t, id='0')) is True else 0 for t in texts]
    seconds[name] = time.process_time()-start
print(json.dumps(dict(seconds=seconds, kept=kept)))
'''

def median_rate(fn, size, repeats=3):
    "Median MB/s of `fn()` over `size` bytes."
    times = []
    for _ in range(repeats): start = time.perf_counter(); fn(); times.append(time.perf_counter()-start)
    return size/1e6/statistics.median(times)

def on_one_core(fn):
    "What `fn()` gives when this thread and those it starts have one core."
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try: return fn()
    finally: os.sched_setaffinity(0, cores)

def signal_rows(rows, texts):
    "The signals of the three papers from Python strings, as a user asks for them: the Arrow array is made anew each time, so nothing is remembered. Gives their MB/s on one core."
    arrow, size = as_arrow(texts), sum(len(t.encode()) for t in texts)
    papers = sorted((n for n in signals if re.search(r'\(Gopher\)|\(C4\)|\(FineWeb\)', signals.sources[n])), key=lambda n: not getattr(signals[n], 'grams', False))
    assert len(papers)>=30 and {'duplicate_10gram_char_share', 'javascript_lines', 'newlines_per_word'}<=set(papers)
    def all_signals():
        a = as_arrow(texts)
        return [signals[n](a) for n in papers]
    count(arrow[:100])                                                                # compiles
    busy = time.process_time(); all_signals(); busy = time.process_time()-busy
    alone = on_one_core(lambda: median_rate(all_signals, size))
    rows += [Row(f'all {len(papers)} signals of Gopher, C4 and FineWeb', median_rate(all_signals, size), 'MB/s', bar=40),
             Row('  on one core', alone, 'MB/s'),
             Row('  per second of processor time', size/1e6/busy, 'MB/s'),
             Row(f'the {len(COUNTS)} counts behind them, and RedPajama\'s', median_rate(lambda: count(arrow), size), 'MB/s')]
    return alone

def ours_keeps(texts):
    "The decisions of our steps that bear the name of one of datatrove's filters."
    steps, out = {s.name: s for s in recipes['fineweb']()}, {}
    for name,step in dict(repetition='gopher repetition', quality='gopher quality', fineweb='fineweb').items():
        v = {n: signals[n](texts) for n in steps[step].keep}
        ok = [(v[n]>=(-np.inf if lo is None else lo)) & (v[n]<=(np.inf if hi is None else hi)) for n,(lo,hi) in steps[step].keep.items()]
        out[name] = np.logical_and.reduce(ok)
    return out

def datatrove_rows(rows, texts, rate, some):
    "datatrove's four filters on a sample of the same English documents, one process; and how often it decides as we do."
    sample = [t[:20_000] for t in texts[:some]]
    size = sum(len(t.encode()) for t in sample)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)/'texts.jsonl'
        path.write_text(''.join(json.dumps(t)+'\n' for t in sample), encoding='utf-8')
        try: found = run(DATATROVE, FILTERS, path, timeout=1800)
        except (NotInstalled, RuntimeError) as e: return print(f'datatrove is not measured: {e}')
    theirs = size/1e6/sum(found['seconds'].values())
    rows.append(Row('all these signals on one core, against four filters of datatrove in one process', rate, 'MB/s', 'datatrove 0.10.1', theirs, bar=40*theirs))
    mine = ours_keeps(sample)
    for name,kept in mine.items():
        kept_there = np.array(found['kept'][name], bool)
        rows.append(Row(f'{name}: documents kept', 100*kept.mean(), '%', 'datatrove 0.10.1', 100*kept_there.mean()))
        rows.append(Row(f'{name}: same decision', 100*(kept==kept_there).mean(), '%'))

def recipe_rows(rows, frame, folder):
    "JSONL.gz to cleaned Parquet: read, the whole recipe, save."
    size = int(frame.text.str.encode('utf-8').str.len().sum())
    for k in range(8):
        with gzip.open(folder/f'part{k}.jsonl.gz', 'wt', compresslevel=1, encoding='utf-8') as f:
            f.writelines(json.dumps(dict(text=t, source=s, id=i), ensure_ascii=False)+'\n' for t,s,i in zip(frame.text[k::8], frame.source[k::8], frame.id[k::8]))
    left = []
    def whole(): left.append(clean(read(f'all={folder}/part*.jsonl.gz'), recipe='fineweb').save(folder/'cleaned'))
    clean(Corpus.of(frame.head(20)[['text', 'source', 'id']]), recipe='fineweb')       # compiles
    repeats, busy = 1 if len(frame)<5000 else 3, time.process_time()
    rows += [Row('JSONL.gz to cleaned Parquet, whole fineweb recipe', median_rate(whole, size, repeats), 'MB/s', bar=15),
             Row('  per second of processor time', repeats*size/1e6/(time.process_time()-busy), 'MB/s')]
    rows.append(Row('documents kept by the recipe', 100*len(left[-1])/len(frame), '%'))
    corpus = Corpus.of(frame[['text', 'source', 'id']])
    rows.append(Row('recipe alone, from memory', median_rate(lambda: clean(corpus, recipe='fineweb'), size, 1), 'MB/s'))

def main():
    import warnings
    warnings.simplefilter('ignore')                                                   # sources that a recipe for English wipes out
    o = options(__doc__)
    frame = real_text(20, 4, quick=True) if o.quick else real_text()
    texts = frame.text.tolist()
    print(f'{len(texts):,} documents, {sum(len(t.encode()) for t in texts)/1e6:.0f} MB, of which {sum(len(t.encode()) for t in frame.text[frame.lang=="zh"])/1e6:.0f} MB Chinese; {os.cpu_count()} cores', flush=True)
    rows = []
    rate = signal_rows(rows, texts)
    datatrove_rows(rows, frame.text[frame.lang=='en'].tolist(), rate, 40 if o.quick else 300)
    with tempfile.TemporaryDirectory() as folder:
        recipe_rows(rows, frame, Path(folder))
        dedup_rows(rows, real_text(12, 3, quick=True) if o.quick else frame, Path(folder), o.quick)
        token_rows(rows, frame, Path(folder), o.quick)
    finish(rows, o)

if __name__=='__main__': main()
