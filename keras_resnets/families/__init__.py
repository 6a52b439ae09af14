"""One file a family: its spec, its blocks, its builder and its table of variants."""
