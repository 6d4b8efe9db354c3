"""The training loop: the Learner beside a bare PyTorch loop and transformers' Trainer, on the same model, rows and tokens.

Rounds are interleaved; a figure is the median over rounds of the ratio within a round, so that a machine that is busy for a while does not favour anyone.
Processor seconds stand beside wall time for the same reason. The number of threads is that of OMP_NUM_THREADS. The precision is bf16 where the hardware
multiplies it, fp32 elsewhere; the bar against the Trainer is 1.3 in bf16 and 1 in fp32, where most of a step is matrix products that nobody can leave out:
a profile of a bare step says how much faster than it a loop could be at most that did nothing but these products and attention. What compilation costs
is shared out over a run of RUN steps. On a GPU the share of its arithmetic that models of 124M and 345M parameters use is measured too. A processor without bf16
is asked for bf16 too, with fewer rows, since the peer takes its time there."""
import atexit, os, shutil, statistics, tempfile, time

import numpy as np
import torch
from common import Row, finish, options

from llmbench.callbacks import Callback, Log
from llmbench.learner import Learner
from llmbench.models import build, estimate
from llmbench.recipe import Recipe
from llmbench.run import Run

RUN = 1000 # steps over which the cost of compiling is shared out
WIDE = {'name': 'llama', 'hidden_size': 256, 'intermediate_size': 688, 'num_attention_heads': 4, 'num_key_value_heads': 4}

def proxy(steps, **changes):
    "6 layers x 256, 8k vocabulary, 16 rows of 256 tokens."
    return Recipe(weights={'text': 1.}, tokens=steps*16*256, size=6, vocab=8192, window=256, batch=16, lr=1e-3, warmup=0., schedule='constant', model=WIDE).but(**changes)

class Rows:
    "Rows of tokens whose frequencies fall like those of words."
    sources = ['text']
    def __init__(self, recipe):
        draw = np.random.default_rng(0)
        p = 1/np.arange(1, recipe.vocab+1)
        self.ids, self.batch = draw.choice(recipe.vocab, (recipe.steps*recipe.batch, recipe.window+1), p=p/p.sum()), recipe.batch
    def __call__(self, step, rank=0, world=1):
        ids = self.ids[step*self.batch:(step+1)*self.batch]
        return dict(ids=ids, source=np.zeros(len(ids), int), counted=np.full(len(ids), ids.shape[1]-1., np.float32))
    def describe(self, step): return [dict(source='text', row=i) for i in range(self.batch)]

class Clock:
    "Wall and processor seconds between ticks."
    def __init__(self): self.ticks, self.losses = [], []
    def tick(self): self.ticks.append((time.perf_counter(), time.process_time()))
    def seconds(self):
        "Medians over the steps but the first."
        gaps = np.diff(np.array(self.ticks), axis=0)[1:]
        return np.median(gaps, axis=0)

def ours(recipe, rows, device, compiled=False):
    class Timed(Callback, Clock):
        def before_fit(self, learner): self.tick()
        def after_step(self, learner): self.tick(); self.losses.append(learner.loss)
    clock, model = Timed(), build(recipe)
    if compiled: torch.compiler.reset(); model.compile()                     # its cost is in the first step, which the median does not hold
    with tempfile.TemporaryDirectory() as tmp: Learner(model, rows, recipe, Run.start(tmp, recipe), [Log(), clock]).fit()
    return clock

def bare(recipe, rows, device):
    "The shortest loop that does the same: one forward, one loss, clip, fused AdamW."
    model, clock = build(recipe).to(device).train(), Clock()
    matrices, vectors = [[p for p in model.parameters() if (p.ndim>1)==big] for big in (True, False)]
    optimizer = torch.optim.AdamW([dict(params=matrices, weight_decay=recipe.weight_decay), dict(params=vectors, weight_decay=0.)], lr=recipe.lr, betas=(.9, .95), fused=True)
    clock.tick()
    for step in range(recipe.steps):
        ids = torch.from_numpy(rows(step)['ids']).to(device)
        with torch.autocast(device, torch.bfloat16, enabled=recipe.precision=='bf16'): logits = model(input_ids=ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        optimizer.zero_grad()
        clock.losses.append(loss.item())
        clock.tick()
    return clock

def trainer(recipe, rows, device, tokens=None):
    "transformers' Trainer with its defaults; rows of `tokens` tokens (the window, or one more to have the same targets)."
    from transformers import Trainer, TrainerCallback, TrainingArguments
    clock, ids = Clock(), torch.from_numpy(rows.ids[:, :tokens or recipe.window])
    class Timed(TrainerCallback):
        def on_train_begin(self, *a, **k): clock.tick()
        def on_step_end(self, *a, **k): clock.tick()
        def on_log(self, args, state, control, logs=None, **k):
            if 'loss' in logs: clock.losses.append(float(logs['loss']))
    class Data(torch.utils.data.Dataset):
        def __len__(self): return len(ids)
        def __getitem__(self, i): return dict(input_ids=ids[i], labels=ids[i])
    class InOrder(Trainer):
        def _get_train_sampler(self, *a): return torch.utils.data.SequentialSampler(self.train_dataset)
    with tempfile.TemporaryDirectory() as tmp:
        args = TrainingArguments(tmp, per_device_train_batch_size=recipe.batch, max_steps=recipe.steps, learning_rate=recipe.lr, lr_scheduler_type='constant', weight_decay=recipe.weight_decay, adam_beta2=.95,
            max_grad_norm=recipe.clip, logging_steps=1 if tokens else 10_000, save_strategy='no', bf16=recipe.precision=='bf16', use_cpu=device=='cpu', disable_tqdm=True, report_to='none')
        InOrder(build(recipe), args, train_dataset=Data(), callbacks=[Timed()]).train()
    return clock

def matrix_limit(precision, device, repeats=5):
    "FLOP/s of a product of square matrices in this precision: the best of some."
    n = 2048 if device=='cpu' else 8192
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16 if precision=='bf16' else torch.float32) for _ in range(2))
    def once():
        start = time.perf_counter()
        (a@b).flatten()[0].item()
        return time.perf_counter()-start
    return 2*n**3/min(once() for _ in range(repeats))

PRODUCTS = ('aten::mm', 'aten::addmm', 'aten::addmm_', 'aten::bmm', 'aten::baddbmm', 'flash_attention', 'efficient_attention')

def products_share(recipe, rows, device):
    "Which share of a bare step, the second one, is matrix products and attention."
    from torch.profiler import ProfilerActivity, profile
    bare(recipe.but(tokens=recipe.batch*recipe.window), rows, device)
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA]*(device=='cuda')]) as seen: bare(recipe.but(tokens=recipe.batch*recipe.window), rows, device)
    spent = {e.key: e.self_device_time_total if device=='cuda' else e.self_cpu_time_total for e in seen.key_averages()}
    return sum(t for k,t in spent.items() if k in PRODUCTS or any(p in k for p in PRODUCTS[-2:]))/sum(spent.values())

def fast_bf16(device): return device!='cpu' or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()

def main():
    o = options(__doc__)
    device = torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else 'cpu'
    precision = 'bf16' if fast_bf16(device) else 'fp32'
    steps, rounds = (4, 2) if o.quick else (6, 5)
    recipe = proxy(steps, precision=precision)
    rows, out = Rows(recipe), []
    curves = dict(ours=ours(recipe, rows, device).losses, bare=bare(recipe, rows, device).losses, trainer=trainer(recipe, rows, device, recipe.window+1).losses)
    apart = max(abs(a-b)/b for k in ('ours', 'trainer') for a,b in zip(curves[k], curves['bare'], strict=True))
    assert apart<(2e-2 if precision=='bf16' else 2e-4), f'the loss curves differ: {curves}'
    print(f'{precision} on {device}, {torch.get_num_threads()} threads; loss curves agree to {apart:.1e}: '+' '.join(f'{l:.4f}' for l in curves['ours']), flush=True)
    plain = recipe.but(objective={'name': 'causal_lm', 'rows': 0})
    ways = dict(ours=lambda: ours(recipe, rows, device), compiled=lambda: ours(recipe, rows, device, True), plain=lambda: ours(plain, rows, device), bare=lambda: bare(recipe, rows, device), trainer=lambda: trainer(recipe, rows, device))
    found, firsts, limits = {k: [] for k in ways}, [], []
    os.environ['TORCHINDUCTOR_CACHE_DIR'] = cache = tempfile.mkdtemp()       # the first compilation is a cold one
    atexit.register(shutil.rmtree, cache, ignore_errors=True)
    for r in range(rounds):
        limits.append(matrix_limit(precision, device))
        for k in list(ways)[::1 if r%2 else -1]:
            clock = ways[k]()
            found[k].append(clock.seconds())
            if k=='compiled': firsts.append(np.subtract(*clock.ticks[1::-1])-clock.seconds())
        print(f'round {r+1}: '+', '.join(f'{k} {found[k][-1][0]:.3f} s (cpu {found[k][-1][1]:.3f})' for k in ways), flush=True)
    compiling = np.max(firsts, 0)
    found['compiled in a run'] = [s+compiling/RUN for s in found['compiled']]
    med = lambda a, b, i: statistics.median(x[i]/y[i] for x,y in zip(found[a], found[b]))
    tokens = recipe.batch*recipe.window
    rate = lambda k: tokens/statistics.median(x[0] for x in found[k])
    for i,what in enumerate(('wall', 'processor')):
        out.append(Row(f'time of a step, {what}: Learner with the plain loss over a bare loop', med('plain', 'bare', i), 'x', bar=1.03, better='lower'))
        out.append(Row(f'speed, {what}: Learner over Trainer', med('trainer', 'ours', i), 'x', bar=1., better='higher'))
        out.append(Row(f'speed, {what}: Learner with compile over Trainer, compiling ({compiling[i]:.0f} s) shared out over {RUN:,} steps', med('trainer', 'compiled in a run', i), 'x', bar=1.3 if precision=='bf16' else 1., better='higher'))
        out.append(Row(f'speed, {what}: Learner over Learner with the plain loss', med('plain', 'ours', i), 'x'))
    out.append(Row('most that a loop of nothing but matrix products and attention could gain over a bare loop', 1/products_share(recipe, rows, device), 'x'))
    out.append(Row('compile pays in a run of this many steps or more', _pays(found, firsts), 'steps'))
    out.append(Row('tokens a second', rate('ours'), 'tokens/s', 'Trainer', rate('trainer')))
    share = lambda k: statistics.median(estimate(recipe)['flops_per_token']*tokens/x[0]/l for x,l in zip(found[k], limits))
    out.append(Row('share of the matrix-product limit', share('ours'), '', 'Trainer', share('trainer')))
    if device=='cuda': out += utilisation(steps)
    mine, theirs = loop_cost(rounds)
    if precision=='fp32': out += lacking(rounds)
    out.append(Row('the loop itself, a step of a tiny model, processor', mine, 'ms', 'bare loop', theirs))
    finish(out, o)

PEAKS = {'H100 PCIe': 756e12, 'H100 NVL': 835e12, 'H100': 989e12, 'H200': 989e12, 'B200': 2250e12, 'A100': 312e12, 'L40S': 362e12, 'L4': 121e12} # dense bf16 FLOP/s by the maker's data sheets

def peak_of(device)->tuple:
    "FLOP/s that a device can do in bf16, and where the number is from."
    name = torch.cuda.get_device_name() if device=='cuda' else device
    sheet = next((v for k,v in PEAKS.items() if k in name), None)
    return (sheet, f'of {sheet/1e12:,.0f} TFLOP/s ({name})') if sheet else ((limit := matrix_limit('bf16', device)), f'of the measured {limit/1e12:,.3g} TFLOP/s ({name})')

def utilisation(steps, sizes=(12, 18), window=1024, vocab=50304, device='cuda'):
    "Model FLOP utilisation in bf16: FLOPs of forward and backward by the formula, a second, over what the device can do; the largest batch that surely fits."
    peak, unit = peak_of(device)
    free, rows = torch.cuda.mem_get_info()[0] if device=='cuda' else 2**30, []
    for size in sizes:
        made = lambda b, **kw: Recipe(weights={'text': 1.}, tokens=(steps+4)*b*window, batch=b, size=size, window=window, vocab=vocab, precision='bf16', lr=1e-3, warmup=0., schedule='constant', max_epochs=1e6, **kw)
        recipe = next(r for b in (64, 32, 16, 8, 4, 2, 1) if 2*estimate(r := made(b))['training_bytes']<free or b==1)
        e, text, found = estimate(recipe), Rows(recipe), {}
        for precision in ('bf16', 'bf16_weights'):
            for compiled in (False, True):
                spent = ours(recipe.but(precision=precision), text, device, compiled).seconds()[0]
                found[precision+', compiled'*compiled] = e['flops_per_token']*recipe.batch*window/spent/peak
                if device=='cuda': torch.cuda.empty_cache()
        name, best = f"model FLOP utilisation, {e['parameters']/1e6:.0f}M parameters, {recipe.batch} x {window} tokens", max(found, key=found.get)
        rows += [Row(f'{name}: {k}', v, unit) for k,v in found.items()] + [Row(f'{name}: the best ({best})', found[best], unit, bar=.45)]
    return rows

def lacking(rounds):
    "bf16 on a processor that has none: 3 steps of 2 x 256 tokens."
    recipe = proxy(3).but(precision='bf16', batch=2, tokens=3*2*256)
    rows, found, curves = Rows(recipe), {k: [] for k in ('bf16', 'bf16_weights', 'fp32', 'trainer')}, {}
    for r in range(rounds):
        for k in list(found)[::1 if r%2 else -1]:
            clock = trainer(recipe, rows, 'cpu', recipe.window+1) if k=='trainer' else ours(recipe.but(precision=k), rows, 'cpu')
            found[k].append(clock.seconds())
            curves[k] = clock.losses
    apart = max(abs(a-b)/b for k in ('bf16', 'bf16_weights') for a,b in zip(curves[k], curves['trainer'], strict=True))
    assert apart<2e-2, f'the loss curves differ: {curves}'
    print(f'bf16 without hardware for it: loss curves agree to {apart:.1e}; '+', '.join(f'{k} {np.median([s[0] for s in v]):.2f} s' for k,v in found.items()), flush=True)
    med = lambda a, b, i: statistics.median(x[i]/y[i] for x,y in zip(found[a], found[b]))
    return [*(Row(f'speed in bf16 that the processor lacks, {what}: Learner over Trainer', med('trainer', 'bf16', i), 'x', bar=1.3, better='higher') for i,what in enumerate(('wall', 'processor'))),
            Row('the same with bf16 weights, processor', med('trainer', 'bf16_weights', 1), 'x', bar=1.3, better='higher'),
            Row('what the rounding costs, processor: bf16 over fp32', med('bf16', 'fp32', 1), 'x')]

def _pays(found, firsts):
    "Steps after which the first compilation is won back."
    saved = statistics.median(a[0]-b[0] for a,b in zip(found['ours'], found['compiled']))
    return max(f[0] for f in firsts)/saved if saved>0 else float('nan')

def loop_cost(rounds):
    "Processor milliseconds of a step of one layer and 2 x 16 tokens: Learner, bare loop."
    tiny = Recipe(weights={'text': 1.}, tokens=2*16*200, size=1, vocab=64, window=16, batch=2, lr=1e-3, warmup=0., schedule='constant')
    rows = Rows(tiny)
    both = [[1000*f(tiny, rows, 'cpu').seconds()[1] for f in (ours, bare)] for _ in range(rounds)]
    return [statistics.median(v) for v in zip(*both)]

if __name__=='__main__': main()
