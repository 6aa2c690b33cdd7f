"""IKE's cryptography, and inside ike/ the only importer of `cryptography`.

Each algorithm is one entry of a registry: `hashes.HASHES`, `groups.GROUPS`; IKEv1's `ciphers.CIPHERS`,
`esp.ESP_ALGORITHMS`; IKEv2's `prfs.PRFS`, `ikev2_ciphers.MESSAGE_CIPHERS`, `ikev2_esp.CHILD_ALGORITHMS`,
`signature_schemes.SCHEMES`.  `ikev1` and `ikev2` derive keys with them, `ikev2_messages` protects messages,
`certificates` says whom a certificate speaks for.  Nothing here draws random numbers: seeds and IVs are given (but for
ML-KEM's responder, see `mlkem`).
"""
