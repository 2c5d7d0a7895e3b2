"""stack/certificates.py: what is issued, when it is renewed, and which of a site's certificates are refused."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from stack.certificates import Pair, UnusableError, check, is_good, issue, make_authority, names_of

NOW = datetime(2026, 11, 28, tzinfo=UTC)
NAMES = ("gpuhost.example.org", "localhost", "127.0.0.1")
AUTHORITY, OTHER = make_authority("one", NOW), make_authority("two", NOW)
SERVER = issue(AUTHORITY, NAMES, NOW)
CHAIN = Pair(chain=SERVER.chain + AUTHORITY.chain, key=SERVER.key)


def encrypted(pair: Pair) -> bytes:
    key = serialization.load_pem_private_key(pair.key, None)
    way = serialization.BestAvailableEncryption(b"secret")
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, way)


class TestIssued:
    def test_is_for_all_names_and_signed_by_the_authority(self):
        assert names_of(SERVER.certificate) == set(NAMES)
        SERVER.certificate.verify_directly_issued_by(AUTHORITY.certificate)

    def test_authority_signs_servers_alone(self):
        found = AUTHORITY.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        assert (found.ca, found.path_length) == (True, 0)

    def test_shows_no_key(self):
        assert "PRIVATE" not in repr(SERVER)

    def test_serves_until_it_expires_soon(self):
        assert is_good(SERVER, AUTHORITY, NAMES, NOW + timedelta(days=330))
        assert not is_good(SERVER, AUTHORITY, NAMES, NOW + timedelta(days=340))

    def test_is_renewed_for_a_new_name_another_authority_or_if_damaged(self):
        assert not is_good(SERVER, AUTHORITY, (*NAMES, "new.example.org"), NOW)
        assert not is_good(SERVER, OTHER, NAMES, NOW)
        assert not is_good(Pair(chain=b"", key=SERVER.key), AUTHORITY, NAMES, NOW)
        assert not is_good(Pair(chain=SERVER.chain, key=b"x"), AUTHORITY, NAMES, NOW)


@pytest.mark.parametrize(
    ("pair", "names", "days", "reason", "of_key"),
    [
        (Pair(chain=b"text", key=SERVER.key), (), 0, "holds no certificate", False),
        (Pair(chain=SERVER.chain, key=b"text"), (), 0, "holds no private key", True),
        (Pair(chain=SERVER.chain, key=encrypted(SERVER)), (), 0, "has a passphrase", True),
        (Pair(chain=SERVER.chain, key=OTHER.key), (), 0, "is not the key", True),
        (Pair(chain=AUTHORITY.chain + SERVER.chain, key=SERVER.key), (), 0, "not the server's own", False),
        (Pair(chain=SERVER.chain + OTHER.chain, key=SERVER.key), (), 0, "did not sign", False),
        (SERVER, (), 398, "has expired on 2027-12-30", False),
        (SERVER, (), -1, "is valid from 2026-11-27 23:00 UTC only", False),
        (SERVER, ("gpuhost.example.org", "x.org"), 0, r"not for x\.org \(network\.names\)", False),
    ],
)
def test_unusable_pairs_are_refused(pair, names, days, reason, of_key):
    with pytest.raises(UnusableError, match=reason) as caught:
        check(pair, names, NOW + timedelta(days=days))
    assert caught.value.of_key is of_key
    assert caught.value.remedy


def test_good_pairs_are_taken():
    check(CHAIN, NAMES[:1], NOW)
    check(issue(AUTHORITY, ("*.example.org",), NOW), ("gpuhost.example.org",), NOW)
