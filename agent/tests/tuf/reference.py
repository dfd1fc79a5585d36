"""The Python reference implementation of TUF, as the tests need it.

    reference.py make FOLDER                       repositories, one after another, as folders 1, 2, …
    reference.py follow FOLDER URL TARGET…         follows a repository from FOLDER/root.json
    reference.py canonical                         JSON on each line; its canonical form, as a JSON string
"""

import json
import os
import sys
from datetime import datetime, timedelta, timezone

from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.ngclient import Updater

EXPIRES = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)
KINDS = {
    "root": CryptoSigner.generate_rsa,
    "timestamp": CryptoSigner.generate_ed25519,
    "snapshot": CryptoSigner.generate_ecdsa,
    "targets": CryptoSigner.generate_rsa,
}


class Repository:
    """A repository with consistent snapshots, written as files."""

    def __init__(self):
        self.signers = {role: [make()] for role, make in KINDS.items()}
        self.roles = {
            "root": Metadata(Root(expires=EXPIRES, consistent_snapshot=True)),
            "timestamp": Metadata(Timestamp(expires=EXPIRES)),
            "snapshot": Metadata(Snapshot(expires=EXPIRES)),
            "targets": Metadata(Targets(expires=EXPIRES)),
        }
        for role, signers in self.signers.items():
            self.root.add_key(signers[0].public_key, role)
        self.old_root_signers = []
        self.files = {}

    @property
    def root(self):
        return self.roles["root"].signed

    def delegate(self, delegator, name, paths, make, terminating=False):
        signer = make()
        targets = self.roles[delegator].signed
        if targets.delegations is None:
            targets.delegations = Delegations({}, {})
        targets.delegations.roles[name] = DelegatedRole(name, [], 1, terminating, paths)
        targets.add_key(signer.public_key, name)
        self.signers[name] = [signer]
        self.roles[name] = Metadata(Targets(expires=EXPIRES))

    def add(self, role, path, data):
        target = TargetFile.from_data(path, data, ["sha256", "sha512"])
        self.roles[role].signed.targets[path] = target
        folder, _, name = path.rpartition("/")
        for digest in target.hashes.values():
            self.files["targets/" + folder + "/" * bool(folder) + f"{digest}.{name}"] = data

    def rotate(self, role):
        if role == "root":
            self.old_root_signers = self.signers["root"]
        for signer in self.signers[role]:
            self.root.revoke_key(signer.public_key.keyid, role)
        self.signers[role] = [KINDS[role]()]
        self.root.add_key(self.signers[role][0].public_key, role)

    def sign(self, role):
        metadata = self.roles[role]
        metadata.signatures.clear()
        old = self.old_root_signers if role == "root" else []
        for signer in self.signers[role] + old:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes()
        version = "" if role == "timestamp" else f"{metadata.signed.version}."
        self.files[f"metadata/{version}{role}.json"] = data
        return data

    def publish(self, folder):
        self.sign("root")
        self.old_root_signers = []
        snapshot = self.roles["snapshot"].signed
        for role in [role for role in self.roles if role not in ("root", "timestamp", "snapshot")]:
            data = self.sign(role)
            snapshot.meta[f"{role}.json"] = MetaFile.from_data(self.roles[role].signed.version, data, ["sha256"])
        data = self.sign("snapshot")
        meta = MetaFile.from_data(snapshot.version, data, ["sha512"])
        self.roles["timestamp"].signed.snapshot_meta = meta
        self.sign("timestamp")
        for name, data in self.files.items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)
        for role in self.roles.values():
            role.signed.version += 1


def make(folder):
    repository = Repository()
    repository.add("targets", "readme.txt", b"top level")
    repository.publish(os.path.join(folder, "1"))

    repository.delegate("targets", "pümps", ["pumps/*"], CryptoSigner.generate_ecdsa)
    repository.delegate("pümps", "pumps of one", ["pumps/one-*"], CryptoSigner.generate_ed25519)
    repository.add("pumps of one", "pumps/one-2.bin", b"\x00program" * 1000)
    repository.publish(os.path.join(folder, "2"))

    for role in KINDS:
        repository.rotate(role)
    repository.root.unrecognized_fields["x-note"] = "ä \"quoted\" \\ \n"
    repository.add("pümps", "pumps/two.bin", b"another")
    repository.publish(os.path.join(folder, "3"))


def follow(folder, url, *targets):
    with open(os.path.join(folder, "root.json"), "rb") as file:
        root = file.read()
    updater = Updater(
        metadata_dir=os.path.join(folder, "metadata"),
        metadata_base_url=url + "/metadata/",
        target_dir=os.path.join(folder, "targets"),
        target_base_url=url + "/targets/",
        bootstrap=root,
    )
    updater.refresh()
    for path in targets:
        info = updater.get_targetinfo(path)
        if info is None:
            raise SystemExit(f"no target {path}")
        updater.download_target(info)


def canonical():
    for line in sys.stdin:
        print(json.dumps(encode_canonical(json.loads(line))))


if __name__ == "__main__":
    sys.stdin.reconfigure(encoding="utf-8", newline="\n")
    {"make": make, "follow": follow, "canonical": canonical}[sys.argv[1]](*sys.argv[2:])
