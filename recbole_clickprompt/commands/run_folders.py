"""List runs, show one, or remove some. (stub)"""
def add_arguments(parser): pass
