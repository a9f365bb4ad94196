"""Arrays and tables in, plotly figures and tables out. Nothing here samples, trains, reads datasets or imports streamlit."""
