"""The published protocol of interactive image retrieval, with the controls that it lacks.

`configuration` says what a run is; `dialogue_sets` and `galleries` read its inputs; `queries` turns dialogues into
text and imagined embeddings, chunk by chunk, resumable; `variants` fuses them (schedules and noise controls);
`ranking` finds the targets' ranks; `measures` and `intervals` judge them; `runs` holds it together; `results`,
`trec`, `plots` and `report` write it down.
"""
