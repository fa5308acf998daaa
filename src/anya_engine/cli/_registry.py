# SPDX-License-Identifier: Apache-2.0
"""`anya-engine registry init|add|revoke|sign|show|verify`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import _registry as registry
from .._signing import (
    add_signatures,
    identify,
    key_ids,
    open_registry,
    own_registry,
    timestamp,
    write_registry,
)
from ._keys import add_keys, key_files
from ._parser import Parser, add_json, integer
from ._progress import progress
from ._text import CliError, counted, plain, print_json, print_table

__all__ = ["DESCRIPTION", "EPILOG", "SUMMARY", "add_to", "run"]

SUMMARY = "keep the list of models that may run"
DESCRIPTION = (
    "Keep a trust registry: which models may run, until when, and which must not any more; signed by root keys."
)
EPILOG = """\
example:
  anya-engine registry init trusted_models.json --key root.key
  anya-engine registry add trusted_models.json models/ranker --name ranker --key root.key
  anya-engine registry show trusted_models.json
  anya-engine registry revoke trusted_models.json --name ranker --reason "wrong data" --key root.key
  anya-engine registry verify trusted_models.json --key root.key.pub
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """The commands below it and their arguments."""
    commands = parser.add_subparsers(
        title="commands", metavar="|".join(_COMMANDS), dest="registry_command", required=True, parser_class=Parser
    )

    def command(name: str, what: str, *examples: str, more: str = "") -> Parser:
        example = "".join(f"  {each}\n" for each in examples)
        made: Parser = commands.add_parser(
            name, help=what, description=f"{what[0].upper()}{what[1:]}.{more}", epilog=f"example:\n{example}"
        )
        made.add_argument("file", metavar="REGISTRY", help="the registry file")
        add_json(made)
        return made

    init = command("init", "make a registry of nothing", "anya-engine registry init trusted_models.json --key root.key")
    add = command(
        "add",
        "let a model run",
        "anya-engine registry add trusted_models.json models/ranker --name ranker --version 2 --key root.key",
    )
    revoke = command(
        "revoke",
        "let a model, or all that a key has signed, run no more",
        "anya-engine registry revoke trusted_models.json --name ranker --version 1 --reason leaked --key root.key",
        "anya-engine registry revoke trusted_models.json --digest sha256:8aaf83... --reason leaked --key root.key",
        more=" Say what with one of --name, --digest and --signer. Revoked bytes never come back.",
    )
    sign = command(
        "sign",
        "sign a registry with one more root key",
        "anya-engine registry sign trusted_models.json --key root2.key",
    )
    command("show", "print a registry, signed or not", "anya-engine registry show trusted_models.json --json")
    verify = command(
        "verify",
        "see that a registry is signed by enough root keys and has not expired",
        "anya-engine registry verify trusted_models.json --key root.key.pub --key root2.key.pub --threshold 2",
    )
    for each in (init, add, revoke, sign):
        add_keys(each, several=True)
    for each in (init, add, revoke):
        each.add_argument("--days", type=integer(1, 3650), default=90, metavar="N", help="until it expires (90)")
    add.add_argument("model", metavar="MODEL", help="an .onnx file, a directory of one, or a library of operators")
    add.add_argument("--name", default="", help="the name it may be loaded as (default: any)")
    add.add_argument("--version", type=integer(0, 1 << 53), default=1, metavar="N", help="its version (1)")
    add.add_argument("--signer", action="append", default=[], metavar="KEY.pub", help="who may sign it (default: any)")
    add.add_argument("--deprecated", action="store_true", help="it runs, with a warning in the audit log")
    revoke.add_argument("--name", help="models registered under this name; one without a name goes by --digest")
    revoke.add_argument("--version", type=integer(0, 1 << 53), metavar="N", help="this version of the name alone")
    revoke.add_argument("--below", type=integer(1, 1 << 53), metavar="N", help="all versions of the name below this")
    revoke.add_argument(
        *("--digest",), metavar="HEX", help="these bytes, as ModelInfo.digest, `inspect` and `registry show` say it"
    )
    revoke.add_argument("--signer", metavar="KEY.pub", help="all that this key has signed; a file, or the key's id")
    revoke.add_argument("--reason", default="", help="shown to whoever tries to load it")
    verify.add_argument(
        *("--key", "-k"), metavar="KEY.pub", action="append", required=True, help="a root key to believe (PEM)"
    )
    verify.add_argument("--threshold", type=integer(1, 32), default=1, metavar="K", help="so many must have signed (1)")


def run(arguments: argparse.Namespace) -> bool:
    """Do it."""
    return _COMMANDS[arguments.registry_command](arguments)


def _init(arguments: argparse.Namespace) -> bool:
    if Path(arguments.file).exists():
        raise CliError(f"{arguments.file} exists already; nothing was written")
    payload = registry.created(timestamp(), timestamp(arguments.days))
    write_registry(arguments.file, payload, key_files(arguments))
    return _changed(arguments, payload)


def _add(arguments: argparse.Namespace) -> bool:
    keys = key_files(arguments)
    payload = own_registry(arguments.file, keys)
    with progress(f"hashing {arguments.model}"):
        digest, files = identify(arguments.model)
    payload = registry.with_model(
        payload,
        digest,
        files,
        name=arguments.name,
        version=arguments.version,
        signers=key_ids(arguments.signer),
        status="deprecated" if arguments.deprecated else "active",
    )
    payload = registry.raised(payload, timestamp(), timestamp(arguments.days))
    write_registry(arguments.file, payload, keys)
    return _changed(arguments, payload, digest=digest)


def _revoke(arguments: argparse.Namespace) -> bool:
    if sum(value is not None for value in (arguments.name, arguments.digest, arguments.signer)) != 1:
        raise CliError("give one of --name, --digest and --signer")
    if arguments.name is None and (arguments.version, arguments.below) != (None, None):
        raise CliError("--version and --below are of a --name")
    if arguments.version is not None and arguments.below is not None:
        raise CliError("give one of --version and --below")
    digest = (arguments.digest or "").removeprefix("sha256:")
    if arguments.digest is not None and not registry.is_digest(digest):
        raise CliError(f"--digest takes 64 hexadecimal digits in lower case, got {arguments.digest!r}")
    keys = key_files(arguments)
    payload = own_registry(arguments.file, keys)
    if arguments.signer is not None:
        signer = arguments.signer if registry.is_digest(arguments.signer) else key_ids([arguments.signer])[0]
        payload = registry.revoked_key(payload, signer)
    elif arguments.digest is not None:
        payload = registry.revoked_digest(payload, arguments.reason, digest)
    elif arguments.below is not None:
        payload = registry.with_least(payload, arguments.name, arguments.below)
    else:
        payload = registry.revoked_models(payload, arguments.reason, name=arguments.name, version=arguments.version)
    payload = registry.raised(payload, timestamp(), timestamp(arguments.days))
    write_registry(arguments.file, payload, keys)
    return _changed(arguments, payload)


def _sign(arguments: argparse.Namespace) -> bool:
    add_signatures(arguments.file, key_files(arguments))
    return _changed(arguments, open_registry(arguments.file)[0])


def _show(arguments: argparse.Namespace) -> bool:
    payload, _ = open_registry(arguments.file)
    if arguments.json:
        print_json(payload)
        return True
    print_table([("version", str(payload["version"])), ("issued", payload["issued"]), ("expires", payload["expires"])])
    models = [
        (plain(m["name"]) or "(any)", str(m["version"]), m["status"], m["digest"], plain(m["reason"]))
        for m in payload["models"]
    ]
    print()
    print_table([("name", "version", "status", "digest", "reason"), *models])
    for what in ("revoked_keys", "revoked_digests"):
        for each in payload[what]:
            print(f"{what.replace('_', ' ')[:-1]}: {each}")
    for name, least in payload["min_version"].items():
        print(f"least version of {plain(name)}: {least}")
    print("(shown as it is written; `registry verify` tells who signed it)")
    return True


def _verify(arguments: argparse.Namespace) -> bool:
    payload, signers = open_registry(arguments.file, keys=arguments.key)
    enough, expired = len(signers) >= arguments.threshold, timestamp() >= payload["expires"]
    if arguments.json:
        facts = {"version": payload["version"], "expires": payload["expires"], "expired": expired}
        print_json({"registry": arguments.file, "verified": enough and not expired, "signers": signers, **facts})
    elif not enough:
        print(f"UNTRUSTED_KEY: signed by {len(signers)} of these keys; {arguments.threshold} must sign it")
    elif expired:
        print(f"REGISTRY_EXPIRED: it expired at {payload['expires']}")
    else:
        rows = [("verified", f"version {payload['version']}"), ("until", payload["expires"])]
        print_table([*rows, *(("signed by", signer) for signer in signers)])
    return enough and not expired


def _changed(arguments: argparse.Namespace, payload: registry.Payload, **more: str) -> bool:
    facts = {"registry": arguments.file, "version": payload["version"], "expires": payload["expires"], **more}
    if arguments.json:
        print_json({**facts, "models": len(payload["models"])})
    else:
        print_table([*((name, str(value)) for name, value in facts.items())])
        print(counted(len(payload["models"]), "model"))
    return True


_COMMANDS = {"init": _init, "add": _add, "revoke": _revoke, "sign": _sign, "show": _show, "verify": _verify}
