"Several processes train what one trains: DDP and FSDP2 under torchrun and accelerate launch, killed ones too, and runs that go on on another number of processes."
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import spread
from llmbench.run import Run
from llmbench.store import read_json, read_jsonl

HERE = Path(__file__).parent
SURE = ('fgm', 'pgd', 'freelb', 'smart') # draw no random numbers, as they are set in spread


def start(launcher, shards, folder, *what):
    done = subprocess.run([sys.executable, '-m', *launcher.split(), str(HERE/'spread.py'), str(shards), str(folder), *what],
                          env=os.environ|dict(OMP_NUM_THREADS='1', TORCH_DISABLE_SHARE_RDZV_TCP_STORE='1'), capture_output=True, text=True, timeout=400)
    assert done.returncode==0 and 'all done' in done.stdout, done.stderr[-3000:]


def losses(run): return run.metrics().loss.dropna().to_numpy()


def rows_of(folder, world):
    "step -> the batch's rows, put together from what each process read."
    parts = [read_json(folder/f'rows-{r}-of-{world}.json') for r in range(world)]
    return {p[0]['step']: np.stack([x['ids'] for x in p], 1).reshape(-1, 33).tolist() for p in zip(*parts)}


def test_two_processes_are_one(shards, tmp_path, monkeypatch):
    "Two starts of two processes; everything is compared with one process."
    import torch
    torch.set_num_threads(1)
    for what in (*spread.OTHERS, *SURE): spread.do(what, shards, tmp_path)
    for what in ('one', 'from_one', 'from_one_fsdp'): spread.go(shards, tmp_path/what, stop=None if what=='one' else 'ctrl-c')
    start('torch.distributed.run --standalone --nproc-per-node 2 --max-restarts 1', shards, tmp_path,
          'uneven', 'ddp', 'fsdp', 'fsdp_again', 'fsdp_lion', 'begun_here', 'begun_here_fsdp', 'from_one', 'from_one_fsdp', *(f'fsdp_{k}' for k in spread.OTHERS), *(f'{k}_two' for k in spread.ROBUST), 'killed')
    start('accelerate.commands.launch --use_fsdp --fsdp_version 2 --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no', shards, tmp_path, 'by_accelerate')
    for what in ('begun_here', 'begun_here_fsdp'): spread.do(f'{what}_on_one', shards, tmp_path)
    one = Run(tmp_path/'one')
    runs = {p.parent.name: Run(p.parent) for p in tmp_path.glob('*/run.json') if p.parent.name.split('_')[-1] not in ('uneven', *spread.OTHERS, *spread.ROBUST, 'two')}
    assert len(runs)==11 and all(r.status=='done' for r in runs.values())
    worst = {k: float(np.abs(losses(r)-losses(one)).max()) for k,r in runs.items() if k!='fsdp_lion'}
    assert max(worst.values())<1e-5, worst
    valid = {k: float(r.metrics().valid_loss.dropna().iloc[-1]-one.metrics().valid_loss.dropna().iloc[-1]) for k,r in runs.items() if k!='fsdp_lion'}
    assert max(map(abs, valid.values()))<1e-5, valid
    other = {k: abs(float(losses(Run(tmp_path/k))[-1]-losses(Run(tmp_path/f'fsdp_{k}'))[-1])) for k in spread.OTHERS}
    assert other['lora']<1e-5 and other['muon']<1e-3 and other['half']<1e-3, other # Muon orthogonalises in bf16: last bits of a gradient are seen (4e-5)
    # robust training: what chooses its noise does as one process does, and all processes end with the same weights
    tough = {k: float(np.abs(losses(Run(tmp_path/k))-losses(Run(tmp_path/f'{k}_two'))).max()) for k in SURE}
    assert max(tough.values())<1e-5, tough
    assert len({Run(tmp_path/f'{k}_two').metrics().loss.iloc[-1] for k in spread.ROBUST})>3
    assert all(read_json(tmp_path/f'{k}_two'/'weights-0.json')==read_json(tmp_path/f'{k}_two'/'weights-1.json') for k in spread.ROBUST)
    # the data order, also of runs that changed their number of processes
    expected = rows_of(tmp_path/'one', 1)
    assert len(expected)==spread.STEPS and rows_of(tmp_path/'ddp', 2)==expected
    for what, world in (('begun_here', 1), ('begun_here_fsdp', 1), ('from_one', 2), ('from_one_fsdp', 2), ('killed', 2)):
        seen = rows_of(tmp_path/what, world)
        assert min(seen)==10 and all(seen[s]==expected[s] for s in seen), what
    # every process was told the sources and losses of all rows
    a, b = (read_json(tmp_path/'ddp'/f'rows-{r}-of-2.json') for r in (0, 1))
    assert all(x['sources']==y['sources'] and len(x['sources'])==x['losses']==8 for x,y in zip(a, b))
    # killed by SIGKILL: the same bits as the run of two processes that was not
    weights = lambda what: (tmp_path/what/'model'/'model.safetensors').read_bytes()
    assert weights('killed')==weights('ddp') and (tmp_path/'killed'/'done').exists()
    assert weights('fsdp_again')==weights('fsdp')==weights('by_accelerate')
    assert read_jsonl(tmp_path/'killed'/'resumed.jsonl')[-1]['step']==10
    # only the first one writes: one line a step, one environment, one damaged-free record
    for what, run in runs.items():
        assert run.metrics().step.tolist()==one.metrics().step.tolist(), what
        assert run.record['environment']['processes']==(1 if what in ('one', 'begun_here', 'begun_here_fsdp') else 2) and run.record['environment']['threads']==1
    changed = read_jsonl(tmp_path/'from_one'/'resumed.jsonl')[-1]['changed']
    assert changed=={'processes': [1, 2]}
    # a batch that cannot be dealt
    for r in (0, 1):
        message = read_json(tmp_path/f'uneven-{r}.json')
        assert 'batch=7 rows cannot be dealt evenly to 2 processes' in message and 'batch=8' in message
    # what is left is a plain folder
    from llmbench.models import load_model
    model = load_model(tmp_path/'fsdp'/'model')
    assert type(model).__name__=='LlamaForCausalLM' and read_json(tmp_path/'fsdp'/'model'/'config.json')['architectures']==['LlamaForCausalLM']
