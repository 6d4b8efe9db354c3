"""Properties of mixtures over random weights, sizes and seeds: what single examples cannot show."""
import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from llmbench.mixers import weigh
from llmbench.mixture import Mixture, cap_weights, feasible

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
