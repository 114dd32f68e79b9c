"""torch: losses, mixing, targets, samplers, networks, the one training driver"""
