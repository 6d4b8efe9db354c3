"""Faults at random moments, for real: signals to the run, to its kernel and to both, cells that fail or want too much memory, a full disk, a machine that goes away. After each: the status
is right, nothing that was finished is lost, and going on gives what an uninterrupted run gives. LLMBENCH_FAULTS sets how many (4); the bar of 200 and its tally by kind: benchmarks/faults.py."""
import json
import os
import random
import signal
import time

import psutil
import pytest

import faulty
from llmbench.batch import run_notebook, said
from llmbench.index import Index, true_status
from llmbench.replies import CODES
from llmbench.store import append_jsonl, read_json

LOADED = ['faulty']
FAULTS = int(os.environ.get('LLMBENCH_FAULTS', 4))
KINDS = [('run', 'SIGKILL'), ('kernel', 'SIGKILL'), ('all', 'SIGTERM'), ('cell', 'fails'), ('run', 'SIGINT'), ('kernel', 'SIGTERM'), ('disk', 'full'), ('kernel', 'SIGINT'), ('run', 'SIGTERM'), ('cell', 'memory'), ('all', 'SIGKILL')]
CAUSE = dict(fails=('error', 'cell that fails'), memory=('out of memory', 'MemoryError')) # 'all' with SIGTERM is what Slurm does to a cancelled job, with SIGKILL a machine that goes away


@pytest.fixture(scope='module')
def book(tmp_path_factory):
    path = tmp_path_factory.mktemp('book')/'small.ipynb'
    faulty.write_notebook(path)
    return path


@pytest.fixture(scope='module')
def whole(fork, book, tmp_path_factory):
    "The uninterrupted run: its record, and the seconds in which a fault can strike; fewer as soon as a run was over before its fault."
    out, began = tmp_path_factory.mktemp('whole')/'out', time.time()
    p = fork(faulty.go, book, out, {})
    p.join(120)
    assert p.exitcode==0
    r = read_json(out/'run.json')
    assert r['status']=='done' and set(r['results'])=={'rows', 'drawn', 'state', 'total'} and (out/'drawn.txt').read_text()=='drawn\n'
    return r, dict.fromkeys(['run', 'kernel', 'all'], time.time()-began)


def kernel_of(p, patience=60):
    "The kernel of a run, as soon as it is there; None if the run ends before."
    end = time.time()+patience
    while time.time()<end and p.is_alive():
        try: children = psutil.Process(p.pid).children()
        except psutil.NoSuchProcess: return None
        for c in children:
            try:
                if 'ipykernel_launcher' in ' '.join(c.cmdline()): return c
            except psutil.NoSuchProcess: pass                    # another one, which has ended
        time.sleep(.01)


def strike(p, whom, sign, moment):
    "Send the signal `moment` seconds after the start (of the process, or of its kernel); how long it was waited for."
    kernel = kernel_of(p) if whom=='kernel' else None            # the others are struck from the very beginning on
    began = time.time()
    while time.time()<began+moment and p.is_alive(): time.sleep(.005)
    waited = time.time()-began
    kernel = kernel or kernel_of(p, .2)
    for send in [kernel.send_signal] if whom=='kernel' and kernel else [lambda s: os.kill(p.pid, s), *([kernel.send_signal] if whom=='all' and kernel else [])]:
        try: send(getattr(signal, sign))
        except (psutil.NoSuchProcess, ProcessLookupError): pass  # it was faster
    p.join(60)
    assert p.exitcode is not None, 'the run goes on after the signal'
    if kernel:
        gone, alive = psutil.wait_procs([kernel], timeout=15)
        assert not alive, 'the kernel lives on without its run'
    return waited


def check_status(kind, p, out, expected):
    "The status says what happened; returns it."
    if not (out/'run.json').exists(): return None                   # struck before it began
    r = read_json(out/'run.json')
    status, (whom, what) = true_status(r, out), kind
    assert status!='running'
    assert status!='done' or r['results']==expected, r['results']
    if whom in ('run', 'all') and what=='SIGKILL': assert status in ('dead', 'done') and (status=='dead')==(r['status']=='running')
    else: assert p.exitcode==CODES[status] or status=='done' and p.exitcode==-getattr(signal, what, 0), (p.exitcode, r)
    if whom in ('run', 'all') and what!='SIGKILL': assert status=='done' or (status, r['cause'])==('stopped', what), r['error']
    if kind==('kernel', 'SIGKILL'): assert status=='done' or (status, r['cause'])==('failed', 'SIGKILL'), r['error']
    if kind==('kernel', 'SIGTERM'): assert status=='done' or (status, r['cause'])==('stopped', 'SIGTERM'), r['error']
    if kind==('kernel', 'SIGINT'): assert status=='done' or (status, r['cause'])==('stopped', 'SIGINT') or (status, r['cause'], r['results'])==('failed', 'exit 1', {}), r['error'] # it may die of it in its first moments
    if whom=='cell': assert (status, r['cause'])==('failed', CAUSE[what][0]) and CAUSE[what][1] in r['error']
    if status!='dead': check_notebook(out, status)
    return status


def check_notebook(out, status):
    "The cells' marks: finished ones, then the one that ended it, then those that did not run."
    if not (out/'small.ipynb').exists(): return
    cells = [c for c in json.loads((out/'small.ipynb').read_text())['cells'] if c['cell_type']=='code']
    marks = [c['metadata']['papermill']['status'] for c in cells]
    ended = [i for i,m in enumerate(marks) if m!='completed']
    assert not ended if status=='done' else all(m=='not-run' for m in marks[(ended or [len(marks)])[0]+1:]) and not {'running', 'pending'}&set(marks), marks


def finished(out, source):
    "True if the executed notebook says that this cell was completed."
    if not (out/'small.ipynb').exists(): return False
    return any(source in ''.join(c['source']) and c['metadata'].get('papermill', {}).get('status')=='completed' for c in json.loads((out/'small.ipynb').read_text())['cells'])


@pytest.mark.parametrize('i', range(FAULTS))
def test_fault(i, fork, book, whole, tmp_path):
    kind, draw, out, (record, seconds) = KINDS[i%len(KINDS)], random.Random(f'fault {i}'), tmp_path/'out', whole
    expected = record['results']
    if kind[0]=='disk': return check_disk(fork, book, expected, tmp_path, draw)
    p = fork(faulty.go, book, out, dict(fail=3 if kind[1]=='memory' else draw.choice([1, 2])) if kind[0]=='cell' else {})
    if kind[0]=='cell': p.join(150)
    else:
        moment = draw.uniform(0, seconds[kind[0]])
        if (waited := strike(p, *kind, moment))<moment: seconds[kind[0]] = waited
    status = check_status(kind, p, out, expected)
    had = said(out)[1] if status else {}
    assert had.items()<=expected.items()
    if status not in (None, 'dead'): assert read_json(out/'run.json')['results']==had # all that was said is in the record
    rows = (out/'rows'/'rows.json').stat().st_mtime_ns if (out/'rows'/'rows.json').exists() else None
    kept = status and 'drawn' in had and finished(out, 'drawn = [') and any('drawn' in read_json(p) for p in (out/'.cells').glob('*/values.json'))
    (out/'repaired').touch() if out.exists() else None
    p = fork(faulty.go_on, out) if status else fork(faulty.go, book, out, {})
    p.join(120)
    r = read_json(out/'run.json')
    assert p.exitcode==0 and r['status']=='done' and r['results']==expected and r['digest']==record['digest'], r['error']
    if status and status!='done':
        assert r['attempts'][-1]['status']==status and r['attempts'][-1]['results']==had
        if rows: assert (out/'rows'/'rows.json').stat().st_mtime_ns==rows and (out/'made.txt').read_text()=='rows made\n' # a finished step is not done again
        if kept: assert (out/'drawn.txt').read_text()=='drawn\n' and r['restored']                                        # nor a finished cell
    tell(kind, status or 'not begun', bool(status and status!='done'))


def tell(kind, status, resumed):
    "A line for the tally: only a fault after which everything was right gets here."
    if os.environ.get('LLMBENCH_TALLY'): append_jsonl(os.environ['LLMBENCH_TALLY'], dict(kind=' '.join(kind), status=status, resumed=resumed))


def check_disk(fork, book, expected, tmp_path, draw):
    told = tmp_path/'told.json'
    p = fork(faulty.on_a_full_disk, book, told, {}, 8, draw.randrange(10_000, 1_800_000))
    p.join(240)
    if p.exitcode==77: pytest.skip('no mount namespace can be made here')
    assert p.exitcode==0
    r = read_json(told)
    first = r['first']
    if first['status']: assert first['status']=='done' and first['results']==expected or (first['status'], first['cause'])==('failed', 'disk full'), first
    else: assert 'disk full' in r['error'] or 'No space' in r['error']
    assert not r['halves'] and r['last']['status']=='done' and r['last']['results']==expected, r
    tell(('disk', 'full'), first['status'] or 'not begun', first['status']=='failed')


def test_a_run_that_sleeps_lives_and_one_that_is_stopped_lets_its_cell_save(fork, tmp_path):
    "A run that was suspended for long is no dead one, so no second one begins in its folder. Told to end, it interrupts its cell once, and waits until that has written what it wants to keep."
    faulty.write_saving_cell(book := tmp_path/'saving.ipynb')
    p, out = fork(faulty.go, book, tmp_path/'out', {}), tmp_path/'out'
    end = time.time()+60
    while not (out/'started').exists() and time.time()<end: time.sleep(.01)
    os.kill(p.pid, signal.SIGSTOP)
    os.utime(out/'alive', (time.time()-999,)*2)
    try:
        assert [r['status'] for r in Index(tmp_path).scan().rows()]==['running']
        with pytest.raises(FileExistsError, match='is in use'): run_notebook(book, {}, out)
    finally: os.kill(p.pid, signal.SIGCONT)
    os.kill(p.pid, signal.SIGTERM)
    p.join(60)
    assert p.exitcode==CODES['stopped'] and (out/'saved').exists() and read_json(out/'run.json')['cause']=='SIGTERM'


def test_interrupts_without_end(fork, tmp_path):
    "A SIGINT every two milliseconds meets the kernel in all that it does around its cells, where ipykernel alone would lose a request: the run ends, and says how."
    faulty.write_short_cells(book := tmp_path/'short.ipynb', 20)
    p, met = fork(faulty.go, book, out := tmp_path/'out', {}), 0
    kernel, end = kernel_of(p), time.time()+90
    while not (out/'started').exists() and p.is_alive(): time.sleep(.01)
    while p.is_alive() and time.time()<end:
        try: kernel.send_signal(signal.SIGINT)
        except psutil.NoSuchProcess: break
        met += 1
        time.sleep(.002)
    p.join(30)
    assert p.exitcode is not None, 'the run waits for an answer that was lost'
    r = read_json(out/'run.json')
    assert met and (r['status']=='done' or (r['status'], r['cause'])==('stopped', 'SIGINT')), r['error'] # it may have met a cell
    if r['status']!='done': fork(faulty.go_on, out).join(90)
    assert read_json(out/'run.json')['results']==dict(total=20)
