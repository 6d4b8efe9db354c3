"Mixing methods against definitions, brute force and real proxies."
import itertools, json, subprocess, sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from llmbench.core import rng
from llmbench.corpus import Corpus
from llmbench.mixers import hashed_ngrams, mix_by, mixers, plot_weights, weigh, words_and_pairs

few = settings(max_examples=40, deadline=None)
TEXTS = dict(a=['the cat sat on the mat', 'a cat and a dog'], b=['机器学习 很有趣', 'def f(x): return x'], c=['one two three', ''])
SIZES = dict(a=600, b=300, c=100)
LIGHT = dict(natural={}, uniform={}, temperature=dict(t=3.), unimax=dict(budget=900.), epoch_capped=dict(budget=900.), manual=dict(weights=dict(a=1, b=2, c=3)),
             dsir=dict(texts=TEXTS, target=['a cat on the mat'], share=.5), target_matching=dict(texts=TEXTS, target=['a cat']), chameleon=dict(texts=TEXTS))

# --- the registry

def test_every_method_names_its_source_and_has_a_test():
    assert set(mixers.all())>={*LIGHT, 'doremi', 'doge'} and all(mixers.sources[m] for m in [*LIGHT, 'doremi', 'doge'])

@pytest.mark.parametrize('method', LIGHT)
def test_weights_follow_their_names(method):
    "Sum 1, keys as given, and the order of the sources decides nothing."
    w = weigh(method, SIZES, **LIGHT[method])
    assert list(w)==list(SIZES) and abs(sum(w.values())-1)<1e-9 and min(w.values())>=0
    for order in itertools.permutations(SIZES):
        v = weigh(method, {k: SIZES[k] for k in order}, **LIGHT[method])
        assert all(abs(v[k]-w[k])<1e-3 for k in w)

@pytest.mark.parametrize('method', [m for m in LIGHT if m!='manual'])
def test_an_empty_source_gets_nothing(method):
    w = weigh(method, SIZES|dict(c=0), **LIGHT[method])
    assert w['c']==0 and abs(w['a']+w['b']-1)<1e-9
    with pytest.raises(ValueError, match='tokens|sum to'): weigh(method, dict.fromkeys(SIZES, 0), **LIGHT[method])

@pytest.mark.parametrize('sizes', [dict(a=1, b=-1), dict(a=1, b=float('nan')), dict(a=1, b=float('inf')), {}])
def test_bad_sizes(sizes):
    with pytest.raises(ValueError, match='weigh: '): weigh('uniform', sizes)

def test_options_by_source_of_any_kind():
    seen = {}
    def spy(sizes, numbers, lists, objects, names): seen.update(numbers=numbers, lists=lists, objects=objects, names=names); return np.array([.5, .5])
    weigh(spy, dict(x=1, y=2), numbers=dict(y=2, x=1), lists=dict(y=['b'], x=['a', 'c']), objects=dict(y=None, x='t'))
    assert isinstance(seen['numbers'], np.ndarray) and seen['numbers'].tolist()==[1, 2] and seen['lists']==[['a', 'c'], ['b']] and seen['objects']==['t', None] and seen['names']==['x', 'y']

@pytest.mark.parametrize('bad', [[.5, .6], [1.], [-.5, 1.5], [np.nan, 1]])
def test_a_method_that_returns_no_weights_is_named(bad):
    def mine(sizes): return np.array(bad)
    with pytest.raises(ValueError, match='mine gave'): weigh(mine, dict(x=1, y=1))

def test_a_name_of_its_own_cannot_be_taken_but_a_page_may_run_again():
    code = '''
from llmbench.mixers import mixers
@mixers
def unimax(sizes): "Another thing."; return sizes
try: mixers.all()
except ValueError as e: assert 'exists already' in str(e); print('refused')
'''
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout=='refused\n'

def test_the_picture():
    fig = plot_weights({m: weigh(m, SIZES, **LIGHT[m]) for m in ('natural', 'uniform')}|{'<b>': dict(d=1.)})
    assert [t.name for t in fig.data]==['a', 'b', 'c', 'd'] and sum(t.x[0] for t in fig.data)==pytest.approx(1) and fig.data[3].x[2]==1

# --- sizes

@few
@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=6), st.floats(.01, 20), st.floats(.2, 8))
def test_unimax_is_the_most_even_within_the_caps(sizes, load, epochs):
    "Every source below its cap gets the same, and no capped one gets more."
    n, budget = np.array(sizes, float), load*sum(sizes)
    w = mix_by('unimax', n, budget=budget, max_epochs=epochs)
    if epochs<=load: return np.testing.assert_allclose(w, n/n.sum(), rtol=1e-9)
    free = w*budget<epochs*n*(1-1e-9)
    assert (w*budget<=epochs*n*(1+1e-9)).all() and np.ptp(w[free])<1e-9 and (not free.any() or (w[~free]<=w[free].max()+1e-9).all())

# --- texts

def test_hashed_ngrams_are_the_words_and_pairs():
    for t in (*TEXTS['a'], *TEXTS['b'], 'ＡＢ ab', 'x\0y', 'É é', '\ud83d'*0):
        assert hashed_ngrams([t]).sum()==len(words_and_pairs(t))
    assert hashed_ngrams(['the cat 机器'])[0].indices.tolist()==[2759, 5259, 6335, 7458, 7856, 8476, 8958] # the same on every machine and in every process

def test_gumbel_top_k_draws_without_replacement():
    "Frequencies of ordered pairs against those of drawing one after the other."
    from llmbench.ext.mixer_dsir import gumbel_top_k
    p, n, g = np.array([.5, .3, .2]), 20_000, rng('pairs')
    seen = np.zeros((3, 3))
    for _ in range(n): seen[tuple(gumbel_top_k(np.log(p), 2, g))] += 1
    want = np.array([[p[i]*p[j]/(1-p[i])*(i!=j) for j in range(3)] for i in range(3)])
    assert abs(seen/n-want).max()<.015
    for k in (0, 4):
        with pytest.raises(ValueError, match='between 1 and all'): gumbel_top_k(np.log(p), k, g)

def test_dsir_sees_through_samples():
    "A tenth of the documents of one source, said to stand for all, gives about the weights of all of them."
    g = rng('dsir')
    kind = {'x': 'red green blue'.split(), 'y': 'one two three red'.split()}
    docs = {s: [' '.join(g.choice(v, 12)) for _ in range(1500)] for s,v in kind.items()}
    target = [' '.join(g.choice(kind['x']+kind['y'], 12)) for _ in range(200)]
    sizes = {s: sum(len(d.split()) for d in t) for s,t in docs.items()}
    of = lambda texts: weigh('dsir', sizes, texts=texts, target=target, share=.1)['x']
    assert abs(of(docs)-of(docs|{'x': docs['x'][:150]}))<.05 and abs(of(docs)-.5)>.1

def test_dsir_keeps_what_is_like_the_target():
    from llmbench.ext.mixer_dsir import dsir_log_weights
    docs = ['the cat sat on the mat '*3]*5+['stocks fell sharply on monday '*3]*5
    w = dsir_log_weights(docs, ['a cat on a mat'], step=3)
    assert w[:5].min()>w[5:].max() and np.allclose(w, dsir_log_weights(docs, ['a cat on a mat'])) and dsir_log_weights(['', 'x'], ['x']).tolist()[0]==0
    corpus = Corpus.of(dict(cats=docs[:5], stocks=docs[5:]))
    assert weigh('dsir', dict(stocks=100, cats=100), texts=corpus, target=Corpus.of(['a cat on a mat']), share=.3)['cats']>.9

@few
@given(st.integers(2, 6), st.integers(0, 10**6))
def test_mixture_proportions_against_a_general_solver(K, seed):
    from llmbench.ext.mixer_target_matching import mixture_proportions
    g = rng('em', seed)
    q, t = g.dirichlet(np.ones(30), K), g.dirichlet(np.ones(30))
    f = lambda w: -(t*np.log(w@q)).sum()
    w = mixture_proportions(q, t, gap=1e-6)
    other = minimize(f, np.full(K, 1/K), bounds=[(0, 1)]*K, constraints=dict(type='eq', fun=lambda w: w.sum()-1), options=dict(ftol=1e-12))
    assert f(w)<=f(other.x/other.x.sum())+1e-6

@few
@given(st.integers(2, 6), st.integers(1, 8), st.integers(0, 10**6))
def test_nearest_in_hull_is_the_projection(K, D, seed):
    "No vertex lies on the target's side of the plane through the answer."
    from llmbench.ext.mixer_target_matching import nearest_in_hull
    g = rng('hull', seed)
    f, t = g.normal(size=(K, D))*10**g.uniform(-3, 3), g.normal(size=D)
    w = nearest_in_hull(f, t)
    x = w@f
    assert abs(w.sum()-1)<1e-9 and (w>=0).all() and ((f-x)@(t-x)).max()<=1e-6*(1+abs(f).max()**2+t@t)

def test_a_known_mixture_is_recovered_among_many():
    g = rng('known')
    words, truth = [f'w{i}' for i in range(3000)], dict(zip('abcdef', [.4, .3, .2, .1, 0, 0]))
    model = {s: g.dirichlet(np.full(3000, .05)) for s in truth}
    write = lambda s,n: ' '.join(g.choice(words, n, p=model[s]))
    w = weigh('target_matching', dict.fromkeys(truth, 1000), texts={s: [write(s, 20_000)] for s in truth}, target=[write(s, int(30_000*share)) for s,share in truth.items() if share])
    assert all(abs(w[s]-truth[s])<.02 for s in truth), w

@few
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6))
def test_leverage_scores_are_those_of_ridge_regression(K, D, seed):
    "s_i is how much the fit at i moves when its own value does, by the hat matrix of the other form."
    from llmbench.ext.mixer_chameleon import leverage_scores
    X, lam = rng('hat', seed).normal(size=(K, D)), .3
    assert np.allclose(leverage_scores(X@X.T, lam), np.diag(X@np.linalg.solve(X.T@X+lam*np.eye(D), X.T)))

# --- proxies

@pytest.fixture(scope='module')
def shards(tmp_path_factory):
    import torch
    from llmbench.readers import python_text
    from llmbench.tokens import train_tokenizer, write_tokens
    torch.set_num_threads(1)
    corpus = python_text(['licences', 'topics'], megabytes=.05)
    return write_tokens(corpus, train_tokenizer(corpus, vocab=300), tmp_path_factory.mktemp('shards'), progress=False)

TINY = dict(weights={'x': 1.}, tokens=2048, size=1, vocab=300, window=32, max_epochs=None)

def test_doremi_by_hand_from_its_own_losses(shards, tmp_path):
    "The run's weights, recomputed step by step from the two models' losses."
    import torch
    from llmbench.learner import Batches, train
    from llmbench.callbacks import Callback
    from llmbench.models import load_model
    from llmbench.ext.mixer_doremi import _group_dro
    from llmbench.objectives import token_losses
    from llmbench.recipe import Recipe
    from llmbench.reweigh import proxy_recipe
    recipe = proxy_recipe(Recipe(**TINY), shards)
    reference = load_model(train(recipe, shards, tmp_path/'reference').folder/'model').eval()
    dro, seen = _group_dro(reference, 1., 1e-3), []
    class Watch(Callback):
        def before_step(self, l):
            ids, k = l.batch['ids'], l.batch['source'].numpy()
            with torch.no_grad(): e = np.maximum((token_losses(l.model, ids)-token_losses(reference, ids)).numpy(), 0).mean(1)
            seen.append([e[k==s].mean() for s in range(2)])
    train(recipe.but(objective='doremi'), shards, tmp_path/'proxy', callbacks=[Watch(), dro], objective=dro.objective)
    w, total = np.array([.5, .5]), 0
    for e in seen:
        v = w*np.exp(e)
        w = .999*v/v.sum()+.0005
        total = total+w
    assert len(seen)==recipe.steps and np.allclose(total/len(seen), list(json.loads((tmp_path/'proxy'/'weights.json').read_text())['mean'].values()), atol=1e-6)
    source = Batches(recipe, shards)(0)['source']
    assert (source==0).any() and (source==1).any()

def test_doge_gradients_are_those_of_whole_models(shards, tmp_path):
    "The first step's score against gradients taken by plain backward passes on copies of the new model."
    import torch
    from llmbench.learner import Batches
    from llmbench.models import build
    from llmbench.objectives import token_losses
    from llmbench.ext.mixer_doge import gradient_alignment
    from llmbench.recipe import Recipe
    from llmbench.reweigh import proxy_recipe
    recipe = proxy_recipe(Recipe(**TINY), shards)
    batch = Batches(recipe, shards)(0)
    ids, source, flat = torch.from_numpy(batch['ids']), batch['source'], []
    for k in range(2):
        model = build(recipe)
        token_losses(model, ids[source==k]).mean().backward()
        flat.append(torch.cat([p.grad.flatten() for p in model.parameters()]).double())
    model = build(recipe)
    losses = token_losses(model, ids)
    W = gradient_alignment(torch.stack([losses[source==k].mean() for k in range(2)]), model.parameters(), [1, 1])
    assert np.allclose(W, [float(g@(flat[0]+flat[1])) for g in flat], rtol=1e-4)

@pytest.mark.parametrize('method', ['doremi', 'doge'])
def test_finished_proxies_are_taken_and_options_make_others(shards, tmp_path, method):
    from llmbench.recipe import Recipe
    sizes, recipe = {s: len(t) for s,t in shards.items()}|dict(empty=0), Recipe(**TINY)
    kw = dict(tokens=shards|dict(empty=None), recipe=recipe, folder=tmp_path)
    w = weigh(method, sizes, **kw)
    runs = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('model.safetensors')}
    assert weigh(method, sizes, **kw)==w and {p: p.stat().st_mtime_ns for p in tmp_path.rglob('model.safetensors')}==runs
    assert w['empty']==0 and abs(sum(w.values())-1)<1e-9
    weigh(method, sizes, **kw, **dict(doremi=dict(eta=.1), doge=dict(mu=1.))[method])
    assert len(list(tmp_path.glob(f'{method}-*')))==2 and len(list(tmp_path.glob('reference-*')))==(method=='doremi')

def test_doge_with_goals_by_source(shards, tmp_path):
    from llmbench.recipe import Recipe
    sizes, kw = {s: len(t) for s,t in shards.items()}, dict(tokens=shards, recipe=Recipe(**TINY), folder=tmp_path)
    w = {s: weigh('doge', sizes, **kw, target={k: float(k==s) for k in shards}) for s in shards}
    assert all(w[s][s]>.5 for s in shards)
