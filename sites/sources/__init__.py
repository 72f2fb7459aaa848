"""temporary"""
import importlib
def load(kind): return importlib.import_module(f"sites.sources.{kind}").SOURCE
