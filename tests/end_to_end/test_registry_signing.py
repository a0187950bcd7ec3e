"""Images signed when they are pushed, and believed or not when they are pulled."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest

from runtime.image.reference import Reference
from runtime.image.registry.configuration import Registries
from runtime.image.registry.session import Session
from runtime.image.registry.signature_form import PrivateKey
from runtime.image.registry.signing import push_signature
from support.archives import Layout, layer
from support.cli import Lamina, Outcome
from support.probes import need_tool
from support.registry import Registry
from support.registry_images import Hand, new_image


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with `one.key` and `one.pub`, `two.key` and `two.pub`, and `locked.key`."""
    openssl = need_tool("openssl")
    folder = tmp_path / "keys"
    folder.mkdir()
    for name in ("one", "two"):
        key, public = folder / f"{name}.key", folder / f"{name}.pub"
        curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        subprocess.run([openssl, "genpkey", *curve, "-out", key], check=True, capture_output=True)
        subprocess.run([openssl, "pkey", "-in", key, "-pubout", "-out", public], check=True)
    locked = ["-aes256", "-passout", "pass:secret", "-out", str(folder / "locked.key")]
    subprocess.run([openssl, "pkey", "-in", folder / "one.key", *locked], check=True)
    return folder


def pushed(lamina: Lamina, registry: Registry, tmp_path: Path, repository: str) -> tuple[str, str]:
    """A new image in the registry, without a signature; its name and digest."""
    name = f"{registry.host}/{repository}:1"
    new_image(lamina, tmp_path, name, a=repository)
    lamina("push", name, "--digestfile", tmp_path / "digest")
    return name, (tmp_path / "digest").read_text()


def signature(registry: Registry, repository: str, digest: str) -> list[tuple[bytes, bytes]]:
    """The payloads and signatures that a manifest has."""
    hand = Hand(registry)
    manifest = json.loads(hand.manifest(repository, digest.replace(":", "-") + ".sig"))
    found = []
    for each in manifest["layers"]:
        assert each["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
        payload = hand.ask("GET", f"/v2/{repository}/blobs/{each['digest']}").content
        text = each["annotations"]["dev.cosignproject.cosign/signature"]
        found.append((payload, base64.b64decode(text)))
    return found


def pull(lamina: Lamina, policy: Path, name: str, status: int = 0) -> Outcome:
    return lamina("pull", name, status=status, environment={"LAMINA_POLICY": str(policy)})


def policy_file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "keys" / "policy.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_openssl_verifies_what_is_signed(
    bare_lamina: Lamina, registry: Registry, tmp_path: Path, keys: Path
) -> None:
    name, digest = pushed(bare_lamina, registry, tmp_path, "sign/verified")
    bare_lamina("push", "--sign", keys / "one.key", name)
    environment = {"LAMINA_SIGN_PASSWORD": "secret"}
    bare_lamina("push", "--sign", keys / "locked.key", name, environment=environment)
    ((payload, signed),) = signature(registry, "sign/verified", digest)  # it was the same key
    assert json.loads(payload) == {
        "critical": {
            "identity": {"docker-reference": f"{registry.host}/sign/verified"},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    (tmp_path / "payload").write_bytes(payload)
    (tmp_path / "signature").write_bytes(signed)
    told = subprocess.run(
        [
            need_tool("openssl"), "dgst", "-sha256", "-verify", keys / "one.pub",
            "-signature", tmp_path / "signature", tmp_path / "payload",
        ],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert told == "Verified OK\n"
    bare_lamina("push", "--sign", keys / "two.key", name)
    assert len(signature(registry, "sign/verified", digest)) == 2


def test_a_policy_asks_for_signatures(
    bare_lamina: Lamina, private_lamina: Lamina, registry: Registry, tmp_path: Path, keys: Path
) -> None:
    name, digest = pushed(bare_lamina, registry, tmp_path, "sign/asked")
    policy = policy_file(
        tmp_path, "[[rule]]", f'name = "{registry.host}/sign"', 'keys = ["one.pub"]'
    )
    refused = pull(private_lamina, policy, name, status=1)
    assert "is not trusted: no key that" in refused.text
    bare_lamina("push", "--sign", keys / "two.key", name)
    assert "is not trusted" in pull(private_lamina, policy, name, status=1).text
    assert "no such image" in private_lamina("inspect", name, status=1).text
    bare_lamina("push", "--sign", keys / "one.key", name)
    pull(private_lamina, policy, name)
    pull(private_lamina, policy, f"{name.removesuffix(':1')}@{digest}")
    assert private_lamina("inspect", name).status == 0


def test_other_rules(
    private_lamina: Lamina, bare_lamina: Lamina, registry: Registry, tmp_path: Path, keys: Path
) -> None:
    name, _ = pushed(bare_lamina, registry, tmp_path, "sign/ruled")
    rejecting = policy_file(tmp_path, 'default = "reject"')
    assert "forbids to pull it" in pull(private_lamina, rejecting, name, status=1).text
    accepting = policy_file(
        tmp_path, 'default = "reject"', "[[rule]]", f'name = "{name.removesuffix(":1")}"',
        "accept = true",
    )  # fmt: skip
    pull(private_lamina, accepting, name)


def test_a_signature_of_something_else_is_none(
    private_lamina: Lamina, bare_lamina: Lamina, registry: Registry, tmp_path: Path, keys: Path
) -> None:
    """A signature is for a digest and a repository: copied elsewhere, it says nothing."""
    lines = ["[[rule]]", f'name = "{registry.host}"', 'keys = ["one.pub"]']
    policy = policy_file(tmp_path, *lines)
    name, digest = pushed(bare_lamina, registry, tmp_path, "sign/origin")
    bare_lamina("push", "--sign", keys / "one.key", name)
    hand, tag = Hand(registry), digest.replace(":", "-") + ".sig"
    signatures = hand.manifest("sign/origin", tag)
    kind = "application/vnd.oci.image.manifest.v1+json"

    def copy(repository: str, tag: str) -> None:
        for blob in [*json.loads(signatures)["layers"], json.loads(signatures)["config"]]:
            data = hand.ask("GET", f"/v2/sign/origin/blobs/{blob['digest']}").content
            hand.put_blob(repository, data)
        hand.put_manifest(repository, tag, signatures, kind)

    other, other_digest = pushed(bare_lamina, registry, tmp_path, "sign/another")
    copy("sign/another", other_digest.replace(":", "-") + ".sig")
    assert "is not trusted" in pull(private_lamina, policy, other, status=1).text
    moved = f"{registry.host}/sign/moved:1"
    bare_lamina("push", name, moved)
    copy("sign/moved", tag)
    assert "is not trusted" in pull(private_lamina, policy, moved, status=1).text
    policy = policy_file(tmp_path, *lines, f'signed-as = "{registry.host}/sign/origin"')
    pull(private_lamina, policy, moved)


def test_an_index_may_be_signed(
    private_lamina: Lamina, registry: Registry, tmp_path: Path, keys: Path
) -> None:
    made, hand = Layout(), Hand(registry)
    top = made.index(
        made.manifest(layer(a="a")) | {"platform": {"os": "linux", "architecture": "amd64"}}
    )
    digest = hand.publish("sign/index", "1", made, top)
    name = f"{registry.host}/sign/index:1"
    policy = policy_file(tmp_path, "[[rule]]", f'name = "{registry.host}"', 'keys = ["one.pub"]')
    options = ("pull", "--platform", "linux/amd64", name)
    environment = {"LAMINA_POLICY": str(policy)}
    private_lamina(*options, environment=environment, status=1)
    key = PrivateKey((keys / "one.key").read_bytes(), None, "one.key")
    with Session(Registries()) as session:
        push_signature(session, Reference.parse(name), digest, key)
    private_lamina(*options, environment=environment)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("default = 1", "default has to be"),
        ("x = 1", "unknown key 'x'"),
        ("[rule]", "rules are written"),
        ("[[rule]]", "a rule needs a name"),
        ('[[rule]]\nname="a b"\naccept=true', "invalid reference format"),
        ('[[rule]]\nname="test.com/a:1"\naccept=true', "not for tags"),
        ('[[rule]]\nname="test.com"', "needs one of keys, accept and reject"),
        ('[[rule]]\nname="test.com"\naccept=true\nreject=true', "needs one of"),
        ('[[rule]]\nname="test.com"\nkeys=["none.pub"]', "No such file"),
        ('[[rule]]\nname="test.com"\nkeys="x"', "a list of files"),
        ('[[rule]]\nname="test.com"\naccept="yes"', "true or false"),
        ('[[rule]]\nname="test.com"\naccept=true\nsigned-as="x"', "goes with keys"),
        ('[[rule]]\nname="test.com"\nkey=["x"]\naccept=true', "unknown key 'key'"),
        ('[[rule]]\nname="test.com"\naccept=true\n' * 2, "two rules for test.com"),
        ("no", "is no TOML"),
    ],
)
def test_policies_that_make_no_sense(
    bare_lamina: Lamina, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    assert message in pull(bare_lamina, path, "test.invalid/a:1", status=1).text


def test_keys_that_cannot_be_used(bare_lamina: Lamina, tmp_path: Path, keys: Path) -> None:
    new_image(bare_lamina, tmp_path, "test.invalid/a:1", a="a")
    (keys / "cosign.key").write_text("-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n")
    for name, message in [
        ("one.pub", "cannot be read as a private key"),
        ("locked.key", "the password is in"),
        ("cosign.key", "cosign's own way"),
    ]:
        told = bare_lamina("push", "--sign", keys / name, "test.invalid/a:1", status=1)
        assert message in told.text
    (tmp_path / "cryptography").mkdir()
    (tmp_path / "cryptography" / "__init__.py").write_text("raise ImportError")
    without = {"PYTHONPATH": str(tmp_path)}
    words = ("push", "--sign", keys / "one.key", "test.invalid/a:1")
    assert "lamina[sign]" in bare_lamina(*words, status=1, environment=without).text
