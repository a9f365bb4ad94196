"""Plotly figures and tables from arrays. Nothing here samples, trains, reads datasets or imports streamlit."""
