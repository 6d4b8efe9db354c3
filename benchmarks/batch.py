"""Executed notebooks: llmbench's engine beside plain papermill's, on the same notebooks, rounds interleaved.

Overhead is the median over rounds of the ratio within a round, so that a machine that is busy for a while favours nobody; processor seconds (of the run, its kernel and all they
started) stand beside wall time for the same reason. The start is measured as a user has it: a fresh process, from the command to its end, on a notebook that does nothing."""
import os, re, resource, statistics, subprocess, sys, tempfile, time
from pathlib import Path

import nbformat
from common import ROOT, Row, finish, options
from nbformat.v4 import new_code_cell, new_notebook

WORK = '''import numpy as np, pandas as pd
a = np.random.default_rng({i}).normal(size=(400, 400))
b = pd.DataFrame((a @ a.T)[:, :60]).describe()
for k in range(40): print({i}, k, float(b.iloc[1, k]))
b.iloc[:, :5]'''

def notebook(path, *cells):
    head = new_code_cell("n:int = 1\nout:str = ''", metadata={'tags': ['parameters']})
    nbformat.write(new_notebook(cells=[head, *map(new_code_cell, cells)], metadata={'kernelspec': {'name': 'python3', 'display_name': 'python3', 'language': 'python'}}), path)
    return path

def timed(fn):
    "Wall seconds and processor seconds of `fn()`, those of processes that ended in it included."
    def cpu(): return sum(r.ru_utime+r.ru_stime for r in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
    start, before = time.perf_counter(), cpu()
    fn()
    return time.perf_counter()-start, cpu()-before

def rounds(n, **work):
    "name -> list of (wall, processor) seconds; the order turns from round to round."
    found = {k: [] for k in work}
    for i in range(n):
        for k in sorted(work, reverse=bool(i%2)): found[k].append(timed(lambda: work[k](i)))
    return found

def overhead(tmp, o):
    "A notebook of 25 working cells, in this process."
    import papermill as pm
    from llmbench.batch import run_notebook
    path = notebook(tmp/'work.ipynb', *[WORK.format(i=i)+f'\nimport time; time.sleep({.05 if o.quick else .2})' for i in range(10 if o.quick else 25)])
    ours = lambda i: run_notebook(path, {}, tmp/f'ours{i}', log=open(os.devnull, 'w'))
    plain = lambda i: pm.execute_notebook(str(path), str(tmp/f'plain{i}.ipynb'), dict(out=str(tmp)), progress_bar=False)
    ours('warm'), plain('warm')
    t = rounds(3 if o.quick else 7, ours=ours, plain=plain)
    for k,what in enumerate(('wall time', 'processor seconds')):
        ratios = [a[k]/b[k] for a,b in zip(t['ours'], t['plain'])]
        yield Row(f'{what} of a notebook over plain papermill', statistics.median(ratios), 'times', 'papermill 2.7', statistics.median(b[k] for b in t['plain']), 1.05 if k==0 else None, 'lower', min(ratios), max(ratios))

def start(tmp, o):
    "A notebook that does nothing, from the command to its end."
    path, here = notebook(tmp/'empty.ipynb', 'pass'), Path(sys.executable).parent
    run = lambda *a: subprocess.run(list(map(str, a)), check=True, capture_output=True)
    t = rounds(3 if o.quick else 7, ours=lambda i: run(here/'llmbench', 'run', path, '-o', tmp/f'empty{i}'), plain=lambda i: run(here/'papermill', path, tmp/f'empty{i}.ipynb', '--no-progress-bar'))
    for k,what in enumerate(('wall', 'processor')):
        later = [a[k]-b[k] for a,b in zip(t['ours'], t['plain'])]
        yield Row(f'llmbench run of an empty notebook, {what} seconds more than papermill', statistics.median(later), 's', 'papermill', statistics.median(b[k] for b in t['plain']), 1. if k==0 else None, 'lower', min(later), max(later))

def size(tmp, o):
    "What a cell that prints 10 MB leaves."
    import papermill as pm
    from llmbench.batch import run_notebook
    path = notebook(tmp/'loud.ipynb', f'for i in range({20_000 if o.quick else 250_000}): print("a line that says", i, "and nothing more")')
    run_notebook(path, {}, tmp/'loud', log=open(os.devnull, 'w'))
    pm.execute_notebook(str(path), str(tmp/'plain.ipynb'), progress_bar=False)
    yield Row('executed notebook of a cell that prints much', (tmp/'loud'/'loud.ipynb').stat().st_size/1e6, 'MB', 'papermill', (tmp/'plain.ipynb').stat().st_size/1e6, .5, 'lower')

def death(tmp, o):
    "From the death of the kernel to a record that says so."
    from llmbench.batch import RunFailed, run_notebook
    path = notebook(tmp/'dead.ipynb', 'import os, signal, time\nfrom llmbench.record import result\nresult(at=time.time())\nos.kill(os.getpid(), signal.SIGKILL)')
    late = []
    for i in range(3):
        try: run_notebook(path, {}, tmp/f'dead{i}', log=open(os.devnull, 'w'))
        except RunFailed as e: late.append(time.time()-e.record['results']['at'])
    yield Row('from the death of a kernel to a status that says so', statistics.median(late), 's', bar=5., better='lower')

def verified(tmp, o):
    "A run done again after each of four changes, and after none: the changes of tests/test_batch.py."
    sys.path.insert(0, str(ROOT/'tests'))
    from measured import CHANGES, measured, others
    with measured(tmp) as m:
        same, said = m.verify(), {k: m.verify(change) for k,(*_,change) in CHANGES.items()}
    right = [k for k,(kind,words,status,_) in CHANGES.items() if list(others(said[k]))==[kind] and re.search(words, '\n'.join(said[k].changed[kind])) and said[k].status==status]
    yield Row(f"verify finds each of: changed {', '.join(CHANGES)}, of {len(CHANGES)}", len(right), 'changes', bar=4, better='higher')
    yield Row('verify says identical, and no change, where nothing changed', int(same.status=='identical' and not others(same)), 'of 1', bar=1, better='higher')

if __name__=='__main__':
    o, rows = options(__doc__), []
    with tempfile.TemporaryDirectory() as tmp:
        for part in (overhead, start, size, death, verified): rows += part(Path(tmp), o)
    finish(rows, o)
