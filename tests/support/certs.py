# SPDX-License-Identifier: Apache-2.0
"""A certificate authority of our own, for servers and clients of tests."""

import datetime
import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .run import temp_dir, write_file


def _name(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _san(text):
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _pem_key(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


class Authority:
    """`ca` is the path of its certificate; issue() makes leaf certificates."""

    def __init__(self, common_name="Chaperone test CA", directory=None):
        self.dir = pathlib.Path(directory) if directory else temp_dir("ca", mode=0o755)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(common_name)
        public = self.key.public_key()
        cert = (self._builder(self.name, public, days=30)
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(x509.KeyUsage(
                    digital_signature=True, key_cert_sign=True, crl_sign=True,
                    content_commitment=False, key_encipherment=False, data_encipherment=False,
                    key_agreement=False, encipher_only=False, decipher_only=False), critical=True)
                .sign(self.key, hashes.SHA256()))
        self.cert = cert
        self.pem = cert.public_bytes(serialization.Encoding.PEM).decode()
        self.ca = write_file(self.dir / "ca.crt", self.pem)

    def _builder(self, subject, public, *, days, start=None):
        start = start or datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name)
                .public_key(public).serial_number(x509.random_serial_number())
                .not_valid_before(start).not_valid_after(start + datetime.timedelta(days=days))
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    self.key.public_key()), critical=False))

    def issue(self, common_name, sans=(), *, client=False, days=7, start=None,
              directory=None, uid=None, gid=None):
        """Paths (certificate, key 0600, owned by uid)."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (self._builder(_name(common_name), key.public_key(), days=days, start=start)
                   .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                   .add_extension(x509.ExtendedKeyUsage([usage]), critical=False))
        if sans:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_san(s) for s in sans]), critical=False)
        cert = builder.sign(self.key, hashes.SHA256())
        where = pathlib.Path(directory or self.dir)
        stem = common_name.replace("/", "_").replace(":", "_")
        cert_path = write_file(where / f"{stem}.crt",
                               cert.public_bytes(serialization.Encoding.PEM), uid=uid, gid=gid)
        key_path = write_file(where / f"{stem}.key", _pem_key(key), mode=0o600, uid=uid, gid=gid)
        return cert_path, key_path
