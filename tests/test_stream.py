"""Properties of streams over random weights, phases, sizes and seeds: what single examples cannot show."""
import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from llmbench.loader import Loader, WindowSet, WindowStream, as_is, document_mask
from llmbench.mixture import Mixture
from llmbench.stream import PARTS, Phase, Splits, Stream, shuffled, whole_parts
from llmbench.windows import Ahead, Rows, gather

few = settings(max_examples=25, deadline=None)
positive = st.floats(1e-6, 1, allow_nan=False)
shares = st.lists(positive, min_size=1, max_size=12).map(lambda w: np.array(w)/sum(w))

@st.composite
def weights(draw, K):
    "Shares of K sources: even, steep, or with zeros."
    w = np.array([draw(st.floats(0, 1)) for _ in range(K)])**draw(st.sampled_from([1, 4, 12]))*np.array([draw(st.booleans()) or draw(st.booleans()) for _ in range(K)])
    return (w if w.sum()>0 else np.ones(K))/(w.sum() or K)

@st.composite
def streams(draw, most=4):
    "A stream of 1 to 6 sources and 1 to 4 phases, some with a ramp."
    K = draw(st.integers(1, 6))
    windows = [draw(st.integers(1, 300)) for _ in range(K)]
    phases, at = [], 0
    for j in range(draw(st.integers(1, most))):
        phases.append(Phase(at, draw(weights(K)), draw(st.integers(0, 300)) if j and draw(st.booleans()) else 0, draw(st.sampled_from(['linear', 'cosine']))))
        at += draw(st.integers(1, 400))
    return Stream([f's{k}' for k in range(K)], windows, phases, n=at+draw(st.integers(1, 400)), seed=draw(st.integers(0, 5)))

# ---- shares

@few
@given(shares, st.integers(20, 2**20))
def test_whole_parts(w, parts):
    n = whole_parts(w, parts)
    assert n.sum()==parts and (n[w>0]>=1).all()
    big = w*parts>len(w)
    assert (abs(n-w*parts)[big]<=len(w)+1).all()

@few
@given(shares)
def test_every_prefix_is_within_the_bound(w):
    parts = whole_parts(w)
    splits = Splits(parts)
    n = 20_000
    source, before = splits.at(np.arange(n))
    seen = np.stack([np.cumsum(source==k) for k in range(len(w))], 1)
    ideal = np.arange(1, n+1)[:, None]*parts/PARTS
    assert abs(seen-ideal).max()<=splits.error_bound+1e-9
    assert (before==seen[np.arange(n), source]-1).all()
    assert splits.error_bound<2

@few
@given(shares, st.integers(0, 2**40))
def test_counts_are_those_of_the_positions(w, start):
    splits = Splits(whole_parts(w))
    source, before = splits.at(np.arange(start, start+200))
    assert (splits.counts(start+200)-splits.counts(start)==np.bincount(source, minlength=len(w))).all()
    first = {k: i for i,k in reversed(list(enumerate(source)))}
    assert all(before[i]==splits.counts(start)[k] for k,i in first.items())

def test_a_period_gives_the_exact_shares_far_out():
    parts = whole_parts(np.array([.7, .2, .0999, .0001]))
    splits = Splits(parts)
    far = 2**40//PARTS*PARTS-PARTS
    assert (splits.counts(far+PARTS)-splits.counts(far)==parts).all()

# ---- permutations

@few
@given(st.integers(1, 3000), st.integers(0, 2**64-1), st.integers(0, 10**9))
def test_every_epoch_is_a_permutation(size, key, epoch):
    order = shuffled(np.arange(size)+epoch*size, size, key)
    assert (np.sort(order)==np.arange(size)).all()

@pytest.mark.parametrize('size', [4, 37, 1000])
def test_places_are_uniform(size):
    "Over many keys each entry is equally likely at a place, and neighbours are no more often close than by chance."
    keys = np.random.default_rng(0).integers(0, 2**63, 4000)
    first = np.array([shuffled(np.arange(2), size, int(k)) for k in keys])
    cells = min(size, 20)
    for column in first.T:
        got = np.bincount(column*cells//size, minlength=cells)
        want = np.bincount(np.arange(size)*cells//size, minlength=cells)/size*len(keys)
        assert (((got-want)**2/want).sum())<cells-1+6*np.sqrt(2*(cells-1))
    gap = abs(np.diff(first, axis=1)).mean()
    assert abs(gap-(size+1)/3)<.05*size

def test_all_orders_of_four_are_equally_likely():
    got = {}
    for k in np.random.default_rng(1).integers(0, 2**63, 6000):
        o = tuple(shuffled(np.arange(4), 4, int(k)).tolist())
        got[o] = got.get(o, 0)+1
    assert len(got)==24 and sum((n-250)**2/250 for n in got.values())<23+6*np.sqrt(46)

# ---- streams

@few
@given(streams(), st.data())
def test_a_block_is_its_positions(stream, data):
    a = data.draw(st.integers(0, len(stream)-1))
    b = data.draw(st.integers(a, min(len(stream), a+50)))
    source, window = stream.block(a, b)
    assert [stream[i] for i in range(a, b)]==list(zip(source.tolist(), window.tolist()))

@few
@given(streams())
def test_no_window_twice_before_the_source_is_exhausted(stream):
    source, window = stream.block(0, len(stream))
    for k, W in enumerate(stream.windows):
        mine = window[source==k]
        for e in range(0, len(mine), W): assert len(set(mine[e:e+W].tolist()))==len(mine[e:e+W])
        assert len(mine)==stream.counts(len(stream))[k] and (mine<W).all()

@few
@given(streams(), st.integers(1, 7))
def test_workers_together_read_what_one_reads(stream, world):
    whole = np.stack(stream.block(0, len(stream)))
    parts = np.empty_like(whole)
    for rank in range(world): parts[:, rank::world] = stream.at(np.arange(rank, len(stream), world))
    assert (parts==whole).all()

@few
@given(streams())
def test_first_is_the_inverse_of_counts(stream):
    source, place = stream.draws(np.arange(len(stream)))
    for k in range(len(stream.sources)):
        mine = np.flatnonzero(source==k)
        assert (place[mine]==np.arange(len(mine))).all()
        assert stream.first(k, len(mine)) is None
        if len(mine): assert stream.first(k, len(mine)-1)==mine[-1]

def errors(stream):
    "(n,K) drawn less target after each position, in sequences."
    source, _ = stream.draws(np.arange(len(stream)))
    starts = [l[0] for l in stream.levels]
    shares = np.repeat([l[2] for l in stream.levels], np.diff([*starts, max(starts[-1], len(stream))]), axis=0)[:len(stream)]/PARTS
    return np.cumsum(source[:, None]==np.arange(len(stream.sources)), axis=0)-np.cumsum(shares, axis=0)

@few
@given(streams())
def test_every_prefix_is_within_the_bound_over_phases_and_ramps(stream):
    e = errors(stream)
    assert abs(e).max()<=stream.error_bound+1e-6
    assert np.allclose(stream.counts(len(stream))-stream.target(len(stream)), e[-1], atol=1e-6)

@few
@given(streams(), st.data())
def test_a_phase_changes_nothing_before_it(stream, data):
    at = data.draw(st.integers(1, len(stream)))
    earlier = [p for p in stream.phases if p.start<at]
    later = Stream(stream.sources, stream.windows, [*earlier, Phase(at, data.draw(weights(len(stream.sources))), data.draw(st.integers(0, 100)))], at+100, stream.seed)
    assert (np.stack(later.block(0, at))==np.stack(stream.block(0, at))).all()
    source, place = later.draws(np.arange(len(later)))            # and after it nothing is repeated or dropped
    for k in range(len(stream.sources)): assert (place[source==k]==np.arange((source==k).sum())).all()

def test_the_error_does_not_grow_with_the_number_of_phases():
    "Phases that end where a rare source was just drawn, and others that are as short or as long as they like."
    w = np.array([2**-10, .5, .5-2**-10])
    same = Stream('abc', [100]*3, [(600*j, w) for j in range(60)], 36_000)
    assert abs(errors(same)).max()<=same.error_bound<3
    rng = np.random.default_rng(3)
    worst = []
    for phases in (20, 150):
        starts = np.cumsum([0, *rng.integers(1, 150, phases)])
        s = Stream('abcdefgh', [100]*8, [Phase(int(a), rng.dirichlet(np.full(8, .2)), int(rng.integers(0, 60))*(a>0)) for a in starts], int(starts[-1])+100)
        assert (errors(s)).max()<3
        worst.append(s.error_bound)
    assert worst[1]<worst[0]+1 and worst[1]<5

def test_a_source_switched_off_and_on():
    on, off = (.4, .3, .3), (0., .5, .5)
    stream = Stream('abc', [50]*3, [(j*37, off if j%2 else on) for j in range(60)], 60*37)
    e, source = errors(stream), stream.draws(np.arange(60*37))[0]
    assert abs(e).max()<=stream.error_bound<4
    assert not any((source[j*37:(j+1)*37]==0).any() for j in range(1, 60, 2))

def test_a_ramp_over_a_very_long_run_is_exact():
    n = 2**40
    stream = Stream('ab', [10**9]*2, [(0, (.9, .1)), Phase(n//4, (.1, .9), ramp=n//2)], n)
    assert stream.error_bound<3 and abs(stream.counts(n)-stream.target(n)).max()<=stream.error_bound
    assert abs(stream.target(n)/n-.5).max()<1e-6
    for i in (n//4-1, n//4, n//2+12345, n-1): assert stream.counts(i+1)[stream[i][0]]-stream.counts(i)[stream[i][0]]==1

@pytest.mark.parametrize('phases, says', [
    ([], 'starts at 0'), ([(5, (.5, .5))], 'starts at 0'), ([Phase(0, (.5, .5), 10)], 'no ramp'), ([(0, (.5, .5)), (0, (.1, .9))], 'start after'),
    ([(0, (1.,))], '1 weights'), ([(0, (.5, .5), -1)], 'ramp=-1'), ([(0, (.5, .5), 1, 'square')], "no shape called 'square'")])
def test_streams_refuse(phases, says):
    with pytest.raises(ValueError, match=says): Stream('ab', [10, 10], phases, 100)

def test_seeds_and_sources_have_orders_of_their_own():
    make = lambda seed, names: Stream(names, [500, 500], [(0, [.5, .5])], 1000, seed)
    a, b = make(0, ['x', 'y']), make(1, ['x', 'y'])
    (sa, wa), (sb, wb) = a.block(0, 1000), b.block(0, 1000)
    assert (sa==sb).all() and (wa!=wb).mean()>.9
    assert (wa[sa==0]!=wa[sa==1]).mean()>.9                    # two sources of one size do not march together
    ws = make(0, ['x', 'z']).block(0, 1000)[1]
    assert (ws[sa==0]==wa[sa==0]).all()                        # another neighbour does not change the order of x

def test_a_change_of_weights_leaves_the_past_alone():
    mix = Mixture(dict(a=.5, b=.5), dict(a=100_001, b=50_001), 100_000, window=100)
    later = mix.then(300, dict(a=.9, b=.1)).then(600, dict(a=.1, b=.9))
    before, after = mix.stream().block(0, 300), later.stream().block(0, 300)
    assert (before[0]==after[0]).all() and (before[1]==after[1]).all()
    t = later.plan().set_index('source')
    assert t.tokens['a']==100*(150+270+40) and t.tokens.sum()==100_000

# ---- tokens

@few
@given(st.integers(0, 10**6), st.sampled_from([np.uint16, np.uint32]))
def test_gather_is_the_windows_themselves(tmp_path_factory, seed, dtype):
    rng = np.random.default_rng(seed)
    folder, tokens = tmp_path_factory.mktemp('tokens'), {}
    for k in 'abc':
        rng.integers(0, 60_000, rng.integers(40, 400)).astype(dtype).tofile(folder/f'{k}.bin')
        tokens[k] = np.memmap(folder/f'{k}.bin', dtype, 'r')
    mix = Mixture(dict(a=.2, b=.5, c=.3), {k: len(t) for k,t in tokens.items()}, 2000, 16, None, seed)
    stream = mix.stream()
    x = gather(stream, tokens, 3, 60)
    for row, i in zip(x, range(3, 60)):
        s, w = stream[i]
        assert (row==tokens[mix.sources[s]][w*16:w*16+17]).all()
    assert x.dtype==np.int64 and (Rows(stream, tokens).at([9, 5, 9])[0]==x[[6, 2, 6]]).all() and gather(stream, tokens, 5, 5).shape==(0, 17)

def test_gather_refuses_other_tokens():
    mix = Mixture(dict(a=1.), dict(a=1000), 500, 10)
    with pytest.raises(ValueError, match='900 tokens'): gather(mix.stream(), dict(a=np.arange(900)), 0, 4)
    with pytest.raises(LookupError, match="'a'"): gather(mix.stream(), dict(b=np.arange(1000)), 0, 4)

def test_ids_of_any_width_and_of_mixed_widths():
    rng, dtypes = np.random.default_rng(0), [np.uint8, np.uint16, np.int16, np.int32, np.uint32, np.int64, '>u2']
    tokens = {str(d): rng.integers(0, 100, 200).astype(d) for d in dtypes}
    tokens['every other'] = rng.integers(0, 100, 400)[::2]
    stream = Stream(list(tokens), [19]*8, [(0, np.full(8, 1/8))], 100, window=10)
    x, source, window = Rows(stream, tokens).at(np.arange(100))
    for row, k, w in zip(x, source, window): assert (row==tokens[stream.sources[k]][w*10:w*10+11]).all()
    with pytest.raises(ValueError, match='whole numbers'): Rows(stream, {**tokens, 'every other': np.zeros(200)})

# ---- loaders

class Shard:
    "Documents of random ids, as a folder of tokens holds them."
    def __init__(self, seed, documents, longest=60):
        rng = np.random.default_rng(seed)
        self.offsets = np.concatenate([[0], np.cumsum(rng.integers(1, longest, documents))])
        self.ids = rng.integers(0, 1000, self.offsets[-1]).astype(np.uint16)
    def __len__(self): return len(self.ids)

def shards(window=16, n=300, **phases):
    tokens = {k: Shard(i, d) for i,(k,d) in enumerate(dict(a=40, b=15, c=4).items())}
    return Mixture(dict(a=.5, b=.3, c=.2), {k: len(t) for k,t in tokens.items()}, n*window, window, None, 1), tokens

def rows_of(batches): return [tuple(p) for b in batches for p in zip(b['source'].tolist(), b['window'].tolist())]

@few
@given(st.integers(0, 300), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_resume_at_every_position_on_any_number_of_ranks(position, world, per_rank, threads):
    mix, tokens = shards()
    stream, size = mix.stream(), world*per_rank
    whole = [stream[i] for i in range(position, position+(300-position)//size*size)]
    got = []
    for rank in range(world):
        loader = Loader(stream, tokens, size, rank, world, threads=1+threads)
        loader.load_state_dict(dict(position=position))
        got.append(list(loader))
        assert loader.state_dict()==dict(position=position+len(whole))
    assert [p for step in zip(*got) for i in range(per_rank) for b in step for p in rows_of([b])[i:i+1]]==whole

@pytest.mark.parametrize('workers', [1, 2])
def test_worker_processes_do_not_change_the_order(workers):
    "Workers that share a seed and so repeat each other (datasets #7567): here a worker has no seed."
    mix, tokens = shards()
    stream = mix.stream()
    load = lambda d, **k: torch.utils.data.DataLoader(d, num_workers=workers, **k)
    assert rows_of(load(WindowStream(stream, tokens, 7), batch_size=None))==[stream[i] for i in range(294)]
    assert rows_of(load(WindowSet(stream, tokens), batch_size=7, collate_fn=as_is))==[stream[i] for i in range(300)]

def test_workers_that_are_started_afresh():
    "Nothing of an address or a memory map must travel to a process that shares no memory with this one."
    mix, tokens = shards()
    loader = torch.utils.data.DataLoader(WindowStream(mix.stream(), tokens, 50), batch_size=None, num_workers=1, multiprocessing_context='spawn')
    assert rows_of(loader)==[mix.stream()[i] for i in range(300)]

def test_resume_in_a_later_epoch():
    "A resume that starts in the second epoch and replays the first (datasets #7901, Streaming #869), or begins with the first weights again (litData)."
    mix, tokens = shards()
    mix = mix.then(150, dict(a=.1, b=.1, c=.8))
    stream, W = mix.stream(), mix.windows
    for stop in (40, 150, 151, 260):
        first = Loader(stream, tokens, 10)
        read = rows_of(b for b,_ in zip(first, range(stop//10)))
        state = dict(position=len(read))
        assert first.state_dict()['position'] in (state['position'], state['position']+10)     # zip asks for one more
        second = Loader(stream, tokens, 10)
        second.load_state_dict(state)
        everything = read+rows_of(second)
        for k in range(3):
            windows = [w for s,w in everything if s==k]
            for e in range(0, len(windows), W[k]): assert max(Counter(windows[e:e+W[k]]).values())==1
    c = [s for s,_ in everything[150:]].count(2)
    assert abs(c-.8*150)<=stream.error_bound*2

def test_a_source_smaller_than_a_batch_or_empty():
    "One window only (Megatron #705), and a source without any that has no weight (datasets #8626)."
    tokens = dict(big=np.arange(1000), one=np.arange(11), none=np.arange(3))
    mix = Mixture(dict(big=.5, one=.5, none=0.), {k: len(t) for k,t in tokens.items()}, 1000, 10, None)
    batches = list(Loader(mix.stream(), tokens, 50))
    assert len(batches)==2 and (batches[0]['ids'][batches[0]['source']==2]==torch.arange(11)).all() and Counter(batches[0]['source'].tolist())=={0: 25, 2: 25}

def test_loaders_refuse():
    mix, tokens = shards()
    with pytest.raises(ValueError, match='rank=2 of world=2'): Loader(mix.stream(), tokens, 4, rank=2, world=2)
    with pytest.raises(ValueError, match='position 301'): Loader(mix.stream(), tokens, 4).load_state_dict(dict(position=301))
    with pytest.raises(ValueError, match='bare arrays'): next(iter(Loader(mix.stream(), {k: t.ids for k,t in tokens.items()}, 4, documents=True)))

@few
@given(st.integers(1, 40), st.integers(0, 5))
def test_packed_windows_know_their_documents(window, seed):
    tokens = dict(a=Shard(seed, 30, 20))
    mix = Mixture(dict(a=1.), dict(a=len(tokens['a'])), 20*window, window, None, seed)
    x = gather(mix.stream(), tokens, 0, 20, documents=True)
    at = x.window[:, None]*window+np.arange(window+1)
    begins = tokens['a'].offsets[x.documents]
    assert (begins<=at).all() and (at<tokens['a'].offsets[x.documents+1]).all()
    assert (x.positions==at-np.maximum(begins, at[:, :1])).all() and (x.ids==tokens['a'].ids[at]).all()

def test_a_packed_window_gives_the_logits_of_its_documents_alone():
    from llmbench.models import build
    from llmbench.recipe import Recipe
    tokens = dict(a=Shard(0, 40, 30))
    mix = Mixture(dict(a=1.), dict(a=len(tokens['a'])), 256, 64, None)
    model = build(Recipe(weights=dict(a=1.), tokens=1024, size=1, vocab=1000, window=64)).eval()
    batch = next(iter(Loader(mix.stream(), tokens, 4, documents=True)))
    ids, docs, places = (batch[k][:, :-1] for k in ('ids', 'documents', 'positions'))
    with torch.no_grad():
        packed = model(ids, attention_mask=document_mask(docs), position_ids=places).logits
        mixed, apart = model(ids).logits, 0
        for row in range(4):
            for d in docs[row].unique():
                here = docs[row]==d
                alone = model(ids[row][here][None]).logits[0]
                assert torch.allclose(packed[row][here], alone, atol=1e-5)
                apart = max(apart, (mixed[row][here]-alone).abs().max())
    assert apart>1e-3

def test_what_is_read_ahead_is_what_is_asked_for():
    asked = []
    ahead = Ahead(lambda i: asked.append(i) or i*i, n=50, depth=3, threads=2)
    order = [0, 1, 2, 3, 30, 31, 7, 8, 49, 0]
    assert [ahead(i) for i in order]==[i*i for i in order]
    assert max(asked)<50 and set(asked)<=set(itertools.chain(*(range(i, i+4) for i in order)))
