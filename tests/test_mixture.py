"""Properties of mixtures over random weights, sizes and seeds: what single examples cannot show."""
import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from llmbench.mixers import weigh
from llmbench.mixture import Mixture, cap_weights, feasible, nearest_shares
from llmbench.stream import Phase, Stream

few = settings(max_examples=40, deadline=None)
positive = st.floats(1e-6, 1, allow_nan=False)
shares = st.lists(positive, min_size=1, max_size=12).map(lambda w: np.array(w)/sum(w))

# ---- mixtures

@st.composite
def mixtures(draw):
    names = draw(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=5, unique=True))
    w = np.array([draw(positive) for _ in names])
    sizes = {n: draw(st.integers(2000, 10**7)) for n in names}
    window = draw(st.integers(1, 512))
    return Mixture(dict(zip(names, (w/w.sum()).tolist())), sizes, draw(st.integers(window, 10**7)), window, None, draw(st.integers(0, 9)))

@few
@given(mixtures())
def test_json_round_trip(tmp_path_factory, mix):
    path = tmp_path_factory.mktemp('mix')/'mix.json'
    mix.save(path)
    again = Mixture.open(path)
    assert again==mix and again.fingerprint==mix.fingerprint and len(mix.diff(again))==0
    assert json.loads(path.read_text())['hash']==mix.fingerprint

@few
@given(mixtures())
def test_plan_counts_what_the_stream_does(mix):
    t, n = mix.plan(), min(mix.n, 5000)
    assert t.tokens.sum()==mix.n*mix.window and (t.unique<=mix.windows*mix.window).all() and (t.worth<=t.tokens+1e-6).all()
    source, _ = mix.stream().block(0, n)
    assert (np.bincount(source, minlength=len(t))==mix.stream().counts(n)).all()

@few
@given(shares, st.floats(.1, 8), st.integers(0, 3))
def test_feasible_weights_are_accepted_and_nearest(w, load, seed):
    rng = np.random.default_rng(seed)
    sizes = {f's{k}': int(n) for k,n in enumerate(rng.integers(5_000, 500_000, len(w)))}
    names, budget = list(sizes), int(load/2*sum(sizes.values()))+100
    try: near = feasible(dict(zip(names, w)), sizes, budget, 2.0, window=64)
    except ValueError:
        assert budget>2*sum(sizes.values())-64*3*len(w)
        return
    Mixture(near, sizes, budget, 64, 2.0)
    cap = np.array([2.0*((n-1)//64)/(budget//64) for n in sizes.values()])
    v = np.array([near[n] for n in names])
    free = v<cap*(1-1e-6)
    if free.sum()>1: assert np.ptp(v[free]/w[free])<1e-6*max(v[free]/w[free])      # the sources below their cap keep their proportions

def test_order_of_the_sources_does_not_matter():
    a = Mixture(dict(x=.25, y=.75), dict(y=90_000, x=50_000), 50_000)
    b = Mixture(dict(y=.75, x=.25), dict(x=50_000, y=90_000), 50_000)
    assert a==b and a.fingerprint==b.fingerprint and a.stream()[77]==b.stream()[77]

def test_a_source_with_weight_zero_may_be_empty():
    mix = Mixture(dict(full=1., empty=0.), dict(full=10_000, empty=0), 5_000, window=100)
    assert set(mix.stream().block(0, mix.n)[0])=={1} and mix.plan().tokens.tolist()==[0, 5000]

@pytest.mark.parametrize('change, says', [
    (dict(weights=dict(a=-.1, b=1.1)), '>= 0'), (dict(weights={}), 'no weights'), (dict(weights=dict(a=.5, c=.5)), "no source called 'c'"),
    (dict(window=0), 'window=0'), (dict(max_epochs=0), 'max_epochs'), (dict(max_epochs=dict(c=2)), "no source called 'c'"),
    (dict(phases=((10, dict(a=.5)),)), 'sum to 0.5'), (dict(phases=((10**9, dict(a=.5, b=.5)),)), 'phases start'), (dict(weights=dict(a=float('inf'), b=0)), '>= 0'),
    (dict(budget=10**7), 'largest budget'), (dict(budget=10**9), 'No weights over these sources fit')])
def test_refusals(change, says):
    mix = Mixture(dict(a=.5, b=.5), dict(a=1_000_000, b=10_000_000), 1_000_000)
    with pytest.raises(ValueError, match=says.replace('(', r'\(')): mix.but(**change)

def test_largest_budget_of_the_message_is_right():
    sizes = dict(a=1_000_000, b=10_000_000)
    with pytest.raises(ValueError) as e: Mixture(dict(a=.5, b=.5), sizes, 10**8)
    top = int(str(e.value).rsplit('budget is ', 1)[1].split()[0])
    Mixture(dict(a=.5, b=.5), sizes, top)
    with pytest.raises(ValueError): Mixture(dict(a=.5, b=.5), sizes, int(top*1.01))

# ---- mixers

@few
@given(st.dictionaries(st.text(min_size=1, max_size=4), st.integers(0, 10**9), min_size=1, max_size=8).filter(lambda d: sum(d.values())>0), st.floats(.01, 3), st.floats(1, 6))
def test_mixers_give_weights(sizes, load, epochs):
    budget = load*sum(sizes.values())
    for name, kw in dict(natural={}, uniform={}, temperature=dict(t=3.), unimax=dict(budget=budget, max_epochs=epochs)).items():
        w = weigh(name, sizes, **kw)
        assert list(w)==list(sizes) and abs(sum(w.values())-1)<1e-9 and all(v>=0 for v in w.values()) and all(w[k]==0 for k,n in sizes.items() if n==0)
        if name=='unimax' and epochs>load: assert all(w[k]*budget<=epochs*n*(1+1e-9) for k,n in sizes.items())

@few
@given(shares, st.floats(.05, .9))
def test_cap_weights_is_the_kl_projection(w, cap):
    hi = np.full(len(w), cap)
    if cap*len(w)<1:
        with pytest.raises(ValueError): cap_weights(w, hi)
        return
    v = cap_weights(w, hi)
    kl = lambda p: (p*np.log(np.maximum(p, 1e-300)/w)).sum()
    assert abs(v.sum()-1)<1e-12 and (v<=cap+1e-9).all()
    rng = np.random.default_rng(0)
    for _ in range(20):                        # no feasible neighbour is nearer
        other = v+rng.dirichlet(np.ones(len(w)))*.05
        other = np.minimum(other/other.sum(), cap)
        if abs(other.sum()-1)<1e-12: assert kl(other)>=kl(v)-1e-9

# ---- bounds, groups, phases: the nearest plan against scipy

def planned(rng):
    "A random mixture in nested groups with phases, bounds and caps, perhaps an impossible one: arguments of Mixture, and as matrices for scipy."
    names = ['a', 'g/b', 'g/c', 'g/h/d', 'g/h/e', 'f'][:rng.integers(2, 7)]
    K, P, n, window = len(names), int(rng.integers(1, 4)), 1000, 10
    w = rng.dirichlet(np.ones(K), P).round(6)+1e-3
    w /= w.sum(1, keepdims=True)
    starts, ramps = [0, 300, 700][:P], [0, int(rng.integers(0, 500)), int(rng.integers(0, 300))][:P]
    sizes = rng.integers(1500, 9000, K)
    keys = names+[g for g in ('g', 'g/h') if sum(s.startswith(g+'/') for s in names)>1]
    least = {k: float(rng.uniform(0, .25)) for k in keys if rng.random()<.25}
    most = {k: float(rng.uniform(.3, .9)) for k in keys if rng.random()<.3}
    caps = {k: float(rng.uniform(1, 4)) for k in names if rng.random()<.6}
    fields = dict(weights=dict(zip(names, w[0])), sizes=dict(zip(names, sizes)), budget=n*window, window=window, max_epochs=caps, min_share=least, max_share=most,
                  phases=[dict(start=s, weights=dict(zip(names, v)), ramp=r, shape='cosine') for s,v,r in list(zip(starts, w, ramps))[1:]])
    return names, w, keys, fields

def constraints(names, w, keys, fields, part):
    "A (.., P*K) and b of A v <= b, and the sums."
    P, K = w.shape
    rows, b = [], []
    inside = lambda k: np.array([s==k or s.startswith(k+'/') for s in names], float)
    for p in range(P):
        at = np.eye(P)[p]
        for sign, field in [(-1, 'min_share'), (1, 'max_share')]:
            for k,v in fields[field].items(): rows.append(sign*np.kron(at, inside(k))); b.append(sign*v)
    for k,v in fields['max_epochs'].items(): rows.append(np.kron(part, inside(k))); b.append(v*((fields['sizes'][k]-1)//10)/1000)
    return np.array(rows).reshape(-1, P*K), np.array(b), np.kron(np.eye(P), np.ones(K))

@pytest.mark.parametrize('seed', range(40))
def test_nearest_plan_is_that_of_scipy(seed):
    from scipy.optimize import linprog, minimize
    names, w, keys, fields = planned(np.random.default_rng(seed))
    free = Mixture(**fields|dict(max_epochs=None, min_share=None, max_share=None))
    phases = [Phase(0, np.eye(len(w))[0]), *(Phase(p['start'], e, p['ramp'], p['shape']) for p,e in zip(free.phases, np.eye(len(w))[1:]))]
    part = Stream(range(len(w)), [10**6]*len(w), phases, free.n).target(free.n)/free.n        # the part of the run that has the weights of each phase
    A, b, sums = constraints(names, w, keys, fields, part)
    possible = linprog(np.zeros(w.size), A if len(A) else None, b if len(A) else None, sums, np.ones(len(w)), bounds=(0, 1))
    if possible.status==2:
        with pytest.raises(ValueError): Mixture.nearest(**fields)
        return
    got = Mixture.nearest(**fields)                      # a Mixture: it passed the check of the plan
    v = np.array([[x[k] for k in names] for x in (got.weights, *(p['weights'] for p in got.phases))])
    kl = lambda x: (np.repeat(part, len(names))*x*np.log(np.maximum(x, 1e-12)/w.ravel())).sum()
    tight = [dict(type='eq', fun=lambda x: sums@x-1, jac=lambda x: sums)]+([dict(type='ineq', fun=lambda x: b-A@x, jac=lambda x: -A)] if len(A) else [])
    best = minimize(kl, possible.x*.5+w.ravel()*.5, jac=lambda x: np.repeat(part, len(names))*(np.log(np.maximum(x, 1e-12)/w.ravel())+1), bounds=[(1e-9, 1)]*w.size,
                    constraints=tight, method='SLSQP', options=dict(maxiter=500, ftol=1e-12))
    assert (A@v.ravel()<=b+2e-6).all() and np.allclose(v.sum(1), 1)
    assert kl(v.ravel())<=best.fun+1e-5, (kl(v.ravel()), best.fun)
    if best.success: assert kl(v.ravel())>=best.fun-1e-4

# ---- what a mixture promises

def tree(**fields):
    return Mixture(**dict(weights={'web': {'science': {'high': .1, 'low': .2}, 'news': .3}, 'code': .4}, sizes={'web': {'science': {'high': 3e5, 'low': 2e6}, 'news': 4e6}, 'code': 2e6},
                          budget=2_000_000, window=100, max_share={'web': .7}, tokens_per_document={'web': {'science': {'high': 3000, 'low': 900}, 'news': 600}, 'code': 1200})|fields)

def test_nested_and_path_names_are_the_same_mixture(tmp_path):
    a = tree().then(5000, {'web': {'science': {'high': .2, 'low': .2}, 'news': .2}, 'code': .4}, ramp=900, shape='cosine')
    flat = {'web/science/high': .2, 'web/science/low': .2, 'web/news': .2, 'code': .4}
    assert a==tree().then(5000, flat, 900, 'cosine') and a!=tree().then(5000, flat, 900)
    a.save(tmp_path/'a.json')
    assert Mixture.open(tmp_path/'a.json')==a and json.loads((tmp_path/'a.json').read_text())['phases']==[dict(start=5000, weights=flat, ramp=900, shape='cosine')]
    assert set(a.diff(tree().then(5000, flat, 901, 'cosine')).what)=={'phases 0 ramp'} and set(a.diff(a.but(max_share={'web': .8})).what)=={'max_share web'}

def test_a_file_of_the_first_version_opens(tmp_path):
    old = dict(kind='mixture', weights=dict(a=.5, b=.5), sizes=dict(a=100001, b=50001), budget=100000, window=100, max_epochs=dict(a=3.0), seed=0, unit='tokens',
               phases=[[300, dict(a=.9, b=.1)]], hash='1704b3a053d59bb5')
    (tmp_path/'old.json').write_text(json.dumps(old))
    mix = Mixture.open(tmp_path/'old.json')
    assert mix.phases==(dict(start=300, weights=dict(a=.9, b=.1), ramp=0, shape='linear'),)

@few
@given(st.integers(0, 10**6))
def test_plans_by_phase_and_group_add_up(seed):
    names, _, _, fields = planned(np.random.default_rng(seed))
    mix = Mixture(**fields|dict(max_epochs=None, min_share=None, max_share=None, tokens_per_document=dict.fromkeys(names, 7.)))
    total, by, stream = mix.plan().set_index('source'), mix.plan(by='phase'), mix.stream()
    for c in ('tokens', 'documents', 'epochs', 'unique', 'repeated', 'worth'): assert np.allclose(by.groupby('source')[c].sum(), total[c])
    assert np.allclose(by.groupby('phase').weight.sum(), 1) and np.allclose((by.weight*(by.to_sequence-by.from_sequence)).groupby(by.source).sum()/mix.n, total.weight)
    assert (abs(total.weight*mix.n-stream.target(mix.n))<.01).all() and (abs(total.weight*mix.n-total.tokens/mix.window)<=stream.error_bound+.01).all()
    source, _ = stream.block(0, mix.n)
    for r in by[by.runs_out_at_sequence.notna()].itertuples():
        assert np.flatnonzero(source==mix.sources.index(r.source))[mix.windows[mix.sources.index(r.source)]]==r.runs_out_at_sequence
    assert set(by[by.runs_out_at_sequence.notna()].source)==set(total[total.repeated>0].index)
    g = mix.plan(by='group')
    if len(g): assert g.set_index('group').tokens['g']==total.tokens[[n for n in names if n.startswith('g/')]].sum()

def test_units_name_the_same_order():
    a = tree()
    d = a.in_unit('documents')
    assert d.unit=='documents' and d.weights['web/news']>.4 and np.allclose(list(d.in_unit('tokens').weights.values()), list(a.weights.values()))
    assert (d.plan().tokens==a.plan().tokens).all()
    share = d.plan().documents/d.plan().documents.sum()
    assert np.allclose(share, list(d.weights.values()), atol=1e-3)
    assert np.allclose(list(d.but(max_share=None).then(5000, d.weights).phases[0]['weights'].values()), list(d.weights.values()))
    with pytest.raises(ValueError, match='share 0.6 '): d.but(max_share={'web': .5})          # bounds are shares of the tokens in either unit
    near = Mixture.nearest(d.weights, d.sizes, d.budget, max_epochs=4., window=100, unit='documents', tokens_per_document=d.tokens_per_document, max_share={'web': .5})
    assert np.isclose(near.in_unit('tokens').weights['code'], .5)

def test_sizes_and_lengths_are_measured(tmp_path):
    from llmbench.corpus import Corpus
    from llmbench.tokens import fertility, train_tokenizer, write_tokens
    corpus = Corpus.of({'web/a': [f'the {i}th short text' for i in range(300)], 'b': [' '.join(f'{i} and {j} are numbers' for j in range(90)) for i in range(10)]})
    tokens = write_tokens(corpus, train_tokenizer(corpus, vocab=270), tmp_path, progress=False)
    measured, mix = fertility(tokens), Mixture.of({'web': {'a': tokens['web/a']}, 'b': tokens['b']}, window=32)
    assert mix.sizes==measured.tokens.to_dict() and mix.tokens_per_document==measured.tokens_per_document.to_dict() and mix.budget==measured.tokens.sum()
    assert np.allclose(list(mix.weights.values()), measured.tokens/measured.tokens.sum()) and mix.tokens_per_document['b']>20*mix.tokens_per_document['web/a']
    documents = Mixture.of(tokens, unit='documents', window=32)
    assert np.isclose(documents.weights['b'], 10/310) and (documents.plan().tokens==mix.plan().tokens).all()
    assert np.allclose(mix.plan().documents, [10, 300], rtol=.02)

def test_what_was_read_stays_read():
    mix = Mixture(dict(a=.5, b=.5), dict(a=100_001, b=50_001), 100_000, window=100)
    with pytest.raises(ValueError, match='from sequence 300') as e: mix.then(300, dict(a=.2, b=.8), max_epochs=1.)
    assert 'from sequence 0' not in str(e.value) and mix.then(300, dict(a=.6, b=.4), max_epochs=1.).max_epochs==1
    near = Mixture.nearest(mix.weights, mix.sizes, mix.budget, fixed=1, window=100, max_epochs=1., phases=[(300, dict(a=.2, b=.8))])
    assert near.weights==mix.weights and np.isclose(near.plan().epochs[1], 1, atol=.01) and (near.stream().block(0, 300)[1]==mix.stream().block(0, 300)[1]).all()
    with pytest.raises(ValueError, match="read \\['b'\\] too often already"): mix.then(700, dict(a=1., b=0.), max_epochs=dict(b=.6))

@pytest.mark.parametrize('change, says', [
    (dict(min_share={'wbe': .1}), "no source or group called 'wbe'.*Did you mean 'web'"), (dict(max_share=1.5), 'between 0 and 1'), (dict(max_share={'web': -.1}), '>= 0'),
    (dict(max_share={'web': .5}), 'web: share 0.6 .at most 0.5.*nearest weights that fit'), (dict(min_share=.11), 'web/science/high: share 0.1 .at least 0.11'),
    (dict(min_share={'web': .8}), "'web' must have at least 0.8 and may have at most 0.7"), (dict(max_share={'web': .5, 'code': .4}), "may have 0.9 together, less than 1"),
    (dict(min_share={'web/news': .4, 'web/science': .4}), "'web' may have at most 0.7, but its sources must have 0.8"),
    (dict(unit='words'), "no unit called 'words'"), (dict(unit='documents', tokens_per_document={'code': 3}), 'no mean length for'), (dict(tokens_per_document={'cod': 3}), "no source called 'cod'"),
    (dict(tokens_per_document={'code': 0}), 'must be > 0'), (dict(sizes={'web': {'science': {'high': float('nan'), 'low': 2e6}, 'news': 4e6}, 'code': 2e6}), 'sizes must be numbers'),
    (dict(sizes={'web': {'science': {'high': 0, 'low': 2e6}, 'news': 4e6}, 'code': 2e6}), "{'web/science/high': 0}"), (dict(weights={'web': {}, 'code': 1}), "group 'web' is empty"),
    (dict(phases=[dict(start=3, weight={})]), "no field called 'weight'"), (dict(phases=[(3,)]), 'needs a start'), (dict(phases=[(3, {'code': .5})]), 'sum to 0.5'),
    (dict(max_epochs=float('nan')), 'max_epochs=nan'), (dict(budget=float('nan')), 'budget=nan'), (dict(window='big'), "window='big'"), (dict(weights=[.5, .5]), 'a dict of source'),
    (dict(min_share=.3, max_share=None), 'all sources together must have 1.2'), (dict(phases=[dict(start=3, weights=None)]), 'no weights'), (dict(sizes=7), 'not 7'), (dict(weights={'a': True})  , 'no source')])
def test_refusals_of_groups_and_bounds(change, says):
    with pytest.raises(ValueError, match=says): tree(**change)

def test_refusals_of_phases():
    mix, w = tree(), tree().weights
    for args, says in [((5, w, -1), 'ramp=-1'), ((5, w, 10**6), 'ramp=1000000'), ((5, w, 5, 'cosin'), "Did you mean 'cosine'"), ((0, w), 'between 1 and'), ((5, {'code': 1.}), 'no weight for')]:
        with pytest.raises(ValueError, match=says): mix.then(*args)
    with pytest.raises(TypeError, match="no field called 'max_epoch'"): mix.then(5, w, max_epoch=3)
    with pytest.raises(ValueError, match='share=2'): mix.anneal(w, 2)
    with pytest.raises(ValueError, match="source and also the group"): Mixture({'web': .5, 'web/a': .5}, {'web': 10**6, 'web/a': 10**6}, 10**5, max_share={'web': .5})
    with pytest.raises(ValueError, match="no table called 'phases'"): mix.plan(by='phases')

def test_a_numpy_weight_is_a_number(): assert tree(weights={'web': {'science': {'high': np.float32(.25), 'low': np.float64(.25)}, 'news': 0}, 'code': np.float64(.5)}).weights['code']==.5

def test_sixty_four_sources_with_groups_are_quick():
    import time
    rng = np.random.default_rng(0)
    w = rng.dirichlet(np.ones(64))
    names = [f'g{k%8}/h{k%16}/s{k}' for k in range(64)]
    most = {f'g{k}': .13 for k in range(8)}|{f'g{k%8}/h{k}': .08 for k in range(16)}
    start = time.perf_counter()
    near = nearest_shares(dict(zip(names, w)), None, most)
    assert time.perf_counter()-start<2 and all(sum(v for s,v in near.items() if s.startswith(g+'/'))<=hi+1e-9 for g,hi in most.items())
