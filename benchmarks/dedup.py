"""Fuzzy deduplication, Parquet to Parquet, of real text with planted near copies: rate, memory, recall, precision; and tokenising to shards.

Every tool reads the same files and takes 5-grams of words, one CJK character a word, 126 hashes in 18 bands of 7 (datatrove: its own
words and 14 bands of 8, its default). The natural near copies of the text are taken out first, so that what is removed should be planted.
rensa runs three times on all of it, datasketch once; datatrove, at a megabyte a second, three times on a quarter: every pair whole, drawn by a
hash of the original's id (`--quick`: rensa and datatrove, once, on about 4 MB). Peak memory is the kernel's high-water mark of the process."""
import json, re, statistics, subprocess, sys, tempfile, zlib
from pathlib import Path

from common import ROOT, Row, finish, options
from peers import NotInstalled, Peer, run
from texts import planted, real_text

PEAK = '''
def peak(): # MiB; `ru_maxrss` would begin with that of the process that started this one
    try: return int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])/1024
    except OSError: import resource; return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
'''
OURS = PEAK+'''
import json, sys, time
sys.path.insert(0, sys.argv[1])
from llmbench.corpus import Corpus
from llmbench.dedup import drop_near
drop_near(Corpus.of(['one two three four five six', 'one two three four five six seven'])) # compiled before the clock starts
base = peak()
start, cpu = time.perf_counter(), time.process_time()
out = drop_near(Corpus.open(sys.argv[2])).save(sys.argv[3])
wall, cpu = time.perf_counter()-start, time.process_time()-cpu
print(json.dumps(dict(wall=wall, cpu=cpu, peak=peak(), base=base, kept=out.pandas('id')['id'].tolist())))
'''
SHINGLES = PEAK+r'''
import json, re, sys, time
import pyarrow as pa, pyarrow.parquet as pq
word = re.compile('[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+')
def shingles(text):
    w = word.findall(text.lower())
    return {' '.join(w[i:i+5]) for i in range(len(w)-4)} or set(w)
start = time.perf_counter()
table = pq.read_table(sys.argv[1])
ids, texts = table['id'].to_pylist(), table['text'].to_pylist()
order = sorted(range(len(ids)), key=lambda i: (-len(texts[i]), ids[i]))
keep = []
%s
pq.write_table(table.take(sorted(keep)), sys.argv[2], compression='zstd')
print(json.dumps(dict(wall=time.perf_counter()-start, peak=peak(), kept=[ids[i] for i in keep])))
'''
DATASKETCH = SHINGLES % '''
from datasketch import MinHash, MinHashLSH
lsh = MinHashLSH(num_perm=126, params=(18, 7))
for i in order:
    m = MinHash(num_perm=126, seed=1)
    m.update_batch([s.encode() for s in shingles(texts[i])])
    if not lsh.query(m): lsh.insert(i, m); keep.append(i)
'''
RENSA = SHINGLES % '''
from rensa import RMinHash, RMinHashLSH
lsh = RMinHashLSH(threshold=.8, num_perm=126, num_bands=18)
for i in order:
    m = RMinHash(num_perm=126, seed=1)
    m.update(list(shingles(texts[i])))
    if not lsh.query(m): lsh.insert(i, m); keep.append(i)
'''
DATATROVE = '''
import json, os, resource, sys, time
if __name__=='__main__':
    import pyarrow.parquet as pq
    from datatrove.executor import LocalPipelineExecutor as Run
    from datatrove.pipeline.dedup import MinhashDedupSignature, MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter
    source, out = os.path.dirname(sys.argv[1]), sys.argv[2]+' trove' # a folder of its own: what it finds finished it does not do again
    at, config, start = lambda x: out+'/'+x, MinhashConfig(), time.perf_counter()
    read = lambda: ParquetReader(source, glob_pattern='*.parquet')
    Run([read(), MinhashDedupSignature(at('sig'), config=config, language='eng')], tasks=2, workers=2, logging_dir=at('l1')).run()
    Run([MinhashDedupBuckets(at('sig'), at('buckets'), config=config)], tasks=config.num_buckets, workers=2, logging_dir=at('l2')).run()
    Run([MinhashDedupCluster(at('buckets'), at('remove'), config=config)], tasks=1, logging_dir=at('l3')).run()
    Run([read(), MinhashDedupFilter(at('remove')), ParquetWriter(at('out'), compression='zstd')], tasks=2, workers=2, logging_dir=at('l4')).run()
    wall = time.perf_counter()-start
    print(json.dumps(dict(wall=wall, peak=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/1024, # of its largest worker
                           kept=pq.read_table(at('out'), columns=['id'])['id'].to_pylist())))
'''
PEERS = {'datasketch': (Peer(('datasketch==2.0.0',), 'datasketch'), DATASKETCH), 'rensa, string shingles': (Peer(('rensa==0.5.0',), 'rensa'), RENSA),
         'datatrove': (Peer(('datatrove[io,processing]==0.10.1', 'spacy', 'orjson'), 'datatrove', alone=True), DATATROVE)}

def words(text): return re.findall('[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+', text.casefold())
def grams(text):
    w = words(text)
    return set(zip(*(w[k:] for k in range(5)))) if len(w)>=5 else set(w)

def similarities(frame, copies):
    "The true Jaccard similarity of each planted pair, by plain sets: {copy: (J, language)}."
    text, lang = dict(zip(frame['id'], frame['text'])), dict(zip(frame['id'], frame['lang']))
    def j(a, b): a, b = grams(a), grams(b); return len(a&b)/max(1, len(a|b))
    return {c: (j(text[c], text[o]), lang[c]) for c,o in copies.items()}

def quality(kept, frame, copies, J):
    "(precision, recall of pairs with J >= .8 in English, in Chinese): a pair is found if one of the two is gone."
    gone = set(frame['id'])-set(kept)
    pair = set(copies) | set(copies.values())
    found = lambda lang: [c in gone or copies[c] in gone for c,(j,l) in J.items() if j>=.8 and l==lang]
    mean = lambda x: statistics.mean(x) if x else float('nan')
    return len(gone & pair)/max(1, len(gone)), mean(found('en')), mean(found('zh'))

def prepared(folder, base):
    "(frame with planted copies, {copy: original}, MB) and the same as a corpus on disk and as one Parquet file."
    from llmbench.corpus import Corpus
    from llmbench.dedup import drop_near
    distinct = set(drop_near(Corpus.of(base[['text', 'id', 'source', 'lang']]), .5).pandas('id')['id'])
    frame, copies = planted(base[base['id'].isin(distinct)].reset_index(drop=True))
    Corpus.of(frame).save(folder/'corpus')
    return frame, copies, one_file(frame, folder/'all')

def one_file(frame, folder):
    "The frame as `folder/in.parquet`; its MB of text."
    folder.mkdir()
    frame.to_parquet(folder/'in.parquet', compression='zstd')
    return frame['text'].str.encode('utf-8').str.len().sum()/1e6

def some_of(frame, share):
    "About a share of the documents, with their copies."
    return frame[[zlib.crc32(i.removeprefix('copy of ').encode())<share*2**32 for i in frame['id']]].reset_index(drop=True)

def ours(folder, k):
    done = subprocess.run([sys.executable, '-c', OURS, str(ROOT), str(folder/'corpus'), str(folder/f'out{k}')], capture_output=True, text=True)
    if done.returncode: raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])

def against(rows, name, folder, frame, J, copies, size, rate, share, repeats, bar):
    "One peer on a share of the documents."
    peer, code = PEERS[name]
    some, where = (frame, folder/'all') if share==1 else (some_of(frame, share), folder/f'some {share:.2f}')
    if not where.exists(): one_file(some, where)
    mb = some['text'].str.encode('utf-8').str.len().sum()/1e6
    try: done = [run(peer, code, where/'in.parquet', folder/f'out {name} {k}.parquet', timeout=1800) for k in range(repeats)]
    except (NotInstalled, RuntimeError) as e: return print(f'{name}: not measured ({str(e)[-300:]})')
    known = set(some['id'])
    p, e, z = quality(done[0]['kept'], some, {c: o for c,o in copies.items() if c in known}, {c: j for c,j in J.items() if c in known})
    who, theirs = name if share==1 else f'{name} on {mb:.0f} MB', mb/statistics.median(r['wall'] for r in done)
    rows += [Row('fuzzy dedup, Parquet to Parquet', rate, 'MB/s', who, theirs, bar=bar and bar*theirs), Row('  its peak memory', max(r['peak'] for r in done), 'MiB'),
             Row('  its precision', p, 'share'), Row('  its recall of J >= .8, English', e, 'share'), Row('  its recall of J >= .8, Chinese', z, 'share')]

def dedup_rows(rows, base, folder, quick):
    "Rate, memory and quality of `drop_near`, beside the peers."
    frame, copies, size = prepared(folder, base)
    J, full = similarities(frame, copies), not quick
    print(f"dedup: {len(frame):,} documents, {size:.0f} MB, {frame.loc[frame['lang']=='zh', 'text'].str.encode('utf-8').str.len().sum()/1e6:.0f} MB of it Chinese, {len(copies):,} planted copies, "
          f"{sum(j>=.8 for j,_ in J.values()):,} with J >= .8, {sum(j>=.8 and l=='zh' for j,l in J.values()):,} of them Chinese", flush=True)
    runs = [ours(folder, k) for k in range(1 if quick else 3)]
    rate = size/statistics.median(r['wall'] for r in runs)
    precision, en, zh = quality(runs[0]['kept'], frame, copies, J)
    rows += [Row('fuzzy dedup, Parquet to Parquet', rate, 'MB/s', bar=40 if full else None), Row('  per second of processor time', size/statistics.median(r['cpu'] for r in runs), 'MB/s'),
             Row('  peak memory', max(r['peak'] for r in runs), 'MiB', bar=1024, better='lower'), Row('  of which libraries and tables', runs[0]['base'], 'MiB'),
             Row('  precision', precision, 'share', bar=.995), Row('  recall of J >= .8, English', en, 'share', bar=.97), Row('  recall of J >= .8, Chinese', zh, 'share', bar=.97),
             Row('  difference of the two', abs(en-zh), 'share', bar=.02, better='lower')]
    small = min(1, 4/size)
    plan = [('rensa, string shingles', small, 1, 4), ('datatrove', small, 1, 30)] if quick else [('rensa, string shingles', 1, 3, 4), ('datasketch', 1, 1, None), ('datatrove', .25, 3, 30)]
    for name,share,repeats,bar in plan: against(rows, name, folder, frame, J, copies, size, rate, share, repeats, bar if full else None)

def token_rows(rows, base, folder, quick):
    "write_tokens beside the library's fast batch call on the same texts in memory, in turns."
    import shutil, time
    from llmbench.corpus import Corpus
    from llmbench.tokens import train_tokenizer, write_tokens
    corpus = Corpus.of(base[['text', 'id']].head(400 if quick else 4000).assign(source='all'))
    texts, tok = corpus.pandas('text')['text'].tolist(), train_tokenizer(corpus, 8000 if quick else 32_000, megabytes=5)
    times = {'write': [], 'library': []}
    for _ in range(3):
        shutil.rmtree(folder/'tokens', ignore_errors=True)
        start = time.perf_counter(); write_tokens(corpus, tok, folder/'tokens', progress=False); times['write'].append(time.perf_counter()-start)
        start = time.perf_counter(); tok.encode_batch_fast(texts, add_special_tokens=False); times['library'].append(time.perf_counter()-start)
    write, library = (corpus.n_bytes/1e6/statistics.median(times[n]) for n in ('write', 'library'))
    rows.append(Row(f'tokenising {corpus.n_bytes/1e6:.0f} MB to shards', write, 'MB/s', 'encode_batch_fast, ids left inside', library, bar=library))

def main():
    o, rows = options(__doc__), []
    base = real_text(12, 3, True) if o.quick else real_text()
    with tempfile.TemporaryDirectory() as folder:
        dedup_rows(rows, base, Path(folder), o.quick)
        token_rows(rows, base, Path(folder), o.quick)
    finish(rows, o)

if __name__=='__main__': main()
