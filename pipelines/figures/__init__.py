"""Charts, sheets of pictures and tables, for screens and paper. Nothing here samples, trains or imports Streamlit."""
