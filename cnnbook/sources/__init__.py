"""What code says, read and never run: the modules that it imports, and what of it decides a number.

imports   the modules of the package that code, or a module, imports
decisive  digests of code without what decides nothing; the modules that decide the numbers of some code
parts     of a module: what one of its functions stands on

The keys of claims (`course`) and of kept evidence (`experiments`) are made from these. Nothing here imports Keras.
"""

__all__ = ["decisive", "imports", "parts"]
