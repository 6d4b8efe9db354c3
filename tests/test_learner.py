"The loop at its edges: what counts, precisions, what breaks, what is kept."
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from llmbench.callbacks import EMA, Callback, EarlyStop, EvalEvery, Guard, KeepBest, Log
from llmbench.learner import Learner
from llmbench.models import build
from llmbench.objectives import IGNORED, causal_lm
from llmbench.recipe import Recipe
from llmbench.run import Run

RECIPE = Recipe(weights={'a': .5, 'b': .5}, tokens=8*16*6, size=1, vocab=64, window=16, batch=8, warmup=0., schedule='constant')


class Batches:
    "Random rows in which a random number of targets counts."
    sources = ['a', 'b']
    def __init__(self, unequal=True): self.unequal = unequal

    def __call__(self, step, rank=0, world=1):
        draw = np.random.default_rng(step)
        ids = draw.integers(0, 64, (8, 17))
        labels = np.where(np.arange(17)<draw.integers(2, 17, (8, 1)), ids, IGNORED) if self.unequal else ids
        got = dict(ids=ids, labels=labels, source=np.arange(8)%2, counted=(labels[:, 1:]!=IGNORED).sum(1).astype(np.float32))
        return {k: v[rank::world] for k,v in got.items()}

    def describe(self, step): return [dict(source=self.sources[i%2], row=i) for i in range(8)]


class Gradients(Callback):
    def after_loss(self, learner): self.found = [p.grad.clone() for p in learner.model.parameters()]


def fit(recipe, callbacks=(), run=None, batches=None, objective=None, **how):
    torch.set_num_threads(1)
    learner = Learner(build(recipe), batches or Batches(), recipe, run, callbacks, objective, **how)
    learner.fit()
    return learner


@pytest.fixture
def run(tmp_path): return Run.start(tmp_path/'run', RECIPE)


@pytest.mark.parametrize('parts', [2, 4, 8])
@pytest.mark.parametrize('objective', ['causal_lm', {'name': 'causal_lm', 'smoothing': .1}, {'name': 'causal_lm', 'rows': 32}])
def test_parts_with_unequal_counts_equal_the_whole(parts, objective):
    one = RECIPE.but(tokens=8*16, objective=objective)
    whole, cut = Gradients(), Gradients()
    a, b = fit(one, [whole]), fit(one.but(accumulate=parts), [cut])
    assert len(set(Batches()(0)['counted']))>3
    assert max((p-q).abs().max() for p,q in zip(whole.found, cut.found))<1e-6 and abs(a.loss-b.loss)<1e-6
    batch = {k: torch.as_tensor(v) for k,v in Batches()(0).items()}
    assert abs(a.loss-a.objective(build(one), batch)[0].item())<1e-6


def test_memory_for_time_gives_the_same_gradients():
    plain, again = Gradients(), Gradients()
    one = RECIPE.but(tokens=8*16, size=2, model={'name': 'llama', 'dropout': .2})
    fit(one, [plain]), fit(one, [again], checkpointing=True)
    assert max((p-q).abs().max() for p,q in zip(plain.found, again.found))<1e-6


def test_a_compiled_model_gives_the_same_losses_and_is_dropped_where_it_does_not_pay():
    plain = fit(RECIPE)
    with pytest.warns(UserWarning, match='does not pay in this run, which goes on without: compiling took'): dropped = fit(RECIPE, compile='aot_eager')
    assert dropped.unwrapped()._compiled_call_impl is None and dropped.loss==plain.loss
    class Kept(type(dropped.compiled)):
        pays = True
    tough = RECIPE.but(objective=dict(name='causal_lm', robust='freelb'))                # its hook on the embeddings is heard
    learner = Learner(build(tough), Batches(), tough)
    learner.compiled = Kept(learner, 'eager')
    learner.fit()
    assert learner.unwrapped()._compiled_call_impl is not None and abs(learner.loss-fit(tough).loss)<1e-5


@pytest.mark.parametrize('precision,near', [('bf16', .02), ('bf16_weights', .02), ('fp16', .002)])
def test_half_precision_follows_fp32(precision, near):
    a, b = fit(RECIPE.but(tokens=8*16*2)), fit(RECIPE.but(tokens=8*16*2, precision=precision))
    assert abs(a.loss/b.loss-1)<near and all(p.dtype==torch.float32 for p in b.model.parameters())
    assert bool(b.scaler.state_dict())==(precision=='fp16')


def test_after_a_trainer_in_bf16_the_precision_is_still_the_recipe_s():
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    expected = fit(RECIPE).loss
    AcceleratorState._reset_state()
    try:
        Accelerator(mixed_precision='bf16', cpu=True)                # what a Trainer leaves in the process
        assert fit(RECIPE).loss==expected and fit(RECIPE.but(precision='bf16')).loss!=expected
    finally: AcceleratorState._reset_state()


def test_fp16_overflow_skips_the_step_and_halves_the_scale():
    class Watch(Callback):
        def before_step(self, l): self.before = [p.detach().clone() for p in l.model.parameters()]
        def after_step(self, l): self.same = all(torch.equal(p, q) for p,q in zip(self.before, l.model.parameters()))
    watch = Watch()
    huge = lambda model, batch: (lambda loss, logs: (loss*1e36, logs))(*causal_lm(model, batch))
    l = fit(RECIPE.but(tokens=8*16, precision='fp16'), [watch], objective=huge)
    assert watch.same and l.scaler.get_scale()==65536/2


def at_step(n, change):
    "The objective, changed in one step."
    class Changed(Callback):
        def before_step(self, learner): self.step = learner.step
        def objective(self, model, batch):
            loss, logs = causal_lm(model, batch)
            return (change(loss) if self.step==n else loss), logs
    return Changed()


@pytest.mark.parametrize('action', ['skip', 'lower', 'stop'])
def test_a_jump_of_the_loss(run, action):
    recipe = RECIPE.but(tokens=8*16*24)
    jump, guard = at_step(20, lambda loss: loss*3), Guard(spike=8., action=action, window=16)
    fit_it = lambda: fit(recipe, [jump, guard, Log(1)], run, objective=jump.objective)
    if action=='stop':
        with pytest.raises(FloatingPointError, match=r"step 20: loss jumped to .* the batch came from 'a', 'b' and is saved"): fit_it()
    else:
        fit_it()
        rates = run.metrics().dropna(subset=['lr']).lr.tolist()
        assert rates[-1]==(recipe.lr/2 if action=='lower' else recipe.lr) and rates[18]==recipe.lr
    rows = [json.loads(line) for line in (run.folder/'bad_batch.jsonl').read_text().splitlines()]
    assert [r['row'] for r in rows]==list(range(8)) and rows[3]['source']=='b' and rows[3]['ids']==Batches()(20)['ids'][3].tolist() and {r['step'] for r in rows}=={20}


def test_a_skipped_step_leaves_the_weights(run):
    class Watch(Callback):
        def after_step(self, l): self.kept = [*getattr(self, 'kept', []), [p.detach().clone() for p in l.model.parameters()]]
    jump, watch = at_step(3, lambda loss: loss*math.nan), Watch()
    fit(RECIPE, [jump, Log(2), Guard(action='skip'), watch], run, objective=jump.objective)
    same = [all(torch.equal(p, q) for p,q in zip(a, b)) for a,b in zip(watch.kept, watch.kept[1:])]
    assert same==[False, False, True, False, False]
    lines = (run.folder/'metrics.jsonl').read_text()
    logged = {r['step']: r for r in map(json.loads, lines.splitlines()) if 'lr' in r}
    assert 'NaN' not in lines and logged[4]['left_out']==1 and all(math.isfinite(logged[s]['loss']) for s in (2, 4, 6)) and 'left_out' not in logged[2] # the mean of the steps that were taken
    with pytest.raises(FloatingPointError, match='loss is nan'): fit(RECIPE, [Guard(action='skip', most=2)], run, objective=lambda model, batch: (lambda loss, logs: (loss*math.nan, logs))(*causal_lm(model, batch)))


def test_early_stop_best_weights_and_their_state(run):
    scores = iter([3., 2., 2.5, 2.4, 1.])
    kept = []
    def score(model):
        kept.append([p.detach().clone() for p in model.parameters()])
        return dict(loss=next(scores))
    best, early = KeepBest(), EarlyStop(patience=2)
    l = fit(RECIPE, [EvalEvery(score, 1), early, best, Log(1)], run)
    assert l.step==3 and 'step 2' in l.stopped and all(torch.equal(p, q) for p,q in zip(kept[1], l.model.parameters()))
    other = KeepBest()
    other.load(best.state())
    assert other.at==2 and all(torch.equal(other.weights[k], v) for k,v in best.weights.items())
    assert run.metrics().valid_loss.dropna().tolist()==[3., 2., 2.5, 2.4]
    with pytest.raises(LookupError, match="no score called 'valid_los'"): fit(RECIPE, [EvalEvery(lambda m: dict(loss=1.), 1), EarlyStop('valid_los')], run)


def size(model): return dict(size=sum(p.detach().square().sum().item() for p in model.parameters()))


@pytest.mark.parametrize('early', [True, False])
def test_a_run_killed_while_it_is_left_ends_as_it_would_have(tmp_path, early):
    "Its last checkpoint is of its last step: an early stop, or the best score of all; its process died before the model was saved."
    from llmbench.callbacks import Progress
    from llmbench.checkpoint import Checkpoint
    from llmbench.learner import leave
    def go(folder, *more):
        score = dict(score='valid_size', higher=not early)                    # weights grow: never better, or better each time
        kept = [EarlyStop(**score, patience=1), Checkpoint(2)] if early else [KeepBest(**score), Checkpoint(9, best='valid_size', higher=True)]
        return fit(RECIPE, [Progress(out=sys.stdout), Log(4), EvalEvery(size, 2), *more, *kept], Run.start(folder, RECIPE))
    whole, died = leave(go(tmp_path/'whole')), go(tmp_path/'died')
    steps = 4 if early else 6
    class Never(Callback):
        def before_step(self, learner): raise AssertionError('nothing is left to do')
    again = go(tmp_path/'died', Never())
    assert (again.first, again.step, again.stopped, again.loss, again.scores)==(steps, steps-1, died.stopped, died.loss, died.scores) and bool(again.stopped)==early
    ended = leave(again)
    assert ended.record['digest']==whole.record['digest'] and [ended.record.get(k) for k in ('loss', 'scores', 'stopped_early')]==[whole.record.get(k) for k in ('loss', 'scores', 'stopped_early')]
    assert ended.metrics().drop(columns='seconds').equals(whole.metrics().drop(columns='seconds'))


@pytest.mark.parametrize('last', [KeepBest('valid_size', higher=False), EMA(.8)])
def test_the_scores_of_a_run_are_those_of_its_model(run, last):
    from llmbench.learner import leave
    from llmbench.models import load_model
    learner = fit(RECIPE, [EvalEvery(size, 2), last], run)
    of_last_step, kept = learner.scores['valid_size'], leave(learner).record['scores']['valid_size']
    assert kept==pytest.approx(size(load_model(run.folder/'model'))['size'], rel=1e-6) and abs(kept/of_last_step-1)>1e-4
    assert run.metrics()['valid_size'].iloc[-1]==kept


def test_averaged_weights_by_hand():
    class Watch(Callback):
        def after_step(self, l): self.all = [*getattr(self, 'all', []), next(l.model.parameters()).detach().clone()]
    watch, ema = Watch(), EMA(.8)
    l = fit(RECIPE, [watch, ema])
    mean = watch.all[0]
    for s,w in enumerate(watch.all[1:], 1): mean = torch.lerp(mean, w, 1-min(.8, (1+s)/(10+s)))
    assert torch.allclose(next(l.model.parameters()), mean, atol=1e-7) and not torch.equal(mean, watch.all[-1])


MEMORY = '''
import resource, torch
from tests.test_learner import Batches, RECIPE, build, Learner
torch.set_num_threads(1)
learner = Learner(build(RECIPE), Batches(), RECIPE)
def hungry(model, batch):
    from llmbench.objectives import causal_lm
    room = torch.empty(len(batch['ids'])*100*2**20, dtype=torch.uint8)
    return causal_lm(model, batch)
learner.objective = hungry
used = int(open('/proc/self/statm').read().split()[0])*4096
resource.setrlimit(resource.RLIMIT_AS, (used+490*2**20, used+490*2**20))
try: learner.fit()
except MemoryError as e: print('SAYS', e)
'''


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='limits of memory are Linux')
def test_memory_that_runs_out_says_what_fits():
    "8 rows want 800 MB of 490; 4 rows fit, also when the allocator opens another heap of 64."
    out = subprocess.run([sys.executable, '-c', MEMORY], capture_output=True, text=True, timeout=120)
    assert '8 rows of 16 tokens at once; 4 at once fit (tried: 4)' in out.stdout and 'accumulate=2' in out.stdout, out.stdout+out.stderr[-2000:]


WATCHED = '''
import sys; sys.path.insert(0, {root!r})
from tests.test_learner import Batches, RECIPE, Run, build, Learner
from llmbench.callbacks import EvalEvery, Progress
Learner(build(RECIPE), Batches(), RECIPE, Run.start({folder!r}, RECIPE), [Progress(every=0.), EvalEvery(lambda m: dict(loss=2.5), 2)]).fit()
'''


def test_a_notebook_shows_bar_table_and_curve_and_keeps_them(tmp_path):
    import nbformat
    from nbclient import NotebookClient
    from pathlib import Path
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(WATCHED.format(root=str(Path(__file__).parent.parent), folder=str(tmp_path/'run')))])
    NotebookClient(nb, timeout=120, kernel_name='python3').execute()
    kept = json.loads(nbformat.writes(nb))['cells'][0]['outputs']
    shown = [o['data'] for o in kept if 'data' in o]
    page = ''.join(''.join(d.get('text/html', '')) for d in shown)
    assert '6 of 6 (100%)' in page and 'valid_loss' in page and '2.5' in page and 'class="bar"' in page
    curves = [d['application/vnd.plotly.v1+json'] for d in shown if 'application/vnd.plotly.v1+json' in d]
    assert len(curves)==1 and [t['name'] for t in curves[0]['data']]==['training', 'valid_loss'] and len(curves[0]['data'][0]['x'])==6


def test_in_a_terminal_it_is_lines(capsys):
    from llmbench.callbacks import Progress
    fit(RECIPE, [Progress(every=0., out=sys.stdout)])
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines)==7 and lines[-1].startswith('Training: 6 of 6 (100%)') and 'loss' in lines[-1]


def says(fn, kind, *words):
    "The message of the error that this must raise."
    with pytest.raises(kind) as e: fn()
    assert all(w in str(e.value) for w in words), e.value


def one_batch(**change):
    "Batches with something wrong in them."
    class Wrong(Batches):
        def __call__(self, step, rank=0, world=1): return {k: change[k](v) if k in change else v for k,v in super().__call__(step).items()}
    return Wrong()


def test_bad_input_says_what_is_wrong_and_what_to_do(tmp_path):
    from tokenizers import Tokenizer, models
    from llmbench.adapters import add_adapter
    from llmbench.checkpoint import Checkpoint, check_checkpoint
    from llmbench.models import check_tokenizer
    from llmbench.objectives import labelled
    spoil = lambda v: np.where(np.arange(17)==5, 64, v)
    says(lambda: fit(RECIPE, batches=one_batch(labels=spoil)), ValueError, "step 0, row 0 (source 'a', row 0)", 'labels holds 64 at position 5', '0 to 63')
    says(lambda: fit(RECIPE, batches=one_batch(ids=spoil)), ValueError, 'ids holds 64', 'text and model belong to different tokenizers')
    empty = one_batch(**{k: lambda v: v[:0] for k in ('ids', 'labels', 'source', 'counted')})
    says(lambda: fit(RECIPE, batches=empty), ValueError, 'step 0: an empty batch (no rows)')
    says(lambda: labelled(build(RECIPE), dict(input_ids=torch.zeros(0, 4, dtype=torch.long), labels=torch.zeros(0, 4, dtype=torch.long))), ValueError, 'an empty batch')
    says(lambda: fit(RECIPE, batches=one_batch(labels=lambda v: v*0+IGNORED, counted=lambda v: v*0)), ValueError, 'no target of the batch counts')
    long = one_batch(ids=lambda v: np.tile(v, 200), labels=lambda v: np.tile(v, 200))
    says(lambda: fit(RECIPE, batches=long), ValueError, 'sequences of 3399 tokens, the model reads at most 2048', 'lower the window')
    many = Tokenizer(models.WordLevel({f't{i}': i for i in range(70)}))
    says(lambda: check_tokenizer(build(RECIPE), many), ValueError, 'ids up to 69', '64 rows', 'resize_token_embeddings(70)')
    says(lambda: add_adapter(build(RECIPE), {'name': 'lora', 'targets': ['q_prj']}), LookupError, "Did you mean 'q_proj'", 'down_proj')
    # what does not go together
    says(lambda: fit(RECIPE, [KeepBest(), EMA()]), ValueError, 'KeepBest and EMA each end training with weights of their own', 'EMA(final=False)')
    from llmbench.ratefinder import lr_find
    says(lambda: lr_find(build(RECIPE), Batches(), RECIPE.but(tokens=8*16*20), objective=lambda model, batch: (lambda loss, logs: (loss*math.nan, logs))(*causal_lm(model, batch))), ValueError, 'lr_find: the loss is nan at step 0', 'lo')
    def broken(model, batch): raise RuntimeError('mat1 and mat2')
    with pytest.raises(RuntimeError, match='mat1') as e: fit(RECIPE, objective=broken)
    assert e.value.__cause__ is None
    # checkpoints: of another recipe, of other robust training, pickled
    run = Run.start(tmp_path/'run', RECIPE)
    fit(RECIPE, [Log(), Checkpoint(2)], run)
    says(lambda: fit(RECIPE.but(lr=1e-4), [Log(), Checkpoint(2)], run), ValueError, f'belongs to recipe {RECIPE.fingerprint}', 'another folder')
    from llmbench.robust import robust
    says(lambda: fit(RECIPE, [robust['fgm'](size=.2), Log(), Checkpoint(2)], run), ValueError, 'was trained with no robust training', "'size': 0.2")
    tough = RECIPE.but(objective=dict(name='causal_lm', robust='fgm'))
    assert tough.fingerprint!=RECIPE.fingerprint
    says(lambda: fit(tough, [Log(), Checkpoint(2)], run), ValueError, 'belongs to recipe')
    torch.save({}, run.folder/'checkpoints'/'weights.pt')
    says(lambda: fit(RECIPE, [Log(), Checkpoint(2)], run), TypeError, 'weights.pt can only be read with pickle', 'safetensors')
    says(lambda: check_checkpoint(run.folder/'checkpoints'/'weights.pt'), TypeError, 'pickle')
