"The command line as a shell meets it: how fast it starts, exit codes, JSON, colours, completion, files of parameters, other places, launch scripts."
import contextlib
import io
import json
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from pyarrow.fs import FileSelector

from llmbench.cli import VERBS, main, parser
from llmbench.completion import words_of
from llmbench.jobfiles import Arrow, Mirror
from llmbench.store import read_json, write_json

LLMBENCH = str(Path(sys.executable).parent/'llmbench')
STATIC = Path(__file__).resolve().parent.parent/'llmbench'/'static'
PROMISED = ['run', 'sweep', 'ls', 'show', 'diff', 'verify', 'resume', 'replay', 'report', 'data', 'mix', 'lab', 'doctor']


def cli(*args, cwd='.', env=None):
    "A command line in this process: (returncode, stdout, stderr)."
    old = dict(os.environ)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            os.environ.update(env or {})
            code = main([str(a) for a in args])
        except SystemExit as e: code = e.code
        finally: os.environ.clear(); os.environ.update(old)
    return subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())


def test_every_promised_verb_is_there_with_an_example_and_exit_codes():
    assert set(PROMISED)<=set(VERBS)
    for name, s in parser('')._subparsers._group_actions[0].choices.items():
        text = s.format_help()
        assert f'example: llmbench {name}' in text and '3 stopped' in text and '--json' in text, name
        line = re.search(r'example: llmbench (.*)', text)[1].partition(' > ')[0]
        a, rest = parser(name).parse_known_args(shlex.split(line))                                          # an example that can be typed
        assert name=='lab' or not rest, line


def test_lab_without_tutorials_opens_this_folder(tmp_path, monkeypatch):
    monkeypatch.setattr('llmbench.parameters.run_folder', lambda: tmp_path/'site-packages'/'llmbench'/'runs')
    result = cli('lab', '--json', cwd=tmp_path)
    assert json.loads(result.stdout)['command'][-1]==str(tmp_path) and 'nbs/tutorials' in result.stderr


def test_help_in_a_narrow_terminal_keeps_commands_whole(monkeypatch):
    monkeypatch.setenv('COLUMNS', '40')
    text = cli('--help').stdout
    assert '\n    llmbench run mixture_search -p quick=1\n' in text and max(len(l) for l in text.partition('exit codes')[2].splitlines())<=41


def test_help_starts_at_once():
    "Processor time, because a machine that does other things makes every clock late."
    import resource
    code = "import sys; from llmbench.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\nprint([m for m in ('numpy', 'pandas', 'torch', 'papermill', 'pyarrow', 'daft') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip().endswith('[]')
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert subprocess.run([LLMBENCH, '--help'], capture_output=True).returncode==0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime+after.ru_stime-before.ru_utime-before.ru_stime)
    assert min(spent)<.3, spent


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    "A small sweep of a command and its folder."
    folder = tmp_path_factory.mktemp('cli')
    result = cli('sweep', f'{sys.executable} -c "print({{x}}*2)"', '-s', 'x=1,2,3', '-o', folder/'s', '--at-once', 2, '--json')
    assert result.returncode==0, result.stderr
    return folder, json.loads(result.stdout)


def test_json_is_json(done):
    folder, said = done
    assert said['best']['value']==2 and [p['value'] for p in said['points']]==[2, 4, 6] and said['counts']=={'done': 3}
    point = folder/'s'/said['points'][0]['folder']
    for args in (['ls', folder], ['ls', folder, 'status=done'], ['show', folder/'s'], ['show', point], ['report', folder/'s'], ['run', 'prepare', '--list'], ['lab'], ['completion', 'bash']):
        result = cli(*args, '--json')
        assert result.returncode==0 and json.loads(result.stdout), args
    rows = json.loads(cli('ls', folder, '--json').stdout)
    assert [r['kind'] for r in rows]==['sweep']+['point']*3 and rows[0]['status']=='done' and all(len(json.loads(cli('ls', folder, 'kind=sweep', f'higher={no}', '--json').stdout))==1 for no in ('False', 'false'))
    assert 'nothing is left to do' in cli('resume', folder/'s').stdout
    lines = cli('show', folder/'s').stdout.splitlines()
    assert lines[1].split()==['point', 'status', 'value', 'x', 'tries', 'time', 'why'] and lines[2].split()[:4]==['0', 'done', '2', '1']


WRONG = dict(run=['nothing'], sweep=[], ls=['nowhere'], show=['nowhere'], diff=['a', 'b'], verify=['nowhere'], resume=['nowhere'], replay=['nowhere'], report=['nowhere'], dashboard=['nowhere'], data=['show', 'nowhere'],
             mix=['plan', 'nowhere'], law=['nowhere.csv'], new=['a job'], doctor=['--deep'], lab=None, completion=['no-shell'])


@pytest.mark.parametrize('verb', VERBS)
def test_every_verb_says_in_json_what_is_wrong(verb, tmp_path):
    if WRONG[verb] is None: return # it takes whatever it is given
    for line in ([verb, *WRONG[verb], '--json'], [verb, '--json', *WRONG[verb]]):
        result = cli(*line, cwd=tmp_path)
        assert result.returncode==2 and result.stderr and json.loads(result.stdout)['code']==2 and json.loads(result.stdout)['error'].strip() in result.stderr, line


def test_one_bad_file_hides_no_other(tmp_path):
    def put(name, file='run.json', **record): write_json(tmp_path/name/file, record)
    put('done', kind='notebook', notebook='job', status='done', results=dict(loss=3.5))
    put('failed', kind='notebook', notebook='job', status='failed')
    put('stopped', 'sweep.json', kind='sweep', status='stopped', where='slurm', higher=False)
    put('foreign', 'sweep.json', method='bayes')
    put('dead', kind='notebook', status='running', pid=2**22-1, host=os.uname().nodename, started=0.)
    for name, text in dict(list='[1]', torn='{"kind').items(): (tmp_path/name).mkdir(); (tmp_path/name/f"{'sweep' if name=='torn' else 'run'}.json").write_text(text)
    (tmp_path/'dead'/'metrics.jsonl').write_text('{"loss": 2}\n\0\0\n{"loss": 1.5}\n')                 # the power went
    (tmp_path/'stopped'/'points.jsonl').write_text('')
    (tmp_path/'done'/'page.html').write_text('')
    rows = json.loads(cli('ls', tmp_path, '--json').stdout)
    assert {Path(r['run']).name: r['status'] for r in rows}==dict(done='done', failed='failed', stopped='stopped', dead='dead', list='broken', torn='broken')
    named = lambda *line: [Path(r['run']).name for r in json.loads(cli('ls', *line, '--json', cwd=tmp_path.parent).stdout)]
    assert named(tmp_path, 'where=slurm')==['stopped'] and sorted(named(tmp_path, '--where', 'loss<4'))==['dead', 'done']
    tmp_path.rename(tmp_path.parent/'runs')
    try:
        assert named('status=done')==['done'] and 'no condition' in cli('ls', tmp_path.parent/'runs', 'done').stderr and "'index'" in cli('ls', tmp_path.parent/'runs', 'index=3').stderr
        asked = lambda verb, name, *more: cli(verb, name, *more, cwd=tmp_path.parent/'runs')
        assert [asked('show', n).returncode for n in ('done', 'failed', 'stopped', 'dead', 'list', 'torn', 'foreign')]==[0, 1, 3, 3, 2, 2, 2] and json.loads(asked('show', 'dead').stdout)['last']==dict(loss=1.5)
        assert all('run.json holds a list' in asked(*line).stderr for line in (['show', 'list'], ['verify', 'list'], ['resume', 'list'], ['replay', 'list'], ['diff', 'list', 'done'], ['report', 'list']))
        assert '6 runs and sweeps below' in (none := asked('ls', '.', 'status=don').stdout) and "Did you mean 'done'?" in none and re.search(r' result +time\n(.*\n)*done .* 3\.5000', asked('ls', '.').stdout)
        write_json(tmp_path.parent/'runs'/'done'/'sweep.json', dict(kind='sweep', status='done'))             # a notebook that swept into its own folder is a run
        for text in ('[]', '{"summary": 5}', '{"summary": ["its own"]}'):
            (tmp_path.parent/'runs'/'done'/'report.json').write_text(text)
            said = asked('report', 'done', '--json')
            assert said.returncode==(0 if 'its own' in text else 2) and ('its own' in said.stdout or 'done/report.json is no report' in json.loads(said.stdout)['error'])
        assert json.loads(asked('show', 'done').stdout)['kind']=='notebook' and 'another program' in json.loads(asked('report', 'foreign', '--json').stdout)['error']
        (tmp_path.parent/'runs'/'done'/'report.json').unlink()
        told = {n: asked('report', n).stderr for n in ('done', 'failed', 'nothing')}
        assert 'done/page.html' in told['done'] and 'mixture_search' not in told['done'] and 'llmbench resume failed' in told['failed'] and 'llmbench run mixture_search -o nothing' in told['nothing']
    finally: (tmp_path.parent/'runs').rename(tmp_path)


def test_a_reader_who_has_enough_is_no_error_and_a_full_disk_is_one(done):
    ours, other = os.pipe()
    os.close(ours)
    result = subprocess.run([LLMBENCH, 'ls', done[0], '--json'], stdout=other, stderr=subprocess.PIPE, text=True)
    os.close(other)
    assert (result.returncode, result.stderr)==(0, '')
    for line in (['ls', done[0]], ['--help']):
        with open('/dev/full', 'w') as full: result = subprocess.run([LLMBENCH, *line], stdout=full, stderr=subprocess.PIPE, text=True)
        assert result.returncode==1 and result.stderr==f'llmbench {line[0]}: what it says could not be written: No space left on device\n'
    assert subprocess.run([LLMBENCH, 'run', '--help'], capture_output=True, env={**os.environ, 'PYTHONIOENCODING': 'ascii'}).returncode==0 # has a dot that ASCII has not


@pytest.mark.parametrize('args, code, said', [
    (['ls', 'no-such-folder'], 2, 'no-such-folder'), (['show', '.'], 2, 'not a run'), (['run', 'prepar'], 2, "Did you mean 'prepare'"), (['nonsense'], 2, 'invalid choice'), (['swep'], 2, "Did you mean 'sweep'?"), (['run', 'prepare', '-f', '.'], 2, 'is a folder: give a file'), (['sweep', 'prepare', '-s', 'vocab=512', '-n', '0'], 2, 'n=0'), (['sweep', 'prepare'], 2, '-s NAME=VALUES'),
    (['sweep', 'prepare', '-s', 'vocabs=1,2'], 2, "Did you mean 'vocab'"), (['run', 'prepare', '-f', 'none.yaml'], 2, 'none.yaml'), (['new', 'a job'], 2, 'no name'), (['verify', 'nowhere'], 2, 'nowhere'),
    (['ls', '--jsn'], 2, "usage: llmbench ls [-h] [--json]"), (['ls', '--jsn'], 2, "Did you mean '--json'?"), (['completion', 'basj'], 2, "Did you mean 'bash'?"), (['data', 'show', 'x', '--exampels'], 2, "Did you mean '--examples'?"), (['--json', 'ls', 'nowhere'], 2, 'nowhere is no folder'),
    (['sweep', 'nomod:fn', '-s', 'x=1'], 2, "no module 'nomod' that can be imported from"), (['report', __file__], 2, 'is a file; give the folder'), (['data', 'copy', __file__, 'x'], 2, 'llmbench data copy: '), (['mix', 'plan', __file__], 2, 'is not a mixture file'),
    (['law', __file__], 2, 'test_cli.py'), (['sweep', 'prepare', '-t', os.devnull], 2, '/dev/null is no table that can be read'),
    (['sweep', 'prepare', '-s', 'vocab=5..2'], 2, '1e-4..1e-2 log'), (['sweep', 'prepare', '-s', 'vocab=512', '--retries', '-1'], 2, 'retries=-1'), (['verify', 'nowhere', '-o', 's4://bucket/x'], 2, 's3'), (['run', 'prepare', '-o', 's4://bucket/x'], 2, 's3')])
def test_wrong_commands_say_what_to_do(args, code, said, tmp_path):
    result = cli(*args, cwd=tmp_path)
    assert result.returncode==code and said in result.stderr and 'Traceback' not in result.stderr, result.stderr
    assert [p.name for p in tmp_path.iterdir() if p.name!='runs']==[]


def test_exit_codes_tell_failed_from_stopped(tmp_path):
    "And a secret is in nothing that a sweep of commands prints or writes, though the commands say it."
    code = "import sys; print(sys.argv[1]); print(sys.argv[1], file=sys.stderr); sys.exit(int(sys.argv[2]))"
    command = [LLMBENCH, 'sweep', f'{sys.executable} -c "{code}" {{hf_token}} {{k}}', '-s', 'k=0,4,75', '-p', 'hf_token=not-for-the-eyes-of-others', '-o', str(tmp_path/'s'), '--retries', '0', '--pause', '0']
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode==1 and 'exit code 4' in failed.stdout and '[hf_token hidden]' in failed.stdout, failed.stderr
    assert [len(p['attempts']) for p in map(read_json, (tmp_path/'s').rglob('point.json'))]==[1]*3 # 75 asks for another try; --retries 0 says no
    again = cli('resume', tmp_path/'s')
    assert again.returncode==2 and 'give it again with -p hf_token=' in again.stderr
    on = cli('resume', tmp_path/'s', '-p', 'hf_token=not-for-the-eyes-of-others', cwd='/') # wherever it is called
    assert on.returncode==1 and '[hf_token hidden]' in on.stdout and sorted(len(p['attempts']) for p in map(read_json, (tmp_path/'s').rglob('point.json')))==[1, 2, 2], on.stderr
    assert not [p for p in [failed.stdout, failed.stderr, again.stderr, on.stdout, on.stderr, *(p.read_text() for p in (tmp_path/'s').rglob('*') if p.is_file())] if 'eyes-of-others' in p]
    write_json(tmp_path/'dead'/'run.json', dict(kind='notebook', status='running', pid=2**22-1, host=os.uname().nodename, started=0.))
    shown = cli('show', tmp_path/'dead')
    assert shown.returncode==3 and json.loads(shown.stdout)['status']=='dead'


def on_terminal(*args, **env):
    "What a command writes to a terminal."
    ours, other = pty.openpty()
    p = subprocess.Popen([LLMBENCH, *map(str, args)], stdout=other, stderr=other, stdin=other, env={**{k: v for k, v in os.environ.items() if k!='NO_COLOR'}, **env})
    os.close(other)
    out = b''
    while True:
        try: part = os.read(ours, 65536)
        except OSError: break
        if not part: break
        out += part
    p.wait()
    os.close(ours)
    return out.decode()


def test_colours_are_for_terminals(done):
    folder, _ = done
    assert '\033[32mdone' in on_terminal('ls', folder)
    assert '\033' not in cli('ls', folder).stdout
    drawn = on_terminal('sweep', f'{sys.executable} -c "import time; time.sleep(1)" {{x}}', '-s', 'x=1,2', '-o', folder/'live', NO_COLOR='1')
    assert '\033[J' in drawn and not re.search(r'\033\[\d+m', drawn) and '1 running' in drawn and '2 of 2 (100%)' in drawn


# --- completion

def offered(script, *lines):
    "What bash offers at the end of each line (a list of words)."
    ask = ''.join(f'COMP_WORDS=({" ".join(map(shlex.quote, words))}); COMP_CWORD={len(words)-1}; _llmbench; echo "${{COMPREPLY[@]}}"; ' for words in lines)
    result = subprocess.run(['bash', '-c', f'source {script}; {ask}'], capture_output=True, text=True)
    assert not result.stderr, result.stderr
    return [l.split() for l in result.stdout.splitlines()]


@pytest.fixture(scope='module')
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp('completion')
    for shell in ('bash', 'zsh', 'fish'):
        (folder/shell).write_text(cli('completion', shell).stdout)
    return folder


def test_bash_completes_verbs_options_jobs_parameters_and_choices(scripts):
    verbs, *others = offered(scripts/'bash', *(['llmbench', *l.split(' ')] for l in ('', 'swe', 'run pret', 'run pretrain -p voc', 'sweep pretrain --where sl', 'data ded', 'show ', 'run pretrain -o ')))
    assert set(verbs)>=set(VERBS) and others==[['sweep'], ['pretrain'], ['vocab='], ['slurm'], ['dedup'], [], []] # [] leaves it to readline, which offers files
    paths = {path: {o for o in has['options'] if o.startswith('--')} for path, has in words_of(parser()).items()}
    assert dict(zip(paths, map(set, offered(scripts/'bash', *(['llmbench', *path.split(), '--'] for path in paths)))))==paths


SHELLS = dict(bash=(['bash', '--norc', '--noprofile', '-i'], ''), zsh=(['zsh', '-f', '-i'], 'autoload -U compinit; compinit -u -D; '))


def typed(shell, script, folder, lines):
    "What llmbench is given when these keys are pressed in an interactive shell."
    ours, other = pty.openpty()
    argv, begin = SHELLS[shell]
    p = subprocess.Popen(argv, stdin=other, stdout=other, stderr=other, cwd=folder, start_new_session=True, env={**os.environ, 'HOME': str(folder), 'INPUTRC': '/dev/null', 'TERM': 'dumb', 'COLUMNS': '300'})
    os.close(other)

    def answer(line):
        os.write(ours, f'{line}\n'.encode())
        out = b''
        while b'END' not in out:
            assert select.select([ours], [], [], 30)[0], out
            out += os.read(ours, 65536)
        return out.decode()
    try:
        answer(f"{begin}llmbench() {{ printf '<%s>' \"$@\"; echo E''ND; }}; source {script}; echo E''ND")
        return [re.search(r'(<.*>)END', answer(f'llmbench {l}'))[1] for l in lines]
    finally:
        p.kill()
        p.wait()
        os.close(ours)


@pytest.mark.parametrize('shell', [pytest.param(s, marks=pytest.mark.skipif(not shutil.which(s), reason=f'no {s} on this machine')) for s in SHELLS])
def test_what_the_tab_key_makes_of_a_line(shell, scripts, tmp_path):
    "Where files stand that begin like verbs, jobs and parameters."
    (tmp_path/'run').mkdir()
    for name in ('vocabulary.json', 'my file.json'): (tmp_path/name).touch()
    slash = '/' if shell=='bash' else '' # zsh takes it away again at the end of a line
    want = {'ru\tx': '<run><x>', 'run pret\tx': '<run><pretrain><x>', 'run pretrain -p vocab\t512': '<run><pretrain><-p><vocab=512>', 'run -o x pretrain --param=voc\t': '<run><-o><x><pretrain><--param=vocab=>',
            'sweep pretrain --where=sl\t': '<sweep><pretrain><--where=slurm>', 'show my\t': '<show><my file.json>', 'run pretrain -o ru\t': f'<run><pretrain><-o><run{slash}>', 'report ru\t': f'<report><run{slash}>',
            'run pretrain -p data=my\t': '<run><pretrain><-p><data=my file.json>', 'data dedu\tx': '<data><dedup><x>', 'mix pl\tmy\t': '<mix><plan><my file.json>', 'completion zs\t': '<completion><zsh>'}
    assert typed(shell, scripts/shell, tmp_path, want)==list(want.values())


@pytest.mark.skipif(not shutil.which('fish'), reason='no fish on this machine')
def test_fish_completes(scripts, tmp_path):
    lines = {'swe': 'sweep', 'run pre': 'prepare pretrain', 'sweep pretrain --where ': 'here local-submitit ray slurm', 'mix ': 'dry export plan', 'completion ': 'bash fish zsh', 'run pretrain --param voc': 'vocab=',
             'sweep pretrain -s si': 'size=', 'run -o p': '', 'report run p': '', 'data --json cl': 'clean'}
    asked = ''.join(f"echo (complete -C 'llmbench {l}' | cut -f1); " for l in lines)
    said = subprocess.run(['fish', '--no-config', '-c', f'source {scripts}/fish; {asked}'], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, 'HOME': str(tmp_path)})
    assert not said.stderr and said.stdout.split('\n')[:-1]==list(lines.values()), said.stdout


# --- files and other places

def test_a_job_of_ones_own_runs_with_parameters_from_a_file_and_its_results_go_elsewhere(tmp_path):
    made = cli('new', 'mine', '--folder', 'a folder', cwd=tmp_path)
    assert made.returncode==0 and "llmbench run 'a folder/mine.ipynb' -o runs/mine" in made.stdout
    (tmp_path/'a folder'/'mine.ipynb').rename(tmp_path/'mine.ipynb')
    assert json.loads(cli('run', 'mine', '--list', '--json', cwd=tmp_path).stdout)['mine']['longest']['default']==0 # one of this folder by its name
    (tmp_path/'text.jsonl').write_text(''.join(json.dumps(dict(text='a'*n))+'\n' for n in (5, 50, 500)))
    (tmp_path/'p.yaml').write_text('data: mine=text.jsonl\nlongest: 5\n')
    (tmp_path/'store').mkdir()
    result = cli('run', f'file://{tmp_path}/mine.ipynb', '-f', 'p.yaml', '-p', 'longest=100', '-o', f'file://{tmp_path}/store/mine', '--price', '2.5 EUR', cwd=tmp_path)
    assert result.returncode==0 and result.stdout.strip()=='2 documents', result.stderr
    kept = read_json(tmp_path/'store'/'mine'/'run.json')
    assert kept['status']=='done' and kept['parameters']['longest']==100 and kept['results']['documents']==2 and len(kept['inputs'])==1 and kept['cost']['currency']=='EUR'
    assert cli('resume', f'file://{tmp_path}/store/mine', cwd=tmp_path).stdout==result.stdout # it is done; an address names the folder where it worked
    assert (tmp_path/'store'/'mine'/'mine.ipynb').exists()
    missing = cli('run', 'mine.ipynb', '-o', 'abs://account.blob.core.windows.net/box/x', cwd=tmp_path) # its package is not among ours
    assert missing.returncode in (1, 2) and 'papermill' in missing.stderr and 'Traceback' not in missing.stderr


@pytest.fixture(scope='module')
def s3():
    "A server of S3 on this machine, and its bucket."
    server = pytest.importorskip('moto.server').ThreadedMotoServer(ip_address='127.0.0.1', port=0)
    from pyarrow.fs import S3FileSystem
    server.start()
    address = 'http://{}:{}'.format(*server.get_host_and_port())
    with pytest.MonkeyPatch.context() as m:
        for k, v in dict(AWS_ENDPOINT_URL=address, AWS_ACCESS_KEY_ID='someone', AWS_SECRET_ACCESS_KEY='not-to-be-seen', AWS_DEFAULT_REGION='us-east-1', AWS_EC2_METADATA_DISABLED='true').items(): m.setenv(k, v)
        fs = S3FileSystem(endpoint_override=address, access_key='someone', secret_key='not-to-be-seen', region='us-east-1', allow_bucket_creation=True)
        fs.create_dir('box1')
        yield fs
    server.stop()


def test_a_job_from_s3_puts_its_results_there(s3, tmp_path):
    "Notebook and parameters are read there; readable files arrive while it runs, all others at the end; no secret does."
    code = 'import os, time\nfrom pathlib import Path\nprint(lr, os.environ["AWS_SECRET_ACCESS_KEY"])\n(Path(out)/"weights.bin").write_bytes(bytes(range(256))*9)'
    job(tmp_path, code)
    for name, data in (('job.ipynb', (tmp_path/'job.ipynb').read_bytes()), ('p.yaml', b'lr: 2.5e-3\n')):
        with s3.open_output_stream(f'box1/in/{name}') as f: f.write(data)
    result = cli('run', 's3://box1/in/job.ipynb', '-f', 's3://box1/in/p.yaml', '-o', 's3://box1/out/first', cwd=tmp_path)
    assert result.returncode==0 and 's3://box1/out/first' in result.stderr, result.stderr
    there = {i.base_name: s3.open_input_stream(i.path).read() for i in s3.get_file_info(FileSelector('box1/out/first')) if i.is_file}
    record = json.loads(there['run.json'])
    assert record['status']=='done' and record['parameters']['lr']==2.5e-3 and record['notebook_address']=='s3://box1/in/job.ipynb'
    assert there['weights.bin']==bytes(range(256))*9 and b'[AWS_SECRET_ACCESS_KEY hidden]' in there['job.ipynb'] and not [n for n, b in there.items() if b'not-to-be-seen' in b]
    for args in (['run', 's3://box1/in/none.ipynb'], ['run', tmp_path/'job.ipynb', '-o', 's3://no-such-box/x']):
        wrong = cli(*args, cwd=tmp_path)
        assert wrong.returncode==2 and 'check the address' in wrong.stderr, wrong.stderr


def test_both_handlers_of_s3_do_the_same(s3, tmp_path):
    "papermill's, which wants boto3, and Arrow's, which serves where that is missing."
    from papermill.iorw import S3Handler
    for i, handler in enumerate((S3Handler, Arrow())):
        handler.write('text: 好\n', f's3://box1/both/{i}.yaml')
    for handler in (S3Handler, Arrow()):
        read = [handler.read(f's3://box1/both/{i}.yaml') for i in range(2)]
        assert {(t if isinstance(t, str) else '\n'.join(t)).rstrip('\n') for t in read}=={'text: 好'}
    assert Arrow().listdir('s3://box1/both')==['s3://box1/both/0.yaml', 's3://box1/both/1.yaml']


def test_a_store_that_goes_away_meanwhile_is_said_and_tried_again(tmp_path, capsys):
    (tmp_path/'run').mkdir()
    (tmp_path/'run'/'run.json').write_text('{}')
    with pytest.raises(OSError, match='everything is in .*run') as e, Mirror(tmp_path/'run', f'file://{tmp_path}/box/x', every=.05) as m:
        shutil.rmtree(tmp_path/'box')
        (tmp_path/'box').write_text('a file where the folder was')
        while m.trouble is None: time.sleep(.01)
    assert 'cannot be written' in str(e.value) and 'tried again' in capsys.readouterr().err


def test_a_sweep_from_a_file(tmp_path):
    (tmp_path/'s.yaml').write_text('job: calendar:leapdays\nspace: {y1: 1900..2000}\nfixed: {y2: 2026}\nn: 4\nhigher: true\nout: here\n')
    result = cli('sweep', '-f', 's.yaml', '--json', cwd=tmp_path)
    assert result.returncode==0 and len(json.loads(result.stdout)['points'])==4 and (tmp_path/'here'/'report.html').exists(), result.stderr
    wrong = {'spaces: {y1: [1]}': "Did you mean 'space'", 'space: [1, 2]': 'space in the file is [1, 2]', 'fixed: 3': 'fixed in the file', 'options: 3': 'options in the file', 'table: 5': 'table in the file', 'job: 5': 'job in the file', 'out: [1]': 'out in the file',
             'devices: {a: 1}': 'devices in the file', 'n: 1.5': 'n=1.5', 'at_once: x': "at_once='x'", 'patience: x': "patience='x'", 'higher: maybe': "higher='maybe'", 'seed: x': "seed='x'", 'how: gird': "Did you mean 'grid'", 'stop: 5': "stop='5'"}
    for line, said in wrong.items():
        known = {k: v for k, v in dict(job='calendar:leapdays', space='{y1: [1]}', fixed='{y2: 2026}', out='there').items() if not line.startswith(f'{k}:')}
        (tmp_path/'s.yaml').write_text('\n'.join([line, *(f'{k}: {v}' for k, v in known.items())]))
        result = cli('sweep', '-f', 's.yaml', '--json', cwd=tmp_path)
        assert result.returncode==2 and said in result.stderr and json.loads(result.stdout)['code']==2, (line, result)
    (tmp_path/'s.yaml').write_text('job: calendar:leapdays\nspace: {y1: [1]}\nfixed: {y2: 2026}\nn: "1"\nhigher: "no"\nseed:\n') # text as on the command line, and a name that says nothing
    result = cli('sweep', '-f', 's.yaml', '-o', 'last', '--patience', '50', cwd=tmp_path)
    assert result.returncode==0 and read_json(tmp_path/'last'/'sweep.json')['higher'] is False, result.stderr


# --- doctor

def test_doctor_finds_what_is_wrong(tmp_path):
    env = {'OMP_NUM_THREADS': '999'}
    found = {f['what']: f for f in json.loads(cli('doctor', '--json', env=env).stdout)}
    assert found['processor']['state']=='warning' and 'OMP_NUM_THREADS' in found['processor']['todo'] and found['python']['state']=='ok'
    assert all(f['todo'] for f in found.values() if f['state']!='ok')


def test_doctor_judges_versions_kernels_and_drivers(tmp_path, monkeypatch):
    from llmbench import doctor
    (tmp_path/'constraints.txt').write_text('numpy==0.1\n# a word\nnot-there==1\n')
    monkeypatch.setattr(doctor, '_constraints', lambda: tmp_path/'constraints.txt')
    only, = doctor.packages_pinned()
    assert only.state=='warning' and 'numpy' in only.todo and 'not-there' not in only.todo
    monkeypatch.setenv('JUPYTER_PATH', str(tmp_path))
    (tmp_path/'python').symlink_to(sys.executable)
    write_json(tmp_path/'kernels'/'python3'/'kernel.json', dict(argv=[str(tmp_path/'python'), '-m', 'ipykernel_launcher', '-f', '{connection_file}'], display_name='other', language='python'))
    kernel, = doctor.kernel()
    assert kernel.state=='problem' and 'ipykernel install' in kernel.todo
    monkeypatch.setattr(doctor, '_constraints', lambda: None) # installed from a wheel, into the Python of a container
    monkeypatch.setattr(sys, 'base_prefix', sys.prefix)
    monkeypatch.setenv('container', 'podman')
    (versions,), (python,) = doctor.packages_pinned(), doctor.python()
    assert version('torch') in versions.said and version('llmbench') in versions.said and 'constraints' not in versions.said and python.state=='ok'
    no_cuda, = doctor.judge_gpu([['H100', '550.1', '81559', '81000']], None, 0)
    assert no_cuda.state=='problem' and 'CUDA' in no_cuda.said


# --- launch scripts

@pytest.mark.parametrize('path', sorted(STATIC.glob('*.sh')), ids=lambda p: p.name)
def test_launch_scripts_are_sound_shell(path):
    assert subprocess.run(['bash', '-n', path], capture_output=True).returncode==0
    if shutil.which('shellcheck'):
        checked = subprocess.run(['shellcheck', path], capture_output=True, text=True)
        assert checked.returncode==0, checked.stdout
    assert subprocess.run(['bash', path], capture_output=True, env={'PATH': os.environ['PATH']}).returncode not in (0, 126, 127) # without arguments: usage, and a code


def job(folder, code='print(lr*2)'):
    cell = lambda i, text, tags=(): dict(cell_type='code', id=f'{i:08x}', metadata=dict(tags=list(tags)), source=text, outputs=[], execution_count=None)
    write_json(folder/'job.ipynb', dict(cells=[cell(0, "lr:float = 1.0\nout:str = ''", ['parameters']), cell(1, code)], metadata=dict(kernelspec=dict(display_name='python3', language='python', name='python3')), nbformat=4, nbformat_minor=5))
    (folder/'points').mkdir()
    for name, lr in (('a', '1e-3'), ('b', '4')): (folder/'points'/f'{name}.yaml').write_text(f'lr: {lr}\n')


def test_the_array_script_does_the_point_of_its_number(tmp_path):
    job(tmp_path, "print(lr*2)\nif lr<1: raise RuntimeError('training stopped: loss is nan')")
    env = {**os.environ, 'PATH': f"{Path(LLMBENCH).parent}{os.pathsep}{os.environ['PATH']}", 'JOB': 'job.ipynb'}
    result = subprocess.run(['bash', STATIC/'slurm_array.sh'], cwd=tmp_path, env={**env, 'SLURM_ARRAY_TASK_ID': '2'}, capture_output=True, text=True, timeout=120)
    assert result.returncode==0 and result.stdout.strip()=='8.0', result.stderr
    assert read_json(tmp_path/'runs'/'array'/'b'/'run.json')['parameters']['lr']==4.
    (tmp_path/'scontrol').write_text('#!/bin/sh\ntouch requeued\n')
    (tmp_path/'scontrol').chmod(0o755)
    failed = subprocess.run(['bash', STATIC/'slurm_array.sh'], cwd=tmp_path, env={**env, 'PATH': f"{tmp_path}{os.pathsep}{env['PATH']}", 'SLURM_ARRAY_TASK_ID': '1', 'SLURM_JOB_ID': '7'}, capture_output=True, text=True, timeout=120)
    assert failed.returncode==1 and 'training stopped' in failed.stderr and not (tmp_path/'requeued').exists() # its words are not its status
    assert subprocess.run(['bash', STATIC/'slurm_array.sh'], cwd=tmp_path, env={**env, 'SLURM_ARRAY_TASK_ID': '3'}, capture_output=True).returncode==2


def program(path, text):
    path.write_text(f'#!/bin/bash\n{text}\n')
    path.chmod(0o755)


def test_what_the_slurm_scripts_start_again(tmp_path):
    "Programs of the same names say how it went: here it counts what the scripts do then."
    program(tmp_path/'scontrol', 'echo "$@" >> scontrol.log')
    program(tmp_path/'srun', 'exec "$@"')
    program(tmp_path/'llmbench', 'exit 3')
    program(tmp_path/'torchrun', 'echo x >> starts; mkdir -p out; date +%N > out/run.json; if [ -e wait ]; then touch began; sleep 20 & trap "kill %1; exit 1" TERM; wait; fi; exit 1')
    (tmp_path/'points').mkdir()
    for n in 'ab': (tmp_path/'points'/f'{n}.yaml').touch()
    env = {**os.environ, 'PATH': f"{tmp_path}{os.pathsep}{os.environ['PATH']}", 'JOB': 'job', 'SLURM_JOB_ID': '7', 'RESTARTS': '1'}
    start = lambda name, *given, **more: subprocess.Popen(['bash', STATIC/name, *given], cwd=tmp_path, env=env|more, stderr=subprocess.PIPE, text=True)
    # the element that bears the array's number asks for itself only
    assert start('slurm_array.sh', SLURM_ARRAY_JOB_ID='7', SLURM_ARRAY_TASK_ID='2').wait(60)==3 and (tmp_path/'scontrol.log').read_text()=='requeue 7_2\n'
    starts = lambda: len((tmp_path/'starts').read_text().split())
    assert start('slurm_torchrun.sh', 'job', 'out=out').wait(60)==3 and starts()==2 # a killed process: once more
    program(tmp_path/'llmbench', 'exit 1')
    assert start('slurm_torchrun.sh', 'job', 'out=out').wait(60)==1 and starts()==3 # a fault of the job: not
    # its time is up: it is stopped, and queued again
    program(tmp_path/'llmbench', 'exit 3')
    (tmp_path/'wait').touch()
    told, till = start('slurm_torchrun.sh', 'job', 'out=out'), time.time()+60
    while not (tmp_path/'began').exists() and time.time()<till: time.sleep(.02)
    time.sleep(.2)
    told.terminate()
    assert told.wait(60)==3 and starts()==4 and (tmp_path/'scontrol.log').read_text()=='requeue 7_2\nrequeue 7\n'


@pytest.mark.skipif(not os.environ.get('LLMBENCH_SLOW'), reason='a minute of processor time; LLMBENCH_SLOW=1 runs it')
def test_the_torchrun_script_trains_as_one_process_does(tmp_path):
    "A real torchrun of two processes: one run with its record, and what it learns is what one process learns."
    tiny = dict(tokens='4e3', size=1, window=32, vocab=300, megabytes=.05, holdout=2)
    env = {**os.environ, 'PATH': f"{Path(LLMBENCH).parent}{os.pathsep}{os.environ['PATH']}", 'NODES': '1', 'GPUS': '2', 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(['bash', STATIC/'slurm_torchrun.sh', 'pretrain', *(f'{k}={v}' for k, v in tiny.items()), f'out={tmp_path}/two'], env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode==0 and done.stdout.count('Held out')==1, done.stderr[-3000:]
    assert cli('run', 'pretrain', *(x for k, v in tiny.items() for x in ('-p', f'{k}={v}')), '-o', tmp_path/'one', env={'OMP_NUM_THREADS': '1'}).returncode==0
    two, one = (read_json(tmp_path/n/'run.json') for n in ('two', 'one'))
    assert two['status']=='done' and two['environment']['processes']==2 and two['made'].keys()==one['made'].keys()
    assert two['results']['valid_loss']==pytest.approx(one['results']['valid_loss'], rel=1e-4)
    wrong = subprocess.run(['bash', STATIC/'slurm_torchrun.sh', 'pretrain', 'tokns=2e9', f'out={tmp_path}/wrong'], env=env, capture_output=True, text=True, timeout=300)
    assert wrong.returncode==1 and "Did you mean 'tokens'" in wrong.stderr and not (tmp_path/'wrong').exists()


def test_the_ssh_script_starts_looks_and_fetches(tmp_path):
    "What would be done on the other machine is done in a shell of this one: only the wire is left out."
    job(tmp_path)
    there = tmp_path/'over there'
    (tmp_path/'hosts').write_text('# two machines\nalpha\n\nbeta\n')
    wire = tmp_path/'wire'
    wire.write_text('#!/bin/bash\n[ "$1" = -n ] && shift\nshift\nexec bash -c "$*"\n')
    wire.chmod(0o755)
    env = {**os.environ, 'SSH': str(wire), 'HOME_THERE': str(there), 'BIN': str(Path(LLMBENCH).parent)}
    (tmp_path/'points'/'b.yaml').unlink()
    call = lambda what, **more: subprocess.run(['bash', STATIC/'ssh_runs.sh', what, 'job.ipynb', 'points', 'hosts'], cwd=tmp_path, env=env|more, capture_output=True, text=True, timeout=120)
    nothing = call('start', BIN='no where')
    assert nothing.returncode==1 and 'started' not in nothing.stdout and 'there is no program no where/llmbench' in nothing.stderr
    started = call('start')
    assert started.returncode==0 and 'alpha: started' in started.stdout, started.stderr
    till = time.time()+90
    while not (there/'runs/ssh/a/run.json').exists() or read_json(there/'runs/ssh/a/run.json')['status']=='running':
        assert time.time()<till
        time.sleep(.2)
    assert re.search(r'\bdone\b', call('status').stdout)
    assert call('fetch').returncode==0 and read_json(tmp_path/'runs/ssh/a/run.json')['status']=='done'
