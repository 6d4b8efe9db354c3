"Real processes killed for real: what is finished stays, what was cut off goes on, and the result is the same."
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

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


TRAIN = '''
import json, sys
from llmbench.learner import train
from llmbench.recipe import Recipe
from llmbench.tokens import open_tokens
import torch; torch.set_num_threads(1)
job = json.loads(sys.argv[1])
train(Recipe(**job['recipe']), open_tokens(job['tokens']), job['folder'], checkpoint_every=4, checkpoint_seconds=0)
'''


def start(j):
    import json
    return subprocess.Popen([sys.executable, '-c', TRAIN, json.dumps(plain(j))])


def test_damaged_checkpoint_falls_back_to_the_one_before(shards, tmp_path):
    whole = job(shards, tmp_path/'whole')
    assert start(whole).wait(120)==0
    last = sorted((tmp_path/'whole'/'checkpoints').glob('step*'))[-1]
    data = bytearray((last/'tensors.safetensors').read_bytes())
    data[len(data)//2] ^= 1
    (last/'tensors.safetensors').write_bytes(data)
    digest = Run(tmp_path/'whole').record['digest']
    record = read_json(tmp_path/'whole'/'run.json')
    record['status'] = 'stopped'
    (tmp_path/'whole'/'run.json').write_text(__import__('json').dumps(record))
    assert start(whole).wait(120)==0
    assert Run(tmp_path/'whole').record['digest']==digest
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


def test_the_number_of_workers_does_not_change_the_result(shards, tmp_path):
    digests = []
    for workers in (1, 2):
        runs = train_all([job(shards, tmp_path/f'{workers}-{i}', seed=i, tokens=8_192) for i in range(2)], workers=workers)
        digests.append([r.record['digest'] for r in runs])
    assert digests[0]==digests[1] and digests[0][0]!=digests[0][1]


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
                if record['status']=='running': killed.append(path.parent.name); return os.kill(record['pid'], signal.SIGKILL)
    threading.Thread(target=kill_one, daemon=True).start()
    with pytest.raises(RuntimeError, match='run again to go on'): tune(jobs=2, checkpoint_every=8, **search)
    left = Tuning(tmp_path/'search').table()
    assert 'running' in set(left.state) and killed[0] in set(left.recipe)
    found = tune(checkpoint_every=8, **search) # here: what two began one can end
    table = found.table()
    assert len(table)==6 and set(table.state)<={'complete', 'pruned'} and table.recipe[:len(left)].tolist()==left.recipe.tolist()
    done = table[(table.state=='complete')&table.same_as.isna()]
    assert done.recipe.is_unique and all(Run(tmp_path/'search'/'runs'/r).status=='done' for r in done.recipe)
