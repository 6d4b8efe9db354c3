"""A corpus several times as large as the memory that a process may have, through clean, deduplication and tokens.

    python benchmarks/scale.py                         little text: does it run, and what does each step hold?
    python benchmarks/scale.py --limit 1024            4 GiB of text, 1 GiB of memory (hours on two cores: tokens take most of it)
    python benchmarks/scale.py --limit 256 --over --factor 4 --steps clean,exact,near

The limit is RLIMIT_DATA of the process that does the work: the kernel refuses any private writable memory beyond it (heap, arrays, stacks of
threads), touched or not, so it is stricter than a limit on resident memory; files that are only mapped do not count. RLIMIT_AS would count those
files and the code of every library too. With `--over` the limit counts from what the process holds after the same steps over 2 MB of text
(imports, compiled functions, threads), else it is the whole process's. Daft's and Arrow's allocators keep address space in reserve, which this
limit counts as used: ARROW_DEFAULT_MEMORY_POOL=system and MALLOC_ARENA_MAX=1 switch that off.
"""
import argparse, json, os, resource, subprocess, sys, tempfile, time
from pathlib import Path

MiB = 2**20
FRUGAL = dict(ARROW_DEFAULT_MEMORY_POOL='system', MALLOC_ARENA_MAX='1', MALLOC_TRIM_THRESHOLD_='1000000')

def status(*names):
    "MiB of this process, as the kernel counts them."
    found = dict(l.split(':', 1) for l in Path('/proc/self/status').read_text().splitlines())
    return [int(found[n].split()[0])/1024 for n in names]

def write_corpus(folder, n_bytes, seed=0):
    "Documents of about 3 kB from the words of real text, a tenth of them copies or near copies of one before."
    import numpy as np
    import pyarrow as pa, pyarrow.parquet as pq
    from llmbench.corpus import Corpus, engine
    from llmbench.readers import python_text
    from llmbench.store import write_json
    r, size, n, k, last = np.random.default_rng(seed), 0, 0, 0, []
    words = np.array(sorted({w for t in python_text(['topics', 'licences'], megabytes=1).pandas('text').text for w in t.split()}), object)
    folder.mkdir(parents=True)
    while size<n_bytes:
        texts = []
        while len(texts)<2000 and size<n_bytes:
            u, old = r.random(), last[r.integers(len(last))] if last else ''
            t = old if old and u<.05 else f'{old} {words[r.integers(len(words))]}' if old and u<.1 else '\n'.join(' '.join(words[r.integers(0, len(words), 12)]) for _ in range(r.integers(8, 60)))
            texts.append(t); size += len(t.encode())
        last = texts
        pq.write_table(pa.table(dict(text=pa.array(texts, pa.large_string()), id=pa.array([f'{n+i:010d}' for i in range(len(texts))], pa.large_string()), source=pa.array(['ab'[i%2] for i in range(len(texts))], pa.large_string()))),
                       folder/f'part-{k:05d}.parquet', compression='zstd', row_group_size=1024)
        n, k = n+len(texts), k+1
    corpus = Corpus(engine().read_parquet(sorted(map(str, folder.glob('part-*')))))
    write_json(folder/'story.json', dict(rows=len(corpus), bytes=corpus.n_bytes, story=corpus.story))

def go_through(corpus, out, steps, note=lambda step, corpus: None):
    "All steps, each into a folder."
    from llmbench.clean import clean
    from llmbench.dedup import deduplicate
    from llmbench.scale import in_parts
    from llmbench.tokens import train_tokenizer, write_tokens
    for step in steps:
        if step=='clean': corpus = in_parts(corpus, lambda c: clean(c, keep={'words': (5, None)}), out/step, {'step': step}, megabytes=2)
        elif step=='tokens': write_tokens(corpus, train_tokenizer(corpus, 2048, megabytes=3), out/step, progress=False)
        else: corpus = deduplicate(corpus, step).save(out/step)
        note(step, corpus)

def worker(a):
    "The process under the limit: prints JSON."
    import warnings
    import llmbench.corpus
    from llmbench.corpus import Corpus, engine
    warnings.simplefilter('ignore')
    llmbench.corpus.HOLD, llmbench.corpus.PART, llmbench.corpus.GROUP = 0, 4*10**6, 512 # nothing whole in memory, small files
    engine().set_execution_config(scantask_max_parallel=1, default_morsel_size=256)
    steps, home = a.steps.split(','), Path(a.worker)
    go_through(Corpus.open(home/'small'), home/'warm', steps)
    base, rows = status('VmData', 'VmRSS'), []
    limit = int((a.limit+(base[0] if a.over else 0))*MiB)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    began = [time.time(), time.process_time()]
    def note(step, corpus):
        rows.append(dict(step=step, documents=len(corpus), megabytes=corpus.n_bytes/1e6, seconds=time.time()-began[0], cpu_seconds=time.process_time()-began[1], data_mib=status('VmData')[0]))
        began[:] = time.time(), time.process_time()
    go_through(corpus := Corpus.open(home/'large'), home/'out', steps, note)
    print(json.dumps(dict(limit_mib=limit/MiB, base_mib=base[0], corpus_mib=corpus.n_bytes/MiB, peak_rss_mib=status('VmHWM')[0], base_rss_mib=base[1], steps=rows)))

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--limit', type=float, help='MiB of memory (without: 256 beyond the imports, and 12 MiB of text)')
    p.add_argument('--over', action='store_true', help='count the limit from what the process holds after its imports')
    p.add_argument('--factor', type=float, help='text, as a multiple of --limit (4)')
    p.add_argument('--steps', default='clean,exact,near,tokens')
    p.add_argument('--quick', action='store_true', help='as without --limit')
    p.add_argument('--json', type=Path)
    p.add_argument('--worker', help=argparse.SUPPRESS)
    a = p.parse_args(argv)
    small = a.quick or not a.limit
    a.over, a.limit, a.factor = a.over or small, a.limit or 256, a.factor or (.05 if small else 4)
    if a.worker: return worker(a)
    with tempfile.TemporaryDirectory() as home:
        write_corpus(Path(home)/'small', 2e6, 1)
        write_corpus(Path(home)/'large', a.limit*a.factor*MiB)
        stack = lambda: resource.setrlimit(resource.RLIMIT_STACK, (2*MiB, 2*MiB)) # of each thread
        done = subprocess.run([sys.executable, __file__, '--worker', home, '--limit', str(a.limit), '--factor', str(a.factor), '--steps', a.steps, *(['--over'] if a.over else [])],
                              env={**os.environ, **FRUGAL}, preexec_fn=stack, stdout=subprocess.PIPE, text=True)
    if done.returncode: print(f'the process ended with {done.returncode}: the limit of {a.limit:.0f} MiB does not suffice'); return 1
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"limit {found['limit_mib']:.0f} MiB of private memory ({found['base_mib']:.0f} of them before the first document), {found['corpus_mib']:.0f} MiB of text, resident at the peak {found['peak_rss_mib']:.0f} MiB (before {found['base_rss_mib']:.0f})")
    for r in found['steps']: print(f"  {r['step']:10} {r['documents']:>9,} documents {r['megabytes']:8.1f} MB left  {r['seconds']:7.1f} s  {r['cpu_seconds']:7.1f} CPU s  holds {r['data_mib']:.0f} MiB")
    if a.json: a.json.write_text(json.dumps(found, indent=1))
    return 0

if __name__=='__main__': sys.exit(main())
