"""Corpora under attack: damaged files, odd texts, interrupted and repeated steps; the counts must still add up."""
import gzip, json, logging, os, subprocess, sys, warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np, pandas as pd, pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

import llmbench.corpus, llmbench.gather, llmbench.readers
from llmbench.cli import main
from llmbench.clean import CLEANERS, clean, cleaners
from llmbench.corpus import Corpus, doc_id, engine, split_words, write_parts
from llmbench.readers import find_files, read
from llmbench.signals import as_arrow, counts, signals
from llmbench.store import file_hash
from llmbench.tokens import train_tokenizer

quick = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
odd_text = st.text(st.sampled_from('aT hfe.\n\r\t\x00\x0b\x85\u2028\u3000#…-•"的是、中。é\u0301ſ²٣\ufffd\U00020000😀\ufeff'), max_size=60) | st.text(max_size=40)
ROWS = [{'text': f'document {i}, 第{i}篇 {doc_id("s", i)}', 'n': i, 'tags': ['a', 'b'][:i%3]} for i in range(30)]
LINES = [json.dumps(r, ensure_ascii=i%2>0).encode() for i,r in enumerate(ROWS)]

def adds_up(corpus):
    "Every item of the story, in all and per source, and the rows themselves."
    before = None
    for item in corpus.story:
        for c in [item, *item['sources'].values()]:
            assert c['rows_in']-sum(c['dropped'].values())==c['rows'] and all(c[k]>=0 for k in ('rows', 'bytes', 'bytes_in'))
        for k in ('rows_in', 'rows', 'bytes_in', 'bytes'): assert item[k]==sum(c[k] for c in item['sources'].values())
        if before is not None:
            assert (item['rows_in'], item['bytes_in'])==(before['rows'], before['bytes'])
            assert {s: c['rows_in'] for s,c in item['sources'].items()}=={s: c['rows'] for s,c in before['sources'].items() if c['rows']}
        before = item
    rows = corpus.pandas('source', 'text')
    assert len(rows)==len(corpus)==before['rows'] and sum(len(t.encode()) for t in rows.text)==corpus.n_bytes==before['bytes']
    assert rows.source.value_counts().to_dict()=={s: c['rows'] for s,c in before['sources'].items() if c['rows']}

# --- reading: kept + rejected is what there was

@quick
@given(edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=12), cut=st.integers(0, 400))
def test_every_line_is_kept_or_rejected(tmp_path, edits, cut):
    data = bytearray(b'\n'.join(LINES)+b'\n')
    for place,byte in edits: data[place%len(data)] = byte
    data = bytes(data[:len(data)-cut])
    (tmp_path/'a.jsonl').write_bytes(data)
    (tmp_path/'b.jsonl').write_bytes(b'{"text": "one sound line"}\n')
    corpus = read({'s': '*.jsonl'}, folder=tmp_path)
    there = [l for l in data.split(b'\n') if l.strip()]
    assert len(corpus)+len(corpus.rejects)==len(there)+1==corpus.story[0]['rows_in']
    assert corpus.rejects.groupby('reason').size().to_dict()==corpus.story[0]['dropped']
    texts = set(corpus.pandas('text').text)
    assert all(ROWS[i]['text'] in texts for i,l in enumerate(LINES) if l in there)
    adds_up(corpus)

@pytest.mark.parametrize('end', ['gz', 'zst'])
def test_a_cut_file_gives_the_rows_before_the_cut(tmp_path, end):
    import pyarrow as pa
    plain = b'\n'.join(LINES)+b'\n'
    packed = gzip.compress(plain, mtime=0) if end=='gz' else pa.compress(plain, 'zstd', asbytes=True)
    (tmp_path/'sound.jsonl').write_bytes(b'{"text": "one sound line"}\n')
    for size in [*range(0, len(packed), 37), *range(len(packed)-9, len(packed))]:
        (tmp_path/f'cut.jsonl.{end}').write_bytes(packed[:size])
        corpus = read({'s': [f'cut*.{end}', 'sound.jsonl']}, folder=tmp_path) # found by a pattern: a file asked for by name stops the reading
        kept = corpus.pandas('origin', 'text')
        kept = kept.text[kept.origin.str.startswith('cut')].tolist()
        assert kept==[r['text'] for r in ROWS[:len(kept)]] and len(corpus.rejects)==1, size
        assert corpus.rejects.reason[0] in ('file cut or damaged here', 'empty file')

@quick
@given(st.data())
def test_damaged_gzip_and_csv_do_not_stop_the_reading(tmp_path, data):
    table = 'text,n\n' + ''.join(f'"document, {i} ""quoted""",{i}\n' for i in range(30))
    packed = [bytearray(gzip.compress(b'\n'.join(LINES), mtime=0)), bytearray(table.encode())]
    for b in packed:
        for _ in range(data.draw(st.integers(1, 4))): b[data.draw(st.integers(0, len(b)-1))] = data.draw(st.integers(0, 255))
    (tmp_path/'a.jsonl.gz').write_bytes(packed[0]); (tmp_path/'b.csv').write_bytes(packed[1]); (tmp_path/'c.txt').write_text('sound')
    corpus = read({'s': ['*.jsonl.gz', '*.csv', '*.txt']}, folder=tmp_path)
    assert len(corpus)+len(corpus.rejects)==corpus.story[0]['rows_in'] and 'sound' in set(corpus.pandas('text').text)
    adds_up(corpus)

def test_odd_rows_have_a_reason(tmp_path):
    bad = {'{"text": ""}': 'empty text', '{"text": 7}': "'text' is not a string", '{"txt": "x"}': "no field 'text'", '[1]': 'not a JSON object',
           '['*100_000: 'not JSON', '{"text": "\\ud800 half a pair"}': None, '{"text": "x", "id": 3, "": 1, "reject": "no", "_line": 9}': None, '{"text": "x", "id": "same column, a string"}': None,
           '{"text": "big", "n": 1' + '0'*400 + '}': None}
    (tmp_path/'a.jsonl').write_text('\n'.join(bad))
    corpus = read(f'"s={tmp_path}/a.jsonl"')
    assert corpus.rejects.reason.tolist()==[r for r in bad.values() if r] and corpus.rejects.line.tolist()==[1, 2, 3, 4, 5]
    rows = corpus.pandas()
    assert rows.text[0]=='\ufffd half a pair' and rows.given_id.tolist()[1:3]==['3', 'same column, a string'] and rows.reject[1]=='no'
    assert corpus.story[0]['documents_with_unreadable_characters']=={'s': 1}
    (tmp_path/'b.jsonl').write_bytes(b'\n'.join(LINES))
    assert read({'s': 'b.jsonl'}, folder=tmp_path).pandas('tags').tags.tolist()==[json.dumps(r['tags']) for r in ROWS]

def test_a_large_collection_spills_to_disk_and_stays_the_same(tmp_path, monkeypatch):
    lines = [json.dumps({'text': f'row {i}', 'x': i if i<50 else i+.5 if i<70 else f's{i}', **({'late': True} if i>90 else {})}) for i in range(100)]
    (tmp_path/'a.jsonl').write_text('\n'.join(lines))
    small = read({'s': 'a.jsonl'}, folder=tmp_path)
    monkeypatch.setattr(llmbench.gather, 'HOLD', 100); monkeypatch.setattr(llmbench.gather._Sink, 'BATCH', 60)
    large = read({'s': 'a.jsonl'}, folder=tmp_path)
    assert large.fingerprint==small.fingerprint and large.story==small.story and large.pandas('id').equals(small.pandas('id'))
    assert large.pandas('late').late.tolist()[-9:]==[True]*9 and large.pandas('x').x.tolist()[0]=='0'

KILLED = """
import os, signal, sys
import llmbench.readers as R
from llmbench.cli import main
R.UNIT, old, n = 3000, R.readers['.jsonl'], 0
def lines(path, encoding='utf-8', limit=R.RECORD):
    global n
    n += 1
    for rows in old(path, encoding, limit):
        yield rows[:5]
        if n==5: os.kill(os.getpid(), signal.SIGKILL) # in the middle of the fifth file
        yield rows[5:]
R.readers['.jsonl'] = lines
main(['data', 'read', 's=*.jsonl t=*.txt', '-o', 'cut'])
"""

def test_a_killed_reading_goes_on_behind_what_is_done(tmp_path, monkeypatch, capsys):
    for k in range(7): (tmp_path/f'{k}.jsonl').write_bytes(b'\n'.join([*LINES[k:k+20], b'not JSON', json.dumps({'text': 'x', 'n': 'a string' if k>4 else k, f'new {k}': k}).encode()]))
    (tmp_path/'a.txt').write_text('once')
    killed = subprocess.run([sys.executable, '-c', KILLED], cwd=tmp_path, capture_output=True, text=True)
    assert killed.returncode==-9 and len(list(tmp_path.glob('.cut-read.parts/*')))>=2, killed.stderr
    monkeypatch.chdir(tmp_path); monkeypatch.setattr(llmbench.readers, 'UNIT', 3000)
    old, asked = llmbench.readers.readers['.jsonl'], []
    def lines(path, encoding='utf-8', limit=llmbench.readers.RECORD): asked.append(path.name); return old(path, encoding, limit)
    monkeypatch.setitem(llmbench.readers.readers, '.jsonl', lines)
    main(['data', 'read', 's=*.jsonl t=*.txt', '-o', 'cut'])
    again = list(asked)
    assert 0<len(again)<7 and '6.jsonl' in again and '0.jsonl' not in again and not (tmp_path/'.cut-read.parts').exists()
    main(['data', 'read', 's=*.jsonl t=*.txt', '-o', 'whole'])
    assert {p.name: file_hash(p) for p in (tmp_path/'cut').iterdir()}=={p.name: file_hash(p) for p in (tmp_path/'whole').iterdir()} and len(asked)==7+len(again)
    plain = read('s=*.jsonl t=*.txt')
    kept = Corpus.open(tmp_path/'cut')
    assert kept.story==plain.story and kept.fingerprint==plain.fingerprint and kept.rejects.equals(plain.rejects)
    asked.clear()
    main(['data', 'read', 's=*.jsonl t=*.txt', '-o', 'cut'])
    assert not asked                                                              # it is there
    with open('3.jsonl', 'ab') as f: f.write(b'\n{"text": "one more"}')
    main(['data', 'read', 's=*.jsonl t=*.txt', '-o', 'cut'])
    assert len(Corpus.open('cut'))==len(plain)+1
    (tmp_path/'letters').mkdir(); (tmp_path/'letters'/'dear.txt').write_text('dear')
    for step in (['read', 's=*.txt'], ['clean', 'cut'], ['dedup', 'cut', '--method', 'exact'], ['signals', 'cut', 'words']):
        assert main(['data', *step, '-o', 'letters'])
        assert 'is not a corpus; it would be replaced' in capsys.readouterr().err, step
    assert (tmp_path/'letters'/'dear.txt').read_text()=='dear'

@pytest.mark.parametrize('what,said', [('plain', 'reading s: '), ('into', 'reading into '), ('tokenizer', 'words for a tokenizer: ')])
def test_long_readings_say_how_far_they_are(tmp_path, monkeypatch, capfd, what, said):
    for k in range(3): (tmp_path/f'{k}.jsonl').write_bytes(b'\n'.join(LINES[9*k:9*k+9]))
    monkeypatch.setattr(llmbench.readers, 'UNIT', 100)
    calls = dict(plain=lambda: read({'s': '*.jsonl'}, folder=tmp_path), into=lambda: read({'s': '*.jsonl'}, folder=tmp_path, into=tmp_path/f"c{'LLMBENCH_PROGRESS' in os.environ}"), tokenizer=lambda corpus=read({'s': '*.jsonl'}, folder=tmp_path): train_tokenizer(corpus, 300))
    told = []
    class Old(llmbench.corpus.Live):                                              # begun ten seconds ago
        def __init__(self, *a, **k): super().__init__(*a, **k); self.start -= 10
        def update(self, done, *a, **k): super().update(done, *a, **k); told.append((self.title+': ', self.done, (tmp_path/'progress').read_text()))
    monkeypatch.setattr(llmbench.corpus, 'Live', Old)
    calls[what]()
    assert not told and capfd.readouterr().err==''                                # neither a terminal nor a notebook
    monkeypatch.setenv('LLMBENCH_PROGRESS', str(tmp_path/'progress'))
    calls[what]()
    told = [(done, line) for title,done,line in told if title.startswith(said)]
    assert len(told)==(1 if what=='tokenizer' else 3) and told==sorted(told) and all(line.startswith(said) for _,line in told) and '(100%)' in told[-1][1]

def test_a_directory_that_cannot_be_listed_is_named(tmp_path):
    for d in ('web', 'web/open', 'web/open/deep', 'web/closed', 'web/.hidden', 'other'): (tmp_path/d).mkdir(); (tmp_path/d/'a.txt').write_text(d)
    top = tmp_path
    while top!=top.parent and not top.stat().st_mode&1: top.chmod(0o711); top = top.parent # pytest's own folders are closed to others
    for d in ('web', 'web/open', 'web/open/deep', 'other'): (tmp_path/d).chmod(0o755)
    for d in ('web/closed', 'web/.hidden'): (tmp_path/d).chmod(0)
    found, root = {}, os.geteuid()==0
    try:
        if root: os.seteuid(65534)                                                # nothing is closed to root
        for p in ('web/**/*.txt', 'web', 'web/*/a.txt', 'web/*/*', 'web/o*/**', 'web/[o]*/a.txt', 'other/*', 'web/*.txt'):
            try: found[p] = find_files('s', [p], tmp_path)
            except OSError as e: found[p] = str(e)
    finally:
        if root: os.seteuid(0)
        for d in ('web/closed', 'web/.hidden'): (tmp_path/d).chmod(0o755)
    for p in ('web/**/*.txt', 'web', 'web/*/a.txt', 'web/*/*'): assert 'cannot list the directory' in found[p] and 'closed (Permission denied)' in found[p], (p, found[p])
    assert found['web/o*/**']==['web/open/a.txt', 'web/open/deep/a.txt'] and found['web/[o]*/a.txt']==['web/open/a.txt'] and found['other/*']==['other/a.txt'] and found['web/*.txt']==['web/a.txt']

def test_rows_without_a_mark_are_read_each_time(tmp_path):
    rows = [{'text': 'one'}]
    assert len(read({'s': rows}, into=tmp_path/'c'))==1
    rows.append({'text': 'two'})
    assert len(read({'s': rows}, into=tmp_path/'c'))==2

def test_the_same_file_twice_is_one_file(tmp_path):
    (tmp_path/'a.txt').write_text('once')
    assert len(read({'s': ['a.txt', './a.txt', '*.txt', '.']}, folder=tmp_path))==1

def test_rows_without_numbers_have_different_ids():
    import pyarrow as pa
    batches = pa.Table.from_batches(pa.table({'text': [f't{i}' for i in range(5)]}).to_batches(max_chunksize=2))
    for rows in (batches, [{'text': 'a'}, {'text': 'b'}], 'p=python:topics'):
        ids = read(rows if isinstance(rows, str) else {'s': rows}).pandas('id').id
        assert len(ids)>1 and ids.is_unique

# --- the story

steps = st.lists(st.dictionaries(st.integers(0, 23), st.sampled_from(['short', 'other language', 'table']), max_size=9), min_size=1, max_size=4)

@settings(quick, max_examples=20)
@given(sources=st.lists(st.sampled_from('abc'), min_size=24, max_size=24), steps=steps, lazy=st.booleans())
def test_the_story_adds_up(sources, steps, lazy):
    corpus = Corpus.of([dict(text=f'{s} 第{i} '*(i+1), source=s, n=i) for i,s in enumerate(sources)])
    hold, llmbench.corpus.HOLD = llmbench.corpus.HOLD, 0 if lazy else 2**20
    gone = {}
    try:
        for k,step in enumerate(steps):
            why = engine().lit(None)
            for n,reason in step.items(): why = engine().functions.when(engine().col('n')==n, engine().lit(reason)).otherwise(why)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter('always')
                corpus = corpus.drop(f'step {k}', why)
            now = {n: r for n,r in step.items() if n not in gone}
            left = {s for i,s in enumerate(sources) if i not in gone}
            gone |= now
            wiped = left - {s for i,s in enumerate(sources) if i not in gone}
            assert sorted(s for w in caught for s in wiped if f'of source {s!r}' in str(w.message))==sorted(wiped) and len(caught)==len(wiped)
            assert corpus.story[-1]['dropped']==pd.Series(list(now.values()), dtype=object).value_counts().to_dict()
        adds_up(corpus)
        assert corpus.pandas('n').n.tolist()==[i for i in range(24) if i not in gone]
    finally: llmbench.corpus.HOLD = hold

def test_a_source_wiped_out_warns_and_names_the_reasons():
    corpus = Corpus.of({'en': ['long enough to stay here']*3, '中文': ['短', '短', '也短']})
    with pytest.warns(UserWarning, match="dropped all 3 documents of source '中文'.*words < 4"): left = clean(corpus, keep={'words': (4, None)})
    assert left.sources==['en'] and left.story[-1]['sources']['中文']['rows']==0
    with pytest.warns(UserWarning, match="source 'en'"): left.where(engine().col('text')=='x')

def test_changed_texts_are_counted():
    corpus = Corpus.of(['abc', 'de']).with_columns({'text': engine().col('text') + engine().lit('中')})
    assert corpus.n_bytes==11 and corpus.story[-1]['bytes_in']==5
    adds_up(corpus)
    with pytest.raises(ValueError, match='carry the story'): corpus.with_columns({'source': engine().lit('x')})

# --- on disk

def test_save_and_open_keep_everything(tmp_path, monkeypatch):
    monkeypatch.setattr(llmbench.corpus, 'GROUP', 7); monkeypatch.setattr(llmbench.corpus, 'PART', 2000)
    (tmp_path/'in.jsonl').write_bytes(b'\n'.join([*LINES, b'{"text": "NUL \\u0000 \xf0\x9f\x98\x80"}', b'broken', b'{"text": "' + b'x'*5000 + b'"}']))
    corpus = read({'s': 'in.jsonl'}, folder=tmp_path).drop('odd', engine().functions.when(engine().col('n')==3, engine().lit('n is 3')).otherwise(engine().lit(None)))
    saved = corpus.save(tmp_path/'c')
    again = Corpus.open(tmp_path/'c')
    assert len(list((tmp_path/'c').glob('part-*')))>1
    for c in (saved, again):
        assert c.story==corpus.story and c.fingerprint==corpus.fingerprint and c.rejects.equals(corpus.rejects) and c.pandas().equals(corpus.pandas())
    corpus.save(tmp_path/'d')
    assert file_hash(tmp_path/'c')==file_hash(tmp_path/'d')

def test_files_do_not_depend_on_the_engines_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(llmbench.corpus, 'GROUP', 7); monkeypatch.setattr(llmbench.corpus, 'PART', 500)
    frame, hashes = Corpus.of([f'text {i} '*(1+i%5) for i in range(100)]).frame, set()
    for n in (1, 5, 33, 100):
        (tmp_path/str(n)).mkdir()
        assert write_parts(frame.into_batches(n), tmp_path/str(n))==100
        hashes.add(file_hash(tmp_path/str(n)))
    assert len(hashes)==1 and len(list((tmp_path/'5').iterdir()))>2

def test_save_over_the_folder_it_reads_from(tmp_path):
    Corpus.of([f'text {i}' for i in range(50)]).save(tmp_path/'c')
    corpus = Corpus.open(tmp_path/'c').where(engine().col('text')!='text 7').save(tmp_path/'c')
    assert len(corpus)==49 and [p.name for p in tmp_path.iterdir()]==['c']
    adds_up(Corpus.open(tmp_path/'c'))

def test_an_empty_corpus_can_be_saved(tmp_path):
    with pytest.warns(UserWarning): corpus = Corpus.of(['a', 'b']).where(engine().col('text')=='none')
    corpus = corpus.save(tmp_path/'c')
    assert len(corpus)==0 and corpus.pandas().empty and corpus.sources==[] and 'Corpus' in corpus._repr_html_()

def test_rows_that_changed_under_the_corpus_are_noticed(tmp_path):
    import pyarrow.parquet as pq
    corpus = Corpus.of(['a', 'b', 'c']).save(tmp_path/'c')
    part = tmp_path/'c'/'part-00000.parquet'
    pq.write_table(pq.read_table(part).slice(1), part)
    with pytest.raises(ValueError, match='did the files of this corpus change'): Corpus.open(tmp_path/'c').save(tmp_path/'d')
    assert not (tmp_path/'d').exists() and len(corpus)==3

# --- training and validation

@settings(quick, max_examples=12)
@given(seed=st.integers(0, 99), n=st.integers(40, 120), more=st.integers(1, 60))
def test_hold_out_is_disjoint_and_stable(seed, n, more):
    old = Corpus.of({s: [f'{s} {i}' + ' word'*(i%7) for i in range(n)] for s in 'ab'})
    new = Corpus.of({s: [f'{s} {i}' + ' word'*(i%7) for i in range(n+more)] for s in 'ab'})
    ids = lambda c: set(c.pandas('id').id)
    for how in (dict(bytes_per_source=150), dict(share=.2)):
        try: (t0, v0), (t1, v1) = old.hold_out(**how, seed=seed), new.hold_out(**how, seed=seed)
        except ValueError as e: assert 'share' in how and 'too small' in str(e); continue
        assert not ids(t0)&ids(v0) and ids(t0)|ids(v0)==ids(old) and ids(t1)|ids(v1)==ids(new)
        assert not ids(t0)&ids(v1)                          # nothing trained on becomes a test
        if 'share' in how: assert ids(v0)==ids(v1)&ids(old) # and nobody moves at all
        else: assert (v0.sizes().bytes>=150).all() and (v0.sizes().bytes<150+45).all()
        adds_up(t0); adds_up(v0)

# --- showing

def test_malicious_text_is_shown_and_not_run():
    evil = '</td><script>alert(1)</script><img src=x onerror=alert(2)>'
    with pytest.warns(UserWarning): corpus = Corpus.of([{'text': evil, 'source': evil, evil: evil}, {'text': 'x', 'source': 'y'}]).where(engine().col('text')!='x', step=evil)
    page = corpus._repr_html_() + corpus.plot_funnel().to_json()
    assert '&lt;script&gt;alert(1)' in page and '<script>alert' not in corpus._repr_html_() and '<img' not in corpus._repr_html_()

# --- signals and cleaners

def slow(t):
    "Words and lines of a text, counted a second time."
    words, lines = split_words(t), [l.strip() for l in t.split('\n') if l.strip()]
    return dict(chars=len(t), utf8_bytes=len(t.encode()), words=len(words), word_chars=sum(map(len, words)), alpha_words=sum(any(c.isalpha() for c in w) for w in words),
                symbol_words=sum('#' in w or '…' in w or '...' in w for w in words), digit_chars=sum(c.isdigit() for c in t), replacement_chars=t.count('\ufffd'),
                lines=len(lines), duplicate_lines=len(lines)-len(set(lines)), longest_line_chars=max(map(len, lines), default=0))

@quick
@given(st.lists(odd_text, min_size=1, max_size=12))
@example(['a... b', '....', '. . .', '..#', 'x\n x\nx ', '\n \n', '', '\x00', '\U00020000x', 'Ⅷ ² ٣', 'a\u2028b', 'same\n\nsame\nSame'])
def test_compiled_counts_are_the_slow_ones(texts):
    fast = pd.DataFrame(counts(texts))
    want = pd.DataFrame([slow(t) for t in texts])
    assert (fast[want.columns]==want).all(axis=None)
    for name,fn in signals.items():
        v = fn(texts)
        assert v.shape==(len(texts),) and v.dtype==np.float64 and np.isfinite(v).all() and (v>=0).all()
        if name.endswith('_share'): assert (v<=1).all()
        assert all(fn([t])[0]==x for t,x in zip(texts, v))  # a document's number does not depend on its neighbours

def test_counts_from_several_threads():
    batches = [as_arrow([f'{k} word{i} 中文\n'*(i%9) for i in range(300)]) for k in range(8)]
    alone = [dict(counts(b)) for b in batches]
    every = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool: together = list(pool.map(lambda b: counts(b), batches*50))
    finally: sys.setswitchinterval(every)
    assert all(np.array_equal(c[k], alone[i%8][k]) for i,c in enumerate(together) for k in c)

@quick
@given(odd_text, st.sampled_from(sorted(cleaners)))
def test_a_cleaner_changes_a_clean_text_no_more(text, name):
    once = cleaners[name]([text])
    assert cleaners[name](once)==once

@quick
@given(st.lists(odd_text.filter(lambda t: t!=''), min_size=1, max_size=8))
@example(['two words', 'one', ' \x00\n', '1 2', 'ab 3', '中文', '\r\n'])
def test_clean_keeps_or_explains_each_text(texts):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        left = clean(Corpus.of(texts), keep={'words': (2, None), 'digit_char_share': (None, .3)})
    adds_up(left)
    repaired = texts
    for name in CLEANERS: repaired = cleaners[name](repaired)
    def why(t):
        if not t.strip(): return 'empty after cleaning'
        return 'words < 2' if len(split_words(t))<2 else 'digit_char_share > 0.3' if sum(c.isdigit() for c in t)>.3*len(t) else None
    reasons = [why(t) for t in repaired]
    assert left.pandas('text').text.tolist()==[t for t,r in zip(repaired, reasons) if r is None]
    assert left.story[-1]['dropped']=={r: reasons.count(r) for r in set(reasons)-{None}}

# --- an object store

@pytest.fixture
def s3(monkeypatch):
    "A server on this machine that speaks S3, and a bucket."
    server = pytest.importorskip('moto.server').ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
    logging.getLogger('werkzeug').setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    for k,v in dict(AWS_ACCESS_KEY_ID='key', AWS_SECRET_ACCESS_KEY='very secret', AWS_DEFAULT_REGION='us-east-1', AWS_ENDPOINT_URL=f'http://{host}:{port}', AWS_EC2_METADATA_DISABLED='true').items(): monkeypatch.setenv(k, v)
    from pyarrow import fs
    system = fs.S3FileSystem(endpoint_override=f'{host}:{port}', scheme='http', allow_bucket_creation=True)
    system.create_dir('bucket')
    yield system, f'?endpoint_override={host}:{port}&scheme=http'
    server.stop()

def test_files_and_folders_of_an_object_store(s3, tmp_path, capsys):
    import pyarrow as pa, pyarrow.parquet as pq
    system, options = s3
    def put(path, data):
        with system.open_output_stream(f'bucket/{path}', compression=None) as f: f.write(data)
    put('web/a.jsonl', b'\n'.join([*LINES, b'broken'])); put('web/deep/书.jsonl.gz', gzip.compress(b'\n'.join(LINES[:7]))); put('web/cut.jsonl.gz', gzip.compress(b'\n'.join(LINES))[:60])
    pq.write_table(pa.table({'text': ['p', 'q'], 'n': [1, 2]}), 'bucket/t/c.parquet', filesystem=system)
    for more in ('', options):                                                     # the variables say where it is, or the address does
        c = read({'web': f's3://bucket/web/**{more}', 't': f's3://bucket/t/c.parquet{more}'})
        assert c.sizes().documents.tolist()==[2, 37] and sorted(c.rejects.reason)==['file cut or damaged here', 'not JSON'] and 's3://bucket/web/a.jsonl' in set(c.rejects.file)
        assert not c.pandas('origin').origin.str.contains('secret|endpoint').any()
    run = lambda *a: (main(['data', *a, '--json']), json.loads(capsys.readouterr().out.splitlines()[-1]))
    kept = run('read', 'web=s3://bucket/web/* t=s3://bucket/t/', '-o', str(tmp_path/'raw'))[1]
    assert (kept['documents'], kept['rejects'])==(32, 2) # one star does not cross folders
    stamp = (tmp_path/'raw'/'part-00000.parquet').stat().st_mtime_ns
    assert run('read', 'web=s3://bucket/web/* t=s3://bucket/t/', '-o', str(tmp_path/'raw'))[1]==kept and (tmp_path/'raw'/'part-00000.parquet').stat().st_mtime_ns==stamp
    for p in (tmp_path/'raw').iterdir(): os.utime(p, ns=(stamp-10**10,)*2)         # stores keep whole seconds: what was written in the second of its copy is sent again
    code, sent = run('copy', str(tmp_path/'raw'), 's3://bucket/shelf/raw')
    assert code==0 and sent['sent']==sent['files']>=4 and run('copy', str(tmp_path/'raw'), 's3://bucket/shelf/raw')[1]['sent']==0
    assert run('copy', 's3://bucket/shelf/raw', str(tmp_path/'again'))[1]['files']==sent['files']
    assert {p.name: file_hash(p) for p in (tmp_path/'raw').iterdir()}=={p.name: file_hash(p) for p in (tmp_path/'again').iterdir()}
    assert read({'x': 's3://bucket/shelf/raw/part-*.parquet'}).pandas('text').text.tolist()==Corpus.open(tmp_path/'raw').pandas('text').text.tolist()
    with pytest.raises(FileNotFoundError, match='no file matches'): read({'web': 's3://bucket/none/*.jsonl'})
