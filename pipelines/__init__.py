"""The commands (``python -m pipelines.train``) and the packages that implement them.

Each package imports only from itself and from those listed before it: common, storage, datasets, models, sampling, training,
evaluation, figures. Nothing here imports Streamlit.
"""

__version__ = "0.2.0"
