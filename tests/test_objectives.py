"Rows to batches and back, for any sizes; and a run of rows that is stopped, cut in parts or read by ranks stays what it was."
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from llmbench.features import RowBatches, bio_spans, bio_tags, encoders, with_specials
from llmbench.recipe import Recipe


@pytest.fixture(scope='module')
def tokenizer():
    from llmbench.corpus import Corpus
    from llmbench.tokens import train_tokenizer
    return with_specials(train_tokenizer(Corpus.of(['the cat sat on the mat and 数据决定模型的质量 in 2026.']*3), vocab=270), 'bert')


def recipe(**changes): return Recipe(**(dict(weights={'rows': 1.}, tokens=2**12, window=24, batch=4, size=1, model='bert') | changes))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 40), batch=st.integers(1, 9), group=st.integers(0, 4), seed=st.integers(0, 9))
def test_every_feature_is_read_once_an_epoch(tokenizer, n, batch, group, seed):
    "The first n places of the order hold each feature once, the next n too; ranks deal out the same batch."
    rows = [dict(text='cat '*(1+i%7)) for i in range(n)]
    b = RowBatches(rows, 'masked_lm', recipe(batch=batch, seed=seed), tokenizer, group=group)
    places = np.concatenate([b.at(s) for s in range(-(-2*n//batch))])
    assert sorted(places[:n])==sorted(places[n:2*n])==list(range(n))
    whole, parts = b(1), [b(1, r, batch) for r in range(batch)]
    for k in whole: assert (np.concatenate([p[k] for p in parts])==whole[k]).all()


words = st.lists(st.sampled_from(['cat', 'mat', 'the', '数据', '模型', '2026', 'naïve', '🙂', '.']), min_size=3, max_size=40)

@settings(max_examples=60, deadline=None)
@given(words=words, at=st.integers(0, 10**6), n=st.integers(1, 4), window=st.integers(24, 60))
def test_a_gold_answer_comes_back_character_by_character(tokenizer, words, at, n, window):
    i = at%len(words)
    context, start = ' '.join(words), len(' '.join(words[:i]))+(i>0)
    answer = ' '.join(words[i:i+n])
    features = encoders['extractive_qa']([dict(question='the ?', context=context, answer=answer, answer_start=start)], tokenizer, window)
    found = {(f['_spans'][f['first']][0], f['_spans'][f['last']][1]) for f in features if f['first']}
    assert found<={(start, start+len(answer))} and max(len(f['input_ids']) for f in features)<=window
    if len(features)==1: assert found


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, 30), min_size=2, max_size=12, unique=True), kinds=st.lists(st.sampled_from(['PER', 'LOC']), min_size=6, max_size=6))
def test_spans_to_tags_and_back(cuts, kinds):
    cuts = sorted(cuts)
    spans = [(a, b, k) for a,b,k in zip(cuts[::2], cuts[1::2], kinds)]
    assert bio_spans(bio_tags([(i, i+1) for i in range(30)], spans), strict=True)==spans


@settings(max_examples=60, deadline=None)
@given(words=words, window=st.integers(8, 40))
def test_no_tag_is_lost(tokenizer, words, window):
    "However narrow the window, each word that the tokenizer sees carries its tag once."
    tags = ['B-PER' if i%3==0 else 'O' for i in range(len(words))]
    features = encoders['token_classification']([dict(tokens=words, tags=tags)], tokenizer, window)
    got = [['O', 'B-PER', 'I-PER'][y] for f in features for y in f['labels'] if y!=-100]
    assert got==tags and all(len(f['input_ids'])<=window for f in features)


class StopAt:
    def __init__(self, step): self.step = step
    def after_step(self, learner):
        if learner.step==self.step: raise KeyboardInterrupt


@pytest.fixture(scope='module')
def texts():
    return [dict(text=' '.join(np.random.default_rng(i).choice(['the', 'cat', 'sat', 'mat', '数据', '模型'], 4+i%9))) for i in range(20)]


def tuned(folder, texts, tokenizer, **kw):
    from llmbench.finetune import finetune
    return finetune({'name': 'bert', 'dropout': .1}, texts, folder, {'name': 'masked_lm', 'rate': .3}, tokenizer=tokenizer, size=1, window=24, epochs=2, save=(3, 0.), **(dict(batch=4) | kw))


def test_a_stopped_run_of_rows_ends_with_the_same_bits(tmp_path, texts, tokenizer):
    "Masks, dropout and the order of rows follow from the step, so nothing is lost by stopping."
    whole = tuned(tmp_path/'whole', texts, tokenizer)
    with pytest.raises(KeyboardInterrupt): tuned(tmp_path/'cut', texts, tokenizer, callbacks=[StopAt(7)])
    cut = tuned(tmp_path/'cut', texts, tokenizer)
    assert cut.status=='done' and cut.record['digest']==whole.record['digest']


def test_parts_of_unequal_counts_add_up(tmp_path, texts, tokenizer):
    "Rows of different numbers of targets: a batch in four parts gives the losses of the batch at once."
    from llmbench.finetune import finetune
    from llmbench.callbacks import Callback
    seen = {}
    class Keep(Callback):
        def __init__(self, name): self.losses = seen.setdefault(name, [])
        def after_step(self, learner): self.losses.append(learner.loss)
    for name,parts in (('one', 1), ('four', 4)):
        finetune('bert', texts, tmp_path/name, {'name': 'masked_lm', 'rate': .3}, tokenizer=tokenizer, size=1, window=24, epochs=2, batch=8, accumulate=parts, lr=1e-3, callbacks=[Keep(name)])
    assert len(seen['one'])>3 and np.allclose(seen['one'], seen['four'], atol=1e-5)
