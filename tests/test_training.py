"Real processes killed for real: what is finished stays, what was cut off goes on, and the result is the same."
import json
import os
import signal
import sys
import threading
import time

import psutil
import pytest

from llmbench import pool
from llmbench.core import plain
from llmbench.jobs import Job, finished
from llmbench.recipe import Recipe
from llmbench.run import Run
from llmbench.pool import train_all
from llmbench.store import read_json, read_jsonl


@pytest.fixture(scope='module')
def shards(tmp_path_factory):
    from llmbench.readers import python_text
    from llmbench.tokens import train_tokenizer, write_tokens
    folder = tmp_path_factory.mktemp('shards')
    train, valid = python_text(['topics', 'licences'], megabytes=.2).hold_out(bytes_per_source=10_000)
    tokenizer = train_tokenizer(train, vocab=400, folder=folder/'tokenizer')
    for name, docs in dict(train=train, valid=valid).items(): write_tokens(docs, tokenizer, folder/name, progress=False)
    return folder


def job(shards, folder, **changes):
    recipe = Recipe(weights={'topics': .5, 'licences': .5}, tokens=24_576, size=1, vocab=400, window=64, max_epochs=99.).but(**changes)
    return Job(folder.name, plain(recipe), str(shards/'train'), str(shards/'valid'), str(folder), str(shards/'tokenizer'/'tokenizer.json'))


def train_here(j):
    import torch
    from llmbench.learner import train
    from llmbench.tokens import open_tokens
    torch.set_num_threads(1)
    return train(Recipe(**j.recipe), open_tokens(j.tokens), j.folder, checkpoint_every=4, checkpoint_seconds=0)


def test_damaged_checkpoint_falls_back_to_the_one_before(shards, tmp_path):
    whole = job(shards, tmp_path/'whole')
    digest = train_here(whole).record['digest']
    last = sorted((tmp_path/'whole'/'checkpoints').glob('step*'))[-1]
    data = bytearray((last/'tensors.safetensors').read_bytes())
    data[len(data)//2] ^= 1
    (last/'tensors.safetensors').write_bytes(data)
    record = read_json(tmp_path/'whole'/'run.json')
    record['status'] = 'stopped'
    (tmp_path/'whole'/'run.json').write_text(json.dumps(record))
    with pytest.warns(UserWarning, match='is set aside'): again = train_here(whole)
    assert again.record['digest']==digest
    assert any('damaged' in r.get('event', '') for r in read_jsonl(tmp_path/'whole'/'metrics.jsonl'))


def test_a_killed_worker_says_so_and_a_rerun_goes_on(shards, tmp_path):
    jobs = [job(shards, tmp_path/f'run{i}', seed=i, tokens=400_000 if i else 8_192) for i in range(3)]

    def kill_one():
        while not (tmp_path/'run1'/'metrics.jsonl').exists(): time.sleep(.1)
        while not finished(jobs[0]): time.sleep(.1)
        os.kill(read_json(tmp_path/'run1'/'run.json')['pid'], signal.SIGKILL)
    threading.Thread(target=kill_one, daemon=True).start()
    with pytest.raises(RuntimeError, match='run again to go on'): train_all(jobs, workers=2, title='proxies')
    assert finished(jobs[0]) and Run(tmp_path/'run1').status in ('dead', 'failed')
    assert not [p for p in psutil.Process().children(recursive=True) if p.status()!=psutil.STATUS_ZOMBIE and 'spawn_main' in ' '.join(p.cmdline())]
    began = read_json(tmp_path/'run0'/'run.json')['started']
    train_all([jobs[0], job(shards, tmp_path/'run9', seed=9, tokens=8_192)], workers=2)
    assert read_json(tmp_path/'run0'/'run.json')['started']==began


@pytest.mark.skipif(not os.environ.get('LLMBENCH_SLOW'), reason='half a minute; LLMBENCH_SLOW=1 runs it')
def test_the_number_of_workers_does_not_change_the_result(shards, tmp_path):
    jobs = lambda way: [job(shards, tmp_path/f'{way}-{i}', seed=i, tokens=8_192) for i in range(2)]
    here, there = [train_here(j) for j in jobs('here')], train_all(jobs('pool'), workers=2)
    digests = [[r.record['digest'] for r in runs] for runs in (here, there)]
    assert digests[0]==digests[1] and digests[0][0]!=digests[0][1]


def seen(seconds):
    time.sleep(seconds)
    return os.environ.get('CUDA_VISIBLE_DEVICES')


def test_each_accelerator_has_a_process_of_its_own(shards, tmp_path, monkeypatch):
    "What is planned for a machine of three of which two may be used; the work itself needs none."
    jobs = [job(shards, tmp_path/n) for n in 'abc']
    monkeypatch.setattr(pool, '_accelerated', lambda: True)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '2,0')
    calls, n, devices = pool._calls(jobs, 'stacked', None)
    assert [[j.name for j in c[1]] if isinstance(c[1], list) else c[1].name for c in calls]==[['a', 'c'], 'b'] and n==2 and devices==['2', '0']
    assert [c[1].name for c in pool._calls(jobs, 'alone', None)[0]]==['a', 'b', 'c'] and pool._calls(jobs[:1], 'alone', None)[1:]==(1, [])
    with pool._pool(n, devices) as processes: assert set(processes.map(seen, [.3]*4))=={'2', '0'}


@pytest.mark.skipif(not os.environ.get('LLMBENCH_SLOW'), reason='half a minute; LLMBENCH_SLOW=1 runs it')
def test_a_search_of_two_processes_loses_a_worker_and_goes_on(shards, tmp_path):
    from llmbench.tokens import open_tokens
    from llmbench.tune import Tuning, tune
    recipe = Recipe(weights={'topics': .5, 'licences': .5}, tokens=16_384, size=1, vocab=400, window=32, max_epochs=99.)
    search = dict(recipe=recipe, space={'lr': [1e-3, 1e-2], 'seed': (0, 2)}, folder=tmp_path/'search', tokens=open_tokens(shards/'train'), trials=6)
    killed = []

    def kill_one():
        while not killed:
            time.sleep(.05)
            for path in (tmp_path/'search').glob('runs/*/metrics.jsonl'):
                record = read_json(path.parent/'run.json')
                if record['status']!='running': continue
                os.kill(record['pid'], signal.SIGSTOP)                              # it may just have ended this trial: now what it says is true
                if read_json(path.parent/'run.json')['status']=='running': killed.append(path.parent.name)
                os.kill(record['pid'], signal.SIGKILL if killed else signal.SIGCONT)
                if killed: return
    threading.Thread(target=kill_one, daemon=True).start()
    with pytest.raises(RuntimeError, match='run again to go on'): tune(jobs=2, checkpoint_every=8, **search)
    left = Tuning(tmp_path/'search').table()
    assert 'running' in set(left.state) and killed[0] in set(left.recipe)
    found = tune(checkpoint_every=8, **search) # here: what two began one can end
    table = found.table()
    assert len(table)==6 and set(table.state)<={'complete', 'pruned'} and table.recipe[:len(left)].tolist()==left.recipe.tolist()
    done = table[(table.state=='complete')&table.same_as.isna()]
    assert done.recipe.is_unique and all(Run(tmp_path/'search'/'runs'/r).status=='done' for r in done.recipe)


@pytest.fixture
def run_job(monkeypatch, root):
    "A notebook of nbs/runs with parameters, in this process; its report."
    from llmbench.ranks import run_here
    monkeypatch.setitem(sys.modules, '__main__', sys.modules['__main__']) # the page takes its place, and gives it back
    def go(name, out, **parameters):
        run_here(str(root/f'nbs/runs/{name}.ipynb'), *(f'{k}={v}' for k,v in dict(parameters, out=out).items()))
        return read_json(out/'report.json')
    return go


def test_select_sft_spreads_its_choice(run_job, tmp_path, capsys):
    about = dict(tea='leaves water cup pot', ships='sail mast sea port', trees='root bark leaf crown', stars='light sky night orbit')
    rows = [dict(prompt=f'What is said of {k}, {i}?', response=f'{v} {v} {k} {i}') for k,v in about.items() for i in range(8)]
    (tmp_path/'rows.jsonl').write_text(''.join(json.dumps(r)+'\n' for r in rows))
    found = run_job('select_sft', tmp_path/'out', rows=tmp_path/'rows.jsonl', share=.125, how='k_center')
    chosen = read_jsonl(tmp_path/'out'/'selected.jsonl')
    assert len(chosen)==4 and len({r['prompt'].split()[4] for r in chosen})==4 and all({k: r[k] for k in ('prompt', 'response')} in rows for r in chosen)
    assert found['coverage']>=max(found['random'])-1e-9 and '4 of 32 rows by k_center' in capsys.readouterr().out
    ranked = run_job('select_sft', tmp_path/'by', rows=tmp_path/'rows.jsonl', share=.25, how='top', by='chars')
    longest = sorted(rows, key=lambda r: -len(r['prompt']+r['response']))
    assert len(ranked['chosen'])==8 and {len(rows[i]['prompt']+rows[i]['response']) for i in ranked['chosen']}<={len(r['prompt']+r['response']) for r in longest[:8]}
    with pytest.raises(ValueError, match='ranks by a score'): run_job('select_sft', tmp_path/'none', rows=tmp_path/'rows.jsonl', how='top')


def test_continual_keeps_a_share_of_the_old(run_job, tmp_path):
    tiny = dict(tokens=4096, more=2048, vocab=300, megabytes=.05, holdout=3, rehearsal=.25)
    found = run_job('continual', tmp_path/'out', **tiny)
    first, alone, mixed = (Run(tmp_path/'out'/n) for n in ('first', 'new_only', 'rehearsed'))
    assert mixed.recipe.weights['code']==pytest.approx(.25) and set(alone.recipe.weights)=={'licences'} and {r.recipe.model for r in (alone, mixed)}=={str(first.folder/'model')}
    last = {r.folder.name: r.metrics().dropna(subset='valid_loss').iloc[-1] for r in (first, alone, mixed)}
    for row, name in zip(found['stages'], ('first', 'new_only', 'rehearsed'), strict=True):
        assert row['old']==pytest.approx(last[name]['valid_loss_code']) and row['new']==pytest.approx(last[name]['valid_loss_licences'])
        assert row['forgetting']==pytest.approx(row['old']-found['stages'][0]['old']) and row['gain']==pytest.approx(found['stages'][0]['new']-row['new'])
    run_job('continual', tmp_path/'out', **tiny)                          # done already: taken as it is
    assert Run(mixed.folder).record['started']==mixed.record['started']
