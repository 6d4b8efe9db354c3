"The main job and executed notebooks as a user meets them: wrong input, signals, too little memory, a full disk, secrets, a rerun, a check of the result."
import ast
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill
import psutil
import pytest
from measured import CHANGES, measured, others
from nbformat.v4 import new_code_cell, new_notebook

from llmbench import cli as command_line
from llmbench.batch import RunFailed, run_notebook, said
from llmbench.facts import RUN_FOLDER
from llmbench.index import true_status
from llmbench.parameters import find_notebook, parameters_of, run_names
from llmbench.record import diff, run_record
from llmbench.resume import resume
from llmbench.store import read_json, read_jsonl, whole, write_json

LLMBENCH = str(Path(sys.executable).parent/'llmbench')
SMALL = dict(megabytes=.15, holdout=6, vocab=400, window=64, proxies=4, proxy_size=1, proxy_tokens=4096, final_size=1, final_tokens=6144, seeds=2, workers=2, active=0)


def cli(*args, **kw):
    return subprocess.run([LLMBENCH, *map(str, args)], capture_output=True, text=True, timeout=1200, **kw)


def inside(capsys, *args):
    "A command in this process: exit code, what it printed, what it complained of."
    try: code = command_line.main(list(map(str, args)))
    except SystemExit as e: code = e.code
    return code, *capsys.readouterr()


def book(path, *cells, parameters="n:int = 4\nseed:int = 0\nout:str = ''"):
    "A notebook of these cells."
    cells = [new_code_cell(parameters, metadata={'tags': ['parameters']}), *map(new_code_cell, cells)]
    nbformat.write(new_notebook(cells=cells, metadata={'kernelspec': {'name': 'python3', 'display_name': 'python3', 'language': 'python'}}), path)
    return path


def failed(path, out, params=(), **how):
    "The record of a run that ends badly."
    with pytest.raises(RunFailed) as e: run_notebook(path, dict(params), out, **how)
    assert read_json(Path(out)/'run.json')['status']==e.value.record['status']
    return e.value.record


def wait_for(there, patience=180):
    end = time.time()+patience
    while not (found := there()) and time.time()<end: time.sleep(.05)
    assert found
    return found


# --- the main job: one search for all of these

def search(out, data, **changes):
    return ['run', 'mixture_search', '-o', out, *(x for k, v in (SMALL|dict(data=data)|changes).items() for x in ('-p', f'{k}={v}'))]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "Files of a user: two sources, one of them with a document that tries to run a script in whoever opens the report."
    from llmbench.readers import python_text
    folder = tmp_path_factory.mktemp('data')
    evil = '<script>alert(document.domain)</script>'
    for source in ('topics', 'licences'):
        rows = python_text([source], megabytes=.15).pandas('text').text.tolist()
        with open(folder/f'{source}.jsonl', 'w') as f: f.writelines([*(json.dumps(dict(text=t))+'\n' for t in [*rows, evil*20]), '{"text": "cut off'])
    return f'{evil}={folder}/topics.jsonl licences={folder}/licences.jsonl'


@pytest.fixture(scope='module')
def done(data, tmp_path_factory):
    out = tmp_path_factory.mktemp('search')/'a'
    return cli(*search(out, data), '--price', '2.5 EUR'), out


def test_the_job_ends_with_the_report_and_three_lines(done):
    result, out = done
    assert result.returncode==0, result.stderr
    path, *summary = result.stdout.strip().splitlines()
    assert Path(path)==out/'report.html' and len(summary)==3 and 'proposed' in summary[0]
    assert read_json(out/'run.json')['status']=='done'
    found = read_json(out/'report.json')
    assert found['summary']==summary and found['kind'] in ('ok', 'bad', 'even')
    assert re.search(r'better by|worse by|within noise', summary[0])
    for values in found['candidates'].values(): assert abs(sum(values.values())-1)<1e-6


def test_the_job_is_listed_and_reported(done, capsys):
    out = done[1]
    code, shown, _ = inside(capsys, 'report', out)
    assert code==0 and shown.strip().splitlines()==[*read_json(out/'report.json')['summary'], str(out/'report.html')]
    listed = [r for r in json.loads(inside(capsys, 'ls', out, '--json')[1]) if r.get('kind')!='notebook']
    assert len(listed)==SMALL['proxies']+3*SMALL['seeds'] and {r['status'] for r in listed}=={'done'}


def test_the_record_names_what_was_read_and_made(done):
    "Corpus, tokens and tokenizer with their fingerprints, every step and every trained model, the seeds, the environment."
    r = run_record(done[1])
    assert {v['kind'] for v in r['inputs'].values()}>={'corpus', 'tokens', 'tokenizer'} and all(v['fingerprint'] for v in r['inputs'].values())
    assert r['results']['digest']==read_json(done[1]/'report.json')['digest'] and r['digest']
    trained = [k for k in r['made'] if k.startswith('runs/')]
    assert len([k for k in trained if k in r['seeds']])==SMALL['proxies']+3*SMALL['seeds'] and {'clean', 'split', 'tokenizer'}<=set(r['made'])
    assert r['environment']['packages']['torch'] and r['determinism']['torch']['version'] and r['energy']['joules']>0
    assert r['cost']==dict(amount=r['seconds']/3600*2.5, currency='EUR', price_per_hour=2.5) and r['cpu_seconds']>0
    assert r['environment']['code'] and (r['git']=={} or len(r['git']['commit'])==40)


def test_the_report_opens_offline_and_runs_no_script_of_the_data(done, browser):
    page, asked, errors = browser.new_page(), [], []
    page.on('request', lambda r: asked.append(r.url))
    page.on('pageerror', lambda e: errors.append(str(e)))
    page.on('dialog', lambda d: errors.append(d.message))
    page.goto((done[1]/'report.html').as_uri())
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length>=10")
    assert page.title()=='Which mixture won?' and not errors
    assert [u for u in asked if not u.startswith(('file:', 'data:', 'blob:'))]==[]
    assert '<script>' in page.inner_text('body') and 'What could not be read' in page.inner_text('body')
    page.close()


@pytest.mark.skipif(not os.environ.get('LLMBENCH_SLOW'), reason='two more searches, two minutes: LLMBENCH_SLOW=1')
def test_a_stopped_job_says_stopped_and_goes_on_and_a_rerun_trains_nothing(done, data, tmp_path):
    "Stopped while its workers train; begun again in another folder with another number of workers it ends with the same digest. What is done stays as it is."
    out = tmp_path/'stop'
    shutil.copytree(done[1], out, ignore=shutil.ignore_patterns('runs', 'report.*', 'run.json', '*.ipynb', 'record.jsonl'))
    p = subprocess.Popen([LLMBENCH, *map(str, search(out, data))], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list(out.glob('runs/proxy00*/run.json')) or p.poll() is not None, 300)
    p.send_signal(signal.SIGTERM)
    err = p.communicate(timeout=180)[1]
    assert p.returncode!=0 and 'run the same command again' in err, err
    assert read_json(out/'run.json')['status']=='stopped' and not (out/'report.json').exists()
    wait_for(lambda: not list(out.rglob('*.part')), 20)              # workers end after the step they are in
    trained = lambda: {p: p.stat().st_mtime_ns for p in out.rglob('model.safetensors')}
    before = trained()
    run_notebook('mixture_search', SMALL|dict(data=data, workers=1), out)
    assert read_json(out/'report.json')['digest']==read_json(done[1]/'report.json')['digest']
    after = trained()
    assert before.items()<=after.items() and len(after)==SMALL['proxies']+3*SMALL['seeds']
    assert read_json(out/'run.json')['attempts'][-1]['status']=='stopped'
    run_notebook('mixture_search', SMALL|dict(data=data, workers=1), out)
    assert trained()==after and read_json(out/'report.json')['digest']==read_json(done[1]/'report.json')['digest']


# --- the other jobs: each runs from its own defaults, in this process

TINY = dict(inspect=dict(megabytes=.03, points=0), prepare=dict(megabytes=.05, vocab=300, holdout=2), pretrain=dict(megabytes=.05, tokens=2048, vocab=300, size=1, holdout=3), finetune=dict(epochs=1., most=120), evaluate={}, compare=dict(draws=1000), sweep_summary=dict(points=3))
ELSEWHERE = dict(mixture_search='test_batch', select_sft='test_training', continual='test_training', audit='test_batch')


def executed(file):
    "The jobs that a file of tests executes: by the fixtures `job` and `run_job`, or as a command."
    tree, first = ast.parse((Path(__file__).parent/f'{file}.py').read_text()), lambda nodes: [n.value for n in nodes if isinstance(n, ast.Constant)]
    calls = [first(n.args[:1]) for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, 'id', '') in ('job', 'run_job')]
    return {name for found in [*calls, *(first(n.elts[:2])[1:] for n in ast.walk(tree) if isinstance(n, ast.List) and first(n.elts[:1])==['run'])] for name in found}


def test_no_job_is_left_out():
    assert {*TINY, *ELSEWHERE}==set(run_names())
    for name, file in ELSEWHERE.items(): assert name in executed(file), name
    for name in run_names(): assert set(papermill.inspect_notebook(find_notebook(name)))==set(parameters_of(find_notebook(name))), 'papermill reads no comment with an equals sign'


@pytest.fixture
def job(tmp_path, monkeypatch, capsys):
    "A job in this process: its inputs, its results, its report, what it printed."
    from llmbench.ranks import run_here
    monkeypatch.setitem(sys.modules, '__main__', sys.modules['__main__']) # the page takes its place, and gives it back
    out = tmp_path/'out'
    def go(name, **parameters):
        monkeypatch.setenv(RUN_FOLDER, str(out))
        out.mkdir(exist_ok=True)
        run_here(str(find_notebook(name)), *(f'{k}={v}' for k, v in (parameters|dict(out=out)).items()))
        return *said(out), read_json(out/'report.json'), capsys.readouterr().out
    return go


@pytest.mark.parametrize('name', TINY)
def test_a_job_runs_and_says_what_came_out(name, job, tmp_path):
    inputs, results, found, printed = job(name, **TINY[name])
    assert inputs and results and all(v['fingerprint'] for v in inputs.values())
    assert found.get('summary', name=='sweep_summary') and all(line in printed for line in found.get('summary', ())) and '</html>' in (tmp_path/'out'/'report.html').read_text()
    assert ('96 rows to train on, 24 held out, of ' in printed)==(name=='finetune')      # rows that a limit leaves out are told


def written(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text(''.join(json.dumps(r)+'\n' for r in rows))
    return path


@pytest.mark.parametrize('name, given, said', [
    ('mixture_search', dict(data='web={rows}/none/*.jsonl'), "web"), ('mixture_search', dict(target='prose=1', megabytes=.01), "target names ['prose']"), ('mixture_search', dict(target='code'), "target: 'code' is no pair"), ('mixture_search', dict(target='code=much'), 'expected a number'), ('pretrain', dict(weights='code=-1'), 'out of range'), ('pretrain', dict(weights='code=1', megabytes=.01), 'the sources are code, docstrings'), ('continual', dict(batch=6, accumulate=4), 'divisor of batch=6'),
    ('compare', dict(runs='folder'), "runs: 'folder' is no pair"), ('evaluate', dict(tasks='multiple_choice:{rows} multiple_choice:{rows}'), 'rows is there twice'), ('inspect', dict(data='{table}'), 'cannot be read'), ('inspect', dict(data='{rows}.gone'), 'gone'),
    ('select_sft', dict(rows='{rows}'), "no column called 'prompt'"), ('select_sft', dict(rows='{rows}', prompt='q', response='q', how='top'), 'ranks by a score'), ('audit', dict(rows='{rows}', model='{rows}'), "no column called 'text'"), ('audit', dict(train='{rows}'), 'give model='),
    ('prepare', dict(recipe='finewep'), "Did you mean 'fineweb'"), ('prepare', dict(dedup='exact nearly'), "'nearly'"), ('finetune', dict(rows='file://{rows}.gone'), 'there is nothing at file://'), ('finetune', dict(adapter='lorra'), "Did you mean 'lora'")])
def test_a_job_refuses_what_it_cannot_read(name, given, said, job, tmp_path):
    place = dict(rows=written(tmp_path/'rows.jsonl', [dict(q='one?')]), table=written(tmp_path/'a'/'t.parquet', [dict(text='no table')]))
    with pytest.warns(UserWarning, match='cannot be read') if said=='cannot be read' else contextlib.nullcontext(), pytest.raises((OSError, LookupError, ValueError)) as e: job(name, **{k: v.format(**place) if isinstance(v, str) else v for k, v in given.items()})
    assert said in str(e.value) or said=='cannot be read' and 'there are none in' in str(e.value)


def test_tasks_of_the_same_name_are_all_asked(job, tmp_path):
    "From folders whose names hold blanks, one of them as an address."
    paths = [written(tmp_path/f'my {d}'/'test.jsonl', [dict(question=f'{d} {i}?', choices=['yes', 'no'], answer=i%2) for i in range(2)]) for d in 'ab']
    _, results, found, printed = job('evaluate', tasks=f'multiple_choice:"{paths[0]}" multiple_choice:"file://{paths[1]}"')
    assert len(found['summary'])==2 and len({r['task'] for r in found['table']})==2 and all(line in printed for line in found['summary'])
    assert len(list((tmp_path/'out'/'evals').iterdir()))==2


def test_an_audit_says_by_heart_only_of_what_was_trained_on(job, tmp_path):
    "Of 4 rows one is in the training text; without it nothing is said."
    from llmbench.corpus import Corpus
    from llmbench.features import with_specials
    from llmbench.models import build, save_model
    from llmbench.recipe import Recipe
    from llmbench.tokens import train_tokenizer
    rows = [dict(text=' '.join(f'word{i}x{j}' for j in range(30))) for i in range(4)]
    words = with_specials(train_tokenizer(Corpus.of([r['text'] for r in rows]), vocab=300), 'gpt')
    model = save_model(build(Recipe(weights=dict(rows=1.), tokens=4096, window=128, size=1, vocab=len(words))), tmp_path/'model', words)
    given = dict(model=model, rows=written(tmp_path/'rows.jsonl', rows), checks='memory')
    _, _, found, printed = job('audit', **given)
    assert not found['audits']['LlamaForCausalLM'] and 'was not looked at' in printed
    _, _, found, _ = job('audit', **given, train=written(tmp_path/'train.jsonl', rows[:1]))
    assert set(found['audits']['LlamaForCausalLM'])=={'extraction', 'pii'} and re.search(r'<td[^>]*>0\.25', (tmp_path/'out'/'report.html').read_text())


def told(path):
    "The parameters of a notebook that reach a call of `used`, through whatever names, loops and functions."
    source = '\n'.join(c.source for c in nbformat.read(path, 4).cells if c.cell_type=='code')
    of, found = {k: {k} for k in parameters_of(path)}, set()             # name -> the parameters in it
    names = lambda *nodes: set().union(*(of.get(n.id, set()) for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)))
    for node in ast.parse(source).body[len(of):]:
        for n in [m for m in ast.walk(node) if isinstance(m, (ast.Assign, ast.For, ast.FunctionDef, ast.Call, ast.comprehension))]*2:
            if isinstance(n, ast.FunctionDef): of[n.name] = names(*n.body)
            elif isinstance(n, ast.Call):
                if getattr(n.func, 'id', '')=='used': found |= names(*n.args, *(k.value for k in n.keywords))
            else:
                for t in (n.targets if isinstance(n, ast.Assign) else [n.target]):
                    for m in ast.walk(t):
                        if isinstance(m, ast.Name): of[m.id] = of.get(m.id, set())|names(n.value if isinstance(n, ast.Assign) else n.iter)
    return found


READ = dict(audit='model pairs rows train', compare='runs', continual='new old', evaluate='folder model tasks train', finetune='model rows', inspect='against data', mixture_search='data', prepare='against data', pretrain='data model', select_sft='model rows', sweep_summary='sweep')


@pytest.mark.parametrize('name', run_names())
def test_a_job_says_all_that_it_reads(name):
    "Every parameter that names files, folders or a model is among what `used` is told of; a new one is caught by its help."
    path = find_notebook(name)
    named = {k for k,v in parameters_of(path).items() if k!='out' and v['type']=='str' and re.search(r'\b(files?|folders?|GGUF|corpus)\b', v['help'])}
    assert named<={*READ[name].split()}<=told(path) and ('model_files(model)' in path.read_text() or 'model' not in READ[name].split())


# --- wrong input

@pytest.mark.parametrize('args, said', [
    (['-p', 'tokns=5'], r"no parameter called 'tokns'"),
    (['-p', 'vocabs=5'], r"Did you mean 'vocab'\?"),
    (['-p', 'seeds=many'], r"parameter seeds='many': expected a whole number"),
    (['-p', 'seeds'], r'NAME=VALUE'),
])
def test_wrong_parameters_stop_at_once(args, said, tmp_path, capsys):
    began = time.time()
    code, _, err = inside(capsys, 'run', 'mixture_search', '-o', tmp_path/'x', *args)
    assert code==2 and re.search(said, err), err
    assert time.time()-began<20 and not (tmp_path/'x').exists()


@pytest.mark.parametrize('changes, said', [
    (dict(data='web={folder}/empty.txt'), r'empty'),
    (dict(final_tokens=50_000_000), r'epoch'),
])
def test_wrong_input_stops_early_and_says_what_to_do(changes, said, done, data, tmp_path):
    (tmp_path/'empty.txt').write_text('')
    if 'final_tokens' in changes: shutil.copytree(done[1], tmp_path/'x', ignore=shutil.ignore_patterns('runs', 'report.*', 'run.json', '*.ipynb')) # it is found after the tokens are counted
    r = failed('mixture_search', tmp_path/'x', SMALL|dict(data=data)|{k: v.format(folder=tmp_path) if isinstance(v, str) else v for k, v in changes.items()})
    assert re.search(said, r['error']) and 'Traceback' not in r['error'] and (r['status'], r['cause'])==('failed', 'error')
    assert not (tmp_path/'x'/'report.json').exists()


# --- what ends a run

def test_full_disk_is_said_and_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match='disk full .* run again; finished steps are reused'), whole(tmp_path/'a.bin'):
        with open('/dev/full', 'w') as f: f.write('x'*10**6)
    assert list(tmp_path.iterdir())==[]


def test_job_on_a_full_disk(tmp_path):
    "A file system of 2 MB, in a mount namespace of its own."
    room, path = tmp_path/'room', book(tmp_path/'large.ipynb', 'from llmbench.store import write_json\nfor i in range(9): write_json(f"{out}/{i}.json", ["x"*500_000])')
    room.mkdir()
    script = f'mount -t tmpfs -o size=2m none {room} && {LLMBENCH} run {path} -o {room}/x; echo code $?; find {room} -name "*.part" | wc -l; grep -o "\\"cause\\": \\"disk full\\"" {room}/x/run.json'
    result = subprocess.run(['unshare', '-rm', 'sh', '-c', script], capture_output=True, text=True, timeout=1200, env=os.environ)
    if 'code' not in result.stdout: pytest.skip(f'no mount namespace can be made here: {result.stderr.strip()[:200]}')
    assert 'code 1' in result.stdout and re.search('disk full|No space left', result.stderr), result.stdout+result.stderr
    assert result.stdout.strip().splitlines()[1:]==['0', '"cause": "disk full"']


def test_memory_that_a_process_may_not_have(tmp_path):
    path = book(tmp_path/'a.ipynb', 'import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))\nx = bytearray(2**33)')
    r = failed(path, tmp_path/'out')
    assert (r['status'], r['cause'])==('failed', 'out of memory') and 'MemoryError' in r['error']


def test_memory_that_the_machine_does_not_have(tmp_path):
    "A control group of 600 MB, in which the system kills the kernel."
    group = Path('/sys/fs/cgroup/memory' if Path('/sys/fs/cgroup/memory').is_dir() else '/sys/fs/cgroup')/f'llmbench-{os.getpid()}'
    limit = group/('memory.limit_in_bytes' if 'memory/' in str(group) else 'memory.max')
    try:
        group.mkdir()
        limit.write_text(str(600*2**20))
    except OSError as e:
        if group.exists(): group.rmdir()
        pytest.skip(f'no control group can be made here: {e}')
    path = book(tmp_path/'a.ipynb', 'held = []', 'while True: held.append(bytearray(b"x"*10**7))', 'print(1)')
    try: cli('run', path, '-o', tmp_path/'out', preexec_fn=lambda: (group/'cgroup.procs').write_text(str(os.getpid())))
    finally: wait_for(lambda: not (group/'cgroup.procs').read_text().strip()); group.rmdir()
    r = read_json(tmp_path/'out'/'run.json')
    assert (r['status'], r['cause'])==('failed', 'out of memory') and '600 MiB are allowed' in r['error'], r['error']
    marks = [c.metadata.papermill.status for c in nbformat.read(tmp_path/'out'/'a.ipynb', 4).cells if c.cell_type=='code']
    assert marks[-3:]==['completed', 'failed', 'not-run']


def test_a_machine_that_goes_away(tmp_path):
    "The run is killed: the next reader says dead, and neither its kernel nor the kernel's own processes live on."
    path = book(tmp_path/'a.ipynb', 'from llmbench.record import result\nresult(first=1.5)', 'import subprocess, sys\np = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])\nopen(f"{out}/pid", "w").write(str(p.pid))\np.wait()')
    p = subprocess.Popen([LLMBENCH, 'run', str(path), '-o', str(tmp_path/'out')], stderr=subprocess.DEVNULL)
    worker = psutil.Process(int(wait_for(lambda: (tmp_path/'out'/'pid').exists() and (tmp_path/'out'/'pid').read_text())))
    kernel = worker.parent()
    assert true_status(read_json(tmp_path/'out'/'run.json'), tmp_path/'out')=='running'
    wait_for(lambda: 'joules' in (tmp_path/'out'/'alive').read_text())   # what it took so far
    p.kill()
    p.wait()
    assert not psutil.wait_procs([kernel, worker], timeout=20)[1]
    r = run_record(tmp_path/'out')
    assert r['status']=='dead' and read_jsonl(tmp_path/'out'/'record.jsonl')[-1]['value']==1.5
    other = dict(status='failed', seconds=9., energy=dict(joules=1e9), parameters=dict(n=5, seed=0, out=str(tmp_path/'out')))
    write_json(tmp_path/'out'/'run.json', read_json(tmp_path/'out'/'run.json')|dict(attempts=[other])) # an attempt at something else
    again = failed(book(path, 'raise ValueError("later")'), tmp_path/'out')
    dead = again['attempts'][1]
    assert dead['status']=='dead' and dead['results']=={'first': 1.5} and dead['seconds']>0
    assert (again['total']['attempts'], again['total']['unknown'], again['total']['joules'])==(2, 0, dead['energy']['joules']+again['energy']['joules'])


# --- secrets

def test_no_secret_is_written(tmp_path, monkeypatch):
    "Not that of a parameter (also inside a dict, also a short one), not that of the environment, not one that is only printed: by the notebook, by a process of it, in an error, as a result; nor one in a file that git knows and that was changed. One of digits only leaves numbers and the notebook's JSON as they are."
    given, around, found, short, deep, store = 'ow'+'l-and-"quote"', 'env'+'ironment-value', 'sk-'+'Ab1'*12, 'pw1', 'in'+'side-a-dict', 'Endpoint=here;Key=12'
    monkeypatch.setenv('MY_SERVICE_API_KEY', around)
    monkeypatch.setenv('AZURE_STORAGE_CONNECTION_STRING', store)
    monkeypatch.setenv('PGPASSWORD', '20261122')
    path = book(tmp_path/'a.ipynb', f'import os, subprocess, sys\nfrom llmbench.record import result\nprint(hf_token, os.environ["MY_SERVICE_API_KEY"], "sk-"+"Ab1"*12, os.environ["PGPASSWORD"])\ndisplay(dict([("application/json", dict(n=20261122))]), raw=True)\nassert (hf_token, password)==({"ow"!r}+{given[2:]!r}, "pw"+"1")',
                'result(leak=hf_token, inner=[os.environ["MY_SERVICE_API_KEY"]], url="https://me:"+"hunter"+"22@host/x")\nsubprocess.run([sys.executable, "-c", "import os, sys; sys.stderr.write(os.environ[\'MY_SERVICE_API_KEY\'])"])',
                'raise ValueError(f"no entry for {hf_token}, {conf}, {os.environ[\'AZURE_STORAGE_CONNECTION_STRING\']}")', parameters="hf_token:str = ''\npassword:str = ''\nconf:dict = {}\nout:str = ''")
    (tmp_path/'settings.py').write_text('KEY = None\n')
    for words in ('init -q', 'add settings.py', '-c user.name=a -c user.email=a@b commit -qm first'): subprocess.run(['git', '-C', str(tmp_path), *words.split()], check=True)
    (tmp_path/'settings.py').write_text(f'KEY = {found!r}\nOTHER = {around!r}\n')
    told = cli('run', path, '--json', '-o', tmp_path/'out', '-p', f'hf_token={given}', '-p', f'password={short}', '-p', f'conf={json.dumps(dict(api_key=deep))}')
    r = read_json(tmp_path/'out'/'run.json')
    assert told.returncode==1 and 'no entry for [hf_token hidden]' in told.stderr and r['status']=='failed' and r['git']['dirty'] and r['git']['patch_hash']
    files = [p for p in (tmp_path/'out').rglob('*') if p.is_file()]
    assert {p.name for p in files}>={'run.json', 'a.ipynb', 'output.log', 'kernel.log', 'record.jsonl', 'changes.patch'}
    for where, text in [('output', told.stdout), ('error', told.stderr), *((p.name, p.read_text(errors='replace')) for p in files)]:
        for secret in (given, json.dumps(given)[1:-1], around, found, 'hunter22', deep, store, f"'{short}'", f'"{short}"', f'={short}'): assert secret not in text, (where, secret)
    assert re.search(r"\+KEY = '\[hidden\]'\n\+OTHER = '\[MY_SERVICE_API_KEY hidden\]'", (tmp_path/'out'/'changes.patch').read_text())
    shown = [o for c in nbformat.read(tmp_path/'out'/'a.ipynb', 4).cells for o in c.get('outputs', [])]
    assert '[hidden] [PGPASSWORD hidden]' in shown[0].text and shown[1].data['application/json']=={'n': 20261122}
    written = read_json(tmp_path/'out'/'run.json')
    assert written['parameters']=={'hf_token': '[hf_token hidden]', 'password': '[password hidden]', 'conf': {'api_key': '[api_key hidden]'}, 'out': str(tmp_path/'out')} and '[hf_token hidden]' in written['error']
    assert '[MY_SERVICE_API_KEY hidden]' in (tmp_path/'out'/'kernel.log').read_text()
    with pytest.raises(ValueError, match='hf_token, password, conf was hidden in the record; give it again'): resume(tmp_path/'out')


# --- go on, do again, compare

TRAIN = ['''from pathlib import Path
from llmbench.learner import train
from llmbench.readers import python_text
from llmbench.recipe import Recipe
from llmbench.record import result, used
from llmbench.tokens import train_tokenizer, write_tokens
out = Path(out)''',
'''docs = used(python_text(['topics'], megabytes=.05))
tokenizer = used(train_tokenizer(docs, vocab=400, folder=out/'tokenizer'))
tokens = used(write_tokens(docs, tokenizer, out/'tokens', progress=False))''',
'''from llmbench.callbacks import Callback
class Die(Callback):
    def after_step(self, learner):
        if learner.step==die_at and not (out/'died').exists():
            (out/'died').touch()
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
recipe = Recipe(weights={'topics': 1.}, tokens=4*32*20, size=1, vocab=400, window=32, batch=4, seed=seed, max_epochs=None)
run = train(recipe, tokens, out/'run', callbacks=[Die()], checkpoint_every=4, checkpoint_seconds=0., progress=False)
result(digest=run.record['digest'], loss=float(run.metrics().loss.iloc[-1]))''']


def test_training_goes_on_from_its_checkpoint(tmp_path):
    "Killed in step 13 of 20, with checkpoints every 4: the result is bit for bit that of a run that was not killed."
    path = book(tmp_path/'train.ipynb', *TRAIN, parameters="seed:int = 0\ndie_at:int = -1\nout:str = ''")
    r = failed(path, tmp_path/'cut', dict(die_at=13))
    assert (r['status'], r['cause'])==('failed', 'SIGKILL') and run_record(tmp_path/'cut')['made']['run']=='running'
    tokens = (tmp_path/'cut'/'tokens').stat().st_mtime_ns
    last = resume(tmp_path/'cut')
    never = run_notebook(path, {}, tmp_path/'whole')
    assert last['results']==never['results'] and last['digest']==never['digest'] and (tmp_path/'cut'/'tokens').stat().st_mtime_ns==tokens
    assert read_jsonl(tmp_path/'cut'/'run'/'resumed.jsonl')[-1]['step']>=8 and last['seeds']=={'seed': 0, 'run': 0}
    two = diff(tmp_path/'cut', tmp_path/'whole')
    assert two.status=='identical' and set(two.changed)<={'parameters', 'llmbench', 'settings'} and two.changed['parameters']==['die_at: 13 -> -1'] and not two.steps


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    with measured(tmp_path_factory.mktemp('measured')) as m: yield m


FOUND = CHANGES|dict(tolerance=('code', r'\+result\(total=total\+1e-9\)', 'within tolerance', lambda m: m.cells('total+1e-9')))


@pytest.mark.parametrize('what', FOUND)
def test_verify_finds_what_changed(made, what):
    "A cell, a package's version, one byte of the data, the seed; each alone, and what moved."
    kind, said, status, change = FOUND[what]
    found = made.verify(change)
    assert set(others(found))=={kind} and re.search(said, '\n'.join(found.changed[kind])), found
    assert found.status==status
    if status=='different': assert found.moved[0]['name']=='total' and found.moved[0]['by']>1e-3


@pytest.mark.parametrize('end, said', [("__import__('os').kill(__import__('os').getpid(), 15)", 'stopped: verify was ended by SIGTERM'), ('bytearray(2**62)', 'failed: verify was ended by out of memory')])
def test_a_verification_without_a_second_result_says_nothing(made, end, said):
    with pytest.raises(RunFailed, match=said) as e: made.verify(lambda m: m.cells(end))
    assert e.value.record['status']==said.partition(':')[0]
