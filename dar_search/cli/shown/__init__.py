"""What commands print: lines and JSON, tables of hits, pictures in the terminal."""
