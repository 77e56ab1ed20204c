"""Ingestion: sources, decoding in processes of their own, and the stages from a file to a record in an index.

`dar_search.ingestion.ingest.ingest` is the way in. Nothing is imported here: decoder processes start with this
package, and must stay light.
"""
