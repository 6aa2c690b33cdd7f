"""IKE's cryptography, and inside ike/ the only importer of `cryptography`.

Each algorithm is one entry of a registry: `hashes.HASHES`, `ciphers.CIPHERS`, `groups.GROUPS`, `esp.ESP_ALGORITHMS`.
`ikev1` derives keys with them, `signatures` signs.  Nothing here draws random numbers: seeds and IVs are given.
"""
