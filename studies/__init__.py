"""The project's own study on public corpora: its goals, the paper's claims, and the ablation grid.

``python -m studies report ROWS -o FOLDER`` writes the pages of ``ethogram bench report`` with the study's sections
added. Nothing of it is in the wheel; it uses the public modules of :mod:`ethogram.bench`.
"""
