"""Outgoing HTTP and mail: which certificates, which addresses, which passwords."""

import base64
import datetime
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config import MailSender
from infra import bulkhead, http, mailer
from tests.fakes.github import FakeGitHub
from tests.fakes.smtp import FakeSmtp


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An https server whose certificate only `path` vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    moment = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, moment - datetime.timedelta(1), moment + datetime.timedelta(1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
    certificate = builder.sign(key, hashes.SHA256())
    pem, both = tmp_path / "ca.pem", tmp_path / "both.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    both.write_bytes(pem.read_bytes() + secret)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"ok": true}')

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    http._tls.cache_clear()
    yield f"https://localhost:{server.server_port}/", pem
    http._tls.cache_clear()
    server.shutdown()
    server.server_close()


def get(url: str) -> object:
    return bulkhead.call(http.origin_of(url), lambda: http.get_json(http.new_session(), url))


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_server: tuple[str, Path]) -> None:
    with pytest.raises(http.UpstreamFailed):
        get(tls_server[0])


def test_ssl_cert_file_vouches(tls_server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_server[1]))
    assert get(tls_server[0]) == {"ok": True}


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_other_libraries_settings_do_not(tls_server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, str(tls_server[1]))
    with pytest.raises(http.UpstreamFailed):
        get(tls_server[0])


@pytest.mark.parametrize(
    "url", ["http://upstream.example/", "http://127.0.0.1.evil.example/", "http://[::2]/", "http://127.0.0.1@evil.example/"]
)
def test_plain_http_leaves_the_machine_for_nothing(url: str) -> None:
    with pytest.raises(http.UpstreamFailed):
        get(url)


def test_no_redirect_is_followed_and_no_netrc_is_read(github: FakeGitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    github.faults["/user"] = "302"
    with pytest.raises(http.UpstreamFailed):
        get(github.url + "/user")
    assert [request.path for request in github.asked] == ["/user"]
    assert "authorization" not in github.asked[0].headers


@pytest.mark.parametrize("fault", FakeGitHub.STUCK)
def test_the_deadline_ends_the_connection_however_busy_the_upstream_keeps_it(
    github: FakeGitHub, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(bulkhead, "DEADLINE_SECONDS", 2.5)
    github.faults["/user"] = fault
    with pytest.raises(bulkhead.UpstreamTimedOut):
        get(github.url + "/user")
    with pytest.raises(http.NoPlace, match="resting"):
        get(github.url + "/user")
    assert github.count("/user") == 1
    for _ in range(3000):
        if not github.held and "upstream" not in {thread.name for thread in threading.enumerate()}:
            return
        time.sleep(0.01)
    pytest.fail("a thread still reads")


@pytest.mark.parametrize("fault", ["endless-100", "endless-lines", "endless-body", "endless-chunks", "huge"])
def test_head_and_body_have_a_size(github: FakeGitHub, fault: str) -> None:
    github.faults["/user"] = fault
    with pytest.raises(http.UpstreamFailed) as failed:
        get(github.url + "/user")
    assert not isinstance(failed.value, bulkhead.UpstreamTimedOut)


def test_nothing_is_sent_outside_of_a_call(github: FakeGitHub) -> None:
    with pytest.raises(RuntimeError):
        http.get_json(http.new_session(), github.url + "/user")
    assert github.asked == []


def test_a_proxy_has_the_same_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers CONNECT with lines that never end."""
    monkeypatch.setattr(bulkhead, "DEADLINE_SECONDS", 2.0)
    listener = socket.create_server(("127.0.0.1", 0))
    is_gone = threading.Event()

    def serve() -> None:
        peer, _ = listener.accept()
        try:
            peer.sendall(b"HTTP/1.1 200 OK\r\n")
            while True:
                peer.sendall(b"X-Line: x\r\n")
                time.sleep(0.1)
        except OSError:
            is_gone.set()

    threading.Thread(target=serve, daemon=True).start()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
    with pytest.raises(bulkhead.UpstreamTimedOut):
        get("https://upstream.example/")
    assert is_gone.wait(30)
    listener.close()


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.GitHub.com/user", "https://api.github.com"),
        ("http://127.0.0.1:8080/x?y", "http://127.0.0.1:8080"),
        ("https://user:password@host.example/", "https://host.example"),
    ],
)
def test_an_upstream_is_an_origin(url: str, origin: str) -> None:
    assert http.origin_of(url) == origin


# --- mail -------------------------------------------------------------------------------------------------------


def report(url: str, *to: str, sender: MailSender | None = None, host: str = "gatepost.example") -> list[tuple[str, str]]:
    """The outcome of each letter, and why."""
    reported: list[tuple[str, str]] = []
    letters = [mailer.Letter(one, "Hello", "A line\n.\nand the end\n") for one in to or ("ann@example.com",)]
    mailer.send_all(mailer.MailServer(url, host, sender), letters, lambda outcome, why: reported.append((outcome, why)))
    return reported


def send(url: str, *to: str) -> list[str]:
    """The outcome of each letter."""
    return [outcome for outcome, _why in report(url, *to)]


def test_a_letter_arrives_whole(smtp: FakeSmtp) -> None:
    assert send(smtp.url) == ["sent"]
    (letter,) = smtp.letters
    assert (letter["To"], letter["From"]) == ("ann@example.com", "Gatepost <no-reply@gatepost.example>")
    assert letter.get_content().replace("\r\n", "\n") == "A line\n.\nand the end\n"


@pytest.mark.parametrize(
    ("sender", "header"),
    [
        (MailSender("", "id@example.org"), "id@example.org"),
        (MailSender("Acme, Inc.", "id@example.org"), '"Acme, Inc." <id@example.org>'),
        (MailSender("Zoë & Söhne", "id@example.org"), "Zoë & Söhne <id@example.org>"),
    ],
)
def test_a_sender_that_is_set_is_on_the_envelope_and_in_the_letter(smtp: FakeSmtp, sender: MailSender, header: str) -> None:
    assert report(smtp.url.replace("smtp://", "smtp://me%40elsewhere.example:word@"), sender=sender) == [("sent", "")]
    (letter,) = smtp.letters
    assert (letter["From"], smtp.senders) == (header, ["id@example.org"])
    assert letter["Message-ID"].endswith("@example.org>")


@pytest.mark.parametrize(
    ("user", "host"), [("", "::1"), ("", "127.0.0.1"), ("me@office@", "::1"), ("a b@c.example", "::1"), ("me@10.0.0.1", "::1")]
)
def test_what_makes_no_address_is_not_the_sender(smtp: FakeSmtp, user: str, host: str) -> None:
    account = f"{quote(user)}:word@" if user else ""
    assert report(smtp.url.replace("smtp://", f"smtp://{account}"), host=host) == [("sent", "")]
    assert smtp.senders == ["no-reply@localhost"]
    assert smtp.letters[0]["Message-ID"].endswith("@localhost>")


@pytest.mark.parametrize(
    ("words", "offers", "encoding"),
    [
        ("Follow this link:", ["AUTH PLAIN"], "7bit"),
        ("Öffne diesen Link:", ["AUTH PLAIN", "8BITMIME"], "8bit"),
        ("Öffne diesen Link:", ["AUTH PLAIN"], "quoted-printable"),  # a server of long ago
    ],
)
def test_a_long_link_in_a_letter_is_one_line(smtp: FakeSmtp, words: str, offers: list[str], encoding: str) -> None:
    smtp.offers = offers
    link = f"https://id.example.com/invitations/gpi_{'x' * 43}?next=%2Forgs%2Fa-rather-long-name-of-an-organization"
    letter = mailer.Letter("ann@example.com", "Hello", f"{words}\n{link}\n")
    mailer.send_all(mailer.MailServer(smtp.url, "gatepost.example"), [letter], lambda _outcome, _why: None)
    (arrived,) = smtp.letters
    assert arrived["Content-Transfer-Encoding"] == encoding
    assert arrived.get_content().splitlines() == [words, link]
    assert (link in arrived.as_bytes().decode()) is (encoding != "quoted-printable")


@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        ("550 5.1.1 <{recipient}>: Recipient address rejected", "550 5.1.1 <[cut]>: Recipient address rejected"),
        ("550-5.7.1 Blocked, see https://mail.example/help\r\n550 for {recipient}", "550 5.7.1 Blocked, see https://mail.example/help"),
        ("550 No mailbox ann, try Bob@Example.org", "550 No mailbox [cut], try [cut]"),
        ("550 ANN@EXAMPLE.COM; +ann+x@example.com", "550 [cut]; [cut]"),
        ("550 \x1b[31m\xe9" + "x" * 500, "550 " + " [31mé" + "x" * 194),
        ("550", "550"),
    ],
)
def test_a_refusal_is_reported_with_the_first_line_but_no_address(smtp: FakeSmtp, refusal: str, why: str) -> None:
    smtp.refuses, smtp.refusal = "ann@example.com", refusal
    assert report(smtp.url) == [("refused", f"SMTPRecipientsRefused {why}")]


def test_a_refused_sign_in_is_reported_without_the_account(smtp: FakeSmtp) -> None:
    plain = base64.b64encode(b"\0relay\0pass word").decode()
    smtp.refuses_login = f"535 5.7.8 relay may not use 'pass word' or {plain}"
    expected = [("failed", "SMTPAuthenticationError 535 5.7.8 [cut] may not use '[cut]' or [cut]")]
    assert report(smtp.url.replace("smtp://", "smtp://relay:pass%20word@")) == expected


def test_a_password_goes_out_on_loopback_or_encrypted_only(smtp: FakeSmtp, monkeypatch: pytest.MonkeyPatch) -> None:
    send(smtp.url.replace("smtp://", "smtp://sender%40example.com:pass%20word@"))
    assert len(smtp.logins) == 1
    assert smtp.letters[0]["From"] == "Gatepost <sender@example.com>"
    monkeypatch.setattr(mailer, "LOOPBACK_HOSTS", frozenset())
    assert send(smtp.url.replace("smtp://", "smtp://user:password@")) == ["failed"]
    assert len(smtp.logins) == 1


def test_a_server_that_refuses_or_is_away_is_no_exception(smtp: FakeSmtp) -> None:
    assert send("smtp://127.0.0.1:1", "ann@example.com", "bob@example.com") == ["failed", "failed"]
    smtp.refuses = True
    assert send(smtp.url) == ["refused"]
    assert smtp.letters == []


def test_a_letter_that_is_refused_does_not_hold_up_the_others(smtp: FakeSmtp) -> None:
    smtp.refuses = "bob@example.com"
    assert send(smtp.url, "ann@example.com", "bob@example.com", "cleo@example.com") == ["sent", "refused", "sent"]
    assert smtp.recipients == ["ann@example.com", "cleo@example.com"]


@pytest.mark.parametrize("fault", FakeSmtp.STUCK)
def test_a_mail_server_that_never_gets_to_the_point_is_left_at_the_deadline(
    smtp: FakeSmtp, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(mailer, "_SECONDS", 1.0)
    smtp.fault = fault
    assert send(smtp.url) == ["failed"]
    for _ in range(3000):
        if not smtp.held:
            break
        time.sleep(0.01)
    assert smtp.held == set()


@pytest.mark.parametrize("to", ["a@b.example\r\nBcc: c@d.example", "a@b.example\n"])
def test_no_header_can_be_smuggled_in(smtp: FakeSmtp, to: str) -> None:
    assert send(smtp.url, to) == ["refused"]
    assert smtp.letters == []
