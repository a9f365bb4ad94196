"""Everything that runs. The commands lie on top (``python -m pipelines.train``); what they call lies in rooms.

Each room imports from itself and from those listed before it: common, storage, datasets, models, sampling, training,
evaluation, figures. Nothing here imports Streamlit.
"""

__version__ = "0.2.0"
