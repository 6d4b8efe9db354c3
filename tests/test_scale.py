"""Steps in processes of their own, killed at random moments and begun again, and on two workers of Ray."""
import json, os, random, shutil, signal, subprocess, sys, time
from pathlib import Path

import pytest

from llmbench.corpus import Corpus
from llmbench.store import file_hash

ENV = {**os.environ, 'OMP_NUM_THREADS': '1', 'DAFT_PROGRESS_BAR': '0', 'RAY_USAGE_STATS_ENABLED': '0'}

def words(i, n=60): return ' '.join(f'w{(i*7919+j*j*31)%997}' for j in range(n))

def lines(n=600):
    "Documents with exact copies, near copies, a shared line and a shared passage."
    for i in range(n):
        k = i-3 if i%10==3 else i
        text = words(k) + (' and one word more' if i%10==6 else '') + ('\nThis line stands in a good many of the documents of this corpus.' if i%4==0 else '') + (f'\n{words(5000, 40)}' if i%9==0 else '')
        yield json.dumps({'text': words(i-3)+' and one more word' if i%10==6 else text, 'lang': 'xy'[i%2]})

@pytest.fixture(scope='module')
def source(tmp_path_factory):
    "Files to read, and the corpus they give."
    home = tmp_path_factory.mktemp('scale')
    rows = list(lines())
    for k in range(6): (home/f'{k}.jsonl').write_text('\n'.join(rows[k::6])+'\nnot JSON\n')
    import llmbench.corpus
    from llmbench.readers import read
    with pytest.MonkeyPatch.context() as small:
        small.setattr(llmbench.corpus, 'GROUP', 32); small.setattr(llmbench.corpus, 'PART', 30_000) # several files
        read({'a': '[0-3].jsonl', 'b': '[45].jsonl'}, folder=home).save(home/'raw')
    return home

# --- killed, and begun again

DEDUP = 'exact', 'near', 'lines', 'substrings', 'semantic' # paragraphs are lines of another length

STEPS = dict(
    read="read({'a': '[0-3].jsonl', 'b': '[45].jsonl'}, folder=home).save(out/'raw')",
    parts="""measured = in_parts(raw, noted(lambda c: add_signals(c, ['words', 'compression_ratio'])), out/'signals', {'step': 'signals'}, megabytes=.02)
in_parts(measured, noted(lambda c: clean(c, keep={'words': (50, None)})), out/'clean', {'step': 'clean'}, megabytes=.02)""",
    **{m: f"deduplicate(raw, {m!r}, folder=out/{m!r})" for m in DEDUP},
    tokens="tok = train_tokenizer(raw, 400, out/'tokenizer'); write_tokens(raw, tok, out/'tokens', progress=False)")

# imports everything once, then forks a process for each line 'step folder' that it reads: says its number, and how it ended
SERVER = '''
import os, signal, sys, traceback
from pathlib import Path
import numba, pandas, pyarrow.parquet, pydivsufsort, sklearn.decomposition, sklearn.feature_extraction.text, tokenizers
from llmbench.clean import clean
from llmbench.corpus import Corpus, engine
from llmbench.dedup import deduplicate
import llmbench.ext.dedup_pieces, llmbench.ext.dedup_semantic, llmbench.ext.dedup_substrings
from llmbench.readers import read
from llmbench.scale import in_parts
from llmbench.signals import add_signals
from llmbench.store import once
from llmbench.tokens import train_tokenizer, write_tokens
import llmbench.copies, llmbench.dedup, llmbench.tokens
llmbench.tokens._PART = 20_000
home, steps = Path(sys.argv[1]), eval(sys.argv[2])
engine()
text = pyarrow.array(['x']) # tables and compiled functions are loaded once, for all processes
llmbench.dedup._hash_pieces(text), llmbench.dedup._sketches(text, 5, 18, 7)
def noted(work): # a line for each part that is done
    def one(c):
        r = work(c)
        with open(f'{out}.log', 'a') as f: f.write(f'{len(r)}\\n')
        return r
    return one
def counted(name, fn, dies): # a line for each call that is done; killed when call number `dies` would begin
    def one(*a):
        calls.append(name)
        if dies==(name, calls.count(name)): os.kill(os.getpid(), signal.SIGKILL)
        r = fn(*a)
        with open(f'{out}.files', 'a') as f: f.write(f'{name}\\n')
        return r
    return one
for line in sys.stdin:
    step, out, *dies = line.split()
    out, calls, dies = Path(out), [], (dies[0], int(dies[1])) if dies else None
    pid = os.fork()
    if not pid:
        try:
            for module,name in ((llmbench.copies, '_write'), (llmbench.corpus, 'write_batches')): setattr(module, name, counted(name, getattr(module, name), dies))
            if step!='read': raw = Corpus.open(home/'raw')
            exec(steps[step])
        except BaseException: traceback.print_exc(); os._exit(1)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
'''

@pytest.fixture(scope='module')
def server(source):
    p = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', SERVER, str(source), repr(STEPS)], env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    def run(step, out, after=None, dies=''):
        "Seconds that the step took, or None if it was killed: `after` seconds, or as the call would begin that `dies` names: 'function number'."
        p.stdin.write(f'{step} {out} {dies}\n'); p.stdin.flush()
        pid, t = int(p.stdout.readline()), time.monotonic()
        if after is not None:
            time.sleep(after)
            try: os.kill(pid, signal.SIGKILL)
            except ProcessLookupError: after = None # it was done
        status = int(p.stdout.readline())
        assert os.waitstatus_to_exitcode(status) in ((-signal.SIGKILL,) if dies else (0,) if after is None else (0, -signal.SIGKILL))
        return time.monotonic()-t if status==0 else None
    yield run
    p.stdin.close(); p.wait()

def finished(folder):
    "When each finished folder was written."
    return {p.parent: p.stat().st_mtime_ns for p in Path(folder).rglob('made_from.json')} if Path(folder).exists() else {}

@pytest.mark.parametrize('step,kills', dict(read=1, parts=1, tokens=1).items())
def test_a_killed_step_ends_as_if_nothing_had_been(step, kills, server, tmp_path):
    chance, killed, before, torn = random.Random(step), 0, {}, tmp_path/'torn'
    seconds = server(step, tmp_path/'whole')
    for _ in range(20):
        took = server(step, torn, seconds*chance.uniform(.1, .9/(1+killed)))
        if took is None:
            now = finished(torn)
            assert all(now[f]==t for f,t in before.items())  # what was finished is not made again
            before, killed = now, killed+1
            if killed==kills: break
        else:                                                # it was quicker than the first time: once more, from the start
            seconds, killed, before = min(seconds, took), 0, {}
            shutil.rmtree(torn); Path(f'{torn}.log').unlink(missing_ok=True)
    assert killed==kills
    server(step, torn)
    assert all(finished(torn)[f]==t for f,t in before.items()) and file_hash(torn)==file_hash(tmp_path/'whole')
    if step=='parts':
        done, once = (len((tmp_path/f'{n}.log').read_text().split()) for n in ('torn', 'whole'))
        assert once<=done<=once+killed                       # a kill costs the part under way, no more
    assert not [p for p in tmp_path.rglob('*') if p.name.endswith('.parts')]

@pytest.mark.parametrize('method', DEDUP)
def test_copies_killed_in_the_middle_end_as_if_nothing_had_been(method, server, source, tmp_path):
    "Killed before the third file of the pass, and again while the result is saved: what was worked out is not worked out again."
    server(method, tmp_path/'whole')
    log = lambda n: (tmp_path/f'{n}.files').read_text().split()
    files, waiting = len(Corpus.open(source/'raw').parts.paths), lambda: {p.name: p.stat().st_mtime_ns for f in (tmp_path/'torn').glob('.*.parts') for p in f.iterdir()}
    assert files>=5 and log('whole')==['_write']*files+['write_batches']
    assert server(method, tmp_path/'torn', dies='_write 3') is None
    first = waiting()
    assert sum(n.endswith('.arrow') for n in first)==2 and log('torn')==['_write']*2
    assert server(method, tmp_path/'torn', dies='write_batches 1') is None
    second = waiting()
    assert sum(n.endswith('.arrow') for n in second)==files and first.items()<=second.items() and log('torn')==['_write']*files
    assert method=='exact' or {'matches', 'passages'} & set(second)   # what came of the comparison is there as well
    server(method, tmp_path/'torn')
    assert log('torn')==log('whole') and file_hash(tmp_path/'torn')==file_hash(tmp_path/'whole') and not waiting()

# --- two workers of Ray

ON_RAY = '''
import json, os, sys
from pathlib import Path
engine, home, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
from llmbench.clean import clean
from llmbench.corpus import Corpus
from llmbench.dedup import deduplicate
from llmbench.readers import read
from llmbench.scale import in_parts, run_on
from llmbench.signals import add_signals
run_on(engine, workers=2, tries=5)
pids = out/'pids'
pids.mkdir(parents=True)
def work(c):
    (pids/str(os.getpid())).touch()
    return clean(add_signals(c, ['words', 'compression_ratio']), keep={'words': (50, None)})
c = in_parts(read({'a': '[0-3].jsonl', 'b': '[45].jsonl'}, folder=home), work, out/'clean', {}, megabytes=.02, engine=engine)
for method in ('exact', 'near', 'lines'): c = deduplicate(c, method)
c = c.save(out/'unique')
import daft
print(json.dumps(dict(runner=daft.get_or_infer_runner_type(), driver=os.getpid(), workers=[int(p.name) for p in pids.iterdir()])))
'''

@pytest.mark.skipif(not os.environ.get('LLMBENCH_SLOW'), reason='two minutes, most of them the start of Ray; LLMBENCH_SLOW=1 runs it')
def test_two_workers_of_ray_give_the_same_rows(source, tmp_path):
    found = {}
    for engine in ('native', 'ray'):
        done = subprocess.run([sys.executable, '-W', 'ignore', '-c', ON_RAY, engine, source, tmp_path/engine], env=ENV, capture_output=True, text=True, timeout=900)
        assert done.returncode==0, done.stderr[-3000:]
        found[engine] = json.loads(done.stdout.strip().splitlines()[-1])
    assert found['native']['workers']==[found['native']['driver']] and found['native']['runner']=='native'
    assert len(found['ray']['workers'])==2 and found['ray']['driver'] not in found['ray']['workers'] and found['ray']['runner']=='ray'
    for folder in ('clean', 'unique'):
        a, b = (Corpus.open(tmp_path/e/folder) for e in found)
        rows = [c.pandas().sort_values('id', ignore_index=True) for c in (a, b)] # Ray keeps no order across the plan
        assert len(a)>100 and rows[0].equals(rows[1]) and a.story==b.story

# --- more text than memory

def scaled(home, *options):
    "What `benchmarks/scale.py` found."
    done = subprocess.run([sys.executable, Path(__file__).parent.parent/'benchmarks'/'scale.py', *options, '--json', home/'found.json'], env=ENV, capture_output=True, text=True, timeout=7200)
    assert done.returncode==0, done.stdout[-500:]+done.stderr[-3000:]
    found = json.loads((home/'found.json').read_text())
    assert found['corpus_mib']>=4*(found['limit_mib']-(found['base_mib'] if '--over' in options else 0))-.1 and found['refused']
    return found

def test_copies_in_a_quarter_of_the_memory(tmp_path):
    "32 MiB of text through exact and near copies and lines in 8 MiB more than the process holds after 2 MB of it: what a step holds does not grow with the corpus."
    found = scaled(tmp_path, '--limit', '8', '--over', '--alone', '--steps', 'exact,near,lines')
    left = [found['documents'], *(s['documents'] for s in found['steps'])]
    assert len(left)==4 and all(a>b for a,b in zip(left, left[1:]))  # each step had something to drop

@pytest.mark.skipif(not os.environ.get('LLMBENCH_SLOW'), reason='takes minutes: 256 MiB of text; LLMBENCH_SLOW=1 runs it')
def test_four_times_the_memory_above_what_a_small_corpus_takes(tmp_path):
    "256 MiB of text through all steps in 64 MiB more than the process holds after 2 MB of it, with the same result as without a limit."
    found = scaled(tmp_path, '--limit', '64', '--over')
    assert found['same'] and [s['step'] for s in found['steps']]==['clean', 'exact', 'near', 'tokens', 'lines']

@pytest.mark.skipif(not os.environ.get('LLMBENCH_SLOW'), reason='takes a quarter of an hour: 1.9 GiB of text; LLMBENCH_SLOW=1 runs it')
def test_four_times_the_whole_memory(tmp_path):
    "1.9 GiB of text in 480 MiB, all that libraries take included."
    found = scaled(tmp_path, '--limit', '480', '--alone', '--steps', 'clean,exact,near,tokens')
    assert [s['step'] for s in found['steps']]==['clean', 'exact', 'near', 'tokens']
