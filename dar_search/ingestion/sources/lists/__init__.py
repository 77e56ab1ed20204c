"""Lists of pictures: a row a picture. What a row says is the same in each (`rows`), how it is written is not."""
