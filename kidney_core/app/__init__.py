"""The Streamlit app: the only package that imports Streamlit.

May import: every other package.
"""
