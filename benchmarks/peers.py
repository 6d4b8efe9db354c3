"""Other packages, measured or checked without touching the project's environment.

`installed(name)` puts the pinned packages of a peer into a folder of the user's cache (once), `run(name, code, ...)` runs a
script there in a process of its own and returns the JSON value of its last line. Two ways:
- laid over (default): `pip install --no-deps --target`, with that folder before the packages of this environment;
- alone: an environment with nothing but the peer and what it asks for, where its pins clash with ours.
`python benchmarks/peers.py` lists the peers and tries to import each."""
import dataclasses, hashlib, json, os, shutil, subprocess, sys, tempfile
from pathlib import Path

@dataclasses.dataclass(frozen=True)
class Peer:
    "What to install, and a line that must run before the peer is imported."
    requirements:tuple  # pinned: 'name==1.2'
    module:str          # what a script imports
    first:str=''        # code put before every script
    alone:bool=False    # an environment of its own instead of a folder over this one

NO_VISION = '''
import sys, types
import transformers.feature_extraction_utils, transformers.tokenization_utils_base   # these look for torchvision, so they come first
for name in ('torchvision', 'torchvision.datasets', 'torchvision.transforms', 'torchvision.transforms.functional'):
    sys.modules[name] = types.ModuleType(name)      # only its image readers need it, and its compiled part asks for another build of torch
sys.modules['torchvision.datasets'].VisionDataset = object
sys.modules['torchvision.transforms.functional'].to_tensor = None
'''

PEERS = {
    'streaming': Peer(('mosaicml-streaming==0.13.0', 'brotli==1.2.1', 'python-snappy==0.7.3', 'cramjam==2.14.0', 'zstd==1.5.7.2', 'catalogue==2.0.10', 'pillow==13.0.0'), 'streaming', NO_VISION),
    'litdata': Peer(('litdata==0.2.76', 'lightning-utilities==0.15.3', 'tifffile==2026.3.3', 'obstore==0.12.1', 'boto3==1.44.5', 'botocore==1.44.5', 'jmespath==1.1.0', 's3transfer==0.19.3'), 'litdata'),
    'megatron': Peer(('megatron-core==0.16.1',), 'megatron.core'),
    'olmo': Peer(('ai2-olmo-core==3.0.0', 'bettermap==1.3.1', 'boto3==1.44.5', 'botocore==1.44.5', 'cached-path==1.8.0', 'cffi==2.1.1', 'cryptography==50.0.2', 'dataclass-extensions==0.5.0',
                  'google-api-core==2.44.0', 'google-auth==2.62.2', 'google-cloud-core==2.8.0', 'google-cloud-storage==3.17.1', 'google-crc32c==1.9.0', 'google-resumable-media==2.11.0',
                  'googleapis-common-protos==1.76.0', 'importlib-resources==7.1.0', 'jmespath==1.1.0', 'proto-plus==1.29.0', 'protobuf==7.36.2', 'pyasn1==0.6.5', 'pyasn1-modules==0.4.2',
                  's3transfer==0.19.3'), 'olmo_core'),
}

class NotInstalled(RuntimeError): "A peer that cannot be installed here; the message says why."

def cache(): return Path(os.environ.get('XDG_CACHE_HOME') or Path.home()/'.cache')/'llmbench'/'peers'

def _pip(python, peer, *where):
    done = subprocess.run([python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', *where, *peer.requirements], capture_output=True, text=True)
    if done.returncode:
        why = [l for l in done.stderr.splitlines() if l.startswith('ERROR')] or done.stderr.splitlines()
        raise NotInstalled(f"{peer.module} could not be installed ({why[-1] if why else 'pip said nothing'})")

def installed(
    name,          # a name of PEERS, or a Peer
):                 # (python to run, extra folder for its packages or None)
    "Where a peer is installed; installs it if it is not there."
    peer = PEERS[name] if isinstance(name, str) else name
    here = hashlib.sha256(repr((peer.requirements, peer.alone, sys.version_info[:2])).encode()).hexdigest()[:12]
    home = cache()/f'{peer.module}-{here}'
    if not (home/'finished').exists():
        print(f'installing {peer.module} into the cache, once', file=sys.stderr, flush=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(home, ignore_errors=True)
        if peer.alone:
            subprocess.run([sys.executable, '-m', 'venv', home], check=True)
            _pip(_python(home), peer)
        else: _pip(sys.executable, peer, '--no-deps', '--target', home)
        (home/'finished').touch()
    return (_python(home), None) if peer.alone else (sys.executable, home)

def _python(home): return str(home/('Scripts/python.exe' if os.name=='nt' else 'bin/python'))

def run(
    name,          # a name of PEERS, or a Peer
    code:str,      # a script; the last line it prints is JSON
    *args,         # its sys.argv[1:], as text
    timeout=600,   # seconds
    env=None,      # more environment variables
):                 # the JSON value
    "Run a script where the peer can be imported; NotInstalled if it cannot be, RuntimeError with the script's last words if it fails."
    peer = PEERS[name] if isinstance(name, str) else name
    python, folder = installed(peer)
    path = os.pathsep.join(str(p) for p in (folder, os.environ.get('PYTHONPATH')) if p)
    with tempfile.TemporaryDirectory() as work:
        script = Path(work)/'script.py'
        script.write_text(peer.first+code, encoding='utf-8')
        done = subprocess.run([python, str(script), *map(str, args)], cwd=work, capture_output=True, text=True, timeout=timeout, env={**os.environ, 'PYTHONPATH': path, **(env or {})})
    if done.returncode: raise RuntimeError(f"{peer.module}: the script ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])

def main():
    for name,peer in PEERS.items():
        version = f"import {peer.module}, json, importlib.metadata as m; print(json.dumps(m.version('{peer.requirements[0].split('==')[0]}')))"
        try: print(f'{name}: imports, version {run(peer, version)}')
        except RuntimeError as e: print(f'{name}: {e}')

if __name__=='__main__': main()
