"Sweeps as they go wrong: killed points and killed sweeps, signals, devices, rules, lost signs of life, clusters."
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from llmbench.clusters import Here, clusters
from llmbench.index import process_lives
from llmbench.points import do_point, fault_of, point_id, job_of
from llmbench.store import lock_file, read_json, write_json
from llmbench.rules import halving, rule
from llmbench.scheduler import Scheduler
from llmbench.sweep import Sweep, find_sweeps, sweep

STATIC = Path(__file__).parents[1]/'llmbench'/'static'
LLMBENCH = str(Path(sys.executable).parent/'llmbench')
JOBS = '''
import json, os, signal, sys, time
from pathlib import Path
import numpy as np
from llmbench.store import append_jsonl

KNOWN = 'colorsys' in sys.modules
import colorsys
CALLS, MAKER = [], os.getpid()

class Odd:
    "Whoever asks for its class gets an error, as others give a warning."
    __class__ = property(lambda self: 1/0)
ODD = Odd()

def timed(k, folder, pause=.2):
    "Which accelerator, from when to when."
    began = time.time()
    time.sleep(pause)
    return dict(value=k, device=os.environ.get('CUDA_VISIBLE_DEVICES'), began=began, ended=time.time())

def seen(folder):
    first = not (Path(folder)/'seen').exists()
    (Path(folder)/'seen').touch()
    return first

def killed(k, folder):
    if seen(folder): os.kill(os.getpid(), signal.SIGKILL)
    return k

def always_killed(k): os.kill(os.getpid(), signal.SIGKILL)

def leaves(k): sys.exit('bad config: out of memory is not what this is')

def bug(k): raise ValueError(f'no root of {k}')

def memory(k, folder):
    if seen(folder): raise MemoryError('cannot allocate')
    return k

def silent(k, folder):
    "No sign of life, the first time."
    if seen(folder): os.utime(folder/'alive', (0, 0)); time.sleep(60)
    return k

def deaf(k, folder):
    "Told to stop, one goes on, the others end in good order; a log may be torn."
    (folder/'metrics.jsonl').write_text('{"step": 0, "lo'+chr(10)+'3'+chr(10))
    append_jsonl(folder/'metrics.jsonl', dict(step=1, loss=.5 if (folder.parent/'good').exists() else 9.))
    if (folder.parent/'good').exists(): return time.sleep(.2)
    try: time.sleep(60)
    except KeyboardInterrupt: time.sleep(60 if k==0 else 0)

def curve(level, folder, steps=60):
    for k in range(1, steps+1):
        append_jsonl(folder/'metrics.jsonl', dict(step=k, loss=level+1/k))
        time.sleep(.02)
    return dict(loss=level+1/steps)

def holds(k, folder):
    "C code that keeps the interpreter to itself."
    import ctypes
    before = (folder/'alive').stat().st_mtime_ns
    ctypes.PyDLL(None).usleep(300_000)
    return (folder/'alive').stat().st_mtime_ns-before

def leaves_one_behind(k):
    print('the last word', flush=True)
    if os.fork()==0: time.sleep(30); os._exit(0)
    return dict(value=k, known=KNOWN, own=MAKER==os.getpid())

def exits(k): os._exit(k)

def crashes(k): os.kill(os.getpid(), signal.SIGSEGV)

def nap(folder):
    (folder/'begun').touch()
    time.sleep(120)

def square(x, y=0, hf_token=''):
    print('signed', hf_token)
    CALLS.append(x)
    return dict(loss=(x-1)**2+y, extra='text', signed=len(hf_token), said=hf_token, calls=len(CALLS), drawn=np.random.rand())
'''


@pytest.fixture(scope='module')
def jobs(tmp_path_factory):
    "A module of functions that points call, where this process and its children find it."
    folder = tmp_path_factory.mktemp('jobs')
    (folder/'sweep_jobs.py').write_text(JOBS)
    old = os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = os.pathsep.join([str(folder), *([old] if old else [])])
    sys.path.insert(0, str(folder))
    yield 'sweep_jobs'
    sys.path.remove(str(folder))
    os.environ.pop('PYTHONPATH') if old is None else os.environ.update(PYTHONPATH=old)


def go(job, points, folder, **kw): return sweep(job, points, folder, **dict(quiet=True, pause=.05, look=.05)|kw)


def test_each_accelerator_serves_one_point_at_a_time(jobs, tmp_path):
    s = go(f'{jobs}:timed', dict(k=list(range(8))), tmp_path/'s', devices=['3', '5'])
    found = [read_json(s.folder/'points'/p['id']/'run.json')['results'] for p in s.points()]
    assert s.status=='done' and {r['device'] for r in found}=={'3', '5'}
    for device in ('3', '5'):
        times = sorted((r['began'], r['ended']) for r in found if r['device']==device)
        assert len(times)>1 and all(a[1]<=b[0] for a, b in zip(times, times[1:]))
    assert any(a['began']<b['ended'] and b['began']<a['ended'] for a in found if a['device']=='3' for b in found if b['device']=='5') # the two worked at the same time


@pytest.mark.parametrize('name, tries, status', [('killed', 2, 'done'), ('memory', 2, 'done'), ('silent', 2, 'done'), ('bug', 1, 'failed'), ('leaves', 1, 'failed'), ('always_killed', 3, 'failed')])
def test_faults_of_the_machine_are_tried_again_those_of_the_code_are_not(jobs, name, tries, status, tmp_path):
    s = go(f'{jobs}:{name}', dict(k=[7]), tmp_path/'s', patience=40., pause=.2 if name=='always_killed' else .05)
    p, = s.points()
    assert (p['status'], len(p['attempts']))==(status, tries), p
    assert [a['fault'] for a in p['attempts']]==['machine']*(tries-1)+[dict(bug='code', leaves='code', always_killed='machine').get(name, '')]
    assert (p['value']==7) if status=='done' else s.status=='failed'
    if name=='bug': assert p['reason']=='ValueError: no root of 7'
    if name=='leaves': assert p['reason'].startswith('SystemExit: bad config')
    if name=='silent': assert p['attempts'][0]['error']=='no heart-beat for 40 s', p
    if name=='always_killed':                                                 # each pause is longer than the one before
        begun = [a['started'] for a in p['attempts']]
        first, second = (begun[k+1]-begun[k]-p['attempts'][k]['seconds'] for k in (0, 1))
        assert second>first, (first, second)


def test_what_a_server_does_for_its_points(jobs, tmp_path):
    "It gives their sign of life, says how they ended by themselves, imports libraries for them and nothing of theirs, and waits for no one they leave behind."
    p = subprocess.Popen([sys.executable, '-c', 'import llmbench.clusters as c; c.BEAT = .05; c.serve()'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    def do(name, k):
        p.stdin.write((json.dumps(dict(job=job_of(f'{jobs}:{name}'), params=dict(k=k), folder=str(tmp_path/f'{name}{k}')))+'\n').encode())
        p.stdin.flush()
        return p.stdout.readline().decode().strip(), read_json(tmp_path/f'{name}{k}'/'run.json')
    try:
        assert do('holds', 1)[1]['results']['value']>10**8                        # ns
        begun = time.time()
        three = [do('leaves_one_behind', k)[1]['results'] for k in (1, 2, 3)]
        assert time.time()-begun<9 and three==[dict(value=k, known=k>1, own=True) for k in (1, 2, 3)]
        assert (tmp_path/'leaves_one_behind3'/'log.txt').read_text()=='the last word\n' and not (tmp_path/'leaves_one_behind3'/'alive').exists()
        for name, k, said, cause, fault in (('exits', 3, 'failed', 'exit 3', 'code'), ('exits', 75, 'failed', 'exit 75', 'machine'), ('crashes', 1, 'dead', 'SIGSEGV', 'code')):
            told, record = do(name, k)
            assert (told, record['status'], record['cause'], fault_of(record))==(said, 'failed', cause, fault)
    finally:
        os.killpg(p.pid, signal.SIGKILL)
        p.communicate()


def notebook(path, code, parameters='k:int = 0'):
    cell = lambda i, text, tags=(): dict(cell_type='code', id=f'{i:08x}', metadata=dict(tags=list(tags)), source=text, outputs=[], execution_count=None)
    write_json(path, dict(cells=[cell(0, parameters+"\nout:str = ''", ['parameters']), cell(1, code)], metadata=dict(kernelspec=dict(display_name='python3', language='python', name='python3')), nbformat=4, nbformat_minor=5))
    return path


def test_notebook_points_have_a_process_and_a_kernel_each(tmp_path):
    code = '''
import os, signal
from pathlib import Path
from llmbench.record import result
first = not (Path(out)/'seen').exists()
(Path(out)/'seen').touch()
if k==1 and first: os.kill(os.getpid(), signal.SIGKILL)
if k==2: raise ValueError('two is not allowed')
result(loss=10.-k, kernel=os.getpid())
'''
    path = notebook(tmp_path/'my job: {k}.ipynb', code)                       # no command, no function
    s, was = go(str(path), dict(k=[1, 2]), tmp_path/'s', at_once=2), job_of(path)['hash']
    t = s.table().set_index('k')
    assert t.status.to_dict()=={1: 'done', 2: 'failed'} and t.tries.to_dict()=={1: 2, 2: 1} and t.value[1]==9
    assert 'two is not allowed' in t.why[2] and s.best['parameters']==dict(k=1)
    records = [read_json(s.folder/'points'/p['id']/'run.json') for p in s.points()]
    assert len({r['pid'] for r in records})==2 and records[0]['results']['kernel'] not in [r['pid'] for r in records]
    assert not [c for c in psutil.Process().children(recursive=True) if 'ipykernel' in ' '.join(c.cmdline())]
    opened = read_json(path)
    opened['cells'][1].update(outputs=[dict(output_type='stream', name='stdout', text='seen')], execution_count=3)
    write_json(path, opened)
    assert job_of(path)['hash']==was!=job_of(notebook(path, code+'#'))['hash'] # it was read, and changed


# --- stopping and going on

def command(tmp_path, n=6, seconds=.6):
    "A sweep of sleeping commands; each leaves a file a time it was begun."
    script = f"import sys, time; open(sys.argv[2]+'/begun', 'a').write('x'); time.sleep({seconds}); print(sys.argv[1])"
    (tmp_path/'nap.py').write_text(script)
    return [LLMBENCH, 'sweep', f'{sys.executable} {tmp_path}/nap.py {{k}} {{folder}}', *(x for k in [','.join(map(str, range(n)))] for x in ('-s', f'k={k}')), '-o', str(tmp_path/'s'), '--at-once', '2', '--pause', '.1']


def until(condition, seconds=60):
    till = time.time()+seconds
    while not condition():
        assert time.time()<till, 'waited too long'
        time.sleep(.05)


def begun(folder): return {p.parent.name: len(p.read_text()) for p in Path(folder).glob('points/*/begun')}


def naps(folder): return [p for p in psutil.process_iter(['cmdline']) if any(str(folder) in w for w in p.info['cmdline'] or []) and 'nap.py' in ' '.join(p.info['cmdline'])]


@pytest.mark.parametrize('sign', [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_stopped_sweep_leaves_nothing_running_and_goes_on(sign, tmp_path):
    def hears():                                                                  # whatever began these tests (`&`, nohup) may not
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    p = subprocess.Popen(command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hears)
    until(lambda: sum(x['status']=='done' for x in (Sweep(tmp_path/'s').points() if (tmp_path/'s'/'points.jsonl').exists() else []))>=2 and len(begun(tmp_path/'s'))>=3)
    p.send_signal(sign)
    err = p.communicate(timeout=60)[1]
    s = Sweep(tmp_path/'s')
    before, done = begun(s.folder), {x['id'] for x in s.points() if x['status']=='done'}
    if sign==signal.SIGKILL:
        assert s.status=='dead' and 'dead' in s.counts()
        until(lambda: not naps(s.folder), 30)                                 # the workers hear that nobody listens
    else:
        assert p.returncode==3 and 'the same command goes on' in err, err
        assert s.status=='stopped' and not naps(s.folder) and not {'running', 'dead'}&set(s.counts()) and 'stopped' in s.counts()
        for x in s.points():
            left = s.folder/'points'/x['id']/'run.json'                       # not there if it was stopped before its first line
            if x['status']=='stopped' and left.exists(): assert read_json(left)['status']=='stopped'
    again = subprocess.run(command(tmp_path), capture_output=True, text=True, timeout=120)
    assert again.returncode==0, again.stderr
    assert Sweep(s.folder).counts()=={'done': 6}
    assert all(begun(s.folder)[i]==before[i] for i in done)                   # what was finished was not done again


def test_two_sweeps_do_not_share_a_folder(tmp_path):
    p = subprocess.Popen(command(tmp_path, n=2, seconds=3.), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: (tmp_path/'s'/'sweep.json').exists())
    other = subprocess.run(command(tmp_path, n=2), capture_output=True, text=True, timeout=60)
    p.terminate()
    assert p.wait(60)==3
    assert other.returncode==2 and 'is in use' in other.stderr


def test_a_point_is_left_to_whoever_still_does_it(jobs, tmp_path):
    "The process of a sweep that was killed, another run of the notebook, a sweep that began at the same moment."
    folder, job = tmp_path/'s', job_of(f'{jobs}:timed')
    old = subprocess.Popen([sys.executable, '-c', 'import json, sys; from llmbench.index import this_process; print(json.dumps(this_process()), flush=True); sys.stdin.read()'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    record = dict(status='running', **json.loads(old.stdout.readline()))
    first, second = (folder/'points'/point_id(job, dict(k=k))/'run.json' for k in (1, 2))
    write_json(first, record)
    def end(): until(second.exists); old.communicate()
    ending = threading.Thread(target=end)
    ending.start()
    s = go(f'{jobs}:timed', dict(k=[1, 2]), folder)
    ending.join()
    began = {p['parameters']['k']: p['attempts'][0]['started'] for p in s.points()}
    assert s.counts()=={'done': 2} and began[2]<began[1]
    book, live = notebook(tmp_path/'job.ipynb', '1'), dict(kind='notebook', notebook='job', **record)
    write_json(tmp_path/'p'/'run.json', live)
    with lock_file(tmp_path/'p'/'.lock'): ended = do_point(dict(job=job_of(book), params={}, folder=str(tmp_path/'p')))
    assert 'is in use' in ended['error'] and fault_of(ended)=='machine' and read_json(tmp_path/'p'/'run.json')==live
    with lock_file(folder/'.lock'), pytest.raises(FileExistsError, match='another sweep has just begun'): go(f'{jobs}:timed', dict(k=[1, 2]), folder)


def test_another_programs_sweep_stays_as_it_is(jobs, tmp_path, monkeypatch):
    for name, text in dict(foreign='{"method": "bayes"}', list='[1]', torn='{"kind').items(): (tmp_path/name).mkdir(); (tmp_path/name/'sweep.json').write_text(text)
    with pytest.raises(FileNotFoundError, match='written by another program'): Sweep(tmp_path/'foreign')
    for name, error in dict(foreign=FileNotFoundError, list=ValueError, torn=ValueError).items():
        with pytest.raises(error, match=f'{name}/sweep.json'): go(f'{jobs}:square', dict(x=[1]), tmp_path/name)
    assert (tmp_path/'foreign'/'sweep.json').read_text()=='{"method": "bayes"}' and {s.folder.name for s in find_sweeps(tmp_path)}=={'list', 'torn'}
    closed = []
    monkeypatch.setattr(Here, 'close', lambda self: closed.append(self))
    monkeypatch.setattr('llmbench.sweep.Scheduler', lambda **kw: 1/0)
    with pytest.raises(ZeroDivisionError): go(f'{jobs}:square', dict(x=[1]), tmp_path/'s')
    assert len(closed)==1                                                     # the place of a sweep that could not be begun


# --- rules

def test_rules_stop_points_and_spare_the_best(jobs, tmp_path):
    s = go(f'{jobs}:curve', dict(level=[6., 1.]), tmp_path/'a', at_once=2, stop='loss > 5 after 10 steps')
    t = s.table().set_index('level')
    assert s.status=='done' and t.status.to_dict()=={6.: 'pruned', 1.: 'done'} and '6.' in t.why[6.] and t.value[6.]>5
    s = go(f'{jobs}:curve', dict(level=[1., 2., 3., 4., 5., 6.]), tmp_path/'b', at_once=3, stop=halving(first=5))
    t = s.table().set_index('level')
    assert t.status[1.]=='done' and (t.status=='pruned').sum()>=2 and s.best['parameters']['level']==1.
    calls = []
    s = go(f'{jobs}:curve', dict(level=[1., 2.]), tmp_path/'c', at_once=2, stop=lambda rows, others: calls.append((len(rows), len(others))))
    assert s.counts()=={'done': 2} and max(n for n, _ in calls)>5 and max(m for _, m in calls)==1


def test_a_point_that_does_not_listen_is_ended_and_nothing_of_it_is_left(jobs, tmp_path, monkeypatch):
    for name in ('scheduler', 'sweep'): monkeypatch.setattr(f'llmbench.{name}.BEAT', 0) # so that patience may be short
    s = go(f'{jobs}:deaf', dict(k=[1, 2, 0]), tmp_path/'s', stop='loss > 5', patience=.5)
    assert s.counts()=={'pruned': 3} and not process_lives(read_json(tmp_path/'s'/s.table().folder[2]/'run.json')['pid'], time.time())
    assert s.table().seconds.max()<30 and read_json(tmp_path/'s'/s.table().folder[0]/'run.json')['error'].endswith('in good order')
    (s.folder/'points'/'good').touch()
    s = go(f'{jobs}:deaf', dict(k=[1, 2]), tmp_path/'s', stop='loss > 5', again=True) # the old logs are not read
    assert s.counts()=={'done': 2} and len([*(s.folder/'points'/'.before').iterdir()])==2


@pytest.mark.parametrize('text, rows, stops', [
    ('loss > 5 after 100 steps', [dict(step=99, loss=9.)], False), ('loss > 5 after 100 steps', [dict(step=100, loss=9.)], True), ('loss > 5', [dict(step=1, loss=None)], True),
    ('accuracy < .5 after 10 steps or loss is nan', [dict(step=10, loss=1., accuracy=.4)], True), ('loss is nan', [dict(step=1, loss=1e9)], False), ('loss >= 2e0', [dict(step=1, loss=2.)], True)])
def test_what_a_rule_means(text, rows, stops): assert bool(rule(text)(rows, []))==stops


# --- where

@pytest.fixture
def place_of(tmp_path):
    "Have a place ready for several sweeps: Ray starts once."
    held = []
    def ready(where):
        if where=='ray': held.append(clusters.find('ray')(tmp_path, [None]*2, {}))
    yield ready
    for place in held: place.close()


@pytest.mark.parametrize('where', ['local-submitit', pytest.param('ray', marks=pytest.mark.skipif(not os.environ.get('LLMBENCH_SLOW'), reason='two minutes, most of them the start of Ray; LLMBENCH_SLOW=1 runs it'))])
def test_the_same_sweep_elsewhere(where, jobs, tmp_path, place_of):
    space, fixed = dict(x=[0, 5], y=[0]), dict(hf_token='not-for-the-eyes-of-others')
    here = go(f'{jobs}:square', space, tmp_path/'here', fixed=fixed)
    place_of(where)
    there = go(f'{jobs}:square', space, tmp_path/'there', where=where, at_once=2, fixed=fixed)
    for s in (here, there):                                                   # the job had it, no file has: neither the sweep's, nor the point's, nor what submitit keeps
        assert [read_json(s.folder/f/'run.json')['results']['signed'] for f in s.table().folder]==[26, 26] and all('[hf_token hidden]' in (s.folder/f/'log.txt').read_text() for f in s.table().folder)
        assert not [p for p in s.folder.rglob('*') if p.is_file() and b'eyes-of-others' in p.read_bytes()]
    same = ['point', 'status', 'value', 'x', 'y', 'tries', 'folder']
    assert here.table()[same].equals(there.table()[same]) and there.counts()=={'done': 2}
    hurt = go(f'{jobs}:memory', dict(k=[1]), tmp_path/'hurt', where=where)    # tried again so soon that the record of the first try is fresh
    assert [len(p['attempts']) for p in hurt.points()]==[2] and hurt.status=='done'
    bad = go(f'{jobs}:bug', dict(k=[1]), tmp_path/'bad', where=where)
    assert [len(p['attempts']) for p in bad.points()]==[1] and bad.points()[0]['reason']=='ValueError: no root of 1'


@pytest.mark.skipif(not os.environ.get('LLMBENCH_SLOW'), reason='three seconds, the import of Ray; LLMBENCH_SLOW=1 runs it')
def test_a_ray_that_does_not_start_says_for_whom(tmp_path):
    with pytest.raises(OSError, match="where='ray': Ray did not start in 3 tries.*adress"): clusters.find('ray')(tmp_path, [None], dict(adress='auto'))


def test_what_ray_would_wait_for_without_end_is_said(jobs, tmp_path, monkeypatch):
    "A stand-in for a Ray with two cores."
    ended = []
    ray = SimpleNamespace(is_initialized=lambda: False, cluster_resources=lambda: dict(CPU=2.), remote=lambda **kw: lambda fn: fn, shutdown=lambda: ended.append(1))
    monkeypatch.setattr('llmbench.clusters.need', lambda name, **kw: ray)
    monkeypatch.setattr('llmbench.scale.start_ray', lambda how, **kw: None)
    with pytest.raises(ValueError, match=r'asks for 1 GPU \(there are 0\)'): go(f'{jobs}:square', dict(x=[1]), tmp_path/'s', where='ray', num_gpus=1)
    assert ended and not (tmp_path/'s'/'sweep.json').exists()
    with pytest.warns(UserWarning, match='until a machine that has it joins'): clusters.find('ray')(tmp_path, [None], dict(num_gpus=1, address='auto'))
    with pytest.raises(ValueError, match="GPU='one' must be a number"): clusters.find('ray')(tmp_path, [None], dict(num_gpus='one'))
    def interrupted(how, **kw): raise KeyboardInterrupt
    monkeypatch.setattr('llmbench.scale.start_ray', interrupted)
    with pytest.raises(KeyboardInterrupt, match='stopped before its first point'): go(f'{jobs}:square', dict(x=[1]), tmp_path/'s', where='ray')


@pytest.mark.parametrize('kind, how', [('function', 'cancel'), ('notebook', 'signal')])
def test_a_job_that_is_cancelled_says_so(kind, how, jobs, tmp_path):
    "By the sweep, or by a SIGTERM to the job as `scancel` sends it: the point is stopped, its cause is SIGTERM, and nothing lives on."
    pytest.importorskip('submitit')
    folder = tmp_path/'p'
    job = job_of(f'{jobs}:nap') if kind=='function' else job_of(str(notebook(tmp_path/'job.ipynb', 'import time\nfrom pathlib import Path\n(Path(out)/"begun").touch()\ntime.sleep(120)')))
    place = clusters.find('local-submitit')(tmp_path, [None], {})
    h = place.start(dict(job=job, params={}, folder=str(folder), env={}, restore=True, slot=0))
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)                     # as in a sweep that a shell put into the background
    try: place.flush()
    finally: signal.signal(signal.SIGINT, ignored)
    until(lambda: (folder/'begun').exists())
    if kind=='function':                                                      # preempted: the job ends the point, and will be queued again
        psutil.Process(h['job']._process.pid).children()[0].send_signal(signal.SIGUSR2)
        until(lambda: read_json(folder/'run.json')['status']=='stopped')
        assert not place.ended(h)
        (folder/'begun').unlink()
        until(lambda: place.ended(h) or (folder/'begun').exists())
        assert read_json(folder/'run.json')['status']=='running' and not place.ended(h)
    worker = psutil.Process(read_json(folder/'run.json')['pid'])
    family = [worker, *worker.children(recursive=True)]
    place.stop(h) if how=='cancel' else h['job']._process.send_signal(signal.SIGTERM)
    until(lambda: place.ended(h), 40)
    r = read_json(folder/'run.json')
    assert (r['status'], r['cause'])==('stopped', 'SIGTERM') and 'SIGTERM' in r['error'], r
    assert not psutil.wait_procs(family, timeout=20)[1]


@pytest.mark.skipif(not (shutil.which('sbatch') and subprocess.run(['sinfo'], capture_output=True).returncode==0), reason='no Slurm that answers on this machine')
def test_the_same_sweep_on_slurm(jobs, tmp_path):
    s = go(f'{jobs}:square', dict(x=[0, 2, 5]), tmp_path/'s', where='slurm', at_once=3, slurm_mem='500MB', timeout_min=5)
    assert s.counts()=={'done': 3} and s.best['parameters']==dict(x=0)
    assert len({p['attempts'][0]['started']//10 for p in s.points()})<=2      # one array


def test_the_ssh_script_sees_a_run_that_ends_at_once(tmp_path):
    "A stand-in for llmbench on the other machine, which is a shell of this one."
    for name, text in dict(wire='[ "$1" = -n ] && shift\nshift\nHOME="$THERE" exec sh -c "$*"', llmbench='echo "called $2"\n[ "$2" = bad ] && { echo "no parameter called lrr"; exit 2; }\nmkdir -p "$6"; echo "{\\"pid\\": $$}" > "$6/run.json"; sleep 5').items(): script(tmp_path/name, text)
    (tmp_path/'points').mkdir()
    (tmp_path/'points'/'a.yaml').write_text('')
    (tmp_path/'hosts').write_text('alpha\n')
    env = {**os.environ, 'SSH': str(tmp_path/'wire'), 'THERE': str(tmp_path), 'HOME_THERE': '~/over there', 'BIN': str(tmp_path), 'OUT': str(tmp_path/'out')}
    call = lambda job: subprocess.run(['bash', STATIC/'ssh_runs.sh', 'start', job, 'points', 'hosts'], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    bad, good = call('bad'), call('good')
    assert bad.returncode==1 and 'could not start' in bad.stderr and 'no parameter called lrr' in bad.stderr and not bad.stdout
    assert good.returncode==0 and 'alpha: started' in good.stdout, good.stderr
    assert (tmp_path/'out'/'a.log').read_text().splitlines()==['called bad', 'no parameter called lrr', 'called good'] and (tmp_path/'over there').is_dir()


def test_where_slurm_is_not_that_is_said(jobs, tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(OSError, match="local-submitit"): go(f'{jobs}:square', dict(x=[1]), tmp_path/'s', where='slurm')


def script(path, text):
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)


@pytest.mark.parametrize('option, said', [(dict(slurm_partition='gpux'), 'Invalid partition name'), (dict(slurm_partion='gpu'), "Did you mean 'slurm_partition'"), (dict(timeout_min='soon'), 'timeout_min')])
def test_what_slurm_refuses_is_one_sentence(option, said, jobs, tmp_path, monkeypatch):
    "An sbatch that says what Slurm 22.05 says of a partition that is not there."
    bin = tmp_path/'bin'
    bin.mkdir()
    script(bin/'sbatch', "echo 'sbatch: error: invalid partition specified: gpux' >&2\necho 'sbatch: error: Batch job submission failed: Invalid partition name specified' >&2\nexit 1")
    for name in ('srun', 'scancel', 'sacct', 'squeue'): script(bin/name, 'exit 0')
    monkeypatch.setenv('PATH', f"{bin}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises((OSError, ValueError, LookupError), match=said): go(f'{jobs}:square', dict(x=[1]), tmp_path/'s', where='slurm', **option)
    if 'slurm_partition' in option: assert Sweep(tmp_path/'s').status=='failed' and Sweep(tmp_path/'s').counts()=={'stopped': 1}


def test_a_sweep_of_another_machine_is_dead_without_a_sign_of_life(tmp_path):
    from llmbench.sweep import _alone
    at = dict(id='a', number=0)
    write_json(tmp_path/'sweep.json', dict(kind='sweep', status='running', pid=1, host='another-machine', started=1.))
    write_json(tmp_path/'points'/'a'/'point.json', at|dict(status='running', attempts=[]))
    (tmp_path/'points.jsonl').write_text(json.dumps(at|dict(parameters={}))+'\n')
    (tmp_path/'alive').touch()
    assert (Sweep(tmp_path).status, Sweep(tmp_path).counts())==('running', {'running': 1})
    with pytest.raises(FileExistsError, match='on another-machine works'): _alone(tmp_path)
    os.utime(tmp_path/'alive', (1, 1))                                        # as after the restart of a container, which has another name
    assert (Sweep(tmp_path).status, Sweep(tmp_path).counts())==('dead', {'dead': 1})
    _alone(tmp_path)


@pytest.mark.parametrize('given', [dict(n='8'), dict(n=2.5), dict(n=True), dict(at_once='2'), dict(at_once=0), dict(retries='two'), dict(pause='10'), dict(pause=float('nan')), dict(patience=None), dict(look='1'), dict(devices='foo'), dict(devices=3),
    dict(higher='no'), dict(again='yes'), dict(quiet=1), dict(seed='a'), dict(fixed=['y=1']), dict(stop=5), dict(goal=1), dict(how=3), dict(where=None)], ids=str)
def test_a_value_that_cannot_be_meant_names_its_parameter(given, jobs, tmp_path):
    with pytest.raises(ValueError, match=rf'\b{next(iter(given))}='): go(f'{jobs}:square', dict(x=[1, 2]), tmp_path/'s', **given)
    assert not (tmp_path/'s').exists()


def test_options_of_a_place_are_checked(jobs, tmp_path):
    with pytest.raises(ValueError, match='slurm_partition'): go(f'{jobs}:square', dict(x=[1]), tmp_path/'s', slurm_partition='gpu')
    with pytest.raises(ValueError, match='sign of life every 15 s'): go(f'{jobs}:square', dict(x=[1]), tmp_path/'s', patience=5.)
    with pytest.raises(ValueError, match="'halving METRIC'"): go(f'{jobs}:square', dict(x=[1]), tmp_path/'s', stop='halving first=10')
    with pytest.raises(LookupError, match='slrum'): go(f'{jobs}:square', dict(x=[1]), tmp_path/'s', where='slrum')


# --- points

def test_an_optuna_search_that_was_stopped_goes_on(jobs, tmp_path):
    first = go(f'{jobs}:square', dict(x=(-5., 5.)), tmp_path/'s', how='optuna', n=4)
    when = {p['id']: p['attempts'][0]['started'] for p in first.points()}
    more = go(f'{jobs}:square', dict(x=(-5., 5.)), tmp_path/'s', how='optuna', n=6, at_once=2)
    now = {p['id']: p['attempts'][0]['started'] for p in more.points()}
    assert len(when)==4 and now.items()>when.items() and more.counts()=={'done': 6} and more.best['value']<=first.best['value']
    left = [read_json(more.folder/f/'run.json')['results'] for f in more.table().folder] # no point had anything of the one before
    assert {r['calls'] for r in left}=={1} and len({r['drawn'] for r in left})==6
    other = go(f'{jobs}:square', dict(x=(-5., 5.)), tmp_path/'s', how='optuna', n=6, goal='signed', higher=True) # nothing is done again for another question
    assert {p['id']: p['attempts'][-1]['started'] for p in other.points()}==now and {p['value'] for p in other.points()}=={0.}
    with pytest.warns(UserWarning, match="no 'los' among them; there are loss, signed"): assert go(f'{jobs}:square', dict(x=(-5., 5.)), tmp_path/'s', how='optuna', n=6, goal='los').best is None
    import optuna
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path/'s'/'optuna.log')))
    assert [[t.state.name for t in study.get_trials()] for study in (optuna.load_study(study_name=n, storage=storage) for n in optuna.get_all_study_names(storage))]==[['COMPLETE']*6]*2+[['FAIL']*6]


def test_points_keep_their_names(jobs):
    job = job_of(f'{jobs}:square')
    assert point_id(job, dict(x=1, y=2))==point_id(job, dict(y=2, x=1))!=point_id(job, dict(x=1, y=3))
    assert point_id(job, dict(x=1))!=point_id(job_of(f'{jobs}:bug'), dict(x=1))


def test_a_result_that_was_not_finite_is_not_called_missing():
    said = lambda goal, **results: Scheduler.lacking(SimpleNamespace(goal=goal), dict(results=results), None)
    assert said(None, loss=None, steps=3)==said('loss', loss=None)==said(None, loss=None)=='loss was not finite' and said('los', loss=1.).startswith("there is no 'los'") and said(None)==''


def failed(error): return dict(status='failed', cause='error', error=error)


@pytest.mark.parametrize('record, whose', [
    (failed('RuntimeError: CUDA error: an illegal memory access was encountered'), 'code'), (failed('RuntimeError: CUDA error: misaligned address'), 'code'), (failed("ValueError: the name 'x' is in use"), 'code'),
    (failed('FileExistsError: a is in use: process 3 runs b there'), 'machine'), (failed('OSError: [Errno 98] Address already in use'), 'machine'), (failed('RuntimeError: NCCL error: unhandled system error'), 'machine'),
    (failed('OSError: [Errno 5] Input/output error'), 'machine'), (failed('ConnectionError: [Errno 111] Connection refused'), 'machine'), (failed('ConnectionError: Temporary failure in name resolution'), 'machine'),
    (dict(status='failed', cause='SIGKILL', error='DeadKernelError: the kernel was killed by SIGKILL'), 'machine'), (dict(status='failed', cause='SIGSEGV', error='DeadKernelError: ...'), 'code'),
    (dict(status='failed', cause='exit 3', error='DeadKernelError: the kernel ended by itself with code 3'), 'code'), (dict(status='failed', cause='out of memory', error='cell 2: x'), 'machine'),
    (dict(status='failed', cause='error', error='cell 2: ValueError: x'), 'code'), (dict(status='stopped'), 'machine'), ({}, 'machine'), (dict(status='done'), '')])
def test_whose_fault(record, whose): assert fault_of(record)==whose


def test_a_page_of_a_sweep_opens_offline_and_runs_no_script_of_the_data(browser, tmp_path):
    from llmbench.sweep_report import report_sweep
    evil = '<img src=x onerror=alert(1)>'
    s = go([sys.executable, '-c', 'import sys; print(len(sys.argv[1])+float(sys.argv[2]))', '{status}', '{seconds}'], dict(status=['a', evil], seconds='1,30,200.0'), tmp_path/'s', at_once=2) # named as columns are
    assert s.table()['parameters.seconds'].tolist()[:3]==[1, 30, 200] and s.best['parameters']==dict(status='a', seconds='1')
    page, asked, said = browser.new_page(), [], []
    page.on('request', lambda r: asked.append(r.url))
    page.on('dialog', lambda d: said.append(d.message))
    page.on('pageerror', lambda e: said.append(str(e)))
    page.goto(report_sweep(s).as_uri())
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length==2 && document.querySelectorAll('.js-plotly-plot .main-svg').length>=2")
    text = page.inner_text('body')
    page.close()
    assert not said and evil in text and '6 points' in text and not [u for u in asked if not u.startswith(('file:', 'data:', 'blob:'))]
    assert json.loads((s.folder/'report.json').read_text())['best']['value']==2.
