"""Sweeps: what the scheduler costs a point, beside joblib, submitit, Ray and Optuna doing the same points; what a notebook point costs.

A trivial point returns a number at once, so that all of its time is overhead: the time of the whole sweep (with its records, logs and
fingerprints on disk, and the start of its processes), divided by the points. It is a function; each point is done in a copy of its slot's
process (fork), which has imported the libraries of the function's module once. A command's point starts the command besides. Of the peers, joblib and
Optuna do all points in one process, in which a point finds what the ones before it left. The peers keep nothing on disk but what they need themselves, and try nothing again."""
import os, resource, sys, tempfile, time
from pathlib import Path

os.environ.update(OMP_NUM_THREADS='1')
sys.path.insert(0, str(Path(__file__).resolve().parent))
os.environ['PYTHONPATH'] = os.pathsep.join([str(Path(__file__).resolve().parent), os.environ.get('PYTHONPATH', '')])
from common import Row, finish, optional, options

def trivial(k): return k*2 # a point

def timed(fn):
    start = time.perf_counter()
    fn()
    return time.perf_counter()-start

def processor():
    "Seconds of processor time of this process and of those it has waited for: what a busy machine does not change much."
    own, theirs = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime+own.ru_stime+theirs.ru_utime+theirs.ru_stime

def ours(n, folder, **kw):
    "Milliseconds a point, and that all of them are done with the right result."
    from llmbench.sweep import sweep
    import sweep as here # this file, as the workers import it
    made = []
    ms = 1000*timed(lambda: made.append(sweep(f'{here.__name__}:trivial', [dict(k=k) for k in range(n)], folder, quiet=True, **kw)))/n
    s = made[0]
    assert s.counts()=={'done': n} and {p['value'] for p in s.points()}=={2.*k for k in range(n)}
    return ms

def commands(n, folder):
    from llmbench.sweep import sweep
    return 1000*timed(lambda: sweep('true {k}', dict(k=list(range(n))), folder, quiet=True))/n

def of_joblib(n):
    from joblib import Parallel, delayed
    return 1000*timed(lambda: Parallel(n_jobs=2, backend='loky', batch_size=1)(delayed(trivial)(k) for k in range(n)))/n

def of_submitit(n, folder):
    import submitit
    executor = submitit.AutoExecutor(folder=folder, cluster='local')
    def go():
        for begin in range(0, n, 2): [j.result() for j in executor.map_array(trivial, range(begin, min(begin+2, n)))]
    return 1000*timed(go)/n

def of_optuna(n, folder):
    import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal = optuna.storages.journal
    path = f'{folder}/optuna.log'
    study = optuna.create_study(storage=optuna.storages.JournalStorage(journal.JournalFileBackend(path, lock_obj=journal.JournalFileOpenLock(path))), sampler=optuna.samplers.RandomSampler(seed=0))
    return 1000*timed(lambda: study.optimize(lambda t: trivial(t.suggest_int('k', 0, 10**6)), n_trials=n, n_jobs=1))/n

def of_ray(n):
    import ray
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=2**28)
    fn = ray.remote(trivial)
    try: return 1000*timed(lambda: ray.get([fn.remote(k) for k in range(n)]))/n
    finally: ray.shutdown()

def notebook_point(folder):
    "Seconds of a sweep over two empty notebooks, a point."
    import json
    from llmbench.sweep import sweep
    cell = lambda i, text, tags: dict(cell_type='code', id=f'{i:08x}', metadata=dict(tags=tags), source=text, outputs=[], execution_count=None)
    path = Path(folder)/'empty.ipynb'
    path.write_text(json.dumps(dict(cells=[cell(0, 'k:int = 0', ['parameters']), cell(1, 'print(k)', [])], metadata=dict(kernelspec=dict(display_name='python3', language='python', name='python3')), nbformat=4, nbformat_minor=5)))
    return timed(lambda: sweep(str(path), dict(k=[1, 2]), f'{folder}/notebooks', quiet=True))/2

def papermill_point(folder):
    "The same two notebooks by papermill's own command, one process each."
    import subprocess
    def go():
        for k in (1, 2): subprocess.run([Path(sys.executable).parent/'papermill', f'{folder}/empty.ipynb', f'{folder}/plain{k}.ipynb', '-p', 'k', str(k), '--no-progress-bar'], check=True, capture_output=True)
    return timed(go)/2

def main():
    o = options(__doc__)
    n, few, rows = (200 if o.quick else 1000), (6 if o.quick else 20), []
    with tempfile.TemporaryDirectory() as tmp:
        begin = processor()
        mine = ours(n, f'{tmp}/two', at_once=2)
        rows.append(Row(f'{n:,} trivial points, processor time of scheduler and workers', 1000*(processor()-begin)/n, 'ms a point', bar=50, better='lower'))
        rows.append(Row(f'{n:,} trivial points, 2 at once', mine, 'ms a point', 'joblib (loky), no records', of_joblib(n), bar=50, better='lower'))
        rows.append(Row(f'{n:,} trivial points, 1 at once', ours(n, f'{tmp}/one'), 'ms a point', 'Optuna in its own process', of_optuna(n, tmp), bar=50, better='lower'))
        rows.append(Row(f'{n:,} finished points, called again', ours(n, f'{tmp}/two', at_once=2), 'ms a point', bar=50, better='lower'))
        rows.append(Row(f'{few} commands (true), 1 at once', commands(few, f'{tmp}/commands'), 'ms a point', better='lower'))
        rows.append(Row(f'{few} points as jobs of submitit', ours(few, f'{tmp}/jobs', where='local-submitit', at_once=2), 'ms a point', 'submitit alone', of_submitit(few, f'{tmp}/plain'), better='lower'))
        if not o.quick and optional('ray'): rows.append(Row(f'{few} points as tasks of Ray (its start included)', ours(few, f'{tmp}/ray', where='ray', at_once=2), 'ms a point', 'Ray alone, warm', of_ray(few), better='lower'))
        rows.append(Row('a notebook point', 1000*notebook_point(tmp), 'ms a point', 'papermill, one process each', 1000*papermill_point(tmp), better='lower'))
    finish(rows, o)

if __name__=='__main__': main()
