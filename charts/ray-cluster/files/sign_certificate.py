"""Makes a key and a certificate for this pod, signed by the cluster's authority.

Arguments: the authority's directory (tls.crt, tls.key), the directory for the pod's own files, and
the names and addresses that others call this pod by. The certificate is good for as long as the
authority's own: Ray would not look at a newer one.
"""

import datetime
import ipaddress
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

CLOCKS_DIFFER = datetime.timedelta(hours=1)


def alternative(name: str) -> x509.GeneralName:
    """A name as a certificate has it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def main(authority: pathlib.Path, own: pathlib.Path, names: list[str]) -> None:
    """Write tls.crt, tls.key and ca.crt."""
    ca = x509.load_pem_x509_certificate((authority / "tls.crt").read_bytes())
    ca_key = serialization.load_pem_private_key((authority / "tls.key").read_bytes(), None)
    # The first name is a new one, the second is about to go.
    end = getattr(ca, "not_valid_after_utc", None) or ca.not_valid_after
    start = datetime.datetime.now(datetime.timezone.utc) - CLOCKS_DIFFER
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName(map(alternative, names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (own / "tls.key").write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    (own / "tls.crt").write_bytes(certificate.public_bytes(pem))
    (own / "ca.crt").write_bytes(ca.public_bytes(pem))


main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:])
