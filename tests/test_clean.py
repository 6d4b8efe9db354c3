"""Cleaners, recipes and redaction against the same thing done slowly, and against text made to break them."""
import json, os, re, subprocess, sys, warnings
from pathlib import Path

import numpy as np, pandas as pd, pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

import llmbench.scale
from llmbench.clean import CLEANERS, Step, clean, cleaners, recipes
from llmbench.core import need
from llmbench.corpus import Corpus
from llmbench.privacy import KINDS, chinese_id, find_pii, iban, luhn, redact, redact_text
from llmbench.readers import python_text
from llmbench.signals import signals
from llmbench.store import file_hash
from llmbench.words import BigramModel, add_views, content_words, lemma, views

quick = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
odd = st.text(st.sampled_from('aB的. \n\n#|<>&;[]1/{@-"\'') | st.characters(codec='utf-8'), max_size=60)
web = st.lists(st.sampled_from(['<p>', '</div>', '<br/>', '&amp;', '&lt;b&gt;', '[1]', '[edit]', 'Ã©', 'use cookies', 'word', '中文', '.', '\n', ' ', '|', '{', '<a href="x">', 'a@b.co', '8.8.8.8']), max_size=40).map(''.join)

@quick
@given(odd | web, st.sampled_from(sorted(cleaners.all())))
@example('&amp;amp;lt;b&gt;', 'markup')
@example('[[1]1] a b c.', 'c4_lines')
def test_a_cleaner_changes_a_clean_text_no_more(text, name):
    once = cleaners[name]([text])
    assert cleaners[name](once)==once

def slow_follow(text, steps):
    "(text, reason, number of the step) of one document, a step at a time."
    for k,s in enumerate(steps):
        for c in s.cleaners: text = cleaners[c]([text])[0]
        if s.cleaners and not text.strip(): return '', 'empty after cleaning', k
        for name,(lo,hi) in s.keep.items():
            v = signals[name]([text])[0]
            if lo is not None and v<lo: return text, f'{name} < {lo}', k
            if hi is not None and v>hi: return text, f'{name} > {hi}', k
    return text, None, -1

CHINESE = ['市议会星期一开会讨论今年的道路预算。会议开了很久，没有人能够给出答案。\n有些议员希望等到春天，那时价格可能会低一些，因为冬天的材料比较贵，而且工人也很难找到。'*k for k in (1, 2, 9)]

@pytest.mark.parametrize('name', ['gopher', 'c4', 'fineweb', 'fineweb2'])
def test_a_recipe_is_its_steps_one_after_another(name):
    docs = python_text(megabytes=.3).pandas('text', 'source').groupby('source').head(12)
    texts = [t[:5000] for t in docs.text]+CHINESE+['', 'mail me: x@uni-bonn.de']
    corpus = Corpus.of(pd.DataFrame(dict(text=texts, source=[*docs.source, *['zh']*3, *['odd']*2])))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        left = clean(corpus, recipe=name)
    want = [slow_follow(t, recipes[name]()) for t in texts]
    assert left.pandas('text').text.tolist()==[t for t,why,_ in want if why is None]
    for k,item in enumerate(left.story[1:]):
        now = [why for _,why,at in want if at==k]
        assert item['dropped']=={w: now.count(w) for w in set(now)} and item['rows']==sum(at<0 or at>k for *_,at in want)
        for s,c in item['sources'].items(): assert c['rows']==c['rows_in']-sum(c['dropped'].values())
    assert left.story[-1]['bytes']==sum(len(t.encode()) for t in left.pandas('text').text)

def test_a_source_that_is_wiped_out_is_named_marked_and_shown():
    corpus = Corpus.of({'zh': CHINESE, 'en': ['the cat and the dog have to be with us, that is all of it']})
    with pytest.warns(UserWarning, match="step 'english' dropped all 3 documents of source 'zh'"):
        left = clean(corpus, recipe=[Step('english', CLEANERS, {'english_score': (.5, None)})])
    assert 'nothing left of zh' in left.plot_funnel().to_json()
    shown = left.examples('english', source='zh')
    assert len(shown)==2 and not shown.kept.any() and set(shown.why)=={'english_score < 0.5'} and all(any(c.startswith(t) for c in CHINESE) for t in shown.text)
    assert left.examples('english', source='en').kept.all()

def test_the_story_survives_a_save(tmp_path):
    left = clean(Corpus.of({'a': ['one two three', 'x']}), recipe=[Step('s', (), {'words': (2, None)})])
    saved = left.save(tmp_path/'c')
    assert saved.story==left.story and len(saved.examples('s'))==2

# --- personal data

def card(digits): # with its check digit
    return next(digits+str(d) for d in range(10) if luhn(digits+str(d)))

def identity(first17): return next(first17+c for c in '0123456789X' if chinese_id(first17+c))

@quick
@given(st.integers(10**14, 10**15-1), st.dates(pd.Timestamp('1900-01-01').date(), pd.Timestamp('2020-01-01').date()), st.integers(0, 999), odd)
def test_what_is_planted_is_found_and_gone(n, day, serial, noise):
    number, person = card('4'+str(n)[1:]), identity(f'110105{day:%Y%m%d}{serial:03}')
    secrets = [number, person, 'ann.lee@uni-bonn.de', 'GB82 WEST 1234 5698 7654 32', '13912345678', '+49 30 901820', '8.8.4.4', '2606:4700:4700::1111', 'ghp_16C7e42F292c6912E7710c838347Ae178B4a']
    text = noise+' ; '+' ; '.join(secrets)+' ; '+noise
    done, log = redact_text(text)
    assert not any(s in done for s in secrets) and {k for k,*_ in log}>={'card', 'chinese_id', 'email', 'iban', 'chinese_mobile', 'phone', 'ip', 'token'}
    assert all(text[a:b]==was for _,a,b,_,was in log) and redact_text(done)[1]==[]
    wrong = number[:-1]+str((int(number[-1])+1)%10)
    assert 'card' not in {f.kind for f in find_pii(f'number {wrong} here')}

PLANTED = dict(url_password='https://bob:hunter2@git.org/x', private_key='-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----', token='ghp_16C7e42F292c6912E7710c838347Ae178B4a', email='zhangsan@163.com',
               iban='GB82WEST12345698765432', chinese_id='11010519491231002X', card='4111111111111111', chinese_mobile='13912345678', phone='+49 30 901820', ip='8.8.8.8')

@settings(quick, max_examples=30)
@given(st.text(st.sampled_from('汉联系。，：（ éñжا'), max_size=3), st.text(st.sampled_from('汉联系。，：（ éñжا'), max_size=3))
@example('汉', '汉')
def test_each_kind_is_found_between_letters_of_other_scripts(before, after):
    assert set(PLANTED)==set(KINDS)
    for kind,secret in [*PLANTED.items(), ('ip', '2606:4700:4700::1111'), ('card', '371449635398431')]:
        text = before+secret+after
        assert [f.kind for f in find_pii(text)]==[kind] and '<' in redact_text(text)[0], text
        if kind in ('email', 'ip'): assert cleaners['email_and_ip']([text])==[f'{before}<{kind.upper()}>{after}'], text
    assert [signals['pii']([before+s+after for s in PLANTED.values()]).tolist()]==[[1]*len(PLANTED)]

def test_only_the_hosts_of_nobody_are_spared():
    assert [t for t in ('ann@bigexample.com', 'ann@example.com', 'ann@mail.Example.org', 'ann@notlocalhost.de', 'ann@my-example.net') if find_pii(t)]==['ann@bigexample.com', 'ann@notlocalhost.de', 'ann@my-example.net']

def test_ordinary_text_is_left_alone():
    texts = ['version 1.2.3.4 and 10.0.0.1', 'pi is 3.14159265358979323846', 'at 12:30:45 on 2024-01-31', 'sha 9f86d081884c7d659a2feaa0c55ad015', 'logo@2x.png', 'user@example.com',
             'ISBN 978-3-16-148410-0', '::', 'a::b', 'std::vector<int>', '1234567890123456', 'http://host:8080/path', '订单号20240131000000123456']
    assert {t: find_pii(t) for t in texts if find_pii(t)}=={'version 1.2.3.4 and 10.0.0.1': find_pii(texts[0])} and [f.kind for f in find_pii(texts[0])]==['ip']
    assert not iban('GB00 0000') and not luhn('4')

@quick
@given(odd | web)
def test_spans_lie_in_the_text_and_do_not_overlap(text):
    found = find_pii(text)
    assert all(f.kind in KINDS and 0<=f.start<f.end<=len(text) for f in found) and all(a.end<=b.start for a,b in zip(found, found[1:]))

def test_the_audit_holds_no_secret_and_two_keys_give_two_hashes():
    corpus = Corpus.of({'m': ['write ann.lee@uni-bonn.de', 'or ann.lee@uni-bonn.de, 8.8.8.8', 'none']})
    (one, a), (_, b) = redact(corpus, key=b'k'*32), redact(corpus, key=b'j'*32)
    assert len(a)==3 and a.kind.tolist()==['email', 'email', 'ip'] and a['hash'].nunique()==2 and set(a['hash']).isdisjoint(b['hash'])
    assert 'ann' not in a.to_csv()+str(one.story) and one.story[-1]['replaced']=={'email': 2, 'ip': 1}

def test_patterns_take_no_time_on_hostile_text():
    import time
    for text in ('a@'*50_000, '1'*100_000, 'a.'*50_000+'@', ':'*100_000, 'GB82 '*20_000, '+1 '*30_000, '-----BEGIN PRIVATE KEY-----'*4000, 'x://'+'a:'*50_000, '<p '*30_000, '&amp;'*30_000):
        start = time.process_time()
        find_pii(text); cleaners['markup']([text]); cleaners['mojibake']([text])
        assert time.process_time()-start<3, text[:20]

# --- words

@quick
@given(st.lists(odd, max_size=5))
def test_views_keep_the_text_and_the_number_of_rows(texts):
    for name,v in views.items(): assert len(v(texts))==len(texts) and all(isinstance(t, str) for t in v(texts)), name
    texts = [t for t in texts if t]
    if texts:
        seen = add_views(Corpus.of(texts), ['plain', 'lemmas']).pandas()
        assert seen.text.tolist()==texts and list(seen.columns[-2:])==['text_plain', 'text_lemmas']

def test_a_model_is_the_same_after_saving_and_in_batches(tmp_path):
    texts = python_text(megabytes=.2).pandas('text').text.tolist()
    one, two = BigramModel.fit(texts), BigramModel.fit([texts[:50], texts[50:]])
    assert np.array_equal(one.pairs, two.pairs) and np.array_equal(one.followers, two.followers)
    one.save(tmp_path/'m.npz')
    assert np.array_equal(BigramModel.load(tmp_path/'m.npz').perplexity(texts[:20]), one.perplexity(texts[:20]))
    assert lemma('went')=='go' and not re.search('the', ' '.join(content_words('the The THE')))

# --- from the command line, on the workers of Ray

@pytest.mark.skipif(not os.environ.get('LLMBENCH_SLOW'), reason='starts Ray; LLMBENCH_SLOW=1 runs it')
def test_steps_on_ray_from_the_command_line(tmp_path):
    python_text(['licences', 'topics'], megabytes=.3).save(tmp_path/'raw')
    run = lambda *a: subprocess.run([Path(sys.executable).with_name('llmbench'), 'data', *map(str, a), '--json'], capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'}, timeout=600)
    ray = llmbench.scale.start_ray(dict(num_cpus=2), 8) # a cluster for all calls
    where = ['--address', ray.address_info['gcs_address']]
    for engine in ('native', 'ray'):
        out = tmp_path/engine
        for a in (['clean', tmp_path/'raw', '--recipe', 'gopher', '-o', out/'clean'], ['signals', out/'clean', 'words', 'compression_ratio', '-o', out/'signals']):
            done = run(*a, '--engine', engine, *(where if engine=='ray' else []))
            assert done.returncode==0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])['documents']>100
    for step in ('clean', 'signals'): # rows, order, story and files
        a, b = ({p.name: file_hash(p) for p in (tmp_path/e/step).iterdir()} for e in ('native', 'ray'))
        assert a==b and len(a)>=3
    done = run('signals', tmp_path/'raw', 'words', '--engine', 'ray', *where)
    assert {r['source'] for r in json.loads(done.stdout.splitlines()[-1])}=={'licences', 'topics'}, done.stderr[-3000:]
    assert run('clean', tmp_path/'raw', '-o', tmp_path/'x', '--engine', 'spark').returncode==2
    need('ray').shutdown()
