"""What the killed processes of test_resume do: train, tell each step, and keep the order of the data and the losses as evidence.

Workers: `train` reads its rows by a worker thread that is two batches ahead of the step (`Batches(..., ahead=2)`, `stream.Ahead`), and a kill finds it there.
The worker threads and worker processes of `Loader` and of a torch DataLoader go on from one integer; nbs/31_loader stops and resumes them."""
import hashlib
import os
from pathlib import Path

import numpy as np

from llmbench.callbacks import EMA, Callback
from llmbench.recipe import Recipe
from llmbench.store import append_jsonl

os.environ.update(OMP_NUM_THREADS='1', TOKENIZERS_PARALLELISM='false')

WINDOW, BATCH = 32, 4

class Evidence(Callback):
    "Tells each step to the parent; writes hash of the rows and loss of each step to a file of this process."
    def __init__(self, folder, pipe): self.folder, self.pipe = Path(folder), pipe

    def after_step(self, learner):
        rows = hashlib.sha256(b''.join(v.cpu().numpy().tobytes() for k,v in sorted(learner.batch.items()))).hexdigest()[:16]
        append_jsonl(self.folder/f'evidence-{os.getpid()}-{learner.rank}.jsonl', dict(step=learner.step, rank=learner.rank, rows=rows, loss=learner.loss.hex()))
        if self.pipe: self.pipe.send(learner.step)

class Slow(Callback):
    "Its state takes a while to gather: time to be killed in the middle of a checkpoint."
    def state(self):
        import time
        time.sleep(.02)
        return {}
    def load(self, state): pass

def recipe(kind, steps=42):
    base = Recipe(weights={'topics': .5, 'licences': .5}, tokens=steps*BATCH*WINDOW, size=1, vocab=400, window=WINDOW, batch=BATCH, max_epochs=99., lr=1e-2,
                  model=dict(name='llama', attention_dropout=.1))
    return dict(plain=base.but(optimizer='adafactor'), adapter=base.but(accumulate=2, adapter=dict(name='adalora')), packed=base.but(objective='instruct', accumulate=2), ranks=base.but(accumulate=2))[kind]

def conversations():
    "Questions of different lengths, so that rows hold one to several."
    r = np.random.default_rng(0)
    words = 'the a licence copy work of or to any may not source code other terms this under python value type object'.split()
    text = lambda n: ' '.join(r.choice(words, n))
    return [dict(prompt=text(r.integers(1, 6)), completion=text(r.integers(1, 6))) for _ in range(150)]

def run_one(kind, shards, folder, every, pipe=None, rank=0, world=1, port=0, sharded=False):
    "Train one run, or go on with it; of several processes this is one."
    import torch
    torch.set_num_threads(1)
    if world>1: os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    from llmbench.learner import train
    from llmbench.tokens import open_tokens
    callbacks = [EMA(.9), Evidence(folder, pipe), Slow()]
    Path(folder).mkdir(parents=True, exist_ok=True)
    if kind=='packed': return packed(shards, folder, every, callbacks)
    train(recipe(kind), open_tokens(Path(shards)/'train'), folder, callbacks=callbacks, checkpoint_every=every, checkpoint_seconds=0, sharded=sharded)

def packed(shards, folder, every, callbacks):
    "Rows packed from conversations, by the Learner itself."
    from transformers import PreTrainedTokenizerFast
    from llmbench.callbacks import Log
    from llmbench.checkpoint import Checkpoint
    from llmbench.features import RowBatches
    from llmbench.learner import Learner
    from llmbench.models import build, save_model
    from llmbench.run import Run
    from llmbench.store import file_hash
    r = recipe('packed')
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(shards)/'tokenizer'/'tokenizer.json'), eos_token='<|endoftext|>', pad_token='<|endoftext|>')
    run = Run.start(folder, r)
    learner = Learner(build(r), RowBatches(conversations(), 'instruct', r, tokenizer), r, run, [Log(), *callbacks, Checkpoint(every)])
    learner.fit()
    save_model(learner.unwrapped(), run.folder/'model')
    run.finish('done', digest=file_hash(run.folder/'model'/'model.safetensors'))

def warm():
    "Load once what every process needs; they are forked from this one. No backward pass: its threads would not survive the fork."
    import tempfile
    import torch
    torch.set_num_threads(1)
    import accelerate, peft, safetensors.torch, transformers  # noqa: F401
    import llmbench.ext.objective_instruct, llmbench.learner  # noqa: F401
    from llmbench.models import build, save_model
    from llmbench.run import environment
    with tempfile.TemporaryDirectory() as folder: save_model(build(recipe('plain')), folder)
    recipe('plain').mixture(dict(topics=10_000, licences=10_000)).stream().block(0, 8)
    environment()
