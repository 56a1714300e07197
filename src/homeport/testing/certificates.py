"""Certificates for tests of TLS: an authority, and what it signed for a server on loopback and for a client."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from homeport.core.clock import SystemClock

Key = ec.EllipticCurvePrivateKey


def write_certificates(folder: Path) -> None:
    """`ca.pem`, and `server` and `client` as `-cert.pem` and `-key.pem`."""
    authority = ec.generate_private_key(ec.SECP256R1())
    name = _name("authority")
    basic = x509.BasicConstraints(ca=True, path_length=None)
    own = _builder(name, name, authority).add_extension(basic, critical=True)
    (folder / "ca.pem").write_bytes(_pem(own.sign(authority, hashes.SHA256())))
    for who, usage in (("server", ExtendedKeyUsageOID.SERVER_AUTH), ("client", ExtendedKeyUsageOID.CLIENT_AUTH)):
        key = ec.generate_private_key(ec.SECP256R1())
        loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made = _builder(_name(who), name, key).add_extension(loopback, critical=False)
        made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        (folder / f"{who}-cert.pem").write_bytes(_pem(made.sign(authority, hashes.SHA256())))
        (folder / f"{who}-key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"homeport test {common}")])


def _builder(subject: x509.Name, issuer: x509.Name, key: Key) -> x509.CertificateBuilder:
    now = SystemClock().now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
