"""Keys and certificates for tests, made by openssl(1)."""
import os
import subprocess
import tempfile
import time

CONFIG = """[ca]
default_ca = here
[here]
database = {folder}/index
new_certs_dir = {folder}
serial = {folder}/serial
policy = any
unique_subject = no
x509_extensions = ca_cert
[any]
commonName = supplied
[ca_cert]
basicConstraints = critical,CA:TRUE
"""


def openssl(*words, data=None):
    done = subprocess.run(["openssl", *words], input=data, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def key(kind="rsa:2048"):
    """A private key: "rsa:BITS", "rsa:BITS:PRIMES", "ec", "ed25519"."""
    name, *numbers = kind.split(":")
    if name == "rsa":
        words = ["RSA", "-pkeyopt", f"rsa_keygen_bits:{numbers[0]}"]
        words += ["-pkeyopt", f"rsa_keygen_primes:{numbers[1]}"] if numbers[1:] else []
    else:
        words = ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"] if name == "ec" else ["ed25519"]
    return openssl("genpkey", "-algorithm", *words)


def date(days):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * 86400))


def certificate(private, days=365, since=-1, digest="sha256", name="tests"):
    """A certificate of that key, signed by itself, valid between these days from now."""
    with tempfile.TemporaryDirectory(prefix="cairn-certs-") as folder:
        def at(file, text=""):
            path = os.path.join(folder, file)
            with open(path, "w", encoding="ascii") as f:
                f.write(text)
            return path
        config, pem = at("config", CONFIG.format(folder=folder)), at("key", private)
        at("index")
        at("serial", os.urandom(8).hex().replace("0", "1") + "\n")
        openssl("req", "-new", "-key", pem, "-subj", f"/CN={name}", "-out", at("request"))
        return openssl("ca", "-config", config, "-selfsign", "-keyfile", pem, "-in",
                       os.path.join(folder, "request"), "-md", digest, "-startdate", date(since),
                       "-enddate", date(days), "-batch", "-notext")


def revocations(private, cert):
    """An empty list of revoked certificates of that authority."""
    with tempfile.TemporaryDirectory(prefix="cairn-certs-") as folder:
        paths = {}
        for file, text in (("config", CONFIG.format(folder=folder)), ("key", private),
                           ("cert", cert), ("index", "")):
            paths[file] = os.path.join(folder, file)
            with open(paths[file], "w", encoding="ascii") as f:
                f.write(text)
        return openssl("ca", "-config", paths["config"], "-gencrl", "-keyfile", paths["key"],
                       "-cert", paths["cert"], "-crldays", "30", "-md", "sha256")


def fingerprint(cert, digest="sha256"):
    out = openssl("x509", "-noout", "-fingerprint", f"-{digest}", data=cert.encode())
    return out.strip().partition("=")[2]


def body(pem):
    """The text of a certificate without what stands around it."""
    return pem[pem.index("-----BEGIN"):].strip()
