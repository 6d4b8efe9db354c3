"The main job and the command line as a user meets them: wrong input, signals, a full disk, a rerun."
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmbench.store import read_json, whole

LLMBENCH = str(Path(sys.executable).parent/'llmbench')
SMALL = dict(megabytes=.15, holdout=6, vocab=400, window=64, proxies=4, proxy_size=1, proxy_tokens=4096, final_size=1, final_tokens=6144, seeds=2, workers=2, active=0)


def cli(*args, **kw):
    return subprocess.run([LLMBENCH, *map(str, args)], capture_output=True, text=True, timeout=300, **kw)


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
    return cli(*search(out, data)), out


def test_the_job_ends_with_the_report_and_three_lines(done):
    result, out = done
    assert result.returncode==0, result.stderr
    path, *summary = result.stdout.strip().splitlines()
    assert Path(path)==out/'report.html' and len(summary)==3 and 'proposed mixture' in summary[0]
    assert read_json(out/'run.json')['status']=='done'
    found = read_json(out/'report.json')
    assert found['summary']==summary and found['kind'] in ('ok', 'bad', 'even')
    assert re.search(r'better by|worse by|within noise', summary[0])
    for values in found['candidates'].values(): assert abs(sum(values.values())-1)<1e-6
    shown = cli('report', out)
    assert shown.returncode==0 and shown.stdout.strip().splitlines()==[*summary, str(out/'report.html')]
    listed = json.loads(cli('ls', out, '--json').stdout)
    assert len(listed)==SMALL['proxies']+3*SMALL['seeds'] and {r['status'] for r in listed}=={'done'}


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


def test_a_rerun_trains_nothing(done, data):
    _, out = done
    first = read_json(out/'report.json')
    trained = {p: p.stat().st_mtime_ns for p in out.rglob('model.safetensors')}
    assert cli(*search(out, data)).returncode==0
    assert {p: p.stat().st_mtime_ns for p in out.rglob('model.safetensors')}==trained
    assert first['digest']==read_json(out/'report.json')['digest']


@pytest.mark.parametrize('args, said', [
    (['-p', 'tokns=5'], r"no parameter called 'tokns'"),
    (['-p', 'vocabs=5'], r"Did you mean 'vocab'\?"),
    (['-p', 'seeds=many'], r"parameter seeds='many': expected a whole number"),
    (['-p', 'seeds'], r'write NAME=VALUE'),
])
def test_wrong_parameters_stop_at_once(args, said, tmp_path):
    began = time.time()
    result = cli('run', 'mixture_search', '-o', tmp_path/'x', *args)
    assert result.returncode==2 and re.search(said, result.stderr), result.stderr
    assert time.time()-began<20 and not (tmp_path/'x').exists()


@pytest.mark.parametrize('changes, said', [
    (dict(data='web={folder}/none/*.jsonl'), r'web'),
    (dict(data='web={folder}/empty.txt'), r'empty'),
    (dict(final_tokens=50_000_000), r'epoch'),
    (dict(target='prose=1'), r"target names \['prose'\]"),
])
def test_wrong_input_stops_early_and_says_what_to_do(changes, said, data, tmp_path):
    (tmp_path/'empty.txt').write_text('')
    changes = {k: v.format(folder=tmp_path) if isinstance(v, str) else v for k, v in changes.items()}
    result = cli(*search(tmp_path/'x', **(dict(data=data)|changes)))
    assert result.returncode==1 and re.search(said, result.stderr), result.stderr
    assert 'Traceback' not in result.stderr and read_json(tmp_path/'x'/'run.json')['status']=='failed'
    assert not (tmp_path/'x'/'report.json').exists()


@pytest.mark.parametrize('sign', [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_job_says_stopped_and_goes_on(sign, done, data, tmp_path):
    out, command = tmp_path/'stop', [LLMBENCH, *map(str, search(tmp_path/'stop', data))]
    p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    while not list(out.glob('runs/proxy00*/run.json')) and p.poll() is None: time.sleep(.05)
    p.send_signal(sign)
    err = p.communicate(timeout=60)[1]
    assert p.returncode==130 and 'run the same command again' in err, err
    assert read_json(out/'run.json')['status']=='stopped' and not (out/'report.json').exists()
    patience = time.time()+20                     # workers end after the step they are in
    while list(out.rglob('*.part')) and time.time()<patience: time.sleep(.2)
    assert not list(out.rglob('*.part'))
    if sign==signal.SIGINT: return
    again = cli(*search(out, data, workers=1))         # another folder, another number of workers, begun twice: the same digest
    assert again.returncode==0, again.stderr
    assert read_json(out/'report.json')['digest']==read_json(done[1]/'report.json')['digest']


def test_full_disk_is_said_and_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match='disk full .* run again; finished steps are reused'), whole(tmp_path/'a.bin'):
        with open('/dev/full', 'w') as f: f.write('x'*10**6)
    assert list(tmp_path.iterdir())==[]


def test_job_on_a_full_disk(data, tmp_path):
    "A file system of 2 MB, in a mount namespace of its own."
    room = tmp_path/'room'
    room.mkdir()
    script = f'mount -t tmpfs -o size=2m none {room} && {LLMBENCH} ' + ' '.join(f"'{a}'" for a in search(room/'x', data)) + f'; echo code $?; find {room} -name "*.part" | wc -l'
    result = subprocess.run(['unshare', '-rm', 'sh', '-c', script], capture_output=True, text=True, timeout=300, env=os.environ)
    if 'code' not in result.stdout: pytest.skip(f'no mount namespace can be made here: {result.stderr.strip()[:200]}')
    assert 'code 1' in result.stdout and re.search("disk full|No space left", result.stderr), result.stdout+result.stderr
    assert result.stdout.strip().endswith('0')
