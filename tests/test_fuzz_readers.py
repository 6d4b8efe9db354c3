"""Every format, thousands of times damaged: nothing stops a read, nothing is lost, memory stays small."""
import bz2, gzip, io, json, lzma, resource, sqlite3

import numpy as np, pandas as pd, pyarrow as pa, pyarrow.feather, pyarrow.parquet as pq, pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import llmbench.readers
from llmbench.files import sound
from llmbench.readers import each, read, reader_of

N, INPUTS = 12, 350 # records of a file; damaged files of each format
TEXTS = [f'document {i}: 第{i}篇 النص مكتوب من اليمين, some words that go on for a while.' for i in range(N)]
HTML = '<html><head><title>t</title></head><body><nav><a href=/>menu</a></nav><article><h1>head</h1><p>{}</p></article></body></html>'

def warc():
    def one(i, t):
        body = HTML.format(t).encode()
        http = b'HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n' % len(body)+body
        return b'WARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: http://x.org/%d\r\nWARC-Date: 2024-01-02T03:04:05Z\r\nContent-Type: application/http; msgtype=response\r\nContent-Length: %d\r\n\r\n' % (i, len(http))+http+b'\r\n\r\n'
    return [one(i, t) for i,t in enumerate(TEXTS)]

def table(): return pa.table({'text': TEXTS, 'n': list(range(N)), 'tags': [['a', 'b'][:i%3] for i in range(N)]})

def made(write): # bytes of what a function writes into a buffer
    b = io.BytesIO(); write(b); return b.getvalue()

def ipc(new):
    def write(b):
        with new(b, table().schema) as w: w.write_table(table(), 4)
    return made(write)

def sqlite():
    con = sqlite3.connect(':memory:')
    con.execute('create table docs(text, n)'); con.executemany('insert into docs values (?, ?)', [(t, i) for i,t in enumerate(TEXTS)]); con.commit()
    return con.serialize()

def pdf():
    lines = [f'document {i}' for i in range(3)]
    kids = ' '.join(f'{4+2*i} 0 R' for i in range(3))
    parts = [b'<</Type/Catalog/Pages 2 0 R>>', f'<</Type/Pages/Kids[{kids}]/Count 3>>'.encode(), b'<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>']
    for i,t in enumerate(lines):
        body = f'BT /F1 12 Tf 20 100 Td ({t}) Tj ET'.encode()
        parts += [f'<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Resources<</Font<</F1 3 0 R>>>>/Contents {5+2*i} 0 R>>'.encode(), b'<</Length %d>>stream\n%b\nendstream' % (len(body), body)]
    out, at = b'%PDF-1.4\n', []
    for n,p in enumerate(parts, 1): at.append(len(out)); out += b'%d 0 obj\n%b\nendobj\n' % (n, p)
    return out+b'xref\n0 %d\n0000000000 65535 f \n' % (len(parts)+1)+b''.join(b'%010d 00000 n \n' % a for a in at)+b'trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF' % (len(parts)+1, len(out))

def files():
    "{extension: (bytes of a sound file, its records)}"
    lines = '\n'.join(json.dumps(dict(text=t, n=i, meta={'a': [i]}), ensure_ascii=i%2>0) for i,t in enumerate(TEXTS)).encode()
    wiki = '<mediawiki>\n'+'\n'.join(f'<page>\n<title>t{i}</title><ns>0</ns><id>{i}</id>\n<revision><text>{t} [[a|b]] {{{{c}}}}</text></revision>\n</page>' for i,t in enumerate(TEXTS))+'\n</mediawiki>'
    page = HTML.format(' '.join(TEXTS)).encode()
    return {'jsonl': (lines, N), 'jsonl.gz': (gzip.compress(lines, mtime=0), N), 'jsonl.zst': (pa.compress(lines, 'zstd', asbytes=True), N), 'jsonl.xz': (lzma.compress(lines), N),
            'json': (b'['+lines.replace(b'\n', b',\n')+b']', N), 'csv': (table().to_pandas().to_csv(index=False).encode(), N), 'txt': ('\n'.join(TEXTS).encode(), 1), 'html': (page, 1),
            'parquet': (made(lambda b: pq.write_table(table(), b, row_group_size=4)), N), 'arrow': (ipc(pa.ipc.new_file), N), 'ipc': (ipc(pa.ipc.new_stream), N), 'feather': (made(lambda b: pa.feather.write_feather(table(), b)), N),
            'warc': (b''.join(warc()), N), 'warc.gz': (b''.join(gzip.compress(w, mtime=0) for w in warc()), N), 'xml.bz2': (bz2.compress(wiki.encode()), N), 'xml': (wiki.encode(), N), 'db': (sqlite(), N), 'pdf': (pdf(), 1)}

def damaged(data, rng):
    "One of the things that happen to bytes."
    b, n, at = bytearray(data), len(data), int(rng.integers(len(data)))
    kind = rng.integers(8)
    if kind<3:
        for i in rng.integers(n, size=int(rng.integers(1, 9))): b[i] = int(rng.integers(256))
    elif kind==3: b = b[:at]
    elif kind==4: b[at:at+int(rng.integers(1, 64))] = bytes(rng.integers(0, 256, int(rng.integers(0, 64)), dtype=np.uint8))
    elif kind==5: b[at:at+int(rng.integers(1, 200))] = bytes(int(rng.integers(1, 200)))
    elif kind==6: b[at:at] = b[at:at+int(rng.integers(1, 400))]
    else:
        for i in rng.integers(n, size=3): b[i] ^= 1<<int(rng.integers(8))
    return bytes(b)

def memory(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024 # MiB, the highest so far

@pytest.mark.parametrize('end', files())
def test_a_sound_file_is_read_whole(tmp_path, end):
    data, n = files()[end]
    (tmp_path/f'书 كتاب.{end}').write_bytes(data)
    corpus = read({'s': '*'}, folder=tmp_path)
    assert len(corpus)==n and not len(corpus.rejects) and corpus.story[0]['rows_in']==n
    if n>1: assert all(w in t for t,w in zip(corpus.pandas('text').text, TEXTS))

@pytest.mark.parametrize('end', files())
def test_damage_never_stops_a_read(tmp_path, end):
    data, n = files()[end]
    rng, before = np.random.default_rng([ord(c) for c in end]), memory()
    for i in range(INPUTS): (tmp_path/f'{i:04}.{end}').write_bytes(damaged(data, rng))
    (tmp_path/f'sound.{end}').write_bytes(data)
    corpus = read({'s': '*'}, folder=tmp_path)
    assert len(corpus)+len(corpus.rejects)==corpus.story[0]['rows_in']==corpus.story[0]['rows']+sum(corpus.story[0]['dropped'].values())
    rows = corpus.pandas('origin', 'text', 'id')
    seen = {o.split(f'.{end}')[0] for o in [*rows.origin, *corpus.rejects.file]}
    assert seen=={*(f'{i:04}' for i in range(INPUTS)), 'sound'}, 'every file is heard of'
    assert rows.origin.str.startswith('sound').sum()==n and rows.text.str.strip().ne('').all()
    assert len(corpus.rejects) and set(corpus.rejects.reason)==set(corpus.story[0]['dropped'])
    assert len(set(corpus.rejects.reason))<200 and memory()-before<700

@pytest.mark.parametrize('end', ['jsonl', 'csv', 'xml', 'warc', 'warc.gz'])
def test_one_bad_record_costs_one_record(tmp_path, end):
    "Of formats that are cut into records, as a rule."
    data, n = files()[end]
    rng, left = np.random.default_rng(7), []
    for _ in range(40):
        b = bytearray(data)
        at = int(rng.integers(len(b)//10, len(b)*9//10)); b[at:at+2] = b'\x00\xfe'
        (tmp_path/f'x.{end}').write_bytes(b)
        left.append(sum(isinstance(r, dict) for r in each(reader_of(f'x.{end}')(tmp_path/f'x.{end}'))))
    assert np.median(left)>=n-1, left

@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(places=st.lists(st.tuples(st.integers(2, 40), st.integers(0, 60)), max_size=3), end=st.sampled_from(['csv', 'json']), columns=st.sampled_from([1, 2]))
def test_every_line_of_a_table_and_every_member_of_a_list_has_its_account(tmp_path, places, end, columns):
    "Stray quotes, which swallow what follows: the records are counted by their lines."
    lines = ['text,n'[:-2 if columns==1 else None], *(f'text {i} goes on'+f',{i}'*(columns-1) for i in range(40))] if end=='csv' else ['[', *(json.dumps(dict(text=f'text {i} goes on', tags=[{'text': f'not {i}'}, {'a': 1}], n=i))+',' for i in range(40))]
    if end=='csv': places = [(line, at%9) for line,at in places] # before a letter: no quote closes another
    for line,at in places: lines[line] = lines[line][:at]+'"'+lines[line][at:]
    (tmp_path/f'x.{end}').write_text('\n'.join(lines).rstrip(',')+']'*(end=='json'))
    rows = list(each(reader_of(f'x.{end}')(tmp_path/f'x.{end}')))
    hurt = {n for n,_ in places}
    assert len(rows)==40
    kept = {r['text'] for r in rows if isinstance(r, dict)}
    if columns==2 or end=='json': assert kept>={f'text {i} goes on' for i in range(40) if i+1 not in hurt}
    assert len(kept)==sum(isinstance(r, dict) for r in rows) and not any(t.startswith('not') for t in kept)

def packed(b):
    with pa.ipc.new_file(b, table().schema, options=pa.ipc.IpcWriteOptions(compression='zstd')) as w: w.write_table(table(), 4)

def test_a_damaged_row_group_or_batch_costs_its_rows_and_counts_them(tmp_path):
    group, zstd = lambda b: pq.ParquetFile(io.BytesIO(b)).metadata.row_group(1).column(0).data_page_offset, b'\x28\xb5\x2f\xfd'
    for end,data,find in (('parquet', files()['parquet'][0], group), ('arrow', files()['arrow'][0], lambda b: b.index(TEXTS[4].encode())-60), ('arrow', made(packed), lambda b: b.index(zstd, b.index(zstd, len(b)*2//5)+1))):
        data, at = bytearray(data), find(data)
        data[at:at+12] = b'\xff'*12
        (tmp_path/f'x.{end}').write_bytes(data)
        rows = list(each(reader_of(f'x.{end}')(tmp_path/f'x.{end}')))
        kept, lost = [r['_line'] for r in rows if isinstance(r, dict)], [r.line for r in rows if isinstance(r, llmbench.readers.Reject)]
        assert (len(kept), len(lost))==(N-4, 4) and sorted(kept+lost)==[*range(1, N+1)], end

anything = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20), lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=5), x, max_size=4), max_leaves=8)

@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.dictionaries(st.sampled_from(['text', 'id', 'source', 'origin', 'given_id', '_line', 'n', '', 'x']) | st.text(max_size=4), anything, max_size=6) | anything, min_size=1, max_size=12))
def test_any_json_is_kept_or_rejected(tmp_path, rows):
    lines = [json.dumps(r) for r in rows]
    (tmp_path/'a.jsonl').write_text('\n'.join([*lines, '{"text": "sound"}']))
    corpus = read({'s': 'a.jsonl'}, folder=tmp_path)
    good = [r for r in rows if isinstance(r, dict) and isinstance(r.get('text'), str) and r['text'].strip()]
    assert corpus.pandas('text').text.tolist()==[*(sound(r['text']) for r in good), 'sound'] and len(corpus.rejects)==len(rows)-len(good)
    corpus.save(tmp_path/'c')

def test_mixed_schemas_many_columns_and_deep_nesting(tmp_path):
    rows = [{'text': f't{i}', **{f'key{i}_{j}': j for j in range(30)}} for i in range(60)] + [{'text': 'deep', 'x': eval('['*90+']'*90)}]
    (tmp_path/'a.jsonl').write_text('\n'.join(map(json.dumps, rows))+'\n{"text": "deeper", "x": '+'['*960+']'*960+'}')
    corpus = read({'s': 'a.jsonl'}, folder=tmp_path)
    assert len(corpus)+len(corpus.rejects)==62 and len(corpus)>=61 and len(corpus.columns)<=llmbench.files.FIELDS+5
    assert json.loads(corpus.pandas('other_fields').other_fields[59])=={f'key59_{j}': j for j in range(30)}

def test_a_line_of_200_megabytes_and_a_bomb(tmp_path):
    before, pack = memory(), lambda b: gzip.compress(b, 1)
    noise = pack(bytes(np.random.default_rng(0).integers(97, 123, 2**20, dtype=np.uint8)))
    (tmp_path/'a.jsonl.gz').write_bytes(pack(b'{"text": "first"}\n{"text": "')+noise*200+pack(b'"}\n{"text": "last"}\n'))
    (tmp_path/'b.jsonl.gz').write_bytes(pack(b'{"text": "')+gzip.compress(b'x'*2**24)*20)
    corpus = read({'s': '*.gz'}, folder=tmp_path)
    assert corpus.pandas('text').text.tolist()==['first', 'last']
    assert corpus.rejects[['file', 'reason']].values.tolist()==[['a.jsonl.gz', 'longer than 16,777,216 bytes'], ['b.jsonl.gz', 'expands to more than 200 times its size']]
    assert memory()-before<300

def test_wrong_column_types(tmp_path):
    pd.DataFrame({'text': [1, 2]}).to_parquet(tmp_path/'ints.parquet')
    pa.parquet.write_table(pa.table({'text': [b'bytes that are text', b'\xc3\x28\xa0\xa1\xe2\x28'], 'when': pa.array([0, 2**62], pa.timestamp('us'))}), tmp_path/'bytes.parquet')
    pa.parquet.write_table(pa.table({'text': pa.array(['a', 'b', 'a', None]).dictionary_encode(), 'd': pa.array([1, None, 3, 4], pa.decimal128(9, 2))}), tmp_path/'dictionary.parquet')
    pa.parquet.write_table(pa.table([['one'], ['two']], names=['text', 'text']), tmp_path/'twice.parquet')
    corpus = read({'s': '*.parquet'}, folder=tmp_path)
    assert sorted(corpus.pandas('text').text)==['a', 'a', 'b', 'bytes that are text', 'one'] and len(corpus.rejects)==4
