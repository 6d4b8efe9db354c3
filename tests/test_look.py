"""The browser of documents in a real browser: hostile text stays text, search, filters, brush and next work by real clicks, and a page without a kernel answers as Python does."""
import json, threading, time

import numpy as np
import pandas as pd
import pytest
from conftest import usable

from llmbench.core import rng
from llmbench.look import answer, browse
from llmbench.screens import screen_script, screen_style

EVIL = '<script>window.ran = 1</script><img src=x onerror="window.ran = 2"></script><!-- <b onclick="window.ran = 3">bold</b> \u202egnp.exe\u0007'
NAMES = ['books 书籍', 'code', '<img src=x onerror="window.ran = 4">']
NUMBER = 'size <svg onload="window.ran = 5">'
WORDS = ['sea', 'wind', '数据', 'ship', 'import', 'alone', 'jo.do@mail.cn', '模型']

def table(n=60):
    "Documents of three sources, one of them hostile, with numbers and clusters of hostile names."
    g = rng('test_look')
    texts = [f'{EVIL} document {k}: '+' '.join(g.choice(WORDS, 12+k)) if k%3==2 else f'document {k}:\n'+'\n'.join(' '.join(g.choice(WORDS, 8)) for _ in range(2+k//10)) for k in range(n)]
    texts[1] = texts[4]+' a few other words at the end' # near copies
    return pd.DataFrame({'text': texts, 'id': [f'id <i>{k}</i>' for k in range(n)], 'source': [NAMES[k%3] for k in range(n)], NUMBER: np.round(g.gamma(2, 100, n), 3), 'rank': np.arange(n), 'cluster': ['c4' if k==1 else f'c{k}' for k in range(n)],
                         'kind of <b>': [('a<b>', 'b')[k%2] for k in range(n)]})

@pytest.fixture(scope='module')
def docs(): return browse(table(), numbers=[NUMBER, 'rank', 'words'], cleaner='c4_lines', title=f'Title {EVIL}', note=EVIL)

@pytest.fixture
def open_page(browser):
    "Opens a file; nothing may be asked of any host, nothing may go wrong, and no text of the data may have run."
    context = browser.new_context(viewport={'width': 1280, 'height': 800})
    page, outside, wrong = context.new_page(), [], []
    page.on('request', lambda r: None if r.url.startswith(('file:', 'data:', 'blob:')) else outside.append(r.url))
    page.on('pageerror', lambda e: wrong.append(str(e)))
    page.on('console', lambda m: wrong.append(m.text) if m.type=='error' else None)
    page.on('dialog', lambda d: wrong.append(f'dialog: {d.message}'))
    def show(path):
        page.goto(path.as_uri())
        page.wait_for_selector('.lb-look .reader .text', timeout=10_000)
        return page
    yield show
    ran = page.evaluate('[window.ran, document.querySelectorAll(".lb-look img, .lb-look b[onclick], .lb-look script, .lb-look svg[onload]").length]')
    context.close()
    assert ran==[None, 0] and not outside and not wrong

LOOK = "document.querySelector('.lb-look').parentElement.look"
def total(page): return int(page.locator('.count').inner_text().replace(',', ''))
def settled(page, want): page.wait_for_function(f"document.querySelector('.count').textContent.replace(',', '')==='{want}'")
def names(page): return page.locator('.kind .nm').all_inner_texts()

def brush(page, k, a, b):
    "Drag over the k-th histogram, from one share of its width to another."
    area = page.locator('.charts .area').nth(k)
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    page.mouse.move(box['x']+a*box['width'], box['y']+20); page.mouse.down(); page.mouse.move(box['x']+b*box['width'], box['y']+25, steps=4); page.mouse.up()

def through(page, docs):
    "A person's way through the widget, whoever answers it; what is on screen is what Python counts."
    shown = lambda: docs.check(**page.evaluate(f'{LOOK}.query'))
    rows = lambda: len(docs.rows(shown())) # the search of the page below is complete
    frame = table()
    assert total(page)==60 and set(names(page))>={'books 书籍', 'code', NAMES[2], 'a<b>'}
    page.locator('.row').nth(2).click()
    page.wait_for_function("document.querySelector('.reader .text').innerText.includes('document 2')")
    text = page.locator('.reader .text').inner_text()
    assert '<script>window.ran = 1</script>' in text and '⟦202E⟧gnp.exe␇' in text and page.locator('.reader .text mark.pii').first.inner_text()=='jo.do@mail.cn'
    page.get_by_label('next document (j)').click()
    page.wait_for_function("document.querySelector('.reader .place').textContent.startsWith('4 of')")
    page.get_by_label('next page', exact=True).click()
    page.wait_for_function("document.querySelector('.row .start').textContent.includes('document 12')")
    page.locator('.find').fill('import') # search
    settled(page, frame.text.str.contains('import').sum())
    docs.search(docs.check(find='import')).run()
    page.wait_for_selector('.reader .text mark.hit')
    assert page.locator('.reader .text mark.hit').first.inner_text()=='import'
    page.locator('.kind', has_text='<img').first.click() # a source
    settled(page, (frame.text.str.contains('import') & (frame.source==NAMES[2])).sum())
    page.get_by_role('button', name='Clear all').click()
    settled(page, 60)
    brush(page, 1, .5, 1.) # half of the ranks
    settled(page, rows())
    half = shown()['where']['rank']
    assert half[1] is None and rows()==(frame['rank']>=half[0]).sum() and 28<=rows()<=32
    page.wait_for_timeout(150)
    counts = page.evaluate(f"(async () => (await {LOOK}.back.ask('histogram', {{name: {json.dumps(NUMBER)}, query: {LOOK}.query}})).counts)()")
    assert counts==answer(docs, 'histogram', name=NUMBER, query=shown())['counts'] and np.sum(counts)==rows(), 'the other histograms count what the brush left'
    page.locator('select[aria-label=order]').select_option(f'-{NUMBER}')
    page.wait_for_function(f"document.querySelector('.row .start').textContent.includes('document {frame[frame['rank']>=half[0]][NUMBER].idxmax()}:')")
    page.get_by_role('slider', name='rank, at least').focus()
    page.keyboard.press('ArrowRight')
    page.wait_for_function(f"document.querySelector('.count').textContent!=='{(frame['rank']>=half[0]).sum()}'")
    settled(page, rows())
    page.get_by_label('clear rank').click()
    settled(page, 60)
    page.locator('.find').fill('(sea|ship'); page.get_by_label('regular expression').click() # a pattern that is none
    page.wait_for_function("document.querySelector('.trouble').textContent.length>10")
    page.locator('.find').fill('words at the end')
    settled(page, 1)
    page.get_by_role('button', name='Copies (1)').click()
    page.wait_for_selector('.sides del')
    assert 'words at the end' in page.locator('.sides del').inner_text()
    page.get_by_role('button', name='Changes').click()
    page.wait_for_selector('.told')
    assert page.locator('.reader del').count()>0

def test_a_page_without_a_kernel(open_page, docs, tmp_path):
    path = docs.save_html(tmp_path/'look.html', n=60)
    assert path.stat().st_size<600_000
    through(open_page(path), docs)

def test_the_widget_asks_python(open_page, docs, tmp_path, browser):
    "The same way with the messages that a notebook carries: the page asks, `answer` answers."
    spec = json.dumps(docs.widget.spec).replace('</', '<\\/').replace('<!--', '<\\u0021--')
    page = (f'<!doctype html><meta charset="utf-8"><style>{screen_style("look")}</style><body class="lb"><div id="w"></div><script>{screen_script("look")}</script><script>'
            f'const heard = [], spec = {spec}; const model = {{get: () => spec, on: (e, f) => heard.push(f), off() {{}}, send: async m => {{ const got = JSON.parse(await window.ask(JSON.stringify(m))); heard.forEach(f => f(got)); }}}};'
            "llmbenchLook.render({model, el: document.getElementById('w')});</script>")
    (tmp_path/'kernel.html').write_text(page, encoding='utf-8')
    sent, widget = [], docs.widget
    widget.send = sent.append # what goes to the page, instead of a notebook's socket
    def ask(message):
        widget._handle_custom_msg(json.loads(message), [])
        return json.dumps(sent.pop())
    opened = browser.contexts[-1].pages[-1]
    opened.expose_function('ask', ask)
    through(open_page(tmp_path/'kernel.html'), docs)
    assert docs.query['find']=='words at the end', 'what is on screen is in Python'

def test_a_part_of_another_page(open_page, docs, tmp_path):
    "As on a page of the documentation, in the dark: the map follows the filters and opens what is clicked; side by side; by keys; on a telephone."
    frame = table()
    points = pd.DataFrame(dict(row=range(60), x=np.arange(60)%10, y=np.arange(60)//10, source=frame.source, text=frame.text.str[:80]))
    (tmp_path/'part.html').write_text(f'<!doctype html><html data-theme="dark"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><body><p>before</p>{docs.static(60, points=points)._repr_html_()}<p>after</p>', encoding='utf-8')
    page = open_page(tmp_path/'part.html')
    page.get_by_role('button', name='map', exact=True).click()
    page.locator('.kind', has_text='code').first.click()
    settled(page, 20)
    alive = page.evaluate(f'{LOOK}.alive')
    asked = browse(frame, numbers=['rank'], points=points)
    assert alive==np.flatnonzero(frame.source=='code').tolist()==answer(asked, 'page', query=asked.check(where={'source': ['code']}), map=True)['map']
    box = page.locator('.map canvas').bounding_box()
    page.mouse.click(box['x']+12+4/9*(box['width']-24), box['y']+box['height']-12-3/5*(box['height']-24))
    page.wait_for_function("document.querySelector('.reader .text').innerText.includes('document 34')")
    page.get_by_role('button', name='list', exact=True).click()
    page.get_by_role('button', name='Side by side').click()
    page.wait_for_selector('.sides')
    assert page.locator('.sides h4').all_inner_texts()==['before', 'after'] and usable(page)>20
    page.set_viewport_size({'width': 390, 'height': 800})
    assert page.evaluate('document.documentElement.scrollWidth')<=390 and page.evaluate("getComputedStyle(document.querySelector('.sides .text'), '::before').content")=='"before"'

def test_a_search_stops_and_goes_on():
    many = browse([f'text {k}' for k in range(40_000)], numbers=['chars'])
    s = many.search(many.check(find='text'))
    assert not s.run(seconds=0) and 0<s.done.sum()<len(s.done)
    before = s.done.sum()
    assert not s.run(seconds=0) and s.done.sum()>before and s.run() and s.hits.all()
    began = time.perf_counter()
    assert answer(many, 'page', query=many.check(find='7$', regex=True))['total']>0 and time.perf_counter()-began<5

def test_a_cell_sees_no_query_before_its_rows():
    "JupyterLab answers a screen's questions beside a running cell."
    many = browse([f'text {k}' for k in range(40_000)])
    for find in ('text 1', 'text 2', 'text 3', 'text 4'):
        asking = threading.Thread(target=answer, args=(many, 'page'), kwargs=dict(query=many.check(find=find)))
        asking.start()
        while many.query['find']!=find: time.sleep(0)
        assert len(many.rows())>0, find
        asking.join()

def test_pages_of_a_saved_corpus_read_only_their_groups(tmp_path):
    import pyarrow as pa, pyarrow.parquet as pq
    n = 50_000
    pq.write_table(pa.table(dict(text=[f'{k} text' for k in range(n)], source=['a', 'b']*(n//2), words=np.arange(n)[::-1].astype(float))), tmp_path/'part-00000.parquet', row_group_size=2048)
    docs = browse(tmp_path)
    assert docs.page(0, 3, sort='words').text.tolist()==[f'{k} text' for k in (n-1, n-2, n-3)] and len(docs._texts)==1
    assert docs.page(1000, 12).text.tolist()[0]=='12000 text' and len(docs._texts)<=2
