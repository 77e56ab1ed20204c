"""Where indices of pictures are kept: `sqlite` is embedded, `opensearch` is a cluster. Both pass one contract."""
