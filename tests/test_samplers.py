"""A mixture in other loaders, run for real where they can be installed: what they deliver against what was asked."""
import importlib.util, json, os

import numpy as np
import pytest
import yaml

from llmbench.mixture import Mixture
from llmbench.samplers import dry_run, export, interleaved, loaders, sample_shares

LENGTHS = dict(a=50, b=20, c=200)

def mixture(c=.1, **fields):
    "1000 sequences of 16 tokens; with c=.1 nothing is read twice."
    w = dict(a=.7-c, b=.3, c=c)
    return Mixture(**dict(weights=w, sizes=dict(a=20_000, b=8_000, c=2_000), budget=16_000, window=16, tokens_per_document=LENGTHS)|fields)

@pytest.fixture(scope='module')
def peer(root):
    "peer(name, code, *args): the JSON value that a script prints where that package is installed; skips if it cannot be."
    spec = importlib.util.spec_from_file_location('peers', root/'benchmarks/peers.py')
    peers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peers)
    def call(name, code, *args):
        try: return peers.run(name, code, *map(json.dumps, args), timeout=300)
        except peers.NotInstalled as e: pytest.skip(str(e))
    return call

# ---- Hugging Face datasets

def rows(mix, sample): # source -> Dataset, one sample a row
    from datasets import Dataset
    n = dict(zip(mix.sources, mix.windows)) if sample=='window' else {k: mix.sizes[k]//LENGTHS[k] for k in mix.sources}
    return {k: Dataset.from_dict(dict(source=[k]*int(n[k]), row=list(range(int(n[k]))))) for k in mix.sources}

@pytest.mark.parametrize('c', [.1, .25])
@pytest.mark.parametrize('stream', [False, True])
def test_datasets_deliver_the_budget(c, stream):
    mix = mixture(c)
    data = rows(mix, 'window')
    got = interleaved(mix, {k: d.to_iterable_dataset() for k,d in data.items()} if stream else data)
    run = dry_run(got, asked=sample_shares(mix))
    assert run.n==mix.n and not run.ended and run.worst<5*np.sqrt(mix.n/4)
    kept = [r for r in got if r['source']=='c']
    assert len(kept)>124 if c==.25 else len({r['row'] for r in kept})==len(kept)       # repeats exactly where the plan has them

def test_shares_of_documents_give_the_shares_of_tokens():
    mix = mixture(budget=160_000, window=16, sizes=dict(a=200_000, b=80_000, c=40_000))
    got = interleaved(mix, rows(mix, 'document'), sample='document')
    tokens = {k: LENGTHS[k]*sum(s==k for s in got['source']) for k in mix.sources}
    total = sum(tokens.values())
    assert abs(total/mix.budget-1)<.05 and all(abs(tokens[k]/total-mix.weights[k])<.03 for k in tokens)
    assert abs(sample_shares(mix, 'document')['b']-mix.weights['b'])>.2                # taken for shares of documents, the weights would have been another mixture

def test_sources_without_weight_or_rows():
    from datasets import Dataset
    mix = mixture(weights=dict(a=.7, b=.3, c=0.))
    assert dry_run(interleaved(mix, rows(mix, 'window')), asked=sample_shares(mix)).n==mix.n and any('left out: c' in s for s in export(mix, 'datasets').lost)
    with pytest.raises(ValueError, match="'a'.* have no rows"): interleaved(mix, rows(mix, 'window')|dict(a=Dataset.from_dict(dict(source=[], row=[]))))
    with pytest.raises(ValueError, match="no source called 'b'"): interleaved(mix, dict(a=rows(mix, 'window')['a']))

# ---- MosaicML Streaming

STREAMING = '''
import json, sys, tempfile
from streaming import MDSWriter, Stream, StreamingDataset
def deliver(args, rows):
    folder = tempfile.mkdtemp()
    for k,n in rows.items():
        with MDSWriter(out=f'{folder}/{k}', columns={'source': 'str'}) as w:
            for i in range(n): w.write({'source': k})
    streams = [Stream(**{**s, 'local': f"{folder}/{s['local']}"}) for s in args.pop('streams')]
    return [r['source'] for r in StreamingDataset(streams=streams, batch_size=1, num_canonical_nodes=1, **args)]
print(json.dumps([deliver(*a) for a in json.loads(sys.argv[1])]))
'''

def test_streaming_delivers_the_budget(peer):
    mix = mixture(.25)
    exports = {sample: export(mix, 'streaming', sample=sample) for sample in ('window', 'document')}
    have = dict(window=dict(zip(mix.sources, mix.windows.tolist())), document={k: n//LENGTHS[k] for k,n in mix.sizes.items()})
    for (sample, e), got in zip(exports.items(), peer('streaming', STREAMING, [[e.arguments, have[s]] for s,e in exports.items()])):
        asked = sample_shares(mix, sample)
        run = dry_run(got, asked=asked, source_of=str)
        assert run.n==e.arguments['epoch_size'] and abs(run.table.off).max()<=1.001 and run.worst>3   # exact over the run, not on the way
        block = yaml.safe_load(e.text)['dataset']
        assert list(block['streams'].values())==e.arguments['streams'] and {k: s['proportion'] for k,s in block['streams'].items()}==asked

# ---- litData

LITDATA = '''
import json, sys, tempfile
from litdata import CombinedStreamingDataset, StreamingDataset
from litdata.streaming.cache import Cache
args, rows = json.loads(sys.argv[1]), json.loads(sys.argv[2])
if __name__=='__main__':
    folder = tempfile.mkdtemp()
    for k,n in rows.items():
        cache = Cache(f'{folder}/{k}', chunk_size=1000)
        for i in range(n): cache[i] = {'source': k}
        cache.done()
        cache.merge()
    data = CombinedStreamingDataset([StreamingDataset(f'{folder}/{d}', shuffle=True, seed=args['seed']) for d in args.pop('input_dirs')], **args)
    print('\\n'+json.dumps([r['source'] for r in data]))
'''

def test_litdata_ends_where_the_export_says(peer):
    mix = mixture(.25)
    e = export(mix, 'litdata')
    said = next(s for s in e.lost if s.startswith('Repeats'))
    run = dry_run(peer('litdata', LITDATA, e.arguments, dict(zip(mix.sources, mix.windows.tolist()))), 1000, sample_shares(mix), str)
    assert run.ended and 'c after about 496 of 1,000' in said and abs(run.n-496)<6*np.sqrt(496*.75/.25) and run.worst<5*np.sqrt(run.n/4)

# ---- Megatron

MEGATRON = '''
import json, sys, tempfile, numpy as np, torch
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder
from megatron.core.datasets.utils import get_blend_from_list
args, sizes = json.loads(sys.argv[1]), json.loads(sys.argv[2])
folder = tempfile.mkdtemp()
for i,(k,n) in enumerate(sizes.items()):
    b = IndexedDatasetBuilder(f'{folder}/{k}.bin', dtype=np.int32)
    for _ in range(n//50): b.add_document(torch.full((50,), i+1, dtype=torch.int32), [50])
    b.finalize(f'{folder}/{k}.idx')
class Tokenizer: unique_identifiers, eod, pad, vocab_size, eos_id = {}, 0, 9, 10, 0
blend = [f'{folder}/{x}' if i%2 else x for i,x in enumerate(args['data-path'])]
config = GPTDatasetConfig(random_seed=args['seed'], sequence_length=args['seq-length'], blend=get_blend_from_list(blend), split='1,0,0', path_to_cache=None, tokenizer=Tokenizer(),
                          reset_position_ids=False, reset_attention_mask=False, eod_mask_loss=False)
train = BlendedMegatronDatasetBuilder(GPTDataset, [args['train-samples'], 0, 0], lambda: True, config).build()[0]
print(json.dumps([[int(train[i]['tokens'][0]), len(train[i]['tokens'])] for i in range(args['train-samples'])]))
'''

@pytest.mark.skipif(not os.environ.get('LLMBENCH_SLOW'), reason='builds the helpers of Megatron; LLMBENCH_SLOW=1 runs it')
def test_megatron_delivers_the_budget(peer):
    mix = mixture(.25)
    e = export(mix, 'megatron')
    got = peer('megatron', MEGATRON, e.arguments, mix.sizes)
    run = dry_run([mix.sources[t-1] for t,_ in got], asked=sample_shares(mix), source_of=str)
    assert run.n==mix.n and run.worst<1.2 and {n for _,n in got}=={mix.window}          # the one peer with a bound of its own
    assert e.text.split()[2:9:3]==[repr(w) for w in mix.plan().weight] and '--seq-length 16 --train-samples 1000 ' in e.text

# ---- OLMo-core

OLMO = '''
import json, sys, tempfile, numpy as np
from olmo_core.data import NumpyFSLDatasetConfig, TokenizerConfig
from olmo_core.data.source_mixture import SourceMixtureConfig, SourceMixtureDatasetConfig, SourceMixtureList
from olmo_core.data.types import NumpyDatasetDType
from olmo_core.exceptions import OLMoConfigurationError
args, sizes = json.loads(sys.argv[1]), json.loads(sys.argv[2])
if __name__=='__main__':
    folder = tempfile.mkdtemp()
    for i,(k,n) in enumerate(sizes.items()): np.where(np.arange(n)%50==49, 0, i+1).astype(np.uint16).tofile(f'{folder}/{k}.npy')
    def build(args, **more):
        sources = [SourceMixtureConfig(**{**s, **more, 'paths': [f'{folder}/{p}.npy' for p in s['paths']]}) for s in args['source_list']['sources']]
        mixture = SourceMixtureDatasetConfig(**{**args, 'source_list': SourceMixtureList(sources=sources)}, render_tables=False, quiet=True)
        return NumpyFSLDatasetConfig(source_mixture_config=mixture, sequence_length=16, tokenizer=TokenizerConfig(vocab_size=10, eos_token_id=0, pad_token_id=9), work_dir=folder, dtype=NumpyDatasetDType.uint16).build()
    data = build(args)
    data.prepare()
    try: build(args, max_repetition_ratio=1.); refused = ''
    except OLMoConfigurationError as e: refused = str(e)
    print(json.dumps([[int(data[i]['input_ids'].max()) for i in range(len(data))], refused]))
'''

def test_olmo_delivers_the_budget_and_keeps_the_caps(peer):
    mix = mixture(.25, max_epochs=3.)
    e = export(mix, 'olmo')
    got, refused = peer('olmo', OLMO, e.arguments, mix.sizes)
    run = dry_run([mix.sources[t-1] for t in got], asked=sample_shares(mix), source_of=str)
    assert run.n==mix.n and abs(run.table.off).max()<=2 and 'Insufficient tokens for source: c' in refused
    assert yaml.safe_load(e.text)['sources']==e.arguments['source_list']['sources']

# ---- all of them

def test_every_loader_says_what_is_lost():
    mix = mixture(.1).then(500, dict(a=.5, b=.3, c=.2), ramp=100).but(max_share={'a': .9})
    assert set(loaders.all())>={'datasets', 'streaming', 'megatron', 'litdata', 'olmo'}
    for to in loaders.all():
        whole, late = export(mix, to), export(mix, to, phase=1)
        assert any('mean shares of 2 phases' in s for s in whole.lost) and any('phase 1 of 0 to 1 alone' in s for s in late.lost) and any(s.startswith('Bounds') for s in whole.lost)
        json.dumps(whole.arguments)
        assert to in whole._repr_markdown_() and whole.lost[0] in str(whole)
    asked = mix.stream().target(mix.n)/mix.n
    assert np.allclose(list(sample_shares(mix).values()), asked, atol=1e-5) and np.isclose(sum(sample_shares(mix, phase=1).values()), 1)
    assert .19<sample_shares(mix, phase=1)['c']<.2 and np.isclose(sample_shares(mix, phase=0)['c'], .1)

def test_several_paths_of_a_source():
    mix = mixture()
    paths = dict(a=['a1', 'a2'], b='b', c='c')
    assert export(mix, 'megatron', paths).arguments['data-path']==['0.3', 'a1', '0.3', 'a2', '0.3', 'b', '0.1', 'c']
    assert export(mix, 'olmo', paths).arguments['source_list']['sources'][0]['paths']==['a1', 'a2']
    for to in ('streaming', 'litdata'):
        with pytest.raises(ValueError, match="one folder a source"): export(mix, to, paths)

def test_dry_run_of_batches_and_generators():
    mix = mixture()
    names = [mix.sources[k] for k in mix.stream().block(0, 1000)[0]]
    one, many = dry_run(iter(names), 600, mix.weights, str), dry_run((names[i:i+7] for i in range(0, 1000, 7)), 600, mix.weights, list)
    assert one.n==many.n==600 and one.table.equals(many.table)
    assert np.isclose(one.worst, dry_run(mix, 600).worst, atol=.01) and not one.ended and dry_run(iter(names), 2000, mix.weights, str).ended
    assert one.error.shape==(400, 3) and one.at[-1]==600 and len(one.plot().data)==5

# ---- the command line

def test_mix_verb(tmp_path, capsys):
    from llmbench.cli import main
    mix, file = mixture(.25).then(500, dict(a=.6, b=.3, c=.1), 100), str(tmp_path/'mix.json')
    mix.save(file)
    def say(*args):
        code = main(['mix', *args])
        return code, capsys.readouterr()
    code, said = say('plan', file, '--by', 'phase', '--json')
    rows = json.loads(said.out)
    assert code==0 and [r['tokens'] for r in rows]==mix.plan(by='phase').tokens.tolist() and [r['runs_out_at_sequence'] for r in rows].count(None)==5
    assert say('plan', file)[1].out.splitlines()[0].split()[:3]==['source', 'weight', 'tokens']
    code, said = say('dry', file, '-n', '700', '--json')
    assert code==0 and json.loads(said.out)['samples']==700 and json.loads(said.out)['worst']<=json.loads(said.out)['bound']
    code, said = say('export', file, '--to', 'streaming', '--sample', 'document', '--phase', '1', '--path', 'a=x', '--path', 'b=y', '--path', 'c=z')
    assert code==0 and said.out.rstrip('\n')==str(export(mix, 'streaming', dict(a='x', b='y', c='z'), 'document', 1))
    for args, words in [(('export', file), 'name the loader'), (('export', file, '--to', 'olm'), "Did you mean 'olmo'"), (('plan', str(tmp_path/'no.json')), 'no.json')]:
        code, said = say(*args)
        assert code==2 and words in said.err and not said.out and 'Traceback' not in said.err
