"""The benchmark: secd against other tunnels in user space, as ratios from interleaved runs (`python -m bench`)."""
