"""The Chromium that the browser tests drive: find it, or install Debian's. `CHROMIUM=/path/to/chrome` names another one."""
import os, shutil, subprocess, sys

NAMES = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'
HELP = ("no Chromium found, and the browser tests need one. Install it (Debian, Ubuntu: apt-get install chromium) "
        "or set CHROMIUM to the path of a Chromium or Chrome, then run again")

def find()->str:
    "Path of a Chromium or Chrome, or None."
    given = os.environ.get('CHROMIUM')
    if given and not shutil.which(given): sys.exit(f'CHROMIUM={given} is not a program that can be run')
    return next(filter(None, map(shutil.which, [given] if given else NAMES)), None)

def install():
    "Install Debian's chromium, as root or through sudo."
    if not shutil.which('apt-get'): sys.exit(HELP)
    root = [] if os.geteuid()==0 else ['sudo', '-n']
    if root and not shutil.which('sudo'): sys.exit(HELP)
    print('installing chromium for the browser tests', flush=True)
    env = ['env', 'DEBIAN_FRONTEND=noninteractive']
    for args in (['update', '-qq'], ['install', '-y', '-qq', '--no-install-recommends', 'chromium', 'fonts-dejavu-core']):
        if subprocess.run([*root, *env, 'apt-get', *args], stdout=subprocess.DEVNULL).returncode and args[0]=='install': sys.exit(HELP)

if __name__=='__main__':
    if not find(): install()
    print('browser for the tests:', find() or sys.exit(HELP))
