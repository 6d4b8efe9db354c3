"""The crawler against servers that misbehave, and against itself being killed."""
import gzip, http.server, json, os, signal, socket, subprocess, sys, threading, time
from collections import Counter
from pathlib import Path

import pytest

from llmbench.cli import main
import llmbench.crawl as crawl_of
from llmbench.crawl import Manners, Refused, crawl, fetch, robots_of

WORDS = '<article><p>A page with enough words to be a document, number {}.</p></article>'

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    def handle_error(self, *_): return # clients that hang up are part of the tests

class Handler(http.server.BaseHTTPRequestHandler):
    "Answers by path; `seen` counts the requests."
    def log_message(self, *_): return
    def answer(self, body=b'', status=200, kind='text/html; charset=utf-8', length=True, **headers):
        self.send_response(status)
        self.send_header('Content-Type', kind)
        if length: self.send_header('Content-Length', str(len(body)))
        for k,v in headers.items(): self.send_header(k.replace('_', '-'), v)
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        path, s = self.path, self.server
        with s.lock: s.seen[path] += 1; s.times.append(time.time()); s.hosts.append(self.headers['Host'])
        if path in s.pages:
            page = s.pages[path]
            return page(self) if callable(page) else self.answer(page if isinstance(page, bytes) else page.encode())
        self.answer(b'nothing here', 404, 'text/plain')

@pytest.fixture
def site():
    "(address, pages, server)"
    server = Server(('127.0.0.1', 0), Handler)
    server.pages, server.seen, server.times, server.hosts, server.lock = {}, Counter(), [], [], threading.Lock()
    threading.Thread(target=server.serve_forever, args=(.02,), daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}', server.pages, server
    server.shutdown(); server.server_close()

quick = Manners(private=True, delay=0, seconds=1.5, page_bytes=200_000)

def drip(h, n=10**6):
    "A byte now and then, for ever."
    try:
        for _ in range(n): h.wfile.write(b'x'); h.wfile.flush(); time.sleep(.05)
    except OSError: return

def endless(h):
    h.answer(length=False)
    try:
        while True: h.wfile.write(b'<p>more and more</p>'*1000)
    except OSError: return

def slow_headers(h): h.wfile.write(b'HTTP/1.1 200 OK\r\nX: '); drip(h)
def slow_body(h): h.answer(length=False); drip(h)
def huge_header(h): h.answer(b'x', X='y'*200_000)
def many_headers(h): h.answer(b'x', **{f'X{i}': 'y' for i in range(2000)})
def bomb(h): h.answer(gzip.compress(bytes(50_000_000)), Content_Encoding='gzip')
def false_gzip(h): h.answer(b'not gzip', Content_Encoding='gzip')
def cut(h): h.send_response(200); h.send_header('Content-Length', '5000'); h.end_headers(); h.wfile.write(b'<p>only the start')
def hang_up(h): h.connection.shutdown(socket.SHUT_RDWR)
def rubbish(h): h.wfile.write(b'\x00\xff this is no protocol\r\n\r\n')
def to(where): return lambda h: h.answer(b'', 302, Location=where)

def test_everything_a_server_can_do_wrong(site, tmp_path):
    home, pages, server = site
    pages |= {'/ok': WORDS.format(1), '/endless': endless, '/slow-headers': slow_headers, '/slow-body': slow_body, '/huge-header': huge_header, '/many-headers': many_headers, '/bomb': bomb,
              '/false-gzip': false_gzip, '/cut': cut, '/hang-up': hang_up, '/rubbish': rubbish, '/circle': to('/circle2'), '/circle2': to('/circle'), '/file': to('file:///etc/passwd'),
              '/error': lambda h: h.answer(b'', 500), '/deep': '<div>'*40_000, '/image': lambda h: h.answer(b'\x89PNG', kind='image/png'), '/empty': '', '/odd-charset': lambda h: h.answer(WORDS.format(2).encode(), kind='text/html; charset=no-such'),
              '/gbk': lambda h: h.answer('<meta charset=gb2312><article><p>机器学习是人工智能的一个分支。</article>'.encode('gb18030'), kind='text/html'),
              '/nul': b'\0<article><p>NUL \0 bytes and a lone \xff one, then enough good text to read on and on and on, so that it is a document after all.</article>',
              '/broken-html': '<p<<a href="<b>"><table><article>unclosed &amp &#0; &#xd800; &nosuch; <p>words', '/chain0': to('/chain1'), **{f'/chain{i}': to(f'/chain{i+1}') for i in range(1, 9)},
              '/noindex': '<meta name=robots content=noindex><p>private words', '/same': WORDS.format(1), '/moved': to('/ok')}
    t = time.time()
    corpus = crawl([home+p for p in pages], tmp_path, manners=quick)
    assert time.time()-t<30
    why = {f.removeprefix(home): r for f,r in zip(corpus.rejects.file, corpus.rejects.reason)}
    long = 'longer than 200,000 bytes'
    want = {'/endless': long, '/slow-headers': 'took too long', '/slow-body': 'took too long', '/huge-header': 'broken answer', '/many-headers': 'broken answer', '/bomb': long, '/false-gzip': 'broken answer',
            '/circle': 'redirects in a circle', '/circle2': 'redirects in a circle', '/file': 'redirect to no web address', '/error': 'status 500', '/image': 'content type image/png', '/chain0': 'too many redirects',
            '/noindex': 'asks not to be indexed', '/same': 'same content as another page', '/moved': 'leads to a page that is there'}
    assert {k: why.get(k) for k in want}==want
    assert why['/deep'] in (long, 'page nested too deep') and why['/hang-up'] in ('no connection', 'broken answer') and why['/rubbish']=='broken answer' and why['/empty'] in ('empty file', 'empty text')
    assert len(corpus)+len(corpus.rejects)==len(pages)==corpus.story[0]['rows_in']
    texts = dict(zip(corpus.pandas('url').url.str.removeprefix(home), corpus.pandas('text').text))
    assert texts['/gbk']=='机器学习是人工智能的一个分支。' and '/ok' in texts and '/odd-charset' in texts and 'one, then enough good text' in texts['/nul']

def test_private_addresses_are_refused_also_behind_a_redirect(site, tmp_path, monkeypatch):
    home, pages, server = site
    pages['/'] = WORDS.format(0)
    for url in (home, home.replace('127.0.0.1', 'localhost'), home.replace('127.0.0.1', '[::ffff:127.0.0.1]'), home.replace('127.0.0.1', '2130706433'), 'http://169.254.169.254'):
        with pytest.raises(Refused, match='private address|host not found'): fetch(url+'/', Manners(seconds=2))
    assert not server.seen
    # a public name that redirects to a private address: only the address of the first host counts as public here
    import llmbench.crawl
    monkeypatch.setattr(llmbench.crawl, 'is_public', lambda ip: ip=='127.0.0.1')
    pages['/go'] = to(f'http://127.0.0.2:{server.server_port}/')
    corpus_or_error = pytest.raises(ValueError, crawl, [home+'/go'], tmp_path, manners=quick._replace(private=False))
    assert 'private address: 1' in str(corpus_or_error.value) and server.seen['/']==0

def test_the_connection_goes_to_the_address_that_was_checked(site, monkeypatch):
    home, pages, server = site
    pages['/'] = WORDS.format(0)
    answers, real = iter(['127.0.0.1', '10.255.255.1', '10.255.255.1']), socket.getaddrinfo
    asked = []
    def names(host, port, *a, **k):
        if host!='rebind.example': return real(host, port, *a, **k)
        asked.append(host)
        return real(next(answers), port, *a, **k)
    monkeypatch.setattr(socket, 'getaddrinfo', names)
    assert fetch(f'http://rebind.example:{server.server_port}/', quick).status==200 and len(asked)==1
    assert server.hosts==[f'rebind.example:{server.server_port}']

def test_robots_delay_maps_and_other_sites(site, tmp_path):
    home, pages, server = site
    pages |= {'/robots.txt': f'User-agent: *\nCrawl-delay: 0.3\nDisallow: /no\nSitemap: {home}/index.xml', '/': WORDS.format(0)+'<a href=/no/1>x</a><a href=/1#a>1</a><a href=/1#b>1</a><a href=http://192.0.2.1/>out</a><a rel=nofollow href=/quiet>q</a>',
              '/index.xml': f'<!DOCTYPE x [<!ENTITY a "b">]><sitemapindex><sitemap><loc>{home}/map.xml.gz</loc></sitemap><sitemap><loc>http://192.0.2.1/map.xml</loc></sitemap></sitemapindex>',
              '/map.xml.gz': gzip.compress(f'<urlset><url><loc>{home}/2?a=1&amp;b=2</loc></url><url><loc>http://192.0.2.1/x</loc></url></urlset>'.encode()),
              '/1': WORDS.format(1), '/2?a=1&b=2': WORDS.format(2)+'<a href=http://127.0.0.1:1/>port</a>'}
    corpus = crawl(home, tmp_path, manners=quick)
    assert set(corpus.pandas('url').url.str.removeprefix(home))=={'/', '/1', '/2?a=1&b=2'} and dict(zip(corpus.rejects.file.str.removeprefix(home), corpus.rejects.reason))=={'/no/1': 'robots.txt'}
    assert max(server.seen.values())==1 and not any(p.startswith('/no') or p=='/quiet' for p in server.seen)
    gaps = [b-a for a,b in zip(server.times[1:], server.times[2:])] # robots.txt and the first page come together
    assert min(gaps)>.9, gaps

def test_later_means_later(site, tmp_path):
    home, pages, server = site
    def busy(h): h.answer(b'', 429, Retry_After='1') if server.seen['/busy']<2 else h.answer(WORDS.format(7).encode())
    pages |= {'/busy': busy, '/always': lambda h: h.answer(b'', 503, Retry_After='0')}
    t = time.time()
    corpus = crawl([home+'/busy', home+'/always'], tmp_path, manners=quick)
    assert len(corpus)==1 and corpus.rejects.reason.tolist()==['status 503'] and server.seen['/always']==3 and server.seen['/busy']==2 and time.time()-t>1

def test_no_rules_to_be_had_means_no_crawl(site, tmp_path):
    home, pages, server = site
    pages |= {'/robots.txt': lambda h: h.answer(b'', 500), '/': WORDS.format(0)}
    with pytest.raises(ValueError, match='robots.txt cannot be read: 1'): crawl([home+'/'], tmp_path, manners=quick)
    assert server.seen['/']==0

@pytest.mark.parametrize('text,reason', [('Disallow: //[', 'robots.txt cannot be parsed: 1'), ('Crawl-delay: ²\nRequest-rate: ²/²\nDisallow: /x', None)])
def test_hostile_rules_do_not_kill_the_crawl(site, tmp_path, text, reason):
    home, pages, server = site
    pages |= {'/robots.txt': f'User-agent: *\n{text}', '/': WORDS.format(0), '/x': WORDS.format(1)}
    if reason:
        with pytest.raises(ValueError, match=reason): crawl([home+'/'], tmp_path, manners=quick)
        assert server.seen['/']==0
    else: assert len(crawl([home+'/', home+'/x'], tmp_path, manners=quick))==1 and server.seen['/x']==0

def test_nobody_can_make_us_wait_for_ever(site):
    home, pages, server = site
    for given,want in (('9'*400, 3600), ('9'*400+'.5', 3600), ('99999.0', 3600), ('0.3', 1), ('.5', 1), ('7 # s', 7), ('²', None), ('soon', None), ('', None), ('1e9', None)):
        pages['/robots.txt'] = f'User-agent: *\nCrawl-delay: {given}\nDisallow: /x'
        rules = robots_of(home, quick)
        assert rules.crawl_delay('llmbench')==want and not hasattr(rules, 'why') and not rules.can_fetch('llmbench', home+'/x'), given
    for given,want in (('Fri, 31 Dec 99999999999 23:59:59 GMT', 1), ('Fri, 31 Dec 9999 23:59:59 GMT', 3600), ('Mon, 01 Jan 0001 00:00:00 GMT', 0), ('9'*400, 3600), ('-5', 1), ('²', 1), (None, 1)):
        assert crawl_of._retry_after(given, quick)==want, given

def test_when_all_wait_and_when_a_map_is_lost(site, tmp_path):
    home, pages, server = site
    pages['/'] = lambda h: h.answer(b'', 503, Retry_After='999')
    with pytest.raises(ValueError, match='no page is finished, 1 wait; call again later'): crawl([home+'/'], tmp_path/'a', manners=quick, minutes=.005)
    page = lambda i: f'<url><loc>{home}/{i}</loc></url>'
    pages |= {'/robots.txt': f'Sitemap: {home}/gone.xml\nSitemap: {home}/large.xml', '/': WORDS.format(0), '/7': WORDS.format(7),
              '/large.xml': '<urlset>'+page(7)+'<!-- '+'x'*quick.page_bytes+' -->'+page(8)+'</urlset>', '/sitemap.xml': lambda h: h.answer(b'', 500)}
    corpus = crawl(home+'/', tmp_path/'b', manners=quick)
    assert set(corpus.pandas('url').url)=={home+'/', home+'/7'}
    assert dict(zip(corpus.rejects.file.str.removeprefix(home), corpus.rejects.reason))=={'/8': 'status 404', '/gone.xml': 'sitemap: status 404', '/sitemap.xml': 'sitemap: status 500'}

def test_limits_of_the_whole(site, tmp_path):
    home, pages, server = site
    pages |= {f'/{i}': WORDS.format(i)+f'<a href=/{i+1}>next</a><a href=/{i+50}>more</a>' for i in range(200)}
    assert len(crawl(home+'/0', tmp_path/'a', pages=5, manners=quick))==5
    assert len(crawl(home+'/0', tmp_path/'a', pages=12, manners=quick))==12 and max(n for p,n in server.seen.items() if p.strip('/').isdigit())==1
    assert len(crawl(home+'/0', tmp_path/'b', megabytes=.0003, manners=quick))<6
    assert len(crawl(home+'/0', tmp_path/'c', manners=quick._replace(depth=1)))==3

def test_a_killed_crawl_goes_on(site, tmp_path):
    home, pages, server = site
    pages |= {f'/{i}': WORDS.format(i)+f'<a href=/{i+1}>next</a>' for i in range(40)}
    code = f'from llmbench.crawl import *; crawl({home+"/0"!r}, {str(tmp_path/"c")!r}, manners=Manners(private=True, delay=.03, depth=99))'
    for enough in (8, 20):
        child = subprocess.Popen([sys.executable, '-c', code], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while sum(p.strip('/').isdigit() for p in server.seen)<enough: time.sleep(.01)
        os.kill(child.pid, signal.SIGKILL); child.wait()
    corpus = crawl(home+'/0', tmp_path/'c', manners=quick._replace(depth=99))
    fetched = [server.seen[f'/{i}'] for i in range(40)]
    assert len(corpus)==40 and min(fetched)==1 and sum(fetched)<=42 # at most the one on its way, each time
    whole = crawl(home+'/0', tmp_path/'d', manners=quick._replace(depth=99))
    assert whole.fingerprint==corpus.fingerprint

@pytest.mark.parametrize('start,message', [('ftp://x.org', 'is no web address'), ([], 'no addresses'), ('http://me:pw@x.org', 'is no web address')])
def test_wrong_starts(start, message, tmp_path):
    with pytest.raises(ValueError, match=message): crawl(start, tmp_path)

def test_the_command_line_crawls_and_measures(site, tmp_path, capsys):
    home, pages, server = site
    pages |= {'/': '<article><p>The first page has enough words to be a document, and it leads on to <a href="/two">two</a>, <a href="/bomb">a bomb</a>, <a href="/circle">round</a>.</p></article>',
              '/two': WORDS.format(2), '/circle': to('/circle2'), '/circle2': to('/circle'), '/bomb': bomb}
    run = lambda *a: subprocess.run([Path(sys.executable).with_name('llmbench'), 'data', *a, '--json'], capture_output=True, text=True, timeout=200, env={**os.environ, 'RAY_USAGE_STATS_ENABLED': '0'})
    done = run('crawl', home+'/', '-o', str(tmp_path/'site'), '--pages', '10', '--delay', '0', '--private')
    assert done.returncode==0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said['documents']==2 and said['rejects']>=2
    here = lambda *a: (main(['data', *a, '--json']), capsys.readouterr())
    code, said = here('signals', str(tmp_path/'site'), 'words')
    assert code==0 and [r['signal'] for r in json.loads(said.out.splitlines()[-1])]==['words'], said.err[-2000:]
    code, said = here('crawl', home+'/', '-o', str(tmp_path/'no'), '--pages', '2', '--delay', '0')   # an address of this machine, not asked for
    assert code!=0 and 'private' in said.err+said.out
