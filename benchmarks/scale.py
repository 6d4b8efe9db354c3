"""A corpus several times as large as the memory that a process may have, through clean, deduplication and tokens.

    python benchmarks/scale.py                         little text: does it run, and what does each step hold?
    python benchmarks/scale.py --limit 480 --alone --steps clean,exact,near,tokens
                                                       1.9 GiB of text, four times the whole limit: 480 MiB for all of the process, what imports,
                                                       compiled functions and the libraries' reserves take included (these alone: about 390); about 13
                                                       minutes of processor time and 6 GB of disk; without --alone it is all done again without a limit
    python benchmarks/scale.py --limit 480 --factor .2 --alone     the same with a twentieth of the text, to see that it begins well
    python benchmarks/scale.py --limit 16 --over       64 MiB of text, 16 MiB more than the process holds after 2 MB of it (--warm)

The limit is RLIMIT_DATA of the process that does the work: the kernel refuses any private writable memory beyond it (heap, arrays, stacks of
threads), touched or not, so it is stricter than a limit on resident memory; files that are only mapped do not count, the kernel may drop their
pages. With `--over` the limit counts from what the process holds after the same steps over a little text (imports, compiled functions, threads).
Afterwards the same steps run without a limit (`--alone` leaves that out): the documents kept, the stories and the tokens must be the same.
"""
import argparse, json, os, resource, subprocess, sys, tempfile, time
from pathlib import Path

MiB = 2**20

def status(*names):
    "MiB of this process, as the kernel counts them."
    found = dict(l.split(':', 1) for l in Path('/proc/self/status').read_text().splitlines())
    return [int(found[n].split()[0])/1024 for n in names]

def write_corpus(folder, n_bytes, seed=0):
    "Documents of about 3 kB from the words of real text, a tenth of them copies or near copies of one before; a file at a time."
    import numpy as np
    import pyarrow as pa
    from llmbench.corpus import Corpus, write_batches
    from llmbench.parquet import Parts
    from pydoc_data import topics
    from llmbench.store import write_json
    r, size, n, last = np.random.default_rng(seed), 0, 0, []
    words = np.array(sorted({w for t in topics.topics.values() for w in t.split()}), object)
    lines = np.array([' '.join(l) for l in words[r.integers(0, len(words), (100_000, 12))]], object)
    schema = pa.schema([(c, pa.large_string()) for c in ('text', 'id', 'source')])
    def batches():
        nonlocal size, n, last
        while size<n_bytes:
            texts = []
            while len(texts)<2000 and size<n_bytes:
                u, old = r.random(), last[r.integers(len(last))] if last else ''
                t = old if old and u<.05 else f'{old} {words[r.integers(len(words))]}' if old and u<.1 else '\n'.join(lines[r.integers(0, len(lines), r.integers(8, 60))])
                texts.append(t); size += len(t.encode())
            last = texts
            yield pa.table(dict(text=texts, id=[f'{n+i:010d}' for i in range(len(texts))], source=['ab'[i%2] for i in range(len(texts))]), schema=schema)
            n += len(texts)
    folder.mkdir(parents=True)
    write_batches(batches(), schema, folder)
    corpus = Corpus(None, [dict(step='start', rows=n, bytes=0, sources={})], parts=Parts(sorted(folder.glob('part-*'))))
    counts = {s: [0, 0] for s in 'ab'}
    for b in corpus.batches('source', 'text'):
        for s,t in zip(b['source'].to_pylist(), b['text'].to_pylist()): counts[s][0] += 1; counts[s][1] += len(t.encode())
    count = lambda k,b: dict(rows_in=k, rows=k, bytes_in=b, bytes=b, dropped={})
    item = dict(step='start', **count(n, sum(b for _,b in counts.values())), sources={s: count(*c) for s,c in counts.items() if c[0]})
    write_json(folder/'story.json', dict(rows=n, bytes=item['bytes'], story=[item]))

def go_through(corpus, out, steps, note=lambda step, corpus: None):
    "All steps, each into a folder; what came out, as hashes."
    from llmbench.clean import clean
    from llmbench.core import fingerprint
    from llmbench.dedup import deduplicate
    from llmbench.scale import in_parts
    from llmbench.tokens import train_tokenizer, write_tokens
    made = {}
    for step in steps:
        if step=='tokens': made[step] = {s: t.meta for s,t in write_tokens(corpus, train_tokenizer(corpus, 2048, megabytes=3), out/step, progress=False).items()}
        else:
            corpus = in_parts(corpus, lambda c: clean(c, keep={'words': (5, None)}), out/step, {'step': step}) if step=='clean' else deduplicate(corpus, step).save(out/step)
            made[step] = [corpus.fingerprint, fingerprint(corpus.story), len(corpus)]
        note(step, corpus)
    return made

def worker(a):
    "The process under the limit: prints JSON."
    import warnings
    from llmbench.corpus import Corpus
    from llmbench.scale import use_memory
    warnings.simplefilter('ignore')
    steps, home = a.steps.split(','), Path(a.worker)
    if a.free: print(json.dumps(dict(made=go_through(Corpus.open(home/'large'), home/'free', steps)))); return
    use_memory(min(256, 128+2*a.limit if a.over else a.limit))
    if a.over: go_through(Corpus.open(home/'small'), home/'warm', steps)
    base, rows = status('VmData', 'VmRSS'), []
    limit = int((a.limit+(base[0] if a.over else 0))*MiB)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    began = [time.time(), time.process_time()]
    def note(step, corpus):
        rows.append(dict(step=step, documents=len(corpus), megabytes=corpus.n_bytes/1e6, seconds=time.time()-began[0], cpu_seconds=time.process_time()-began[1], data_mib=status('VmData')[0], anonymous_mib=status('RssAnon')[0]))
        print(rows[-1], file=sys.stderr, flush=True)
        began[:] = time.time(), time.process_time()
    made = go_through(corpus := Corpus.open(home/'large'), home/'out', steps, note)
    try: refused = not bytearray(int(corpus.n_bytes)) # the limit holds: as much as the text is refused
    except MemoryError: refused = True
    print(json.dumps(dict(limit_mib=limit/MiB, base_mib=base[0], corpus_mib=corpus.n_bytes/MiB, documents=len(corpus), peak_rss_mib=status('VmHWM')[0], base_rss_mib=base[1], refused=refused, steps=rows, made=made)))

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--limit', type=float, help='MiB of memory (without: 16 more than the imports)')
    p.add_argument('--over', action='store_true', help='count the limit from what the process holds after 2 MB of text')
    p.add_argument('--warm', type=float, default=2, help='MB of text from which --over counts (2)')
    p.add_argument('--factor', type=float, default=4, help='text, as a multiple of --limit (4)')
    p.add_argument('--steps', default='clean,exact,near,tokens,lines')
    p.add_argument('--alone', action='store_true', help='do not run it again without a limit')
    p.add_argument('--quick', action='store_true', help='as without --limit')
    p.add_argument('--json', type=Path)
    p.add_argument('--worker', help=argparse.SUPPRESS)
    p.add_argument('--free', action='store_true', help=argparse.SUPPRESS)
    a = p.parse_args(argv)
    if a.quick or not a.limit: a.limit, a.over = a.limit or 16, True
    if a.worker: return worker(a)
    from llmbench.scale import FRUGAL, use_memory
    use_memory(min(256, 128+2*a.limit if a.over else a.limit)) # the corpus has small row groups too
    with tempfile.TemporaryDirectory() as home:
        write_corpus(Path(home)/'small', a.warm*1e6, 1)
        write_corpus(Path(home)/'large', a.limit*a.factor*MiB)
        def run(*more, env=None, before=None):
            done = subprocess.run([sys.executable, __file__, '--worker', home, '--limit', str(a.limit), '--steps', a.steps, *(['--over'] if a.over else []), *more], env={**os.environ, **(env or {})}, preexec_fn=before, stdout=subprocess.PIPE, text=True)
            return json.loads(done.stdout.strip().splitlines()[-1]) if not done.returncode else print(f'the process ended with {done.returncode}: the limit of {a.limit:.0f} MiB does not suffice', flush=True)
        found = run(env=FRUGAL, before=lambda: resource.setrlimit(resource.RLIMIT_STACK, (2*MiB, 2*MiB))) # of each thread
        if not found: return 1
        found['same'] = None if a.alone else run('--free')['made']==found['made']
    print(f"text: {found['corpus_mib']/found['limit_mib']:.2f} times the whole limit, {found['corpus_mib']/(found['limit_mib']-found['base_mib']):.2f} times what is left of it above {'the process after a little text' if a.over else 'the imports'}")
    print(f"limit {found['limit_mib']:.0f} MiB of private memory ({found['base_mib']:.0f} of them before the first document), {found['corpus_mib']:.0f} MiB of text in {found['documents']:,} documents, "
          f"resident at the peak {found['peak_rss_mib']:.0f} MiB (before {found['base_rss_mib']:.0f}, files that are mapped included)")
    for r in found['steps']: print(f"  {r['step']:10} {r['documents']:>9,} documents {r['megabytes']:8.1f} MB left  {r['seconds']:7.1f} s  {r['cpu_seconds']:7.1f} CPU s  holds {r['data_mib']:.0f} MiB")
    if not a.alone: print('the same without a limit:', 'yes' if found['same'] else 'NO')
    if a.json: a.json.write_text(json.dumps(found, indent=1))
    return 0 if found['same'] in (None, True) else 1

if __name__=='__main__': sys.exit(main())
