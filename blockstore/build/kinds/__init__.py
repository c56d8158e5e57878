"""The kinds of variants: one small file each, behind the two protocols of `base`; `registry` knows them by name."""
