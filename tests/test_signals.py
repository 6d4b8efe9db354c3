"""The compiled pass against a slow reference, on real documents and on odd ones."""
import math, re, unicodedata
from collections import Counter
from itertools import groupby

import numpy as np, pandas as pd, pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from llmbench.corpus import CJK, split_words
from llmbench.readers import python_text
from llmbench.scan import BULLETS, CLOSERS, COUNTS, FINALS, MARKS, PHRASES, SCRIPTS, STOPS, as_arrow, count, counts
from llmbench.signals import signals

quick = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

def repeats(items):
    again = [i for i,n in Counter(items).items() for _ in range(n-1)]
    return len(again), sum(map(len, again))

def spans(text):
    "(word, is white space before it) of a text."
    at, out = 0, []
    for w in split_words(text):
        i = text.index(w, at)
        out.append((w, i>at))
        at = i+len(w)
    return out

def top(pairs, n):
    grams = [tuple(w for w,_ in pairs[i:i+n]) for i in range(len(pairs)-n+1)]
    if not grams: return 0
    gram, times = Counter(grams).most_common(1)[0]
    i = grams.index(gram)
    return 0 if times<2 else times*(sum(map(len, gram))+sum(gap for _,gap in pairs[i+1:i+n]))

def duplicated(words, n):
    seen, i, total = set(), 0, 0
    while i+n<=len(words):
        gram = tuple(words[i:i+n])
        if gram in seen: total += sum(map(len, gram)); i += n
        else: seen.add(gram); i += 1
    return total

def script(c):
    first = re.split('[ -]', unicodedata.name(c, ''))[0]
    return next((s for s,names in SCRIPTS.items() if first in names.split()), 'other_script')

lower = lambda t: t.translate({i: i+32 for i in range(65, 91)})
phrases = lambda t, kind: sum(lower(t).count(p) for k,_,p in PHRASES if k==kind)
alnum = lambda w: any(c.isalpha() or c.isdigit() for c in w)

def sentences(line):
    line = re.sub(f'([{re.escape(MARKS)}][{re.escape(MARKS+CLOSERS)}]*)\\s', r'\1\n', line)
    return sum(map(alnum, re.sub('([。！？．｡])', '\\1\n', line).split('\n')))

def slow(t):
    pairs = spans(t)
    ws, raw = [w for w,_ in pairs], t.split('\n')
    ls = [l.strip() for l in raw if l.strip()]
    paragraphs = ['\n'.join(g) for some,g in groupby((l.strip() for l in raw), bool) if some]
    core = [lower(re.sub(r'^[\W\d_]+|[\W\d_]+$', '', w)) for w in ws]
    dots = lambda l: l.endswith(('...', '…'))
    n, freq = len(ws), Counter(ws)
    out = dict(chars=len(t), letters=sum(c.isalpha() for c in t), capitals=sum(c.isupper() and c.isalpha() for c in t), digit_chars=sum(c.isdigit() for c in t),
        space_chars=sum(c.isspace() for c in t), newlines=t.count('\n'), cjk_chars=len(re.findall(f'[{CJK}]', t)), replacement_chars=t.count('\ufffd'), hashes=t.count('#'),
        ellipses=t.count('...')+t.count('…'), curly_brackets=t.count('{'), round_brackets=t.count('('),
        words=n, word_chars=sum(map(len, ws)), alpha_words=sum(any(c.isalpha() for c in w) for w in ws), alnum_words=sum(map(alnum, ws)),
        alnum_word_chars=sum(len(w) for w in ws if alnum(w)), symbol_words=sum('#' in w or '…' in w or '...' in w for w in ws),
        capital_words=sum(sum(map(str.isalpha, w))>1 and all(c.isupper() for c in w if c.isalpha()) for w in ws), stop_words=sum(c in STOPS for c in core),
        distinct_stop_words=len({*core} & {*STOPS}), longest_word_chars=max(map(len, ws), default=0), sentences=sum(map(sentences, ls)), lorem_ipsum=phrases(t, 4),
        lines=len(ls), bullet_lines=sum(l[0] in BULLETS for l in ls), final_lines=sum(l[-1] in FINALS for l in ls), terminal_lines=sum(l[-1] in FINALS and not dots(l) for l in ls),
        ellipsis_lines=sum(map(dots, ls)), few_word_lines=sum(len(split_words(l))<3 for l in ls), short_lines=sum(len(l)<=30 for l in ls), long_lines=sum(len(l)>=200 for l in ls),
        long_word_lines=sum(any(len(w)>1000 for w in split_words(l)) for l in ls), javascript_lines=sum(phrases(l, 1)>0 for l in ls), policy_lines=sum(phrases(l, 2)>0 for l in ls),
        longest_line_chars=max(map(len, ls), default=0), paragraphs=len(paragraphs))
    out |= {s: 0 for s in SCRIPTS} | Counter(script(c) for c in t if c.isalpha())
    out['duplicate_lines'], out['duplicate_line_chars'] = repeats(ls)
    out['duplicate_paragraphs'], out['duplicate_paragraph_chars'] = repeats(paragraphs)
    out |= dict(distinct_words=len(freq), word_entropy=-sum(k/n*math.log2(k/n) for k in freq.values()))
    return out | {f'top_{k}gram_chars': top(pairs, k) for k in (2, 3, 4)} | {f'duplicate_{k}gram_chars': duplicated(ws, k) for k in range(5, 11)}

def check(texts):
    fast, want = pd.DataFrame(count(texts)), pd.DataFrame([slow(t) for t in texts])
    assert set(want)==set(COUNTS)
    for name in want:
        w, f = want[name].to_numpy(float), fast[name].to_numpy()
        bad = np.flatnonzero(~np.isclose(f, w, atol=1e-9, rtol=1e-9))
        assert not len(bad), f'{name}: {f[bad[0]]} and not {w[bad[0]]} in {texts[bad[0]]!r}'

CHINESE = ['数据的质量决定模型的质量。数据的质量决定模型的质量！\n他说：“我们要看数据。”\n\n第二段，没有空格……', '　　全角空格　开头。\n标题\n1、第一；2、第二\n标题', '我我我我我我我我我我我我我', 'Python 的 list 和 dict。']

def test_500_documents():
    texts = python_text(megabytes=1).pandas('text').text
    rng = np.random.default_rng(0)
    real = [t[:20_000] for t in texts.sample(300, random_state=0)]
    han = ''.join(chr(c) for c in rng.integers(0x4e00, 0x4e40, 400)) # few characters: many repeats
    made = [''.join(rng.choice([han[i:i+k] for i in range(0, 300, 30) for k in (3, 9)]+['。', '，', '\n', '\n\n', ' x ', '！”'], int(rng.integers(1, 120)))) for _ in range(150)]
    loops = [' '.join(rng.choice(['the', 'cat', 'sat.', 'on', '#a', 'b...'], int(rng.integers(1, 200)))) for _ in range(50)]
    texts = real+made+loops+CHINESE
    assert len(texts)>=500
    check(texts)

odd = st.text(st.sampled_from('aA的是b .!?…。！"”)#{(\'-\n\n\t\u3000\u2028\x1f\ufffd7Ⅷдכ\U00020000😀') | st.characters(codec='utf-8'), max_size=60)
words = st.lists(st.sampled_from(['the', 'a', '的', '是', 'b...', 'x', '\n', '\n\n', '. ', 'JavaScript', 'use cookies', 'Lorem Ipsum']), max_size=60).map(' '.join)

@quick
@given(st.lists(odd | words, min_size=1, max_size=8))
@example([*CHINESE, '', '\n', ' ', 'a'*1001+' b', 'x '*500, 'ends… ', 'e.g. this. "Quoted." Next', '...', '......', '.. .', 'JAVASCRIPT', 'javascrip', 'Terms of use', 'erms of use'])
def test_odd_documents(texts): check(texts)

def test_every_signal_on_nothing_and_on_everything():
    for texts in ([], [''], ['\0'], CHINESE, ['word '*5000]):
        for name,fn in signals.items():
            v = fn(texts)
            assert v.shape==(len(texts),) and v.dtype==np.float64 and np.isfinite(v).all() and (v>=0).all(), name
            if name.endswith('_share'): assert (v<=1).all(), name

def test_blocks_threads_and_slices_change_nothing():
    texts = as_arrow(python_text(megabytes=.5).pandas('text').text.tolist()+CHINESE*50)
    one, two = count(texts, threads=1), count(texts, threads=2)
    assert all(np.array_equal(one[k], two[k]) for k in COUNTS)
    part = count(texts.slice(3, 91))
    assert all(np.array_equal(one[k][3:94], part[k]) for k in COUNTS)
    assert set(counts(texts))<set(counts(texts, grams=True)) # scanned again only for what was missing

@pytest.mark.parametrize('text', ['x '*3_000_000, '\n'.join(['line']*1_000_000), 'y'*8_000_000, '字'*2_000_000], ids=['words', 'lines', 'one word', 'han'])
def test_a_monstrous_document(text):
    c = count([text])
    assert c['chars'][0]==len(text) and c['words'][0]==len(split_words(text)) and c['distinct_words'][0]==1
