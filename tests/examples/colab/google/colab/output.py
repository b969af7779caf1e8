import os

from google.colab import note


def eval_js(code):
    note("eval_js", code)
    return os.environ["COLAB_ADDRESS"]
