"""Keys of SSH: the server's, which a config pins, and the customer's, which logs in.

asyncssh takes a third of a second to load: who only reads configs imports this module when there is a key.
"""

import asyncssh

ALGORITHMS = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    # The third, ssh-rsa itself, signs with SHA-1, which is broken. https://www.rfc-editor.org/rfc/rfc8332
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}
"""The kinds of keys that are taken, and the algorithms that each signs with.
https://www.iana.org/assignments/ssh-parameters"""


def host_key(line: str) -> asyncssh.SSHKey:
    """The public key of a line such as `ssh-ed25519 AAAA…`, also with a comment behind it, or a host before
    it, as ssh-keyscan prints it. ValueError with a sentence where it is none."""
    words = line.split()
    if words and words[0] not in ALGORITHMS:
        del words[0]
    if len(line.strip().splitlines()) > 1 or len(words) < 2 or words[0] not in ALGORITHMS:
        raise ValueError(
            "must be the server's public key on one line, such as `ssh-ed25519 AAAA…`: copy a line that "
            f"`ssh-keyscan <host>` prints; the key's type must be one of {', '.join(ALGORITHMS)}"
        )
    try:
        key = asyncssh.import_public_key(" ".join(words[:2]))
    except ValueError:
        raise ValueError(
            f"holds no readable key after {words[0]}: copy the whole line that `ssh-keyscan <host>` prints"
        ) from None
    if key.get_algorithm() != words[0]:
        raise ValueError(f"begins with {words[0]}, but holds a key of the type {key.get_algorithm()}")
    return key


def host_key_line(key: asyncssh.SSHKey) -> str:
    """The key as `ssh-ed25519 AAAA…`, without a comment."""
    return " ".join(key.export_public_key().decode().split()[:2])


def private_key(text: str) -> asyncssh.SSHKey:
    """A private key in the formats of OpenSSH or PEM. ValueError with a sentence, and never the key, where it
    is none, needs a passphrase, or is of a kind that is not taken."""
    try:
        key = asyncssh.import_private_key(text)
    except ValueError as error:
        if "assphrase" in str(error):
            raise ValueError(
                "is protected by a passphrase: make a key without a passphrase, for Waybill only"
            ) from None
        raise ValueError(
            "cannot be read: give the whole private key file that ssh-keygen makes, from the line that "
            "begins with -----BEGIN to the line that begins with -----END"
        ) from None
    if key.get_algorithm() not in ALGORITHMS:
        raise ValueError(
            f"is of the type {key.get_algorithm()}, which is not supported: make a key with "
            "`ssh-keygen -t ed25519`"
        )
    return key
