"""What test_distributed starts under torchrun and accelerate launch: `spread.py SHARDS FOLDER WHAT ...`, each WHAT a run to train or a check to make.

A killed group of processes is started again by torchrun; runs that are finished are taken as they are."""
import os
import signal
import sys
from pathlib import Path

from llmbench.callbacks import EMA, Callback, EvalEvery
from llmbench.core import fingerprint
from llmbench.learner import train
from llmbench.ranks import is_first, ranks
from llmbench.recipe import Recipe
from llmbench.store import write_json
from llmbench.tokens import open_tokens

STEPS = 24
OTHERS = dict(muon=dict(optimizer='muon'), lora=dict(adapter='lora'), half=dict(precision='bf16_weights')) # 8 steps each
ROBUST = dict(fgm={}, pgd=dict(steps=2), freelb=dict(start=0., steps=2), smart=dict(weight=0.), noisy=dict(name='smart'), rdrop={}) # 4 steps each; the last two draw numbers, each process its own

def recipe(**changes):
    return Recipe(weights={'topics': .5, 'licences': .5}, tokens=STEPS*8*32, size=1, vocab=400, window=32, batch=8, max_epochs=99.).but(**changes)

class Stop(Callback):
    "Ctrl-C after step 13, or SIGKILL in one process, once."
    def __init__(self, folder, kill): self.folder, self.kill = Path(folder), kill

    def after_step(self, learner):
        if learner.step!=13 or (self.folder/'done').exists(): return
        if not self.kill: raise KeyboardInterrupt
        if ranks()[0]==1:
            (self.folder/'done').touch()
            os.kill(os.getpid(), signal.SIGKILL)

class Rows(Callback):
    "What each process read, and what it was told of the others."
    def __init__(self): self.seen = []
    def after_step(self, learner):
        self.seen.append(dict(step=learner.step, ids=learner.batch['ids'].tolist(), sources=learner.row_sources.tolist(), losses=len(learner.row_losses)))

def go(shards, folder, stop=None, **how):
    "Train a run in this folder, or go on with it."
    r = recipe(**{k: how.pop(k) for k in ('accumulate', 'optimizer', 'adapter', 'precision', 'tokens') if k in how})
    rows = Rows()
    scored = EvalEvery(lambda model: dict(norm=float(sum(1 for _ in model.parameters()))), steps=8)
    tokens = open_tokens(Path(shards)/'train')
    try: train(r, tokens, folder, callbacks=[rows, EMA(.9, final=False), scored, *[Stop(folder, stop=='kill')]*bool(stop)], checkpoint_every=5, checkpoint_seconds=0, valid=tokens, valid_every=STEPS, **how)
    except KeyboardInterrupt: pass
    if rows.seen: write_json(Path(folder)/f'rows-{ranks()[0]}-of-{ranks()[1]}.json', rows.seen)

class Same(Callback):
    "What the weights of this process are in the end."
    def __init__(self, folder): self.folder = Path(folder)
    def after_fit(self, learner): write_json(self.folder/f'weights-{ranks()[0]}.json', fingerprint(*(p.detach().numpy() for p in learner.model.parameters())))

def tough(shards, folder, method):
    "A short run with robust training."
    r = recipe(tokens=4*8*32, accumulate=2, objective=dict(name='causal_lm', robust=dict(name=method)|ROBUST[method]), model=dict(name='llama', **(dict(attention_dropout=.1) if method=='rdrop' else {})))
    train(r, open_tokens(Path(shards)/'train'), folder, callbacks=[Same(folder)])

def do(what, shards, folder):
    where = Path(folder)/what
    if what.removesuffix('_two') in ROBUST: return tough(shards, where, what.removesuffix('_two'))
    if what=='uneven':
        try: train(recipe(batch=7, tokens=7*32), open_tokens(Path(shards)/'train'), where)
        except ValueError as e: return write_json(Path(folder)/f'uneven-{ranks()[0]}.json', str(e))
    if what=='one': return go(shards, where)
    if what=='ddp': return go(shards, where, accumulate=2)
    if what=='fsdp': return go(shards, where, sharded=True)
    if what in ('fsdp_again', 'fsdp_lion'):
        how = dict(sharded=True, optimizer='lion' if what=='fsdp_lion' else 'adamw')
        return go(shards, where, stop='ctrl-c', **how) or go(shards, where, **how)
    if what=='by_accelerate': return go(shards, where)
    if what=='killed': return go(shards, where, stop='kill', accumulate=2)
    if what=='begun_here': return go(shards, where, stop='ctrl-c')
    if what=='begun_here_fsdp': return go(shards, where, stop='ctrl-c', sharded=True)
    if what in ('from_one', 'begun_here_on_one', 'begun_here_fsdp_on_one'): return go(shards, Path(folder)/what.removesuffix('_on_one'))
    if what=='from_one_fsdp': return go(shards, where, sharded=True)
    if what.split('_')[-1] in OTHERS: return go(shards, where, sharded=what.startswith('fsdp_'), tokens=8*8*32, **OTHERS[what.split('_')[-1]])
    raise LookupError(what)

if __name__=='__main__':
    for what in sys.argv[3:]: do(what, *sys.argv[1:3])
    if is_first(): print('all done')
