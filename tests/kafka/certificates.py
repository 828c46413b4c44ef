"""Certificates for tests, made by openssl: an authority, and what it signs.

Rim: runs openssl, writes to a folder.
"""

import subprocess
from pathlib import Path

__all__ = ["Authority"]

_CONFIG = """\
[ca]
default_ca = own
[own]
dir = {folder}
database = {folder}/index.txt
new_certs_dir = {folder}
serial = {folder}/serial
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
"""


def _openssl(*words: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    assert not done.returncode, done.stderr


class Authority:
    """A certificate authority in a folder of its own.

    Attributes:
        certificate: Its certificate, PEM.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder / name
        self._folder.mkdir()
        (self._folder / "index.txt").touch()
        (self._folder / "index.txt.attr").write_text("unique_subject = no\n")
        (self._folder / "serial").write_text("01")
        (self._folder / "ca.conf").write_text(_CONFIG.format(folder=self._folder))
        self.certificate, self._key = self._folder / "ca.pem", self._folder / "ca.key"
        _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                 f"/CN={name}", "-keyout", self._key, "-out", self.certificate)  # fmt: skip

    def sign(self, name: str, *, expired: bool = False) -> tuple[Path, Path]:
        """Make a key, and a certificate for 127.0.0.1; return certificate and key, PEM."""
        key, request, certificate = (self._folder / f"{name}.{s}" for s in ("key", "csr", "pem"))
        _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-addext",
                 "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", request)  # fmt: skip
        dates = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"] if expired else [
            "-days", "2"
        ]  # fmt: skip
        own = ["-config", self._folder / "ca.conf", "-cert", self.certificate]
        own += ["-keyfile", self._key]
        _openssl("ca", "-batch", "-notext", *own, *dates, "-in", request, "-out", certificate)
        return certificate, key

    def key_store(self, name: str, *, expired: bool = False) -> Path:
        """Return a file with key and certificate one after the other, as Kafka reads PEM."""
        certificate, key = self.sign(name, expired=expired)
        store = self._folder / f"{name}.store.pem"
        store.write_text(key.read_text() + certificate.read_text())
        return store
